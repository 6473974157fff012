//! Writes, prepared by their caller: what follows runs while the workspace is locked.

use std::sync::Arc;

use bytes::Bytes;
use callhistory_model::{CallId, CallRecord, Timestamp, WorkspaceId};

use crate::{
    call_write::{CallWrite, PatchWrite},
    domain::{
        mutation::{self, WriteWarnings},
        original::PreparedDocument,
        phone_number::NumberingPlan,
        prepared::{LARGE_BYTES, PreparedTerms, prepare, take_document, upsert},
        search_terms::{Terms, have_same_terms},
    },
    error::StoreError,
    results::WrittenCall,
};

/// A write of a whole record.
#[derive(Clone)]
pub(crate) struct WriteRequest {
    /// Without its document.
    pub(crate) write: CallWrite,
    pub(crate) document: Option<Arc<PreparedDocument>>,
    /// What led to the input without the parser.
    pub(crate) warnings: WriteWarnings,
    pub(crate) expected: Option<Arc<PreparedTerms>>,
}

impl WriteRequest {
    pub(crate) fn prepare(
        mut write: CallWrite,
        (workspace, id): (&WorkspaceId, &CallId),
        plan: NumberingPlan,
    ) -> Result<Self, StoreError> {
        let is_large = write.bytes() > LARGE_BYTES;
        let document = take_document(&mut write.sent, workspace, id)?;
        // The times of the record do not matter, and its size is checked later.
        let expected = || {
            let now = Timestamp::from_unix_nanos(0);
            let (record, _) = mutation::create(write.input.clone(), (workspace, id), &now, usize::MAX).ok()?;
            Some(Arc::new(PreparedTerms::make(record, plan, term_array)))
        };
        let expected = if is_large { expected() } else { None };
        Ok(Self { write, document: document.map(Arc::new), warnings: WriteWarnings::default(), expected })
    }

    pub(crate) async fn make(
        write: CallWrite,
        (workspace, id): (&WorkspaceId, &CallId),
        plan: NumberingPlan,
    ) -> Result<Self, StoreError> {
        let (is_large, own) = (write.bytes() > LARGE_BYTES, (workspace.clone(), id.clone()));
        prepare(is_large, move || Self::prepare(write, (&own.0, &own.1), plan)).await
    }
}

/// What a patch did.
pub(crate) enum PatchReply {
    /// The record, if there is one.
    Written(Option<WrittenCall>),
    /// Nothing: the terms of the large record that it leads to must be made first, while the workspace is not locked.
    WantsTerms(Box<CallRecord>),
}

/// A patch.
#[derive(Clone)]
pub(crate) struct PatchRequest {
    /// Without its document.
    pub(crate) write: PatchWrite,
    pub(crate) document: Option<Arc<PreparedDocument>>,
    pub(crate) expected: Option<Arc<PreparedTerms>>,
    /// Whether it may write a large record whose terms are not prepared: the record changed once more in the meantime.
    is_last: bool,
    /// The record that it creates if there is none, if it may.
    pub(crate) created: Option<Result<WriteRequest, StoreError>>,
}

impl PatchRequest {
    pub(crate) async fn make(write: PatchWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let is_large = write.sent.as_ref().is_some_and(|sent| sent.body.len() > LARGE_BYTES);
        let own = (workspace.clone(), id.clone());
        prepare(is_large, move || Self::prepare(write, &own.0, &own.1)).await
    }

    fn prepare(mut write: PatchWrite, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let document = take_document(&mut write.sent, workspace, id)?;
        let document = document.map(Arc::new);
        let created = upsert(&write, workspace, id).map(|created| {
            let (write, warnings) = created?;
            Ok(WriteRequest { write, document: document.clone(), warnings, expected: None })
        });
        Ok(Self { write, document, created, expected: None, is_last: false })
    }

    /// The large record that the patch leads to, if its terms must be prepared first.
    pub(crate) fn wanted_terms(
        &self,
        before: &CallRecord,
        after: Option<&(CallRecord, Bytes)>,
    ) -> Option<Box<CallRecord>> {
        let (record, body) = after.filter(|_| !self.is_last)?;
        let is_wanted = body.len() > LARGE_BYTES && !have_same_terms(before, record);
        is_wanted.then(|| Box::new(record.clone()))
    }

    /// The second attempt, with the terms that the first one wanted.
    pub(crate) async fn with_terms(self, wanted: Box<CallRecord>, plan: NumberingPlan) -> Result<Self, StoreError> {
        let expected = prepare(true, move || Ok(PreparedTerms::make(*wanted, plan, term_array))).await?;
        Ok(Self { expected: Some(Arc::new(expected)), is_last: true, ..self })
    }
}

/// The terms of a record as the text of an array.
pub(super) fn term_array(record: &CallRecord, plan: NumberingPlan) -> String {
    use std::fmt::Write as _;
    let terms = Terms::new(&record.workspace_id).of(record, plan);
    let mut text = String::with_capacity(2 + terms.len() * 21);
    for term in terms {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", term.number());
    }
    text.push('}');
    text
}
