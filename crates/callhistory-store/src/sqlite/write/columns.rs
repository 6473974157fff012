//! The row of a record: every column, as a write stores it and as a check expects it.

use callhistory_model::{CallRecord, JsonArray};
use rusqlite::{CachedStatement, Connection, ToSql, named_params};

use crate::{
    domain::{
        index_texts::IndexTexts,
        phone_number::NumberingPlan,
        record_digest::RecordDigest,
        search_terms::{caller, charge_nanos},
    },
    record_bytes::{RecordBytes, split_record},
    results::StoredCall,
};

/// Whether the row of a record has the columns that a write of the record stores.
pub(crate) fn has_columns(
    db: &Connection,
    position: i64,
    (record, plan): (&CallRecord, NumberingPlan),
    call: &StoredCall,
) -> rusqlite::Result<bool> {
    let text = "SELECT 1 FROM call WHERE position = :position AND workspace_id = :workspace_id AND id = :id
             AND sequence = :sequence AND sort_time = :sort_time AND created_at = :created_at
             AND updated_at = :updated_at AND duration IS :duration AND cost IS :cost AND talk_time IS :talk_time
             AND is_answered = :is_answered AND currency IS :currency AND caller IS :caller AND agent_id IS :agent_id
             AND call_flow_id IS :call_flow_id AND batch_id IS :batch_id AND call_id IS :call_id AND status IS :status
             AND direction IS :direction AND call_type IS :call_type AND outcome = :outcome
             AND from_phone_number IS :from_phone_number AND to_phone_number IS :to_phone_number AND digest = :digest
             AND transcript_digest IS :transcript_digest AND body = :body AND transcript IS :transcript";
    with_columns(db, text, (position, record, plan, call), |statement, columns| statement.exists(columns))
}

/// Runs a write of every column of a record.
pub(crate) fn write_columns(
    db: &Connection,
    text: &str,
    position: i64,
    (record, plan): (&CallRecord, NumberingPlan),
    call: &StoredCall,
) -> rusqlite::Result<usize> {
    with_columns(db, text, (position, record, plan, call), |statement, columns| statement.execute(columns))
}

/// Runs a statement with every column of a record.
fn with_columns<T>(
    db: &Connection,
    text: &str,
    (position, record, plan, call): (i64, &CallRecord, NumberingPlan, &StoredCall),
    run: impl FnOnce(&mut CachedStatement<'_>, &[(&str, &dyn ToSql)]) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let (body, transcript) = split_record(&call.body, record.transcript.as_ref().map(JsonArray::as_str));
    let bytes = RecordBytes { body: &body, transcript: transcript.as_deref() };
    let digest = RecordDigest::of(record.workspace_id.as_str(), record.id.as_str(), bytes);
    let texts = IndexTexts::of(record, plan);
    run(
        &mut db.prepare_cached(text)?,
        named_params! {
            ":position": position,
            ":workspace_id": record.workspace_id.as_str(),
            ":id": record.id.as_str(),
            ":sequence": call.sequence,
            ":sort_time": record.sort_time_nanos(),
            ":created_at": record.created_at.unix_nanos(),
            ":updated_at": record.updated_at.unix_nanos(),
            ":duration": record.duration_nanos(),
            ":cost": charge_nanos(record),
            ":talk_time": record.talk_time_nanos(),
            ":is_answered": texts.is_answered,
            ":currency": texts.currency,
            ":caller": caller(&record.workspace_id, &texts),
            ":agent_id": texts.agent_id,
            ":call_flow_id": texts.call_flow_id,
            ":batch_id": texts.batch_id,
            ":call_id": texts.call_id,
            ":status": texts.status,
            ":direction": texts.direction,
            ":call_type": texts.call_type,
            ":outcome": texts.outcome.as_str(),
            ":from_phone_number": texts.from_phone_number,
            ":to_phone_number": texts.to_phone_number,
            ":digest": digest.record,
            ":transcript_digest": digest.transcript,
            ":body": bytes.body,
            ":transcript": bytes.transcript,
        },
    )
}
