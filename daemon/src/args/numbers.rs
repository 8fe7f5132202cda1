//! Comma-separated numbers of the benchmark's sweeps.

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
}
