//! The rules of a contract: valid OpenAPI 3.1, and what generators of clients need.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::samples;

/// A JSON pointer and what is wrong there.
pub type LintError = (String, String);

/// The meta-schema of OpenAPI 3.1 as the OpenAPI Initiative publishes it under Apache-2.0. It leaves schemas open, which
/// are validated against JSON Schema 2020-12.
#[expect(clippy::expect_used, reason = "the meta-schema is part of the program")]
static META_SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("openapi-3.1.schema.json")).expect("the meta-schema is JSON");
    jsonschema::validator_for(&schema).expect("the meta-schema is one")
});

/// The description of a number contains one of these words, so that a reader knows its unit.
const UNITS: [&str; 14] = [
    "seconds", "record", "records", "calls", "change", "changes", "currency", "line", "page", "pages", "status",
    "bytes", "groups", "items",
];
/// The one error without a body: it is sent before the request is parsed.
const WITHOUT_BODY: &str = "/components/responses/RequestHeaderFieldsTooLarge";
/// The one error that is no problem: the report of an import of which nothing was taken.
const REPORT: &str = "/components/responses/NothingTaken";
/// Maximum length of a summary, in characters: generators print it on one line.
const MAX_SUMMARY_CHARS: usize = 60;
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Every violation of a rule.
#[must_use]
pub fn lint(contract: &Value) -> Vec<LintError> {
    let mut errors = form_errors(contract);
    errors.extend(identity(contract));
    errors.extend(references(contract));
    let mut ids = BTreeSet::new();
    for (place, operation) in operations(contract) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        if !ids.insert(id.to_owned()) {
            errors.push((place.clone(), format!("the operationId {id:?} occurs twice")));
        }
        let mut rules = Rules { contract, place, errors: Vec::new() };
        rules.operation(operation);
        errors.extend(rules.errors);
    }
    for (kind, components) in members(&contract["components"]) {
        for (name, component) in members(components) {
            let mut rules = Rules { contract, place: format!("/components/{kind}/{name}"), errors: Vec::new() };
            match kind.as_str() {
                "responses" => rules.problem(component),
                "parameters" => rules.parameter(component),
                "headers" => rules.header(component),
                _ => {}
            }
            errors.extend(rules.errors);
        }
    }
    for (name, schema) in members(&contract["components"]["schemas"]) {
        let place = format!("/components/schemas/{name}");
        if name.ends_with(|c: char| c.is_ascii_digit()) {
            errors.push((place.clone(), "a name that ends in a digit hides a clash of two types".to_owned()));
        }
        schema_errors(schema, &place, &mut errors);
    }
    errors
}

/// What is not valid OpenAPI 3.1, or in a schema not valid JSON Schema.
#[must_use]
pub fn form_errors(contract: &Value) -> Vec<LintError> {
    let form = META_SCHEMA.iter_errors(contract);
    let mut errors: Vec<LintError> =
        form.map(|error| (error.instance_path().to_string(), format!("is not valid OpenAPI 3.1: {error}"))).collect();
    let mut check = |schema: &Value, place: &str| {
        if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
            errors.push((format!("{place}{}", error.instance_path()), format!("is not a valid JSON Schema: {error}")));
        }
    };
    walk(contract, "", &mut |value, place| {
        let is_example = place.contains("/example");
        if let Some(schema) = value.get("schema").filter(|_| !is_example && !place.contains("/schemas/")) {
            check(schema, &format!("{place}/schema"));
        }
        if place == "/components/schemas" {
            members(value).for_each(|(name, schema)| check(schema, &format!("{place}/{name}")));
        }
    });
    errors
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn says_nothing(text: &Value) -> bool {
    text.as_str().is_none_or(str::is_empty)
}

/// Every operation with its place.
pub fn operations(contract: &Value) -> impl Iterator<Item = (String, &Value)> {
    members(&contract["paths"]).flat_map(|(path, operations)| {
        let known = members(operations).filter(|(method, _)| METHODS.contains(&method.as_str()));
        known.map(move |(method, operation)| (format!("/paths/{}/{method}", path.replace('/', "~1")), operation))
    })
}

