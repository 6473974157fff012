//! Cursors: positions in a list or the change feed, signed so that a database accepts only cursors that it issued, and only for
//! the workspace and the filter that they were issued for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use callhistory_model::{CallId, ChangesQuery, FieldError, FieldErrorCode, ListQuery, WorkspaceId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::StoreError;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// Signs and verifies the cursors of one database.
pub(crate) struct CursorSigner(Vec<u8>);

/// The last record of a page: its sort key and its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListPosition {
    pub(crate) key: i64,
    pub(crate) id: CallId,
}

impl CursorSigner {
    pub(crate) fn new(secret: Vec<u8>) -> Self {
        Self(secret)
    }

    pub(crate) fn sign_list(&self, workspace: &WorkspaceId, query: &ListQuery, position: &ListPosition) -> String {
        let mut content = position.key.to_be_bytes().to_vec();
        content.extend(position.id.as_str().as_bytes());
        self.sign(&list_scope(workspace, query), &content)
    }

    pub(crate) fn verify_list(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
        cursor: &str,
    ) -> Result<ListPosition, StoreError> {
        let content = self.verify(&list_scope(workspace, query), cursor).ok_or_else(|| {
            invalid(
                "is not a cursor of this list; start again without it, and do not change workspace, filters and sort",
            )
        })?;
        let position = content.split_first_chunk::<8>().and_then(|(key, id)| {
            let id = std::str::from_utf8(id).ok()?.parse().ok()?;
            Some(ListPosition { key: i64::from_be_bytes(*key), id })
        });
        position.ok_or_else(|| StoreError::Internal("a signed cursor has invalid content".to_owned()))
    }

    pub(crate) fn sign_feed(&self, workspace: &WorkspaceId, sequence: i64) -> String {
        self.sign(&format!("feed {workspace}"), &sequence.to_be_bytes())
    }

    /// The sequence after which a follower starts; `None` for the end of the feed.
    pub(crate) fn feed_start(&self, workspace: &WorkspaceId, cursor: Option<&str>) -> Result<Option<i64>, StoreError> {
        match cursor {
            None => Ok(Some(0)),
            Some(ChangesQuery::LATEST) => Ok(None),
            Some(cursor) => self.verify_feed(workspace, cursor).map(Some),
        }
    }

    pub(crate) fn verify_feed(&self, workspace: &WorkspaceId, cursor: &str) -> Result<i64, StoreError> {
        let content = self.verify(&format!("feed {workspace}"), cursor);
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

    fn sign(&self, scope: &str, content: &[u8]) -> String {
        let tag = self.tag(scope, content).map(|tag| tag.finalize().into_bytes()).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&[VERSION], content, &tag[..TAG_BYTES]].concat())
    }

    fn verify(&self, scope: &str, cursor: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (content, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        if *version != VERSION {
            return None;
        }
        // In constant time: a tag must not be guessed byte by byte.
        self.tag(scope, content)?.verify_truncated_left(tag).ok()?;
        Some(content.to_vec())
    }
}

/// The scope of a cursor of a list. Page size and fields may change between pages.
fn list_scope(workspace: &WorkspaceId, query: &ListQuery) -> String {
    format!("list {workspace} {} {}", query.sort, query.filter.to_query())
}

/// The error of a cursor beyond the end of the feed.
pub(crate) fn after_the_end() -> StoreError {
    invalid(
        "is after the last change of this workspace, for example after a restore of an older backup; start again without it",
    )
}

/// The error of an invalid cursor.
fn invalid(detail: &str) -> StoreError {
    StoreError::Refused(FieldError::new(FieldErrorCode::InvalidCursor, detail).in_parameter("cursor"))
}

/// A cursor opens the place that it was given out for. One with another character, and any text, opens nothing, unless it is
/// the cursor of what it opens.
#[cfg(fuzzing)]
#[expect(clippy::expect_used, reason = "a fuzz target fails by a panic")]
pub fn assert_only_given_cursors_open(key: i64, (place, character): (u8, char), any: &str) {
    let signer = CursorSigner::new(vec![7; 32]);
    let workspace: WorkspaceId = "w".parse().expect("a workspace");
    let query = ListQuery::default();
    let position = ListPosition { key, id: "c".parse().expect("an id") };
    let given = [signer.sign_list(&workspace, &query, &position), signer.sign_feed(&workspace, key)];
    assert_eq!(signer.verify_list(&workspace, &query, &given[0]).ok(), Some(position));
    assert_eq!(signer.verify_feed(&workspace, &given[1]).ok(), Some(key));
    let change = |text: &String| {
        let place = usize::from(place) % text.len();
        text.chars().enumerate().map(|(at, old)| if at == place { character } else { old }).collect::<String>()
    };
    for text in [&change(&given[0]), &change(&given[1]), any] {
        if let Ok(opened) = signer.verify_list(&workspace, &query, text) {
            assert_eq!(signer.sign_list(&workspace, &query, &opened), *text);
        }
        if let Ok(opened) = signer.verify_feed(&workspace, text) {
            assert_eq!(signer.sign_feed(&workspace, opened), *text);
        }
    }
}
