//! Processes: one run to its end, and what the kernel says of a running one.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Deref, DerefMut, Range};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// All that it wrote.
    pub(crate) fn text(&self) -> String {
        [self.output.as_str(), &self.errors].join("\n")
    }
}

/// A running process that is killed and reaped with its owner.
pub struct Owned(Child);

impl Owned {
    pub fn new(process: Child) -> Owned {
        Owned(process)
    }

    /// Sends SIGTERM and waits for the end; `None` if there is none within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        self.signal("TERM")?;
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }
}

impl Deref for Owned {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to a good end, with its output on standard error: our own standard output is for results.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::from(std::io::stderr())).status();
    let status = status.with_context(|| format!("cannot start {program}; is it installed?"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}

/// Cargo in the workspace that this tool was built from.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// What says at which revision that workspace is.
pub(crate) fn git_describe() -> Command {
    let mut command = Command::new("git");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["describe", "--always", "--dirty"]);
    command
}

/// Runs to a good end; a failure tells the last line it wrote.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<Ended> {
    output_watched(command, limit, |_| {})
}

/// As `output_within`; until it ends, `watch` is called with its process id, once at least.
pub(crate) fn output_watched(
    command: &mut Command,
    limit: Duration,
    watch: impl FnMut(u32),
) -> Result<Ended> {
    let ended = run_watched(command, limit, watch)?;
    let last = last_line(&ended.errors);
    ensure!(ended.status.success(), "{command:?} ended with {}: {last}", ended.status);
    Ok(ended)
}

/// Runs to its end, good or bad, and keeps what it wrote; kills what outlasts `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<Ended> {
    run_watched(command, limit, |_| {})
}

fn run_watched(command: &mut Command, limit: Duration, mut watch: impl FnMut(u32)) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let output = read_all(child.stdout.take().context("standard output is piped")?);
    let errors = read_all(child.stderr.take().context("standard error is piped")?);
    let start = Instant::now();
    let status = loop {
        watch(child.id());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    Ok(Ended { status, output: text(output), errors: text(errors) })
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is still worth having.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or("no output")
}

/// Below those that the kernel gives to connections, of which one may be taken before a server has it, and below those
/// of Kubernetes' Services.
const PORTS: Range<u16> = 10_000..30_000;

/// A port that nothing listens on now.
///
/// # Errors
/// The system has none.
pub fn free_port() -> Result<u16> {
    free_ports().map(|[port]| port)
}

/// As many different ones.
///
/// # Errors
/// The system has less.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // Others look for ports at the same time.
    let start = RandomState::new().hash_one(N) as usize % PORTS.len();
    let mut candidates = PORTS.cycle().skip(start).take(PORTS.len());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = [0; N];
    for port in &mut ports {
        *port = candidates.find(is_free).context("no free port on loopback")?;
    }
    Ok(ports)
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_are_no_connections() {
        let ports: [u16; 64] = free_ports().unwrap();
        let different: BTreeSet<u16> = ports.into();
        assert!(different.len() == 64 && ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }

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

    #[test]
    fn what_outlasts_its_limit_is_killed() {
        let run = |script, limit| run_within(Command::new("sh").args(["-c", script]), limit);
        let ended = run("echo out; echo err >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((ended.status.code(), ended.text().as_str()), (Some(3), "out\n\nerr\n"));
        let error = run("exec sleep 60", Duration::from_millis(200)).err().unwrap().to_string();
        assert!(error.contains("200ms"), "{error}");
    }

    #[test]
    fn a_run_is_watched_by_its_process_id() {
        let mut watched = BTreeSet::new();
        let mut command = Command::new("sh");
        let command = command.args(["-c", "echo $$"]);
        let ended = output_watched(command, Duration::from_secs(60), |id| _ = watched.insert(id)).unwrap();
        let id: u32 = ended.output.trim().parse().unwrap();
        assert_eq!(watched, BTreeSet::from([id]));
    }
}
