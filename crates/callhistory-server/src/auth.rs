//! Who asks, and what they may: keys, scopes, and the workspace of a request.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, header, request::Parts},
};
use callhistory_model::{
    CallFilter, CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, ProblemCode, Timestamp, WorkspaceId,
};
use callhistory_store::{ApiKey, ApiKeyStore, Scope};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{app::App, error::ApiError, extract::single, rates::Buckets};

const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(crate) const WRONG_KEY: &str = "The key is not one of this service.";
/// Said whether the workspace exists or not.
pub(crate) const OTHER_WORKSPACE: &str = "The key is of another workspace than x-workspace-id says.";
/// How long a key that was read is taken as it was: revoking one is felt within this time.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_millis(500);
/// How often the use of a key is noted.
const USE_INTERVAL_NANOS: i64 = 60_000_000_000;
/// Keys that are remembered at a time.
const MAX_REMEMBERED: usize = 10_000;

/// A key as its owner has it: `ch_live_<id>_<secret>_<checksum>`, the id of 12 hexadecimal digits, the secret of 64, the
/// checksum of 8. The prefix and the checksum let scanners for leaked secrets find it and tell it from a made-up one.
pub struct Token(String);

impl Token {
    const PREFIX: &str = "ch_live_";
    /// Random bytes of a key: six of its id, and 32 of its secret.
    pub const RANDOM_BYTES: usize = 38;

    /// A new key.
    #[must_use]
    pub fn new(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(6);
        let text = format!("{}{}_{}", Self::PREFIX, hex(id), hex(secret));
        Self(format!("{text}_{}", checksum(&text)))
    }

    /// Reads what a caller sent; `None` where it cannot be a key.
    fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.rsplit_once('_')?;
        let (id, secret) = body.strip_prefix(Self::PREFIX)?.split_once('_')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let sound = id.len() == 12 && secret.len() == 64 && is_hex(id) && is_hex(secret) && checksum(body) == sum;
        sound.then(|| Self(text.to_owned()))
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[Self::PREFIX.len()..Self::PREFIX.len() + 12]
    }

    /// What is kept of it. 256 random bits need no slow hash: there is nothing to guess.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Self::digest_of(&self.0)
    }

    fn digest_of(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    /// What would be the public part of a text.
    fn id_in(text: &str) -> Option<&str> {
        text.strip_prefix(Self::PREFIX)?.split('_').next()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text)[..4])
}

/// The keys of the service, each remembered for a moment.
pub(crate) struct Keys {
    store: Arc<dyn ApiKeyStore>,
    remembered: Mutex<HashMap<String, (Arc<ApiKey>, Instant)>>,
}

impl Keys {
    pub(crate) fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// Whether keys can be looked up; one that there is not does as well.
    pub(crate) async fn can_be_read(&self) -> bool {
        self.store.find_key("").await.is_ok()
    }

    /// The key with this id, if it was read a moment ago.
    fn recent(&self, id: &str) -> Option<Arc<ApiKey>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(id).filter(|(_, read)| read.elapsed() < KEY_LIFETIME).map(|(key, _)| Arc::clone(key))
    }

    /// The key with this id. One that does not exist is not remembered: it may be made at any time.
    async fn find(&self, id: &str) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Instant::now();
        let found = self.store.find_key(id).await?.map(Arc::new);
        let mut remembered = remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        match &found {
            Some(key) => drop(remembered.insert(id.to_owned(), (Arc::clone(key), read))),
            None => drop(remembered.remove(id)),
        }
        Ok(found)
    }

    /// What a caller who sent this may do. A key that is wrong is answered the same whatever is wrong with it; only who has
    /// the right secret learns that it is over.
    async fn check(&self, sent: &str, now: i64) -> Result<Arc<ApiKey>, ApiError> {
        let wrong = || ApiError::new(ProblemCode::KeyInvalid, WRONG_KEY);
        let recent = Token::id_in(sent).and_then(|id| self.recent(id));
        let found = match recent {
            Some(key) => Some(key),
            // Only what may be a key is looked up.
            None => self.find(Token::parse(sent).ok_or_else(wrong)?.id()).await?,
        };
        // Compared in any case, so that the time does not tell whether there is a key with this id.
        let digest = found.as_ref().map_or([0; 32], |key| key.digest);
        let is_right = bool::from(Token::digest_of(sent).ct_eq(&digest));
        let key = found.filter(|_| is_right).ok_or_else(wrong)?;
        if key.is_revoked(now) {
            return Err(ApiError::new(ProblemCode::KeyRevoked, "The key has been revoked."));
        }
        if key.is_expired(now) {
            return Err(ApiError::new(ProblemCode::KeyExpired, "The key has expired."));
        }
        self.mark_used(&key, now);
        Ok(key)
    }

    /// Whether a key that was right is no longer accepted.
    async fn is_over(&self, key: &ApiKey, now: i64) -> bool {
        let found = match self.recent(&key.id) {
            Some(key) => Ok(Some(key)),
            None => self.find(&key.id).await,
        };
        match found {
            Ok(Some(found)) if found.digest == key.digest && !found.is_revoked(now) && !found.is_expired(now) => {
                self.mark_used(&found, now);
                false
            }
            Ok(_) => true,
            // A store that does not answer says nothing about the key.
            Err(_) => false,
        }
    }

    /// Notes the use of a key now and then, and lets nobody wait for that.
    fn mark_used(&self, key: &ApiKey, now: i64) {
        let is_noted = |at: &Timestamp| now - at.unix_nanos() < USE_INTERVAL_NANOS;
        if key.used_at.as_ref().is_some_and(is_noted) {
            return;
        }
        let now = Timestamp::from_unix_nanos(now);
        let noted = Arc::new(ApiKey { used_at: Some(now.clone()), ..key.clone() });
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, _)) = remembered.get_mut(&key.id) {
            *key = noted;
        }
        drop(remembered);
        let (store, id) = (Arc::clone(&self.store), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.mark_key_used(&id, now).await {
                tracing::warn!(%error, "the use of a key could not be noted");
            }
        });
    }
}

