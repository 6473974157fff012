//! Exports.

use bytes::Bytes;
use callhistory_model::{ExportQuery, SortKey, WorkspaceId};
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
    query: &ExportQuery,
    options: StoreOptions,
    mut send: impl FnMut(Bytes) -> bool,
) -> Result<(), StoreError> {
    let sort = query.sort;
    let listing = Listing {
        has_transcripts: query.has_transcripts(),
        ..Listing::new(db, workspace, &query.filter, sort, options)
    };
    let mut chunk = new_chunk();
    if matches!(sort.key, SortKey::Duration | SortKey::Cost) {
        // Not every record has the number: those with it and those without are two lists.
        for has_number in [!sort.ascending, sort.ascending] {
            export_part(&listing.having(&query.filter, has_number), &mut chunk, &mut send)?;
        }
    } else {
        export_part(&listing, &mut chunk, &mut send)?;
    }
    if !chunk.is_empty() {
        send(chunk.into());
    }
    Ok(())
}

fn new_chunk() -> Vec<u8> {
    Vec::with_capacity(export_stream::CHUNK_BYTES * 9 / 8)
}

/// Adds the records of a list to the chunk, and sends each one that is full.
fn export_part(
    listing: &Listing<'_>,
    chunk: &mut Vec<u8>,
    send: &mut impl FnMut(Bytes) -> bool,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let Page { calls, last, more, .. } = listing.next_part(after.as_ref(), export_stream::PAGE)?;
        for call in calls.iter() {
            chunk.extend_from_slice(call);
            chunk.push(b'\n');
            if chunk.len() >= export_stream::CHUNK_BYTES && !send(std::mem::replace(chunk, new_chunk()).into()) {
                return Err(StoreError::Unavailable("the reader of an export is gone or too slow".to_owned()));
            }
        }
        after = last;
        if !more {
            return Ok(());
        }
    }
}
