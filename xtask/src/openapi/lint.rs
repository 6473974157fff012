//! What a contract must have by itself: the form of OpenAPI 3.1, and what those who generate clients from it need.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// A JSON pointer and what is wrong there.
pub type LintError = (String, String);

/// The meta-schema of OpenAPI 3.1 as the OpenAPI Initiative publishes it under Apache-2.0. It leaves schemas open, which
/// are held against JSON Schema 2020-12.
#[expect(clippy::expect_used, reason = "the meta-schema is part of the program")]
static META_SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("openapi-3.1.schema.json")).expect("the meta-schema is JSON");
    jsonschema::validator_for(&schema).expect("the meta-schema is one")
});

/// Words of which the description of a number has one, so that a reader knows what is counted.
const UNITS: [&str; 13] = [
    "seconds", "record", "records", "calls", "change", "changes", "currency", "line", "page", "pages", "status",
    "bytes", "groups",
];
/// The one component that is an error without a body: it is refused before there is a request.
const WITHOUT_BODY: &str = "/components/responses/RequestHeaderFieldsTooLarge";
/// Characters of a summary, which generators print on one line.
const MAX_SUMMARY_CHARS: usize = 60;
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Every fault of a contract by itself.
#[must_use]
pub fn unsound(contract: &Value) -> Vec<LintError> {
    let mut faults = form_faults(contract);
    faults.extend(identity(contract));
    faults.extend(references(contract));
    let mut ids = BTreeSet::new();
    for (place, operation) in operations(contract) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        if !ids.insert(id.to_owned()) {
            faults.push((place.clone(), format!("the operationId {id:?} stands twice")));
        }
        let mut rules = Rules { contract, place, faults: Vec::new() };
        rules.operation(operation);
        faults.extend(rules.faults);
    }
    for (name, response) in members(&contract["components"]["responses"]) {
        let mut rules = Rules { contract, place: format!("/components/responses/{name}"), faults: Vec::new() };
        rules.problem(response);
        faults.extend(rules.faults);
    }
    let sent = sent_schemas(contract);
    for (name, schema) in members(&contract["components"]["schemas"]) {
        let place = format!("/components/schemas/{name}");
        if name.ends_with(|c: char| c.is_ascii_digit()) {
            faults.push((place.clone(), "a name that ends in a digit hides a clash of two types".to_owned()));
        }
        schema_faults(schema, &place, sent.contains(&place), &mut faults);
    }
    faults
}

/// What keeps a document from being OpenAPI 3.1, and its schemas from being JSON Schema.
#[must_use]
pub fn form_faults(contract: &Value) -> Vec<LintError> {
    let form = META_SCHEMA.iter_errors(contract);
    let mut faults: Vec<LintError> =
        form.map(|error| (error.instance_path().to_string(), format!("is no OpenAPI 3.1: {error}"))).collect();
    let mut check = |schema: &Value, place: &str| {
        if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
            faults.push((format!("{place}{}", error.instance_path()), format!("is no JSON Schema: {error}")));
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
    faults
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

/// What the libraries would fill in if we did not.
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

/// Each reference leads to something, and something leads to each component.
fn references(contract: &Value) -> Vec<LintError> {
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    walk(contract, "", &mut |value, place| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            used.insert(reference.to_owned());
            if reference.strip_prefix('#').and_then(|pointer| contract.pointer(pointer)).is_none() {
                faults.push((place.to_owned(), format!("the reference {reference} leads nowhere")));
            }
        }
    });
    for (kind, components) in members(&contract["components"]).filter(|(kind, _)| *kind != "securitySchemes") {
        for name in components.as_object().into_iter().flat_map(Map::keys) {
            let place = format!("/components/{kind}/{name}");
            if !used.contains(&format!("#{place}")) {
                faults.push((place, "nothing refers to this component".to_owned()));
            }
        }
    }
    faults
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

/// The rules of one operation or answer.
struct Rules<'a> {
    contract: &'a Value,
    place: String,
    faults: Vec<LintError>,
}

