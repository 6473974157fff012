//! Warnings: what a write keeps, reads in another form, or leaves out, without a refusal.

use crate::{
    field_error::{escape_pointer, truncated},
    reply_struct::reply_struct,
    value::extensible_enum::extensible_enum,
};

/// How a write treats a document that breaks a rule (the preference `handling` of RFC 7240).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Handling {
    /// Refuses what a careful sender would not send: unknown members, wrong types, wrong units.
    #[default]
    Strict,
    /// Keeps the call: converts what can be understood, leaves out what cannot, and names both.
    Lenient,
}

impl Handling {
    /// The value of the preference.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        }
    }
}

extensible_enum! {
    /// Machine-readable warning code. Codes are stable; later versions may add codes.
    WarningCode {
        /// The end is before the start; both are kept, and the duration counts as unknown.
        EndBeforeStart = "end_before_start",
        /// The value is kept, but is out of range and counts as unknown.
        OutOfRange = "out_of_range",
        /// The number is kept digit for digit; filters and sums use nine decimal places.
        Rounded = "rounded",
        /// The text is longer than what filters compare; it is kept.
        TooLong = "too_long",
        /// The member is not a member of a record; it is kept at top level.
        UnknownMember = "unknown_member",
        /// The status is kept, because it is final and the one that was sent is live.
        StatusKept = "status_kept",
        /// Another value of the member is kept, by the rule of merging.
        ValueKept = "value_kept",
        /// The record is kept, because its status is final and the one that was sent is not.
        Stale = "stale",
        /// A text was read as a number.
        NumberAsText = "number_as_text",
        /// A number was read as a text.
        TextAsNumber = "text_as_number",
        /// An RFC 3339 time was read as Unix seconds.
        TimeAsText = "time_as_text",
        /// A number was read as the cost of a call.
        CostAsNumber = "cost_as_number",
        /// An empty array was read as an empty object.
        EmptyArray = "empty_array",
        /// The member was read under another name.
        Renamed = "renamed",
        /// A time or a duration in milliseconds, microseconds or nanoseconds was converted to seconds.
        UnitConverted = "unit_converted",
        /// A value of MongoDB extended JSON was read as the value that it encodes.
        ExtendedJson = "extended_json",
        /// Characters that are not Unicode, or that no text may have, were replaced by U+FFFD.
        CharactersReplaced = "characters_replaced",
        /// `NaN` or `Infinity` is not JSON; the number is left out.
        NotANumber = "not_a_number",
        /// The member occurs more than once; the last value is kept.
        DuplicateMember = "duplicate_member",
        /// The member has an unreadable value and is left out.
        LeftOut = "left_out",
        /// The ID was derived from another member, or from the document.
        IdDerived = "id_derived",
        /// The document names another workspace.
        WorkspaceChanged = "workspace_changed",
    }
}

impl WarningCode {
    /// Whether the stored record has what was sent. Otherwise the document is kept as an original.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        matches!(
            self,
            Self::EndBeforeStart
                | Self::OutOfRange
                | Self::Rounded
                | Self::TooLong
                | Self::UnknownMember
                | Self::IdDerived
                | Self::WorkspaceChanged
        )
    }
}

reply_struct! {
    /// One warning about a document that was accepted.
    #[derive(Clone, Debug, PartialEq, Eq)]
    FieldWarning {
        /// Location in the document, as a JSON pointer (RFC 6901).
        "pointer" always pointer: String,
        /// Machine-readable warning code.
        "code" always code: WarningCode,
        /// Human-readable explanation: what was found and what the service did.
        "detail" always detail: String,
    }
}

impl FieldWarning {
    /// Maximum number of warnings about one document.
    pub const MAX: usize = 100;

    /// A warning without a location.
    #[must_use]
    pub fn new(code: WarningCode, detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), code, detail: truncated(detail.into()), extra: Vec::new() }
    }

    /// The same warning, with `pointer` in front of its pointer.
    #[must_use]
    pub fn prefix_pointer(mut self, pointer: &str) -> Self {
        self.pointer = truncated(format!("{pointer}{}", self.pointer));
        self
    }

    /// The same warning, in the member with this name.
    pub(crate) fn in_member(self, name: &str) -> Self {
        self.prefix_pointer(&format!("/{}", escape_pointer(name)))
    }
}
