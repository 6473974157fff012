//! SQL functions for the tests of a filter that read the body of a record.

use callhistory_model::{AnalysisClause, CallRecord};
use rusqlite::{Connection, functions::FunctionFlags};

use crate::{
    domain::{predicate::BodyTest, search_text::ParsedSearch},
    record_bytes::RecordBytes,
};

/// Registers the functions `call_search` and `call_analysis`.
pub(crate) fn register_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("call_search", 3, flags, |context| {
        let (body, transcript) = (context.get_raw(0).as_blob()?, context.get_raw(1).as_blob_or_null()?);
        // The same for all records of a query: parsed once.
        let search =
            context.get_or_create_aux(2, |text| -> rusqlite::Result<_> { Ok(ParsedSearch::parse(text.as_str()?)) })?;
        // A cheap test first.
        if search.is_absent([Some(body), transcript].into_iter().flatten()) {
            return Ok(false);
        }
        let record: Option<CallRecord> = serde_json::from_slice(&RecordBytes { body, transcript }.to_json()).ok();
        Ok(record.is_some_and(|record| search.holds(&record)))
    })?;
    db.create_scalar_function("call_analysis", 2, flags, |context| {
        let record: Option<CallRecord> = serde_json::from_slice(context.get_raw(0).as_blob()?).ok();
        // The same for all records of a query: parsed once.
        let clauses = context.get_or_create_aux(1, |text| -> rusqlite::Result<_> {
            Ok(AnalysisClause::parse(text.as_str()?).unwrap_or_default())
        })?;
        let Some((record, clause)) = record.zip(clauses.first()) else { return Ok(false) };
        Ok(BodyTest::Analysis(clause.clone()).holds(&record))
    })
}
