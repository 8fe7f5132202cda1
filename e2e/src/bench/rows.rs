//! The rows of the comparison: what is measured, in which unit, and how much better Ostro means to be.

use anyhow::{Result, bail};

use super::processor::Kind;

/// The model that most targets are written for.
pub(super) const SMALL_MODEL: &str = "smollm2-135m-instruct";

/// One row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    pub(super) visit: Visit,
    /// How many times better than the best peer.
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
}

/// One start of a program; serving gives several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    Prefill {
        tokens: u32,
    },
    /// Of 128 tokens.
    Decode {
        depth: u32,
    },
    /// Of 128 tokens by 16 sequences, after prompts of 128.
    Batch,
    Serve,
    /// A server with what it does by itself about answers that repeat their prompts.
    Edits,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    amx: f64,
    zen5: f64,
    large_model: f64,
}

/// Which of its targets a row is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    Amx,
    Zen5,
    /// Models other than SmolLM2, on both: K-quants, a large vocabulary.
    LargeModel,
}

pub(super) const ROWS: [Row; 13] = [
    rate("prefill-512", "prefill 512", Visit::Prefill { tokens: 512 }, [5.0, 5.0, 3.0]),
    rate("prefill-2048", "prefill 2048", Visit::Prefill { tokens: 2048 }, [8.0, 4.5, 3.0]),
    rate("decode", "decode 128, depth 0", Visit::Decode { depth: 0 }, [2.0, 2.2, 1.7]),
    rate("decode-1024", "decode 128, depth 1024", Visit::Decode { depth: 1024 }, [5.0, 3.0, 1.7]),
    rate("decode-4096", "decode 128, depth 4096", Visit::Decode { depth: 4096 }, [5.0, 3.0, 1.7]),
    rate("batch-16", "decode 128, 16 sequences, depth 128", Visit::Batch, [6.0, 5.0, 1.7]),
    rate("http-16", "HTTP, 16 clients", Visit::Serve, [8.0, 5.0, 1.7]),
    cost("http-16-ttft", "HTTP, 16 clients: TTFT p50", "ms", [6.0, 5.0, 3.0]),
    cost("http-1-ttft", "HTTP, 1 client: TTFT p50", "ms", [3.0, 3.5, 3.0]),
    cost("http-1-tpot", "HTTP, 1 client: TPOT p50", "ms", [2.0, 2.0, 1.7]),
    cost("load", "load to ready", "ms", [2.0, 2.0, 2.0]),
    cost("rss", "RSS with 8 chats", "MiB", [1.5, 1.5, 1.5]),
    Row { visit: Visit::Edits, ..cost("edits", "HTTP, 1 client edits code: a token", "ms", [2.0, 2.0, 1.7]) },
];

const fn rate(id: &'static str, title: &'static str, visit: Visit, target: [f64; 3]) -> Row {
    Row { id, title, unit: "tok/s", better: Better::Higher, visit, target: Target::new(target) }
}

const fn cost(id: &'static str, title: &'static str, unit: &'static str, target: [f64; 3]) -> Row {
    Row { id, title, unit, better: Better::Lower, visit: Visit::Serve, target: Target::new(target) }
}

impl Visit {
    /// The first row that it gives; all but serving give one.
    pub(super) fn id(self) -> &'static str {
        ROWS.iter().find(|row| row.visit == self).map_or("", |row| row.id)
    }
}

impl Target {
    const fn new([amx, zen5, large_model]: [f64; 3]) -> Target {
        Target { amx, zen5, large_model }
    }
}

impl Targets {
    /// `None`: nothing is aimed at on machines of another kind.
    pub(super) fn of(kind: &Kind, model: &str) -> Option<Targets> {
        match kind {
            Kind::Other(_) => None,
            Kind::Amx | Kind::Zen5 if model != SMALL_MODEL => Some(Targets::LargeModel),
            Kind::Amx => Some(Targets::Amx),
            Kind::Zen5 => Some(Targets::Zen5),
        }
    }
}

impl Row {
    pub(super) fn target(&self, targets: Targets) -> f64 {
        match targets {
            Targets::Amx => self.target.amx,
            Targets::Zen5 => self.target.zen5,
            Targets::LargeModel => self.target.large_model,
        }
    }

    /// How many times better `ours` is.
    pub(super) fn times_better(&self, ours: f64, theirs: f64) -> f64 {
        match self.better {
            Better::Higher => ours / theirs,
            Better::Lower => theirs / ours,
        }
    }
}

/// The rows named, in the table's order; all when none is.
pub(super) fn chosen(ids: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = ids.iter().find(|id| ROWS.iter().all(|row| row.id != **id)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        bail!("--only {unknown}: must be of {}", known.join(", "));
    }
    Ok(ROWS.iter().filter(|row| ids.is_empty() || ids.iter().any(|id| id == row.id)).collect())
}

/// The starts that the rows need, each once.
pub(super) fn visits(rows: &[&Row]) -> Vec<Visit> {
    let mut visits: Vec<Visit> = rows.iter().map(|row| row.visit).collect();
    visits.dedup();
    visits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_in_order_and_unknown_ones_named() {
        let ids = |of: &[&str]| -> Vec<String> { of.iter().map(|id| (*id).to_owned()).collect() };
        let rows = chosen(&ids(&["load", "prefill-512", "rss"])).unwrap();
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ["prefill-512", "load", "rss"]);
        assert_eq!(visits(&rows), [Visit::Prefill { tokens: 512 }, Visit::Serve]);
        assert_eq!(visits(&chosen(&[]).unwrap()).len(), 8);
        let error = chosen(&ids(&["prefil"])).unwrap_err().to_string();
        assert!(error.starts_with("--only prefil: must be of prefill-512, "), "{error}");
    }

    #[test]
    fn lower_costs_and_higher_rates_are_better() {
        assert_eq!(ROWS[0].times_better(300.0, 100.0), 3.0);
        assert_eq!(ROWS[11].times_better(100.0, 300.0), 3.0);
    }

    #[test]
    fn only_the_machines_they_are_written_for_have_targets() {
        let zen4 = Kind::Other("AMD Zen 4".to_owned());
        for (kind, model, expected) in [
            (&Kind::Amx, SMALL_MODEL, Some(8.0)),
            (&Kind::Zen5, SMALL_MODEL, Some(4.5)),
            (&Kind::Amx, "qwen", Some(3.0)),
            (&Kind::Zen5, "qwen", Some(3.0)),
            (&zen4, SMALL_MODEL, None),
            (&zen4, "qwen", None),
        ] {
            let target = Targets::of(kind, model).map(|targets| ROWS[1].target(targets));
            assert_eq!(target, expected, "{kind:?} {model}");
        }
    }
}
