//! Parses the records of a batch.

use std::sync::Arc;

use callhistory_model::{
    CallId, CallInput, FieldError, FieldErrorCode, FieldErrors, FieldWarning, Handling, ImportMode, ImportSource,
    ParsedCall, Timestamp, WarningCode, WorkspaceId,
};
use callhistory_store::{CallStore, CallWrite, SentDocument, StoreError, check_new_call};

use super::raw_record::{RawContent, RawRecord, SentRow};
use crate::auth::grant::Grant;

/// About the memory of a warning, and of an unknown member beyond its text, in bytes.
const WARNING_BYTES: usize = 256;
const MEMBER_BYTES: usize = 128;

/// What an import does with its records.
#[derive(Clone)]
pub enum Target {
    /// Writes them to a workspace.
    Store(Arc<dyn CallStore>, WorkspaceId),
    /// Only checks them, for a workspace or for the one that each names. Valid records count as created.
    Check(Option<WorkspaceId>),
}

impl Target {
    fn workspace(&self) -> Option<&WorkspaceId> {
        match self {
            Self::Store(_, workspace) => Some(workspace),
            Self::Check(workspace) => workspace.as_ref(),
        }
    }
}

/// How the records of an import are parsed.
#[derive(Clone)]
pub(super) struct RecordParser {
    pub(super) target: Target,
    /// What the caller may do; `None` for the operator.
    pub(super) grant: Option<Grant>,
    pub(super) handling: Handling,
    pub(super) source: Option<ImportSource>,
    pub(super) mode: ImportMode,
    pub(super) media_type: &'static str,
    pub(super) max_record_bytes: usize,
}

/// What is reported about a record before it is written.
pub(super) enum ParsedRecord {
    /// It is written.
    Call(CallId, Box<CallWrite>),
    /// It is only valid.
    Checked(Vec<FieldWarning>),
    /// The value is not a record.
    Skipped(String),
    /// It is rejected.
    Invalid(FieldErrors),
    /// It is rejected for the same reason as others before.
    InvalidAgain,
}

impl ParsedRecord {
    /// About the memory that it takes until it is written, in bytes.
    pub(super) fn size(&self) -> usize {
        let Self::Call(_, write) = self else { return 0 };
        // The input has about the bytes of what was sent.
        let sent_bytes = |sent: &SentDocument| 2 * sent.body.len() + sent.warnings.len() * WARNING_BYTES;
        let sent = write.sent.as_ref().map_or(0, sent_bytes);
        size_of::<CallWrite>() + sent + write.input.extra.len() * MEMBER_BYTES
    }
}

impl RecordParser {
    /// Parses and checks what a splitter found.
    pub(super) fn parse(&self, record: RawRecord, now: &Timestamp) -> ParsedRecord {
        let (json, sent) = match record.content {
            RawContent::Record { json, sent } => (json, sent),
            RawContent::Skipped(detail) => return ParsedRecord::Skipped(detail),
            RawContent::Invalid(error) => return ParsedRecord::Invalid(FieldErrors(vec![error])),
            RawContent::InvalidAgain => return ParsedRecord::InvalidAgain,
        };
        let parsed = self.parse_call(json, sent).and_then(|(id, write)| match &self.target {
            Target::Store(..) => Ok(ParsedRecord::Call(id, Box::new(write))),
            Target::Check(workspace) => {
                let warnings = write.sent.map(|sent| sent.warnings).unwrap_or_default();
                self.check(workspace.as_ref(), &id, write.input, now).map(|()| ParsedRecord::Checked(warnings))
            }
        });
        parsed.unwrap_or_else(ParsedRecord::Invalid)
    }

