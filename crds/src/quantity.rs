//! Kubernetes' amounts, such as `500m`, `1Gi` or `12e6`: what the API server's `quantity()` takes.

/// The most that the API server keeps, in nanos: what is above it cuts, or changes in other ways.
const KEPT_MAX: i128 = i64::MAX as i128 * 1_000_000_000;

/// `None` for what is no amount. The same for the same amount, however it is written.
pub fn quantity(text: &str) -> Option<f64> {
    Some(kept(text)? as f64 / 1e9)
}

/// In thousandths, rounded up, as the API server keeps what a container asks for.
pub fn thousandths(text: &str) -> Option<i128> {
    Some(divide(kept(text)?, 1_000_000))
}

/// Whether the API server cuts it.
pub(crate) fn is_cut(text: &str) -> bool {
    nanos(text).is_some_and(|nanos| nanos > KEPT_MAX)
}

/// As nanos, once it is cut.
fn kept(text: &str) -> Option<i128> {
    Some(nanos(text)?.clamp(-KEPT_MAX, KEPT_MAX))
}

/// In the smallest part that Kubernetes knows, rounded away from 0; what is too large is the largest there is.
fn nanos(text: &str) -> Option<i128> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text[sign..].split_at(digits.unwrap_or(text.len() - sign));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.contains('.') || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let (times, tens) = factor(unit)?;
    let mantissa = format!("0{whole}{part}").parse::<i128>().unwrap_or(i128::MAX).saturating_mul(times);
    let tens = tens.saturating_add(9).saturating_sub(i32::try_from(part.len()).ok()?);
    let power = 10i128.checked_pow(tens.unsigned_abs()).unwrap_or(i128::MAX);
    let nanos = if tens < 0 { divide(mantissa, power) } else { mantissa.saturating_mul(power) };
    Some(if text.starts_with('-') { -nanos } else { nanos })
}

/// Rounded away from 0.
fn divide(amount: i128, by: i128) -> i128 {
    amount / by + (amount % by).signum()
}

/// A number, and how often it is taken times ten.
fn factor(unit: &str) -> Option<(i128, i32)> {
    Some(match unit {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, unit.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?.clamp(-200, 200)),
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
            ("0.7", "700m"),
            ("1.4Gi", "1503238553600m"),
            ("3.3", "3300m"),
            ("0.1234567", "123456700n"),
            ("99999999999999999999999E", "99999999999999999999999999E"),
            ("99999999Ei", "9223372036854775807"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one}");
        }
        for milli in 1..20_000 {
            let (whole, part) = (milli / 1000, milli % 1000);
            assert_eq!(quantity(&format!("{whole}.{part:03}")), quantity(&format!("{milli}m")));
        }
        assert_ne!(quantity("1G"), quantity("1Gi"));
        for (text, expected) in
            [("0.0001", 1), ("100u", 1), ("1n", 1), ("0.7", 700), ("-0.0001", -1), ("0", 0)]
        {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for (text, expected) in
            [("7Ei", false), ("9223372036854775807", false), ("9223372036854775808", true), ("8Ei", true)]
        {
            assert_eq!(is_cut(text), expected, "{text}");
        }
        assert!(quantity("-1Gi").is_some_and(|amount| amount < 0.0));
        assert!(quantity("1e-999").is_some_and(|amount| amount > 0.0));
        for text in ["image:1", "", "Gi", "1.2.3", "1e", "1 Gi", "1gi", "+-1", "+", "1GiB"] {
            assert_eq!(quantity(text), None, "{text:?}");
        }
    }
}
