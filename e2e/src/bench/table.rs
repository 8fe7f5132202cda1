//! The table of one model on one machine, in Markdown.

use std::fmt::Write;

use super::rows::{Better, Row, Targets};
use super::samples::{Cell, Samples, Summary};

/// Ostro first, then its peers.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) samples: &'a Samples,
}

/// Without targets nothing is bold.
pub(super) fn table(columns: &[Column<'_>], rows: &[&Row], targets: Option<Targets>) -> String {
    let mut heads = vec!["work"];
    heads.extend(columns.iter().map(|column| column.name));
    heads.push("times better");
    heads.extend(targets.map(|_| "target"));
    let mut text = format!("| {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len() - 1));
    for row in rows {
        let cells: Vec<Option<Cell>> = columns.iter().map(|column| column.samples.cell(row)).collect();
        let target = targets.map(|targets| row.target(targets));
        let times = times_better(row, &cells).map(|times| match target {
            Some(target) if times >= target => format!("**{times:.2}**"),
            _ => format!("{times:.2}"),
        });
        let mut texts = vec![format!("{}, {}", row.title, row.unit)];
        texts.extend(cells.iter().map(cell_text));
        texts.push(times.unwrap_or_default());
        texts.extend(target.map(|target| format!("{target:.1}")));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", texts.join(" | "));
    }
    text
}

/// Against the best peer.
fn times_better(row: &Row, cells: &[Option<Cell>]) -> Option<f64> {
    let median = |cell: &Option<Cell>| match cell {
        Some(Cell::Measured(summary)) => Some(summary.median),
        _ => None,
    };
    let (ours, peers) = cells.split_first()?;
    let best = peers.iter().filter_map(median).reduce(|a, b| match row.better {
        Better::Higher => a.max(b),
        Better::Lower => a.min(b),
    });
    Some(row.times_better(median(ours)?, best?))
}

fn cell_text(cell: &Option<Cell>) -> String {
    match cell {
        None => "–".to_owned(),
        Some(Cell::Failed(reason)) => format!("failed: {}", shortened(&reason.replace(['|', '\n'], " "))),
        Some(Cell::Measured(Summary { median, least, most, count, setting })) => {
            let range =
                if *count > 1 { format!(" ({}–{})", number(*least), number(*most)) } else { String::new() };
            let setting = if setting.is_empty() { String::new() } else { format!(" `{setting}`") };
            format!("{}{range}{setting}", number(*median))
        }
    }
}

/// The end of a reason, where its cause stands: what comes before can be a whole script.
fn shortened(reason: &str) -> String {
    const LENGTH: usize = 100;
    match reason.chars().count().checked_sub(LENGTH) {
        None | Some(0) => reason.to_owned(),
        Some(cut) => format!("…{}", reason.chars().skip(cut).collect::<String>()),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::super::samples::Sample;
    use super::*;

    #[test]
    fn ratio_is_to_the_best_peer_and_bold_when_the_target_is_met() {
        let of = |values: &[(&'static str, &'static str, f64)]| {
            let mut samples = Samples::default();
            let all = values.iter().map(|(id, setting, value)| Sample { id, setting, value: *value });
            samples.add(all.collect());
            samples
        };
        let ours = of(&[("prefill-512", "", 1000.0), ("prefill-512", "", 1100.0), ("load", "", 99.0)]);
        let first =
            of(&[("prefill-512", "-fa 0", 150.0), ("prefill-512", "-fa 1", 200.0), ("load", "", 50.0)]);
        let mut second = of(&[("prefill-512", "", 300.0)]);
        second.fail("load", "exit|status\n1");
        let columns = [
            Column { name: "Ostro", samples: &ours },
            Column { name: "A", samples: &first },
            Column { name: "B", samples: &second },
        ];
        let rows = [&ROWS[0], &ROWS[1], &ROWS[10]];
        let expected = "\
| work | Ostro | A | B | times better | target |
|---|---:|---:|---:|---:|---:|
| prefill 512, tok/s | 1050 (1000–1100) | 200 `-fa 1` | 300 | **3.50** | 3.0 |
| prefill 2048, tok/s | – | – | – |  | 3.0 |
| load to ready, ms | 99.0 | 50.0 | failed: exit status 1 | 0.51 | 2.0 |
";
        assert_eq!(table(&columns, &rows, Some(Targets::LargeModel)), expected);
        let expected = "\
| work | Ostro | A | B | times better |
|---|---:|---:|---:|---:|
| prefill 512, tok/s | 1050 (1000–1100) | 200 `-fa 1` | 300 | 3.50 |
";
        assert_eq!(table(&columns, &rows[..1], None), expected);
    }

    #[test]
    fn long_reasons_keep_their_end() {
        assert_eq!(shortened("no output"), "no output");
        let long = shortened(&format!("{} ended with signal 15", "script ".repeat(100)));
        assert!(
            long.starts_with('…') && long.ends_with("signal 15") && long.chars().count() == 101,
            "{long}"
        );
    }
}
