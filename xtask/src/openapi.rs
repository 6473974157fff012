//! The contract in `openapi/`: written from the code, and checked against it and for itself.

use std::{collections::BTreeSet, fs, path::Path};

use callhistory_model::openapi::record_json_schema;
use callhistory_server::openapi::document;
use clap::Subcommand;
use serde_json::{Value, json};

/// Where a schema may stand below another.
const SCHEMA_MAPS: [&str; 3] = ["properties", "patternProperties", "$defs"];

/// What to do with the contract.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Action {
    /// Write openapi/ from the code
    Generate,
    /// Check that openapi/ is what the code generates, and that it is sound
    Check,
}

/// The files of `openapi/` with what the code generates for them.
fn generated() -> Result<Vec<(&'static str, String)>, String> {
    let schema = serde_json::to_string_pretty(&record_json_schema()).map_err(|error| error.to_string())?;
    Ok(vec![("openapi/callhistory.json", document()), ("openapi/call-record.schema.json", format!("{schema}\n"))])
}

/// Runs an action in the repository at `root`.
///
/// # Errors
///
/// Says for each file or place what is wrong and what mends it.
pub fn run(root: &Path, action: Action) -> Result<(), String> {
    match action {
        Action::Generate => generate(root),
        Action::Check => check(root),
    }
}

fn generate(root: &Path) -> Result<(), String> {
    for (name, text) in generated()? {
        let path = root.join(name);
        let fresh = fs::read_to_string(&path).is_ok_and(|old| old == text);
        if !fresh {
            fs::write(&path, text).map_err(|error| format!("{name}: {error}"))?;
        }
        println!("{:>10} {name}", if fresh { "Fresh" } else { "Updated" });
    }
    Ok(())
}

fn check(root: &Path) -> Result<(), String> {
    let mut failures = Vec::new();
    for (name, text) in generated()? {
        let committed = fs::read_to_string(root.join(name)).unwrap_or_default();
        match difference(&committed, &text) {
            None => println!("{:>10} {name}", "Fresh"),
            Some(place) => {
                failures.push(format!("{:>10} {name}: {place}\n{:>10} cargo xtask openapi generate", "Stale", "run"))
            }
        }
    }
    let contract: Value = serde_json::from_str(&document()).map_err(|error| error.to_string())?;
    let unsound = unsound(&contract);
    failures.extend(unsound.into_iter().map(|fault| format!("{:>10} openapi/callhistory.json{fault}", "Unsound")));
    if failures.is_empty() {
        println!("{:>10} openapi/callhistory.json", "Sound");
        return Ok(());
    }
    Err(failures.join("\n"))
}

/// The first line in which two texts differ.
fn difference(committed: &str, generated: &str) -> Option<String> {
    if committed == generated {
        return None;
    }
    let mut pairs = committed.lines().zip(generated.lines()).zip(1..);
    let line = pairs.find(|((old, new), _)| old != new).map(|((old, new), line)| {
        format!("line {line}\n{:>10} {}\n{:>10} {}", "committed", old.trim(), "generated", new.trim())
    });
    Some(line.unwrap_or_else(|| "one text ends before the other".to_owned()))
}

/// Every fault of a contract by itself, as `#/json/pointer: what is wrong`.
#[must_use]
pub fn unsound(contract: &Value) -> Vec<String> {
    let mut faults = identity_faults(contract);
    walk(contract, "#", &mut |value, place| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| contract.pointer(pointer));
            if target.is_none() {
                faults.push(format!("{place}: the reference {reference} leads nowhere"));
            }
        }
    });
    let mut ids = BTreeSet::new();
    for (path, operations) in members(&contract["paths"]) {
        for (method, operation) in members(operations) {
            let place = format!("#/paths/{}/{method}", path.replace('/', "~1"));
            faults.extend(operation_faults(contract, operation).map(|fault| format!("{place}: {fault}")));
            let id = operation["operationId"].as_str().unwrap_or_default();
            if !ids.insert(id.to_owned()) {
                faults.push(format!("{place}: the operationId {id:?} stands twice"));
            }
        }
    }
    for (name, schema) in members(&contract["components"]["schemas"]) {
        schema_faults(schema, &format!("#/components/schemas/{name}"), &mut faults);
        if name.ends_with(|c: char| c.is_ascii_digit()) {
            faults.push(format!("#/components/schemas/{name}: a name that ends in a digit hides a clash of two types"));
        }
    }
    faults
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn walk(value: &Value, place: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(value, place);
    for (name, below) in members(value) {
        walk(below, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), visit);
    }
    for (index, below) in value.as_array().into_iter().flatten().enumerate() {
        walk(below, &format!("{place}/{index}"), visit);
    }
}

/// What the libraries would fill in if we did not.
fn identity_faults(contract: &Value) -> Vec<String> {
    let expected = [
        ("/openapi", "3.1.0"),
        ("/info/title", "callhistory"),
        ("/info/version", env!("CARGO_PKG_VERSION")),
        ("/info/contact/name", "The callhistory maintainers"),
        ("/info/license/identifier", "MIT OR Apache-2.0"),
    ];
    let wrong = expected.into_iter().filter(|(pointer, value)| contract.pointer(pointer) != Some(&Value::from(*value)));
    wrong.map(|(pointer, value)| format!("#{pointer}: is not {value:?}")).collect()
}