/// The members that libraries fill in with values of their own by default.
fn identity(contract: &Value) -> Vec<LintError> {
    let expected = [
        ("/openapi", "3.1.0"),
        ("/info/title", "callhistory"),
        ("/info/version", env!("CARGO_PKG_VERSION")),
        ("/info/contact/name", "The callhistory maintainers"),
        ("/info/license/identifier", "MIT OR Apache-2.0"),
    ];
    let wrong = expected.into_iter().filter(|(pointer, value)| contract.pointer(pointer) != Some(&Value::from(*value)));
    wrong.map(|(pointer, value)| (pointer.to_owned(), format!("is not {value:?}"))).collect()
}

/// Each reference has a target, and each component is the target of a reference.
fn references(contract: &Value) -> Vec<LintError> {
    let (mut errors, mut used) = (Vec::new(), BTreeSet::new());
    walk(contract, "", &mut |value, place| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            used.insert(reference.to_owned());
            if reference.strip_prefix('#').and_then(|pointer| contract.pointer(pointer)).is_none() {
                errors.push((place.to_owned(), format!("the reference {reference} leads nowhere")));
            }
        }
    });
    for (kind, components) in members(&contract["components"]).filter(|(kind, _)| *kind != "securitySchemes") {
        for name in components.as_object().into_iter().flat_map(Map::keys) {
            let place = format!("/components/{kind}/{name}");
            if !used.contains(&format!("#{place}")) {
                errors.push((place, "nothing refers to this component".to_owned()));
            }
        }
    }
    errors
}

fn walk(value: &Value, place: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(value, place);
    for (name, below) in members(value) {
        walk(below, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), visit);
    }
    for (index, below) in items(value).enumerate() {
        walk(below, &format!("{place}/{index}"), visit);
    }
}

/// The rules of one operation or component, and what violates them.
struct Rules<'a> {
    contract: &'a Value,
    place: String,
    errors: Vec<LintError>,
}