impl Rules<'_> {
    fn fault(&mut self, below: &str, text: impl Into<String>) {
        self.faults.push((format!("{}{below}", self.place), text.into()));
    }

    fn operation(&mut self, operation: &Value) {
        for name in ["operationId", "summary", "description"] {
            if says_nothing(&operation[name]) {
                self.fault("", format!("has no {name}"));
            }
        }
        let summary = operation["summary"].as_str().unwrap_or_default();
        if summary.chars().count() > MAX_SUMMARY_CHARS || summary.ends_with('.') {
            self.fault("/summary", format!("is no line of at most {MAX_SUMMARY_CHARS} characters without a full stop"));
        }
        let id = operation["operationId"].as_str().unwrap_or_default();
        if !id.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            self.fault("/operationId", "is no name of a method: lower-case letters and _");
        }
        let described = |tag: &Value| items(&self.contract["tags"]).any(|known| known["name"] == *tag);
        if items(&operation["tags"]).count() != 1 || !items(&operation["tags"]).all(described) {
            self.fault("/tags", "has no tag that the document describes, or several");
        }
        let samples: Vec<_> = items(&operation["x-codeSamples"]).collect();
        let method = format!(".{id}(");
        if !samples.iter().any(|sample| sample["source"].as_str().is_some_and(|source| source.contains(&method))) {
            self.fault("/x-codeSamples", "has no sample that calls the SDK's method");
        }
        for (index, parameter) in items(&operation["parameters"]).enumerate() {
            self.parameter(parameter, &format!("/parameters/{index}"));
        }
        for status in ["400", "500", "503"] {
            if operation["responses"].get(status).is_none() {
                self.fault("/responses", format!("has no answer {status}"));
            }
        }
        for (status, response) in members(&operation["responses"]) {
            let below = format!("/responses/{status}");
            let is_error = status.starts_with(['4', '5']);
            if is_error != response.get("$ref").is_some() {
                let not = if is_error { "" } else { "not " };
                self.fault(&below, format!("the answer {status} must {not}be a shared component"));
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

    fn parameter(&mut self, parameter: &Value, below: &str) {
        let name = parameter["name"].as_str().unwrap_or("?");
        if says_nothing(&parameter["description"]) {
            self.fault(below, format!("the parameter {name} has no description"));
        }
        let Some(kind) = parameter["schema"]["type"].as_str() else {
            self.fault(below, format!("the parameter {name} has no single type"));
            return;
        };
        if parameter["required"] == true && parameter["example"].is_null() {
            self.fault(below, format!("the parameter {name} is required and has no example"));
        }
        if matches!(kind, "integer" | "number") && !names_unit(name, &parameter["description"]) {
            self.fault(below, format!("the parameter {name} does not say its unit"));
        }
        let mut faults = Vec::new();
        bound_faults(&parameter["schema"], "", &mut faults);
        for (_, fault) in faults {
            self.fault(below, format!("the parameter {name} {fault}"));
        }
    }

    fn headers(&mut self, response: &Value, below: &str) {
        if response["headers"]["x-request-id"].is_null() {
            self.fault(below, "does not have the header x-request-id");
        }
        for (name, header) in members(&response["headers"]) {
            if says_nothing(&header["description"]) || header["schema"]["type"].as_str().is_none() {
                self.fault(below, format!("the header {name} has no description or no single type"));
            }
        }
    }

    /// An error is described, and is a problem with an example, or has no body at all.
    fn problem(&mut self, response: &Value) {
        if response.get("content").is_none() && self.place == WITHOUT_BODY {
            if says_nothing(&response["description"]) {
                self.fault("", "has no description");
            }
            return;
        }
        self.headers(response, "");
        let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
        if *problem != "#/components/schemas/Problem" || members(&response["content"]).count() != 1 {
            self.fault("", "is no problem and nothing else");
        }
        self.body(response, "");
    }

    fn body(&mut self, body: &Value, below: &str) {
        if says_nothing(&body["description"]) {
            self.fault(below, "has no description");
        }
        for (media_type, content) in members(&body["content"]) {
            // What is no JSON is described in words: several generators stumble over a schema there.
            let is_json = media_type.ends_with("json") && media_type != "application/x-ndjson";
            let schema = if is_json { content.get("schema") } else { Some(&Value::Bool(true)) };
            let (Some(schema), Some(example)) = (schema, content.get("example")) else {
                self.fault(below, format!("has no schema or no example for {media_type}"));
                continue;
            };
            let root = json!({ "allOf": [schema], "components": self.contract["components"] });
            match jsonschema::options().should_validate_formats(true).build(&root) {
                Ok(validator) => {
                    for error in validator.iter_errors(example) {
                        self.fault(below, format!("has an example that does not fit its schema: {error}"));
                    }
                }
                Err(error) => self.fault(below, format!("has a schema for {media_type} that is none: {error}")),
            }
        }
    }
}

/// Whether a description names the unit of a number: seconds of a time, the currency of an amount, else any.
fn names_unit(name: &str, description: &Value) -> bool {
    let name = name.to_lowercase();
    let units: &[&str] = if name.contains("duration") || name.contains("time") {
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

/// The places of the schemas that requests are made of.
fn sent_schemas(contract: &Value) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    let mut left: Vec<&Value> = operations(contract).map(|(_, operation)| &operation["requestBody"]).collect();
    while let Some(value) = left.pop() {
        walk(value, "", &mut |value, _| {
            let reference = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
            let target = reference.and_then(|place| Some((place, contract.pointer(place)?)));
            if let Some((place, target)) = target.filter(|(place, _)| !places.contains(*place)) {
                places.insert(place.to_owned());
                left.push(target);
            }
        });
    }
    places
}

/// What a caller sends has bounds that the contract says, except for free-form data, which the size of the body bounds.
fn bound_faults(schema: &Value, place: &str, faults: &mut Vec<LintError>) {
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
        faults.push((place.to_owned(), "has no bound".to_owned()));
    }
}

/// A schema says its type, its unit and its bounds, and everything that may grow is free-form by intent.
fn schema_faults(schema: &Value, place: &str, is_sent: bool, faults: &mut Vec<LintError>) {
    // Free-form items are any JSON at all.
    if schema.get("$ref").is_some() || schema.is_boolean() || schema.as_object().is_some_and(Map::is_empty) {
        return;
    }
    // Null takes a member away in a merge patch, and stands nowhere else.
    let in_patch = place.starts_with("/components/schemas/CallPatch/");
    let is_null = |kind: &Value| *kind == "null";
    if in_patch && items(&schema["anyOf"]).any(|choice| is_null(&choice["type"])) {
        for (index, choice) in items(&schema["anyOf"]).enumerate().filter(|(_, choice)| !is_null(&choice["type"])) {
            bound_faults(choice, &format!("{place}/anyOf/{index}"), faults);
        }
        return;
    }
    let or_null = items(&schema["type"]).find(|_| items(&schema["type"]).any(is_null));
    let Some(kind) = or_null.filter(|_| in_patch).unwrap_or(&schema["type"]).as_str() else {
        faults.push((place.to_owned(), "has no single type".to_owned()));
        return;
    };
    // Members of a component, not what lies deeper.
    let is_member = place.matches('/').count() <= 5 && !place.contains("additionalProperties");
    if is_member && says_nothing(&schema["description"]) {
        faults.push((place.to_owned(), "has no description".to_owned()));
    }
    if is_member
        && matches!(kind, "integer" | "number")
        && !names_unit(place.rsplit('/').next().unwrap_or_default(), &schema["description"])
    {
        faults.push((place.to_owned(), "does not say its unit".to_owned()));
    }
    if is_sent || kind == "array" {
        bound_faults(schema, place, faults);
    }
    let nullable = items(&schema["enum"]).any(Value::is_null);
    if nullable || schema.get("default").is_some_and(Value::is_null) {
        faults.push((place.to_owned(), "allows null".to_owned()));
    }
    if kind == "object" && !schema["properties"].is_object() && schema.get("additionalProperties").is_none() {
        faults.push((place.to_owned(), "is an object that says nothing of its members".to_owned()));
    }
    for (name, below) in members(&schema["properties"]) {
        schema_faults(below, &format!("{place}/properties/{name}"), is_sent, faults);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name) {
            schema_faults(below, &format!("{place}/{name}"), is_sent, faults);
        }
    }
}
