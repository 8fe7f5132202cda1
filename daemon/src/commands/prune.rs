//! `ostro prune`: what the model cache holds that a configuration does not need.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::ArgMatches;
use ostro_engine::text::TextOverrides;
use ostro_server::weights::{
    HubOptions, ModelLocation, ModelReference, Need, Pulse, Removal, Unneeded, WeightsError, What,
    finish_removals, unneeded,
};

use super::{beside, document, load, print, start_logging, supported};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::hub::hub_options;
use crate::load::reference;
use crate::terminal;
use crate::translate::Plan;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let plan = supported(&load(document(matches)?, matches)?, environment)?;
    start_logging(&plan, matches, environment)?;
    let _beside = beside::start()?;
    let pulse = Pulse::start();
    let models = models(&plan, environment)?;
    let needs = || models.iter().map(|(model, hub)| Need::of(model, hub)).collect::<Result<Vec<_>, _>>();
    let known = needs().context("nothing is pruned")?;
    let is_told_to = matches.get_flag("yes");
    let mut failures = Vec::new();
    'caches: for cache in caches(&models, &plan, environment)? {
        let (found, failed) =
            unneeded(&cache, &known).with_context(|| format!("cannot prune {}", cache.display()))?;
        failures.extend(failed);
        if is_told_to {
            failures.extend(finish_removals(&cache).err());
        }
        for one in found {
            let removed = if is_told_to { one.remove(needs, &pulse) } else { Ok(Removal::Done(one)) };
            let stood_still = matches!(removed, Err(WeightsError::StoodStill(_)));
            failures.extend(tell(removed)?);
            if stood_still {
                break 'caches;
            }
        }
    }
    let failed = failures.into_iter().map(|error| format!("{:#}", anyhow::Error::new(error)));
    match failed.collect::<Vec<_>>().join("; ") {
        failed if failed.is_empty() => Ok(()),
        failed => Err(anyhow!("cannot prune all of it: {failed}").into()),
    }
}

fn tell(removed: Result<Removal, WeightsError>) -> Result<Option<WeightsError>, Failure> {
    match removed {
        Ok(Removal::Done(one)) => print(line(&one).as_bytes())?,
        Ok(Removal::InUse(model)) => tracing::warn!(model, "stays: some process downloads or removes it"),
        Ok(Removal::Needed(model)) => tracing::info!(model, "stays: it is needed since, or removed already"),
        Err(error) => return Ok(Some(error)),
    }
    Ok(None)
}

/// The models, and files that are read beside them.
fn models(plan: &Plan, environment: &Environment) -> Result<Vec<(ModelReference, HubOptions)>, Failure> {
    let hub = |cache: Option<PathBuf>| hub_options(environment, &plan.token_source, cache);
    let mut all = Vec::new();
    for model in &plan.models {
        all.push((reference(model), hub(model.hub_cache.clone())?));
        let TextOverrides { tokenizer, chat_template, jinja_explicit } = &model.engine.text;
        for path in [tokenizer, chat_template, jinja_explicit].into_iter().flatten() {
            all.push((ModelLocation::Path(path.clone()).into(), hub(None)?));
        }
    }
    Ok(all)
}

/// The usual one too where no model has it.
fn caches(
    models: &[(ModelReference, HubOptions)],
    plan: &Plan,
    environment: &Environment,
) -> Result<BTreeSet<PathBuf>, Failure> {
    let usual = hub_options(environment, &plan.token_source, None)?.cache_folder();
    Ok(models.iter().map(|(_, hub)| hub.cache_folder()).chain([usual]).collect())
}

fn line(Unneeded { model, what, bytes, .. }: &Unneeded) -> String {
    let what = match what {
        What::Model => "the model".to_owned(),
        // Whoever wrote into the cache has named them.
        What::Files(names) => terminal::line(&names.join(", ")),
    };
    format!("{model}\t{bytes}\t{what}\n")
}
