//! SQL functions for the tests of a filter that read the body of a record.

use callhistory_model::{AnalysisClause, CallOutcome, CallRecord, CallStatus};
use rusqlite::{Connection, functions::FunctionFlags};

use crate::{domain::predicate::BodyTest, record_bytes::RecordBytes};

/// Registers the functions `call_digits`, `call_analysis` and `call_outcome`.
pub(crate) fn register_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("call_digits", 3, flags, |context| {
        let (body, transcript) = (context.get_raw(0).as_blob()?, context.get_raw(1).as_blob_or_null()?);
        let digits = context.get_raw(2).as_str()?;
        // A cheap test first: a phone number can have other characters between its digits, and free-form JSON can write a
        // digit as an escape sequence.
        let parts = || [Some(body), transcript].into_iter().flatten();
        let all: String = parts().flatten().copied().filter(u8::is_ascii_digit).map(char::from).collect();
        if !all.contains(digits) && !parts().any(|part| part.windows(2).any(|two| two == b"\\u")) {
            return Ok(false);
        }
        let record: Option<CallRecord> = serde_json::from_slice(&RecordBytes { body, transcript }.to_json()).ok();
        let test = BodyTest::Digits(digits.to_owned());
        Ok(record.is_some_and(|record| test.holds(&record)))
    })?;
    db.create_scalar_function("call_analysis", 2, flags, |context| {
        let record: Option<CallRecord> = serde_json::from_slice(context.get_raw(0).as_blob()?).ok();
        // The same for all records of a query: parsed once.
        let clauses = context.get_or_create_aux(1, |text| -> rusqlite::Result<_> {
            Ok(AnalysisClause::parse(text.as_str()?).unwrap_or_default())
        })?;
        let Some((record, clause)) = record.zip(clauses.first()) else { return Ok(false) };
        Ok(BodyTest::Analysis(clause.clone()).holds(&record))
    })?;
    db.create_scalar_function("call_outcome", 1, flags, |context| {
        let status = context.get_raw(0).as_str_or_null()?.map(CallStatus::from);
        Ok(status.map_or(CallOutcome::Unknown, |status| status.outcome()).to_string())
    })
}
