//! The rules of compatibility: each case is a small edit of one contract, and the breaks that it must be.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xtask::openapi::{cases::cases, compatibility::breaking_changes};

#[test]
fn every_case_is_judged_as_it_says() {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in cases(xtask::root()).unwrap() {
        let (old, new) = case.contracts().unwrap();
        let found = breaking_changes(&old, &new).unwrap();
        let found: BTreeSet<_> =
            found.iter().map(|finding| format!("#{}: {}", finding.pointer, finding.rule)).collect();
        if found != case.expect {
            wrong.push(format!("{:?}: found {found:?}, expected {:?}", case.name, case.expect));
        }
        assert!(case.redocly.is_none_or(|reason| reason.len() > 20), "{}: a disagreement has a reason", case.name);
        assert!(names.insert(case.name.clone()), "{} stands twice", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 130, "only {} cases", names.len());
}

fn committed_contract() -> Value {
    let text = std::fs::read_to_string(xtask::root().join("openapi/callhistory.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A contract breaks nothing in itself, whatever it holds.
#[test]
fn the_same_contract_is_compatible() {
    let contract = committed_contract();
    assert_eq!(breaking_changes(&contract, &contract).unwrap(), []);
    for wrong in [json!({}), json!([]), json!({"openapi": "3.0.3", "paths": {}})] {
        assert!(breaking_changes(&wrong, &contract).unwrap_err().contains("the old contract"));
        assert!(breaking_changes(&contract, &wrong).unwrap_err().contains("the new contract"));
    }
}

/// Whatever single value is taken out of our own contract, the rules find it in one direction or the other, except where
/// it explains.
#[test]
fn no_change_of_the_contract_goes_unseen() {
    let contract = committed_contract();
    let mut places = Vec::new();
    collect(&contract, String::new(), &mut places);
    // What is the same without it: the usual value, any JSON at all, an answer without a body, keys that may be left out.
    let usual = |place: &str| {
        let value = contract.pointer(place).unwrap();
        let usual = [json!(false), json!(true), json!({}), json!([])].contains(value) && !place.ends_with("/schema");
        usual || place.starts_with("/servers") || place.ends_with("/security") || place.ends_with("/431/$ref")
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
        let both = breaking_changes(contract, &changed).is_ok_and(|found| found.is_empty())
            && breaking_changes(&changed, contract).is_ok_and(|found| found.is_empty());
        if both {
            unseen.push(place.clone());
        }
    }
    unseen
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    const NOTES: [&str; 10] = [
        "description",
        "summary",
        "example",
        "examples",
        "x-codeSamples",
        "info",
        "title",
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
