//! Hits of a search, with their evidence.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::SearchQuery;
use crate::{CallRecord, Seconds};

/// A text of a call that a search matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SearchEvidence {
    /// Where the text is: a JSON pointer (RFC 6901) into the record.
    pub member: String,
    /// Number of items of the transcript before this one. Absent outside of transcripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// Who speaks in this item, as the transcript says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Seconds from the start of the call to this item, if the transcript has its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Seconds>,
    /// A part of the text with the first match, at most 200 characters.
    #[cfg_attr(feature = "schema", schemars(length(max = Self::MAX_SNIPPET_CHARS)))]
    pub snippet: String,
    /// The matches in the snippet: start and end of each, in Unicode code points, the end excluded.
    #[cfg_attr(feature = "schema", schemars(length(max = Self::MAX_MATCHES)))]
    pub matches: Vec<[u32; 2]>,
}

impl SearchEvidence {
    /// Maximum length of a snippet, in Unicode code points.
    pub const MAX_SNIPPET_CHARS: usize = 200;
    /// Maximum number of matches of a snippet.
    pub const MAX_MATCHES: usize = 32;
    /// Maximum number of texts that are shown of a call.
    pub const MAX: usize = 5;
}

/// A call that a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SearchHit"))]
pub struct SearchHit<T = CallRecord> {
    /// The call record; with `fields`, only the selected members.
    pub call: T,
    /// The texts that match, those with most of the words first.
    #[cfg_attr(feature = "schema", schemars(length(max = SearchEvidence::MAX)))]
    pub evidence: Vec<SearchEvidence>,
}

/// A page of hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SearchPage"))]
pub struct SearchPage<T = CallRecord> {
    /// The hits, in the order of the search.
    #[cfg_attr(feature = "schema", schemars(length(max = SearchQuery::MAX_LIMIT)))]
    pub hits: Vec<SearchHit<T>>,
    /// Cursor of the next page. Absent on the last page, and in an order by relevance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Number of all matching calls, if `includeTotal` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}
