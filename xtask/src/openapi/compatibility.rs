//! The breaking changes between two contracts.
//!
//! The rules are closed: a keyword that they do not know counts as a breaking change if it changes or contains a reference.
//! A caller sends what the old contract allows, reads what it promises, and may have generated code from it: names of
//! operations, tags and components are promises too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    comparison::{ANNOTATIONS, BreakingChange, Comparison, Node, Rule},
    schema_compatibility::compare_schemas,
};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Every breaking change between two contracts; empty if the new one serves the callers of the old one.
///
/// # Errors
///
/// Says which of the two is not an OpenAPI 3.1 document.
pub fn breaking_changes(old: &Value, new: &Value) -> Result<Vec<BreakingChange>, String> {
    for (name, document) in [("old", old), ("new", new)] {
        let is_known = document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1."));
        if !is_known || !document["paths"].is_object() {
            return Err(format!("the {name} contract is not an OpenAPI 3.1 document with paths"));
        }
    }
    let mut comparison = Comparison { old, new, findings: BTreeSet::new(), seen: BTreeSet::new() };
    comparison.documents();
    Ok(comparison.findings.into_iter().collect())
}

impl<'a> Comparison<'a> {
    fn documents(&mut self) {
        let old = Node { value: self.old, pointer: String::new() };
        let new = Node { value: self.new, pointer: String::new() };
        self.only(&old, &new, &[&["info", "tags", "paths", "components", "servers", "security", "externalDocs"]]);
        self.servers(&old, &new);
        let (old_paths, new_paths) = (old.or_null("paths"), new.or_null("paths"));
        for (path, before) in old_paths.members() {
            match new_paths.at(path) {
                Some(after) => self.path(&before, &after),
                None => self.find(Rule::Removed, &before, "the path was removed"),
            }
        }
        self.components(&old.or_null("components"), &new.or_null("components"));
    }

    fn servers(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let urls = |node: &Node<'a>| -> BTreeSet<&'a str> {
            let urls: BTreeSet<_> = node.or_null("servers").items().filter_map(|server| server.text("url")).collect();
            if urls.is_empty() { BTreeSet::from(["/"]) } else { urls }
        };
        for url in urls(old).difference(&urls(new)) {
            self.find(Rule::Removed, &old.or_null("servers"), format!("the server {url} was removed"));
        }
        let variables =
            |node: &Node<'a>| node.or_null("servers").items().any(|server| server.at("variables").is_some());
        if variables(old) || variables(new) {
            self.find(Rule::NotUnderstood, &new.or_null("servers"), "the rules do not know variables of servers");
        }
    }

    /// A component that an operation uses was compared there, in its direction only. A schema that only a description
    /// names (the line of a stream) is compared in both; the names of all schemas are promises.
    fn components(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let kinds = ["schemas", "responses", "parameters", "headers", "requestBodies", "securitySchemes", "examples"];
        self.only(old, new, &[&kinds]);
        let (old_schemas, new_schemas) = (old.or_null("schemas"), new.or_null("schemas"));
        for (name, before) in old_schemas.members() {
            let Some(after) = new_schemas.at(name) else {
                self.find(Rule::Removed, &before, format!("the schema {name} was removed"));
                continue;
            };
            let is_used = self.seen.iter().any(|(old, new, _)| *old == before.pointer && *new == after.pointer);
            if !is_used {
                compare_schemas(self, before.clone(), after.clone(), true);
                compare_schemas(self, before, after, false);
            }
        }
    }

    fn path(&mut self, old: &Node<'a>, new: &Node<'a>) {
        self.only(old, new, &[&METHODS, &ANNOTATIONS, &["parameters"]]);
        for method in METHODS {
            match (old.at(method), new.at(method)) {
                (Some(before), Some(after)) => self.operation(old, &before, new, &after),
                (Some(before), None) => self.find(Rule::Removed, &before, "the operation was removed"),
                (None, _) => {}
            }
        }
    }