impl Rules<'_> {
    fn error(&mut self, below: &str, text: impl Into<String>) {
        self.errors.push((format!("{}{below}", self.place), text.into()));
    }

    fn operation(&mut self, operation: &Value) {
        for name in ["operationId", "summary", "description"] {
            if says_nothing(&operation[name]) {
                self.error("", format!("has no {name}"));
            }
        }
        let summary = operation["summary"].as_str().unwrap_or_default();
        if summary.chars().count() > MAX_SUMMARY_CHARS || summary.ends_with('.') {
            self.error(
                "/summary",
                format!("must be one line of at most {MAX_SUMMARY_CHARS} characters without a full stop"),
            );
        }
        let id = operation["operationId"].as_str().unwrap_or_default();
        if !id.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            self.error("/operationId", "must be the name of a method: lower-case letters and _");
        }
        let described = |tag: &Value| items(&self.contract["tags"]).any(|known| known["name"] == *tag);
        if items(&operation["tags"]).count() != 1 || !items(&operation["tags"]).all(described) {
            self.error("/tags", "has no tag that the document describes, or several");
        }
        for language in samples::missing(self.contract, &self.place, operation) {
            self.error("/x-codeSamples", format!("has no sample in {language} that sends its request"));
        }
        for (index, parameter) in items(&operation["parameters"]).enumerate() {
            self.refers("parameters", parameter, &format!("/parameters/{index}"));
        }
        for status in ["400", "500", "503"] {
            if operation["responses"].get(status).is_none() {
                self.error("/responses", format!("has no response {status}"));
            }
        }
        for (status, response) in members(&operation["responses"]) {
            let below = format!("/responses/{status}");
            let is_error = status.starts_with(['4', '5']);
            if is_error != response.get("$ref").is_some() {
                let not = if is_error { "" } else { "not " };
                self.error(&below, format!("the response {status} must {not}be a shared component"));
            }
            if !is_error {
                self.body(response, &below);
                self.headers(response, &below);
            }
        }
        if let Some(body) = operation.get("requestBody") {
            self.body(body, "/requestBody");
        }
    }

    /// Parameters and headers are components, so that each is described once.
    fn refers(&mut self, kind: &str, value: &Value, below: &str) {
        let prefix = format!("#/components/{kind}/");
        if !value["$ref"].as_str().is_some_and(|reference| reference.starts_with(&prefix)) {
            self.error(below, format!("is not a reference to {prefix}"));
        }
    }

    fn parameter(&mut self, parameter: &Value) {
        self.described(parameter);
        let kind = parameter["schema"]["type"].as_str().unwrap_or_default();
        format_errors(&parameter["schema"], &self.place, &mut self.errors);
        let name = parameter["name"].as_str().unwrap_or_default();
        if matches!(kind, "integer" | "number") && !names_unit(name, &parameter["description"]) {
            self.error("", "does not say its unit");
        }
        bound_errors(&parameter["schema"], &self.place, &mut self.errors);
    }

    fn header(&mut self, header: &Value) {
        self.described(header);
        format_errors(&header["schema"], &self.place, &mut self.errors);
    }

    /// A parameter or a header has a description, a type and an example of it.
    fn described(&mut self, value: &Value) {
        if says_nothing(&value["description"]) {
            self.error("", "has no description");
        }
        let target =
            value["schema"]["$ref"].as_str().and_then(|reference| self.contract.pointer(reference.strip_prefix('#')?));
        if target.unwrap_or(&value["schema"])["type"].as_str().is_none() {
            self.error("", "has no single type");
        }
        match value.get("example") {
            Some(example) => self.fits(&value["schema"], example, ""),
            None => self.error("", "has no example"),
        }
    }

    fn headers(&mut self, response: &Value, below: &str) {
        if response["headers"]["X-Request-Id"].is_null() {
            self.error(below, "does not have the header X-Request-Id");
        }
        for (name, header) in members(&response["headers"]) {
            self.refers("headers", header, &format!("{below}/headers/{name}"));
        }
    }

    /// An error response has a description, and a problem with an example as its body.
    fn problem(&mut self, response: &Value) {
        if response.get("content").is_none() && self.place == WITHOUT_BODY {
            if says_nothing(&response["description"]) {
                self.error("", "has no description");
            }
            return;
        }
        self.headers(response, "");
        let (media_type, schema, name) = if self.place == REPORT {
            ("application/json", "ImportReport", "report")
        } else {
            ("application/problem+json", "Problem", "problem")
        };
        let reference = &response["content"][media_type]["schema"]["$ref"];
        if *reference != format!("#/components/schemas/{schema}") || members(&response["content"]).count() != 1 {
            self.error("", format!("must be a {name} and nothing else"));
        }
        self.body(response, "");
    }

    fn body(&mut self, body: &Value, below: &str) {
        if says_nothing(&body["description"]) {
            self.error(below, "has no description");
        }
        for (media_type, content) in members(&body["content"]) {
            // Generators of clients return nothing for a body without a schema.
            let Some(schema) = content.get("schema") else {
                self.error(below, format!("has no schema for {media_type}"));
                continue;
            };
            match content.get("example") {
                Some(example) => self.fits(schema, example, below),
                // An example is a text, and files such as workbooks are none.
                None if media_type.starts_with("application/vnd.") => {}
                None => self.error(below, format!("has no example for {media_type}")),
            }
        }
    }

    fn fits(&mut self, schema: &Value, example: &Value, below: &str) {
        let root = with_targets(self.contract, schema);
        match jsonschema::options().should_validate_formats(true).build(&root) {
            Ok(validator) => {
                for error in validator.iter_errors(example) {
                    self.error(below, format!("has an example that does not fit its schema: {error}"));
                }
            }
            Err(error) => self.error(below, format!("has an invalid schema: {error}")),
        }
    }
}

/// A schema with the components that it refers to, and no others: a copy of all of them takes longer than the rest of the rules.
fn with_targets(contract: &Value, schema: &Value) -> Value {
    let mut targets: Map<String, Value> = Map::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        walk(value, "", &mut |below, _| {
            let pointer = below.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
            let Some((target, [kind, name])) =
                pointer.and_then(|text| Some((contract.pointer(text)?, component(text)?)))
            else {
                return;
            };
            let known = targets.entry(kind).or_insert_with(|| Value::Object(Map::new()));
            if let Some(known) = known.as_object_mut().filter(|known| !known.contains_key(name)) {
                known.insert(name.to_owned(), target.clone());
                open.push(target);
            }
        });
    }
    let mut root = Map::new();
    root.insert("allOf".to_owned(), Value::Array(vec![schema.clone()]));
    root.insert("components".to_owned(), Value::Object(targets));
    Value::Object(root)
}

/// The kind and the name in the pointer of a component.
fn component(pointer: &str) -> Option<[&str; 2]> {
    let (kind, name) = pointer.strip_prefix("/components/")?.split_once('/')?;
    (!name.contains('/')).then_some([kind, name])
}

