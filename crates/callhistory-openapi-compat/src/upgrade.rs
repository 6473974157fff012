//! OpenAPI 3.0 as 3.1: only what means something else there.
//!
//! `nullable` becomes a type, the exclusive bounds become numbers, and the other members of a reference, which 3.0 ignores, are dropped.
//! A `nullable` without a type stays: it means nothing in 3.0, and if it changes the rules do not understand it.

use serde_json::{Map, Value, json};

/// The members of a path item that are operations.
pub(crate) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

pub(crate) fn upgrade(document: &mut Value) {
    each(document, "paths", path_item);
    let Some(components) = document.get_mut("components") else { return };
    each(components, "schemas", schema);
    each(components, "responses", response);
    for kind in ["parameters", "headers"] {
        each(components, kind, parameter);
    }
    each(components, "requestBodies", body);
    each(components, "callbacks", callback);
}

/// Upgrades each member or item of a member.
fn each(owner: &mut Value, name: &str, upgrade: fn(&mut Value)) {
    match owner.get_mut(name) {
        Some(Value::Object(members)) => {
            members.iter_mut().filter(|(name, _)| !name.starts_with("x-")).for_each(|(_, value)| upgrade(value))
        }
        Some(Value::Array(items)) => items.iter_mut().for_each(upgrade),
        _ => {}
    }
}

/// Whether a value is a reference, of which nothing else counts.
fn is_reference(value: &mut Value) -> bool {
    let Some(members) = value.as_object_mut() else { return false };
    let is_reference = members.get("$ref").is_some_and(Value::is_string);
    if is_reference {
        members.retain(|name, _| name == "$ref");
    }
    is_reference
}

fn path_item(item: &mut Value) {
    each(item, "parameters", parameter);
    for method in METHODS {
        let Some(operation) = item.get_mut(method) else { continue };
        each(operation, "parameters", parameter);
        operation.get_mut("requestBody").map(body);
        each(operation, "responses", response);
        each(operation, "callbacks", callback);
    }
}

fn callback(callback: &mut Value) {
    if !is_reference(callback) {
        let members = callback.as_object_mut().into_iter().flatten();
        members.filter(|(name, _)| !name.starts_with("x-")).for_each(|(_, item)| path_item(item));
    }
}

/// A parameter or a header.
fn parameter(parameter: &mut Value) {
    if !is_reference(parameter) {
        parameter.get_mut("schema").map(schema);
        each(parameter, "content", media_type);
    }
}

fn body(body: &mut Value) {
    if !is_reference(body) {
        each(body, "content", media_type);
    }
}

fn response(response: &mut Value) {
    if !is_reference(response) {
        each(response, "content", media_type);
        each(response, "headers", parameter);
    }
}

fn media_type(media_type: &mut Value) {
    media_type.get_mut("schema").map(schema);
    if let Some(encodings) = media_type.get_mut("encoding").and_then(Value::as_object_mut) {
        encodings.values_mut().for_each(|encoding| each(encoding, "headers", parameter));
    }
}

fn schema(value: &mut Value) {
    if is_reference(value) {
        return;
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        each(value, name, schema);
    }
    if let Some(properties) = value.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(schema);
    }
    for name in ["items", "not", "additionalProperties"] {
        value.get_mut(name).map(schema);
    }
    let Some(members) = value.as_object_mut() else { return };
    match (members.get("nullable"), members.get("type")) {
        (Some(Value::Bool(false)), _) => drop(members.remove("nullable")),
        (Some(Value::Bool(true)), Some(Value::String(kind))) => {
            let kinds = json!([kind, "null"]);
            members.insert("type".to_owned(), kinds);
            members.remove("nullable");
        }
        _ => {}
    }
    exclusive(members, "exclusiveMinimum", "minimum");
    exclusive(members, "exclusiveMaximum", "maximum");
}

fn exclusive(members: &mut Map<String, Value>, exclusive: &str, bound: &str) {
    match members.get(exclusive) {
        Some(Value::Bool(true)) => {
            members.remove(exclusive);
            if let Some(bound) = members.remove(bound) {
                members.insert(exclusive.to_owned(), bound);
            }
        }
        Some(Value::Bool(false)) => drop(members.remove(exclusive)),
        _ => {}
    }
}
