//! The machine under the numbers.

use anyhow::{Context, Result};

use super::processor::Processor;
use crate::process::bytes_of;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) processor: Processor,
    pub(super) threads: usize,
    memory_gib: u64,
    kernel: String,
}

impl Machine {
    pub(super) fn read() -> Result<Machine> {
        let read = |path| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let threads = std::thread::available_parallelism()?.get();
        let processor = Processor::parse(&read("/proc/cpuinfo")?);
        let memory_gib = bytes_of(&read("/proc/meminfo")?, "MemTotal:").unwrap_or_default() >> 30;
        let kernel = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
        Ok(Machine { processor, threads, memory_gib, kernel })
    }

    pub(super) fn describe(&self) -> String {
        let Machine { processor, threads, memory_gib, kernel } = self;
        format!("{}, {threads} threads, {memory_gib} GiB, Linux {kernel}", processor.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_described_by_what_matters() {
        let processor = Processor::parse("model name\t: Xeon X\nflags\t\t: fpu avx2\n");
        let machine = Machine { processor, threads: 2, memory_gib: 23, kernel: "6.1".to_owned() };
        assert_eq!(machine.describe(), "Xeon X (avx2), 2 threads, 23 GiB, Linux 6.1");
    }
}