/// What the key of a request allows, and the request's way to ask again.
#[derive(Clone)]
pub(crate) struct Access {
    app: Arc<App>,
    /// `None` where the service takes no keys.
    key: Option<Arc<ApiKey>>,
}

impl Access {
    fn allows(&self, scope: Scope) -> bool {
        self.key.as_ref().is_none_or(|key| key.scopes.contains(&scope))
    }

    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.allows(scope) {
            return Ok(());
        }
        let detail = format!("The key does not have the scope {scope}, which this needs.");
        Err(ApiError::new(ProblemCode::InsufficientScope, detail))
    }

    fn bucket(&self) -> Option<(&Buckets, &str)> {
        Some((self.app.buckets.as_ref()?, &self.key.as_ref()?.id))
    }

    /// Counts records that are about to be read, up to so many.
    pub(crate) fn spend_records(&self, count: usize) -> Result<(), ApiError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.bucket().map_or(Ok(()), |(buckets, key)| buckets.spend_records(key, count))
    }

    /// Slows a stream of records down to what the key may read. They are counted only where that is bounded.
    pub(crate) async fn pace(&self, count: impl FnOnce() -> usize) {
        if let Some((buckets, key)) = self.bucket() {
            buckets.pace(key, u32::try_from(count()).unwrap_or(u32::MAX)).await;
        }
    }

    /// Whether this caller sees records as they are.
    pub(crate) fn shows_all(&self) -> bool {
        self.allows(Scope::PhoneNumbersRead)
    }

    /// A record as this caller may see it.
    pub(crate) fn show(&self, body: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.shows_all() {
            return Ok(body);
        }
        CallRecord::redact_phone_numbers(&body).map(Into::into).map_err(|error| ApiError::internal(&error))
    }

    /// The same for records that each have a line.
    pub(crate) fn show_lines(&self, lines: bytes::Bytes) -> Result<bytes::Bytes, ApiError> {
        if self.shows_all() {
            return Ok(lines);
        }
        let mut shown = Vec::with_capacity(lines.len());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = CallRecord::redact_phone_numbers(line).map_err(|error| ApiError::internal(&error))?;
            shown.extend_from_slice(line.as_bytes());
            shown.push(b'\n');
        }
        Ok(shown.into())
    }

    /// An answer, counted until it is sent.
    pub(crate) fn keep<T>(&self, body: T) -> Result<bytes::Bytes, ApiError>
    where
        T: AsRef<[u8]> + Into<bytes::Bytes> + Send + 'static,
    {
        self.app.memory.keep(body)
    }

    /// Refuses to write a phone number that was read masked: the real one would be lost.
    pub(crate) fn check_numbers(&self, from: Option<&str>, to: Option<&str>) -> Result<(), FieldErrors> {
        let numbers = [("/fromPhoneNumber", from), ("/toPhoneNumber", to)];
        let is_lost = |number: &str| CallRecord::is_redacted(number) && !self.allows(Scope::PhoneNumbersRead);
        let masked = numbers.into_iter().filter(|(_, number)| number.is_some_and(is_lost));
        let error = |(pointer, _): (&str, _)| {
            let detail = format!("is masked; leave it out, or use a key with the scope {}", Scope::PhoneNumbersRead);
            FieldError::new(FieldErrorCode::NotWritable, detail).prefix_pointer(pointer)
        };
        let errors: Vec<_> = masked.map(error).collect();
        if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
    }

    pub(crate) fn check_input(&self, input: &CallInput) -> Result<(), FieldErrors> {
        self.check_numbers(input.from_phone_number.as_deref(), input.to_phone_number.as_deref())
    }

    /// Refuses a filter whose answer would tell phone numbers to those who may not see them.
    pub(crate) fn check_filter(&self, filter: &CallFilter) -> Result<(), ApiError> {
        let asks = filter.from_phone_number.is_some()
            || filter.to_phone_number.is_some()
            || filter.phone_number.is_some()
            || filter.search.as_ref().is_some_and(|search| search.chars().any(char::is_numeric));
        if asks { self.require(Scope::PhoneNumbersRead) } else { Ok(()) }
    }

    /// Ends when the key is no longer accepted; never, where there are no keys.
    pub(crate) async fn ended(&self) {
        let (Some(keys), Some(key)) = (&self.app.keys, &self.key) else { return std::future::pending().await };
        while !keys.is_over(key, self.app.now_nanos()).await {
            tokio::time::sleep(KEY_LIFETIME).await;
        }
    }
}

