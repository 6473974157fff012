//! The state of a comparison of two documents: values with their pointers, references, and the findings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    Document,
    finding::{Finding, Rule, Side},
    references::{changed_references, escape, is_reference, target},
};

/// A value with its JSON pointer.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
    pub(crate) side: Side,
}

/// The value of a member that is absent.
pub(crate) static ABSENT: Value = Value::Null;

impl<'a> Node<'a> {
    pub(crate) fn at(&self, name: &str) -> Option<Self> {
        let value = match self.value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            value => value.get(name)?,
        };
        Some(Self { value, pointer: format!("{}/{}", self.pointer, escape(name)), side: self.side })
    }

    /// The member, or null if it is absent.
    pub(crate) fn or_null(&self, name: &str) -> Self {
        self.at(name).unwrap_or_else(|| Self { value: &ABSENT, ..self.clone() })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a String, Self)> + use<'a> {
        let node = self.clone();
        let names = self.value.as_object().into_iter().flat_map(Map::keys);
        names.filter_map(move |name| Some((name, node.at(name)?)))
    }

    /// The members that are not extensions.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'a String, Self)> + use<'a> {
        self.members().filter(|(name, _)| !name.starts_with("x-"))
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let node = self.clone();
        (0..self.value.as_array().map_or(0, Vec::len)).filter_map(move |index| node.at(&index.to_string()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name).and_then(Value::as_str)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.value.get(name) == Some(&Value::Bool(true))
    }
}

/// What the value of a keyword must be, so that the rules can compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Object,
    Array,
    Texts,
    Text,
    Flag,
    Number,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
        }
    }
}

/// Documentation, whose changes are not even notes.
const DOCUMENTATION: [&str; 6] = ["description", "summary", "example", "examples", "$comment", "x-codeSamples"];
/// Annotations of objects other than schemas, whose changes are notes.
pub(crate) const ANNOTATIONS: [&str; 3] = ["deprecated", "externalDocs", "title"];
/// Extensions that constrain values.
pub(crate) const CONSTRAINING_EXTENSIONS: [&str; 2] = ["x-extensible-enum", "x-max-decimal-places"];

/// Whether a member says nothing about which values are allowed.
pub(crate) fn is_documentation(name: &str) -> bool {
    DOCUMENTATION.contains(&name)
}

/// Whether a member is an extension without a meaning here.
pub(crate) fn is_hint(name: &str) -> bool {
    name.starts_with("x-") && !CONSTRAINING_EXTENSIONS.contains(&name)
}

pub(crate) struct Comparison<'a> {
    pub(crate) old: Node<'a>,
    pub(crate) new: Node<'a>,
    findings: BTreeSet<Finding>,
    /// Pairs of schemas that were compared, by pointers and direction: schemas may contain themselves.
    pub(crate) seen: BTreeSet<(String, String, bool)>,
    /// References of both documents whose targets differ, or refer to something that does.
    changed: BTreeSet<&'a str>,
    /// Whether the service sends the requests: in webhooks and callbacks.
    pub(crate) is_inverted: bool,
}

/// Maximum length of a chain of references.
const MAX_REFERENCES: usize = 16;

impl<'a> Comparison<'a> {
    pub(crate) fn new(old: &'a Document, new: &'a Document) -> Self {
        let all = old.references.iter().chain(&new.references).map(String::as_str).collect();
        let root = |value, side| Node { value, pointer: String::new(), side };
        Self {
            old: root(&old.value, Side::Old),
            new: root(&new.value, Side::New),
            findings: BTreeSet::new(),
            seen: BTreeSet::new(),
            changed: changed_references(&all, &old.value, &new.value),
            is_inverted: false,
        }
    }

