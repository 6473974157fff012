//! Whether a JSON Schema allows less in requests, or more in responses, than another one.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::Value;

use crate::{
    comparison::{ABSENT, Comparison, Kind, Node, is_documentation, is_hint},
    finding::Rule,
};

/// Annotations of schemas, whose changes are notes.
const ANNOTATIONS: [&str; 7] =
    ["title", "deprecated", "externalDocs", "discriminator", "contentMediaType", "contentEncoding", "contentSchema"];

/// Keywords that these rules compare, apart from the bounds. A schema can be a boolean.
const KNOWN: [(&str, Kind); 23] = [
    ("$ref", Kind::Text),
    ("type", Kind::Any),
    ("format", Kind::Text),
    ("default", Kind::Any),
    ("enum", Kind::Array),
    ("const", Kind::Any),
    ("x-extensible-enum", Kind::Array),
    ("pattern", Kind::Text),
    ("multipleOf", Kind::Number),
    ("uniqueItems", Kind::Flag),
    ("readOnly", Kind::Flag),
    ("writeOnly", Kind::Flag),
    ("required", Kind::Texts),
    ("properties", Kind::Object),
    ("patternProperties", Kind::Object),
    ("additionalProperties", Kind::Any),
    ("propertyNames", Kind::Any),
    ("items", Kind::Any),
    ("prefixItems", Kind::Array),
    ("anyOf", Kind::Array),
    ("oneOf", Kind::Array),
    ("allOf", Kind::Array),
    ("$defs", Kind::Object),
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
    if comparison.is_same(&old, &new) {
        return;
    }
    let Some(old_parts) = parts(comparison, &old) else { return };
    let Some(new_parts) = parts(comparison, &new) else { return };
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
fn parts<'a>(comparison: &mut Comparison<'a>, node: &Node<'a>) -> Option<Vec<Node<'a>>> {
    let mut chain = comparison.reference_chain(node)?;
    let target = chain.pop()?;
    let has_keywords = |node: &Node<'a>| node.members().any(|(name, _)| name != "$ref" && constrains(name));
    Some(std::iter::once(target).chain(chain.into_iter().filter(has_keywords)).collect())
}

/// Whether a keyword can constrain values. `readOnly` and `writeOnly` count for the property that has them.
fn constrains(name: &str) -> bool {
    let is_mark = matches!(name, "readOnly" | "writeOnly");
    !(is_mark || is_documentation(name) || is_hint(name) || ANNOTATIONS.contains(&name))
}

struct Pair<'a, 'c> {
    comparison: &'c mut Comparison<'a>,
    old: Node<'a>,
    new: Node<'a>,
    is_input: bool,
}

impl<'a> Pair<'a, '_> {
    fn compare(&mut self) {
        if self.compare_boolean_schemas() || self.became_choice() {
            return;
        }
        let bounds = BOUNDS.map(|(name, ..)| (name, Kind::Number));
        self.comparison.judge_other_members(&self.old, &self.new, &[&KNOWN[..], &bounds].concat(), &ANNOTATIONS);
        self.types();
        self.compare_format_and_default();
        self.values();
        self.bounds();
        self.patterns();
        self.members();
        self.positions();
        for name in ["propertyNames", "items"] {
            self.compare_subschema(name);
        }
        for name in ["anyOf", "oneOf", "allOf"] {
            let list = |node: &Node<'a>| node.or_null(name).items().collect::<Vec<_>>();
            self.choices(name, list(&self.old), list(&self.new));
        }
    }

    fn find(&mut self, rule: Rule, detail: impl Into<String>) {
        let detail = format!("{} in {}", detail.into(), direction(self.is_input));
        self.comparison.find(rule, &self.new, detail);
    }

    /// Finds a breaking change if the change breaks this direction.
    fn judge(&mut self, change: Change, detail: impl Into<String>) {
        match (change, self.is_input) {
            (Change::Tighter, true) => self.find(Rule::InputNarrowed, detail),
            (Change::Looser, false) => self.find(Rule::OutputWidened, detail),
            (Change::Tighter, false) => self.find(Rule::OutputNarrowed, detail),
            (Change::Looser, true) => self.find(Rule::InputWidened, detail),
            (Change::Unknown, _) => self.find(Rule::NotUnderstood, detail),
            (Change::Same, _) => {}
        }
    }

    /// Compares schemas that are true, false or absent; returns whether nothing is left to compare. `true` and an absent
    /// schema allow everything.
    fn compare_boolean_schemas(&mut self) -> bool {
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

    /// One or several types. Only `null` may come and go; any other change is another type in generated code.
    fn types(&mut self) {
        let kinds = |value: Option<&'a Value>| -> Option<BTreeSet<&'a str>> {
            match value? {
                Value::String(kind) => Some(BTreeSet::from([kind.as_str()])),
                Value::Array(kinds) => kinds.iter().map(Value::as_str).collect(),
                _ => None,
            }
        };
        let (before, after) = self.both("type");
        let detail = || format!("type {} became {}", show(before), show(after));
        let Some((old, new)) = kinds(before).zip(kinds(after)) else {
            if before != after {
                self.find(Rule::TypeChanged, detail());
            }
            return;
        };
        if old.symmetric_difference(&new).any(|kind| *kind != "null") {
            self.find(Rule::TypeChanged, detail());
        } else if old.len() != new.len() {
            self.judge(if old.len() < new.len() { Change::Looser } else { Change::Tighter }, detail());
        }
    }

    fn compare_format_and_default(&mut self) {
        let names = [("format", Rule::FormatChanged), ("default", Rule::DefaultChanged)];
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
        self.required();
        let (old, new) = (self.old.or_null("properties"), self.new.or_null("properties"));
        for (name, before) in old.members() {
            match new.at(name) {
                Some(after) => self.property(before, after),
                None if is_marked(self.comparison, &before, hidden(self.is_input)) => {}
                None => self.comparison.find(Rule::Removed, &before, format!("the property {name} was removed")),
            }
        }
        // Without `additionalProperties`, a server ignores unknown members next to known ones; an object without known members
        // is free-form.
        let is_free_form = self.is_input && self.old.or_null("properties").members().next().is_none();
        let rest =
            self.old.at("additionalProperties").or(is_free_form.then(|| self.old.or_null("additionalProperties")));
        for (name, added) in new.members().filter(|(name, _)| old.at(name).is_none()) {
            self.comparison.find(Rule::Added, &added, format!("the property {name} is new"));
            if let Some(rest) = &rest {
                compare_schemas(self.comparison, rest.clone(), added, self.is_input);
            }
        }
        self.compare_subschema("additionalProperties");
    }

    /// A property that is only sent in the other direction is not required in this one.
    fn required(&mut self) {
        let hidden = hidden(self.is_input);
        let names = |comparison: &mut Comparison<'a>, schema: &Node<'a>| -> BTreeSet<&'a str> {
            let names = schema.value["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let is_hidden = |comparison: &mut Comparison<'a>, name: &str| {
                schema.or_null("properties").at(name).is_some_and(|property| is_marked(comparison, &property, hidden))
            };
            names.filter(|name| !is_hidden(comparison, name)).collect()
        };
        let (before, after) = (names(self.comparison, &self.old), names(self.comparison, &self.new));
        for name in after.difference(&before) {
            let rule = if self.is_input { Rule::InputRequired } else { Rule::OutputNarrowed };
            self.find(rule, format!("the property {name} is required"));
        }
        for name in before.difference(&after) {
            let rule = if self.is_input { Rule::InputWidened } else { Rule::OutputWidened };
            self.find(rule, format!("the property {name} may be missing"));
        }
    }

    /// A property that both documents leave out in this direction is not compared in it.
    fn property(&mut self, before: Node<'a>, after: Node<'a>) {
        let (hidden, other) = (hidden(self.is_input), hidden(!self.is_input));
        let marks =
            [hidden, other].map(|name| [&before, &after].map(|property| is_marked(self.comparison, property, name)));
        let find = |comparison: &mut Comparison<'a>, rule, name: &str| {
            comparison.find(rule, &after, format!("`{name}` changed in {}", direction(self.is_input)));
        };
        match marks[0] {
            [true, true] => return,
            [false, true] => {
                find(self.comparison, if self.is_input { Rule::InputNarrowed } else { Rule::Removed }, hidden);
                return;
            }
            [true, false] => find(self.comparison, Rule::Added, hidden),
            [false, false] => {}
        }
        if marks[1][0] != marks[1][1] {
            find(self.comparison, Rule::AnnotationChanged, other);
        }
        compare_schemas(self.comparison, before, after, self.is_input);
    }

    /// Schemas by position or by the pattern of their names. A new or a removed one changes what others apply to.
    fn positions(&mut self) {
        for name in ["prefixItems", "patternProperties"] {
            let (before, after) = (self.old.or_null(name), self.new.or_null(name));
            let schemas = |node: &Node<'a>| -> Vec<(String, Node<'a>)> {
                let by_name = node.members().map(|(name, schema)| (name.clone(), schema));
                by_name.chain(node.items().enumerate().map(|(at, schema)| (at.to_string(), schema))).collect()
            };
            let (old, new) = (schemas(&before), schemas(&after));
            if !old.iter().map(|(name, _)| name).eq(new.iter().map(|(name, _)| name)) {
                self.find(Rule::NotUnderstood, format!("`{name}` has other members"));
                continue;
            }
            for ((_, old), (_, new)) in old.into_iter().zip(new) {
                compare_schemas(self.comparison, old, new, self.is_input);
            }
        }
    }

    /// A schema below this one; where there is none, anything is allowed.
    fn compare_subschema(&mut self, name: &str) {
        let (before, after) = (self.old.or_null(name), self.new.or_null(name));
        if !(before.value.is_null() && after.value.is_null()) {
            let or_here = |node: Node<'a>| Node { pointer: format!("{}/{name}", node.pointer), ..node };
            let before = if before.value.is_null() { or_here(before) } else { before };
            let after = if after.value.is_null() { or_here(after) } else { after };
            compare_schemas(self.comparison, before, after, self.is_input);
        }
    }

    /// Whether a member of `anyOf` does not matter, because another one allows every value of its type: texts of which some are
    /// known.
    fn is_covered(&self, old: &Node<'a>, new: &Node<'a>, wide: &[&str]) -> bool {
        let narrow = if self.is_input { old } else { new };
        let is_known_list = |node: &Node<'a>| node.at("enum").is_some();
        let has_same_default = old.value.get("default") == new.value.get("default");
        has_same_default
            && is_known_list(old)
            && is_known_list(new)
            && narrow.text("type").is_some_and(|kind| wide.contains(&kind))
    }

    /// A schema that became one of several choices, or the other way round: a schema is the same as `anyOf` with it alone.
    fn became_choice(&mut self) -> bool {
        let choices = |node: &Node<'a>| {
            let mut names = node.members().map(|(name, _)| name).filter(|name| constrains(name));
            let is_choice = names.next().is_some_and(|name| name == "anyOf") && names.next().is_none();
            node.at("anyOf")
                .filter(|list| is_choice && list.value.is_array())
                .map(|list| list.items().collect::<Vec<_>>())
        };
        let defaults = self.both("default");
        let (old, new) = match (choices(&self.old), choices(&self.new)) {
            (None, Some(new)) if !self.old.value.is_null() => (vec![self.old.clone()], new),
            (Some(old), None) if !self.new.value.is_null() => (old, vec![self.new.clone()]),
            _ => return false,
        };
        if defaults.0 != defaults.1 {
            return false;
        }
        self.choices("anyOf", old, new);
        true
    }

    /// More members of `anyOf` and `oneOf` allow more, more members of `allOf` allow less. Any pairs would do: similar ones have
    /// the fewest differences.
    fn choices(&mut self, name: &str, old: Vec<Node<'a>>, new: Vec<Node<'a>>) {
        let (before, after) = (old.len(), new.len());
        // The types of which every value is allowed.
        let is_plain = |node: &&Node<'a>| node.members().all(|(name, _)| name == "type" || !constrains(name));
        let widest = if self.is_input { &new } else { &old };
        let wide: Vec<_> = widest.iter().filter(is_plain).filter_map(|node| node.text("type")).collect();
        let (mut unpaired, mut rest, mut pairs) = (old, new, Vec::new());
        // What two equal members refer to may have changed: it is compared.
        let is_equal = |old: &Node<'a>, new: &Node<'a>| old.value == new.value || is_target(old, new);
        let has_same = |name: &str, old: &Node<'a>, new: &Node<'a>| {
            old.value.get(name).is_some_and(|value| new.value.get(name) == Some(value))
        };
        let is_similar = |old: &Node<'a>, new: &Node<'a>| has_same("title", old, new) || has_same("type", old, new);
        for belong in [&is_equal as &dyn Fn(&Node<'a>, &Node<'a>) -> bool, &is_similar] {
            for node in std::mem::take(&mut unpaired) {
                match rest.iter().position(|other| belong(&node, other)) {
                    Some(at) => pairs.push((node, rest.remove(at))),
                    None => unpaired.push(node),
                }
            }
        }
        let count = unpaired.len().cmp(&rest.len());
        pairs.extend(unpaired.into_iter().zip(rest));
        for (old, new) in pairs {
            if !(name == "anyOf" && self.is_covered(&old, &new, &wide)) {
                compare_schemas(self.comparison, old, new, self.is_input);
            }
        }
        let change = match (name, count) {
            (_, Ordering::Equal) => Change::Same,
            // Without `anyOf` or `oneOf` everything is allowed.
            ("anyOf" | "oneOf", _) if after == 0 => Change::Looser,
            ("anyOf" | "oneOf", _) if before == 0 => Change::Tighter,
            ("allOf", Ordering::Less) | ("anyOf", Ordering::Greater) => Change::Tighter,
            ("allOf", Ordering::Greater) | ("anyOf", Ordering::Less) => Change::Looser,
            // A value that fits two members of `oneOf` is not allowed, so one more can allow more or less.
            (_, Ordering::Greater) if self.is_input => Change::Tighter,
            (_, Ordering::Less) if !self.is_input => Change::Looser,
            _ => Change::Unknown,
        };
        self.judge(change, format!("{name} has {after} members instead of {before}"));
    }
}

/// Whether one is a reference to the other.
fn is_target(old: &Node<'_>, new: &Node<'_>) -> bool {
    let leads = |from: &Node<'_>, to: &Node<'_>| {
        from.text("$ref").and_then(|text| text.strip_prefix('#')).is_some_and(|pointer| pointer == to.pointer)
    };
    leads(old, new) || leads(new, old)
}

/// Whether a property or what it refers to has a mark, such as `readOnly`.
fn is_marked<'a>(comparison: &mut Comparison<'a>, property: &Node<'a>, mark: &str) -> bool {
    property.is(mark)
        || comparison.reference_chain(property).is_some_and(|chain| chain.iter().any(|node| node.is(mark)))
}

/// The mark of a property that is not sent in a direction.
fn hidden(is_input: bool) -> &'static str {
    if is_input { "readOnly" } else { "writeOnly" }
}

fn direction(is_input: bool) -> &'static str {
    if is_input { "requests" } else { "responses" }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Tighter,
    Looser,
    Unknown,
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
