//! The members of a record, one line each. The structs, their parsers, serialization and schema come from this table.

#[cfg(feature = "schema")]
use super::rules::{MAX_LABEL_CHARS, MAX_SUMMARY_BYTES, NO_NUL};
use super::{
    cost::CallCost,
    rules::{MAX_PHONE_CHARS, MAX_URL_CHARS, extensible_enum, label, number, string_as, summary, text},
};
use crate::{
    CallId, CallStatus, CallType, Direction, FieldError, FieldErrorCode, JsonArray, JsonObject, JsonText, Seconds,
    Timestamp, UnixSeconds, WorkspaceId,
};

/// The type of a member in [`CallRecord`]: `always` present, or `optional`.
macro_rules! slot {
    (always $type:ty) => { $type };
    (optional $type:ty) => { Option<$type> };
}

/// Takes a member of [`CallRecord`] from an input that may lack it.
macro_rules! take_slot {
    (always $value:expr, $wire:literal) => {
        $value
            .ok_or_else(|| FieldError::new(FieldErrorCode::Missing, "is missing").prefix_pointer(concat!("/", $wire)))?
    };
    (optional $value:expr, $wire:literal) => {
        $value
    };
}

/// One line for each member: documentation, bounds, name, presence, type, and the rule that parses it.
macro_rules! members {
    ($($(#[doc = $doc:literal])+ $(#[bound($($bound:tt)*)])? $name:ident: $wire:literal, $presence:ident $type:ty = $rule:expr;)+) => {
        /// A call record, as the service returns it.
        ///
        /// Members that this version does not know are kept in [`extra`](Self::extra).
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(description = "A call record, as the service returns it."))]
        #[non_exhaustive]
        pub struct CallRecord {
            $($(#[doc = $doc])+
            #[cfg_attr(feature = "schema", schemars(rename = $wire $(, $($bound)*)?))]
            pub $name: slot!($presence $type),)+
            /// Members of a newer service in the order received, as JSON text.
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub extra: Vec<(String, JsonText)>,
        }

        /// A call record, as a caller sends it: the members of [`CallRecord`], each one optional.
        ///
        /// The path and the header define `_id` and `workspaceId`; the body may repeat them. The service sets `createdAt`
        /// and `updatedAt` unless a replacement contains the original values.
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(deny_unknown_fields, description = "A call record, as a caller sends it. \
            The path and the header define `_id` and `workspaceId`; the body may repeat them. The service sets `createdAt` \
            and `updatedAt` unless a replacement contains the original values."))]
        pub struct CallInput {
            $($(#[doc = $doc])+
            #[serde(rename = $wire, skip_serializing_if = "Option::is_none")]
            $(#[cfg_attr(feature = "schema", schemars($($bound)*))])?
            pub $name: Option<$type>,)+
        }

        impl CallRecord {
            /// The names of the members, in the order in which they are serialized.
            pub const MEMBERS: &'static [&'static str] = &[$($wire),+];
        }

        impl CallInput {
            /// Parses one member; `None` if its name is unknown.
            pub(super) fn read_member(&mut self, name: &str, json: &str) -> Option<Result<(), FieldError>> {
                Some(match name {
                    $($wire => {
                        let rule: fn(&str) -> Result<$type, FieldError> = $rule;
                        rule(json).map(|value| self.$name = Some(value))
                    })+
                    _ => return None,
                })
            }

            /// The record of this input, without defaults.
            fn complete(self) -> Result<CallRecord, FieldError> {
                Ok(CallRecord { $($name: take_slot!($presence self.$name, $wire),)+ extra: Vec::new() })
            }
        }

        impl serde::Serialize for CallRecord {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(if let Some(value) = Option::<&$type>::from(&self.$name) {
                    map.serialize_entry($wire, value)?;
                })+
                for (name, value) in &self.extra {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl CallRecord {
            /// Parses a response: unknown members are kept, a null counts as absent.
            pub(super) fn read_lenient<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
                let mut input = CallInput::default();
                let mut extra = Vec::new();
                while let Some(member) = map.next_key::<String>()? {
                    match member.as_str() {
                        $($wire => input.$name = map.next_value()?,)+
                        _ => extra.push((member, map.next_value()?)),
                    }
                }
                Ok(Self { extra, ..input.complete().map_err(serde::de::Error::custom)? })
            }
        }

        impl From<CallRecord> for CallInput {
            /// The input that writes this record unchanged, without members of a newer service.
            fn from(record: CallRecord) -> Self {
                Self { $($name: record.$name.into(),)+ }
            }
        }
    };
}

members! {
    /// Unique ID of the call record.
    id: "_id", always CallId = string_as;
    /// ID of the workspace that the record belongs to.
    workspace_id: "workspaceId", always WorkspaceId = string_as;
    /// ID of the agent that handled the call.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    agent_id: "agentId", optional String = label;
    /// ID of the call flow.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_flow_id: "callFlowId", optional String = label;
    /// Name of the virtual room of the call.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    room_name: "roomName", optional String = label;
    /// Call direction.
    direction: "direction", optional Direction = extensible_enum;
    /// Phone number of the caller: E.164, a SIP URI, an extension, or a word such as `anonymous`.
    #[bound(length(max = MAX_PHONE_CHARS), regex(pattern = NO_NUL))]
    from_phone_number: "fromPhoneNumber", optional String = |json| text(json, MAX_PHONE_CHARS);
    /// Phone number of the callee, in the formats of `fromPhoneNumber`.
    #[bound(length(max = MAX_PHONE_CHARS), regex(pattern = NO_NUL))]
    to_phone_number: "toPhoneNumber", optional String = |json| text(json, MAX_PHONE_CHARS);
    /// Call status; the final status once the call has ended.
    status: "status", optional CallStatus = extensible_enum;
    /// Start time as Unix seconds (fractions allowed), before the year 2260.
    start_time: "startTime", optional UnixSeconds = number;
    /// End time as Unix seconds (fractions allowed); not before `startTime`.
    end_time: "endTime", optional UnixSeconds = number;
    /// Cost of the call: named decimal amounts.
    cost: "cost", optional CallCost = CallCost::read;
    /// Custom data about the call, as any JSON object.
    metadata: "metadata", always JsonObject = str::parse;
    /// Tool (function) calls made by the agent during the call.
    function_calls: "functionCalls", always JsonArray = str::parse;
    /// Summary of the conversation; at most 65,536 bytes of UTF-8.
    #[bound(length(max = MAX_SUMMARY_BYTES), regex(pattern = NO_NUL))]
    summary: "summary", optional String = summary;
    /// Results of the post-call analysis.
    analyzed_data: "analyzedData", always JsonObject = str::parse;
    /// Time when the record was created (RFC 3339, UTC).
    created_at: "createdAt", always Timestamp = string_as;
    /// Time when the record was last updated (RFC 3339, UTC).
    updated_at: "updatedAt", always Timestamp = string_as;
    /// Call ID at the telephony provider.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_id: "callId", optional String = label;
    /// ID of the batch that the call belongs to.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    batch_id: "batchId", optional String = label;
    /// Transport of the call.
    call_type: "callType", optional CallType = extensible_enum;
    /// Name of the agent.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    agent: "agent", optional String = label;
    /// Name of the call flow.
    #[bound(length(max = MAX_LABEL_CHARS), regex(pattern = NO_NUL))]
    call_flow_name: "callFlowName", optional String = label;
    /// Call duration in seconds; at most 366 days.
    duration: "duration", optional Seconds = number;
    /// URL of the recording.
    #[bound(length(max = MAX_URL_CHARS), regex(pattern = NO_NUL))]
    recording_url: "recordingUrl", optional String = |json| text(json, MAX_URL_CHARS);
    /// Input variables of the call flow.
    variables: "variables", optional JsonObject = str::parse;
    /// Conversation turns, usually objects with `role` and `content`.
    transcript: "transcript", optional JsonArray = str::parse;
}

impl CallInput {
    /// Completes the record, with `{}` and `[]` for absent free-form members.
    ///
    /// # Errors
    ///
    /// Fails if `_id`, `workspaceId`, `createdAt` or `updatedAt` is not set.
    pub fn into_record(mut self) -> Result<CallRecord, FieldError> {
        self.metadata.get_or_insert_default();
        self.function_calls.get_or_insert_default();
        self.analyzed_data.get_or_insert_default();
        self.complete()
    }
}

impl CallRecord {
    /// The canonical JSON of the record, with the members in the order of [`MEMBERS`](Self::MEMBERS). The service stores
    /// and returns this form.
    #[must_use]
    #[expect(clippy::expect_used, reason = "every key is a string and every value can be serialized")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is JSON")
    }

    /// Maximum size of a stored record, in bytes of its canonical JSON.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The default sort key of lists, in nanoseconds since 1970: `startTime`, or else `createdAt`.
    #[must_use]
    pub fn sort_time_nanos(&self) -> i64 {
        self.start_time.as_ref().map_or(self.created_at.unix_nanos(), UnixSeconds::nanos)
    }

    /// The duration in nanoseconds: `duration`, or else `endTime` minus `startTime`.
    #[must_use]
    pub fn duration_nanos(&self) -> Option<i64> {
        let span = || Some(self.end_time.as_ref()?.nanos() - self.start_time.as_ref()?.nanos());
        self.duration.as_ref().map(Seconds::nanos).or_else(span)
    }
}
