//! `ostro prune`: what the model cache holds that a configuration does not need.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::ArgMatches;
use ostro_engine::text::TextOverrides;
use ostro_server::weights::{HubOptions, ModelReference, Unneeded, What, finish_removals, unneeded};

use super::{document, load, print, start_logging, supported};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::hub::{cache_folder, hub_options};
use crate::load::reference;
use crate::translate::Plan;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let plan = supported(&load(document(matches)?, matches)?, environment)?;
    start_logging(&plan, matches, environment)?;
    let needed = needed(&plan);
    let is_told_to = matches.get_flag("yes");
    let mut failures = Vec::new();
    for (folder, hub) in caches(&plan, environment)? {
        let (found, failed) =
            unneeded(&needed, &hub).with_context(|| format!("cannot prune {}", folder.display()))?;
        failures.extend(failed);
        if is_told_to {
            failures.extend(finish_removals(&hub).err());
        }
        for one in found {
            match if is_told_to { one.remove() } else { Ok(true) } {
                Ok(true) => print(line(&one).as_bytes())?,
                Ok(false) => tracing::warn!(model = one.model, "stays: some process downloads a file of it"),
                Err(error) => failures.push(error),
            }
        }
    }
    let failed = failures.into_iter().map(|error| format!("{:#}", anyhow::Error::new(error)));
    match failed.collect::<Vec<_>>().join("; ") {
        failed if failed.is_empty() => Ok(()),
        failed => Err(anyhow!("cannot prune all of it: {failed}").into()),
    }
}

/// The models, and files that are read beside them.
fn needed(plan: &Plan) -> Vec<ModelReference> {
    let beside = plan.models.iter().flat_map(|model| {
        let TextOverrides { tokenizer, chat_template, jinja_explicit } = &model.engine.text;
        [tokenizer, chat_template, jinja_explicit].into_iter().flatten()
    });
    let file = |path: &PathBuf| ModelReference { model: path.display().to_string(), ..Default::default() };
    plan.models.iter().map(reference).chain(beside.map(file)).collect()
}

/// Each once, the usual one too where no model has it.
fn caches(plan: &Plan, environment: &Environment) -> Result<BTreeMap<PathBuf, HubOptions>, Failure> {
    let own = plan.models.iter().map(|model| model.hub_cache.clone());
    let all = own.chain([None]).map(|cache| {
        let hub = hub_options(environment, &plan.token_source, cache)?;
        Ok((cache_folder(&hub), hub))
    });
    all.collect()
}

fn line(Unneeded { model, what, bytes, .. }: &Unneeded) -> String {
    let what = match what {
        What::Model => "the model".to_owned(),
        What::Files(names) => names.join(", "),
    };
    format!("{model}\t{bytes}\t{what}\n")
}
