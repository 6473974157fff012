//! Every answer of these tests is held against the contract of the repository.

use std::{collections::HashMap, sync::LazyLock};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Server};

pub(crate) static CONTRACT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../openapi/callhistory.json")).unwrap());

/// A validator for each schema of the contract's components.
static SCHEMAS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let components = &CONTRACT["components"];
    let schemas = components["schemas"].as_object().unwrap();
    let validator = |name: &str| {
        let root = json!({ "$ref": format!("#/components/schemas/{name}"), "components": components });
        jsonschema::options().should_validate_formats(true).build(&root).unwrap()
    };
    schemas.keys().map(|name| (name.clone(), validator(name))).collect()
});

/// The path of the contract that answers a path.
fn template(path: &str) -> Option<&'static str> {
    let path = path.split('?').next()?;
    let paths = CONTRACT["paths"].as_object().unwrap();
    let by_id = "/v2/api/call-history/{callHistoryId}";
    let id = path.strip_prefix("/v2/api/call-history/").filter(|id| !id.contains('/'));
    paths.get_key_value(path).map(|(path, _)| path.as_str()).or(id.map(|_| by_id))
}

/// Panics if the contract does not provide for this answer: status, media type, headers and body.
pub(crate) fn check_answer(method: &Method, path: &str, answer: &Answer) {
    assert!(answer.headers.contains_key("x-request-id"), "an answer without request id");
    let is_error = answer.status.is_client_error() || answer.status.is_server_error();
    let media_type = answer.headers.get("content-type").map(|value| value.to_str().unwrap());
    if is_error {
        assert_eq!(media_type, Some("application/problem+json"), "{}", answer.body);
    }
    let method_key = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let Some(operation) = template(path).map(|path| &CONTRACT["paths"][path][method_key]).filter(|op| op.is_object())
    else {
        return;
    };
    let status = answer.status.as_str();
    let mut response = &operation["responses"][status];
    if let Some(reference) = response["$ref"].as_str() {
        response = CONTRACT.pointer(reference.trim_start_matches('#')).unwrap();
    }
    assert!(response.is_object(), "{method} {path} answered {status}, of which the contract does not know");
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let required = header["required"] == true;
        assert!(!required || answer.headers.contains_key(name), "{method} {path} answered {status} without {name}");
    }
    let Some(content) = response["content"].as_object() else {
        assert_eq!(answer.body, "", "{method} {path} answered {status} with a body that the contract does not have");
        return;
    };
    let media_type = media_type.unwrap_or("none").split(';').next().unwrap();
    let Some(content) = content.get(media_type) else {
        panic!("{method} {path} answered {media_type}, of which the contract does not know");
    };
    if method == Method::HEAD {
        return;
    }
    if media_type == "application/x-ndjson" {
        answer.body.lines().for_each(|line| check_schema("CallRecord", line));
    }
    // A table and a stream have no schema.
    let Some(schema) = content["schema"]["$ref"].as_str() else { return };
    check_schema(schema.rsplit('/').next().unwrap(), &answer.body);
}

/// Panics if a JSON text is not what a component says.
pub(crate) fn check_schema(name: &str, json: &str) {
    let body: Value = serde_json::from_str(json).unwrap();
    if let Err(error) = SCHEMAS[name].validate(&body) {
        panic!("an answer against the contract's {name}: {error} in {json}");
    }
}

#[tokio::test]
async fn the_served_contract_is_the_committed_one() {
    let server = Server::start().await;
    let answer = server.send(Method::GET, "/openapi.json", &[], "").await;
    assert_eq!(answer.body, include_str!("../../../../openapi/callhistory.json"), "run cargo xtask openapi generate");
}

/// The reference page works without a network: whatever it refers to is served here, under a policy that forbids the rest.
#[tokio::test]
async fn the_reference_page_is_complete() {
    let server = Server::start().await;
    assert_eq!(server.send(Method::GET, "/docs/none.js", &[], "").await.code(), "route_not_found");
    let page = server.send(Method::GET, "/docs", &[], "").await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "the page refers to another host");
    let references = page.body.split(['"', '\'']).filter_map(|text| text.strip_prefix("./"));
    let mut files = 0;
    for file in references {
        files += 1;
        let answer = server.send(Method::GET, &format!("/docs/{file}"), &[], "").await;
        assert!(answer.status.is_success(), "{file} is missing");
    }
    assert!(files >= 3, "the page was expected to need its script and style files");
    assert!(!page.body.contains("<script>"), "the policy forbids scripts inside the page");
    let start = server.send(Method::GET, "/docs/swagger-initializer.js", &[], "").await;
    assert!(start.body.contains("/openapi.json"), "{}", start.body);
}
