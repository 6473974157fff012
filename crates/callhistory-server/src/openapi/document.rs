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

use super::{
    examples,
    query_parameters::metadata_filter,
    responses::{headers, problem_components},
};

const DESCRIPTION: &str = r#"The call history of voice-agent platforms: one record per call, stored exactly as it was written.

Unknown header values and parameters are rejected with a problem that names them. Every error is `application/problem+json`
(RFC 9457) with a stable `code`, which `/docs/problems` of the server explains, and every response has the header
`X-Request-Id`.

Bodies of requests may be compressed with gzip, and responses are, except event streams, if `Accept-Encoding` names it. A
slash at the end of a path changes nothing. A body without `Content-Type` is parsed as JSON; in an import, its first bytes say what
it is.

## Numbers

Numbers are exact: an amount of `0.10` is returned as `0.10`. Their format is `double`, because generators of clients read `decimal`,
or no format, as 32 bits in some languages, which damages times and amounts that are read and written back; 64 bits keep
15 digits. A client that needs each digit maps the format to a decimal type: with openapi-generator,
`--type-mappings double=BigDecimal --import-mappings BigDecimal=java.math.BigDecimal` for Java,
`--type-mappings double=java.math.BigDecimal` for Kotlin, `--type-mappings double=decimal` for C#.

## Strict and lenient writes

A write of one record is strict: unknown members, unreadable values and times in milliseconds are rejected. With
`Prefer: handling=lenient` (RFC 7240), the default of imports, unknown members are kept at top level, wrong units are converted,
unreadable members are left out, and the document as it was sent is kept as an original. In both, a `null` member counts as
absent, a number may be a text, and facts that contradict each other are kept. `x-callhistory-warnings` names all of that.

## Filter syntax

| filter | matches |
|---|---|
| `a,b` | any of these values |
| `!a,b` | none of these values, and records without a value |
| `*` | any value |
| `!*` | records without a value |
| `+1800*` | phone numbers with this prefix |

Values of `status`, `outcome`, `direction` and `callType` are compared without case, and `_`, `-` and white space are alike: `in-progress`
also matches `IN_PROGRESS`. Phone numbers are compared in one form: `+49 30 123`, `004930123`, `tel:+4930123` and `sip:+4930123@host` are one number. A
backslash escapes the next character. A space at the start of a phone number is read as `+`, which it is in a URL.

A parameter whose value is blank is one that was not given. An empty text of a record is no value.

## Search

Words, in any order, separated by anything that is no letter and no digit. A call matches if each of them occurs in `agent`,
`callFlowName`, `summary`, `metadata`, `analyzedData`, `functionCalls`, `transcript` or a phone number. Case, accents and other marks,
width and compatibility forms make no difference: `cafe` finds `Café`, `strasse` finds `Straße`.

| word | matches |
|---|---|
| `refund` | this word |
| `refund ord` | the last word also as the start of a word, from three letters on |
| `ord* refund` | the start of a word |
| `"order number"` | these words, next to each other; a quotation mark without its partner separates words |
| `e-mail`, `don't` | the parts next to each other, and the word without its hyphens and apostrophes |
| `开会`, `สินค้า` | in scripts that are written without blanks, these characters next to each other |
| `서울` | in Korean, also the start of a word, because particles follow a word |
| `4711` | three or more digits, inside any longer number |

## Times

A parameter that is a time is RFC 3339, or Unix seconds, or a date or a time without a zone, which is one of `timezone`, by default
of UTC: a date is the start of the day. Of a time that clocks show twice the first is meant, of one that they skip the first time
after it. The time of a call is its `startTime`, or `createdAt` for records without it."#;

/// The document without its paths. It replaces everything that the library would derive from the manifest.
pub(crate) fn base() -> OpenApi {
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    let key = "API key, if the server requires keys. Without its scope `phone-numbers:read`, the members `fromPhoneNumber` and \
               `toPhoneNumber` are masked; numbers inside other members, such as `metadata`, `variables`, `summary` and \
               `transcript`, are not.";
    let key = ApiKeyValue::with_description("x-api-key", key);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The API key as `Authorization: Bearer KEY`."))
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
        ("Calls", "Single records, and lists of records."),
        ("Metrics", "Counts, sums and percentiles."),
        ("Import and export", "Streams of whole histories."),
        ("Changes", "Created, updated and deleted records in commit order."),
    ];
    let tags = tags.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    let servers = [
        ("/", "The server that this document was retrieved from. Under a path prefix of a proxy, add the prefix."),
        ("http://127.0.0.1:8080", "A server on this machine with the default settings."),
    ];
    let servers = servers.map(|(url, text)| ServerBuilder::new().url(url).description(Some(text)).build());
    OpenApiBuilder::new().info(info).components(Some(components)).tags(Some(tags)).servers(Some(servers)).build()
}

