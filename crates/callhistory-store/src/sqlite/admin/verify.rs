//! Verifies a whole database: every page, every record, and everything that repeats what records say.

use std::{path::Path, thread, time::Duration};

use callhistory_model::{CallId, CallRecord, WorkspaceId};
use rusqlite::{Connection, Row};
use twox_hash::XxHash3_64;

use crate::{
    domain::{original::OriginalRow, phone_number::NumberingPlan, record_digest::RecordDigest, search_terms::Terms},
    error::StoreError,
    partial_file::sibling,
    results::StoredCall,
    sql::ORIGINAL_COLUMNS,
    sqlite::{
        page_checksum::verify_page,
        read::{
            fulltext::{first_position, push_text},
            get::record_bytes,
            originals::original_row,
        },
        write::{columns::has_columns, reindex::numbering_plan},
    },
};

/// A checkpoint can write a page while it is read; a page that fails this often is damaged.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Verifies one page in the file; `None` after the last one.
pub(crate) fn is_page_sound(db: &Connection, number: u32) -> Option<bool> {
    for attempt in 1..=ATTEMPTS {
        if verify_page(db, number)? {
            return Some(true);
        }
        if attempt < ATTEMPTS {
            thread::sleep(PAUSE);
        }
    }
    Some(false)
}

/// Reads a whole database; returns the first damage that it finds. Only metrics are left to [`are_consistent`].
///
/// [`are_consistent`]: crate::sqlite::columnar::rebuild::are_consistent
pub(crate) fn damage(db: &Connection) -> Result<Option<String>, StoreError> {
    // A power failure can tear a page that a checkpoint was writing. The WAL has it then, and what is read below is verified.
    let has_wal =
        db.path().is_some_and(|path| sibling(Path::new(path), "-wal").metadata().is_ok_and(|wal| wal.len() > 0));
    for number in 1.. {
        match is_page_sound(db, number) {
            Some(true) => {}
            Some(false) if has_wal => {}
            Some(false) => return Ok(Some(format!("page {number} does not match its checksum"))),
            None => break,
        }
    }
    let result: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if result != "ok" {
        // The text names pages and indexes, and can contain a value.
        return Ok(Some(result.lines().next().unwrap_or_default().chars().take(100).collect()));
    }
    // One snapshot, because a server can write meanwhile.
    db.execute_batch("BEGIN")?;
    let compared = compare(db);
    // An error can have ended the transaction already, and is more specific than a failed COMMIT.
    let ended = db.execute_batch("COMMIT");
    let compared = compared?;
    ended?;
    Ok(compared)
}

/// Compares the columns, the terms and the feed with the records.
fn compare(db: &Connection) -> Result<Option<String>, StoreError> {
    let (mut records, mut expected, plan) = (0_u64, TermSum::default(), numbering_plan(db)?);
    let mut statement = db.prepare(
        "SELECT workspace_id, id, position, sequence, digest, transcript_digest, body, transcript FROM call",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        records += 1;
        if let Some(damage) = compare_record(db, row, plan, &mut expected)? {
            // Without its ID, which can be personal data.
            return Ok(Some(format!("a record {damage}; records before it: {}", records - 1)));
        }
    }
    if indexed_terms(db)? != expected {
        return Ok(Some("the full-text index differs from the records".to_owned()));
    }
    let orphans = "SELECT count(*) FROM (SELECT 1 FROM call c LEFT JOIN change h
             ON h.workspace_id = c.workspace_id AND h.sequence = c.sequence AND h.id = c.id
         WHERE h.id IS NULL LIMIT 1)";
    if db.query_row(orphans, [], |row| row.get::<_, i64>(0))? > 0 {
        return Ok(Some("a record has no change in the feed".to_owned()));
    }
    compare_originals(db)
}

/// Compares the originals with their digests, their order and their records.
fn compare_originals(db: &Connection) -> Result<Option<String>, StoreError> {
    let text = format!(
        "SELECT {ORIGINAL_COLUMNS}, o.body, o.workspace_id, o.id, c.id IS NOT NULL FROM original o
         LEFT JOIN call c ON c.workspace_id = o.workspace_id AND c.id = o.id"
    );
    let mut statement = db.prepare(&text)?;
    let mut rows = statement.query([])?;
    let mut originals = 0_u64;
    while let Some(row) = rows.next()? {
        let (original, digest) = original_row(row)?;
        let original = OriginalRow { body: row.get::<_, Vec<u8>>(9)?.into(), ..original };
        let (workspace, id): (String, String) = (row.get(10)?, row.get(11)?);
        let damage = match (row.get(12)?, original.original((&workspace, &id), digest)) {
            (true, Ok(_)) => None,
            (true, Err(_)) => Some("does not match its digest"),
            (false, _) => Some("has no record"),
        };
        if let Some(damage) = damage {
            return Ok(Some(format!("an original {damage}; originals before it: {originals}")));
        }
        originals += 1;
    }
    Ok(None)
}

/// Compares one record with its digest and its columns, and adds its terms; returns what differs.
fn compare_record(
    db: &Connection,
    row: &Row<'_>,
    plan: NumberingPlan,
    terms: &mut TermSum,
) -> Result<Option<&'static str>, StoreError> {
    let (workspace, id): (String, String) = (row.get(0)?, row.get(1)?);
    let (position, bytes): (i64, _) = (row.get(2)?, record_bytes(row, 6)?);
    let digest = RecordDigest { record: row.get(4)?, transcript: row.get(5)? };
    if digest.verify(&workspace, &id, bytes).is_err() {
        return Ok(Some("does not match its digest"));
    }
    let body = bytes.to_json();
    let Ok(record) = serde_json::from_slice::<CallRecord>(&body) else { return Ok(Some("cannot be read")) };
    let is_it = workspace.parse::<WorkspaceId>().is_ok_and(|own| own == record.workspace_id)
        && id.parse::<CallId>().is_ok_and(|own| own == record.id);
    let call = StoredCall { sequence: row.get(3)?, body };
    if !is_it
        || first_position(record.sort_time_nanos()) != first_position(position)
        || !has_columns(db, position, (&record, plan), &call)?
    {
        return Ok(Some("differs from its columns"));
    }
    for term in Terms::new(&record.workspace_id).of(&record, plan) {
        let mut text = String::with_capacity(16);
        push_text(&mut text, term);
        terms.add(&text, position);
    }
    Ok(None)
}

/// A sum over all terms of all records, in any order.
#[derive(Debug, Default, PartialEq, Eq)]
struct TermSum {
    count: u64,
    sum: u64,
}

impl TermSum {
    fn add(&mut self, term: &str, position: i64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(XxHash3_64::oneshot_with_seed(position.cast_unsigned(), term.as_bytes()));
    }
}

/// The terms of the full-text index.
fn indexed_terms(db: &Connection) -> Result<TermSum, StoreError> {
    // The table is temporary, and this connection is of a command that ends soon.
    db.pragma_update(None, "query_only", false)?;
    db.execute_batch(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.call_term_instance USING fts5vocab(main, call_term, instance)",
    )?;
    let mut sum = TermSum::default();
    let mut statement = db.prepare("SELECT term, doc FROM temp.call_term_instance")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sum.add(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?, row.get(1)?);
    }
    Ok(sum)
}
