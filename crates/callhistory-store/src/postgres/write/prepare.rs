//! Writes, prepared by their caller: what follows runs while the workspace is locked.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::{CallId, CallRecord, Timestamp, WorkspaceId};

use crate::{
    call_write::{CallWrite, PatchWrite},
    domain::{
        mutation::{self, WriteWarnings},
        original::PreparedDocument,
        search_terms::{Terms, have_same_terms},
    },
    error::StoreError,
    results::WrittenCall,
};

/// Size from which a write is prepared on a blocking thread, and its terms are made before they are surely needed, in bytes.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;

/// The terms of the record that a write is expected to lead to, as the text of an array.
pub(crate) struct ExpectedTerms {
    record: CallRecord,
    text: String,
}

impl ExpectedTerms {
    fn of(record: CallRecord) -> Arc<Self> {
        Arc::new(Self { text: term_array(&record), record })
    }

    /// Whether these are the terms of a record.
    pub(crate) fn are_of(&self, record: &CallRecord) -> bool {
        have_same_terms(&self.record, record)
    }

    /// The terms of a record as the text of an array: those that were prepared, if it has the same.
    pub(crate) fn text_of(expected: Option<&Self>, record: &CallRecord) -> String {
        match expected {
            Some(expected) if expected.are_of(record) => expected.text.clone(),
            _ => term_array(record),
        }
    }
}

/// A write of a whole record.
#[derive(Clone)]
pub(crate) struct WriteRequest {
    /// Without its document.
    pub(crate) write: CallWrite,
    pub(crate) document: Option<Arc<PreparedDocument>>,
    /// What led to the input without the parser.
    pub(crate) warnings: WriteWarnings,
    pub(crate) expected: Option<Arc<ExpectedTerms>>,
}

impl WriteRequest {
    pub(crate) fn prepare(mut write: CallWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let is_large = write.bytes() > LARGE_BYTES;
        let document = write.sent.take().map(|sent| PreparedDocument::prepare(sent, workspace, id)).transpose()?;
        // The times of the record do not matter, and its size is checked later.
        let expected = || {
            let now = Timestamp::from_unix_nanos(0);
            let (record, _) = mutation::created(write.input.clone(), (workspace, id), &now, usize::MAX).ok()?;
            Some(ExpectedTerms::of(record))
        };
        let expected = if is_large { expected() } else { None };
        Ok(Self { write, document: document.map(Arc::new), warnings: WriteWarnings::default(), expected })
    }

    pub(crate) async fn make(write: CallWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let (bytes, own) = (write.bytes(), (workspace.clone(), id.clone()));
        prepare(bytes, move || Self::prepare(write, &own.0, &own.1)).await
    }
}

/// Prepares a write on the thread of its caller, or on a blocking one if it takes long.
async fn prepare<T: Send + 'static>(
    bytes: usize,
    make: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if bytes <= LARGE_BYTES {
        return make();
    }
    tokio::task::spawn_blocking(make).await.map_err(|error| StoreError::Internal(error.to_string()))?
}

/// What a patch did.
pub(crate) enum PatchReply {
    /// The record, if there is one.
    Written(Option<WrittenCall>),
    /// Nothing: the terms of the large record that it leads to must be made first, while the workspace is not locked.
    WantsTerms(Arc<CallRecord>),
}

/// A patch.
#[derive(Clone)]
pub(crate) struct PatchRequest {
    /// Without its document.
    pub(crate) write: PatchWrite,
    pub(crate) document: Option<Arc<PreparedDocument>>,
    pub(crate) expected: Option<Arc<ExpectedTerms>>,
    /// Whether it may write a large record whose terms are not prepared: the record changed once more in the meantime.
    is_last: bool,
    /// The record that it creates if there is none, if it may.
    pub(crate) created: Option<Result<WriteRequest, StoreError>>,
}

impl PatchRequest {
    pub(crate) async fn make(write: PatchWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let bytes = write.sent.as_ref().map_or(0, |sent| sent.body.len());
        let own = (workspace.clone(), id.clone());
        prepare(bytes, move || Self::prepare(write, &own.0, &own.1)).await
    }

    fn prepare(mut write: PatchWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let document = write.sent.take().map(|sent| PreparedDocument::prepare(sent, workspace, id)).transpose()?;
        let document = document.map(Arc::new);
        let create = || {
            let (input, warnings) = mutation::patch_of_nothing(&write, workspace, id)?;
            let call = CallWrite { input, handling: write.handling, sent: None };
            Ok(WriteRequest { write: call, document: document.clone(), warnings, expected: None })
        };
        let created = write.is_upsert.then(create);
        Ok(Self { write, document, created, expected: None, is_last: false })
    }

    /// The large record that the patch leads to, if its terms must be prepared first.
    pub(crate) fn wanted_terms(
        &self,
        before: &CallRecord,
        after: Option<&(CallRecord, Bytes)>,
    ) -> Option<Arc<CallRecord>> {
        let (record, body) = after.filter(|_| !self.is_last)?;
        let is_wanted = body.len() > LARGE_BYTES && !have_same_terms(before, record);
        is_wanted.then(|| Arc::new(record.clone()))
    }

    /// The second attempt, with the terms that the first one wanted.
    pub(crate) async fn with_terms(self, wanted: Arc<CallRecord>) -> Result<Self, StoreError> {
        let made = tokio::task::spawn_blocking(move || ExpectedTerms::of(Arc::unwrap_or_clone(wanted))).await;
        let expected = made.map_err(|error| StoreError::Internal(error.to_string()))?;
        Ok(Self { expected: Some(expected), is_last: true, ..self })
    }
}

/// The terms of a record as the text of an array.
fn term_array(record: &CallRecord) -> String {
    use std::fmt::Write as _;
    let terms = Terms::new(&record.workspace_id).of(record);
    let mut text = String::with_capacity(2 + terms.len() * 21);
    for term in terms {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", term.number());
    }
    text.push('}');
    text
}
