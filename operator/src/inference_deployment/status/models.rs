//! Each model's state, from what the pods' daemons say; of a pod that could not be asked, from its readiness, since a
//! pod is ready when all of its models are loaded. Pure.

use ostro_crds::{ModelState, ModelStatus};

use super::super::daemons::PodModels;

/// As `ostro pull` calls a model that it is done with.
const DOWNLOADED: &str = "downloaded";

pub(super) fn statuses(ids: &[String], pods: &[PodModels]) -> Vec<ModelStatus> {
    ids.iter().map(|id| status(id, pods)).collect()
}

/// How many of the models are loaded in at least one ready pod.
pub(super) fn ready(ids: &[String], pods: &[PodModels]) -> usize {
    let serves = |id: &str| pods.iter().any(|pod| pod.is_ready && is_loaded(pod, id));
    ids.iter().filter(|id| serves(id)).count()
}

/// What the first pod that is not ready waits for.
pub(super) fn news(ids: &[String], pods: &[PodModels]) -> Option<String> {
    let pod = pods.iter().find(|pod| !pod.is_ready && pod.told.is_some())?;
    let told = pod.told.as_deref()?;
    let loads = told.iter().find(|told| told.state == Some(ModelState::Loading))?;
    let loaded = ids.iter().filter(|id| is_loaded(pod, id)).count();
    Some(format!("loading {}: {loaded} of {} models", loads.id, ids.len()))
}

/// How far the Job is with what it downloads, or will.
pub(super) fn download(pods: &[PodModels]) -> Option<String> {
    let loading = pods.iter().filter(|pod| !pod.is_ready).flat_map(|pod| pod.told.iter().flatten());
    let steps = loading.filter_map(|told| Some((&told.id, told.message.as_deref()?)));
    let (id, step) = steps.into_iter().find(|(_, step)| !step.starts_with(DOWNLOADED))?;
    Some(format!("{id}: {step}"))
}

fn status(id: &str, pods: &[PodModels]) -> ModelStatus {
    let says = pods.iter().filter_map(|pod| says(pod, id));
    // The first of those that are equally bad.
    let worst = says.min_by_key(|(state, _)| match state {
        ModelState::Failed => 0,
        ModelState::Loading => 1,
        ModelState::Loaded => 2,
    });
    let (state, message) = worst.unzip();
    ModelStatus {
        id: id.to_owned(),
        replicas_loaded: pods.iter().filter(|pod| is_loaded(pod, id)).count().try_into().unwrap_or(i32::MAX),
        state,
        message: message.flatten(),
    }
}

fn is_loaded(pod: &PodModels, id: &str) -> bool {
    says(pod, id).is_some_and(|(state, _)| state == ModelState::Loaded)
}

fn says(pod: &PodModels, id: &str) -> Option<(ModelState, Option<String>)> {
    let Some(told) = &pod.told else { return pod.is_ready.then_some((ModelState::Loaded, None)) };
    let told = told.iter().find(|told| told.id == id)?;
    Some((told.state?, told.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::super::daemons::Told;
    use super::*;

    const IDS: [&str; 2] = ["a/b", "c"];

    fn ids() -> Vec<String> {
        IDS.map(str::to_owned).to_vec()
    }

    /// A pod that says these of the first models: `l`oading, `L`oaded, `F`ailed, `?`; `-` could not be asked.
    fn pod(is_ready: bool, says: &str) -> PodModels {
        let told = |(id, says): (&str, char)| {
            let (state, message) = match says {
                'l' => (Some(ModelState::Loading), Some("download".to_owned())),
                'L' => (Some(ModelState::Loaded), None),
                'F' => (Some(ModelState::Failed), Some("no such file".to_owned())),
                _ => (None, None),
            };
            Told { id: id.to_owned(), state, message }
        };
        let told = (says != "-").then(|| IDS.into_iter().zip(says.chars()).map(told).collect());
        PodModels { is_ready, template: None, told }
    }

    /// The models' lines, how many are ready, and the news.
    fn seen(pods: &[PodModels]) -> (Vec<String>, usize, String) {
        let line = |model: ModelStatus| {
            let state = model.state.map_or_else(|| "-".to_owned(), |state| format!("{state:?}"));
            let message = model.message.map(|message| format!(" {message}")).unwrap_or_default();
            format!("{} {state}{message}", model.replicas_loaded)
        };
        let lines = statuses(&ids(), pods).into_iter().map(line).collect();
        (lines, ready(&ids(), pods), news(&ids(), pods).unwrap_or_default())
    }

    #[test]
    fn the_worst_that_a_pod_says_is_told_and_loaded_ones_are_counted() {
        let (ready, starts) = (|says| pod(true, says), |says| pod(false, says));
        let cases: &[(&[PodModels], [&str; 2], usize, &str)] = &[
            (&[], ["0 -", "0 -"], 0, ""),
            (&[starts("ll")], ["0 Loading download", "0 Loading download"], 0, "loading a/b: 0 of 2 models"),
            (&[starts("Ll")], ["1 Loaded", "0 Loading download"], 0, "loading c: 1 of 2 models"),
            (&[starts("LL")], ["1 Loaded", "1 Loaded"], 0, ""),
            (&[ready("LL")], ["1 Loaded", "1 Loaded"], 2, ""),
            (&[starts("LF")], ["1 Loaded", "0 Failed no such file"], 0, ""),
            (
                &[starts("lF"), ready("LL")],
                ["1 Loading download", "1 Failed no such file"],
                2,
                "loading a/b: 0 of 2 models",
            ),
            // A rollout: the old pods do not have the second model.
            (&[ready("L"), starts("Ll")], ["2 Loaded", "0 Loading download"], 1, "loading c: 1 of 2 models"),
            // It could not be asked.
            (&[ready("-")], ["1 Loaded", "1 Loaded"], 2, ""),
            (&[starts("-")], ["0 -", "0 -"], 0, ""),
            (&[starts("-"), ready("-")], ["1 Loaded", "1 Loaded"], 2, ""),
            (
                &[starts("-"), starts("ll")],
                ["0 Loading download", "0 Loading download"],
                0,
                "loading a/b: 0 of 2 models",
            ),
            // A daemon of another version, with states of its own.
            (&[ready("L?")], ["1 Loaded", "0 -"], 1, ""),
            // Its engine has ended, and the kubelet has not seen it yet.
            (&[ready("FL"), ready("LL")], ["1 Failed no such file", "2 Loaded"], 2, ""),
        ];
        for (pods, models, count, news) in cases {
            let (lines, ready, told) = seen(pods);
            assert_eq!(
                (lines, ready, told.as_str()),
                (models.map(str::to_owned).to_vec(), *count, *news),
                "{pods:?}"
            );
        }
    }
}
