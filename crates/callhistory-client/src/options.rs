//! Options of single requests.

use std::time::Duration;

use callhistory_model::Handling;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// What [`Client::with`](crate::Client::with) changes: options of the requests of one client.
///
/// An invalid header or key is the error of the next request.
#[derive(Clone, Debug)]
#[must_use = "options do nothing without a client"]
pub struct RequestOptions {
    /// The headers of every request, except the key.
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_retries: usize,
    pub(crate) idempotency_key: Option<HeaderValue>,
    pub(crate) handling: Option<Handling>,
    /// The precondition of writes of one record.
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
    pub(crate) fault: Option<String>,
}

impl RequestOptions {
    /// The maximum of [`max_retries`](Self::max_retries).
    pub const MAX_RETRIES: usize = 10;

    // Not `Default`: options without the headers of a client would send requests without a workspace.
    pub(crate) fn new(headers: HeaderMap) -> Self {
        Self {
            headers,
            timeout: None,
            max_retries: 0,
            idempotency_key: None,
            handling: None,
            condition: None,
            fault: None,
        }
    }

    /// Timeout of one attempt, shorter or longer than the one of the client; it also replaces the timeout between two reads.
    /// An export has only the latter.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Maximum number of retries, 0 to 10.
    pub fn max_retries(mut self, count: usize) -> Self {
        if count > Self::MAX_RETRIES {
            self.fault.get_or_insert(format!("max_retries is {count}; at most 10 are possible"));
        }
        self.max_retries = count;
        self
    }

    /// A header of each request, such as `traceparent`. It replaces one of the same name. `Debug` texts do not show its value.
    /// A header that the client sets itself, such as `Prefer` or `If-Match`, is refused: those have methods of their own.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match parse_header(name, value) {
            Ok((name, value)) => drop(self.headers.insert(name, value)),
            Err(fault) => drop(self.fault.get_or_insert(fault)),
        }
        self
    }

    /// The `Idempotency-Key` of [`create_call`](crate::Client::create_call), such as the ID of a job: another call with the same
    /// key and the same record returns the record that the first one has created. By default, each call has a random key.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        match HeaderValue::from_str(key) {
            Ok(value) if !key.is_empty() => self.idempotency_key = Some(value),
            _ => drop(self.fault.get_or_insert("the idempotency key is not a valid header value".to_owned())),
        }
        self
    }

    /// The handling of documents that break a rule, in writes and imports. By default, writes of one record are strict, and
    /// imports are lenient.
    ///
    /// Lenient handling keeps the call: what the service converts or leaves out is in the
    /// [warnings](crate::Versioned::warnings), and the document as it was sent is in the
    /// [originals](crate::Client::list_originals).
    pub fn handling(mut self, handling: Handling) -> Self {
        self.handling = Some(handling);
        self
    }
}

/// The headers that the client sets, and what to use instead.
const OWN_HEADERS: [(&str, &str); 9] = [
    ("accept", "it cannot be changed"),
    ("content-type", "it cannot be changed"),
    ("idempotency-key", "use `idempotency_key`"),
    ("if-match", "use `if_version`"),
    ("if-none-match", "use `if_absent` or `get_call_if_changed`"),
    ("prefer", "use `handling`"),
    ("user-agent", "use `user_agent_suffix`"),
    ("x-api-key", "use `api_key` or `set_api_key`"),
    ("x-workspace-id", "use `workspace` or `for_workspace`"),
];

/// A header with a value that is never printed. The error does not quote the value.
pub(crate) fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let valid: HeaderName = name.parse().map_err(|_| format!("{name:?} is not a valid header name"))?;
    if let Some((_, instead)) = OWN_HEADERS.iter().find(|(own, _)| valid == *own) {
        return Err(format!("the client sets the header {name:?} itself: {instead}"));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| format!("the header {name:?} has an invalid value"))?;
    value.set_sensitive(true);
    Ok((valid, value))
}
