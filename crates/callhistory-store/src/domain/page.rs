//! A page of a list, the same for every engine.

use callhistory_model::{FieldError, FieldErrorCode, ListQuery, WorkspaceId};

use super::cursor::{CursorSigner, ListPosition};
use crate::{
    error::StoreError,
    results::{CallArrayBuilder, CallPage},
};

/// Size at which a page, and a batch of the feed, ends early, in bytes.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Records in the order of a list.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) calls: CallArrayBuilder,
    /// The position of the last record.
    pub(crate) last: Option<ListPosition>,
    /// Whether more records follow.
    pub(crate) more: bool,
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
        let Self { calls, last, more } = self;
        if more && query.page.is_some() && calls.len() < query.page_size() {
            let detail =
                "has records so large that pages end early and page numbers would skip records; follow the Link header";
            return Err(StoreError::Refused(FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("page")));
        }
        let next = last.filter(|_| more).map(|last| signer.sign_list(workspace, query, &last));
        Ok(CallPage { calls: calls.finish(), next, total })
    }
}
