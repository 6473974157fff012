//! The error type of the crate.

use std::{error::Error as StdError, fmt, time::Duration};

use callhistory_model::{ImportReport, Problem, ProblemCode};
use reqwest::{Response, StatusCode, header::HeaderName};
use serde::de::DeserializeOwned;

use crate::retry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 256;
const MAX_SHOWN_CHARS: usize = 300;
const MAX_SHOWN_ERRORS: usize = 3;
const NO_RESPONSE: &str = "the service did not respond in time";

type Source = Box<dyn StdError + Send + Sync>;

/// The error of an operation.
///
/// Its text is one line without the API key or content of a record. [`source`](StdError::source),
/// [`problem`](Self::problem) and the `Debug` text contain more, and can quote a value that was refused or could not
/// be read.
///
/// ```
/// use callhistory_client::Client;
///
/// let error = Client::builder("http://127.0.0.1:8080").workspace("no spaces").build().unwrap_err();
/// assert!(error.is_invalid_request() && !error.is_retryable());
/// assert_eq!(error.status(), None);
/// ```
pub struct Error(Box<ErrorData>);

struct ErrorData {
    kind: ErrorKind,
    head: Option<ResponseHead>,
    attempts: u32,
    /// An earlier attempt failed, and the service may have completed it.
    may_repeat: bool,
    report: Option<ImportReport>,
}

enum ErrorKind {
    /// Refused by the client, before a request was sent.
    Invalid { message: String, source: Option<Source> },
    /// The client cannot be built on this machine.
    Setup(Source),
    /// No response arrived.
    Transport(reqwest::Error),
    /// No response arrived in time.
    TimedOut,
    /// The response is an error.
    Status(Option<Problem>),
    /// The response is a success, and its body cannot be read.
    Unreadable { is_write: bool, error: BodyError },
}

/// Why a body cannot be read.
pub(crate) enum BodyError {
    Broken(reqwest::Error),
    TimedOut,
    CutOff,
    TooLarge(usize),
    Malformed(Malformed),
}

/// JSON that is not what was expected.
#[derive(Debug)]
pub(crate) struct Malformed {
    error: serde_json::Error,
    path: String,
}

impl Malformed {
    /// Deserializes, and finds the path of an error. A second pass finds it, because tracking a path takes time.
    pub(crate) fn check<T: DeserializeOwned>(json: &[u8]) -> Result<T, Self> {
        serde_json::from_slice(json).map_err(|error| {
            let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(json));
            Self { error, path: again.err().map(|error| error.path().to_string()).unwrap_or_default() }
        })
    }

    /// The path without the names below a member of the record, which are data of the caller.
    fn shown_path(&self) -> String {
        let is_outer = |part: &str| part.starts_with('[') || matches!(part, "changes" | "call" | "hits");
        let path = self.path.replace('[', ".[");
        let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty() && *part != "?").collect();
        let outer = parts.iter().take_while(|part| is_outer(part)).count();
        let shown = parts.iter().take(outer + 1);
        one_line(&shown.copied().collect::<Vec<_>>().join(".").replace(".[", "["))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)
    }
}

impl StdError for Malformed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}

impl BodyError {
    pub(crate) fn broken(error: reqwest::Error) -> Self {
        Self::Broken(error.without_url())
    }
}

/// The parts of a response head that an error needs.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) request_id: Option<String>,
    retry_after: Option<Duration>,
    /// The attempt that got this response.
    pub(crate) attempts: u32,
}

impl ResponseHead {
    pub(crate) fn of(response: &Response) -> Self {
        let headers = response.headers();
        let request_id = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        Self {
            status: response.status(),
            request_id: request_id.filter(|id| id.len() <= MAX_REQUEST_ID_BYTES).map(str::to_owned),
            retry_after: retry::retry_after(headers),
            attempts: 1,
        }
    }
}

impl Error {
    fn new(kind: ErrorKind, head: Option<ResponseHead>) -> Self {
        Self(Box::new(ErrorData { kind, head, attempts: 0, may_repeat: false, report: None }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid { message: message.into(), source: None }, None)
    }

    pub(crate) fn invalid_source(message: &str, source: impl Into<Source>) -> Self {
        Self::new(ErrorKind::Invalid { message: message.to_owned(), source: Some(source.into()) }, None)
    }

    pub(crate) fn repeated_cursor() -> Self {
        Self::invalid("the service returned the same cursor twice")
    }

    pub(crate) fn setup(source: impl Into<Source>) -> Self {
        Self::new(ErrorKind::Setup(source.into()), None)
    }

    pub(crate) fn transport(error: reqwest::Error) -> Self {
        // The URL of an operation can contain a phone number.
        Self::new(ErrorKind::Transport(error.without_url()), None)
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(ErrorKind::TimedOut, None)
    }

    pub(crate) fn status_error(head: ResponseHead, problem: Option<Problem>) -> Self {
        Self::new(ErrorKind::Status(problem), Some(head))
    }

    pub(crate) fn unreadable(head: ResponseHead, is_write: bool, error: BodyError) -> Self {
        let attempts = head.attempts;
        Self::new(ErrorKind::Unreadable { is_write, error }, Some(head)).after(attempts)
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn after_lost(mut self, is_lost: bool) -> Self {
        self.0.may_repeat = is_lost;
        self
    }

    /// Whether the response can be the consequence of an earlier attempt, which succeeded without a response.
    pub(crate) fn may_repeat(&self) -> bool {
        self.0.may_repeat
    }

    /// Whether the service may have completed the attempt: not without a connection, or when it was turned away.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_retryable() && !self.is_connect() && !self.has_status(&[425, 429, 503])
    }

    pub(crate) fn head(&self) -> Option<&ResponseHead> {
        self.0.head.as_ref()
    }

    pub(crate) fn with_report(mut self, report: ImportReport) -> Self {
        self.0.report = Some(report);
        self
    }
}

/// Predicates and details.
impl Error {
    /// The record does not exist in this workspace, or the route does not exist: 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.has_status(&[404])
    }

