//! Exports.

use bytes::Bytes;
use callhistory_model::{CallFilter, Sort, WorkspaceId};
use rusqlite::Connection;

use super::list::Listing;
use crate::{
    concurrency::export_stream,
    domain::{options::StoreOptions, page::Page},
    error::StoreError,
};

/// Sends all matching records in chunks, until there are no more or `send` returns false.
pub(crate) fn export_calls(
    db: &Connection,
    workspace: &WorkspaceId,
    filter: &CallFilter,
    options: StoreOptions,
    mut send: impl FnMut(Bytes) -> bool,
) -> Result<(), StoreError> {
    let listing = Listing::new(db, workspace, filter, Sort::default(), options);
    let mut after = None;
    let new_chunk = || Vec::with_capacity(export_stream::CHUNK_BYTES * 9 / 8);
    let mut chunk: Vec<u8> = new_chunk();
    loop {
        let Page { calls, last, more, .. } = listing.next_part(after.as_ref(), export_stream::PAGE)?;
        for call in calls.iter() {
            chunk.extend_from_slice(call);
            chunk.push(b'\n');
            if chunk.len() >= export_stream::CHUNK_BYTES && !send(std::mem::replace(&mut chunk, new_chunk()).into()) {
                return Err(StoreError::Unavailable("the reader of an export is gone or too slow".to_owned()));
            }
        }
        after = last;
        if !more {
            break;
        }
    }
    if !chunk.is_empty() {
        send(chunk.into());
    }
    Ok(())
}
