//! The rules of compatibility: each case is a small edit of one contract, and the breaks that it must be.

use std::{collections::BTreeSet, fs, path::Path};

use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Value, json};
use xtask::breaking::breaks;

/// One case. `.github`-like tools read the same files: see `cargo xtask contract`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// What the base has besides.
    #[serde(default)]
    given: Patch,
    edit: Patch,
    /// Each break as `#/pointer: rule`.
    expect: BTreeSet<String>,
    /// Why another tool sees it otherwise.
    #[serde(default)]
    redocly: Option<String>,
}

#[test]
fn every_case_is_judged_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let base: Value = serde_json::from_str(&read("base.json")).unwrap();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name == "base.json" {
            continue;
        }
        let cases: Vec<Case> = serde_json::from_str(&read(&name)).unwrap();
        for case in cases {
            let mut old = base.clone();
            json_patch::patch(&mut old, &case.given).unwrap();
            let mut new = old.clone();
            json_patch::patch(&mut new, &case.edit).unwrap();
            let found = breaks(&old, &new).unwrap();
            let found: BTreeSet<_> =
                found.iter().map(|finding| format!("#{}: {}", finding.pointer, finding.rule)).collect();
            if found != case.expect {
                wrong.push(format!("{name}, {:?}: found {found:?}, expected {:?}", case.name, case.expect));
            }
            assert!(case.redocly.is_none_or(|reason| reason.len() > 20), "{}: a disagreement has a reason", case.name);
            assert!(names.insert(case.name.clone()), "{} stands twice", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 60, "only {} cases", names.len());
}

/// A contract breaks nothing in itself, whatever it holds.
#[test]
fn the_same_contract_is_compatible() {
    let contract: Value = serde_json::from_str(&callhistory_server::openapi::document()).unwrap();
    assert_eq!(breaks(&contract, &contract).unwrap(), []);
    for wrong in [json!({}), json!([]), json!({"openapi": "3.0.3", "paths": {}})] {
        assert!(breaks(&wrong, &contract).unwrap_err().contains("the old contract"));
        assert!(breaks(&contract, &wrong).unwrap_err().contains("the new contract"));
    }
}

/// Whatever single value is taken out of our own contract or changed in it, the rules find it, except where it explains.
#[test]
fn no_change_of_the_contract_goes_unseen() {
    let contract: Value = serde_json::from_str(&callhistory_server::openapi::document()).unwrap();
    let mut places = Vec::new();
    collect(&contract, String::new(), &mut places);
    // What is the same without it: the usual value, any JSON at all, an answer without a body.
    let usual = |place: &str| {
        let value = contract.pointer(place).unwrap();
        let usual = [json!(false), json!(true), json!({}), json!([])].contains(value) && !place.ends_with("/schema");
        usual || place.starts_with("/servers") || place.ends_with("/431/$ref")
    };
    places.retain(|place| !usual(place));
    assert!(places.len() > 1500, "only {} places", places.len());
    let halves = places.split_at(places.len() / 2);
    let unseen: Vec<_> = std::thread::scope(|scope| {
        let halves = [halves.0, halves.1].map(|half| scope.spawn(|| unseen(&contract, half)));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert_eq!(unseen, Vec::<String>::new(), "of {} places", places.len());
}

fn unseen(contract: &Value, places: &[String]) -> Vec<String> {
    let mut unseen = Vec::new();
    for place in places {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut changed = contract.clone();
        let around = changed.pointer_mut(parent).unwrap();
        match around {
            Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        // What is wider one way is narrower the other way.
        let both = breaks(contract, &changed).is_ok_and(|found| found.is_empty())
            && breaks(&changed, contract).is_ok_and(|found| found.is_empty());
        if both {
            unseen.push(place.clone());
        }
    }
    unseen
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    const NOTES: [&str; 11] = [
        "description",
        "summary",
        "example",
        "examples",
        "x-codeSamples",
        "info",
        "title",
        "headers",
        "style",
        "tags",
        "deprecated",
    ];
    match value {
        Value::Object(members) => {
            for (name, below) in members {
                // A property may have the name of a note.
                let is_note = NOTES.contains(&name.as_str()) && !place.ends_with("/properties");
                if !is_note {
                    let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                    places.push(place.clone());
                    collect(below, place, places);
                }
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                let place = format!("{place}/{index}");
                places.push(place.clone());
                collect(below, place, places);
            }
        }
        _ => {}
    }
}
