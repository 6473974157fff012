//! Whether a JSON Schema allows less in requests, or more in responses, than another one.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::{Map, Value};

use super::comparison::{ABSENT, Comparison, Node, Rule};

/// Keywords that constrain nothing.
const ANNOTATIONS: [&str; 5] = ["description", "example", "examples", "deprecated", "$comment"];

/// Keywords that these rules compare, apart from the bounds.
const KNOWN: [&str; 17] = [
    "$ref",
    "type",
    "format",
    "default",
    "enum",
    "const",
    "x-extensible-enum",
    "pattern",
    "multipleOf",
    "uniqueItems",
    "required",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "anyOf",
    "allOf",
];

/// Each bound, whether it is an upper one, and its default.
const BOUNDS: [(&str, bool, Option<u64>); 11] = [
    ("minimum", false, None),
    ("exclusiveMinimum", false, None),
    ("maximum", true, None),
    ("exclusiveMaximum", true, None),
    ("minLength", false, Some(0)),
    ("maxLength", true, None),
    ("minItems", false, Some(0)),
    ("maxItems", true, None),
    ("minProperties", false, Some(0)),
    ("maxProperties", true, None),
    ("x-max-decimal-places", true, None),
];

/// Finds what a request may no longer contain, or what a response may newly contain.
pub(crate) fn compare_schemas<'a>(comparison: &mut Comparison<'a>, old: Node<'a>, new: Node<'a>, is_input: bool) {
    let parts = parts(comparison, &old, true).zip(parts(comparison, &new, false));
    let Some((old_parts, new_parts)) = parts else { return };
    if old_parts.len() != new_parts.len() {
        comparison.find(Rule::NotUnderstood, &new, "a reference next to other keywords was added or removed");
        return;
    }
    for (old, new) in old_parts.into_iter().zip(new_parts) {
        if comparison.seen.insert((old.pointer.clone(), new.pointer.clone(), is_input)) {
            Pair { comparison, old, new, is_input }.compare();
        }
    }
}

/// A schema as the parts that all apply: the target of its references, and the keywords next to each reference.
fn parts<'a>(comparison: &mut Comparison<'a>, node: &Node<'a>, is_old: bool) -> Option<Vec<Node<'a>>> {
    let root = if is_old { comparison.old } else { comparison.new };
    let mut chain = comparison.reference_chain(node, root)?;
    let target = chain.pop()?;
    let has_keywords = |node: &Node<'a>| {
        let mut names = node.value.as_object().into_iter().flat_map(Map::keys);
        names.any(|name| name != "$ref" && !ANNOTATIONS.contains(&name.as_str()))
    };
    Some(std::iter::once(target).chain(chain.into_iter().filter(has_keywords)).collect())
}

struct Pair<'a, 'c> {
    comparison: &'c mut Comparison<'a>,
    old: Node<'a>,
    new: Node<'a>,
    is_input: bool,
}

