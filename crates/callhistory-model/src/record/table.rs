//! The members of a record, one line each. The structs, their parsers, serialization and schema come from this table.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    cost::CallCost,
    rules::{MAX_ENUM_BYTES, MAX_LABEL_BYTES, MAX_PHONE_BYTES, MAX_SUMMARY_BYTES, MAX_URL_BYTES, MemberReader},
};
use crate::{
    CallId, CallOutcome, CallStatus, CallType, Direction, FieldError, FieldErrorCode, JsonArray, JsonObject, JsonText,
    Seconds, Timestamp, UnixSeconds, WorkspaceId,
};

/// The type of a member in [`CallRecord`]: `always` present, or `optional`.
macro_rules! slot {
    (always $type:ty) => { $type };
    (optional $type:ty) => { Option<$type> };
}

/// Takes a member of [`CallRecord`] from an input that may lack it: an error, or what a response counts as.
macro_rules! take_slot {
    (always $value:expr, $wire:literal) => {
        $value
            .ok_or_else(|| FieldError::new(FieldErrorCode::Missing, "is missing").prefix_pointer(concat!("/", $wire)))?
    };
    (optional $value:expr, $wire:literal) => {
        $value
    };
    (or_unknown always $value:expr) => {
        $value.unwrap_or_else(Unreadable::unreadable)
    };
    (or_unknown optional $value:expr) => {
        $value
    };
}

/// The last known member. Unknown members come before it, so that a stored record can be completed with its transcript.
const LAST_MEMBER: &str = "transcript";

/// Serializes the members of a record or an input in the order of the table.
macro_rules! serialize_members {
    ($record:expr, $serializer:expr, $($name:ident: $wire:literal, $type:ty;)+) => {{
        use serde::ser::SerializeMap as _;
        let mut map = $serializer.serialize_map(None)?;
        $(if $wire == LAST_MEMBER {
            for (name, value) in &$record.extra {
                map.serialize_entry(name, value)?;
            }
        }
        // What a response had in the place of a member is written back as it was.
        if let Some(value) = Option::<&$type>::from(&$record.$name)
            && ($record.extra.is_empty() || $record.extra.iter().all(|(name, _)| name != $wire))
        {
            map.serialize_entry($wire, value)?;
        })+
        map.end()
    }};
}

/// One line for each member: documentation, name, presence, type, and the rule that parses it.
macro_rules! members {
    ($($(#[doc = $doc:literal])+ $name:ident: $wire:literal, $presence:ident $type:ty = $rule:expr;)+) => {
        /// A call record, as the service returns it.
        ///
        /// Members that this version does not know are kept in [`extra`](Self::extra).
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(description = "A call record, as the service returns it."))]
        #[non_exhaustive]
        pub struct CallRecord {
            $($(#[doc = $doc])+
            #[cfg_attr(feature = "schema", schemars(rename = $wire))]
            pub $name: slot!($presence $type),)+
            /// Members that this version does not know, as JSON text: of a lenient write, or of a newer service. A known
            /// member whose value this version cannot read is here under its name, and counts as absent or empty.
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub extra: Vec<(String, JsonText)>,
        }

        /// A call record, as a caller sends it: the members of [`CallRecord`], each one optional.
        ///
        /// The path and the header define `_id` and `workspaceId`; the body may repeat them. The service sets `createdAt`
        /// and `updatedAt` unless a replacement contains the original values.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(description = "A call record, as a caller sends it. \
            The path and the header define `_id` and `workspaceId`; the body may repeat them. The service sets `createdAt` \
            and `updatedAt` unless a replacement contains the original values."))]
        pub struct CallInput {
            $($(#[doc = $doc])+
            #[cfg_attr(feature = "schema", schemars(rename = $wire))]
            pub $name: Option<$type>,)+
            /// Members that this version does not know, as JSON text. Strict handling accepts those that the stored record has.
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub extra: Vec<(String, JsonText)>,
        }

        impl CallRecord {
            /// The names of the members, in the order in which they are serialized.
            pub const MEMBERS: &'static [&'static str] = &[$($wire),+];
        }

        impl CallInput {
            /// Parses one member; `None` if its name is unknown.
            pub(super) fn read_member(
                &mut self,
                name: &str,
                json: &str,
                reader: &mut MemberReader,
            ) -> Option<Result<(), FieldError>> {
                Some(match name {
                    $($wire => {
                        let rule: fn(&mut MemberReader, &str) -> Result<$type, FieldError> = $rule;
                        rule(reader, json).map(|value| self.$name = Some(value))
                    })+
                    _ => return None,
                })
            }

            /// The record of this input, without defaults.
            fn complete(self) -> Result<CallRecord, FieldError> {
                Ok(CallRecord { $($name: take_slot!($presence self.$name, $wire),)+ extra: self.extra })
            }
        }

        impl serde::Serialize for CallInput {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_members!(self, serializer, $($name: $wire, $type;)+)
            }
        }

        impl serde::Serialize for CallRecord {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_members!(self, serializer, $($name: $wire, $type;)+)
            }
        }

        impl CallRecord {
            /// Reads the members of a response, if each known one has the type of this version. A null counts as absent.
            pub(super) fn read_exact<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
                let mut input = CallInput::default();
                while let Some(member) = map.next_key::<String>()? {
                    match member.as_str() {
                        $($wire => input.$name = map.next_value()?,)+
                        _ => input.extra.push((member, map.next_value()?)),
                    }
                }
                input.complete().map_err(serde::de::Error::custom)
            }

            /// Reads the members of a response, whatever their values are: what this version cannot read is kept as text.
            pub(super) fn read_any(members: Vec<(Cow<'_, str>, &RawValue)>) -> Self {
                let mut input = CallInput::default();
                for (member, json) in members {
                    let is_read = match member.as_ref() {
                        $($wire => serde_json::from_str(json.get()).map(|value| input.$name = value).is_ok(),)+
                        _ => false,
                    };
                    if !is_read {
                        input.extra.push((member.into_owned(), json.to_owned().into()));
                    }
                }
                let record = Self { $($name: take_slot!(or_unknown $presence input.$name),)+ extra: input.extra };
                record.with_absent_members()
            }
        }

        impl From<CallRecord> for CallInput {
            /// The input that writes this record unchanged.
            fn from(record: CallRecord) -> Self {
                Self { $($name: record.$name.into(),)+ extra: record.extra }
            }
        }
    };
}