/// The contract as JSON text: sorted keys except in examples, two spaces, one newline at the end.
#[must_use]
#[expect(clippy::expect_used, reason = "the document is made of values alone, and every test run makes it")]
pub(crate) fn finish(document: OpenApi) -> String {
    // Through a value, whose keys are sorted: the order of utoipa's extensions is not stable.
    let mut document = serde_json::to_value(document).expect("the contract serialises");
    for operation in operations(&mut document) {
        give_examples(operation);
        give_samples(operation);
        members(operation.get_mut("responses"))
            .filter(|(_, response)| response.get("$ref").is_none())
            .for_each(|(_, response)| refer_to_headers(response));
    }
    // A response without a body is sent before the request is parsed.
    members(document.pointer_mut("/components/responses"))
        .filter(|(_, response)| response.get("content").is_some())
        .for_each(|(_, response)| refer_to_headers(response));
    document["components"]["parameters"] = share_parameters(&mut document);
    document["components"]["headers"] = headers();
    document["components"]["schemas"]["MetadataFilter"] = metadata_filter();
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

/// The members of an object, if there is one.
fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    members(document.get_mut("paths")).flat_map(|(_, path)| members(Some(path))).map(|(_, operation)| operation)
}

/// Adds the headers of every response, and replaces each header by a reference to its component.
fn refer_to_headers(response: &mut Value) {
    for name in ["RateLimit", "RateLimit-Policy", "X-Request-Id"] {
        let header = &mut response["headers"][name];
        if header.is_null() {
            *header = json!({});
        }
    }
    for (name, header) in members(response.get_mut("headers")).filter(|(_, header)| header.get("$ref").is_none()) {
        *header = json!({ "$ref": format!("#/components/headers/{name}") });
    }
}

/// Replaces the parameters of all operations by references, and returns them by the keys of their components: the name of the
/// parameter, after that of the operation if it has another meaning there than in the first operation that has it.
fn share_parameters(document: &mut Value) -> Value {
    let mut components = Map::new();
    for operation in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            let is_other = components.get(&name).is_some_and(|known| known != parameter);
            let key = if is_other { format!("{id}.{name}") } else { name };
            let reference = json!({ "$ref": format!("#/components/parameters/{key}") });
            components.insert(key, std::mem::replace(parameter, reference));
        }
    }
    components.into()
}

/// The samples of each language: a function for each operation.
const SAMPLES: [(&str, &str, &str); 4] = [
    ("Shell", "curl", include_str!("../../samples/operations.sh")),
    ("Rust", "Rust SDK", include_str!("../../samples/operations.rs")),
    ("TypeScript", "TypeScript with openapi-fetch", include_str!("../../samples/operations.ts")),
    ("Python", "Python with requests", include_str!("../../samples/operations.py")),
];

/// The samples that call the operation.
fn give_samples(operation: &mut Value) {
    let name = format!("{}(", operation["operationId"].as_str().unwrap_or_default());
    operation["x-codeSamples"] = SAMPLES
        .iter()
        .map(|(language, label, file)| json!({ "lang": language, "label": label, "source": sample(language, file, &name) }))
        .collect();
}

/// The function of an operation, after what it needs of the start of its file; for a shell, the commands of the function.
fn sample(language: &str, file: &str, name: &str) -> String {
    let is_inside = |line: &&str| line.is_empty() || line.starts_with(' ');
    let lines = file.lines().skip_while(|line| line.starts_with(' ') || !line.contains(name));
    let (first, rest) = (lines.clone().next().unwrap_or_default(), lines.skip(1));
    let body: Vec<&str> = rest.clone().take_while(is_inside).collect();
    let text = body.join("\n");
    let text = text.trim_end();
    let end = rest.clone().nth(body.len()).filter(|line| *line == "}").map_or("", |_| "\n}");
    match language {
        "Shell" => format!("{}\n", text.trim_start().replace("\n  ", "\n")),
        "Rust" => format!("{}\n{text}{end}\n", first.trim_start_matches("pub(crate) ")),
        _ => {
            let start = file.lines().skip(1).take_while(|line| !line.contains("def ") && !line.contains("function "));
            format!("{}\n\n{first}\n{text}{end}\n", start.collect::<Vec<_>>().join("\n").trim_end())
        }
    }
}

/// The schema of a body that is no JSON: text in events, and otherwise bytes, for which generators of clients have a type.
fn give_schema(media_type: &str, content: &mut Value) {
    if content.get("schema").is_none() {
        let is_text = media_type == "text/event-stream";
        content["schema"] =
            if is_text { json!({ "type": "string" }) } else { json!({ "type": "string", "format": "binary" }) };
    }
}

/// An example for every body. Tests send each request and compare the response.
fn give_examples(operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    for (media_type, content) in members(operation.pointer_mut("/requestBody/content")) {
        give_schema(media_type, content);
        content["example"] = examples::request(&id, media_type);
    }
    for (status, response) in members(operation.get_mut("responses")) {
        for (media_type, content) in members(response.get_mut("content")) {
            give_schema(media_type, content);
            // A workbook has no text.
            if !media_type.starts_with("application/vnd.") {
                content["example"] = examples::response(&id, status, media_type);
            }
        }
    }
}
