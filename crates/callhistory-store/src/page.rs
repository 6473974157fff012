//! A page of a list, as every engine makes it.

use callhistory_model::{Fault, FaultCode, ListQuery, WorkspaceId};

use crate::{
    CallPage, Calls, StoreError,
    cursor::{ListPosition, Seal},
};

/// A page, and a batch of the feed, ends early with the record that reaches this size, in bytes.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Records in order.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) calls: Calls,
    /// The place of the last of them.
    pub(crate) last: Option<ListPosition>,
    /// Whether there are more after them.
    pub(crate) more: bool,
}

impl Page {
    /// The answer to a query, with the cursor of the page after this one.
    pub(crate) fn answer(
        self,
        workspace: &WorkspaceId,
        query: &ListQuery,
        total: Option<u64>,
        seal: &Seal,
    ) -> Result<CallPage, StoreError> {
        let Self { calls, last, more } = self;
        if more && query.page.is_some() && calls.len() < query.page_size() {
            let detail =
                "has records so large that pages end early, and numbers would leave some out; follow the header Link";
            return Err(StoreError::Refused(Fault::new(FaultCode::OutOfRange, detail).of_parameter("page")));
        }
        let next = last.filter(|_| more).map(|last| seal.list(workspace, query, &last));
        Ok(CallPage { calls, next, total })
    }
}