    fn parse_call(&self, json: Vec<u8>, sent: Option<SentRow>) -> Result<(CallId, CallWrite), FieldErrors> {
        let mut parsed = CallInput::parse(&json, self.handling)?;
        if self.handling == Handling::Lenient {
            parsed.derive_id(&json, self.source.is_some());
        }
        let ParsedCall { mut input, mut warnings, mut is_changed, .. } = parsed;
        let parsed_warnings = warnings.len();
        let grant_errors = self.grant.as_ref().and_then(|grant| grant.check_input(&input).err());
        let mut errors = grant_errors.map_or(Vec::new(), |errors| errors.0);
        errors.extend(self.check_merged_numbers(&input));
        if let Err(error) = self.check_workspace(&mut input, &mut warnings) {
            errors.push(error);
        }
        if input.id.is_none() {
            let detail = "is missing; each record of an import has its _id or callId, so that it can be sent again, or \
                gets one with source=generic";
            errors.push(FieldError::new(FieldErrorCode::Missing, detail).prefix_pointer("/_id"));
        }
        let Some(id) = input.id.clone().filter(|_| errors.is_empty()) else { return Err(FieldErrors(errors)) };
        is_changed |= warnings[parsed_warnings..].iter().any(|warning| !warning.code.is_lossless());
        let sent = SentDocument {
            body: sent.map_or(json, SentRow::into_table).into(),
            media_type: self.media_type.to_owned(),
            source: self.source.map_or("import", |source| source.as_str()).to_owned(),
            warnings,
            is_changed,
        };
        Ok((id, CallWrite { input, handling: self.handling, sent: Some(sent) }))
    }

    /// Refuses phone numbers in a merge by a caller who may not see those that are stored: the warnings would tell how they compare.
    fn check_merged_numbers(&self, input: &CallInput) -> Vec<FieldError> {
        let is_blind = self.grant.as_ref().is_some_and(|grant| !grant.sees_phone_numbers());
        let members = [("/fromPhoneNumber", &input.from_phone_number), ("/toPhoneNumber", &input.to_phone_number)];
        let compared =
            members.into_iter().filter(|(_, number)| is_blind && self.mode == ImportMode::Merge && number.is_some());
        let error = |(pointer, _): (&str, _)| {
            let detail = "is compared by a merge; leave it out, or use a key with the scope phone-numbers:read";
            FieldError::new(FieldErrorCode::NotWritable, detail).prefix_pointer(pointer)
        };
        compared.map(error).collect()
    }

    /// Lets a record of another workspace into this one in lenient handling: an export moves.
    fn check_workspace(&self, input: &mut CallInput, warnings: &mut Vec<FieldWarning>) -> Result<(), FieldError> {
        let Some(workspace) = self.target.workspace() else { return Ok(()) };
        let Some(named) = input.workspace_id.take_if(|named| named != workspace) else { return Ok(()) };
        let (named, workspace) = (named.as_str(), workspace.as_str());
        if self.handling == Handling::Strict {
            let detail = format!("is {named:?}, but the import goes to {workspace:?}");
            return Err(FieldError::new(FieldErrorCode::Mismatch, detail).prefix_pointer("/workspaceId"));
        }
        let detail = format!("is {named:?}; the record is written to {workspace:?}");
        warnings.push(FieldWarning::new(WarningCode::WorkspaceChanged, detail).prefix_pointer("/workspaceId"));
        Ok(())
    }

    /// Checks a record without a store. If neither the caller nor the record names a workspace, any workspace will do.
    fn check(
        &self,
        workspace: Option<&WorkspaceId>,
        id: &CallId,
        input: CallInput,
        now: &Timestamp,
    ) -> Result<(), FieldErrors> {
        if self.handling == Handling::Strict {
            input.check_extra(None)?;
        }
        let named = workspace.or(input.workspace_id.as_ref()).cloned();
        let workspace = named.map_or_else(|| "w".parse(), Ok).map_err(|error| FieldErrors(vec![error]))?;
        check_new_call(&workspace, id, input, now, self.max_record_bytes).map_err(|error| match error {
            StoreError::Invalid(errors) => errors,
            other => {
                let detail = format!("cannot be stored: {other}");
                FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, detail)])
            }
        })
    }
}
