//! The one error type of the crate.

use std::{error::Error as StdError, fmt, time::Duration};

use callhistory_model::Problem;
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, HeaderName},
};

use crate::retry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 256;
const MAX_SHOWN_CHARS: usize = 300;
const MAX_SHOWN_FAULTS: usize = 3;

type Source = Box<dyn StdError + Send + Sync>;

/// Why an operation did not give its result.
///
/// Its text is one line without the API key or anything out of a record. [`source`](StdError::source),
/// [`problem`](Self::problem) and the `Debug` text say more, and may quote a value that was refused or that could not
/// be read.
///
/// ```
/// use callhistory_client::Client;
///
/// let error = Client::builder("http://127.0.0.1:8080").workspace("no spaces").build().unwrap_err();
/// assert!(error.is_invalid_request() && !error.is_retryable());
/// assert_eq!(error.status(), None);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    answer: Option<Answer>,
    attempts: u32,
}

enum Kind {
    /// Refused here, before anything was sent.
    Invalid { what: String, source: Option<Source> },
    /// The client cannot work on this machine.
    Setup(Source),
    /// No answer came.
    Transport(reqwest::Error),
    /// The answer is an error.
    Status(Option<Problem>),
    /// The answer is a success, and its body cannot be used.
    Unreadable { is_write: bool, error: BodyError },
}

/// What is wrong with the body of an answer.
pub(crate) enum BodyError {
    Broken(reqwest::Error),
    CutOff,
    TooLarge(usize),
    Malformed(serde_json::Error),
}

impl BodyError {
    pub(crate) fn broken(error: reqwest::Error) -> Self {
        Self::Broken(error.without_url())
    }
}

/// What the head of an answer says that an error needs.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let request_id = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        Self {
            status,
            request_id: request_id.filter(|id| id.len() <= MAX_REQUEST_ID_BYTES).map(str::to_owned),
            retry_after: retry::retry_after(headers),
        }
    }

    pub(crate) fn of(response: &Response) -> Self {
        Self::new(response.status(), response.headers())
    }
}

impl Error {
    fn new(kind: Kind, answer: Option<Answer>) -> Self {
        Self(Box::new(Inner { kind, answer, attempts: 0 }))
    }

    pub(crate) fn refused(what: String) -> Self {
        Self::new(Kind::Invalid { what, source: None }, None)
    }

    pub(crate) fn invalid(what: &str, source: impl Into<Source>) -> Self {
        Self::new(Kind::Invalid { what: what.to_owned(), source: Some(source.into()) }, None)
    }

    pub(crate) fn setup(source: impl Into<Source>) -> Self {
        Self::new(Kind::Setup(source.into()), None)
    }

    pub(crate) fn transport(error: reqwest::Error) -> Self {
        // The address of a later operation may hold a phone number.
        Self::new(Kind::Transport(error.without_url()), None)
    }

    pub(crate) fn answered(answer: Answer, problem: Option<Problem>) -> Self {
        Self::new(Kind::Status(problem), Some(answer))
    }

    pub(crate) fn unreadable(answer: Answer, is_write: bool, error: BodyError) -> Self {
        Self::new(Kind::Unreadable { is_write, error }, Some(answer))
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }
}

