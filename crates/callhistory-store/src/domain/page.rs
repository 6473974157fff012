//! A page of a list, the same for every engine.

use callhistory_model::{FieldError, FieldErrorCode, ListQuery, WorkspaceId};

use super::{
    cursor::{CursorSigner, ListPosition},
    strategy::Strategy,
};
use crate::{
    error::StoreError,
    results::{CallArrayBuilder, CallPage},
};

/// Size at which a page, and a batch of the feed, ends early, in bytes.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Whether the records of a list have their transcripts.
pub(crate) fn has_transcripts(query: &ListQuery) -> bool {
    query.fields.is_empty() || query.fields.iter().any(|name| name == "transcript")
}

/// The window of a page in a list.
#[derive(Clone, Copy)]
pub(crate) struct PageWindow<'a> {
    pub(crate) after: Option<&'a ListPosition>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

impl PageWindow<'_> {
    /// The number of records to find; one more than the page tells whether there is a next page.
    pub(crate) fn wanted(self) -> usize {
        self.limit + self.offset + 1
    }
}

/// Records in the order of a list.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) calls: CallArrayBuilder,
    /// The position of the last record.
    pub(crate) last: Option<ListPosition>,
    /// Whether more records follow.
    pub(crate) more: bool,
    /// The strategy that found the records; of a page in two parts, that of the last one.
    pub(crate) strategy: Option<Strategy>,
}

impl Page {
    /// The response to a query, with the cursor of the next page.
    pub(crate) fn finish(
        self,
        workspace: &WorkspaceId,
        query: &ListQuery,
        total: Option<u64>,
        signer: &CursorSigner,
    ) -> Result<CallPage, StoreError> {
        let Self { calls, last, more, strategy } = self;
        let strategy = strategy.map_or("none", Strategy::name);
        tracing::debug!(strategy, records = calls.len(), "a page was found");
        if more && query.page.is_some() && calls.len() < query.page_size() {
            let detail =
                "has records so large that pages end early and page numbers would skip records; follow the Link header";
            return Err(StoreError::Refused(FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("page")));
        }
        let next = last.filter(|_| more).map(|last| signer.sign_list(workspace, query, &last));
        Ok(CallPage { calls: calls.finish(), next, total, strategy })
    }
}
