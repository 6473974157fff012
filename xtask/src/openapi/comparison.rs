//! The state of a comparison of two contracts: values with their pointers, references, and the breaking changes found.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};

/// The rule that a change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A path, operation, parameter, answer, header, property, schema or server that is gone.
    Removed,
    /// Something that a caller must send now.
    InputRequired,
    /// Something that a caller may no longer send.
    InputNarrowed,
    /// Something that a caller may receive now.
    OutputWidened,
    /// Another type.
    TypeChanged,
    /// Another format.
    FormatChanged,
    /// Another default.
    DefaultChanged,
    /// Another name in generated code: an operationId or a tag.
    NameChanged,
    /// Another media type, or another way to write a parameter.
    EncodingChanged,
    /// Another key, or more rights.
    SecurityChanged,
    /// A change whose meaning these rules do not know.
    NotUnderstood,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "removed",
            Self::InputRequired => "input-required",
            Self::InputNarrowed => "input-narrowed",
            Self::OutputWidened => "output-widened",
            Self::TypeChanged => "type-changed",
            Self::FormatChanged => "format-changed",
            Self::DefaultChanged => "default-changed",
            Self::NameChanged => "name-changed",
            Self::EncodingChanged => "encoding-changed",
            Self::SecurityChanged => "security-changed",
            Self::NotUnderstood => "not-understood",
        })
    }
}

/// One break: which rule, where, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BreakingChange {
    /// A JSON pointer into the new contract, or into the old one for what is gone.
    pub pointer: String,
    /// The rule.
    pub rule: Rule,
    /// What happened, in words.
    pub detail: String,
}

impl fmt::Display for BreakingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}: {}: {}", self.pointer, self.rule, self.detail)
    }
}

/// A value with its place in its document.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
}

static NOTHING: Value = Value::Null;

impl<'a> Node<'a> {
    pub(crate) fn at(&self, name: &str) -> Option<Self> {
        let value = match self.value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            value => value.get(name)?,
        };
        let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        Some(Self { value, pointer })
    }

    /// The member, or null in its place.
    pub(crate) fn or_null(&self, name: &str) -> Self {
        self.at(name).unwrap_or_else(|| Self { value: &NOTHING, pointer: self.pointer.clone() })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a String, Self)> {
        let node = self.clone();
        let names = self.value.as_object().into_iter().flat_map(Map::keys);
        names.filter_map(move |name| Some((name, node.at(name)?)))
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Self> {
        let node = self.clone();
        (0..self.value.as_array().map_or(0, Vec::len)).filter_map(move |index| node.at(&index.to_string()))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name).and_then(Value::as_str)
    }
}

pub(crate) struct Comparison<'a> {
    pub(crate) old: &'a Value,
    pub(crate) new: &'a Value,
    pub(super) findings: BTreeSet<BreakingChange>,
    /// Pairs of schemas that were compared, by pointers and direction: schemas may contain themselves.
    pub(crate) seen: BTreeSet<(String, String, bool)>,
}

/// References that may follow each other.
const MAX_REFERENCES: usize = 16;
/// Annotations, which do not bind.
pub(super) const NOTES: [&str; 7] =
    ["description", "summary", "example", "examples", "deprecated", "externalDocs", "x-codeSamples"];

impl<'a> Comparison<'a> {
    pub(crate) fn find(&mut self, rule: Rule, node: &Node<'_>, detail: impl Into<String>) {
        self.findings.insert(BreakingChange { pointer: node.pointer.clone(), rule, detail: detail.into() });
    }

    /// Any change of a member that is not `known` is not understood, and neither is one that holds a reference.
    pub(crate) fn only(&mut self, old: &Node<'a>, new: &Node<'a>, known: &[&[&str]]) {
        // What is absent has no members.
        let has_members = |node: &Node<'a>| node.value.is_object() || node.value.is_null();
        if !(has_members(old) && has_members(new)) && old.value != new.value {
            self.find(Rule::NotUnderstood, new, "is no object");
            return;
        }
        let names = |node: &Node<'a>| node.value.as_object().into_iter().flat_map(Map::keys);
        let is_known = |name: &str| known.iter().any(|known| known.contains(&name));
        let unknown: BTreeSet<_> = names(old).chain(names(new)).filter(|name| !is_known(name)).collect();
        for name in unknown {
            let (before, after) = (old.at(name), new.at(name));
            let same = before.as_ref().map(|node| node.value) == after.as_ref().map(|node| node.value);
            let node = after.or(before);
            if let Some(node) = node.filter(|node| !same || name == "$ref" || holds_reference(node.value)) {
                self.find(Rule::NotUnderstood, &node, format!("the rules do not know {name:?} here"));
            }
        }
    }

    /// What a reference leads to, a value that is none to itself. One that leads nowhere is found, and nothing below it.
    pub(crate) fn resolve(&mut self, node: &Node<'a>, root: &'a Value) -> Option<Node<'a>> {
        let mut way = self.way(node, root)?;
        way.pop()
    }

    /// A value and all that its references lead to, one after the other, the last one none.
    pub(crate) fn way(&mut self, node: &Node<'a>, root: &'a Value) -> Option<Vec<Node<'a>>> {
        let mut way = vec![node.clone()];
        while let Some(reference) = way.last().and_then(|here| here.text("$ref")) {
            let target = reference.strip_prefix('#').and_then(|to| Some((to, root.pointer(to)?)));
            let Some((pointer, value)) = target else {
                self.find(Rule::NotUnderstood, node, format!("the reference {reference} leads nowhere"));
                return None;
            };
            if way.len() > MAX_REFERENCES {
                self.find(Rule::NotUnderstood, node, "references lead in a circle");
                return None;
            }
            way.push(Node { value, pointer: pointer.to_owned() });
        }
        Some(way)
    }

    pub(super) fn resolve_both(&mut self, old: &Node<'a>, new: &Node<'a>) -> Option<(Node<'a>, Node<'a>)> {
        self.resolve(old, self.old).zip(self.resolve(new, self.new))
    }
}

fn holds_reference(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.contains_key("$ref") || members.values().any(holds_reference),
        Value::Array(items) => items.iter().any(holds_reference),
        _ => false,
    }
}