    /// The request is invalid: 400, 413, 415, 422, or refused before it was sent. A retry does not help.
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Invalid { .. }) || self.has_status(&[400, 413, 415, 422])
    }

    /// The API key is missing, invalid or expired: 401.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.has_status(&[401])
    }

    /// The API key lacks a permission, or belongs to another workspace: 403.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.has_status(&[403])
    }

    /// The state of the record does not allow the request, whatever its version: 409. Reading it again does not help.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.has_status(&[409])
    }

    /// The record has another version than [`if_version`](crate::Client::if_version) requires, or exists in spite of
    /// [`if_absent`](crate::Client::if_absent): 412. Read it again, and repeat the change, unless an earlier
    /// [attempt](Self::attempts) has made it.
    #[must_use]
    pub fn is_precondition_failed(&self) -> bool {
        self.has_status(&[412])
    }

    /// The cursor has expired, because the database was restored or lost commits in a fail-over: 410 with the code
    /// `cursor_expired`. Start again without it.
    #[must_use]
    pub fn is_cursor_expired(&self) -> bool {
        self.has_status(&[410]) && self.code() == Some(&ProblemCode::CursorExpired)
    }

    /// The rate limit is exceeded: 429. See [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        self.has_status(&[429])
    }

    /// A timeout of the client, or of the service or a proxy (408, 504).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let is_own =
            matches!(self.0.kind, ErrorKind::TimedOut | ErrorKind::Unreadable { error: BodyError::TimedOut, .. });
        is_own || self.transport_error().is_some_and(reqwest::Error::is_timeout) || self.has_status(&[408, 504])
    }

    /// The connection failed; nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.transport_error().is_some_and(is_connect)
    }

    /// The TLS handshake failed, for example because the certificate of the service is not trusted. A retry does not help.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.transport_error().is_some_and(is_tls)
    }

    /// The error is transient: the same call can succeed later. The client has already made its retries.
    ///
    /// `false` for a write that [was accepted](Self::was_accepted).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.0.kind {
            ErrorKind::Invalid { .. } | ErrorKind::Setup(_) => false,
            ErrorKind::Transport(error) => !error.is_builder() && !is_tls(error),
            ErrorKind::TimedOut => true,
            ErrorKind::Status(_) => self.0.head.as_ref().is_some_and(|head| retry::is_transient(head.status)),
            ErrorKind::Unreadable { is_write, error } => {
                !is_write && matches!(error, BodyError::Broken(_) | BodyError::TimedOut | BodyError::CutOff)
            }
        }
    }

    /// The service accepted the write, but its response could not be read. Read the record to see what is stored.
    #[must_use]
    pub fn was_accepted(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unreadable { is_write: true, .. })
    }

    /// The HTTP status of the last response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.head.as_ref().map(|head| head.status.as_u16())
    }

    /// The problem document of the service. The response of a proxy has none.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.0.kind {
            ErrorKind::Status(problem) => problem.as_ref(),
            _ => None,
        }
    }

    /// The code of the problem. The response of a proxy has none.
    #[must_use]
    pub fn code(&self) -> Option<&ProblemCode> {
        self.problem().map(|problem| &problem.code)
    }

    /// What was imported before this error: the report of the requests that succeeded.
    #[must_use]
    pub fn import_report(&self) -> Option<&ImportReport> {
        self.0.report.as_ref()
    }

    /// The request ID of the last attempt in the log of the service, from the header `x-request-id`.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.head.as_ref()?.request_id.as_deref()
    }

    /// The delay that the service requests (`Retry-After`), counted from its last response.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.head.as_ref()?.retry_after
    }

    /// The number of attempts; 0 if the client refused the request.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    fn has_status(&self, statuses: &[u16]) -> bool {
        matches!(self.0.kind, ErrorKind::Status(_)) && self.status().is_some_and(|status| statuses.contains(&status))
    }

    fn transport_error(&self) -> Option<&reqwest::Error> {
        match &self.0.kind {
            ErrorKind::Transport(error) | ErrorKind::Unreadable { error: BodyError::Broken(error), .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            ErrorKind::Invalid { message, source: None } => f.write_str(message)?,
            ErrorKind::Invalid { message, source: Some(source) } => write!(f, "{message}: {source}")?,
            ErrorKind::Setup(source) => write!(f, "the client cannot be built: {}", root_cause(source.as_ref()))?,
            ErrorKind::Transport(error) if is_connect(error) => {
                write!(f, "cannot connect to the service: {}", root_cause(error))?
            }
            ErrorKind::Transport(error) if error.is_timeout() => f.write_str(NO_RESPONSE)?,
            ErrorKind::TimedOut => f.write_str(NO_RESPONSE)?,
            ErrorKind::Transport(error) => write!(f, "the connection to the service failed: {}", root_cause(error))?,
            ErrorKind::Status(problem) => self.write_status(f, problem.as_ref())?,
            ErrorKind::Unreadable { is_write, error } => {
                let accepted = if *is_write { "accepted the write" } else { "responded" };
                write!(f, "the service {accepted}, but its response cannot be read: {error}")?;
            }
        }
        match (self.0.attempts, self.request_id()) {
            (attempts @ 2.., Some(id)) => write!(f, " (after {attempts} attempts, request id {id})"),
            (attempts @ 2.., None) => write!(f, " (after {attempts} attempts)"),
            (_, Some(id)) => write!(f, " (request id {id})"),
            (_, None) => Ok(()),
        }
    }
}

