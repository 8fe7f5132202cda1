//! What CUDA's assembler says of a file: registers and spills of each kernel.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::toolkit;
use crate::process::run_within;

/// Registers that did not suffice cost memory traffic. The most are those of 64 rows of K types (332 bytes, docs/gpu.md).
const SPILL_BYTES_MAX: u32 = 384;

const LIMIT: Duration = Duration::from_secs(300);

/// One file assembled for one GPU.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    gpu: &'static str,
    kernels: Vec<Kernel>,
    /// What the assembler warns of.
    notes: Vec<String>,
    /// All that it said, when it did not assemble.
    failure: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kernel {
    name: String,
    registers: u32,
    spill_store_bytes: u32,
    spill_load_bytes: u32,
}

/// # Errors
/// The assembler does not start; what it refuses is in the report.
pub(super) fn assemble(assembler: &Path, code: &Path, gpu: &'static str) -> Result<Report> {
    let file = code.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    let mut command = toolkit::command(assembler);
    command.args(["-v", "-arch", gpu, "-o"]).arg(code.with_extension(gpu)).arg(code);
    let ended = run_within(&mut command, LIMIT)?;
    let (kernels, notes) = parse(&ended.text());
    let failure = (!ended.status.success()).then(|| ended.text().trim().to_owned());
    Ok(Report { file, gpu, kernels, notes, failure })
}

impl Report {
    pub(super) fn problems(&self) -> Vec<String> {
        let Report { file, gpu, kernels, notes: _, failure } = self;
        if let Some(failure) = failure {
            return vec![format!("{file} does not assemble for {gpu}: {failure}")];
        }
        if kernels.is_empty() {
            return vec![format!("{file} for {gpu}: the assembler tells of no kernel")];
        }
        let over = kernels.iter().filter(|kernel| kernel.spilled() > SPILL_BYTES_MAX);
        over.map(|kernel| {
            let spilled = kernel.spilled();
            format!("{file} for {gpu}: {} spills {spilled} bytes, over {SPILL_BYTES_MAX}", kernel.name)
        })
        .collect()
    }
}

impl Kernel {
    fn spilled(&self) -> u32 {
        self.spill_store_bytes.max(self.spill_load_bytes)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} for {}:", self.file, self.gpu)?;
        for Kernel { name, registers, spill_store_bytes, spill_load_bytes } in &self.kernels {
            write!(formatter, "  {name:<24} {registers:>3} registers")?;
            if spill_store_bytes + spill_load_bytes > 0 {
                write!(formatter, ", spills {spill_store_bytes} bytes and reads {spill_load_bytes}")?;
            }
            writeln!(formatter)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(formatter, "  {note}"))
    }
}

/// Of `ptxas -v`: three lines a kernel, its name first.
fn parse(text: &str) -> (Vec<Kernel>, Vec<String>) {
    let (mut kernels, mut notes): (Vec<Kernel>, Vec<String>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.split_once("Compiling entry function '").map(|(_, rest)| rest) {
            let name = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Kernel { name, ..Kernel::default() });
        } else if line.contains("warning") || line.contains("Performance Loss") {
            notes.push(line.trim_start_matches("ptxas info    : ").to_owned());
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        let number = |after: &str| before(line, after);
        kernel.registers = number(" registers").unwrap_or(kernel.registers);
        // A function that a kernel calls has lines of its own.
        kernel.spill_store_bytes += number(" bytes spill stores").unwrap_or(0);
        kernel.spill_load_bytes += number(" bytes spill loads").unwrap_or(0);
    }
    (kernels, notes)
}

/// The number that stands before `words`.
fn before(line: &str, words: &str) -> Option<u32> {
    line.split_once(words)?.0.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of ptxas 12.4.131.
    const OUTPUT: &str = "\
ptxas info    : (C7515) Potential Performance Loss: wgmma.mma_async instructions are serialized in 'wide_256'
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'gated_Q4_D_8' for 'sm_80'
ptxas info    : Function properties for gated_Q4_D_8
    8 bytes stack frame, 4 bytes spill stores, 472 bytes spill loads
ptxas info    : Used 128 registers, 8704 bytes smem, 592 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compiling entry function 'linear_Q4_D_8' for 'sm_80'
ptxas info    : Function properties for linear_Q4_D_8
    32 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 98 registers, 32 bytes cumulative stack size, 8704 bytes smem
";

    fn report(output: &str, failure: Option<&str>) -> Report {
        let (kernels, notes) = parse(output);
        Report { file: "a.ptx".into(), gpu: "sm_80", kernels, notes, failure: failure.map(str::to_owned) }
    }

    #[test]
    fn registers_and_spills_are_read() {
        let report = report(OUTPUT, None);
        let expected = "\
a.ptx for sm_80:
  gated_Q4_D_8             128 registers, spills 4 bytes and reads 472
  linear_Q4_D_8             98 registers
  (C7515) Potential Performance Loss: wgmma.mma_async instructions are serialized in 'wide_256'
";
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.problems(), ["a.ptx for sm_80: gated_Q4_D_8 spills 472 bytes, over 384"]);
    }

    #[test]
    fn what_does_not_assemble_is_a_problem() {
        let problems = report("", Some("ptxas fatal")).problems();
        assert_eq!(problems, ["a.ptx does not assemble for sm_80: ptxas fatal"]);
        assert_eq!(report("", None).problems().len(), 1);
    }
}
