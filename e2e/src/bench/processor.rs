//! The processor under the numbers, as `/proc/cpuinfo` has it, and the kind of machine that it makes.

use std::env::consts::ARCH;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Processor {
    name: String,
    vendor: String,
    family: u32,
    model: u32,
    flags: Vec<String>,
}

/// The machines whose numbers do not compare. Targets are written for the first two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Amx,
    Zen5,
    /// By what tells it from others.
    Other(String),
}

/// Of `/proc/cpuinfo`, and what llama.cpp calls it when it uses it.
const FEATURES: [(&str, &str); 5] = [
    ("avx2", "AVX2"),
    ("avx512f", "AVX512"),
    ("avx512_vnni", "AVX512_VNNI"),
    ("avx512_bf16", "AVX512_BF16"),
    ("amx_int8", "AMX_INT8"),
];

impl Processor {
    /// The first one that `cpuinfo` lists.
    pub(super) fn parse(cpuinfo: &str) -> Processor {
        let value = |name: &str| {
            let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
        };
        let number = |name: &str| value(name).parse().unwrap_or_default();
        let name = match value("model name") {
            "" => "unknown processor",
            name => name,
        };
        // Arm's have `Features`.
        let flags = [value("flags"), value("Features")].join(" ");
        Processor {
            name: name.to_owned(),
            vendor: value("vendor_id").to_owned(),
            family: number("cpu family"),
            model: number("model"),
            flags: flags.split_whitespace().map(str::to_owned).collect(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.zen() {
            _ if self.has("amx_int8") => Kind::Amx,
            // A virtual machine may lack what its processor has.
            Some(5) if self.has("avx512f") => Kind::Zen5,
            _ => Kind::Other(self.other()),
        }
    }

    pub(super) fn describe(&self) -> String {
        let known: Vec<_> = self.features().map(|(flag, _)| flag).collect();
        format!("{} ({})", self.name, known.join(", "))
    }

    /// What a compiler for this processor goes by.
    pub(super) fn name_and_flags(&self) -> String {
        format!("{}: {}", self.name, self.flags.join(" "))
    }

    /// What the processor has and `system_info` of llama.cpp does not claim to use.
    pub(super) fn unused_features(&self, system_info: &str) -> Vec<&'static str> {
        let words: Vec<&str> = system_info.split(['|', ':', ',']).map(str::trim).collect();
        let used = |name: &str| words.iter().any(|word| word.replace(' ', "") == format!("{name}=1"));
        self.features().map(|(_, name)| name).filter(|name| !used(name)).collect()
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    fn features(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FEATURES.into_iter().filter(|(flag, _)| self.has(flag))
    }

    fn is_amd(&self) -> bool {
        self.vendor == "AuthenticAMD"
    }

    /// AMD's generation, by the models that Linux counts to each (`arch/x86/kernel/cpu/amd.c`).
    fn zen(&self) -> Option<u32> {
        match (self.family, self.model) {
            _ if !self.is_amd() => None,
            (0x17, 0x00..=0x2f | 0x50..=0x5f) => Some(1),
            (0x17, 0x30..=0x4f | 0x60..=0x7f | 0x90..=0x91 | 0xa0..=0xaf) => Some(2),
            (0x19, 0x00..=0x0f | 0x20..=0x5f) => Some(3),
            (0x19, 0x10..=0x1f | 0x60..=0xaf) => Some(4),
            (0x1a, 0x00..=0x2f | 0x40..=0x4f | 0x60..=0x7f) => Some(5),
            (0x1a, 0x50..=0x5f | 0x80..=0xaf | 0xc0..=0xcf) => Some(6),
            _ => None,
        }
    }

    /// AMD's by their generation, with the instruction set where it is not AVX-512; others by the instruction set.
    fn other(&self) -> String {
        let Processor { family, model, .. } = self;
        let instructions = match (self.has("avx512f"), self.has("avx2")) {
            (true, _) => "AVX-512",
            (false, true) => "AVX2",
            (false, false) => "no AVX2",
        };
        let amd = match self.zen() {
            Some(generation) => format!("AMD Zen {generation}"),
            None => format!("AMD family {family} model {model}"),
        };
        match self.vendor.as_str() {
            "" => ARCH.to_owned(),
            _ if !self.is_amd() => format!("x86-64 with {instructions}"),
            _ if instructions == "AVX-512" => amd,
            _ => format!("{amd} ({instructions})"),
        }
    }
}

impl Kind {
    /// For a heading.
    pub(super) fn name(&self) -> &str {
        match self {
            Kind::Amx => "x86-64 with AMX",
            Kind::Zen5 => "AMD Zen 5",
            Kind::Other(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vendor: &str, family: u32, model: u32, flags: &str) -> Processor {
        Processor::parse(&format!(
            "processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\
             model name\t: X 1\nflags\t\t: {flags}\n\nprocessor\t: 1\nmodel\t\t: 99\n"
        ))
    }

    #[test]
    fn kinds_are_told_by_vendor_model_and_instruction_sets() {
        const AVX512: &str = "fpu avx2 avx512f avx512_vnni";
        let (amd, intel) = ("AuthenticAMD", "GenuineIntel");
        assert_eq!(of(intel, 6, 143, "avx2 avx512f amx_int8").kind(), Kind::Amx);
        assert_eq!(of(amd, 26, 2, AVX512).kind(), Kind::Zen5);
        for (vendor, (family, model), flags, expected) in [
            (amd, (26, 2), "avx2", "AMD Zen 5 (AVX2)"),
            (amd, (26, 0x50), AVX512, "AMD Zen 6"),
            (amd, (25, 17), AVX512, "AMD Zen 4"),
            (amd, (25, 97), "avx2", "AMD Zen 4 (AVX2)"),
            (amd, (25, 1), "avx2", "AMD Zen 3 (AVX2)"),
            (amd, (23, 49), "avx2", "AMD Zen 2 (AVX2)"),
            (amd, (23, 1), "avx", "AMD Zen 1 (no AVX2)"),
            (amd, (27, 5), AVX512, "AMD family 27 model 5"),
            (amd, (21, 2), "avx", "AMD family 21 model 2 (no AVX2)"),
            (intel, (6, 106), AVX512, "x86-64 with AVX-512"),
            (intel, (26, 2), "avx2", "x86-64 with AVX2"),
            ("HygonGenuine", (24, 1), "avx2", "x86-64 with AVX2"),
            ("", (0, 0), "", ARCH),
        ] {
            assert_eq!(of(vendor, family, model, flags).kind(), Kind::Other(expected.to_owned()));
        }
    }

    #[test]
    fn a_processor_is_described_by_what_matters() {
        let amx = of("GenuineIntel", 6, 143, "fpu avx2 avx512f avx512_vnni amx_int8");
        assert_eq!(amx.describe(), "X 1 (avx2, avx512f, avx512_vnni, amx_int8)");
        let arm = Processor::parse("processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU architecture: 8\n");
        assert_eq!(arm.describe(), "unknown processor ()");
        assert!(arm.has("asimddp"));
    }

    #[test]
    fn a_peer_that_leaves_instructions_unused_is_noticed() {
        let amx = of("GenuineIntel", 6, 143, "avx2 avx512f avx512_vnni amx_int8");
        let used = "system_info: n_threads = 2 / 2 | CPU : AVX = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_VNNI = 1 | \
            AMX_INT8 = 1 | LLAMAFILE = 1 |";
        assert_eq!(amx.unused_features(used), [""; 0]);
        let unused = used.replace("AMX_INT8 = 1 | ", "").replace("AVX512_VNNI = 1", "AVX512_VNNI = 0");
        assert_eq!(amx.unused_features(&unused), ["AVX512_VNNI", "AMX_INT8"]);
    }
}
