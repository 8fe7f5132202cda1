//! Percentiles of what was measured.

use serde::Serialize;

/// Of seconds: lower is better, so nine in ten stay under `p90`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub count: usize,
}

impl Percentiles {
    /// Of one value at least.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Percentiles {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| at(&values, share));
        Percentiles { p50, p90, p99, count: values.len() }
    }
}

pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Percentiles::of(values).p50
}

/// Between the two nearest values, in proportion.
fn at(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let check = |values: &[f64], expected: [f64; 3]| {
            let found = Percentiles::of(values.iter().copied());
            assert_eq!(found.count, values.len());
            for (found, expected) in [found.p50, found.p90, found.p99].into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{found} for {expected} of {values:?}");
            }
        };
        check(&[3.0], [3.0, 3.0, 3.0]);
        check(&[4.0, 2.0], [3.0, 3.8, 3.98]);
        check(&[10.0, 0.0, 8.0, 2.0, 4.0, 6.0, 20.0, 14.0, 12.0, 18.0, 16.0], [10.0, 18.0, 19.8]);
    }
}
