//! The two text forms of `/metrics`: OpenMetrics for scrapers that ask for it, Prometheus' own for all others.
#![forbid(unsafe_code)]

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    OpenMetrics,
    Text,
}

impl Exposition {
    /// By the `accept` header: OpenMetrics where it is named, and plain text is not liked better.
    pub fn accepted(accept: Option<&str>) -> Exposition {
        let quality = |form| accept.map_or(0.0, |accept| quality(accept, form));
        let openmetrics = quality("application/openmetrics-text");
        match openmetrics > 0.0 && openmetrics >= quality("text/plain") {
            true => Exposition::OpenMetrics,
            false => Exposition::Text,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => OPENMETRICS,
            Exposition::Text => TEXT,
        }
    }

    /// All that is registered.
    pub fn write(self, registry: &Registry) -> String {
        let mut text = String::new();
        text::encode(&mut text, registry).expect("a string can always be written to");
        match self {
            Exposition::OpenMetrics => text,
            Exposition::Text => as_text(&text),
        }
    }
}

/// The most that a header gives to a media type (RFC 9110, 12.5.1): its `q`, which is 1 unless said; 0 refuses it.
fn quality(accept: &str, form: &str) -> f32 {
    let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
    let of_form = ranges.filter_map(|mut range| range.next()?.eq_ignore_ascii_case(form).then_some(range));
    let weights = of_form.map(|mut parameters| {
        let weight = parameters.find_map(|one| one.strip_prefix(['q', 'Q'])?.strip_prefix('='));
        weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0))
    });
    weights.fold(0.0, f32::max)
}

/// Prometheus' form names a counter as its samples do (`x_total`), knows no `info` type and no end marker.
fn as_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 1024);
    let mut help = "";
    for line in openmetrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        if line.starts_with("# HELP ") {
            help = line; // its name depends on the type, which comes next
            continue;
        }
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let (suffix, kind) = match words.as_slice() {
            ["#", "TYPE", _, "counter"] => ("_total", "counter"),
            ["#", "TYPE", _, "info"] => ("_info", "gauge"),
            ["#", "TYPE", _, kind] => ("", *kind),
            _ => {
                text.push_str(line);
                text.push('\n');
                continue;
            }
        };
        let name = words[2];
        let told = help.strip_prefix("# HELP ").and_then(|rest| rest.strip_prefix(name)).unwrap_or(" .");
        text.push_str(&format!("# HELP {name}{suffix}{told}\n# TYPE {name}{suffix} {kind}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::info::Info;

    use super::*;

    #[test]
    fn both_forms_show_the_same_samples() {
        let mut registry = Registry::default();
        registry.register("vllm:a", "Help of a", Counter::<u64>::default());
        registry.register("b", "Help of b", Gauge::<i64>::default());
        registry.register("c_build", "Help of c", Info::new(vec![("version", "1")]));
        assert_eq!(
            Exposition::Text.write(&registry),
            "# HELP vllm:a_total Help of a.\n# TYPE vllm:a_total counter\nvllm:a_total 0\n\
             # HELP b Help of b.\n# TYPE b gauge\nb 0\n\
             # HELP c_build_info Help of c.\n# TYPE c_build_info gauge\nc_build_info{version=\"1\"} 1\n"
        );
        let openmetrics = Exposition::OpenMetrics.write(&registry);
        assert!(openmetrics.contains("# TYPE vllm:a counter\nvllm:a_total 0\n"), "{openmetrics}");
        assert!(openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    }

    #[test]
    fn the_accept_header_chooses() {
        assert_eq!(Exposition::accepted(None), Exposition::Text);
        for accept in [
            "text/plain",
            "*/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text; version=1.0.0; q=0.0, */*",
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4",
            "application/openmetrics-text;q=much",
        ] {
            assert_eq!(Exposition::accepted(Some(accept)), Exposition::Text, "{accept}");
        }
        for accept in [
            OPENMETRICS,
            "Application/OpenMetrics-Text;Q=0.1",
            "text/plain;q=0.3, application/openmetrics-text;version=0.0.1;q=0, application/openmetrics-text;q=0.4",
        ] {
            assert_eq!(Exposition::accepted(Some(accept)), Exposition::OpenMetrics, "{accept}");
        }
    }
}