members! {
    /// Unique ID of the call record.
    id: "_id", always CallId = MemberReader::id;
    /// ID of the workspace that the record belongs to.
    workspace_id: "workspaceId", always WorkspaceId = MemberReader::id;
    /// ID of the agent that handled the call.
    agent_id: "agentId", optional String = MemberReader::label;
    /// ID of the call flow.
    call_flow_id: "callFlowId", optional String = MemberReader::label;
    /// Name of the virtual room of the call.
    room_name: "roomName", optional String = MemberReader::label;
    /// Call direction.
    direction: "direction", optional Direction = MemberReader::extensible_enum;
    /// Phone number of the caller: E.164, a SIP URI, an extension, or a word such as `anonymous`.
    from_phone_number: "fromPhoneNumber", optional String = |reader, json| reader.text(json, MAX_PHONE_BYTES);
    /// Phone number of the callee, in the formats of `fromPhoneNumber`.
    to_phone_number: "toPhoneNumber", optional String = |reader, json| reader.text(json, MAX_PHONE_BYTES);
    /// Call status; the final status once the call has ended.
    status: "status", optional CallStatus = MemberReader::extensible_enum;
    /// Start time as Unix seconds (fractions allowed).
    start_time: "startTime", optional UnixSeconds = MemberReader::unix_seconds;
    /// End time as Unix seconds (fractions allowed).
    end_time: "endTime", optional UnixSeconds = MemberReader::unix_seconds;
    /// Cost of the call: named decimal amounts, and their currency.
    cost: "cost", optional CallCost = CallCost::read;
    /// Custom data about the call, as any JSON object.
    metadata: "metadata", always JsonObject = MemberReader::object;
    /// Tool (function) calls made by the agent during the call.
    function_calls: "functionCalls", always JsonArray = MemberReader::array;
    /// Summary of the conversation.
    summary: "summary", optional String = |reader, json| reader.text(json, MAX_SUMMARY_BYTES);
    /// Results of the post-call analysis.
    analyzed_data: "analyzedData", always JsonObject = MemberReader::object;
    /// Time when the record was created (RFC 3339).
    created_at: "createdAt", always Timestamp = MemberReader::timestamp;
    /// Time when the record was last updated (RFC 3339).
    updated_at: "updatedAt", always Timestamp = MemberReader::timestamp;
    /// Call ID at the telephony provider.
    call_id: "callId", optional String = MemberReader::label;
    /// ID of the batch that the call belongs to.
    batch_id: "batchId", optional String = MemberReader::label;
    /// Transport of the call.
    call_type: "callType", optional CallType = MemberReader::extensible_enum;
    /// Name of the agent.
    agent: "agent", optional String = MemberReader::label;
    /// Name of the call flow.
    call_flow_name: "callFlowName", optional String = MemberReader::label;
    /// Call duration in seconds.
    duration: "duration", optional Seconds = MemberReader::seconds;
    /// Time when the call was answered, as Unix seconds (fractions allowed).
    answered_at: "answeredAt", optional UnixSeconds = MemberReader::unix_seconds;
    /// URL of the recording.
    recording_url: "recordingUrl", optional String = |reader, json| reader.text(json, MAX_URL_BYTES);
    /// Input variables of the call flow.
    variables: "variables", optional JsonObject = MemberReader::object;
    /// Conversation turns, usually objects with `role` and `content`.
    transcript: "transcript", optional JsonArray = MemberReader::array;
}

