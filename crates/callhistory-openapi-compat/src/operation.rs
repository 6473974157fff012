//! The comparison of operations: parameters, request bodies, responses.
//!
//! What a caller sends may only become wider, and what it receives only narrower. In webhooks and callbacks the service sends the
//! requests, so the directions are the other way round.

use std::collections::BTreeMap;

use crate::{
    comparison::{ANNOTATIONS, Comparison, Kind, Node},
    finding::Rule,
    schema::compare_schemas,
};

/// Parameters by location and name.
type Parameters<'a> = BTreeMap<(String, String), Node<'a>>;

impl<'a> Comparison<'a> {
    /// Compares an operation, given its path and itself.
    pub(crate) fn operation(&mut self, [old_path, old]: [&Node<'a>; 2], [new_path, new]: [&Node<'a>; 2]) {
        let known = [
            ("operationId", Kind::Text),
            ("tags", Kind::Texts),
            ("parameters", Kind::Array),
            ("requestBody", Kind::Object),
            ("responses", Kind::Object),
            ("security", Kind::Array),
            ("servers", Kind::Array),
            ("callbacks", Kind::Object),
        ];
        self.judge_other_members(old, new, &known, &ANNOTATIONS);
        for (name, what) in [("operationId", "the operationId"), ("tags", "the tags")] {
            let (before, after) = (old.or_null(name), new.or_null(name));
            if before.value != after.value {
                let detail = format!("{what} {} became {}", before.value, after.value);
                self.find(Rule::NameChanged, &after, detail);
            }
        }
        if !self.is_inverted {
            self.security(old, new);
        } else if !self.is_same(&old.or_null("security"), &new.or_null("security")) {
            self.find(Rule::NotUnderstood, new, "the keys of a request that the service sends changed");
        }
        self.parameters([old_path, old], [new_path, new]);
        match (old.at("requestBody"), new.at("requestBody")) {
            (Some(before), Some(after)) => self.request_body(&before, &after),
            (Some(before), None) => self.find(Rule::Removed, &before, "the request body was removed"),
            (None, Some(after)) => {
                let is_required = self.resolve(&after).is_none_or(|body| body.is("required"));
                let rule = if is_required && !self.is_inverted { Rule::InputRequired } else { Rule::Added };
                self.find(rule, &after, "the request has a body now");
            }
            (None, None) => {}
        }
        self.responses(&old.or_null("responses"), &new.or_null("responses"));
        self.by_name(&old.or_null("callbacks"), &new.or_null("callbacks"), "callback", Self::callback);
    }

    fn callback(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.is_inverted = !self.is_inverted;
        self.by_name(&old, &new, "callback", Self::path);
        self.is_inverted = !self.is_inverted;
    }

