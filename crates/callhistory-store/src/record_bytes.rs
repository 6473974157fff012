//! The bytes of a record as a row has them. The transcript, the last member and by far the largest, is in a column of its own, so
//! that lists of other members do not read it.

use bytes::Bytes;

/// What precedes the transcript in the canonical JSON.
const MEMBER: &[u8] = b",\"transcript\":";

/// The two parts of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordBytes<'a> {
    /// The canonical JSON without the transcript.
    pub(crate) body: &'a [u8],
    /// The JSON text of the transcript, if the record has one.
    pub(crate) transcript: Option<&'a [u8]>,
}

impl<'a> RecordBytes<'a> {
    /// A record whose transcript is absent, or not wanted.
    pub(crate) fn without_transcript(body: &'a [u8]) -> Self {
        Self { body, transcript: None }
    }

    /// The size of the canonical JSON, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + self.transcript.map_or(0, |text| MEMBER.len() + text.len())
    }

    /// Appends the canonical JSON.
    pub(crate) fn append_to(&self, json: &mut Vec<u8>) {
        match (self.transcript, self.body.split_last()) {
            (Some(text), Some((end, rest))) => [rest, MEMBER, text, &[*end]].iter().for_each(|part| json.extend(*part)),
            _ => json.extend_from_slice(self.body),
        }
    }

    /// The canonical JSON.
    pub(crate) fn to_json(self) -> Bytes {
        let mut json = Vec::with_capacity(self.len());
        self.append_to(&mut json);
        json.into()
    }
}

/// Splits the canonical JSON of a record with this transcript into the body and the transcript.
pub(crate) fn split_record(json: &Bytes, transcript: Option<&str>) -> (Bytes, Option<Bytes>) {
    let parts = transcript.and_then(|text| {
        let text_end = json.len().checked_sub(1)?;
        let text_start = text_end.checked_sub(text.len())?;
        let body_end = text_start.checked_sub(MEMBER.len())?;
        let is_last = json[body_end..text_start] == *MEMBER && json[text_start..text_end] == *text.as_bytes();
        is_last
            .then(|| ([&json[..body_end], &json[text_end..]].concat().into(), Some(json.slice(text_start..text_end))))
    });
    parts.unwrap_or_else(|| (json.clone(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a record give its bytes, and nothing else is taken for the transcript.
    #[test]
    fn a_split_record_is_joined_to_the_same_bytes() {
        for (json, transcript, body) in [
            (r#"{"_id":"a","transcript":[1, "]}"]}"#, Some(r#"[1, "]}"]"#), r#"{"_id":"a"}"#),
            (r#"{"_id":"a","summary":",\"transcript\":[]"}"#, None, r#"{"_id":"a","summary":",\"transcript\":[]"}"#),
            (r#"{"_id":"a","transcript":[],"late":1}"#, Some("[]"), r#"{"_id":"a","transcript":[],"late":1}"#),
            (r#"{"_id":"a"}"#, None, r#"{"_id":"a"}"#),
        ] {
            let (own, text) = split_record(&Bytes::from_static(json.as_bytes()), transcript);
            assert_eq!(own, body.as_bytes());
            let bytes = RecordBytes { body: &own, transcript: text.as_deref() };
            assert_eq!((bytes.len(), &bytes.to_json()[..]), (json.len(), json.as_bytes()));
        }
    }
}
