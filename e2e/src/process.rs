//! Processes: one run to its end, and what the kernel says of a running one.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs to a good end, with its output on standard error: our own standard output is for results.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::from(std::io::stderr())).status();
    let status = status.with_context(|| format!("cannot start {program}; is it installed?"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    bytes_of(&status, "VmRSS:").context("no VmRSS")
}

/// Bytes of a line such as `VmRSS:   12 kB`.
pub(crate) fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_lines_are_in_kib() {
        let text = "Rss:    300 kB\nAnonymous:        200 kB\nAnonHugePages:    100 kB\n";
        assert_eq!(bytes_of(text, "AnonHugePages:"), Some(102_400));
        assert_eq!(bytes_of(text, "Swap:"), None);
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn what_cannot_run_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains('3'), "{error}");
    }
}
