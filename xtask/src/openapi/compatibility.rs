//! What a new contract takes away from the callers of an old one.
//!
//! The rules are closed: a keyword that they do not know counts as a break where it changes or holds a reference. A caller
//! is someone who sends what the old contract allows, reads what it promises, and may have generated code from it: names
//! of operations, tags and components are promises too.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    comparison::{BreakingChange, Comparison, NOTES, Node, Rule},
    schema_compatibility::compare_schemas,
};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Every break between two contracts; empty if a caller of the old one is served by the new one.
///
/// # Errors
///
/// Says which of both is no OpenAPI 3.1 document.
pub fn breaking_changes(old: &Value, new: &Value) -> Result<Vec<BreakingChange>, String> {
    for (name, document) in [("old", old), ("new", new)] {
        let is_known = document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1."));
        if !is_known || !document["paths"].is_object() {
            return Err(format!("the {name} contract is no OpenAPI 3.1 document with paths"));
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
                None => self.find(Rule::Removed, &before, "the path is gone"),
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
            self.find(Rule::Removed, &old.or_null("servers"), format!("the server {url} is gone"));
        }
        let variables =
            |node: &Node<'a>| node.or_null("servers").items().any(|server| server.at("variables").is_some());
        if variables(old) || variables(new) {
            self.find(Rule::NotUnderstood, &new.or_null("servers"), "the rules do not know variables of servers");
        }
    }

    /// Components that an operation uses are compared there, in its directions alone. Schemas that only words refer to
    /// (lines) are compared in both; the names of all schemas are promises.
    fn components(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let kinds = ["schemas", "responses", "parameters", "headers", "requestBodies", "securitySchemes", "examples"];
        self.only(old, new, &[&kinds]);
        let (old_schemas, new_schemas) = (old.or_null("schemas"), new.or_null("schemas"));
        for (name, before) in old_schemas.members() {
            let Some(after) = new_schemas.at(name) else {
                self.find(Rule::Removed, &before, format!("the schema {name} is gone"));
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
        self.only(old, new, &[&METHODS, &NOTES, &["parameters"]]);
        for method in METHODS {
            match (old.at(method), new.at(method)) {
                (Some(before), Some(after)) => self.operation(old, &before, new, &after),
                (Some(before), None) => self.find(Rule::Removed, &before, "the operation is gone"),
                (None, _) => {}
            }
        }
    }

    fn operation(&mut self, old_path: &Node<'a>, old: &Node<'a>, new_path: &Node<'a>, new: &Node<'a>) {
        let known = ["operationId", "tags", "parameters", "requestBody", "responses", "security"];
        self.only(old, new, &[&known, &NOTES]);
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
            (Some(before), None) => self.find(Rule::Removed, &before, "the request body is gone"),
            (None, Some(after)) => {
                if self.resolve(&after, self.new).is_none_or(|body| body.value["required"] == true) {
                    self.find(Rule::InputRequired, &after, "a request body is required now");
                }
            }
            (None, None) => {}
        }
        self.responses(&old.or_null("responses"), &new.or_null("responses"));
    }

    /// Each set of keys that was enough is still enough.
    fn security(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let of = |operation: &Node<'a>, root: &'a Value| {
            let own = operation.value.get("security").or_else(|| root.get("security"));
            own.and_then(Value::as_array).filter(|list| !list.is_empty()).cloned()
        };
        let open = || vec![Value::Object(Map::new())];
        let before = of(old, self.old).unwrap_or_else(open);
        let after = of(new, self.new).unwrap_or_else(open);
        let enough = |have: &Value, need: &Value| {
            need.as_object().is_some_and(|need| {
                need.iter().all(|(scheme, scopes)| {
                    let have = have.get(scheme).and_then(Value::as_array);
                    let scopes = scopes.as_array();
                    have.zip(scopes).is_some_and(|(have, scopes)| scopes.iter().all(|scope| have.contains(scope)))
                })
            })
        };
        for have in &before {
            // Who has a key may need it although others do without: a service can ask for keys or not.
            let is_key = |need: &&Value| need.as_object().is_some_and(|need| !need.is_empty());
            let keys: Vec<_> = after.iter().filter(is_key).collect();
            let choices = if is_key(&have) && !keys.is_empty() { keys } else { after.iter().collect() };
            if !choices.iter().any(|need| enough(have, need)) {
                self.find(Rule::SecurityChanged, new, format!("{have} is not enough any more"));
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
                    (Some(before), None) => self.find(Rule::SecurityChanged, &before, format!("{scheme} is gone")),
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
        self.only(old, new, &[&["type", "in", "name", "scheme", "bearerFormat"], &NOTES]);
    }

    /// The parameters of a path and of its operation, those of the operation last, by place and name.
    fn gather(&mut self, owners: [&Node<'a>; 2], root: &'a Value) -> Vec<((String, String), Node<'a>)> {
        let mut all: Vec<((String, String), Node<'a>)> = Vec::new();
        for written in owners.into_iter().flat_map(|owner| owner.or_null("parameters").items().collect::<Vec<_>>()) {
            let Some(parameter) = self.resolve(&written, root) else { continue };
            let place = parameter.text("in").unwrap_or_default().to_owned();
            let name = parameter.text("name").unwrap_or_default();
            let name = if place == "header" { name.to_lowercase() } else { name.to_owned() };
            all.retain(|(key, _)| *key != (place.clone(), name.clone()));
            all.push(((place, name), parameter));
        }
        all
    }

    fn parameters(&mut self, old: [&Node<'a>; 2], new: [&Node<'a>; 2]) {
        let (old, new) = (self.gather(old, self.old), self.gather(new, self.new));
        for ((place, name), before) in &old {
            match new.iter().find(|(key, _)| (&key.0, &key.1) == (place, name)) {
                Some((_, after)) => self.parameter(before, after, place),
                None => self.find(Rule::Removed, before, format!("the {place} parameter {name} is gone")),
            }
        }
        for ((place, name), after) in &new {
            let is_new = !old.iter().any(|(key, _)| (&key.0, &key.1) == (place, name));
            if is_new && after.value["required"] == true {
                self.find(Rule::InputRequired, after, format!("the {place} parameter {name} is new and required"));
            }
        }
    }

    fn parameter(&mut self, old: &Node<'a>, new: &Node<'a>, place: &str) {
        self.only(old, new, &[&["name", "in", "required", "schema", "style", "explode"], &NOTES]);
        if old.value["required"] != true && new.value["required"] == true {
            self.find(Rule::InputRequired, new, "is required now");
        }
        let style = |node: &Node<'a>| {
            let usual = if matches!(place, "query" | "cookie") { "form" } else { "simple" };
            let style = node.text("style").unwrap_or(usual).to_owned();
            let explode = node.value.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
            (style, explode)
        };
        if style(old) != style(new) {
            self.find(Rule::EncodingChanged, new, "is written in another way");
        }
        compare_schemas(self, old.or_null("schema"), new.or_null("schema"), true);
    }

    fn request_body(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["required", "content"], &NOTES]);
        if old.value["required"] != true && new.value["required"] == true {
            self.find(Rule::InputRequired, &new, "the request body is required now");
        }
        self.content(&old.or_null("content"), &new.or_null("content"), true);
    }

    fn responses(&mut self, old: &Node<'a>, new: &Node<'a>) {
        for (status, before) in old.members() {
            match new.at(status) {
                Some(after) => self.response(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the answer {status} is gone")),
            }
        }
        // A caller has to expect any error, but no success that it was not told of.
        let is_error = |status: &str| status.starts_with(['4', '5']);
        for (status, after) in new.members().filter(|(status, _)| !is_error(status)) {
            if old.at(status).is_none() {
                self.find(Rule::OutputWidened, &after, format!("the answer {status} is new"));
            }
        }
    }

    fn response(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["content", "headers"], &NOTES]);
        let (old_content, new_content) = (old.or_null("content"), new.or_null("content"));
        self.content(&old_content, &new_content, false);
        for (media_type, added) in new_content.members().filter(|(name, _)| old_content.at(name).is_none()) {
            self.find(Rule::EncodingChanged, &added, format!("answers may be {media_type} now"));
        }
        let (old_headers, new_headers) = (old.or_null("headers"), new.or_null("headers"));
        for (name, before) in old_headers.members() {
            let same_name = |other: &str| other.eq_ignore_ascii_case(name);
            match new_headers.members().find(|(other, _)| same_name(other)) {
                Some((_, after)) => self.header(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the header {name} is gone")),
            }
        }
    }

    fn header(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.only(&old, &new, &[&["required", "schema"], &NOTES]);
        if old.value["required"] == true && new.value["required"] != true {
            self.find(Rule::OutputWidened, &new, "the header may be missing now");
        }
        compare_schemas(self, old.or_null("schema"), new.or_null("schema"), false);
    }

    fn content(&mut self, old: &Node<'a>, new: &Node<'a>, is_input: bool) {
        for (media_type, before) in old.members() {
            let Some(after) = new.at(media_type) else {
                self.find(Rule::EncodingChanged, &before, format!("{media_type} is gone"));
                continue;
            };
            self.only(&before, &after, &[&["schema"], &NOTES]);
            compare_schemas(self, before.or_null("schema"), after.or_null("schema"), is_input);
        }
    }
}
