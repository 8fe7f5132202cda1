//! What the programs were measured at: values of each row, by the setting they were taken with.

use std::collections::BTreeMap;

use super::rows::{Better, Row};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// Of a row.
    pub(super) id: &'static str,
    /// Such as `-fa 0`; the best one counts.
    pub(super) setting: &'static str,
    pub(super) value: f64,
}

/// Everything measured of one program.
#[derive(Debug, Default)]
pub(super) struct Samples {
    values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    failures: BTreeMap<&'static str, String>,
}

/// A cell of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Measured(Summary),
    Failed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) count: usize,
    pub(super) setting: &'static str,
}

impl Samples {
    pub(super) fn add(&mut self, samples: Vec<Sample>) {
        for Sample { id, setting, value } in samples {
            self.values.entry((id, setting)).or_default().push(value);
        }
    }

    /// The first failure of a row is told; values that came before it do not count.
    pub(super) fn fail(&mut self, id: &'static str, reason: &str) {
        self.failures.entry(id).or_insert_with(|| reason.to_owned());
    }

    pub(super) fn has_failed(&self, id: &str) -> bool {
        self.failures.contains_key(id)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.values.keys().any(|(of, _)| *of == id)
    }

    /// The setting with the best median.
    pub(super) fn cell(&self, row: &Row) -> Option<Cell> {
        if let Some(reason) = self.failures.get(row.id) {
            return Some(Cell::Failed(reason.clone()));
        }
        let of_row = self.values.iter().filter(|((id, _), _)| *id == row.id);
        let summaries = of_row.map(|(&(_, setting), values)| Summary::of(setting, values));
        let best = summaries.min_by(|a, b| match row.better {
            Better::Lower => a.median.total_cmp(&b.median),
            Better::Higher => b.median.total_cmp(&a.median),
        });
        best.map(Cell::Measured)
    }
}

impl Summary {
    pub(super) fn of(setting: &'static str, values: &[f64]) -> Summary {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Summary { median, least, most, count: sorted.len(), setting }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    #[test]
    fn best_setting_counts_and_a_failure_shows() {
        let mut samples = Samples::default();
        let mut add = |row: &Row, setting, values: &[f64]| {
            samples.add(values.iter().map(|value| Sample { id: row.id, setting, value: *value }).collect());
        };
        let (rate, cost) = (&ROWS[0], &ROWS[11]);
        for row in [rate, cost] {
            add(row, "-fa 0", &[3.0, 1.0, 2.0]);
            add(row, "-fa 1", &[9.0, 1.0, 1.0, 2.0]);
        }
        let summary = |row| match samples.cell(row) {
            Some(Cell::Measured(Summary { median, least, most, count, setting })) => {
                (median, least, most, count, setting)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(summary(rate), (2.0, 1.0, 3.0, 3, "-fa 0"));
        assert_eq!(summary(cost), (1.5, 1.0, 9.0, 4, "-fa 1"));
        assert_eq!(samples.cell(&ROWS[5]), None);
        samples.fail(rate.id, "it crashed");
        samples.fail(rate.id, "again");
        assert_eq!(samples.cell(rate), Some(Cell::Failed("it crashed".to_owned())));
    }
}
