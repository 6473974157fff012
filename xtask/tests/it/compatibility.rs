//! The rules of compatibility: each case is a small edit of a contract, with its expected findings.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xtask::openapi::{cases::cases, compatibility::breaking_changes};

#[test]
fn every_case_has_its_expected_findings() {
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
        assert!(names.insert(case.name.clone()), "{} occurs twice", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 130, "only {} cases", names.len());
}

fn committed_contract() -> Value {
    let text = std::fs::read_to_string(xtask::root().join("openapi/callhistory.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_contract_is_compatible_with_itself() {
    let contract = committed_contract();
    assert_eq!(breaking_changes(&contract, &contract).unwrap(), []);
    for wrong in [json!({}), json!([]), json!({"openapi": "3.0.3", "paths": {}})] {
        assert!(breaking_changes(&wrong, &contract).unwrap_err().contains("the old contract"));
        assert!(breaking_changes(&contract, &wrong).unwrap_err().contains("the new contract"));
    }
}

/// If any single value is removed from the contract, except explanations, the rules find a break in one of the two directions.
#[test]
fn every_removal_from_the_contract_is_found() {
    let contract = committed_contract();
    let mut pointers = Vec::new();
    collect(&contract, String::new(), &mut pointers);
    // Values that are the default: the contract is the same without them.
    let is_default = |pointer: &str| {
        let value = contract.pointer(pointer).unwrap();
        let is_default =
            [json!(false), json!(true), json!({}), json!([])].contains(value) && !pointer.ends_with("/schema");
        is_default
            || pointer.starts_with("/servers")
            || pointer.ends_with("/security")
            || pointer.ends_with("/431/$ref")
    };
    pointers.retain(|pointer| !is_default(pointer));
    assert!(pointers.len() > 1500, "only {} pointers", pointers.len());
    let halves = pointers.split_at(pointers.len() / 2);
    let unseen: Vec<_> = std::thread::scope(|scope| {
        let halves = [halves.0, halves.1].map(|half| scope.spawn(|| unseen(&contract, half)));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert_eq!(unseen, Vec::<String>::new(), "of {} pointers", pointers.len());
}

fn unseen(contract: &Value, pointers: &[String]) -> Vec<String> {
    let mut unseen = Vec::new();
    for pointer in pointers {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut changed = contract.clone();
        let around = changed.pointer_mut(parent).unwrap();
        match around {
            Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        // A wider schema in one direction is a narrower one in the other.
        let both = breaking_changes(contract, &changed).is_ok_and(|found| found.is_empty())
            && breaking_changes(&changed, contract).is_ok_and(|found| found.is_empty());
        if both {
            unseen.push(pointer.clone());
        }
    }
    unseen
}

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    const EXPLANATIONS: [&str; 10] = [
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
                // A property may have the name of an explanation.
                let is_explanation = EXPLANATIONS.contains(&name.as_str()) && !pointer.ends_with("/properties");
                if !is_explanation {
                    let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                    pointers.push(pointer.clone());
                    collect(below, pointer, pointers);
                }
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{index}");
                pointers.push(pointer.clone());
                collect(below, pointer, pointers);
            }
        }
        _ => {}
    }
}
