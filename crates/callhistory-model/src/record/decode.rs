//! The parser of records in requests, strict or lenient.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use serde_json::value::RawValue;

use super::{repair::repair, rules::MemberReader, table::span_nanos};
use crate::{
    CallInput, CallRecord, FieldError, FieldErrorCode, FieldErrors, FieldWarning, Handling, WarningCode,
    field_error::escape_pointer,
    spelling::nearest_name,
    value::{
        decimal::FineUnit,
        raw_json::{Members, decode_string, free_form_text, type_name, with_paired_surrogates},
    },
};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A document that was accepted, and what is to say about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParsedCall {
    /// The record.
    pub input: CallInput,
    /// Up to [`FieldWarning::MAX`] warnings, in the order of the document.
    pub warnings: Vec<FieldWarning>,
    /// Whether the record lacks something that the document has: the document is kept as an original.
    pub is_changed: bool,
    /// The text of an `_id` that cannot be one, which lenient handling left out.
    pub(super) refused_id: Option<String>,
}

impl CallInput {
    /// Parses the record of a request in strict handling, and forgets the warnings.
    ///
    /// # Errors
    ///
    /// All errors of the document, up to 100: invalid JSON, unknown or duplicate members, and members that break their rule.
    pub fn from_json(json: &[u8]) -> Result<Self, FieldErrors> {
        let mut document = Document::read(json, Handling::Strict);
        document.check_facts(|_| true);
        let unknown = document.input.check_extra(None).err();
        document.errors.extend(unknown.into_iter().flat_map(|FieldErrors(errors)| errors));
        document.finish().map(|parsed| parsed.input)
    }

    /// Parses the record of a request. A `null` member counts as absent. Unknown members are kept in [`extra`](Self::extra);
    /// strict handling accepts them only as far as [`check_extra`](Self::check_extra) does.
    ///
    /// ```
    /// use callhistory_model::{CallInput, Handling};
    ///
    /// let sent = br#"{"startTime": "1680000000", "endTime": null, "cost": 0.1, "sentiment": "good"}"#;
    /// let parsed = CallInput::parse(sent, Handling::Lenient)?;
    /// assert_eq!(parsed.input.start_time.unwrap().as_str(), "1680000000");
    /// assert_eq!(parsed.input.extra[0].0, "sentiment");
    /// let codes: Vec<_> = parsed.warnings.iter().map(|warning| warning.code.as_str()).collect();
    /// assert_eq!(codes, ["number_as_text", "cost_as_number", "unknown_member"]);
    /// # Ok::<(), callhistory_model::FieldErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Lenient handling refuses what is not a JSON object. Strict handling also refuses duplicate members and members that break
    /// their rule; all errors of the document, up to 100.
    pub fn parse(json: &[u8], handling: Handling) -> Result<ParsedCall, FieldErrors> {
        let mut document = Document::read(json, handling);
        document.check_facts(|_| true);
        document.finish()
    }

    /// Checks the unknown members of a strict write: a record that was read can be written back, so it may have those that the
    /// stored record has.
    ///
    /// # Errors
    ///
    /// An error for each other unknown member.
    pub fn check_extra(&self, stored: Option<&CallRecord>) -> Result<(), FieldErrors> {
        let known: HashSet<&str> =
            stored.into_iter().flat_map(|record| &record.extra).map(|(name, _)| name.as_str()).collect();
        let unknown = self.extra.iter().filter(|(name, _)| !known.contains(name.as_str()));
        let errors: Vec<_> =
            unknown.take(FieldErrors::MAX).map(|(name, _)| unknown_member(name).in_member(name)).collect();
        if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
    }
}

/// A document while it is read.
pub(super) struct Document {
    reader: MemberReader,
    input: CallInput,
    /// The warnings, each with the position of its member in the document.
    warnings: Vec<(usize, FieldWarning)>,
    errors: Vec<FieldError>,
    is_changed: bool,
    refused_id: Option<String>,
    purpose: Purpose,
    /// The members that a patch removes.
    removed: Vec<String>,
    /// The pointers of members that have `null` only because they had no number.
    unreadable: Vec<String>,
    /// Which known members have a value.
    is_set: [bool; CallRecord::MEMBERS.len()],
}

/// What a document is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is a record.
    Record,
    /// It is a merge patch, in which `null` removes a member.
    Patch,
    /// It is a record whose members were read before.
    Merged,
}

/// The place of a known member among all of them.
fn place_of(name: &str) -> Option<usize> {
    CallRecord::MEMBERS.iter().position(|known| *known == name)
}

