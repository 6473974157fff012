//! The state of a comparison of two contracts: values with their pointers, references, and the breaking changes found.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};

/// The rule of a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A path, operation, parameter, response, header, property, schema or server was removed.
    Removed,
    /// A caller must send something new.
    InputRequired,
    /// A caller may no longer send something.
    InputNarrowed,
    /// A caller may receive something new.
    OutputWidened,
    /// A type changed.
    TypeChanged,
    /// A format changed.
    FormatChanged,
    /// A default changed.
    DefaultChanged,
    /// A name in generated code changed: an operationId or a tag.
    NameChanged,
    /// A media type changed, or the serialization of a parameter.
    EncodingChanged,
    /// A key or a scope is required that was not.
    SecurityChanged,
    /// These rules do not know what the change means.
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

/// One breaking change: where, which rule, and what changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BreakingChange {
    /// A JSON pointer into the new contract, or into the old one if the value was removed.
    pub pointer: String,
    /// The rule.
    pub rule: Rule,
    /// What changed.
    pub detail: String,
}

impl fmt::Display for BreakingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}: {}: {}", self.pointer, self.rule, self.detail)
    }
}

/// A value with its JSON pointer.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
}

/// The value of a member that is absent.
pub(super) static ABSENT: Value = Value::Null;

impl<'a> Node<'a> {
    pub(crate) fn at(&self, name: &str) -> Option<Self> {
        let value = match self.value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            value => value.get(name)?,
        };
        let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        Some(Self { value, pointer })
    }

    /// The member, or null if it is absent.
    pub(crate) fn or_null(&self, name: &str) -> Self {
        self.at(name).unwrap_or_else(|| Self { value: &ABSENT, pointer: self.pointer.clone() })
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

/// Maximum length of a chain of references.
const MAX_REFERENCES: usize = 16;
/// Annotations, which constrain nothing.
pub(super) const ANNOTATIONS: [&str; 7] =
    ["description", "summary", "example", "examples", "deprecated", "externalDocs", "x-codeSamples"];

impl<'a> Comparison<'a> {
    pub(crate) fn find(&mut self, rule: Rule, node: &Node<'_>, detail: impl Into<String>) {
        self.findings.insert(BreakingChange { pointer: node.pointer.clone(), rule, detail: detail.into() });
    }

    /// Finds each member that is not `known` and that changed or contains a reference.
    pub(crate) fn only(&mut self, old: &Node<'a>, new: &Node<'a>, known: &[&[&str]]) {
        // An absent value has no members.
        let has_members = |node: &Node<'a>| node.value.is_object() || node.value.is_null();
        if !(has_members(old) && has_members(new)) && old.value != new.value {
            self.find(Rule::NotUnderstood, new, "is not an object");
            return;
        }
        let names = |node: &Node<'a>| node.value.as_object().into_iter().flat_map(Map::keys);
        let is_known = |name: &str| known.iter().any(|known| known.contains(&name));
        let unknown: BTreeSet<_> = names(old).chain(names(new)).filter(|name| !is_known(name)).collect();
        for name in unknown {
            let (before, after) = (old.at(name), new.at(name));
            let same = before.as_ref().map(|node| node.value) == after.as_ref().map(|node| node.value);
            let node = after.or(before);
            if let Some(node) = node.filter(|node| !same || name == "$ref" || contains_reference(node.value)) {
                self.find(Rule::NotUnderstood, &node, format!("the rules do not know {name:?} here"));
            }
        }
    }

    /// The target of a reference, or the value itself. A reference without a target is found, and nothing below it.
    pub(crate) fn resolve(&mut self, node: &Node<'a>, root: &'a Value) -> Option<Node<'a>> {
        self.reference_chain(node, root)?.pop()
    }

    /// A value and the targets of its references in order; the last one is not a reference.
    pub(crate) fn reference_chain(&mut self, node: &Node<'a>, root: &'a Value) -> Option<Vec<Node<'a>>> {
        let mut chain = vec![node.clone()];
        while let Some(reference) = chain.last().and_then(|last| last.text("$ref")) {
            let target = reference.strip_prefix('#').and_then(|pointer| Some((pointer, root.pointer(pointer)?)));
            let Some((pointer, value)) = target else {
                self.find(Rule::NotUnderstood, node, format!("the reference {reference} has no target"));
                return None;
            };
            if chain.len() > MAX_REFERENCES {
                self.find(Rule::NotUnderstood, node, "the references form a cycle");
                return None;
            }
            chain.push(Node { value, pointer: pointer.to_owned() });
        }
        Some(chain)
    }

    pub(super) fn resolve_both(&mut self, old: &Node<'a>, new: &Node<'a>) -> Option<(Node<'a>, Node<'a>)> {
        self.resolve(old, self.old).zip(self.resolve(new, self.new))
    }
}

fn contains_reference(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.contains_key("$ref") || members.values().any(contains_reference),
        Value::Array(items) => items.iter().any(contains_reference),
        _ => false,
    }
}