/// What an operation needs.
pub(crate) trait Needs: Send {
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($name:ident: $scope:ident;)+) => {
        $(pub(crate) struct $name;

        impl Needs for $name {
            const SCOPE: Scope = Scope::$scope;
        })+
    };
}

needs! {
    Reads: CallsRead;
    Writes: CallsWrite;
    Deletes: CallsDelete;
    Exports: CallsExport;
}

/// Who asks: a caller who may do what the operation is, in this workspace. Without keys, whoever names it.
pub(crate) struct Caller<N> {
    pub(crate) workspace: WorkspaceId,
    pub(crate) access: Access,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<App>> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let mut access = Access { app: Arc::clone(app), key: None };
        if let Some(keys) = &app.keys {
            check_query(parts)?;
            let sent = sent_key(parts)?;
            let key = keys.check(sent, app.now_nanos()).await?;
            if let Some(buckets) = &app.buckets {
                buckets.spend_request(&key.id, parts.extensions.get())?;
            }
            access.key = Some(key);
        }
        let workspace = workspace(parts)?;
        let bound = access.key.as_ref().and_then(|key| key.workspace.as_ref());
        if bound.is_some_and(|bound| *bound != workspace) {
            return Err(ApiError::new(ProblemCode::WorkspaceForbidden, OTHER_WORKSPACE));
        }
        access.require(N::SCOPE)?;
        Ok(Self { workspace, access, needs: PhantomData })
    }
}

fn workspace(parts: &Parts) -> Result<WorkspaceId, ApiError> {
    let refuse = |error: FieldError| ApiError::invalid_header(error.in_parameter(WORKSPACE_ID.as_str()));
    let value = single(parts, &WORKSPACE_ID)?
        .ok_or_else(|| refuse(FieldError::new(FieldErrorCode::Missing, "is required: the id of the workspace")))?;
    let text = value.to_str().map_err(|_| {
        refuse(FieldError::new(FieldErrorCode::InvalidId, "has bytes that are not visible ASCII characters"))
    })?;
    text.parse().map_err(refuse)
}

/// Refuses a key in the query string by name: addresses end up in logs, histories and referrers.
fn check_query(parts: &Parts) -> Result<(), ApiError> {
    let names = ["apikey", "xapikey", "key", "token", "accesstoken", "authorization"];
    let Some(query) = parts.uri.query() else { return Ok(()) };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        if names.contains(&plain.to_ascii_lowercase().as_str()) || value.starts_with(Token::PREFIX) {
            let detail = "a key is not taken from the query string, which ends up in logs; send it as x-api-key, and \
                          revoke it if it was a real one";
            let error = FieldError::new(FieldErrorCode::Unknown, detail).in_parameter(name);
            return Err(ApiError::invalid_parameters(vec![error]));
        }
    }
    Ok(())
}

/// The key that a request carries, in one of two headers.
fn sent_key(parts: &Parts) -> Result<&str, ApiError> {
    let plain = single(parts, &API_KEY)?;
    let bearer = single(parts, &header::AUTHORIZATION)?;
    let value = match (plain, bearer) {
        (Some(_), Some(_)) => {
            let error =
                FieldError::new(FieldErrorCode::Conflict, "stands beside Authorization; send the key in one of them");
            return Err(ApiError::invalid_header(error.in_parameter(API_KEY.as_str())));
        }
        (None, None) => {
            let detail = "A key is needed, as x-api-key: KEY or as Authorization: Bearer KEY.";
            return Err(ApiError::new(ProblemCode::KeyMissing, detail));
        }
        (Some(value), None) => value.to_str().ok(),
        (None, Some(value)) => value.to_str().ok().and_then(|text| {
            let (scheme, key) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start_matches(' '))
        }),
    };
    // What is no key is a wrong key.
    Ok(value.unwrap_or_default())
}

/// What is accepted as a key is the text of the key that its own bytes make.
#[cfg(fuzzing)]
pub fn assert_only_keys_parse(text: &str) {
    // With its checksum as well, which no mutation finds.
    for text in [text, &format!("{text}_{}", checksum(text))] {
        let Some(token) = Token::parse(text) else { continue };
        assert_is_created(&token, text);
    }
}

#[cfg(fuzzing)]
#[expect(clippy::unwrap_used, reason = "a fuzz target fails by a panic")]
fn assert_is_created(token: &Token, text: &str) {
    let digits: String = text[Token::PREFIX.len()..].split('_').take(2).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    let random: [u8; Token::RANDOM_BYTES] = std::array::from_fn(byte);
    assert_eq!(Token::new(&random).as_str(), text);
    assert_eq!(token.id(), Token::id_in(text).unwrap());
}