/// What counts where a response has no value that this version can read.
trait Unreadable {
    fn unreadable() -> Self;
}

macro_rules! unreadable_text {
    ($($name:ident),+) => {
        $(impl Unreadable for $name {
            fn unreadable() -> Self {
                Self::of_response(String::new())
            }
        })+
    };
}

unreadable_text!(CallId, WorkspaceId, Timestamp);

impl Unreadable for JsonObject {
    fn unreadable() -> Self {
        Self::default()
    }
}

impl Unreadable for JsonArray {
    fn unreadable() -> Self {
        Self::default()
    }
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

    /// Default of the maximum size of a stored record with its originals, in bytes.
    pub const DEFAULT_MAX_BYTES: usize = 16 * 1024 * 1024;

    /// The record, which is written back as it was: what it lacked stays absent, and an ID that is no text has the text of its JSON.
    fn with_absent_members(mut self) -> Self {
        let kept = |extra: &[(String, JsonText)], name: &str| extra.iter().position(|(known, _)| known == name);
        if let Some(at) = kept(&self.extra, "_id") {
            self.id = CallId::of_response(self.extra[at].1.as_str().to_owned());
        }
        let texts = [
            ("workspaceId", self.workspace_id.as_str()),
            ("createdAt", self.created_at.as_str()),
            ("updatedAt", self.updated_at.as_str()),
        ];
        for (name, text) in texts {
            if text.is_empty() && kept(&self.extra, name).is_none() {
                self.extra.push((name.to_owned(), JsonText::null()));
            }
        }
        self
    }

    /// The longest duration that is known, 366 days in nanoseconds.
    pub const MAX_DURATION_NANOS: i64 = 366 * 86_400 * 1_000_000_000;

    /// Longest part of a label that filters compare, in bytes.
    pub const MAX_LABEL_BYTES: usize = MAX_LABEL_BYTES;

    /// Longest part of a status, a direction, a call type or a phone number that filters compare, in bytes.
    pub const MAX_ENUM_BYTES: usize = MAX_ENUM_BYTES;

    /// The default sort key of lists, in nanoseconds since 1970: `startTime`, or else `createdAt`.
    #[must_use]
    pub fn sort_time_nanos(&self) -> i64 {
        self.start_time.as_ref().and_then(UnixSeconds::nanos).unwrap_or(self.created_at.unix_nanos())
    }

    /// Whether the call was answered: `answeredAt` is known and not before `startTime`, or the outcome is
    /// `completed` or `voicemail`.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let outcome = self.status.as_ref().map(CallStatus::outcome);
        self.answer_nanos().is_some() || matches!(outcome, Some(CallOutcome::Completed | CallOutcome::Voicemail))
    }

    /// The talk time in nanoseconds: `endTime` minus `answeredAt`; `None` if it is not known or makes no sense.
    #[must_use]
    pub fn talk_time_nanos(&self) -> Option<i64> {
        let span = self.end_time.as_ref()?.nanos()? - self.answer_nanos()?;
        (0..=Self::MAX_DURATION_NANOS).contains(&span).then_some(span)
    }

    /// The time of the answer, if it is known and not before the start.
    fn answer_nanos(&self) -> Option<i64> {
        let answer = self.answered_at.as_ref()?.nanos()?;
        let start = self.start_time.as_ref().and_then(UnixSeconds::nanos);
        start.is_none_or(|start| start <= answer).then_some(answer)
    }

    /// The duration in nanoseconds: `duration`, or else `endTime` minus `startTime`; `None` if it is not known or makes no sense.
    #[must_use]
    pub fn duration_nanos(&self) -> Option<i64> {
        match &self.duration {
            Some(duration) => duration.nanos(),
            None => {
                let span = span_nanos(self.start_time.as_ref(), self.end_time.as_ref())?;
                (0..=Self::MAX_DURATION_NANOS).contains(&span).then_some(span)
            }
        }
    }
}

/// The time from start to end, in nanoseconds; negative if the end is before the start.
pub(super) fn span_nanos(start: Option<&UnixSeconds>, end: Option<&UnixSeconds>) -> Option<i64> {
    Some(end?.nanos()? - start?.nanos()?)
}
