//! The texts of a record as columns, terms and filters see them: an empty text is no value, long texts are cut, values of
//! extensible enums and phone numbers are in their normal form, and currencies in upper case.

use std::borrow::Cow;

use callhistory_model::{
    CallCost, CallOutcome, CallRecord, CallStatus, CallType, Direction, TextPattern, index_text, normalize_enum_value,
};

use super::phone_number::NumberingPlan;

/// Raised when the columns or the terms of a record change: the records of a database of another format are written again at the
/// next start, and those of another numbering plan.
pub(crate) const INDEX_FORMAT: i64 = 2;

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
    pub(crate) is_answered: bool,
    pub(crate) currency: Option<Cow<'a, str>>,
    pub(crate) from_phone_number: Option<String>,
    pub(crate) to_phone_number: Option<String>,
}

impl<'a> IndexTexts<'a> {
    pub(crate) fn of(record: &'a CallRecord, plan: NumberingPlan) -> Self {
        let label = |text: &'a Option<String>| index_text(text.as_deref(), CallRecord::MAX_LABEL_BYTES);
        let number = |text: &Option<String>| {
            let number = text.as_deref().map(|text| cut(plan.normalize(text)));
            number.filter(|text| !text.is_empty())
        };
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
            is_answered: record.is_answered(),
            currency: record.cost.as_ref().and_then(CallCost::currency).map(currency_text),
            from_phone_number: number(&record.from_phone_number),
            to_phone_number: number(&record.to_phone_number),
        }
    }
}

/// The normal form of a value of an extensible enum, cut to what is compared.
fn enum_text(text: &str) -> Cow<'_, str> {
    match normalize_enum_value(text) {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..text.floor_char_boundary(CallRecord::MAX_ENUM_BYTES)]),
        // A cut text is in its normal form as well.
        Cow::Owned(text) => Cow::Owned(cut(text).trim_end_matches('-').to_owned()),
    }
}

/// The normal form of a currency.
fn currency_text(code: &str) -> Cow<'_, str> {
    let is_normal = !code.bytes().any(|byte| byte.is_ascii_lowercase());
    if is_normal { Cow::Borrowed(code) } else { Cow::Owned(code.to_ascii_uppercase()) }
}

/// A text, cut to what is compared.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(CallRecord::MAX_ENUM_BYTES));
    text
}

/// A value of a filter as the values of this parameter or member are compared.
pub(crate) fn compared<'a>(name: &str, value: &'a str, plan: NumberingPlan) -> Cow<'a, str> {
    match name {
        "status" | "direction" | "callType" => enum_text(value),
        "currency" => currency_text(value),
        "fromPhoneNumber" | "toPhoneNumber" => Cow::Owned(cut(plan.normalize(value))),
        _ => Cow::Borrowed(&value[..value.floor_char_boundary(CallRecord::MAX_LABEL_BYTES)]),
    }
}

/// The beginning of a phone number as it is compared. One that is longer than what is compared is a whole number.
pub(crate) fn compared_prefix(start: &str, plan: NumberingPlan) -> TextPattern {
    let start = plan.normalize_prefix(start);
    let compared = cut(start.clone());
    if compared.len() < start.len() { TextPattern::Exact(compared) } else { TextPattern::Prefix(compared) }
}
