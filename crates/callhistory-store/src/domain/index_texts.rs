//! The texts of a record as columns, terms and filters see them: an empty text is no value, long texts are cut, and values of
//! extensible enums are in their normal form.

use std::borrow::Cow;

use callhistory_model::{CallOutcome, CallRecord, CallStatus, CallType, Direction, index_text, normalize_enum_value};

/// The texts of a record that filters compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexTexts<'a> {
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) call_flow_id: Option<&'a str>,
    pub(crate) batch_id: Option<&'a str>,
    pub(crate) call_id: Option<&'a str>,
    pub(crate) status: Option<Cow<'a, str>>,
    pub(crate) direction: Option<Cow<'a, str>>,
    pub(crate) call_type: Option<Cow<'a, str>>,
    pub(crate) outcome: CallOutcome,
    pub(crate) from_phone_number: Option<&'a str>,
    pub(crate) to_phone_number: Option<&'a str>,
}

impl<'a> IndexTexts<'a> {
    pub(crate) fn of(record: &'a CallRecord) -> Self {
        let label = |text: &'a Option<String>| index_text(text.as_deref(), CallRecord::MAX_LABEL_BYTES);
        let number = |text: &'a Option<String>| index_text(text.as_deref(), CallRecord::MAX_ENUM_BYTES);
        let word = |text: Option<&'a str>| text.map(enum_text).filter(|text| !text.is_empty());
        Self {
            agent_id: label(&record.agent_id),
            call_flow_id: label(&record.call_flow_id),
            batch_id: label(&record.batch_id),
            call_id: label(&record.call_id),
            status: word(record.status.as_ref().map(CallStatus::as_str)),
            direction: word(record.direction.as_ref().map(Direction::as_str)),
            call_type: word(record.call_type.as_ref().map(CallType::as_str)),
            outcome: record.status.as_ref().map_or(CallOutcome::Unknown, CallStatus::outcome),
            from_phone_number: number(&record.from_phone_number),
            to_phone_number: number(&record.to_phone_number),
        }
    }
}

/// The normal form of a value of an extensible enum, cut to what is compared.
fn enum_text(text: &str) -> Cow<'_, str> {
    let cut = |text: &str| text.floor_char_boundary(CallRecord::MAX_ENUM_BYTES);
    match normalize_enum_value(text) {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..cut(text)]),
        // A cut text is in its normal form as well.
        Cow::Owned(text) => Cow::Owned(text[..cut(&text)].trim_end_matches('-').to_owned()),
    }
}

/// A value of a filter as the values of this parameter or member are compared.
pub(crate) fn compared<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    let max = match name {
        "status" | "direction" | "callType" => return enum_text(value),
        "agentId" | "callFlowId" | "batchId" | "callIds" => CallRecord::MAX_LABEL_BYTES,
        _ => CallRecord::MAX_ENUM_BYTES,
    };
    Cow::Borrowed(&value[..value.floor_char_boundary(max)])
}
