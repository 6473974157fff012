//! The comparison of whole documents: servers, paths, webhooks and components.

use std::collections::BTreeSet;

use crate::{
    comparison::{ANNOTATIONS, Comparison, Kind, Node},
    finding::Rule,
    schema::compare_schemas,
    upgrade::METHODS,
};

impl<'a> Comparison<'a> {
    pub(crate) fn documents(&mut self) {
        let (old, new) = (self.old.clone(), self.new.clone());
        let known = [
            ("openapi", Kind::Text),
            ("info", Kind::Any),
            ("tags", Kind::Any),
            ("paths", Kind::Object),
            ("webhooks", Kind::Object),
            ("components", Kind::Object),
            ("servers", Kind::Array),
            ("security", Kind::Array),
        ];
        self.judge_other_members(&old, &new, &known, &ANNOTATIONS);
        if old.text("openapi") != new.text("openapi") {
            self.find(Rule::AnnotationChanged, &new.or_null("openapi"), "the version of OpenAPI changed");
        }
        self.servers(&old.or_null("servers"), &new.or_null("servers"));
        self.by_name(&old.or_null("paths"), &new.or_null("paths"), "path", Self::path);
        self.is_inverted = true;
        self.by_name(&old.or_null("webhooks"), &new.or_null("webhooks"), "webhook", Self::path);
        self.is_inverted = false;
        self.components(&old.or_null("components"), &new.or_null("components"));
    }

    /// Each server that callers know must stay; without one, the server is `/`.
    fn servers(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let of = |list: &Node<'a>| -> Vec<(&'a str, Node<'a>)> {
            let servers: Vec<_> = list.items().map(|server| (server.text("url").unwrap_or_default(), server)).collect();
            if servers.is_empty() { vec![("/", list.or_null("none"))] } else { servers }
        };
        let (before, after) = (of(old), of(new));
        for (url, server) in &before {
            match after.iter().find(|(other, _)| other == url) {
                Some((_, other)) => self.server(server, other),
                None => self.find(Rule::Removed, server, format!("the server {url} was removed")),
            }
        }
        for (url, server) in &after {
            if !before.iter().any(|(other, _)| other == url) {
                self.find(Rule::Added, server, format!("the server {url} is new"));
            }
        }
    }

    fn server(&mut self, old: &Node<'a>, new: &Node<'a>) {
        self.judge_other_members(old, new, &[("url", Kind::Text), ("variables", Kind::Object)], &["name"]);
        let url = old.text("url").unwrap_or_default();
        let (before, after) = (old.or_null("variables"), new.or_null("variables"));
        for (name, variable) in before.members() {
            match after.at(name) {
                Some(other) => self.variable(&variable, &other),
                None if url.contains(&format!("{{{name}}}")) => {
                    self.find(Rule::NotUnderstood, &variable, "the variable of the URL was removed");
                }
                None => {}
            }
        }
    }

    fn variable(&mut self, old: &Node<'a>, new: &Node<'a>) {
        self.judge_other_members(old, new, &[("default", Kind::Text), ("enum", Kind::Texts)], &[]);
        if old.value.get("default") != new.value.get("default") {
            self.find(Rule::DefaultChanged, new, "the default of the variable changed");
        }
        let values =
            |node: &Node<'a>| node.at("enum").map(|list| list.items().map(|item| item.value).collect::<Vec<_>>());
        match (values(old), values(new)) {
            (None, Some(_)) => self.find(Rule::InputNarrowed, new, "only some values are allowed now"),
            (Some(before), Some(after)) => {
                for removed in before.iter().filter(|value| !after.contains(value)) {
                    self.find(Rule::InputNarrowed, new, format!("the value {removed} was removed"));
                }
            }
            _ => {}
        }
    }

    /// A component that an operation uses was compared there, in its direction only. A schema that only a description
    /// names (the line of a stream) is compared in both; the names of all schemas are promises.
    fn components(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let kinds = [
            "schemas",
            "responses",
            "parameters",
            "headers",
            "requestBodies",
            "securitySchemes",
            "examples",
            "links",
            "callbacks",
            "pathItems",
        ];
        self.judge_other_members(old, new, &kinds.map(|kind| (kind, Kind::Object)), &[]);
        let used: BTreeSet<_> = self.seen.iter().map(|(old, new, _)| (old.clone(), new.clone())).collect();
        self.by_name(&old.or_null("schemas"), &new.or_null("schemas"), "schema", |comparison, before, after| {
            if !used.contains(&(before.pointer.clone(), after.pointer.clone())) {
                compare_schemas(comparison, before.clone(), after.clone(), true);
                compare_schemas(comparison, before.clone(), after.clone(), false);
            }
        });
    }

    pub(crate) fn path(&mut self, old: &Node<'a>, new: &Node<'a>) {
        if self.is_same(old, new) && self.has_same_keys() {
            return;
        }
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        let mut known = METHODS.map(|method| (method, Kind::Object)).to_vec();
        // The other members of a path item that is a reference as well are not resolved.
        known.extend([("parameters", Kind::Array), ("servers", Kind::Array)]);
        self.judge_other_members(&old, &new, &known, &ANNOTATIONS);
        for method in METHODS {
            match (old.at(method), new.at(method)) {
                (Some(before), Some(after)) => {
                    self.own_servers([&old, &before], [&new, &after]);
                    self.operation([&old, &before], [&new, &after]);
                }
                (Some(before), None) => self.find(Rule::Removed, &before, "the operation was removed"),
                (None, Some(added)) => self.find(Rule::Added, &added, "the operation is new"),
                (None, None) => {}
            }
        }
    }

    /// Whether the keys that operations inherit or name are the same: an operation can be equal and need others.
    fn has_same_keys(&self) -> bool {
        let schemes = |root: &Node<'a>| root.or_null("components").or_null("securitySchemes");
        self.is_same(&self.old.or_null("security"), &self.new.or_null("security"))
            && self.is_same(&schemes(&self.old), &schemes(&self.new))
    }

    /// The servers of an operation or of its path replace those of the document.
    fn own_servers(&mut self, old: [&Node<'a>; 2], new: [&Node<'a>; 2]) {
        let own = |[path, operation]: [&Node<'a>; 2]| operation.at("servers").or_else(|| path.at("servers"));
        let (before, after) = (own(old), own(new));
        if before.is_some() || after.is_some() {
            let before = before.unwrap_or_else(|| self.old.or_null("servers"));
            let after = after.unwrap_or_else(|| self.new.or_null("servers"));
            self.servers(&before, &after);
        }
    }
}
