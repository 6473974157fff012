//! The rules on small edits of a contract, each with its expected findings, and on the contract of this repository.

use std::{collections::BTreeSet, path::Path};

use callhistory_openapi_compat::{Document, Finding, Report, Severity, compare};
use callhistory_test_support::contract_cases::cases;
use serde_json::{Value, json};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn compare_values(old: &Value, new: &Value) -> Report {
    compare(&Document::from_value(old.clone()).unwrap(), &Document::from_value(new.clone()).unwrap())
}

#[test]
fn every_case_has_its_expected_findings() {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in cases(root()).unwrap() {
        let (old, new) = case.contracts().unwrap();
        let report = compare_values(&old, &new);
        let of = |is_note: bool| -> BTreeSet<String> {
            let text = |finding: &Finding| format!("#{}: {}", finding.pointer, finding.rule);
            report.findings.iter().filter(|it| (it.severity == Severity::Note) == is_note).map(text).collect()
        };
        for (found, expected) in [(of(false), Some(&case.expect)), (of(true), case.notes.as_ref())] {
            if expected.is_some_and(|expected| found != *expected) {
                wrong.push(format!("{:?}: found {found:?}, expected {expected:?}", case.name));
            }
        }
        assert!(
            compare_values(&old, &old).findings.is_empty() || old.to_string().contains("other.json"),
            "{}",
            case.name
        );
        assert!(case.redocly.is_none_or(|reason| reason.len() > 20), "{}: a disagreement has a reason", case.name);
        assert!(names.insert(case.name.clone()), "{} occurs twice", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 130, "only {} cases", names.len());
}

fn committed_contract() -> Value {
    let text = std::fs::read_to_string(root().join("openapi/callhistory.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_contract_is_compatible_with_itself() {
    let contract = committed_contract();
    assert_eq!(compare_values(&contract, &contract).findings, []);
    for wrong in [json!({}), json!([]), json!({"swagger": "2.0", "paths": {}}), json!({"openapi": "3.1.0"})] {
        assert!(Document::from_value(wrong.clone()).is_err(), "{wrong}");
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
    // Without these it is no contract at all.
    let is_required = |pointer: &str| matches!(pointer, "/openapi" | "/paths");
    pointers.retain(|pointer| !is_default(pointer) && !is_required(pointer));
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
    let old = Document::from_value(contract.clone()).unwrap();
    let mut changed = contract.clone();
    for pointer in pointers {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let removed = match changed.pointer_mut(parent).unwrap() {
            Value::Object(members) => members.remove(&name).unwrap(),
            Value::Array(items) => items.remove(name.parse().unwrap()),
            _ => unreachable!(),
        };
        // A wider schema in one direction is a narrower one in the other.
        let new = Document::from_value(changed).unwrap();
        if compare(&old, &new).is_compatible() && compare(&new, &old).is_compatible() {
            unseen.push(pointer.clone());
        }
        // Restored, because a copy of the contract takes longer than a comparison.
        changed = new.into_value();
        match changed.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.insert(name, removed)),
            Value::Array(items) => items.insert(name.parse().unwrap(), removed),
            _ => unreachable!(),
        }
    }
    unseen
}

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    const EXPLANATIONS: [&str; 11] = [
        "contentMediaType",
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
