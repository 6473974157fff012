//! The call record: its members in the order of the wire, and the rules that each one keeps.

use crate::{
    decode::{free_form, number, object, open, string_as, text},
    extensible_enum::{CallStatus, CallType, Direction},
    id::{CallId, WorkspaceId},
    json::{JsonArray, JsonObject, JsonText, escape_pointer},
    number::{Amount, Seconds, UnixSeconds},
    problem::{FieldError, FieldErrorCode},
    time::Timestamp,
};

const MAX_LABEL_CHARS: usize = 256;
const MAX_PHONE_CHARS: usize = 128;
const MAX_SUMMARY_BYTES: usize = 64 * 1024;
const MAX_URL_CHARS: usize = 2048;
const MAX_COST_MEMBERS: usize = 64;

/// The type of a member in [`CallRecord`]: `always` there, or `optional`.
macro_rules! slot {
    (always $type:ty) => { $type };
    (optional $type:ty) => { Option<$type> };
}

/// Writes a member of [`CallRecord`] if it is there.
macro_rules! serialize_slot {
    (always $map:ident, $wire:literal, $value:expr) => {
        $map.serialize_entry($wire, $value)?
    };
    (optional $map:ident, $wire:literal, $value:expr) => {
        if let Some(value) = $value {
            $map.serialize_entry($wire, value)?;
        }
    };
}

/// Takes a member out of a lenient reading.
macro_rules! take_slot {
    (always $value:expr, $wire:literal) => {
        $value.ok_or_else(|| serde::de::Error::missing_field($wire))?
    };
    (optional $value:expr, $wire:literal) => {
        $value
    };
}

/// Takes a member out of a complete input.
macro_rules! finish_slot {
    (always $value:expr, $wire:literal) => {
        $value
            .ok_or_else(|| FieldError::new(FieldErrorCode::Missing, "is missing").prefix_pointer(concat!("/", $wire)))?
    };
    (optional $value:expr, $wire:literal) => {
        $value
    };
}

/// One line for each member: `record` and `input`, their reading, writing and schema all come from this table.
macro_rules! members {
    ($($(#[doc = $doc:literal])+ $(#[bound($($bound:tt)*)])? $name:ident: $wire:literal, $presence:ident $type:ty = $rule:expr;)+) => {
        /// One call as the service answers it.
        ///
        /// Members that this version does not know are kept in [`extra`](Self::extra).
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(description = "One call as the service answers it."))]
        #[non_exhaustive]
        pub struct CallRecord {
            $($(#[doc = $doc])+
            #[cfg_attr(feature = "schema", schemars(rename = $wire $(, $($bound)*)?))]
            pub $name: slot!($presence $type),)+
            /// Members of a newer service, in the order in which they came, as JSON text.
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub extra: Vec<(String, JsonText)>,
        }

        /// One call as a caller writes it: the members of [`CallRecord`], each one optional.
        ///
        /// `_id` and `workspaceId` are given by the path and the header and may be repeated here; `createdAt` and
        /// `updatedAt` are set by the service unless a replacement brings the original ones.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(deny_unknown_fields, description = "One call as a caller writes it. \
            `_id` and `workspaceId` are given by the path and the header and may be repeated here. `createdAt` and \
            `updatedAt` are set by the service, unless a replacement brings the original ones."))]
        pub struct CallInput {
            $($(#[doc = $doc])+
            #[cfg_attr(feature = "schema", schemars(rename = $wire $(, $($bound)*)?))]
            pub $name: Option<$type>,)+
        }

        impl CallRecord {
            /// The names of the members, in the order of the wire.
            pub const MEMBERS: &'static [&'static str] = &[$($wire),+];
        }

        impl CallInput {
            /// Reads one member if it is known; `false` if it is not.
            pub(crate) fn read_member(&mut self, name: &str, json: &str, errors: &mut Vec<FieldError>) -> bool {
                match name {
                    $($wire => {
                        let rule: fn(&str) -> Result<$type, FieldError> = $rule;
                        match rule(json) {
                            Ok(value) => self.$name = Some(value),
                            Err(error) => errors.push(error.prefix_pointer(concat!("/", $wire))),
                        }
                    })+
                    _ => return false,
                }
                true
            }
        }

        impl serde::Serialize for CallInput {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(serialize_slot!(optional map, $wire, &self.$name);)+
                map.end()
            }
        }

        impl serde::Serialize for CallRecord {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(serialize_slot!($presence map, $wire, &self.$name);)+
                for (name, value) in &self.extra {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl crate::decode::LenientMembers for CallRecord {
            fn read<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
                $(let mut $name: Option<$type> = None;)+
                let mut extra = Vec::new();
                while let Some(member) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match member.as_ref() {
                        // A null from a newer service reads as absent.
                        $($wire => $name = map.next_value()?,)+
                        _ => extra.push((member.into_owned(), map.next_value()?)),
                    }
                }
                Ok(Self { $($name: take_slot!($presence $name, $wire),)+ extra })
            }
        }

        impl From<CallRecord> for CallInput {
            /// The input that writes this record as it is; members of a newer service are left out.
            fn from(record: CallRecord) -> Self {
                Self { $($name: record.$name.into(),)+ }
            }
        }

        impl CallInput {
            /// Makes the record, with `{}` and `[]` for free-form members that were not given.
            ///
            /// # Errors
            ///
            /// Fails where `_id`, `workspaceId`, `createdAt` or `updatedAt` is not set.
            pub fn into_record(mut self) -> Result<CallRecord, FieldError> {
                self.metadata.get_or_insert_default();
                self.function_calls.get_or_insert_default();
                self.analyzed_data.get_or_insert_default();
                Ok(CallRecord { $($name: finish_slot!($presence self.$name, $wire),)+ extra: Vec::new() })
            }
        }
    };
}

