//! `ostro pull`: the models' files, so that whoever serves them later need not wait.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::ArgMatches;
use ostro_server::{Downloads, Port, Progress};

use super::{beside, document, load, print, start_logging, supported};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::hub::hub_options;
use crate::load::find;
use crate::progress::Bar;
use crate::translate::{ModelPlan, Plan};

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let document = document(matches)?;
    let plan = supported(&load(document, matches)?, environment)?;
    start_logging(&plan, matches, environment)?;
    let runtime = beside::start()?;
    let downloads = Downloads::new(plan.models.iter().map(|model| model.id.clone()));
    if let Some(address) = matches.get_one::<SocketAddr>("listen") {
        let port = runtime.block_on(Port::open(&address.ip().to_string(), address.port()));
        runtime.spawn(downloads.clone().serve(port.context("cannot tell of the downloads")?));
    }
    let pulled = pull(&plan, environment, &downloads);
    runtime.shutdown_background();
    pulled
}

fn pull(plan: &Plan, environment: &Environment, downloads: &Downloads) -> Result<(), Failure> {
    for (number, model) in plan.models.iter().enumerate() {
        let path = pull_one(model, (plan, environment), &|step| downloads.tell(number, &step))?;
        downloads.tell(number, &Progress { stage: "downloaded".into(), done: 1, total: 1 });
        tracing::info!(model = model.id, path = %path.display(), "downloaded");
        print(format!("{}\t{}\n", model.id, path.display()).as_bytes())?;
    }
    Ok(())
}

fn pull_one(
    model: &ModelPlan,
    (plan, environment): (&Plan, &Environment),
    progress: &dyn Fn(Progress),
) -> Result<PathBuf, Failure> {
    let hub = hub_options(environment, &plan.token_source, model.hub_cache.clone())?;
    let bar = Bar::new();
    let found = find(model, &hub, &|step| {
        bar.show(&step);
        progress(step);
    });
    Ok(found.map_err(anyhow::Error::new)?)
}
