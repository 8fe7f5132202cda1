//! Which files of code the kernels' sources become. kernels/src/cuda/code.rs takes each in by its name.

/// One file of PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// `NAME.ptx`.
    pub(super) name: String,
    source: &'static str,
    target: Target,
    format: Option<&'static str>,
}

/// The least GPU that the code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Ampere, and all that came after it.
    Ampere,
    /// Hopper alone: later GPUs lack its instructions.
    Hopper,
}

const SOURCES: [(&str, Target); 5] = [
    ("rows", Target::Ampere),
    ("pack", Target::Ampere),
    ("attention", Target::Ampere),
    ("prompt", Target::Ampere),
    ("wide", Target::Hopper),
];

/// `linear.cu` is compiled once for each: a model loads the code of its own formats only.
const LINEAR_FORMATS: [&str; 9] =
    ["DENSE", "Q4_D", "Q4_DM", "Q8_D", "Q8_DM", "Q4_FM", "Q8_FM", "Q4_FM16", "Q8_FM16"];

pub(super) fn all() -> Vec<Module> {
    let plain = SOURCES.map(|(source, target)| Module { name: source.into(), source, target, format: None });
    let linear = LINEAR_FORMATS.map(|format| Module {
        name: format!("linear_{}", format.to_lowercase()),
        source: "linear",
        target: Target::Ampere,
        format: Some(format),
    });
    plain.into_iter().chain(linear).collect()
}

impl Module {
    pub(super) fn file_name(&self) -> String {
        format!("{}.ptx", self.name)
    }

    /// Of `nvcc`, in the folder of the sources. The source has no folder in its name, so that the code has none.
    pub(super) fn compiler_flags(&self) -> Vec<String> {
        let target = match self.target {
            Target::Ampere => "compute_80",
            Target::Hopper => "compute_90a",
        };
        let mut flags = vec![
            "-O3".to_owned(),
            "-std=c++17".to_owned(),
            format!("-gencode=arch={target},code={target}"),
            "-ptx".to_owned(),
        ];
        flags.extend(self.format.map(|format| format!("-DONLY_FORMAT={format}")));
        flags.push(format!("{}.cu", self.source));
        flags
    }

    /// GPUs that it is assembled for as a check, as `ptxas` names them.
    pub(super) fn assembled_for(&self) -> &'static [&'static str] {
        match self.target {
            Target::Ampere => &["sm_80", "sm_89", "sm_90"],
            Target::Hopper => &["sm_90a"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_a_file_of_its_own() {
        let all = all();
        let of = |name: &str| all.iter().find(|module| module.name == name).unwrap();
        let flags = of("linear_q4_fm16").compiler_flags().join(" ");
        assert_eq!(
            flags,
            "-O3 -std=c++17 -gencode=arch=compute_80,code=compute_80 -ptx -DONLY_FORMAT=Q4_FM16 linear.cu"
        );
        let flags = of("wide").compiler_flags().join(" ");
        assert_eq!(flags, "-O3 -std=c++17 -gencode=arch=compute_90a,code=compute_90a -ptx wide.cu");
        assert_eq!(of("wide").assembled_for(), ["sm_90a"]);
    }

    #[test]
    fn the_engine_takes_in_what_is_compiled() {
        let code = include_str!("../../../kernels/src/cuda/code.rs");
        let list = code.split("sources!(").nth(1).unwrap().split(')').next().unwrap();
        let mut taken: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        let all = all();
        let mut compiled: Vec<&str> = all.iter().map(|module| module.name.as_str()).collect();
        taken.sort_unstable();
        compiled.sort_unstable();
        assert_eq!(taken, compiled);
    }
}