/// Where in a document each name occurs last. Known names do not need a hash.
#[derive(Default)]
struct Names<'a> {
    known: [Option<usize>; CallRecord::MEMBERS.len()],
    unknown: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Adds a name; returns its place among the known members, and whether it occurs for the first time.
    fn insert(&mut self, name: &'a str, at: usize) -> (Option<usize>, bool) {
        let known = place_of(name);
        let before = match known {
            Some(place) => self.known[place].replace(at),
            None => self.unknown.insert(name, at),
        };
        (known, before.is_none())
    }

    fn last(&self, name: &str, known: Option<usize>) -> Option<usize> {
        known.map_or_else(|| self.unknown.get(name).copied(), |place| self.known[place])
    }
}

impl Document {
    fn new(handling: Handling) -> Self {
        Self {
            reader: MemberReader { handling, ..MemberReader::default() },
            input: CallInput::default(),
            warnings: Vec::new(),
            errors: Vec::new(),
            is_changed: false,
            refused_id: None,
            purpose: Purpose::Record,
            removed: Vec::new(),
            unreadable: Vec::new(),
            is_set: Default::default(),
        }
    }

    /// Reads a record as it was sent.
    fn read(json: &[u8], handling: Handling) -> Self {
        let mut document = Self::new(handling);
        document.read_json(json);
        document
    }

    /// Reads a merge patch as it was sent.
    pub(super) fn read_patch(json: &[u8], handling: Handling) -> Self {
        let mut document = Self { purpose: Purpose::Patch, ..Self::new(handling) };
        document.read_json(json);
        document
    }

    /// Reads a record whose members were all read before: each has one meaning, and nothing is to say about it.
    pub(super) fn read_merged(json: &str, handling: Handling) -> Self {
        let mut document = Self { purpose: Purpose::Merged, ..Self::new(Handling::Lenient) };
        document.read_json(json.as_bytes());
        document.warnings.clear();
        document.is_changed = false;
        document.reader.handling = handling;
        document
    }

    pub(super) fn finish(mut self) -> Result<ParsedCall, FieldErrors> {
        self.errors.truncate(FieldErrors::MAX);
        if !self.errors.is_empty() {
            return Err(FieldErrors(self.errors));
        }
        self.warnings.sort_by_key(|(at, _)| *at);
        self.warnings.truncate(FieldWarning::MAX);
        let warnings = self.warnings.into_iter().map(|(_, warning)| warning).collect();
        Ok(ParsedCall { input: self.input, warnings, is_changed: self.is_changed, refused_id: self.refused_id })
    }

    /// The members that a patch removes: by their own names, and inside the cost by theirs.
    pub(super) fn take_removed(&mut self) -> (Vec<String>, Vec<String>) {
        (std::mem::take(&mut self.removed), std::mem::take(&mut self.reader.removed_from_cost))
    }

    /// Takes the warnings about a member. A hostile document has many, of which each is bounded.
    pub(super) fn note(&mut self, at: usize, warnings: impl IntoIterator<Item = FieldWarning>) {
        for warning in warnings {
            self.is_changed |= !warning.code.is_lossless();
            if self.warnings.len() < 2 * FieldWarning::MAX {
                self.warnings.push((at, warning));
            }
        }
    }

