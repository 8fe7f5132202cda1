//! Kubernetes' amounts, such as `500m`, `1Gi` or `12e6`: what the API server's `quantity()` takes.

/// `None` for what is no amount.
pub fn quantity(text: &str) -> Option<f64> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.map_or(text.len(), |digits| sign + digits));
    Some(number.parse::<f64>().ok()? * factor(unit)?)
}

fn factor(unit: &str) -> Option<f64> {
    Some(match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        // Within bounds, for no amount to become nothing or infinite.
        _ => 10f64.powi(unit.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?.clamp(-200, 200)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_value() {
        for (one, other) in [
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1G", "1000M"),
            ("12e6", "12M"),
            ("1E3", "1k"),
            ("1E", "1000P"),
            ("+1Gi", "1Gi"),
            ("5.", "5"),
            (".5", "5e-1"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one}");
        }
        assert_ne!(quantity("1G"), quantity("1Gi"));
        assert!(quantity("-1Gi").is_some_and(|amount| amount < 0.0));
        assert!(quantity("1e-999").is_some_and(|amount| amount > 0.0));
        for text in ["image:1", "", "Gi", "1.2.3", "1e", "1 Gi", "1gi", "+-1", "+", "1GiB"] {
            assert_eq!(quantity(text), None, "{text:?}");
        }
    }
}
