//! One fault, and its text.

use std::{fmt, str::FromStr, time::Duration};

use axum::http::StatusCode;
use callhistory_model::nearest_name;

use crate::{error::ApiError, openapi::responses};

/// Why a fault cannot be scripted: names the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFault(pub(crate) String);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The problem of the contract with this status; the request is not processed.
    Problem(u16),
    SlowResponse,
    SlowBody,
    CutBody,
    BrokenJson,
    DropRequest,
    DropResponse,
}

const NAMED_KINDS: [(&str, FaultKind); 6] = [
    ("slow_response", FaultKind::SlowResponse),
    ("slow_body", FaultKind::SlowBody),
    ("cut_body", FaultKind::CutBody),
    ("broken_json", FaultKind::BrokenJson),
    ("drop_request", FaultKind::DropRequest),
    ("drop_response", FaultKind::DropResponse),
];
const OPTIONS: [&str; 4] = ["retry-after", "delay", "after", "every"];

/// A fault for tests of clients: what happens, and to which requests. Its text is the syntax of `demo --faults`.
///
/// ```
/// use callhistory_server::Fault;
///
/// let fault: Fault = "list_calls:429*2,retry-after=3".parse()?;
/// assert_eq!(fault, Fault::rate_limited().on("list_calls").times(2).retry_after(3));
/// let error = "list_calls:429,retry-aftr=3".parse::<Fault>().unwrap_err();
/// assert!(error.to_string().starts_with("\"retry-aftr\" is not an option; did you mean \"retry-after\"?"));
/// # Ok::<(), callhistory_server::InvalidFault>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a fault does nothing until it is scripted"]
pub struct Fault {
    pub(crate) kind: FaultKind,
    /// An operation, or a path if it begins with a slash; `None` for every operation.
    pub(crate) target: Option<String>,
    /// How many requests fail; `None` for one, or without end if `every` is set.
    times: Option<u64>,
    /// Each request of this number that match.
    every: Option<u64>,
    /// How many requests that match are processed first.
    after: u64,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) delay: Option<Duration>,
}

/// What happens.
impl Fault {
    fn new(kind: FaultKind) -> Self {
        Self { kind, target: None, times: None, every: None, after: 0, retry_after: None, delay: None }
    }

    /// The problem of the contract with this status, such as 409 or 507. The request is not processed. A status that the
    /// contract does not have is an error when the fault is scripted.
    pub fn problem(status: u16) -> Self {
        Self::new(FaultKind::Problem(status))
    }

    /// 429 `rate_limited` with `Retry-After: 1`, or the seconds of [`retry_after`](Self::retry_after).
    pub fn rate_limited() -> Self {
        Self::new(FaultKind::Problem(429))
    }

    /// 503 `unavailable` with `Retry-After: 1`, or the seconds of [`retry_after`](Self::retry_after).
    pub fn unavailable() -> Self {
        Self::new(FaultKind::Problem(503))
    }

    /// 412 `precondition_failed`: somebody else has changed the record.
    pub fn precondition_failed() -> Self {
        Self::new(FaultKind::Problem(412))
    }

    /// 410 `cursor_expired`: the database was restored.
    pub fn cursor_expired() -> Self {
        Self::new(FaultKind::Problem(410))
    }

    /// The request is processed, and its response sent after this time.
    pub fn slow_response(delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::new(FaultKind::SlowResponse) }
    }

    /// The request is processed; the second half of the body is sent after this time.
    pub fn slow_body(delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::new(FaultKind::SlowBody) }
    }

    /// The request is processed; the connection is closed in the middle of the body.
    pub fn cut_body() -> Self {
        Self::new(FaultKind::CutBody)
    }

    /// The request is processed; the body is a complete response with half of the text, which is not valid JSON.
    pub fn broken_json() -> Self {
        Self::new(FaultKind::BrokenJson)
    }

    /// The request is not processed; the connection is closed without a response.
    pub fn drop_request() -> Self {
        Self::new(FaultKind::DropRequest)
    }

    /// The request is processed; the connection is closed without a response.
    pub fn drop_response() -> Self {
        Self::new(FaultKind::DropResponse)
    }
}

/// To which requests it happens. Without these, to the next one of any operation; each attempt of a client is a request.
impl Fault {
    /// Only requests of this operation, such as `list_calls`, or with exactly this path, such as `/v2/api/call-history/a1`.
    pub fn on(mut self, operation_or_path: impl Into<String>) -> Self {
        self.target = Some(operation_or_path.into());
        self
    }

    /// This number of requests.
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// The last of this number of requests, again and again; 1 is every request. Without end unless
    /// [`times`](Self::times) is set.
    pub fn every(mut self, count: u64) -> Self {
        self.every = Some(count);
        self
    }

    /// Not the first requests of this number.
    pub fn after(mut self, count: u64) -> Self {
        self.after = count;
        self
    }

    /// The header `Retry-After` of a problem, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl Fault {
    /// Whether it happens to a request, by the number of those that matched before, and of those that failed.
    pub(crate) fn is_due(&self, matched: u64, served: u64) -> bool {
        let Some(number) = matched.checked_sub(self.after) else { return false };
        let is_last_of_some =
            number.checked_add(1).is_some_and(|number| number.is_multiple_of(self.every.unwrap_or(1)));
        is_last_of_some && !self.is_over(served)
    }

