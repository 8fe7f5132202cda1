//! `ostro-e2e bench peers`: Ostro beside other programs, on the same file, in turn, on this machine.

mod build;
mod edits;
mod huge_pages;
mod install;
mod llama_cpp;
mod machine;
mod mistral_rs;
pub mod operator;
mod ostro;
mod page;
mod processor;
mod program;
mod rows;
mod samples;
mod serve;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::download::LLAMA_CPP;
use crate::lock::lock;
use crate::process::git_describe;
use crate::{cache, daemon, model};
use huge_pages::HugePages;
use llama_cpp::{Choice, LlamaCpp};
use machine::Machine;
use mistral_rs::MistralRs;
use ostro::Ostro;
use program::{Program, output_of};
use rows::{Row, SMALL_MODEL, Targets, Visit};
use samples::Samples;
use table::Column;

#[derive(Args)]
pub struct Options {
    /// A GGUF model, as `model list` names them.
    #[arg(long, default_value = SMALL_MODEL)]
    model: String,
    /// Measurements of each row and program.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One round, and the page stays as it is.
    #[arg(long)]
    quick: bool,
    /// These rows only, and the page stays as it is: prefill-512, decode, http-16 and so on.
    #[arg(long, value_name = "ROW,ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Without mistral.rs, which takes minutes to read a long prompt of the larger model.
    #[arg(long)]
    llama_cpp_only: bool,
    /// The page to write.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md"))]
    page: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let rows = rows::chosen(&options.only)?;
    // Two at once would measure each other, and build the same programs.
    let _alone = lock(&cache::root()?.join("peers.lock"))?;
    let machine = Machine::read()?;
    let file = model::ensure_gguf(&options.model)?;
    page::check_folder(&options.page)?;
    let binary = daemon::binary()?;
    ensure!(is_release(&binary), "{} is not a release build: cargo build --release", binary.display());
    eprintln!("{}", machine.describe());
    let (mut llama, choices) = LlamaCpp::prepare(&machine, &file, &binary)?;
    let mut ostro = Ostro::new(binary, file.clone(), machine.threads);
    let mut mistral = match options.llama_cpp_only {
        true => None,
        false => Some(MistralRs::prepare(&file, machine.threads)?),
    };
    let rounds = if options.quick { 1 } else { options.rounds };
    let mut programs: Vec<&mut dyn Program> = vec![&mut ostro, &mut llama];
    programs.extend(mistral.as_mut().map(|program| -> &mut dyn Program { program }));
    let Measured { names, samples, pages } = measure(programs, &rows, rounds);
    let columns: Vec<Column<'_>> =
        names.iter().zip(&samples).map(|(name, samples)| Column { name, samples }).collect();
    let kind = machine.processor.kind();
    let table = table::table(&columns, &rows, Targets::of(&kind, &options.model));
    println!("{table}\n{}", describe_pages(&pages));
    if options.quick || !options.only.is_empty() {
        return Ok(());
    }
    let about = About {
        machine: &machine,
        file: &file,
        llama: &llama,
        choices: &choices,
        mistral: mistral.as_ref(),
        pages: &pages,
        rounds,
    };
    let title = format!("{}, {}", options.model, kind.name());
    page::write(&options.page, page::Section { title, body: format!("{}\n{table}", about.text()?) })?;
    println!("written to {}", options.page.display());
    Ok(())
}

/// Names and samples of all programs, and where the memory of each of their parts lay.
struct Measured {
    names: Vec<String>,
    samples: Vec<Samples>,
    pages: HugePages,
}