    /// The findings in order. One that is the same in both documents, such as a reference without a target, counts once.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        let in_new = |finding: &Finding| self.findings.contains(&Finding { document: Side::New, ..finding.clone() });
        let is_repeated = |finding: &Finding| finding.document == Side::Old && in_new(finding);
        self.findings.iter().filter(|finding| !is_repeated(finding)).cloned().collect()
    }

    pub(crate) fn find(&mut self, rule: Rule, node: &Node<'_>, detail: impl Into<String>) {
        self.findings.insert(Finding {
            severity: rule.severity(),
            document: node.side,
            pointer: node.pointer.clone(),
            rule,
            detail: detail.into(),
            line: None,
        });
    }

    /// Whether two values are equal, and what they refer to as well.
    pub(crate) fn is_same(&self, old: &Node<'a>, new: &Node<'a>) -> bool {
        self.are_equal(old.value, new.value)
    }

    fn are_equal(&self, old: &Value, new: &Value) -> bool {
        match (old, new) {
            (Value::Object(before), Value::Object(after)) => {
                before.len() == after.len()
                    && before.iter().all(|(name, old)| {
                        let Some(new) = after.get(name) else { return false };
                        let is_changed =
                            is_reference(name) && old.as_str().is_some_and(|text| self.changed.contains(text));
                        !is_changed && self.are_equal(old, new)
                    })
            }
            (Value::Array(before), Value::Array(after)) => {
                before.len() == after.len() && before.iter().zip(after).all(|(old, new)| self.are_equal(old, new))
            }
            _ => old == new,
        }
    }

    /// Judges each member that is not `known`: an annotation or an extension that changed is noted; another one is not understood if
    /// it changed, or refers to something that did. A known member must be of its kind, or the rules cannot compare it.
    pub(crate) fn judge_other_members(
        &mut self,
        old: &Node<'a>,
        new: &Node<'a>,
        known: &[(&str, Kind)],
        annotations: &[&str],
    ) {
        // An absent value has no members.
        let has_members = |node: &Node<'a>| node.value.is_object() || node.value.is_null();
        if !(self.is_same(old, new) || has_members(old) && has_members(new)) {
            self.find(Rule::NotUnderstood, new, "is not an object");
            return;
        }
        let names = |node: &Node<'a>| node.value.as_object().into_iter().flat_map(Map::keys);
        let all: BTreeSet<_> = names(old).chain(names(new)).filter(|name| !is_documentation(name)).collect();
        for name in all {
            let (before, after) = (old.at(name), new.at(name));
            let kind = known.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
            let fits =
                |node: &Option<Node<'a>>| kind.is_some_and(|kind| node.as_ref().is_none_or(|n| kind.fits(n.value)));
            if fits(&before) && fits(&after) {
                continue;
            }
            let is_equal = before.as_ref().map(|node| node.value) == after.as_ref().map(|node| node.value);
            let is_same =
                before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| self.is_same(before, after));
            let Some(node) = after.or(before) else { continue };
            if kind.is_none() && (is_hint(name) || annotations.contains(&name.as_str())) {
                if !is_equal {
                    self.find(Rule::AnnotationChanged, &node, format!("`{name}` changed"));
                }
            } else if !is_same {
                let detail = match (kind, is_equal) {
                    (Some(_), _) => format!("`{name}` has an unexpected type"),
                    (None, true) => format!("`{name}`: keyword not supported, and what it refers to changed"),
                    (None, false) => format!("`{name}`: keyword not supported by the comparison"),
                };
                self.find(Rule::NotUnderstood, &node, detail);
            }
        }
    }

    fn root(&self, side: Side) -> &Node<'a> {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// The target of a reference, or the value itself. A reference without a target is found, and nothing below it.
    pub(crate) fn resolve(&mut self, node: &Node<'a>) -> Option<Node<'a>> {
        self.reference_chain(node)?.pop()
    }

    /// A value and the targets of its references in order; the last one is not a reference.
    pub(crate) fn reference_chain(&mut self, node: &Node<'a>) -> Option<Vec<Node<'a>>> {
        let mut chain = vec![node.clone()];
        while let Some(reference) = chain.last().and_then(|last| last.text("$ref")) {
            let Some((pointer, value)) = target(self.root(node.side).value, reference) else {
                let detail = if reference.starts_with('#') {
                    format!("the reference {reference} has no target")
                } else {
                    format!("the reference {reference} leads to another file: bundle the document first")
                };
                self.find(Rule::NotUnderstood, node, detail);
                return None;
            };
            if chain.len() > MAX_REFERENCES {
                self.find(Rule::NotUnderstood, node, "the references form a cycle");
                return None;
            }
            chain.push(Node { value, pointer, side: node.side });
        }
        Some(chain)
    }

    pub(crate) fn resolve_both(&mut self, old: &Node<'a>, new: &Node<'a>) -> Option<(Node<'a>, Node<'a>)> {
        let old = self.resolve(old)?;
        Some((old, self.resolve(new)?))
    }

    /// Compares the members of two objects by name; finds those that were removed or added, `what` being their kind.
    pub(crate) fn by_name(
        &mut self,
        old: &Node<'a>,
        new: &Node<'a>,
        what: &str,
        mut compare: impl FnMut(&mut Self, &Node<'a>, &Node<'a>),
    ) {
        let after: BTreeMap<_, _> = new.named().collect();
        for (name, before) in old.named() {
            match after.get(name) {
                Some(after) => compare(self, &before, after),
                None => self.find(Rule::Removed, &before, format!("the {what} was removed")),
            }
        }
        for (name, added) in after {
            if old.at(name).is_none() {
                self.find(Rule::Added, &added, format!("the {what} is new"));
            }
        }
    }
}
