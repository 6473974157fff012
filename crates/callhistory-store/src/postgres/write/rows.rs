//! The rows that a group writes, by column: an array of each column is one parameter of a statement.

use bytes::Bytes;
use callhistory_model::{CallId, CallRecord, JsonArray};
use tokio_postgres::types::ToSql;

use super::{
    plan::{CurrentCall, GroupPlan, IdempotencyRecord, Sequence},
    prepare::term_array,
};
use crate::{
    domain::{
        index_texts::IndexTexts,
        original::OriginalRow,
        phone_number::NumberingPlan,
        prepared::PreparedTerms,
        record_digest::RecordDigest,
        search_terms::{caller, charge_nanos, have_same_terms},
    },
    record_bytes::{RecordBytes, split_record},
};

/// The values of a statement.
pub(super) type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// The rows of the second round trip, by column.
#[derive(Default)]
pub(crate) struct GroupRows {
    pub(super) workspace: String,
    pub(super) first_sequence: i64,
    pub(super) count: i64,
    pub(super) inserted: CallColumns,
    pub(super) updated: CallColumns,
    pub(super) deleted: Vec<String>,
    pub(super) changes: (Vec<i64>, Vec<i16>, Vec<String>, Vec<i64>),
    pub(super) emptied: Vec<String>,
    pub(super) originals: OriginalColumns,
    pub(super) expired_by: Option<i64>,
    pub(super) keys: Vec<(String, IdempotencyRecord)>,
}

/// Records by column.
#[derive(Default)]
pub(super) struct CallColumns {
    pub(super) ids: Vec<String>,
    sequences: Vec<i64>,
    integers: [Vec<Option<i64>>; 7],
    texts: [Vec<Option<String>>; 11],
    are_answered: Vec<bool>,
    terms: Vec<Option<String>>,
    digests: Vec<i64>,
    transcript_digests: Vec<Option<i64>>,
    bodies: Vec<Bytes>,
    transcripts: Vec<Option<Bytes>>,
}

impl CallColumns {
    pub(super) fn push(
        &mut self,
        terms: Option<String>,
        sequence: i64,
        (record, body): (&CallRecord, &Bytes),
        plan: NumberingPlan,
    ) {
        let texts = IndexTexts::of(record, plan);
        let integers = [
            Some(record.sort_time_nanos()),
            Some(record.created_at.unix_nanos()),
            Some(record.updated_at.unix_nanos()),
            record.duration_nanos(),
            charge_nanos(record),
            record.talk_time_nanos(),
            caller(&record.workspace_id, &texts),
        ];
        self.terms.push(terms);
        self.sequences.push(sequence);
        let (body, transcript) = split_record(body, record.transcript.as_ref().map(JsonArray::as_str));
        let bytes = RecordBytes { body: &body, transcript: transcript.as_deref() };
        let digest = RecordDigest::of(record.workspace_id.as_str(), record.id.as_str(), bytes);
        self.digests.push(digest.record);
        self.transcript_digests.push(digest.transcript);
        self.bodies.push(body);
        self.transcripts.push(transcript);
        self.are_answered.push(texts.is_answered);
        let texts = [
            texts.agent_id,
            texts.call_flow_id,
            texts.batch_id,
            texts.call_id,
            texts.status.as_deref(),
            texts.direction.as_deref(),
            texts.call_type.as_deref(),
            Some(texts.outcome.as_str()),
            texts.from_phone_number.as_deref(),
            texts.to_phone_number.as_deref(),
            texts.currency.as_deref(),
        ];
        self.ids.push(record.id.to_string());
        self.integers.iter_mut().zip(integers).for_each(|(column, value)| column.push(value));
        self.texts.iter_mut().zip(texts).for_each(|(column, value)| column.push(value.map(str::to_owned)));
    }

