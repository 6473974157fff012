//! The preference of a write: `Prefer: handling=strict` or `handling=lenient` (RFC 7240).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use callhistory_model::Handling;
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{error::ApiError, headers::parameter};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The handling that a caller prefers, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreferredHandling(Option<Handling>);

impl PreferredHandling {
    /// The preference of these headers. What is unknown or malformed is ignored, as the RFC demands.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(PREFER).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
        let mut preferences = lines.flat_map(|line| split_unquoted(line, ',')).filter_map(|preference| {
            // A preference may have parameters, of which this one has none.
            let preference = split_unquoted(preference, ';').next()?;
            preference.split_once('=').or(Some((preference, "")))
        });
        // Only the first instance counts.
        let value = preferences.find(|(name, _)| name.trim().eq_ignore_ascii_case("handling")).map(|(_, value)| {
            let value = value.trim();
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
        });
        let is = |handling: &Handling| value.is_some_and(|value| value.eq_ignore_ascii_case(handling.as_str()));
        Self([Handling::Strict, Handling::Lenient].into_iter().find(is))
    }

    /// The handling of a request that has this default.
    pub(crate) fn or(self, default: Handling) -> Handling {
        self.0.unwrap_or(default)
    }

    /// Says which preference was applied, if the caller had one.
    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        let applied = match self.0 {
            Some(Handling::Strict) => "handling=strict",
            Some(Handling::Lenient) => "handling=lenient",
            None => return,
        };
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(applied));
    }
}

/// The parts of a text between the separators outside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        let is_end = c == separator && !is_quoted;
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        is_end
    })
}

impl<S: Sync> FromRequestParts<S> for PreferredHandling {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.headers))
    }
}

impl IntoParams for PreferredHandling {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let members = json!({
            "schema": { "type": "string", "maxLength": 1024 },
            "description": "Preferences (RFC 7240). `handling=strict` refuses a document with unknown members, unreadable \
                values or wrong units; `handling=lenient` keeps what it can read, and names the rest in warnings. The \
                default is strict for single writes and lenient for imports. `Preference-Applied` names the preference \
                that was applied; unknown preferences are ignored.",
            "example": "handling=lenient",
        });
        vec![parameter(ParameterIn::Header, "Prefer", &members).build()]
    }
}
