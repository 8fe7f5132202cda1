//! docs/benchmarks.md: a section for each kind of machine and model. A run replaces its own section.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const HEAD: &str = "# Benchmarks

<!-- Written by `ostro-e2e bench peers`; do not edit. Each run replaces the section of its machine and model. -->

Absolute numbers on a shared machine drift with its neighbours; only ratios inside one run are claims. Every value is
the median of runs taken in turn with the other programs', least and most in parentheses. \"Times better\" is against
the best peer, bold where the target is met; there are targets for machines with AMX and for AMD Zen 5 only.

Run it: `cargo build --release && target/release/ostro-e2e bench peers` (installs and builds the peers once; `--quick`
looks, `--only ROW,ROW` repeats some rows). One model in this process: `ostro bench`; any server: `ostro bench --url`.
Kernel rates beside a plain read or copy: `cargo run --release -p ostro-kernels --example linear_rates`, `attention_rates`
and `row_rates`; scheduler and sampler: `cargo run --release -p ostro-engine --example step_overhead`; tokenizers:
`tokenize_rates`.
";

pub(super) struct Section {
    /// Such as `SmolLM2-135M, x86-64 with AMX`.
    pub(super) title: String,
    pub(super) body: String,
}

/// Before hours of work: whether there is a folder for a page to be written to.
pub(super) fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "--page: the folder {} does not exist", folder.display());
    Ok(())
}

/// Puts the section into the page at `path`.
pub(super) fn write(path: &Path, section: Section) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, with_section(&old, section))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn with_section(old: &str, section: Section) -> String {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    // Pages of another make have no sections of ours.
    if old.starts_with(&HEAD[..HEAD.find("Each run").unwrap_or(0)]) {
        for text in old.split("\n## ").skip(1) {
            let (title, body) = text.split_once('\n').unwrap_or((text, ""));
            sections.insert(title.trim().to_owned(), body.trim().to_owned());
        }
    }
    sections.insert(section.title, section.body.trim().to_owned());
    let texts = sections.iter().map(|(title, body)| format!("\n## {title}\n\n{body}\n"));
    HEAD.chars().chain(texts.collect::<String>().chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_be_named_without_a_folder() {
        check_folder(Path::new("x.md")).unwrap();
        check_folder(&std::env::temp_dir().join("x.md")).unwrap();
        check_folder(Path::new("no-such-folder/x.md")).unwrap_err();
    }

    #[test]
    fn a_run_replaces_its_section_and_no_other() {
        let section = |title: &str, body: &str| Section { title: title.to_owned(), body: body.to_owned() };
        let first = with_section("# Benchmarks\n\n## By hand\n\nold\n", section("B", "one\n"));
        assert_eq!(first, format!("{HEAD}\n## B\n\none\n"));
        let second = with_section(&first, section("A", "two"));
        let third = with_section(&second, section("B", "three\n\n| x |\n"));
        assert_eq!(third, format!("{HEAD}\n## A\n\ntwo\n\n## B\n\nthree\n\n| x |\n"));
    }
}