members! {
    /// The unique identifier of the record.
    id: "_id", always CallId = string_as;
    /// The workspace that the record belongs to.
    workspace_id: "workspaceId", always WorkspaceId = string_as;
    /// The agent that held the call.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    agent_id: "agentId", optional String = label;
    /// The call flow that the agent followed.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_flow_id: "callFlowId", optional String = label;
    /// The virtual room in which the call took place.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    room_name: "roomName", optional String = label;
    /// Who called whom.
    direction: "direction", optional Direction = |json| open(json, Direction::MAX_CHARS);
    /// The caller: an E.164 number, a SIP URI, an extension, or a word such as `anonymous`.
    #[bound(length(max = MAX_PHONE_CHARS), regex(pattern = NO_NUL))]
    from_phone_number: "fromPhoneNumber", optional String = |json| text(json, MAX_PHONE_CHARS);
    /// The called side, in the forms of `fromPhoneNumber`.
    #[bound(length(max = MAX_PHONE_CHARS), regex(pattern = NO_NUL))]
    to_phone_number: "toPhoneNumber", optional String = |json| text(json, MAX_PHONE_CHARS);
    /// Where the call stands; in the end, its final status.
    status: "status", optional CallStatus = |json| open(json, CallStatus::MAX_CHARS);
    /// When the call started, in Unix seconds, before the year 2260.
    start_time: "startTime", optional UnixSeconds = number;
    /// When the call ended, in Unix seconds; not before `startTime`.
    end_time: "endTime", optional UnixSeconds = number;
    /// What the call cost.
    cost: "cost", optional CallCost = CallCost::read;
    /// Data of the caller's own about the call.
    metadata: "metadata", always JsonObject = free_form;
    /// The functions that the agent called.
    function_calls: "functionCalls", always JsonArray = free_form;
    /// What the call was about; at most 65,536 bytes of UTF-8.
    #[bound(length(max = MAX_SUMMARY_BYTES), regex(pattern = NO_NUL))]
    summary: "summary", optional String = summary;
    /// What an analysis found in the call.
    analyzed_data: "analyzedData", always JsonObject = free_form;
    /// When the record was created: RFC 3339, UTC.
    created_at: "createdAt", always Timestamp = string_as;
    /// When the record was last changed: RFC 3339, UTC.
    updated_at: "updatedAt", always Timestamp = string_as;
    /// The id of the call at the telephony provider.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_id: "callId", optional String = label;
    /// The batch of calls that this one belongs to.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    batch_id: "batchId", optional String = label;
    /// How the call was carried.
    call_type: "callType", optional CallType = |json| open(json, CallType::MAX_CHARS);
    /// The name of the agent.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    agent: "agent", optional String = label;
    /// The name of the call flow.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_flow_name: "callFlowName", optional String = label;
    /// How long the call lasted, in seconds, up to 366 days.
    duration: "duration", optional Seconds = number;
    /// Where the recording can be fetched.
    #[bound(length(max = MAX_URL_CHARS), regex(pattern = NO_NUL))]
    recording_url: "recordingUrl", optional String = |json| text(json, MAX_URL_CHARS);
    /// The variables that the call flow was started with.
    variables: "variables", optional JsonObject = free_form;
    /// The turns of the conversation, usually objects with `role` and `content`.
    transcript: "transcript", optional JsonArray = free_form;
}

#[cfg(feature = "schema")]
const NO_NUL: &str = "^[^\\u0000]*$";