    fn read_json(&mut self, json: &[u8]) {
        let json = without_byte_order_mark(json);
        if let Ok(text) = std::str::from_utf8(json)
            && let Ok(Members(members)) = serde_json::from_str(text)
        {
            return self.read_members(&members);
        }
        match repaired(json, self.reader.handling) {
            Ok((text, warnings)) => {
                // What was no number was not sent to remove the member.
                let lost = warnings.iter().filter(|warning| warning.code == WarningCode::NotANumber);
                self.unreadable = lost.map(|warning| warning.pointer.clone()).collect();
                self.note(0, warnings);
                if let Ok(Members(members)) = serde_json::from_str(&text) {
                    self.read_members(&members);
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn read_members(&mut self, members: &[(Cow<'_, str>, &RawValue)]) {
        let mut names = Names::default();
        let places: Vec<_> = members.iter().enumerate().map(|(at, (name, _))| names.insert(name, at)).collect();
        // Known members first: another name of one counts only if the document does not have the member itself.
        for is_known in [true, false] {
            for (at, ((name, value), (known, is_first))) in members.iter().zip(&places).enumerate() {
                if known.is_some() != is_known {
                    continue;
                }
                if !is_first && !self.reader.is_lenient() {
                    let error = FieldError::new(FieldErrorCode::DuplicateMember, "occurs more than once; send it once");
                    self.errors.push(error.in_member(name));
                } else if self.reader.is_lenient() && names.last(name, *known) != Some(at) {
                    self.reader.warn(WarningCode::DuplicateMember, "occurs more than once; the last value is kept");
                } else {
                    self.read_value(name, *known, value.get());
                }
                if !self.reader.warnings.is_empty() {
                    let warnings = std::mem::take(&mut self.reader.warnings);
                    self.note(at, warnings.into_iter().map(|warning| warning.in_member(name)));
                }
                if self.errors.len() >= FieldErrors::MAX {
                    return;
                }
            }
        }
    }

    fn read_value(&mut self, name: &str, known: Option<usize>, value: &str) {
        if value == "null" {
            return self.read_null(name);
        }
        let value = with_paired_surrogates(value);
        if matches!(value, Cow::Owned(_)) {
            self.reader.warn(WarningCode::CharactersReplaced, "contains an unpaired surrogate, which became U+FFFD");
        }
        if self.purpose == Purpose::Patch && matches!(name, "createdAt" | "updatedAt") {
            let detail = "is set by the service; to keep an original value, PUT the whole record";
            return self.refuse(name, &value, FieldError::new(FieldErrorCode::NotWritable, detail));
        }
        match self.input.read_member(name, &value, &mut self.reader) {
            Some(Ok(())) => self.is_set[known.unwrap_or(0)] = true,
            Some(Err(error)) => self.refuse(name, &value, error),
            None => {
                if !self.read_renamed(name, &value)
                    && let Err(error) = self.read_unknown(name, &value)
                {
                    self.errors.push(error.in_member(name));
                }
            }
        }
    }

    /// `null` is absence, and in a patch removes the member.
    fn read_null(&mut self, name: &str) {
        if self.purpose != Purpose::Patch || self.unreadable.contains(&format!("/{}", escape_pointer(name))) {
            return;
        }
        if matches!(name, "_id" | "workspaceId") {
            let error = FieldError::new(FieldErrorCode::NotWritable, "cannot be removed; omit it");
            return self.refuse(name, "null", error);
        }
        let is_renamed = self.reader.is_lenient() && place_of(name).is_none();
        self.removed.push(if is_renamed { alias(name).unwrap_or(name).to_owned() } else { name.to_owned() });
    }

    /// Refuses a member, or leaves it out in lenient handling.
    fn refuse(&mut self, name: &str, value: &str, error: FieldError) {
        if self.reader.is_lenient() {
            self.leave_out(name, value, &error);
        } else {
            self.errors.push(error.in_member(name));
        }
    }

    fn leave_out(&mut self, name: &str, value: &str, error: &FieldError) {
        self.reader.warnings.clear();
        self.reader.warn(WarningCode::LeftOut, format!("{error}; the member is left out"));
        // The identity of the call at its source: an import derives another ID from it.
        if name == "_id" {
            self.refused_id = decode_string(value).ok();
        }
    }

    /// Reads a member that has the name of a known one in other letters, unless the document has that one as well.
    fn read_renamed(&mut self, name: &str, value: &str) -> bool {
        let is_read = |known: &&str| name == TIMESTAMP || self.reader.is_lenient() && *known != "_id";
        let Some(known) = alias(name).filter(is_read).filter(|_| self.purpose != Purpose::Merged) else {
            return false;
        };
        let before = self.reader.warnings.len();
        let place = place_of(known).unwrap_or(0);
        if !self.is_set[place] && matches!(self.input.read_member(known, value, &mut self.reader), Some(Ok(()))) {
            self.is_set[place] = true;
            self.reader.warn(WarningCode::Renamed, format!("was read as {known:?}"));
            return true;
        }
        self.reader.warnings.truncate(before);
        false
    }

    fn read_unknown(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let lenient = self.reader.is_lenient();
        let distinct = if lenient { self.reader.without_duplicates(value) } else { value.into() };
        let text = free_form_text(&distinct);
        let json = match text {
            Ok(json) => json,
            Err(error) if lenient => {
                self.leave_out(name, value, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // A hostile document has many, and the search for a similar name takes longer than the rest.
        if lenient && self.warnings.len() < FieldWarning::MAX {
            self.reader.warn(WarningCode::UnknownMember, unknown_detail(name, "it is kept at top level"));
        }
        self.input.extra.push((name.to_owned(), json));
        Ok(())
    }

    /// Warns about facts that were sent and contradict others: both are kept, and what follows from them counts as unknown.
    pub(super) fn check_facts(&mut self, is_sent: impl Fn(&str) -> bool) {
        let input = &self.input;
        let span = span_nanos(input.start_time.as_ref(), input.end_time.as_ref());
        let until_answer = span_nanos(input.start_time.as_ref(), input.answered_at.as_ref());
        let dates = input.created_at.as_ref().zip(input.updated_at.as_ref());
        let until_update = dates.map(|(created, updated)| updated.unix_nanos().saturating_sub(created.unix_nanos()));
        let no_span = "both are kept, and no duration follows from them";
        let facts = [
            (span, "endTime", "startTime", no_span),
            (until_answer, "answeredAt", "startTime", "both are kept"),
            (until_update, "updatedAt", "createdAt", "both are kept"),
        ];
        for (span, later, earlier, detail) in facts {
            if span.is_some_and(|span| span < 0) && (is_sent(later) || is_sent(earlier)) {
                let detail = format!("is before {earlier}; {detail}");
                let warning = FieldWarning::new(WarningCode::EndBeforeStart, detail).in_member(later);
                self.note(usize::MAX, [warning]);
            }
        }
        let Some(duration) = self.input.duration.take_if(|_| is_sent("duration")) else { return };
        match span.and_then(|span| FineUnit::of_duration(&duration, span)) {
            None => self.input.duration = Some(duration),
            Some(unit) => match self.reader.converted(unit, duration.as_str()) {
                Ok(seconds) => self.input.duration = Some(seconds),
                Err(error) => self.errors.push(error.in_member("duration")),
            },
        }
        if let Some(duration) = &self.input.duration {
            self.reader.check_value(duration.check_range(), duration.is_rounded());
        }
        let warnings = std::mem::take(&mut self.reader.warnings);
        self.note(usize::MAX, warnings.into_iter().map(|warning| warning.in_member("duration")));
    }
}

/// The name of `startTime` in the list of the platform that the source documents.
const TIMESTAMP: &str = "timestamp";

/// The known member that a name means in another case or with separators, like `start_time`.
fn alias(name: &str) -> Option<&'static str> {
    if name == TIMESTAMP {
        return Some("startTime");
    }
    // Hostile names are long.
    let sent = (name.len() <= 64).then(|| letters(name))?;
    KNOWN_LETTERS.get(&sent).copied()
}

/// The letters of each known member.
static KNOWN_LETTERS: LazyLock<HashMap<String, &str>> =
    LazyLock::new(|| CallRecord::MEMBERS.iter().map(|known| (letters(known), *known)).collect());

fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect()
}

fn without_byte_order_mark(mut json: &[u8]) -> &[u8] {
    while let Some(rest) = json.strip_prefix(BYTE_ORDER_MARK) {
        json = rest;
    }
    json
}

/// A document that is not a JSON object, repaired as far as its handling allows.
fn repaired(json: &[u8], handling: Handling) -> Result<(String, Vec<FieldWarning>), FieldError> {
    let error = match std::str::from_utf8(json).map(serde_json::from_str::<Members<'_>>) {
        Ok(parsed) => document_error(json, &parsed.err().map_or_else(String::new, |error| error.to_string())),
        Err(error) => document_error(json, &format!("it is not UTF-8: {error}")),
    };
    let is_readable = handling == Handling::Lenient || std::str::from_utf8(json).is_ok();
    if error.code == FieldErrorCode::WrongType || !is_readable {
        return Err(error);
    }
    let (text, warnings) = repair(json, handling);
    if text.as_bytes() != json && serde_json::from_str::<Members<'_>>(&text).is_ok() {
        return Ok((text, warnings));
    }
    Err(error)
}

fn document_error(json: &[u8], error: &str) -> FieldError {
    if json.iter().all(u8::is_ascii_whitespace) {
        return FieldError::new(FieldErrorCode::Malformed, "is empty; a JSON object is expected");
    }
    if let Ok(value) = serde_json::from_slice::<&RawValue>(json)
        && !value.get().starts_with('{')
    {
        let detail = format!("is {}; a record is an object", type_name(value.get()));
        return FieldError::new(FieldErrorCode::WrongType, detail).prefix_pointer("");
    }
    FieldError::new(FieldErrorCode::Malformed, format!("is not valid JSON: {error}"))
}

fn unknown_detail(name: &str, otherwise: &str) -> String {
    match nearest_name(name, CallRecord::MEMBERS.iter().copied()) {
        Some(known) => format!("is not a member of a record; did you mean {known:?}?"),
        None => format!("is not a member of a record; {otherwise}"),
    }
}

fn unknown_member(name: &str) -> FieldError {
    let otherwise = "put custom data into \"metadata\", or send it with Prefer: handling=lenient";
    FieldError::new(FieldErrorCode::Unknown, unknown_detail(name, otherwise))
}
