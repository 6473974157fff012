//! What is prepared for a write on the thread of its caller: nobody else may wait for it.

use callhistory_model::{CallId, CallRecord, WorkspaceId};

use super::{
    mutation::{WriteWarnings, patch_of_nothing},
    original::PreparedDocument,
    phone_number::NumberingPlan,
    search_terms::have_same_terms,
};
use crate::{
    call_write::{CallWrite, PatchWrite, SentDocument},
    error::StoreError,
};

/// Size from which a write is prepared on a blocking thread, and its terms are made before they are surely needed, in bytes.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;

/// Makes the terms of a record in the format of an engine.
type MakeTerms = fn(&CallRecord, NumberingPlan) -> String;

/// The terms of the record that a write is expected to lead to.
pub(crate) struct PreparedTerms {
    record: CallRecord,
    text: String,
}

impl PreparedTerms {
    #[cfg(feature = "sqlite")]
    pub(crate) fn new(record: CallRecord, text: String) -> Self {
        Self { record, text }
    }

    pub(crate) fn make(record: CallRecord, plan: NumberingPlan, make: MakeTerms) -> Self {
        Self { text: make(&record, plan), record }
    }

    /// The terms of a record: those that were prepared, if it has the same.
    pub(crate) fn text_of(
        prepared: Option<&Self>,
        record: &CallRecord,
        plan: NumberingPlan,
        make: MakeTerms,
    ) -> String {
        match prepared {
            Some(prepared) if have_same_terms(&prepared.record, record) => prepared.text.clone(),
            _ => make(record, plan),
        }
    }
}

/// Runs the preparation of a write, on a blocking thread if it takes long.
pub(crate) async fn prepare<T: Send + 'static>(
    is_large: bool,
    make: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if !is_large {
        return make();
    }
    tokio::task::spawn_blocking(make).await.map_err(|error| StoreError::Internal(error.to_string()))?
}

/// Takes the document of a write.
pub(crate) fn take_document(
    sent: &mut Option<SentDocument>,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Result<Option<PreparedDocument>, StoreError> {
    sent.take().map(|sent| PreparedDocument::prepare(sent, workspace, id)).transpose()
}

/// The write of the record that a patch creates if there is none, if it may.
pub(crate) fn upsert(
    patch: &PatchWrite,
    workspace: &WorkspaceId,
    id: &CallId,
) -> Option<Result<(CallWrite, WriteWarnings), StoreError>> {
    let create = || {
        let (input, warnings) = patch_of_nothing(patch, workspace, id)?;
        Ok((CallWrite { input, handling: patch.handling, sent: None }, warnings))
    };
    patch.is_upsert.then(create)
}
