//! The code samples of an operation: each language has one, which sends the request of this operation and not of another.

use serde_json::Value;

/// The path that samples in Python have as a constant.
const CALLS: &str = "/v2/api/call-history";

/// The languages in which an operation has no sample that sends its request.
pub(super) fn missing(contract: &Value, place: &str, operation: &Value) -> Vec<&'static str> {
    let mut parts = place.split('/').skip(2);
    let template = parts.next().unwrap_or_default().replace("~1", "/");
    let method = parts.next().unwrap_or_default();
    let upper = method.to_uppercase();
    let path = example_path(contract, &template, operation);
    let argument = match path.strip_prefix(CALLS) {
        Some("") => "CALLS,".to_owned(),
        Some(rest) => format!("f\"{{CALLS}}{rest}\""),
        None => format!("\"{path}\""),
    };
    let id = operation["operationId"].as_str().unwrap_or_default();
    let is_sent = |language: &str| {
        let mut samples = operation["x-codeSamples"].as_array().into_iter().flatten();
        let sample = samples.find(|sample| sample["lang"] == language);
        let source = sample.and_then(|sample| sample["source"].as_str()).unwrap_or_default();
        match language {
            "Shell" => {
                let has_path = ["\"", "?"].iter().any(|end| source.contains(&format!("{path}{end}")));
                has_path && curl_method(source) == upper
            }
            "Rust" => source.contains(&format!(".{id}(")),
            "TypeScript" => source.contains(&format!("client.{upper}(\"{template}\"")),
            _ => source.contains(&format!("requests.{method}({argument}")),
        }
    };
    ["Shell", "Rust", "TypeScript", "Python"].into_iter().filter(|language| !is_sent(language)).collect()
}

/// A path with the examples of its parameters, as samples have it.
fn example_path(contract: &Value, template: &str, operation: &Value) -> String {
    let referred = |parameter: &Value| contract.pointer(parameter["$ref"].as_str()?.strip_prefix('#')?);
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.filter_map(referred).fold(template.to_owned(), |path, parameter| {
        let example = &parameter["example"];
        let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap_or_default()), &example)
    })
}

/// The method that a command of curl sends.
fn curl_method(command: &str) -> &str {
    let mut words = command.split_whitespace();
    if words.any(|word| word == "--request") {
        return words.next().unwrap_or_default();
    }
    let has = |option: &str| command.split_whitespace().any(|word| word == option);
    let has_body = ["--json", "--data", "--data-binary"].into_iter().any(has);
    if has_body && !has("--get") { "POST" } else { "GET" }
}
