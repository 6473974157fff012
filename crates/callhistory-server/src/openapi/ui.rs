//! The API reference page.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use callhistory_model::ProblemCode;
use sha2::{Digest as _, Sha256};
use utoipa_swagger_ui::Config;

use crate::{
    error::ApiError,
    headers::weight,
    http::extract::{NoQuery, ReadCondition},
    ids::hex,
    state::AppState,
};

/// The contract and its page are the same for every caller.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, no-cache");

/// The contract, its reference page, and the way to them. They are not part of the contract itself.
pub(crate) fn routes(document: &'static str) -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(root))
        .route(
            "/openapi.json",
            get(async move |condition: ReadCondition, _: NoQuery| openapi_json(document, &condition)),
        )
        .route("/docs", get(|_: NoQuery| async { Redirect::permanent("docs/") }))
        .route("/docs/problems", get(|_: NoQuery| async { problems() }))
        .route("/docs/", get(|_: NoQuery| async { docs_file("index.html") }))
        .route(
            "/docs/{file}",
            get(|uri: Uri, _: NoQuery| async move { docs_file(uri.path().trim_start_matches("/docs/")) }),
        )
}

/// Leads a browser to the console, or to the reference page if there is none, and tells a program what there is.
async fn root(State(app): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    if weight(&headers, &header::ACCEPT, "text/html").is_some_and(|weight| weight > 0.0) {
        return Redirect::to(if app.console.is_some() { "console" } else { "docs/" }).into_response();
    }
    let detail = "There is nothing at /. The operations are below /v2/api/call-history; /docs describes them, and \
                  /openapi.json is their contract.";
    ApiError::new(ProblemCode::RouteNotFound, detail).into_response()
}

/// The contract, with an entity tag so that who polls it need not read it again.
fn openapi_json(document: &'static str, condition: &ReadCondition) -> Response {
    let digest = Sha256::digest(document.as_bytes());
    let tag = format!("\"{}\"", hex(&digest[..16]));
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    if let Some(known) = condition.known(&tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, known), (header::CACHE_CONTROL, PUBLIC)]).into_response();
    }
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, PUBLIC)];
    (headers, [(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// The page of the codes of problems: its headings are the codes, and their anchors.
fn problems() -> Response {
    let headers =
        [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))];
    (headers, [(header::CACHE_CONTROL, PUBLIC)], Html(problems_page())).into_response()
}

fn problems_page() -> String {
    const TEXT: &str = include_str!("problems.md");
    let mut page =
        String::from("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>Problems</title>\n");
    for block in TEXT.trim().split("\n\n") {
        let block = block.replace('&', "&amp;").replace('<', "&lt;");
        page += &match (block.strip_prefix("# "), block.strip_prefix("## ")) {
            (Some(title), _) => format!("<h1>{title}</h1>\n"),
            (_, Some(code)) => format!("<h2 id=\"{code}\">{code}</h2>\n"),
            _ => {
                let parts = block.split('`').enumerate();
                let parts =
                    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() });
                format!("<p>{}</p>\n", parts.collect::<String>())
            }
        };
    }
    page
}

/// One file of the reference page. It is part of this binary and needs no network; the policy forbids all other sources.
fn docs_file(name: &str) -> Response {
    // The page draws its icons from `data:` URLs.
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("../openapi.json")));
    let answer = |media_type: &str, bytes: Vec<u8>| {
        let media_type = HeaderValue::from_str(media_type);
        let media_type = media_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, PUBLIC),
        ];
        (headers, bytes).into_response()
    };
    if name == "swagger-initializer.js" {
        return answer("text/javascript", include_bytes!("../docs.js").to_vec());
    }
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => answer(&file.content_type, file.bytes.into_owned()),
        Ok(None) => ApiError::new(ProblemCode::RouteNotFound, "The reference has no such file.").into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_problems_has_each_code_with_its_status_and_title() {
        let page = problems_page();
        for code in ProblemCode::KNOWN {
            let problem = ApiError::new(ProblemCode::from(*code), "").problem("r");
            let section = format!("<h2 id=\"{code}\">{code}</h2>\n<p>{}. {}. ", problem.status, problem.title);
            assert!(page.contains(&section), "problems.md has no {section}");
        }
        assert_eq!(page.matches("<h2").count(), ProblemCode::KNOWN.len());
        assert!(!page.contains('`') && page.contains("<code>Retry-After</code>"), "{page}");
    }
}