    fn operation(&mut self, old_path: &Node<'a>, old: &Node<'a>, new_path: &Node<'a>, new: &Node<'a>) {
        let known = ["operationId", "tags", "parameters", "requestBody", "responses", "security"];
        self.only(old, new, &[&known, &ANNOTATIONS]);
        for (name, what) in [("operationId", "the operationId"), ("tags", "the tags")] {
            let (before, after) = (old.or_null(name), new.or_null(name));
            if before.value != after.value {
                let detail = format!("{what} {} became {}", before.value, after.value);
                self.find(Rule::NameChanged, &after, detail);
            }
        }
        self.security(old, new);
        self.parameters([old_path, old], [new_path, new]);
        match (old.at("requestBody"), new.at("requestBody")) {
            (Some(before), Some(after)) => self.request_body(&before, &after),
            (Some(before), None) => self.find(Rule::Removed, &before, "the request body was removed"),
            (None, Some(after)) => {
                if self.resolve(&after, self.new).is_none_or(|body| body.value["required"] == true) {
                    self.find(Rule::InputRequired, &after, "a request body is now required");
                }
            }
            (None, None) => {}
        }
        self.responses(&old.or_null("responses"), &new.or_null("responses"));
    }

    /// Each set of keys that was sufficient must still be sufficient.
    fn security(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let of = |operation: &Node<'a>, root: &'a Value| {
            let own = operation.value.get("security").or_else(|| root.get("security"));
            own.and_then(Value::as_array).filter(|list| !list.is_empty()).cloned()
        };
        let open = || vec![Value::Object(Map::new())];
        let before = of(old, self.old).unwrap_or_else(open);
        let after = of(new, self.new).unwrap_or_else(open);
        let is_sufficient = |have: &Value, need: &Value| {
            need.as_object().is_some_and(|need| {
                need.iter().all(|(scheme, scopes)| {
                    let have = have.get(scheme).and_then(Value::as_array);
                    let scopes = scopes.as_array();
                    have.zip(scopes).is_some_and(|(have, scopes)| scopes.iter().all(|scope| have.contains(scope)))
                })
            })
        };
        for have in &before {
            // An alternative without a key does not count for a caller that has one: a server can require keys.
            let is_key = |need: &&Value| need.as_object().is_some_and(|need| !need.is_empty());
            let keys: Vec<_> = after.iter().filter(is_key).collect();
            let choices = if is_key(&have) && !keys.is_empty() { keys } else { after.iter().collect() };
            if !choices.iter().any(|need| is_sufficient(have, need)) {
                self.find(Rule::SecurityChanged, new, format!("{have} is no longer sufficient"));
            }
            for scheme in have.as_object().into_iter().flat_map(Map::keys) {
                let definition = |root: &'a Value| {
                    Node { value: root, pointer: String::new() }
                        .at("components")
                        .and_then(|components| components.at("securitySchemes"))
                        .and_then(|schemes| schemes.at(scheme))
                };
                match (definition(self.old), definition(self.new)) {
                    (Some(before), Some(after)) => self.scheme(&before, &after),
                    (Some(before), None) => self.find(Rule::SecurityChanged, &before, format!("{scheme} was removed")),
                    (None, _) => self.find(Rule::NotUnderstood, old, format!("{scheme} is not defined")),
                }
            }
        }
    }

    fn scheme(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        let (old, new) = (&old, &new);
        for name in ["type", "in", "name", "scheme"] {
            if old.value.get(name) != new.value.get(name) {
                self.find(Rule::SecurityChanged, new, format!("{name:?} of the scheme changed"));
            }
        }
        self.only(old, new, &[&["type", "in", "name", "scheme", "bearerFormat"], &ANNOTATIONS]);
    }

    /// The parameters of a path and of its operation by location and name; those of the operation override.
    fn collect_parameters(&mut self, owners: [&Node<'a>; 2], root: &'a Value) -> BTreeMap<(String, String), Node<'a>> {
        let mut parameters = BTreeMap::new();
        for node in owners.into_iter().flat_map(|owner| owner.or_null("parameters").items().collect::<Vec<_>>()) {
            let Some(parameter) = self.resolve(&node, root) else { continue };
            let location = parameter.text("in").unwrap_or_default().to_owned();
            let name = parameter.text("name").unwrap_or_default();
            let name = if location == "header" { name.to_lowercase() } else { name.to_owned() };
            parameters.insert((location, name), parameter);
        }
        parameters
    }

    fn parameters(&mut self, old: [&Node<'a>; 2], new: [&Node<'a>; 2]) {
        let (old, new) = (self.collect_parameters(old, self.old), self.collect_parameters(new, self.new));
        for (key @ (location, name), before) in &old {
            match new.get(key) {
                Some(after) => self.parameter(before, after, location),
                None => self.find(Rule::Removed, before, format!("the {location} parameter {name} was removed")),
            }
        }
        for (key @ (location, name), after) in &new {
            if !old.contains_key(key) && after.value["required"] == true {
                self.find(Rule::InputRequired, after, format!("the {location} parameter {name} is new and required"));
            }
        }
    }

    fn parameter(&mut self, old: &Node<'a>, new: &Node<'a>, location: &str) {
        self.only(old, new, &[&["name", "in", "required", "schema", "style", "explode"], &ANNOTATIONS]);
        if old.value["required"] != true && new.value["required"] == true {
            self.find(Rule::InputRequired, new, "is now required");
        }
        let style = |node: &Node<'a>| {
            let default = if matches!(location, "query" | "cookie") { "form" } else { "simple" };
            let style = node.text("style").unwrap_or(default).to_owned();
            let explode = node.value.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
            (style, explode)
        };
        if style(old) != style(new) {
            self.find(Rule::EncodingChanged, new, "is serialized differently");
        }
        compare_schemas(self, old.or_null("schema"), new.or_null("schema"), true);
    }

    fn request_body(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["required", "content"], &ANNOTATIONS]);
        if old.value["required"] != true && new.value["required"] == true {
            self.find(Rule::InputRequired, &new, "the request body is now required");
        }
        self.content(&old.or_null("content"), &new.or_null("content"), true);
    }

    fn responses(&mut self, old: &Node<'a>, new: &Node<'a>) {
        for (status, before) in old.members() {
            match new.at(status) {
                Some(after) => self.response(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the response {status} was removed")),
            }
        }
        // A caller must expect any error, but only the documented successes.
        let is_error = |status: &str| status.starts_with(['4', '5']);
        for (status, after) in new.members().filter(|(status, _)| !is_error(status)) {
            if old.at(status).is_none() {
                self.find(Rule::OutputWidened, &after, format!("the response {status} is new"));
            }
        }
    }

    fn response(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["content", "headers"], &ANNOTATIONS]);
        let (old_content, new_content) = (old.or_null("content"), new.or_null("content"));
        self.content(&old_content, &new_content, false);
        for (media_type, added) in new_content.members().filter(|(name, _)| old_content.at(name).is_none()) {
            self.find(Rule::EncodingChanged, &added, format!("a response may be {media_type} now"));
        }
        let (old_headers, new_headers) = (old.or_null("headers"), new.or_null("headers"));
        for (name, before) in old_headers.members() {
            let same_name = |other: &str| other.eq_ignore_ascii_case(name);
            match new_headers.members().find(|(other, _)| same_name(other)) {
                Some((_, after)) => self.header(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the header {name} was removed")),
            }
        }
    }

    fn header(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["required", "schema"], &ANNOTATIONS]);
        if old.value["required"] == true && new.value["required"] != true {
            self.find(Rule::OutputWidened, &new, "the header may be missing now");
        }
        compare_schemas(self, old.or_null("schema"), new.or_null("schema"), false);
    }

    fn content(&mut self, old: &Node<'a>, new: &Node<'a>, is_input: bool) {
        for (media_type, before) in old.members() {
            let Some(after) = new.at(media_type) else {
                self.find(Rule::EncodingChanged, &before, format!("{media_type} was removed"));
                continue;
            };
            self.only(&before, &after, &[&["schema"], &ANNOTATIONS]);
            compare_schemas(self, before.or_null("schema"), after.or_null("schema"), is_input);
        }
    }
}
