//! The OpenAPI document.

use callhistory_model::{Problem, schema::json_schemas};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ComponentsBuilder, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{examples, responses::problem_components};

const DESCRIPTION: &str = "\
The call history of voice-agent platforms: one record for each call, kept exactly as it was written.

Numbers are exact: an amount of `0.10` comes back as `0.10`. Times are Unix seconds or RFC 3339 in UTC. Nothing is \
ignored silently: an unknown member, header value or parameter is rejected with a problem that names it. Every error is \
`application/problem+json` (RFC 9457) with a stable `code`, and every response has the header `x-request-id`.";

/// The document without its paths. It replaces everything that the library would derive from the manifest.
pub(crate) fn base() -> OpenApi {
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    let key = ApiKeyValue::with_description("x-api-key", "A key of the service, where it takes keys.");
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The same key as `Authorization: Bearer KEY`."))
        .build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .responses_from_iter(problem_components())
        .security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)))
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .build();
    let info = InfoBuilder::new()
        .title("callhistory")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .contact(Some(ContactBuilder::new().name(Some("The callhistory maintainers")).build()))
        .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build()))
        .build();
    let tags = [
        ("Calls", "Single records, and lists of them."),
        ("Metrics", "Counts, sums and percentiles."),
        ("Import and export", "Whole histories, as streams."),
        ("Changes", "What was created, updated and deleted."),
    ];
    let tags = tags.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    let server =
        ServerBuilder::new().url("/").description(Some("The server that this document was retrieved from.")).build();
    OpenApiBuilder::new().info(info).components(Some(components)).tags(Some(tags)).servers(Some([server])).build()
}

/// The contract as JSON text: sorted keys except in examples, two spaces, one newline at the end.
#[must_use]
#[expect(clippy::expect_used, reason = "the document is made of values alone, and every test run makes it")]
pub(crate) fn finish(document: OpenApi) -> String {
    // Through a value, whose keys are sorted: the order of utoipa's extensions is not stable.
    let mut document = serde_json::to_value(document).expect("the contract serialises");
    for operation in operations(&mut document) {
        describe_headers(operation);
        finish_parameters(operation);
        give_examples(operation);
        give_sample(operation);
    }
    for response in document["components"]["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        describe_problem_headers(response);
    }
    let text = serde_json::to_string_pretty(&document).expect("the contract serialises");
    text.lines().map(|line| format!("{}\n", examples::unquote(line))).collect()
}

/// The files of the contract by their names: the OpenAPI document, and the JSON Schemas of records, import lines and changes.
#[must_use]
pub(crate) fn files(document: &str) -> Vec<(String, String)> {
    let schemas = json_schemas().into_iter().map(|(name, schema)| {
        let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        (format!("{name}.schema.json"), format!("{text}\n"))
    });
    std::iter::once(("callhistory.json".to_owned(), document.to_owned())).chain(schemas).collect()
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}

/// Adds the header `x-request-id` to every response, so that no operation has to describe it. Headers that a handler
/// describes are in every response too, those of a list where they apply.
fn describe_headers(operation: &mut Map<String, Value>) {
    let is_list = operation.get("operationId").is_some_and(|id| id == "list_calls");
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for response in responses.filter_map(Value::as_object_mut).filter(|response| !response.contains_key("$ref")) {
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        headers["x-request-id"] = request_id_header();
        for header in headers.as_object_mut().into_iter().flat_map(Map::values_mut) {
            header["required"] = true.into();
        }
        describe_rates(headers, false);
        if is_list {
            headers["link"] = json!({
                "description": "The next page (RFC 8288, `rel=\"next\"`), relative to this request; absent on the last page.",
                "schema": { "type": "string" },
            });
            headers["x-total-count"] = json!({
                "description": "The records on all pages; only with `includeTotal=true`.",
                "schema": { "type": "integer", "minimum": 0 },
            });
        }
    }
}

fn request_id_header() -> Value {
    json!({
        "description": "The id of the request: the caller's own, or one that was made for it.",
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" },
    })
}

/// What is left of what a key may ask for, in the form of the field's input standard.
fn describe_rates(headers: &mut Value, required: bool) {
    headers["ratelimit-policy"] = json!({
        "description": "Where the service bounds it, what a key may ask for: `q` requests or records in `w` seconds.",
        "schema": { "type": "string" },
        "required": required,
    });
    headers["ratelimit"] = json!({
        "description": "The `r` requests that are left at once; after `t` seconds there are more.",
        "schema": { "type": "string" },
    });
}

/// What every problem carries; what has no body is refused before there is a request.
fn describe_problem_headers(response: &mut Value) {
    let Some(problem) = response.pointer("/content/application~1problem+json/example") else { return };
    let is_about_rate = problem["status"] == 429;
    let (may_pass, is_about_key) = (problem["code"] == "unavailable" || is_about_rate, problem["status"] == 401);
    let mut headers = json!({ "x-request-id": request_id_header() });
    if may_pass {
        headers["retry-after"] = json!({
            "description": "The seconds after which to try again.",
            "schema": { "type": "integer", "minimum": 1 },
        });
    }
    if is_about_key {
        headers["www-authenticate"] =
            json!({ "description": "How to say who asks: `Bearer`.", "schema": { "type": "string" } });
    }
    for header in headers.as_object_mut().into_iter().flat_map(Map::values_mut) {
        header["required"] = true.into();
    }
    describe_rates(&mut headers, is_about_rate);
    response["headers"] = headers;
}

/// An optional header is absent or a text, never null; and there is one coding that a body may have.
fn finish_parameters(operation: &mut Map<String, Value>) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
    for parameter in parameters {
        let is_coding = parameter["name"] == "content-encoding";
        let schema = &mut parameter["schema"];
        if schema["type"] == json!(["string", "null"]) {
            schema["type"] = json!("string");
        }
        if is_coding {
            schema["enum"] = json!(["gzip"]);
        }
    }
}

/// The function of the SDK's example that carries out an operation.
fn give_sample(operation: &mut Map<String, Value>) {
    const SAMPLES: &str = include_str!("../../samples/operations.rs");
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
    let start = format!("async fn {id}(");
    let lines = SAMPLES.lines().skip_while(|line| !line.contains(&start));
    let mut source: String = lines.take_while(|line| *line != "}").map(|line| format!("{line}\n")).collect();
    if !source.is_empty() {
        source.push_str("}\n");
        let source = source.trim_start_matches("pub(crate) ");
        operation
            .insert("x-codeSamples".to_owned(), json!([{ "lang": "Rust", "label": "Rust SDK", "source": source }]));
    }
}

/// An example for every body, and for the parameters that make it. Tests send each request and compare the response.
fn give_examples(operation: &mut Map<String, Value>) {
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(content) = operation.get_mut("requestBody").and_then(|body| body.get_mut("content")) {
        set_examples(content, |media_type| examples::request(&id, media_type));
    }
    for (status, response) in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(content) = response.get_mut("content") {
            set_examples(content, |media_type| examples::response(&id, status, media_type));
        }
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        if let Some(example) = examples::parameter(&id, &name) {
            parameter["example"] = example;
        }
    }
}

fn set_examples(content: &mut Value, example: impl Fn(&str) -> Value) {
    for (media_type, content) in content.as_object_mut().into_iter().flatten() {
        content["example"] = example(media_type);
    }
}
