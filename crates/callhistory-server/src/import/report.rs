//! Counts the outcomes of an import, and lists the first errors and warnings.

use callhistory_model::{FieldErrors, FieldWarning, ImportError, ImportReport, ImportWarning, WarningCode};
use callhistory_store::{ImportOutcome, ImportedCall};

/// Counts a record that was written, with the warnings of its document and those of the store.
pub(super) fn count_call(report: &mut ImportReport, line: u64, warnings: Vec<FieldWarning>, call: ImportedCall) {
    *match call.outcome {
        ImportOutcome::Created => &mut report.created,
        ImportOutcome::Replaced => &mut report.replaced,
        ImportOutcome::Merged => &mut report.merged,
        ImportOutcome::Unchanged => &mut report.unchanged,
        ImportOutcome::Stale => &mut report.stale,
        ImportOutcome::Deleted => &mut report.deleted,
    } += 1;
    report.repeated += u64::from(call.is_repeated);
    count_warnings(report, line, warnings.into_iter().chain(call.warnings));
}

/// Counts a record without a store.
pub(super) fn count_checked(report: &mut ImportReport, line: u64, warnings: Vec<FieldWarning>) {
    report.created += 1;
    count_warnings(report, line, warnings.into_iter());
}

fn count_warnings(report: &mut ImportReport, line: u64, warnings: impl Iterator<Item = FieldWarning>) {
    let mut warnings = warnings.peekable();
    report.warned += u64::from(warnings.peek().is_some());
    warnings.for_each(|warning| list_warning(report, line, warning));
}

fn list_warning(report: &mut ImportReport, line: u64, warning: FieldWarning) {
    if report.warnings.len() < ImportReport::MAX_WARNINGS {
        report.warnings.push(ImportWarning::new(line, warning));
    }
}

/// Counts a value that is not a record.
pub(super) fn count_skipped(report: &mut ImportReport, line: u64, detail: String) {
    report.skipped += 1;
    list_warning(report, line, FieldWarning::new(WarningCode::LeftOut, detail));
}

/// Counts a record that is rejected.
pub(super) fn count_rejected(report: &mut ImportReport, line: u64, FieldErrors(errors): FieldErrors) {
    report.rejected += 1;
    let room = ImportReport::MAX_ERRORS.saturating_sub(report.errors.len());
    let errors = errors.into_iter().take(room);
    report.errors.extend(errors.map(|error| ImportError::new(line, error)));
}
