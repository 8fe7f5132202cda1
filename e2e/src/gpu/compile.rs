//! `ostro-e2e gpu compile`: PTX of the kernels, the same on every machine, and whether the committed files are it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::assemble::{self, Report};
use super::modules::{self, Module};
use super::toolkit;
use crate::process::run_within;

#[path = "../../../kernels/src/cuda/early.rs"]
mod early;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernels/cuda");

/// A driver refuses PTX that is younger than itself; this is that of CUDA 12.0, which drivers since 525 read.
const PTX_VERSION: &str = "8.0";

/// A hint that PTX 8.3 brought, which needs not be there.
const YOUNGER_HINT: &str = ".pragma \"used_bytes_mask";

/// No kernel takes longer than a minute, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Writes the files of kernels/cuda/ptx that change, and takes away those of no module.
///
/// # Errors
/// The compiler cannot be fetched or a kernel does not compile.
pub(super) fn write() -> Result<()> {
    let compiled = compile_all(&modules::all())?;
    let folder = committed_folder();
    std::fs::create_dir_all(&folder)?;
    let changed = replace(&compiled, &folder)?;
    for name in &changed {
        println!("{}", folder.join(name).display());
    }
    eprintln!("{} of {} files changed", changed.len(), compiled.len());
    Ok(())
}

/// What is the same keeps its time, so that cargo builds nothing anew for it.
fn replace(compiled: &[(String, String)], folder: &Path) -> Result<BTreeSet<String>> {
    let different = differences(compiled, folder)?;
    for name in &different {
        let path = folder.join(name);
        match compiled.iter().find(|(file, _)| file == name) {
            Some((_, code)) => std::fs::write(&path, code),
            None => std::fs::remove_file(&path),
        }
        .with_context(|| format!("cannot change {}", path.display()))?;
    }
    Ok(different)
}

