//! The texts of a record as columns, terms and filters see them: an empty text is no value, and long texts are cut.

use callhistory_model::{CallRecord, CallStatus, CallType, Direction, index_text};

/// The texts of a record that filters compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexTexts<'a> {
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) call_flow_id: Option<&'a str>,
    pub(crate) batch_id: Option<&'a str>,
    pub(crate) call_id: Option<&'a str>,
    pub(crate) status: Option<&'a str>,
    pub(crate) direction: Option<&'a str>,
    pub(crate) call_type: Option<&'a str>,
    pub(crate) from_phone_number: Option<&'a str>,
    pub(crate) to_phone_number: Option<&'a str>,
}

impl<'a> IndexTexts<'a> {
    pub(crate) fn of(record: &'a CallRecord) -> Self {
        let label = |text: &'a Option<String>| index_text(text.as_deref(), CallRecord::MAX_LABEL_BYTES);
        let word = |text: Option<&'a str>| index_text(text, CallRecord::MAX_ENUM_BYTES);
        Self {
            agent_id: label(&record.agent_id),
            call_flow_id: label(&record.call_flow_id),
            batch_id: label(&record.batch_id),
            call_id: label(&record.call_id),
            status: word(record.status.as_ref().map(CallStatus::as_str)),
            direction: word(record.direction.as_ref().map(Direction::as_str)),
            call_type: word(record.call_type.as_ref().map(CallType::as_str)),
            from_phone_number: word(record.from_phone_number.as_deref()),
            to_phone_number: word(record.to_phone_number.as_deref()),
        }
    }
}

/// A value of a filter as the values of this parameter or member are compared.
pub(crate) fn compared<'a>(name: &str, value: &'a str) -> &'a str {
    let max = match name {
        "agentId" | "callFlowId" | "batchId" | "callIds" => CallRecord::MAX_LABEL_BYTES,
        _ => CallRecord::MAX_ENUM_BYTES,
    };
    &value[..value.floor_char_boundary(max)]
}