fn label(json: &str) -> Result<String, FieldError> {
    text(json, MAX_LABEL_CHARS)
}

fn summary(json: &str) -> Result<String, FieldError> {
    let summary = text(json, MAX_SUMMARY_BYTES)?;
    if summary.len() > MAX_SUMMARY_BYTES {
        let detail = format!("has {} bytes of UTF-8; at most {MAX_SUMMARY_BYTES} are accepted", summary.len());
        return Err(FieldError::new(FieldErrorCode::TooManyBytes, detail));
    }
    Ok(summary)
}

impl CallRecord {
    /// The record as JSON text, in the order of the wire: the form in which it is stored and answered.
    #[must_use]
    #[expect(clippy::expect_used, reason = "every key is a string and every value serialises")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is JSON")
    }

    /// The largest record that is stored, in bytes of its canonical JSON.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The time by which lists are ordered, in nanoseconds since 1970: `startTime`, or else `createdAt`.
    #[must_use]
    pub fn sort_time_nanos(&self) -> i64 {
        self.start_time.as_ref().map_or(self.created_at.unix_nanos(), UnixSeconds::nanos)
    }

    /// How long the call lasted, in billionths of a second: `duration`, or else `endTime` less `startTime`.
    #[must_use]
    pub fn duration_nanos(&self) -> Option<i64> {
        let span = || Some(self.end_time.as_ref()?.nanos() - self.start_time.as_ref()?.nanos());
        self.duration.as_ref().map(Seconds::nanos).or_else(span)
    }
}

/// What a call cost: named exact amounts, in the order in which they were written.
///
/// ```
/// use callhistory_model::CallCost;
///
/// let cost = CallCost::new([("customer_charge", "0.10".parse()?)])?;
/// assert_eq!(cost.customer_charge().unwrap().as_str(), "0.10");
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCost(Vec<(String, Amount)>);

impl CallCost {
    const CUSTOMER_CHARGE: &'static str = "customer_charge";

    /// The amounts under their names.
    ///
    /// # Errors
    ///
    /// Refuses a name that stands twice, has more than 256 characters or holds U+0000, and more than 64 amounts.
    pub fn new<N: Into<String>>(amounts: impl IntoIterator<Item = (N, Amount)>) -> Result<Self, FieldError> {
        let mut cost = Self::default();
        for (name, amount) in amounts {
            cost.insert(name.into(), amount)?;
        }
        Ok(cost)
    }

    fn insert(&mut self, name: String, amount: Amount) -> Result<(), FieldError> {
        if self.get(&name).is_some() {
            return Err(FieldError::new(
                FieldErrorCode::DuplicateMember,
                format!("has the member {name:?} more than once"),
            ));
        }
        if name.chars().count() > MAX_LABEL_CHARS {
            let detail = format!("has a member name of more than {MAX_LABEL_CHARS} characters");
            return Err(FieldError::new(FieldErrorCode::TooLong, detail));
        }
        if name.contains('\0') {
            return Err(FieldError::new(
                FieldErrorCode::NulCharacter,
                "has a member name that contains the character U+0000",
            ));
        }
        if self.0.len() == MAX_COST_MEMBERS {
            let detail = format!("has more than {MAX_COST_MEMBERS} members");
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        self.0.push((name, amount));
        Ok(())
    }

    /// The charge to the customer for the call, in the currency of the workspace's records.
    #[must_use]
    pub fn customer_charge(&self) -> Option<&Amount> {
        self.get(Self::CUSTOMER_CHARGE)
    }

    /// The amount under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Amount> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, amount)| amount)
    }

    /// Every amount with its name, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Amount)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }

    fn read(json: &str) -> Result<Self, FieldError> {
        let mut cost = Self::default();
        for (name, value) in object(json)? {
            let amount = number(value).map_err(|error| error.prefix_pointer(&format!("/{}", escape_pointer(&name))))?;
            cost.insert(name, amount)?;
        }
        Ok(cost)
    }
}

impl serde::Serialize for CallCost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for CallCost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Self::read(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CallCost {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CallCost".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let amount = generator.subschema_for::<Amount>();
        let mut charge = amount.clone();
        charge.insert(
            "description".into(),
            "The charge to the customer for the call: an exact decimal, in the currency of the records.".into(),
        );
        schemars::json_schema!({
            "description": "What a call cost: exact decimals under their names, in the currency of the workspace.",
            "type": "object",
            "properties": { Self::CUSTOMER_CHARGE: charge },
            "additionalProperties": amount,
            "propertyNames": { "maxLength": MAX_LABEL_CHARS, "pattern": NO_NUL },
            "maxProperties": MAX_COST_MEMBERS,
        })
    }
}
