//! A page of a list, as every engine makes it.

use callhistory_model::{FieldError, FieldErrorCode, ListQuery, WorkspaceId};

use crate::{
    CallArray, CallPage, StoreError,
    cursor::{ListPosition, Seal},
};

/// A page, and a batch of the feed, ends early with the record that reaches this size, in bytes.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The largest room that is made for a page before its records are known, in bytes.
const MOST_RESERVED: usize = 128 * 1024;

/// Each record of a JSON array, given where they end.
pub(crate) fn each_call<'a>(json: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    // Behind each end stands what comes before the next record.
    let starts = std::iter::once(1).chain(ends.iter().map(|end| end + 1));
    starts.zip(ends).map(|(start, end)| &json[start..*end])
}

/// Records one after the other as they are answered: a page costs one allocation, and not one for each record.
#[derive(Default)]
pub(crate) struct CallArrayBuilder {
    json: Vec<u8>,
    ends: Vec<usize>,
}

impl CallArrayBuilder {
    /// Makes room for so many records that are about as large as this one.
    pub(crate) fn reserve(&mut self, count: usize, body: &[u8]) {
        self.json.reserve((count * (body.len() + body.len() / 8)).min(MOST_RESERVED));
        self.ends.reserve(count);
    }

    pub(crate) fn push(&mut self, body: &[u8]) {
        self.json.push(if self.ends.is_empty() { b'[' } else { b',' });
        self.json.extend_from_slice(body);
        self.ends.push(self.json.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they have together, about.
    pub(crate) fn bytes(&self) -> usize {
        self.json.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        each_call(&self.json, &self.ends)
    }

    fn finish(mut self) -> CallArray {
        if self.is_empty() {
            self.json.push(b'[');
        }
        self.json.push(b']');
        // The room is kept as long as the answer, and longer where it is remembered.
        if self.json.capacity() > self.json.len() * 5 / 4 {
            self.json.shrink_to_fit();
        }
        CallArray { json: self.json.into(), ends: self.ends.into() }
    }
}

/// Records in order.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) calls: CallArrayBuilder,
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
            return Err(StoreError::Refused(FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("page")));
        }
        let next = last.filter(|_| more).map(|last| seal.list(workspace, query, &last));
        Ok(CallPage { calls: calls.finish(), next, total })
    }
}