/// Compiles to a temporary folder, compares with the committed files and assembles for older CUDA what is loaded.
///
/// # Errors
/// As for `write`; files differ, which are named; or a kernel does not assemble, or spills too much. The error has
/// [`Unreachable`](super::Unreachable) as its context when the compiler cannot be fetched.
pub fn check() -> Result<()> {
    let all = modules::all();
    let assembler = toolkit::assembler()?;
    let compiled = compile_all(&all)?;
    let mut problems: Vec<String> = Vec::new();
    let different = differences(&compiled, &committed_folder())?;
    if !different.is_empty() {
        let names: Vec<&str> = different.iter().map(String::as_str).collect();
        problems.push(format!("kernels/cuda/ptx differs in {}; run ostro-e2e gpu compile", names.join(", ")));
    }
    for report in assemble_all(&assembler, &all, &compiled)? {
        print!("{report}");
        problems.extend(report.problems());
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn committed_folder() -> PathBuf {
    Path::new(SOURCES).join("ptx")
}

/// Name and text of each file.
fn compile_all(all: &[Module]) -> Result<Vec<(String, String)>> {
    let compiler = toolkit::compiler()?;
    let sources = Path::new(SOURCES).canonicalize().with_context(|| format!("there is no {SOURCES}"))?;
    let out = TempDir::new()?;
    in_parallel(all, |module| {
        let name = module.file_name();
        let code = compile(&compiler, &sources, module, &out.path().join(&name))?;
        for folder in [&sources, out.path(), compiler.parent().unwrap_or(&compiler)] {
            ensure!(!code.contains(&*folder.to_string_lossy()), "{name} names {}", folder.display());
        }
        Ok((name, code))
    })
}

fn compile(compiler: &Path, sources: &Path, module: &Module, out: &Path) -> Result<String> {
    eprintln!("compiling {}", module.name);
    let mut command = toolkit::command(compiler);
    command.current_dir(sources).args(module.compiler_flags()).arg("-o").arg(out);
    let ended = run_within(&mut command, LIMIT)?;
    ensure!(ended.status.success(), "{command:?} ended with {}: {}", ended.status, ended.text());
    eprint!("{}", ended.errors);
    let code = std::fs::read_to_string(out).with_context(|| format!("nvcc has made no {}", out.display()))?;
    for_older_drivers(&code).with_context(|| format!("the code of {}", module.name))
}

/// Lowers the version that the compiler stamps. That nothing younger is left is what assembling shows.
fn for_older_drivers(code: &str) -> Result<String> {
    let mut stamps = 0;
    let mut lowered = String::with_capacity(code.len());
    for line in code.lines().filter(|line| !line.trim_start().starts_with(YOUNGER_HINT)) {
        if line.starts_with(".version ") {
            stamps += 1;
            lowered.push_str(".version ");
            lowered.push_str(PTX_VERSION);
        } else {
            lowered.push_str(line);
        }
        lowered.push('\n');
    }
    ensure!(stamps == 1, "expected one .version, found {stamps}");
    Ok(lowered)
}

/// Files that are missing, too many, or of another content.
fn differences(compiled: &[(String, String)], folder: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut different = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if compiled.iter().all(|(file, _)| *file != name) {
            different.insert(name);
        }
    }
    let is_same = |name: &str, code: &str| {
        std::fs::read(folder.join(name)).is_ok_and(|committed| committed == code.as_bytes())
    };
    let changed = compiled.iter().filter(|(name, code)| !is_same(name, code));
    different.extend(changed.map(|(name, _)| name.clone()));
    Ok(different)
}

/// Each file for each of its GPUs; `compiled` is in the order of `all`.
fn assemble_all(assembler: &Path, all: &[Module], compiled: &[(String, String)]) -> Result<Vec<Report>> {
    let folder = TempDir::new()?;
    let pairs = all
        .iter()
        .zip(compiled)
        .flat_map(|(module, file)| module.assembled_for().iter().map(move |gpu| (file, *gpu)));
    let pairs: Vec<(&(String, String), &str)> = pairs.collect();
    in_parallel(&pairs, |((name, code), gpu)| {
        let folder = folder.path().join(gpu);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(name);
        std::fs::write(&file, as_loaded(code, gpu))?;
        assemble::assemble(assembler, &file, gpu)
    })
}

/// What the engine hands to the driver of such a GPU.
fn as_loaded(code: &str, gpu: &str) -> String {
    match gpu {
        "sm_90" => early::with_early_starts(code),
        _ => code.to_owned(),
    }
}

/// Results in the order of `items`, by as many threads as there are processors; the first error ends it.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    results.lock().expect("no thread panics with it").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics with it");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_stamped_for_older_drivers() {
        let code = "//\n.version 9.0\n.target sm_80\n\t.pragma \"used_bytes_mask 0xf\";\n\tret;\n";
        assert_eq!(for_older_drivers(code).unwrap(), "//\n.version 8.0\n.target sm_80\n\tret;\n");
        assert!(for_older_drivers("ret;\n").is_err());
    }

    #[test]
    fn kernels_that_start_early_are_assembled_as_such() {
        let code = ".target sm_80\n// ostro: wait\n// ostro: launch\n";
        assert_eq!(as_loaded(code, "sm_80"), code);
        let early = ".target sm_90\ngriddepcontrol.wait;\ngriddepcontrol.launch_dependents;\n";
        assert_eq!(as_loaded(code, "sm_90"), early);
    }

    #[test]
    fn files_that_differ_are_named_and_replaced() {
        let folder = TempDir::new().unwrap();
        for (name, code) in [("same.ptx", "a"), ("changed.ptx", "a"), ("old.ptx", "a")] {
            std::fs::write(folder.path().join(name), code).unwrap();
        }
        let compiled = [("same.ptx", "a"), ("changed.ptx", "b"), ("new.ptx", "c")];
        let compiled = compiled.map(|(name, code)| (name.to_owned(), code.to_owned()));
        let different = differences(&compiled, folder.path()).unwrap();
        assert_eq!(different.iter().collect::<Vec<_>>(), ["changed.ptx", "new.ptx", "old.ptx"]);
        assert_eq!(replace(&compiled, folder.path()).unwrap(), different);
        assert!(differences(&compiled, folder.path()).unwrap().is_empty());
    }

    #[test]
    fn work_in_parallel_keeps_its_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(in_parallel(&items, |item| Ok(item * 2)).unwrap()[99], 198);
        let error = in_parallel(&items, |item| match item {
            50 => anyhow::bail!("fifty"),
            _ => Ok(()),
        });
        assert_eq!(error.unwrap_err().to_string(), "fifty");
    }
}
