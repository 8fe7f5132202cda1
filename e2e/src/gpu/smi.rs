//! What `nvidia-smi` says: the driver's own words, which Ostro's are held against.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::output_within;

pub(super) struct Smi<'a> {
    pub(super) program: &'a Path,
    pub(super) limit: Duration,
}

/// One GPU; a number that it does not tell is `None`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gpu {
    pub(super) uuid: String,
    pub(super) total_mib: Option<f64>,
    pub(super) used_mib: Option<f64>,
    pub(super) celsius: Option<f64>,
}

impl Smi<'_> {
    /// Names and UUIDs, for people.
    pub(super) fn list(&self) -> Result<String> {
        Ok(self.run(&["-L"])?.trim().to_owned())
    }

    pub(super) fn gpus(&self) -> Result<Vec<Gpu>> {
        let query = "--query-gpu=uuid,memory.total,memory.used,temperature.gpu";
        parse(&self.run(&[query, "--format=csv,noheader,nounits"])?)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        Ok(output_within(Command::new(self.program).args(arguments), self.limit)?.output)
    }
}

/// A line a GPU: `GPU-..., 143771, 600, 27`, or `[N/A]` in the place of a number.
fn parse(text: &str) -> Result<Vec<Gpu>> {
    let number = |field: &str| field.parse().ok();
    let gpu = |line: &str| match line.split(',').map(str::trim).collect::<Vec<_>>()[..] {
        [uuid, total, used, celsius] => Some(Gpu {
            uuid: uuid.to_owned(),
            total_mib: number(total),
            used_mib: number(used),
            celsius: number(celsius),
        }),
        _ => None,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| gpu(line).with_context(|| format!("nvidia-smi says {line:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gpus_and_some_numbers_are_not_told() {
        let gpus = parse("GPU-1, 143771, 600, 27\nGPU-2, 143771, [N/A], [Not Supported]\n").unwrap();
        let (total_mib, used_mib, celsius) = (Some(143_771.0), Some(600.0), Some(27.0));
        let first = Gpu { uuid: "GPU-1".into(), total_mib, used_mib, celsius };
        let second = Gpu { uuid: "GPU-2".into(), used_mib: None, celsius: None, ..first.clone() };
        assert_eq!(gpus, [first, second]);
        let error = parse("No devices were found\n").unwrap_err().to_string();
        assert_eq!(error, "nvidia-smi says \"No devices were found\"");
    }
}