impl Error {
    fn write_status(&self, f: &mut fmt::Formatter<'_>, problem: Option<&Problem>) -> fmt::Result {
        let status = self.status().unwrap_or_default();
        let Some(problem) = problem else {
            return match status {
                300..400 => {
                    write!(f, "the service responded {status}, and redirects are not followed: check the base URL")
                }
                _ => write!(f, "the service responded {status} without a problem document"),
            };
        };
        write!(f, "the service responded {status} {}: {}", one_line(problem.code.as_str()), one_line(&problem.title))?;
        // The details of a problem can quote the record; locations and codes do not.
        for (at, error) in problem.errors.iter().take(MAX_SHOWN_ERRORS).enumerate() {
            let location = error.parameter.as_deref().or(error.pointer.as_deref()).unwrap_or("");
            let separator = if at == 0 { ": " } else { ", " };
            write!(f, "{separator}{} {}", one_line(member(location)), one_line(error.code.as_str()))?;
        }
        match problem.errors.len().saturating_sub(MAX_SHOWN_ERRORS) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) if error.is_timeout() => f.write_str("it did not arrive in time"),
            Self::TimedOut => f.write_str("it did not arrive in time"),
            Self::Broken(error) => write!(f, "{}", root_cause(error)),
            Self::CutOff => f.write_str("it ends in the middle of a record"),
            Self::TooLarge(limit) => write!(f, "it has more than {limit} bytes"),
            // The text of the parser can quote a value.
            Self::Malformed(malformed) => {
                let Malformed { error, .. } = malformed;
                write!(f, "it is not the expected JSON at line {} column {}", error.line(), error.column())?;
                match malformed.shown_path() {
                    path if path.is_empty() => Ok(()),
                    path => write!(f, ", in {path}"),
                }
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("message", &format_args!("{self}"));
        if let Some(problem) = self.problem() {
            out.field("problem", problem);
        }
        if let Some(source) = self.source() {
            out.field("source", &source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            ErrorKind::Invalid { source, .. } => source.as_deref().map(|source| source as _),
            ErrorKind::Setup(source) => Some(source.as_ref()),
            ErrorKind::Transport(error) | ErrorKind::Unreadable { error: BodyError::Broken(error), .. } => Some(error),
            ErrorKind::Unreadable { error: BodyError::Malformed(error), .. } => Some(error),
            ErrorKind::Unreadable { .. } | ErrorKind::TimedOut | ErrorKind::Status(_) => None,
        }
    }
}

/// Whether no connection was made. A browser does not say it.
fn is_connect(error: &reqwest::Error) -> bool {
    #[cfg(not(target_arch = "wasm32"))]
    return error.is_connect();
    #[cfg(target_arch = "wasm32")]
    {
        let _ = error;
        false
    }
}

/// Whether no connection was made because of TLS.
fn is_tls(error: &reqwest::Error) -> bool {
    is_connect(error) && retry::is_tls_fault(error)
}

/// The innermost cause, which names the failure.
fn root_cause<'a>(mut error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The top-level member of a JSON pointer: nested names are data of the caller.
fn member(location: &str) -> &str {
    let end = location.char_indices().skip(1).find(|(_, c)| *c == '/').map_or(location.len(), |(at, _)| at);
    &location[..end]
}

/// Text of the service, without line breaks and truncated.
fn one_line(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
