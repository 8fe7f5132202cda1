//! The machine under the numbers.

use anyhow::{Context, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    model: String,
    /// As `/proc/cpuinfo` has it, where the maker is AMD.
    amd_family: Option<u32>,
    flags: Vec<String>,
    pub(super) threads: usize,
    memory_gib: u64,
    kernel: String,
}

/// Of `/proc/cpuinfo`, and what llama.cpp calls it when it uses it.
const FEATURES: [(&str, &str); 5] = [
    ("avx2", "AVX2"),
    ("avx512f", "AVX512"),
    ("avx512_vnni", "AVX512_VNNI"),
    ("avx512_bf16", "AVX512_BF16"),
    ("amx_int8", "AMX_INT8"),
];

impl Machine {
    pub(super) fn read() -> Result<Machine> {
        let read = |path| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let threads = std::thread::available_parallelism()?.get();
        let (model, amd_family, flags) = parse_cpuinfo(&read("/proc/cpuinfo")?);
        let memory_gib = parse_memory_kib(&read("/proc/meminfo")?).unwrap_or_default() >> 20;
        let kernel = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
        Ok(Machine { model, amd_family, flags, threads, memory_gib, kernel })
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    pub(super) fn has_amx(&self) -> bool {
        self.has("amx_int8")
    }

    /// The machines whose numbers do not compare. Of AMD's with AVX-512, Zen 4 has vector units of half the width.
    pub(super) fn kind(&self) -> &'static str {
        match (self.has_amx(), self.has("avx512f"), self.amd_family) {
            (true, ..) => "x86-64 with AMX",
            (false, true, Some(25)) => "AMD Zen 4",
            (false, true, Some(26)) => "AMD Zen 5",
            (false, true, _) => "x86-64 with AVX-512",
            (false, false, _) => "without AVX-512",
        }
    }

    pub(super) fn describe(&self) -> String {
        let Machine { model, amd_family: _, flags: _, threads, memory_gib, kernel } = self;
        let known: Vec<_> =
            FEATURES.iter().filter(|(flag, _)| self.has(flag)).map(|(flag, _)| *flag).collect();
        format!("{model} ({}), {threads} threads, {memory_gib} GiB, Linux {kernel}", known.join(", "))
    }

    /// What the processor has and `system_info` of llama.cpp does not claim to use.
    pub(super) fn unused_features(&self, system_info: &str) -> Vec<&'static str> {
        let words: Vec<&str> = system_info.split(['|', ':', ',']).map(str::trim).collect();
        let used = |name: &str| words.iter().any(|word| word.replace(' ', "") == format!("{name}=1"));
        let has = FEATURES.iter().filter(|(flag, _)| self.has(flag));
        has.map(|(_, name)| *name).filter(|name| !used(name)).collect()
    }
}

/// The name of the first processor, its family where AMD made it, and what it can do.
fn parse_cpuinfo(text: &str) -> (String, Option<u32>, Vec<String>) {
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let flags = [value("flags"), value("Features")].join(" ");
    let model = match value("model name") {
        "" => "unknown processor",
        model => model,
    };
    let amd_family = value("cpu family").parse().ok().filter(|_| value("vendor_id") == "AuthenticAMD");
    (model.to_owned(), amd_family, flags.split_whitespace().map(str::to_owned).collect())
}

fn parse_memory_kib(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(flags: &str) -> Machine {
        let text = format!("processor\t: 0\nmodel name\t: Xeon X\nflags\t\t: {flags}\n\nprocessor\t: 1\n");
        let (model, amd_family, flags) = parse_cpuinfo(&text);
        Machine { model, amd_family, flags, threads: 2, memory_gib: 23, kernel: "6.1".to_owned() }
    }

    #[test]
    fn machine_is_described_by_what_matters() {
        let amx = machine("fpu avx2 avx512f avx512_vnni amx_int8");
        assert_eq!(
            amx.describe(),
            "Xeon X (avx2, avx512f, avx512_vnni, amx_int8), 2 threads, 23 GiB, Linux 6.1"
        );
        assert_eq!(amx.kind(), "x86-64 with AMX");
        assert_eq!(machine("avx2 avx512f").kind(), "x86-64 with AVX-512");
        let amd = |family| {
            let text = format!("vendor_id\t: AuthenticAMD\ncpu family\t: {family}\nflags\t: avx512f\n");
            let (model, amd_family, flags) = parse_cpuinfo(&text);
            Machine { model, amd_family, flags, ..machine("") }.kind()
        };
        assert_eq!([amd(23), amd(25), amd(26)], ["x86-64 with AVX-512", "AMD Zen 4", "AMD Zen 5"]);
        assert_eq!(parse_memory_kib("MemTotal:       24583344 kB\nMemFree: 1 kB\n"), Some(24583344));
    }

    #[test]
    fn a_peer_that_leaves_instructions_unused_is_noticed() {
        let machine = machine("avx2 avx512f avx512_vnni amx_int8");
        let used = "system_info: n_threads = 2 / 2 | CPU : AVX = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_VNNI = 1 | \
            AMX_INT8 = 1 | LLAMAFILE = 1 |";
        assert_eq!(machine.unused_features(used), [""; 0]);
        let unused = used.replace("AMX_INT8 = 1 | ", "").replace("AVX512_VNNI = 1", "AVX512_VNNI = 0");
        assert_eq!(machine.unused_features(&unused), ["AVX512_VNNI", "AMX_INT8"]);
    }
}
