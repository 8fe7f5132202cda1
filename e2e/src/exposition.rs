//! Metrics in the text format of Prometheus.

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    labels: &'a str,
    pub(crate) value: f64,
}

/// All of one metric, by its exact name.
pub(crate) fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = Sample<'a>> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        // A time may follow the value.
        Some(Sample { labels, value: value.split(' ').next()?.parse().ok()? })
    })
}

pub(crate) fn sum(text: &str, name: &str) -> f64 {
    total(samples(text, name))
}

/// Not by `sum`, which is -0 of none.
pub(crate) fn total<'a>(samples: impl Iterator<Item = Sample<'a>>) -> f64 {
    samples.fold(0.0, |total, sample| total + sample.value)
}

impl Sample<'_> {
    /// Empty where there is no such label.
    pub(crate) fn label(&self, name: &str) -> &str {
        let mut rest = self.labels;
        while let Some((key, after)) = rest.split_once("=\"") {
            let Some((value, after)) = after.split_once('"') else { break };
            if key.trim_start_matches(',') == name {
                return value;
            }
            rest = after;
        }
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_labels_may_be_absent() {
        let text = "a_total 3\na_total_x 9\na_total{b=\"c,d\",e=\"f\"} 2.5 1700000000\n# a_total 8\n";
        assert_eq!(sum(text, "a_total"), 5.5);
        let labelled = samples(text, "a_total").last().unwrap();
        assert_eq!((labelled.label("b"), labelled.label("e"), labelled.label("x")), ("c,d", "f", ""));
        assert_eq!(format!("{}", sum(text, "b_total")), "0");
    }
}
