//! Whether docs/operations.md says of each reason what to do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

const SOURCE: &str = include_str!("../src/status.rs");
const PAGE: &str = include_str!("../../docs/operations.md");

#[test]
fn the_page_has_every_reason_and_no_other() {
    let lines = SOURCE.lines().filter_map(|line| line.trim().strip_prefix("Reason::"));
    let reasons: BTreeSet<&str> =
        lines.filter_map(|line| line.split_once(" => \"")?.1.strip_suffix("\",")).collect();
    let (_, table) = PAGE.split_once("| reason | means |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    let told: BTreeSet<&str> = rows.flat_map(|row| row.split(" |").next().unwrap().split(", ")).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    assert_eq!(told, reasons);
}