fn operation_faults<'a>(contract: &'a Value, operation: &'a Value) -> impl Iterator<Item = String> + 'a {
    let mut faults = Vec::new();
    for name in ["operationId", "summary", "description"] {
        if operation[name].as_str().is_none_or(str::is_empty) {
            faults.push(format!("has no {name}"));
        }
    }
    let tags: Vec<_> = members_of_array(&contract["tags"]).filter_map(|tag| tag["name"].as_str()).collect();
    if !members_of_array(&operation["tags"]).any(|tag| tag.as_str().is_some_and(|tag| tags.contains(&tag))) {
        faults.push("has no tag that the document describes".to_owned());
    }
    for parameter in members_of_array(&operation["parameters"]) {
        let name = parameter["name"].as_str().unwrap_or("?");
        if parameter["description"].as_str().is_none_or(str::is_empty) {
            faults.push(format!("the parameter {name} has no description"));
        }
        if parameter["schema"]["type"].as_str().is_none() {
            faults.push(format!("the parameter {name} has no single type"));
        }
    }
    for status in ["400", "500", "503"] {
        if operation["responses"].get(status).is_none() {
            faults.push(format!("has no answer {status}"));
        }
    }
    for (status, response) in members(&operation["responses"]) {
        let is_error = status.starts_with(['4', '5']);
        if is_error != response.get("$ref").is_some() {
            faults
                .push(format!("the answer {status} must {}be a shared component", if is_error { "" } else { "not " }));
        }
        if !is_error {
            faults.extend(body_faults(contract, response).map(|fault| format!("the answer {status} {fault}")));
        }
    }
    if let Some(body) = operation.get("requestBody") {
        faults.extend(body_faults(contract, body).map(|fault| format!("the request body {fault}")));
    }
    faults.into_iter()
}

fn members_of_array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn body_faults(contract: &Value, body: &Value) -> impl Iterator<Item = String> {
    let mut faults = Vec::new();
    if body["description"].as_str().is_none_or(str::is_empty) {
        faults.push("has no description".to_owned());
    }
    for (media_type, content) in members(&body["content"]) {
        // What is no JSON is described in words: several generators stumble over a schema there.
        let is_json = media_type.ends_with("json") && media_type != "application/x-ndjson";
        let schema = if is_json { content.get("schema") } else { Some(&Value::Bool(true)) };
        let (Some(schema), Some(example)) = (schema, content.get("example")) else {
            faults.push(format!("has no schema or no example for {media_type}"));
            continue;
        };
        let root = json!({ "allOf": [schema], "components": contract["components"] });
        match jsonschema::options().should_validate_formats(true).build(&root) {
            Ok(validator) => faults.extend(
                validator
                    .iter_errors(example)
                    .map(|error| format!("has an example that does not fit its schema: {error}")),
            ),
            Err(error) => faults.push(format!("has a schema for {media_type} that is none: {error}")),
        }
    }
    faults.into_iter()
}

/// A schema says its type, and everything that may grow has a bound or is free-form by intent.
fn schema_faults(schema: &Value, place: &str, faults: &mut Vec<String>) {
    if schema.get("$ref").is_some() {
        return;
    }
    // Free-form items are any JSON at all.
    if schema.as_object().is_some_and(serde_json::Map::is_empty) || schema.is_boolean() {
        return;
    }
    // Null takes a member away in a merge patch, and stands nowhere else.
    let in_patch = place.starts_with("#/components/schemas/CallPatch/");
    let is_null = |kind: &Value| *kind == "null";
    let null_choice = members_of_array(&schema["anyOf"]).any(|choice| is_null(&choice["type"]));
    let or_null = members_of_array(&schema["type"]).find(|_| members_of_array(&schema["type"]).any(is_null));
    if in_patch && null_choice {
        return;
    }
    let Some(kind) = or_null.filter(|_| in_patch).unwrap_or(&schema["type"]).as_str() else {
        faults.push(format!("{place}: has no single type"));
        return;
    };
    if place.matches('/').count() <= 5
        && schema["description"].as_str().is_none_or(str::is_empty)
        && !place.contains("additionalProperties")
    {
        faults.push(format!("{place}: has no description"));
    }
    let nullable = schema["enum"].as_array().is_some_and(|values| values.contains(&Value::Null));
    if nullable || schema.get("default").is_some_and(Value::is_null) {
        faults.push(format!("{place}: allows null"));
    }
    if kind == "object" && !schema["properties"].is_object() && schema.get("additionalProperties").is_none() {
        faults.push(format!("{place}: is an object that says nothing of its members"));
    }
    for map in SCHEMA_MAPS {
        for (name, below) in members(&schema[map]) {
            schema_faults(below, &format!("{place}/{map}/{name}"), faults);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name) {
            schema_faults(below, &format!("{place}/{name}"), faults);
        }
    }
}
