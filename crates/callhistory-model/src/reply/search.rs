//! Hits of a search, with their evidence.

#[cfg(feature = "schema")]
use crate::SearchQuery;
use crate::{CallRecord, Seconds, reply_struct::reply_struct};

reply_struct! {
    /// A text of a call that a search matches.
    #[derive(Clone, Debug, PartialEq)]
    SearchEvidence {
        /// Where the text is: a JSON pointer (RFC 6901) into the record.
        "member" always member: String,
        /// Number of items of the transcript before this one. Absent outside of transcripts.
        "turn" optional turn: Option<u32>,
        /// Who speaks in this item, as the transcript says it.
        "role" optional role: Option<String>,
        /// Seconds from the start of the call to this item, if the transcript has its time.
        "time" optional time: Option<Seconds>,
        /// A part of the text with the first match, at most 200 characters.
        #[cfg_attr(feature = "schema", schemars(length(max = Self::MAX_SNIPPET_CHARS)))]
        "snippet" always snippet: String,
        /// The matches in the snippet: start and end of each, in Unicode code points, the end excluded.
        #[cfg_attr(feature = "schema", schemars(length(max = Self::MAX_MATCHES)))]
        "matches" always matches: Vec<[u32; 2]>,
    }
}

impl SearchEvidence {
    /// A snippet of the text at this pointer, without matches.
    #[must_use]
    pub fn new(member: impl Into<String>, snippet: impl Into<String>) -> Self {
        let (member, snippet) = (member.into(), snippet.into());
        Self { member, turn: None, role: None, time: None, snippet, matches: Vec::new(), extra: Vec::new() }
    }

    /// Maximum length of a snippet, in Unicode code points.
    pub const MAX_SNIPPET_CHARS: usize = 200;
    /// Maximum number of matches of a snippet.
    pub const MAX_MATCHES: usize = 32;
    /// Maximum number of texts that are shown of a call.
    pub const MAX: usize = 5;
}

reply_struct! {
    /// A call that a search found.
    #[derive(Clone, Debug, PartialEq)]
    #[cfg_attr(feature = "schema", schemars(rename = "SearchHit"))]
    SearchHit<T = CallRecord> {
        /// The call record; with `fields`, only the selected members.
        "call" always call: T,
        /// The texts that match, those with most of the words first.
        #[cfg_attr(feature = "schema", schemars(length(max = SearchEvidence::MAX)))]
        "evidence" always evidence: Vec<SearchEvidence>,
    }
}

impl<T> SearchHit<T> {
    /// A hit with the texts that match.
    #[must_use]
    pub fn new(call: T, evidence: Vec<SearchEvidence>) -> Self {
        Self { call, evidence, extra: Vec::new() }
    }
}

reply_struct! {
    /// A page of hits.
    #[derive(Clone, Debug, PartialEq)]
    #[cfg_attr(feature = "schema", schemars(rename = "SearchPage"))]
    SearchPage<T = CallRecord> {
        /// The hits, in the order of the search.
        #[cfg_attr(feature = "schema", schemars(length(max = SearchQuery::MAX_LIMIT)))]
        "hits" always hits: Vec<SearchHit<T>>,
        /// Cursor of the next page. Absent on the last page, and in an order by relevance.
        "next" optional next: Option<String>,
        /// Number of all matching calls, if `includeTotal` asks for it.
        "total" optional total: Option<u64>,
    }
}

impl<T> SearchPage<T> {
    /// The last page, with these hits.
    #[must_use]
    pub fn new(hits: Vec<SearchHit<T>>) -> Self {
        Self { hits, next: None, total: None, extra: Vec::new() }
    }
}