/// Whether a description names the unit of a number: seconds for a time, the currency for an amount, any unit otherwise.
fn names_unit(name: &str, description: &Value) -> bool {
    let name = name.to_lowercase();
    let units: &[&str] = if name.starts_with("calls") {
        &["calls"]
    } else if name.contains("duration") || name.contains("time") {
        &["seconds"]
    } else if name.contains("cost") || name.contains("charge") {
        &["currency"]
    } else {
        &UNITS
    };
    let text = description.as_str().unwrap_or_default().to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    words.any(|word| units.contains(&word))
}

/// A parameter has bounds. What a body has is bounded by the size of the body: facts are kept at any length.
fn bound_errors(schema: &Value, place: &str, errors: &mut Vec<LintError>) {
    let has = |names: &[&str]| names.iter().any(|name| schema.get(name).is_some());
    let kinds: Vec<_> =
        schema["type"].as_str().into_iter().chain(items(&schema["type"]).filter_map(Value::as_str)).collect();
    let bounded = kinds.iter().all(|kind| match *kind {
        "string" => has(&["maxLength", "enum"]) || schema["format"] == "date-time",
        "number" | "integer" => has(&["minimum", "exclusiveMinimum"]) && has(&["maximum", "exclusiveMaximum"]),
        "array" => has(&["maxItems"]) || schema["items"].as_object().is_none_or(Map::is_empty),
        _ => true,
    });
    if !bounded {
        errors.push((place.to_owned(), "has no bound".to_owned()));
    }
}

/// A number has a format that generators of clients know: they read one without a format as 32 bits.
fn format_errors(schema: &Value, place: &str, errors: &mut Vec<LintError>) {
    let is = |kind: &str| schema["type"] == kind || items(&schema["type"]).any(|known| known == kind);
    let known: &[&str] = if is("integer") {
        &["int32", "int64"]
    } else if is("number") {
        &["double"]
    } else {
        return;
    };
    if !schema["format"].as_str().is_some_and(|format| known.contains(&format)) {
        errors.push((place.to_owned(), format!("is a number without the format {}", known.join(" or "))));
    }
}

/// A schema has a type, a unit, and if it is an array a bound; only free-form data has none.
fn schema_errors(schema: &Value, place: &str, errors: &mut Vec<LintError>) {
    // Free-form items are any JSON.
    if schema.get("$ref").is_some() || schema.is_boolean() || schema.as_object().is_some_and(Map::is_empty) {
        return;
    }
    // Null removes a member in a merge patch, and occurs nowhere else.
    let in_patch = place.starts_with("/components/schemas/CallPatch/");
    let is_null = |kind: &Value| *kind == "null";
    if in_patch && items(&schema["anyOf"]).any(|choice| is_null(&choice["type"])) {
        return;
    }
    let or_null = items(&schema["type"]).find(|_| items(&schema["type"]).any(is_null));
    let Some(kind) = or_null.filter(|_| in_patch).unwrap_or(&schema["type"]).as_str() else {
        errors.push((place.to_owned(), "has no single type".to_owned()));
        return;
    };
    format_errors(schema, place, errors);
    // Members of a component, not nested ones.
    let is_member = place.matches('/').count() <= 5 && !place.contains("additionalProperties");
    if is_member && says_nothing(&schema["description"]) {
        errors.push((place.to_owned(), "has no description".to_owned()));
    }
    if is_member
        && matches!(kind, "integer" | "number")
        && !names_unit(place.rsplit('/').next().unwrap_or_default(), &schema["description"])
    {
        errors.push((place.to_owned(), "does not say its unit".to_owned()));
    }
    if kind == "array" {
        bound_errors(schema, place, errors);
    }
    let nullable = items(&schema["enum"]).any(Value::is_null);
    if nullable || schema.get("default").is_some_and(Value::is_null) {
        errors.push((place.to_owned(), "allows null".to_owned()));
    }
    if kind == "object" && !schema["properties"].is_object() && schema.get("additionalProperties").is_none() {
        errors.push((place.to_owned(), "is an object without properties".to_owned()));
    }
    for (name, below) in members(&schema["properties"]) {
        schema_errors(below, &format!("{place}/properties/{name}"), errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name) {
            schema_errors(below, &format!("{place}/{name}"), errors);
        }
    }
}