/// Every start of every program in every round, programs in turn.
fn measure(mut programs: Vec<&mut dyn Program>, rows: &[&'static Row], rounds: u32) -> Measured {
    let visits = rows::visits(rows);
    let names = programs.iter().map(|program| program.name().to_owned()).collect();
    let samples = programs.iter().map(|_| Samples::default()).collect();
    let mut measured = Measured { names, samples, pages: HugePages::default() };
    let Measured { samples, pages, .. } = &mut measured;
    for round in 1..=rounds {
        let round = format!("round {round} of {rounds}");
        for &visit in &visits {
            for (program, samples) in programs.iter_mut().zip(samples.iter_mut()) {
                measure_once(&mut **program, visit, samples, pages, &round);
            }
        }
    }
    measured
}

/// A program that has failed at something is not asked again, nor a slow one that has told how slow it is.
fn measure_once(
    program: &mut dyn Program,
    visit: Visit,
    samples: &mut Samples,
    pages: &mut HugePages,
    round: &str,
) {
    if samples.has_failed(visit.id()) || program.is_measured_once() && samples.has(visit.id()) {
        return;
    }
    match program.visit(visit, pages) {
        Ok(Some(values)) => {
            let texts: Vec<String> = values
                .iter()
                .map(|sample| format!("{} {:.1} {}", sample.id, sample.value, sample.setting))
                .collect();
            eprintln!("{round}: {:<10} {}", program.name(), texts.join(", "));
            samples.add(values);
        }
        Ok(None) => {}
        Err(error) => {
            eprintln!("{round}: {:<10} {visit:?} failed: {error:#}", program.name());
            let ids = rows::ROWS.iter().filter(|row| row.visit == visit).map(|row| row.id);
            ids.for_each(|id| samples.fail(id, &format!("{error:#}")));
        }
    }
}

/// What the page says above the table.
struct About<'a> {
    machine: &'a Machine,
    file: &'a Path,
    llama: &'a LlamaCpp,
    choices: &'a [Choice],
    mistral: Option<&'a MistralRs>,
    pages: &'a HugePages,
    rounds: u32,
}

impl About<'_> {
    fn text(&self) -> Result<String> {
        let About { machine, file, llama, choices, mistral, pages, rounds } = self;
        let date = first_line(Command::new("date").args(["-u", "+%F"]))?;
        let revision = first_line(&mut git_describe());
        let file = file.file_name().context("a model has a name")?.to_string_lossy();
        let chosen: Vec<String> = choices
            .iter()
            .map(|of| format!("{} prefill {:.0}, decode {:.0}", of.threading.name(), of.prefill, of.decode))
            .collect();
        let mistral = mistral.map(|of| format!("- {}.\n", of.describe())).unwrap_or_default();
        Ok(format!(
            "{date}, {rounds} rounds. Machine: {}. File: `{file}`.\n\n\
             - Ostro {}: `ostro bench --prompt-len N --depth N --concurrency N --prefix-cache-n 0`, \
             `ostro serve --max-seqs {} --pa-context-len {} --prompt-lookup-n 0` (but for edits of code). Its answers are greedy, \
             for which only the largest logits are looked for; llama-batched-bench computes all, and goes on with random tokens.\n\
             - llama.cpp {} (llama-cpp-python {}), {}, {}, since in tokens/s it was {}: `llama-bench -lm none -fa 0,1`, \
             `llama-batched-bench -npp 128 -ntg 128 -npl 16 -no-kvu`, `llama-server -c {} {}`, all with \
             `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`. It uses the instruction sets named above by its own account.\n\
             {mistral}- HTTP: `ostro bench --url`, unique prompts of about 218 tokens, 64 tokens an answer, temperature 0. \
             Edits of code: both servers as they are by default beside the arguments above, so Ostro with prompt lookup.\n\
             - {}\n",
            machine.describe(),
            revision.unwrap_or_else(|_| "of an unknown revision".to_owned()),
            serve::SEQUENCES,
            serve::CONTEXT_TOKENS,
            llama.version()?,
            LLAMA_CPP.version,
            build::describe(),
            llama.build().name(),
            chosen.join("; "),
            serve::CONTEXT_TOKENS,
            llama_cpp::SERVER_ARGUMENTS.join(" "),
            describe_pages(pages),
        ))
    }
}

fn describe_pages(pages: &HugePages) -> String {
    format!(
        "Memory in huge pages (anonymous; of each program its run with the smallest share): {}.",
        pages.describe()
    )
}

fn first_line(command: &mut Command) -> Result<String> {
    Ok(output_of(command)?.output.lines().next().unwrap_or_default().to_owned())
}

fn is_release(binary: &Path) -> bool {
    binary.parent().is_some_and(|folder| folder.ends_with("release"))
}
