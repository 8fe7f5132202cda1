//! The chart's Grafana dashboards: as Helm renders them, and what Grafana would show; needs Helm, but no cluster.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::dashboards::{DASHBOARDS, all_panels, is_of_name, panels, parse, queries, selectors};
use support::helm::{Helm, NAMESPACE, RELEASE};

const ENABLED: &str = "dashboards.enabled=true";

/// Of the page, whatever the screen.
const COLUMNS: u64 = 24;

/// The dashboards' ConfigMaps, which are in the order of `DASHBOARDS`.
fn config_maps(helm: &Helm, values: &[&str]) -> Vec<Value> {
    let mut objects = helm.render(values);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    objects.retain(|object| object["kind"] == "ConfigMap" && name(object).contains("-dashboard-"));
    let names: Vec<String> = objects.iter().map(name).collect();
    assert_eq!(names, DASHBOARDS.map(|(name, _)| format!("{RELEASE}-dashboard-{name}")));
    objects
}

#[test]
fn config_maps_hold_the_files_byte_for_byte() {
    let Some(helm) = Helm::find() else { return };
    let maps = config_maps(&helm, &[ENABLED]);
    for ((name, text), map) in DASHBOARDS.into_iter().zip(&maps) {
        let file = format!("ostro-{name}.json");
        let data = map["data"].as_object().unwrap();
        assert!(data.len() == 1 && data[&file] == text, "{file} has another text than the chart's file");
    }
}

#[test]
fn labels_annotations_and_namespace_are_those_asked_for() {
    let Some(helm) = Helm::find() else { return };
    for map in config_maps(&helm, &[ENABLED]) {
        let metadata = &map["metadata"];
        assert_eq!(metadata["namespace"], NAMESPACE);
        assert_eq!(metadata["labels"]["grafana_dashboard"], "1");
        assert!(metadata["annotations"].is_null(), "{metadata}");
    }
    let asked = [
        "dashboards.namespace=grafana",
        "dashboards.annotations.grafana_folder=Ostro",
        "dashboards.labels.team=a",
        // Twice the same key is no YAML.
        "dashboards.labels.app\\.kubernetes\\.io/instance=p",
    ];
    for map in config_maps(&helm, &[&[ENABLED], &asked[..]].concat()) {
        let metadata = &map["metadata"];
        assert_eq!(metadata["namespace"], "grafana");
        assert_eq!(metadata["annotations"], json!({ "grafana_folder": "Ostro" }));
        let labels = &metadata["labels"];
        assert_eq!((&labels["team"], &labels["grafana_dashboard"]), (&json!("a"), &json!("1")));
        assert_eq!(labels["app.kubernetes.io/instance"], "p");
    }
    for map in config_maps(&helm, &[ENABLED, "dashboards.labels=null"]) {
        assert_eq!(map["metadata"]["labels"]["app.kubernetes.io/instance"], RELEASE);
    }
}

#[test]
fn files_are_new_to_grafana_and_known_by_name() {
    for (name, text) in DASHBOARDS {
        let dashboard = parse(text);
        // A number would be of somebody's database.
        assert_eq!(dashboard.get("id"), Some(&Value::Null), "{name}");
        assert_eq!(dashboard["uid"], format!("ostro-{name}"));
        let all = all_panels(&dashboard);
        let numbers: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), all.len(), "{name}: two panels have one number");
    }
}

#[test]
fn panels_have_words_and_units_and_do_not_overlap() {
    for (_, text) in DASHBOARDS {
        let dashboard = parse(text);
        check_places(panels(&dashboard));
        for panel in panels(&dashboard) {
            check_places(panels(panel));
            // Grafana takes panels within a row for closed ones.
            assert!(panels(panel).is_empty() || panel["collapsed"] == true, "{}", panel["title"]);
        }
        for panel in all_panels(&dashboard) {
            check_words(panel);
        }
    }
}

/// Those of one level. What a closed row holds has the places that it takes when it is opened.
fn check_places(panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|field| panel["gridPos"][field].as_u64().unwrap());
        assert!(width > 0 && height > 0 && x + width <= COLUMNS, "{panel}");
        for cell in (x..x + width).flat_map(|column| (y..y + height).map(move |line| (column, line))) {
            assert!(taken.insert(cell), "{} lies on another at {cell:?}", panel["title"]);
        }
    }
}

fn check_words(panel: &Value) {
    let has_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    assert!(has_text(&panel["title"]), "{panel}");
    if panel["type"] == "row" {
        return;
    }
    assert!(has_text(&panel["fieldConfig"]["defaults"]["unit"]), "{panel}");
    // Whichever the reader chooses.
    assert_eq!(panel["datasource"]["uid"], "${datasource}");
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{panel}");
    // Of a range the last point is shown, however old: what has gone would be there still.
    let is_now = |target: &Value| target["instant"] == true && target["range"] == false;
    assert!(panel["type"] != "stat" || targets.iter().all(is_now), "{panel}");
}

#[test]
fn queries_heed_the_choices_and_know_no_others() {
    for (_, text) in DASHBOARDS {
        let dashboard = parse(text);
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        for query in queries(&dashboard) {
            let selectors = selectors(query);
            for (metric, matchers) in &selectors {
                let is_chosen =
                    ["namespace=~\"$namespace\"", "pod=~\"$pod\""].iter().all(|part| matchers.contains(part));
                assert!(is_chosen, "{metric} of {query}");
            }
            // None without braces.
            let words = query.split(|character: char| !is_of_name(character));
            let metrics = words.filter(|word| word.starts_with("ostro_") || word.starts_with("http_"));
            assert!(metrics.count() == selectors.len() && !selectors.is_empty(), "{query}");
            for rest in query.split('$').skip(1) {
                let name = rest.split(|character: char| !is_of_name(character)).next().unwrap();
                // Two underscores: Grafana's own.
                let is_known = name.starts_with("__") || variables.iter().any(|known| known["name"] == name);
                assert!(is_known, "${name} of {query}");
            }
        }
    }
}

#[test]
fn pods_of_one_name_in_two_namespaces_are_told_apart() {
    for (_, text) in DASHBOARDS {
        let dashboard = parse(text);
        let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
        let choices = variables
            .filter(|variable| variable["name"] == "by")
            .flat_map(|variable| variable["options"].as_array().unwrap())
            .map(|option| option["value"].as_str().unwrap());
        let groups = queries(&dashboard).into_iter().flat_map(|query| query.split(" by (").skip(1));
        for group in groups.map(|rest| rest.split(')').next().unwrap()).chain(choices) {
            let has = |label: &str| group.split(", ").any(|word| word == label);
            assert!(!has("pod") || has("namespace"), "{group}");
        }
    }
}