impl<'a> Pair<'a, '_> {
    fn compare(&mut self) {
        if self.booleans() {
            return;
        }
        let bounds = BOUNDS.map(|(name, ..)| name);
        self.comparison.only(&self.old, &self.new, &[&KNOWN, &bounds, &ANNOTATIONS]);
        self.exact();
        self.values();
        self.bounds();
        self.patterns();
        self.members();
        for name in ["propertyNames", "items"] {
            self.below(name);
        }
        self.choices();
    }

    fn find(&mut self, rule: Rule, detail: impl Into<String>) {
        let detail = format!("{} in {}", detail.into(), if self.is_input { "requests" } else { "responses" });
        self.comparison.find(rule, &self.new, detail);
    }

    /// Finds a breaking change if the change breaks this direction.
    fn judge(&mut self, change: Change, detail: impl Into<String>) {
        match (change, self.is_input) {
            (Change::Tighter, true) => self.find(Rule::InputNarrowed, detail),
            (Change::Looser, false) => self.find(Rule::OutputWidened, detail),
            (Change::Unknown, _) => self.find(Rule::NotUnderstood, detail),
            _ => {}
        }
    }

    /// Compares schemas that are true, false or absent; returns whether nothing is left to compare. `true` and an absent
    /// schema allow everything.
    fn booleans(&mut self) -> bool {
        for node in [&mut self.old, &mut self.new] {
            if *node.value == true {
                node.value = &ABSENT;
            }
        }
        let (before, after) = (*self.old.value != false, *self.new.value != false);
        match (before, after) {
            (true, true) => return false,
            (false, false) => {}
            (true, false) => self.judge(Change::Tighter, "nothing is allowed now"),
            (false, true) => self.judge(Change::Looser, "something is allowed now"),
        }
        true
    }

    fn both(&self, name: &str) -> (Option<&'a Value>, Option<&'a Value>) {
        (self.old.value.get(name), self.new.value.get(name))
    }

    fn exact(&mut self) {
        let names = [("type", Rule::TypeChanged), ("format", Rule::FormatChanged), ("default", Rule::DefaultChanged)];
        for (name, rule) in names {
            let (before, after) = self.both(name);
            if before != after {
                self.find(rule, format!("{name} {} became {}", show(before), show(after)));
            }
        }
    }

    /// Closed sets of values, and extensible sets, which may only grow.
    fn values(&mut self) {
        let set = |schema: &'a Value| -> Option<Vec<&'a Value>> {
            let one = schema.get("const").map(|value| vec![value]);
            one.or_else(|| schema.get("enum").map(|values| values.as_array().into_iter().flatten().collect()))
        };
        match (set(self.old.value), set(self.new.value)) {
            (None, None) => {}
            (None, Some(_)) => self.judge(Change::Tighter, "only some values are allowed now"),
            (Some(_), None) => self.judge(Change::Looser, "any value is allowed now"),
            (Some(before), Some(after)) => {
                for removed in before.iter().filter(|value| !after.contains(value)) {
                    self.judge(Change::Tighter, format!("the value {removed} was removed"));
                }
                for added in after.iter().filter(|value| !before.contains(value)) {
                    self.judge(Change::Looser, format!("the value {added} is new"));
                }
            }
        }
        let (before, after) = self.both("x-extensible-enum");
        let Some(before) = before else { return };
        let known: Vec<_> = after.and_then(Value::as_array).into_iter().flatten().collect();
        for removed in before.as_array().into_iter().flatten().filter(|value| !known.contains(value)) {
            self.find(Rule::Removed, format!("the known value {removed} was removed"));
        }
    }

    fn bounds(&mut self) {
        for (name, is_upper, absent) in BOUNDS {
            let (before, after) = self.both(name);
            let absent = absent.map(Value::from);
            let change = bound(before.or(absent.as_ref()), after.or(absent.as_ref()), is_upper);
            self.judge(change, format!("{name} {} became {}", show(before), show(after)));
        }
        let (before, after) = self.both("uniqueItems");
        let is_set = |value: Option<&Value>| value == Some(&Value::Bool(true));
        match (is_set(before), is_set(after)) {
            (false, true) => self.judge(Change::Tighter, "items must be unique"),
            (true, false) => self.judge(Change::Looser, "items may be repeated"),
            _ => {}
        }
    }

    /// No rule can tell which of two patterns allows more.
    fn patterns(&mut self) {
        for name in ["pattern", "multipleOf"] {
            let (before, after) = self.both(name);
            let change = match (before, after) {
                _ if before == after => Change::Same,
                (None, _) => Change::Tighter,
                (_, None) => Change::Looser,
                _ => Change::Unknown,
            };
            self.judge(change, format!("{name} {} became {}", show(before), show(after)));
        }
    }

    fn members(&mut self) {
        let names = |schema: &'a Value| -> BTreeSet<&'a str> {
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (before, after) = (names(self.old.value), names(self.new.value));
        if self.is_input {
            for name in after.difference(&before) {
                self.find(Rule::InputRequired, format!("the property {name} is required"));
            }
        } else {
            for name in before.difference(&after) {
                self.find(Rule::OutputWidened, format!("the property {name} may be missing"));
            }
        }
        let (old, new) = (self.old.or_null("properties"), self.new.or_null("properties"));
        for (name, before) in old.members() {
            match new.at(name) {
                Some(after) => compare_schemas(self.comparison, before, after, self.is_input),
                None => self.comparison.find(Rule::Removed, &before, format!("the property {name} was removed")),
            }
        }
        // Without `additionalProperties`, a server ignores unknown members next to known ones; an object without known members
        // is free-form.
        let is_free_form = self.is_input && self.old.or_null("properties").members().next().is_none();
        let rest =
            self.old.at("additionalProperties").or(is_free_form.then(|| self.old.or_null("additionalProperties")));
        if let Some(rest) = rest {
            for (_, added) in new.members().filter(|(name, _)| old.at(name).is_none()) {
                compare_schemas(self.comparison, rest.clone(), added, self.is_input);
            }
        }
        self.below("additionalProperties");
    }

    /// A schema below this one; where there is none, anything is allowed.
    fn below(&mut self, name: &str) {
        let (before, after) = (self.old.or_null(name), self.new.or_null(name));
        if !(before.value.is_null() && after.value.is_null()) {
            let or_here = |node: Node<'a>| Node { pointer: format!("{}/{name}", node.pointer), ..node };
            let before = if before.value.is_null() { or_here(before) } else { before };
            let after = if after.value.is_null() { or_here(after) } else { after };
            compare_schemas(self.comparison, before, after, self.is_input);
        }
    }

    /// More members of `anyOf` allow more, more members of `allOf` allow less. Members are compared by position.
    fn choices(&mut self) {
        for (name, more) in [("anyOf", Change::Looser), ("allOf", Change::Tighter)] {
            let (old, new) = (self.old.at(name), self.new.at(name));
            let count = |node: &Option<Node<'a>>| node.as_ref().map_or(0, |node| node.items().count());
            let (before, after) = (count(&old), count(&new));
            // Without `anyOf` everything is allowed.
            let change = match before.cmp(&after) {
                Ordering::Equal => Change::Same,
                _ if name == "anyOf" && after == 0 => Change::Looser,
                _ if name == "anyOf" && before == 0 => Change::Tighter,
                Ordering::Less => more,
                Ordering::Greater => more.reversed(),
            };
            self.judge(change, format!("{name} has {after} members instead of {before}"));
            for (before, after) in old.iter().flat_map(Node::items).zip(new.iter().flat_map(Node::items)) {
                compare_schemas(self.comparison, before, after, self.is_input);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Tighter,
    Looser,
    Unknown,
}

impl Change {
    fn reversed(self) -> Self {
        match self {
            Self::Tighter => Self::Looser,
            Self::Looser => Self::Tighter,
            other => other,
        }
    }
}

fn bound(before: Option<&Value>, after: Option<&Value>, is_upper: bool) -> Change {
    let (before, after) = match (before, after) {
        (None, None) => return Change::Same,
        (None, Some(_)) => return Change::Tighter,
        (Some(_), None) => return Change::Looser,
        (Some(before), Some(after)) => (before, after),
    };
    if before == after {
        return Change::Same;
    }
    let whole = before.as_i64().zip(after.as_i64()).map(|(before, after)| before.cmp(&after));
    let order = whole.or_else(|| before.as_f64()?.partial_cmp(&after.as_f64()?));
    match order {
        Some(Ordering::Less) if is_upper => Change::Looser,
        Some(Ordering::Greater) if is_upper => Change::Tighter,
        Some(Ordering::Less) => Change::Tighter,
        Some(Ordering::Greater) => Change::Looser,
        // Equal as binary floats and different as text: 1 and 1.0, or two numbers beyond 2^53.
        Some(Ordering::Equal) | None => Change::Unknown,
    }
}

fn show(value: Option<&Value>) -> String {
    value.map_or_else(|| "(none)".to_owned(), Value::to_string)
}