    /// The bodies and the transcripts.
    pub(super) fn bytes(&self) -> RecordColumns<'_> {
        let transcripts = self.transcripts.iter().map(|text| text.as_deref());
        (self.bodies.iter().map(AsRef::as_ref).collect(), transcripts.collect())
    }

    pub(super) fn values<'a>(
        &'a self,
        (workspace, count): (&'a String, &'a i64),
        (bodies, transcripts): &'a RecordColumns<'_>,
    ) -> Values<'a> {
        let mut values: Values = vec![workspace, count, &self.ids, &self.sequences];
        values.extend(self.integers.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.extend(self.texts.iter().map(|column| column as &(dyn ToSql + Sync)));
        values.push(&self.are_answered);
        values.push(&self.terms);
        values.push(&self.digests);
        values.push(&self.transcript_digests);
        values.push(bodies);
        values.push(transcripts);
        values
    }
}

/// The bodies and the transcripts of records.
pub(super) type RecordColumns<'a> = (Vec<&'a [u8]>, Vec<Option<&'a [u8]>>);

/// Originals by column.
#[derive(Default)]
pub(super) struct OriginalColumns {
    pub(super) ids: Vec<String>,
    /// Numbers, times, sizes, sizes of all, digests.
    integers: [Vec<i64>; 5],
    /// Sources, media types, warnings.
    texts: [Vec<String>; 3],
    hashes: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
}

impl OriginalColumns {
    fn push(&mut self, workspace: &str, id: &CallId, row: OriginalRow) {
        let digest = row.digest(workspace, id.as_str());
        let integers = [row.number, row.received_at, row.bytes, row.total_bytes, digest];
        self.integers.iter_mut().zip(integers).for_each(|(column, value)| column.push(value));
        let texts = [row.source, row.media_type, row.warnings];
        self.texts.iter_mut().zip(texts).for_each(|(column, value)| column.push(value));
        self.ids.push(id.to_string());
        self.hashes.push(row.hash.to_vec());
        self.bodies.push(row.body.to_vec());
    }

    pub(super) fn values<'a>(&'a self, workspace: &'a String) -> Values<'a> {
        let [numbers, times, sizes, totals, digests] = &self.integers;
        let [sources, media_types, warnings] = &self.texts;
        let (ids, hashes, bodies) = (&self.ids, &self.hashes, &self.bodies);
        vec![workspace, ids, numbers, times, sources, media_types, warnings, sizes, totals, hashes, digests, bodies]
    }
}

impl GroupRows {
    /// The rows of a plan. Digests take time: run this on a blocking thread.
    pub(crate) fn of(plan: GroupPlan) -> Self {
        let mut rows = Self {
            workspace: plan.workspace.to_string(),
            first_sequence: plan.first_sequence,
            count: i64::try_from(plan.changes.len()).unwrap_or(i64::MAX),
            emptied: plan.deleted.iter().map(CallId::to_string).collect(),
            expired_by: plan.expired_by,
            keys: plan.keys.into_iter().filter(|(_, key)| key.is_new).collect(),
            ..Self::default()
        };
        let numbering = plan.options.plan();
        for (id, call) in plan.calls {
            for original in call.originals.new {
                rows.originals.push(&rows.workspace, &id, original);
            }
            match &call.current {
                Some(CurrentCall { sequence: Sequence::Pending(sequence), body, record: Some(record), .. }) => {
                    let is_unchanged = call.before.as_ref().is_some_and(|before| have_same_terms(before, record));
                    let terms = || PreparedTerms::text_of(call.expected.as_deref(), record, numbering, term_array);
                    let terms = if call.was_there && is_unchanged { None } else { Some(terms()) };
                    let calls = if call.was_there { &mut rows.updated } else { &mut rows.inserted };
                    calls.push(terms, *sequence, (record, body), numbering);
                }
                None if call.was_there => rows.deleted.push(id.to_string()),
                _ => {}
            }
        }
        for (sequence, change) in (1..).zip(plan.changes) {
            rows.changes.0.push(sequence);
            rows.changes.1.push(change.kind as i16);
            rows.changes.2.push(change.id.to_string());
            rows.changes.3.push(change.at);
        }
        rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.originals.ids.is_empty()
    }
}