    /// Whether it does not happen again.
    pub(crate) fn is_over(&self, served: u64) -> bool {
        self.times.or(self.every.is_none().then_some(1)).is_some_and(|times| served >= times)
    }

    /// Checks what belongs together.
    pub(crate) fn check(&self) -> Result<(), InvalidFault> {
        let invalid = |reason: String| Err(InvalidFault(reason));
        match self.kind {
            FaultKind::Problem(status) if example(status).is_none() => {
                return invalid(format!("{status} is not a status of a problem; {}", kinds()));
            }
            FaultKind::Problem(_) if self.delay.is_some() => {
                return invalid("delay belongs to slow_response and slow_body".to_owned());
            }
            FaultKind::Problem(_) => {}
            _ if self.retry_after.is_some() => return invalid("retry-after belongs to a status".to_owned()),
            FaultKind::SlowResponse | FaultKind::SlowBody if self.delay.is_none() => {
                return invalid(format!("{} needs a delay, such as delay=2s", self.kind));
            }
            FaultKind::SlowResponse | FaultKind::SlowBody => {}
            _ if self.delay.is_some() => {
                return invalid("delay belongs to slow_response and slow_body".to_owned());
            }
            _ => {}
        }
        match self.every {
            Some(0) => invalid("every=0: the smallest is every=1, which is every request".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The problem that the contract has as the example of a status.
pub(crate) fn example(status: u16) -> Option<ApiError> {
    responses::example(StatusCode::from_u16(status).ok()?)
}

fn kinds() -> String {
    let statuses: Vec<_> = responses::problem_statuses().map(|status| status.as_str().to_owned()).collect();
    let names: Vec<_> = NAMED_KINDS.iter().map(|(name, _)| *name).collect();
    format!("the faults are {} and {}", statuses.join(", "), names.join(", "))
}

/// The end of an error: the most similar of the known names.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest_name(name, known).map(|known| format!("did you mean {known:?}? ")).unwrap_or_default()
}

fn parse_kind(text: &str) -> Result<FaultKind, InvalidFault> {
    let by_name = NAMED_KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    let by_status = || Some(FaultKind::Problem(text.parse().ok().filter(|status| example(*status).is_some())?));
    by_name.or_else(by_status).ok_or_else(|| {
        let guess = suggestion(text, NAMED_KINDS.iter().map(|(name, _)| *name));
        InvalidFault(format!("{text:?} is not a fault; {guess}{}", kinds()))
    })
}

fn parse_number<T: FromStr>(name: &str, text: &str) -> Result<T, InvalidFault> {
    text.parse().map_err(|_| InvalidFault(format!("{name}: {text:?} is not a whole number")))
}

impl FromStr for Fault {
    type Err = InvalidFault;

    /// Reads `[TARGET:]FAULT[*COUNT][,OPTION=VALUE]…`.
    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        // A path can contain colons, and nothing after the target does.
        let (target, rest) = text.rsplit_once(':').map_or((None, text), |(target, rest)| (Some(target), rest));
        let mut parts = rest.split(',').map(str::trim);
        let head = parts.next().unwrap_or_default();
        let (kind, count) = head.split_once('*').map_or((head, None), |(kind, count)| (kind, Some(count)));
        let mut fault = Self::new(parse_kind(kind)?);
        fault.target = target.map(str::to_owned);
        fault.times = count.map(|count| parse_number("the count after *", count)).transpose()?;
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| InvalidFault(format!("{part:?} has no value")))?;
            match name {
                "retry-after" => fault.retry_after = Some(parse_number(name, value)?),
                "after" => fault.after = parse_number(name, value)?,
                "every" => fault.every = Some(parse_number(name, value)?),
                "delay" => {
                    let delay = humantime::parse_duration(value);
                    fault.delay =
                        Some(delay.map_err(|_| {
                            InvalidFault(format!("delay: {value:?} is not a time such as 500ms or 2s"))
                        })?);
                }
                _ => {
                    let guess = suggestion(name, OPTIONS.into_iter());
                    let known = OPTIONS.join(", ");
                    return Err(InvalidFault(format!("{name:?} is not an option; {guess}the options are {known}")));
                }
            }
        }
        fault.check()?;
        Ok(fault)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(status) => write!(f, "{status}"),
            named => f.write_str(NAMED_KINDS.iter().find(|(_, kind)| kind == named).map_or("", |(name, _)| name)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            write!(f, "{target}:")?;
        }
        write!(f, "{}", self.kind)?;
        if let Some(times) = self.times {
            write!(f, "*{times}")?;
        }
        if let Some(seconds) = self.retry_after {
            write!(f, ",retry-after={seconds}")?;
        }
        if let Some(delay) = self.delay {
            write!(f, ",delay={}", humantime::format_duration(delay).to_string().replace(' ', ""))?;
        }
        if self.after > 0 {
            write!(f, ",after={}", self.after)?;
        }
        self.every.map_or(Ok(()), |every| write!(f, ",every={every}"))
    }
}