    /// The parameters of a path and of its operation; those of the operation override.
    fn collect_parameters(&mut self, owners: [&Node<'a>; 2]) -> Parameters<'a> {
        let mut parameters = BTreeMap::new();
        for owner in owners {
            let mut own = BTreeMap::new();
            for node in owner.or_null("parameters").items() {
                let Some(parameter) = self.resolve(&node) else { continue };
                let (Some(location), Some(name)) = (parameter.text("in"), parameter.text("name")) else {
                    self.find(Rule::NotUnderstood, &node, "the parameter has no name or no location");
                    continue;
                };
                let name = if location == "header" { name.to_lowercase() } else { name.to_owned() };
                if own.insert((location.to_owned(), name), parameter).is_some() {
                    self.find(Rule::NotUnderstood, &node, "the parameter occurs twice");
                }
            }
            parameters.append(&mut own);
        }
        parameters
    }

    fn parameters(&mut self, old: [&Node<'a>; 2], new: [&Node<'a>; 2]) {
        let (old, new) = (self.collect_parameters(old), self.collect_parameters(new));
        for (key @ (location, name), before) in &old {
            match new.get(key) {
                Some(after) => self.parameter(before, after, location),
                None => self.find(Rule::Removed, before, format!("the {location} parameter {name} was removed")),
            }
        }
        for ((location, name), after) in new.iter().filter(|(key, _)| !old.contains_key(key)) {
            if after.is("required") && !self.is_inverted {
                self.find(Rule::InputRequired, after, format!("the {location} parameter {name} is new and required"));
            } else {
                self.find(Rule::Added, after, format!("the {location} parameter {name} is new"));
            }
        }
    }

    fn parameter(&mut self, old: &Node<'a>, new: &Node<'a>, location: &str) {
        if self.is_same(old, new) {
            return;
        }
        let known = [
            ("name", Kind::Text),
            ("in", Kind::Text),
            ("required", Kind::Flag),
            ("schema", Kind::Any),
            ("content", Kind::Object),
            ("style", Kind::Text),
            ("explode", Kind::Flag),
        ];
        self.judge_other_members(old, new, &known, &ANNOTATIONS);
        self.required(old, new, !self.is_inverted, "the parameter");
        let style = |node: &Node<'a>| {
            let default = if matches!(location, "query" | "cookie") { "form" } else { "simple" };
            let style = node.text("style").unwrap_or(default).to_owned();
            let explode = node.value.get("explode").and_then(serde_json::Value::as_bool).unwrap_or(style == "form");
            (style, explode)
        };
        if style(old) != style(new) {
            self.find(Rule::EncodingChanged, new, "the parameter is serialized differently");
        }
        self.schema_or_content(old, new, !self.is_inverted);
    }

    /// A value has either a schema or a media type with one.
    fn schema_or_content(&mut self, old: &Node<'a>, new: &Node<'a>, is_input: bool) {
        if old.at("content").is_some() != new.at("content").is_some() {
            self.find(Rule::EncodingChanged, new, "a schema replaced a media type, or a media type a schema");
            return;
        }
        self.content(&old.or_null("content"), &new.or_null("content"), is_input);
        compare_schemas(self, old.or_null("schema"), new.or_null("schema"), is_input);
    }

    fn required(&mut self, old: &Node<'a>, new: &Node<'a>, is_input: bool, what: &str) {
        match (old.is("required"), new.is("required"), is_input) {
            (false, true, true) => self.find(Rule::InputRequired, new, format!("{what} is required now")),
            (true, false, false) => self.find(Rule::OutputWidened, new, format!("{what} may be missing now")),
            (true, false, true) => self.find(Rule::InputWidened, new, format!("{what} is no longer required")),
            (false, true, false) => self.find(Rule::OutputNarrowed, new, format!("{what} is always sent now")),
            _ => {}
        }
    }

    fn request_body(&mut self, old: &Node<'a>, new: &Node<'a>) {
        if self.is_same(old, new) {
            return;
        }
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.judge_other_members(&old, &new, &[("required", Kind::Flag), ("content", Kind::Object)], &ANNOTATIONS);
        self.required(&old, &new, !self.is_inverted, "the request body");
        self.content(&old.or_null("content"), &new.or_null("content"), !self.is_inverted);
    }

    fn responses(&mut self, old: &Node<'a>, new: &Node<'a>) {
        for (status, before) in old.named() {
            match new.at(status) {
                Some(after) => self.response(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the response {status} was removed")),
            }
        }
        for (status, after) in new.named().filter(|(status, _)| old.at(status).is_none()) {
            // A caller must expect any error, but only the documented successes. What a receiver may answer can grow.
            let rule =
                if status.starts_with(['4', '5']) || self.is_inverted { Rule::Added } else { Rule::OutputWidened };
            self.find(rule, &after, format!("the response {status} is new"));
        }
    }

    fn response(&mut self, old: &Node<'a>, new: &Node<'a>) {
        if self.is_same(old, new) {
            return;
        }
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        // Links only say which request could follow.
        let known = [("content", Kind::Object), ("headers", Kind::Object)];
        self.judge_other_members(&old, &new, &known, &[&ANNOTATIONS[..], &["links"]].concat());
        self.content(&old.or_null("content"), &new.or_null("content"), self.is_inverted);
        let (old_headers, new_headers) = (old.or_null("headers"), new.or_null("headers"));
        let find = |headers: &Node<'a>, name: &str| {
            headers.members().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, header)| header)
        };
        for (name, before) in old_headers.members() {
            match find(&new_headers, name) {
                Some(after) => self.header(&before, &after),
                None => self.find(Rule::Removed, &before, format!("the header {name} was removed")),
            }
        }
        for (name, after) in new_headers.members().filter(|(name, _)| find(&old_headers, name).is_none()) {
            let is_required = self.is_inverted && self.resolve(&after).is_none_or(|header| header.is("required"));
            let rule = if is_required { Rule::InputRequired } else { Rule::Added };
            self.find(rule, &after, format!("the header {name} is new"));
        }
    }

    fn header(&mut self, old: &Node<'a>, new: &Node<'a>) {
        if self.is_same(old, new) {
            return;
        }
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        self.judge_other_members(
            &old,
            &new,
            &[("required", Kind::Flag), ("schema", Kind::Any), ("content", Kind::Object)],
            &ANNOTATIONS,
        );
        self.required(&old, &new, self.is_inverted, "the header");
        self.schema_or_content(&old, &new, self.is_inverted);
    }

    fn content(&mut self, old: &Node<'a>, new: &Node<'a>, is_input: bool) {
        for (media_type, before) in old.members() {
            let Some(after) = new.at(media_type) else {
                self.find(Rule::EncodingChanged, &before, format!("{media_type} was removed"));
                continue;
            };
            if !self.is_same(&before, &after) {
                self.judge_other_members(&before, &after, &[("schema", Kind::Any)], &ANNOTATIONS);
                compare_schemas(self, before.or_null("schema"), after.or_null("schema"), is_input);
            }
        }
        for (media_type, added) in new.members().filter(|(name, _)| old.at(name).is_none()) {
            let rule = if is_input { Rule::Added } else { Rule::EncodingChanged };
            self.find(rule, &added, format!("{media_type} is new"));
        }
    }
}
