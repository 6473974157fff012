//! Cursors: where a list or a feed goes on, sealed so that only what this database has given out is accepted, and only for
//! the workspace and the filter that it was given for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use callhistory_model::{CallId, ChangesQuery, FieldError, FieldErrorCode, ListQuery, WorkspaceId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::StoreError;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// Seals and opens the cursors of one database.
pub(crate) struct Seal(Vec<u8>);

/// The last record of a page: its value of the sort, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListPosition {
    pub(crate) key: i64,
    pub(crate) id: CallId,
}

impl Seal {
    pub(crate) fn new(secret: Vec<u8>) -> Self {
        Self(secret)
    }

    pub(crate) fn list(&self, workspace: &WorkspaceId, query: &ListQuery, position: &ListPosition) -> String {
        let mut content = position.key.to_be_bytes().to_vec();
        content.extend(position.id.as_str().as_bytes());
        self.seal(&list_scope(workspace, query), &content)
    }

    pub(crate) fn open_list(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
        cursor: &str,
    ) -> Result<ListPosition, StoreError> {
        let content = self.open(&list_scope(workspace, query), cursor).ok_or_else(|| {
            invalid("is not a cursor of this list: start again without it, and keep workspace, filters and sort as they are")
        })?;
        let position = content.split_first_chunk::<8>().and_then(|(key, id)| {
            let id = std::str::from_utf8(id).ok()?.parse().ok()?;
            Some(ListPosition { key: i64::from_be_bytes(*key), id })
        });
        position.ok_or_else(|| StoreError::Internal("a sealed cursor has no sound content".to_owned()))
    }

    pub(crate) fn feed(&self, workspace: &WorkspaceId, sequence: i64) -> String {
        self.seal(&format!("feed {workspace}"), &sequence.to_be_bytes())
    }

    /// The number after which a reader of the feed begins; `None` for its end.
    pub(crate) fn start_of_feed(
        &self,
        workspace: &WorkspaceId,
        cursor: Option<&str>,
    ) -> Result<Option<i64>, StoreError> {
        match cursor {
            None => Ok(Some(0)),
            Some(ChangesQuery::LATEST) => Ok(None),
            Some(cursor) => self.open_feed(workspace, cursor).map(Some),
        }
    }

    pub(crate) fn open_feed(&self, workspace: &WorkspaceId, cursor: &str) -> Result<i64, StoreError> {
        let content = self.open(&format!("feed {workspace}"), cursor);
        let sequence = content.and_then(|content| Some(i64::from_be_bytes(content.try_into().ok()?)));
        sequence.ok_or_else(|| invalid("is not a cursor of the change feed of this workspace"))
    }

    fn tag(&self, scope: &str, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut tag = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        tag.update(&[VERSION]);
        tag.update(&(scope.len() as u64).to_be_bytes());
        tag.update(scope.as_bytes());
        tag.update(content);
        Some(tag)
    }

    fn seal(&self, scope: &str, content: &[u8]) -> String {
        let tag = self.tag(scope, content).map(|tag| tag.finalize().into_bytes()).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&[VERSION], content, &tag[..TAG_BYTES]].concat())
    }

    fn open(&self, scope: &str, cursor: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (content, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        if *version != VERSION {
            return None;
        }
        // In constant time: a seal must not be found byte by byte.
        self.tag(scope, content)?.verify_truncated_left(tag).ok()?;
        Some(content.to_vec())
    }
}

/// What a cursor of a list is good for. The size of the page and its fields may change on the way.
fn list_scope(workspace: &WorkspaceId, query: &ListQuery) -> String {
    format!("list {workspace} {} {}", query.sort, query.filter.to_query())
}

/// The refusal of a cursor of a feed that has been longer.
pub(crate) fn after_the_end() -> StoreError {
    invalid(
        "lies after the last change of this workspace, as after a restore of an older backup: start again without it",
    )
}

/// The refusal of a cursor.
fn invalid(detail: &str) -> StoreError {
    StoreError::Refused(FieldError::new(FieldErrorCode::InvalidCursor, detail).in_parameter("cursor"))
}

/// A cursor opens the place that it was given out for. One with another character, and any text, opens nothing, unless it is
/// the cursor of what it opens.
#[cfg(fuzzing)]
#[expect(clippy::expect_used, reason = "a fuzz target fails by a panic")]
pub fn assert_only_given_cursors_open(key: i64, (place, character): (u8, char), any: &str) {
    let seal = Seal::new(vec![7; 32]);
    let workspace: WorkspaceId = "w".parse().expect("a workspace");
    let query = ListQuery::default();
    let position = ListPosition { key, id: "c".parse().expect("an id") };
    let given = [seal.list(&workspace, &query, &position), seal.feed(&workspace, key)];
    assert_eq!(seal.open_list(&workspace, &query, &given[0]).ok(), Some(position));
    assert_eq!(seal.open_feed(&workspace, &given[1]).ok(), Some(key));
    let change = |text: &String| {
        let place = usize::from(place) % text.len();
        text.chars().enumerate().map(|(at, old)| if at == place { character } else { old }).collect::<String>()
    };
    for text in [&change(&given[0]), &change(&given[1]), any] {
        if let Ok(opened) = seal.open_list(&workspace, &query, text) {
            assert_eq!(seal.list(&workspace, &query, &opened), *text);
        }
        if let Ok(opened) = seal.open_feed(&workspace, text) {
            assert_eq!(seal.feed(&workspace, opened), *text);
        }
    }
}