/// Questions.
impl Error {
    /// No such record in this workspace, or no such route: 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.refused_with(&[404])
    }

    /// The request is wrong and stays wrong: 400, 413, 415, 422, or refused before it was sent.
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(self.0.kind, Kind::Invalid { .. }) || self.refused_with(&[400, 413, 415, 422])
    }

    /// The API key is missing, wrong, or not allowed to do this: 401 or 403.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.refused_with(&[401, 403])
    }

    /// The record is not in the state that the request expects: 409 or 412.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.refused_with(&[409, 412])
    }

    /// There were too many requests: 429. See [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        self.refused_with(&[429])
    }

    /// A time limit ran out: one of this client, or one of the service or a proxy (408, 504).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.transport_error().is_some_and(reqwest::Error::is_timeout) || self.refused_with(&[408, 504])
    }

    /// There was no connection, so nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.transport_error().is_some_and(reqwest::Error::is_connect)
    }

    /// The same call may work later. The client has retried such a failure already, as far as it was told to.
    ///
    /// `false` for a write that [was accepted](Self::was_accepted).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.0.kind {
            Kind::Invalid { .. } | Kind::Setup(_) => false,
            Kind::Transport(error) => !error.is_builder(),
            Kind::Status(_) => self.0.answer.as_ref().is_some_and(|answer| retry::is_passing(answer.status)),
            Kind::Unreadable { is_write, error } => {
                !is_write && matches!(error, BodyError::Broken(_) | BodyError::CutOff)
            }
        }
    }

    /// The service has accepted the write, but its answer could not be read. Read the record to see what is stored.
    #[must_use]
    pub fn was_accepted(&self) -> bool {
        matches!(self.0.kind, Kind::Unreadable { is_write: true, .. })
    }

    /// The HTTP status of the last answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.answer.as_ref().map(|answer| answer.status.as_u16())
    }

    /// The service's own explanation. An answer of a proxy has none.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.0.kind {
            Kind::Status(problem) => problem.as_ref(),
            _ => None,
        }
    }

    /// The id under which the service has logged the last attempt, from the header `x-request-id`.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.answer.as_ref()?.request_id.as_deref()
    }

    /// How long the service asks to be left alone (`Retry-After`), counted from its last answer.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.answer.as_ref()?.retry_after
    }

    /// How often the request was sent, or was tried to be sent; 0 where it was refused before.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    fn refused_with(&self, statuses: &[u16]) -> bool {
        matches!(self.0.kind, Kind::Status(_)) && self.status().is_some_and(|status| statuses.contains(&status))
    }

    fn transport_error(&self) -> Option<&reqwest::Error> {
        match &self.0.kind {
            Kind::Transport(error) | Kind::Unreadable { error: BodyError::Broken(error), .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Invalid { what, source: None } => f.write_str(what)?,
            Kind::Invalid { what, source: Some(source) } => write!(f, "{what}: {source}")?,
            Kind::Setup(source) => write!(f, "the client cannot be set up: {}", root(source.as_ref()))?,
            Kind::Transport(error) if error.is_connect() => {
                write!(f, "cannot connect to the service: {}", root(error))?
            }
            Kind::Transport(error) if error.is_timeout() => f.write_str("the service did not answer in time")?,
            Kind::Transport(error) => write!(f, "the connection to the service broke: {}", root(error))?,
            Kind::Status(problem) => self.write_status(f, problem.as_ref())?,
            Kind::Unreadable { is_write, error } => {
                let accepted = if *is_write { "accepted the write" } else { "answered" };
                write!(f, "the service {accepted}, but its answer cannot be read: {error}")?;
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
                    write!(f, "the service answered {status}, and redirects are not followed: check the base URL")
                }
                _ => write!(f, "the service answered {status} without saying why"),
            };
        };
        write!(f, "the service answered {status} {}: {}", one_line(problem.code.as_str()), one_line(&problem.title))?;
        // The details of a problem may quote the record; places and codes do not.
        for (at, error) in problem.errors.iter().take(MAX_SHOWN_FAULTS).enumerate() {
            let place = error.parameter.as_deref().or(error.pointer.as_deref()).unwrap_or("");
            let separator = if at == 0 { ": " } else { ", " };
            write!(f, "{separator}{} {}", one_line(member(place)), one_line(error.code.as_str()))?;
        }
        match problem.errors.len().saturating_sub(MAX_SHOWN_FAULTS) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) if error.is_timeout() => f.write_str("it did not come in time"),
            Self::Broken(error) => write!(f, "{}", root(error)),
            Self::CutOff => f.write_str("it ends in the middle of a record"),
            Self::TooLarge(limit) => write!(f, "it has more than {limit} bytes"),
            // The parser's own text may quote a value.
            Self::Malformed(error) => {
                write!(f, "it is not the expected JSON at line {} column {}", error.line(), error.column())
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
            Kind::Invalid { source, .. } => source.as_deref().map(|source| source as _),
            Kind::Setup(source) => Some(source.as_ref()),
            Kind::Transport(error) | Kind::Unreadable { error: BodyError::Broken(error), .. } => Some(error),
            Kind::Unreadable { error: BodyError::Malformed(error), .. } => Some(error),
            Kind::Unreadable { error: BodyError::TooLarge(_) | BodyError::CutOff, .. } | Kind::Status(_) => None,
        }
    }
}

/// The innermost cause, which is the one that names what happened.
fn root<'a>(mut error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The top-level member of a JSON pointer: names further down are the caller's own data.
fn member(place: &str) -> &str {
    let end = place.char_indices().skip(1).find(|(_, c)| *c == '/').map_or(place.len(), |(at, _)| at);
    &place[..end]
}

/// Text of the service without line breaks and of bounded length.
fn one_line(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
