//! References: their targets, and which of them lead to something that changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Whether a member of this name refers to another schema. `$recursiveRef` is none: it leads to a schema around it, which is
/// compared itself.
pub(crate) fn is_reference(name: &str) -> bool {
    matches!(name, "$ref" | "$dynamicRef")
}

/// A name as a part of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The target of a reference inside the document, with its pointer.
pub(crate) fn target<'a>(root: &'a Value, reference: &str) -> Option<(String, &'a Value)> {
    let fragment = percent_decode(reference.strip_prefix('#')?)?;
    if fragment.is_empty() || fragment.starts_with('/') {
        let value = root.pointer(&fragment)?;
        return Some((fragment, value));
    }
    let mut found = Vec::new();
    anchors(root, &fragment, String::new(), &mut found);
    // With two anchors of one name, nobody can say which is meant.
    if found.len() == 1 { found.pop() } else { None }
}

fn anchors<'a>(value: &'a Value, name: &str, pointer: String, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            if ["$anchor", "$dynamicAnchor"].iter().any(|anchor| members.get(*anchor).is_some_and(|text| *text == name))
            {
                found.push((pointer.clone(), value));
            }
            for (member, below) in members {
                anchors(below, name, format!("{pointer}/{}", escape(member)), found);
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                anchors(below, name, format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits) {
            (b'%', digits) => {
                bytes.push(u8::from_str_radix(digits?, 16).ok()?);
                rest = after.get(2..)?;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Of the references of two documents, those whose targets differ or are missing, and those that lead to such a reference.
pub(crate) fn changed_references<'a>(all: &BTreeSet<&'a str>, old: &'a Value, new: &'a Value) -> BTreeSet<&'a str> {
    let mut changed = BTreeSet::new();
    // For each reference, those whose targets contain it.
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for &reference in all {
        let targets = target(old, reference).zip(target(new, reference));
        let Some(((_, target), _)) = targets.filter(|((_, before), (_, after))| before == after) else {
            changed.insert(reference);
            continue;
        };
        for below in references(target) {
            users.entry(below).or_default().push(reference);
        }
    }
    let mut open: Vec<&str> = changed.iter().copied().collect();
    while let Some(reference) = open.pop() {
        for user in users.get(reference).into_iter().flatten() {
            if changed.insert(user) {
                open.push(user);
            }
        }
    }
    changed
}

/// The references in a value, each once.
pub(crate) fn references(value: &Value) -> Vec<&str> {
    let mut references = Vec::new();
    collect(value, &mut references);
    references.sort_unstable();
    references.dedup();
    references
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, below) in members {
                match below.as_str() {
                    Some(text) if is_reference(name) => references.push(text),
                    _ => collect(below, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|below| collect(below, references)),
        _ => {}
    }
}
