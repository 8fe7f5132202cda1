//! Numbers of the benchmark: comma-separated sweeps, rates.

/// At least one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbers(pub(crate) Vec<u32>);

impl Numbers {
    pub(crate) fn parse(text: &str) -> Result<Numbers, String> {
        let number = |text: &str| {
            text.trim().parse().map_err(|_| format!("{text:?} is not a whole number from 0 to {}", u32::MAX))
        };
        text.split(',').map(number).collect::<Result<_, _>>().map(Numbers)
    }
}

/// Requests a second.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse::<f64>().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a number from 0.001 to 100000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_lists() {
        assert_eq!(Numbers::parse("512"), Ok(Numbers(vec![512])));
        assert_eq!(Numbers::parse("1, 2,3"), Ok(Numbers(vec![1, 2, 3])));
        for wrong in ["", "1,", "-1", "x"] {
            assert!(Numbers::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(parse_rate("2.5"), Ok(2.5));
        for wrong in ["", "0", "-1", "nan", "inf", "x"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
