//! Headers and parameters of requests: the one value of a header, and how the contract describes both.

use axum::http::{HeaderName, HeaderValue, request::Parts};
use callhistory_model::{FieldError, FieldErrorCode};
use serde_json::{Value, json};
use utoipa::openapi::{
    Required,
    path::{ParameterBuilder, ParameterIn},
};

use crate::error::ApiError;

/// The one value of a header. Lists and repetitions are refused: a proxy and this service could each read another value.
pub(crate) fn single<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut lines = parts.headers.get_all(name).iter();
    let value = lines.next();
    match lines.next() {
        None => Ok(value),
        Some(_) => {
            let error = FieldError::new(FieldErrorCode::Repeated, "occurs more than once; exactly one is accepted");
            Err(ApiError::invalid_header(error.in_parameter(name.as_str())))
        }
    }
}

/// The example of an entity tag.
pub(crate) const ETAG: &str = "\"2-9f86d081884c7d65\"";

/// The example of a cursor.
pub(crate) const CURSOR: &str = "AT95u3tDWwUyAAAAAAAAAAHjuYpNoxoSfUvebkMDP2a6";

/// The schema of a cursor, and of the ID of an event, which is one.
pub(crate) fn cursor_schema() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9_-]+$" })
}

/// A parameter of the contract. Its `members` are the schema, the description and an example.
pub(crate) fn parameter(location: ParameterIn, name: &str, members: &Value) -> ParameterBuilder {
    let members = members.as_object().cloned().into_iter().flatten().collect();
    ParameterBuilder::new().name(name).parameter_in(location).required(Required::False).extensions(Some(members))
}
