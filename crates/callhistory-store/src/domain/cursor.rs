//! Cursors: positions in a list or the change feed, signed so that a database accepts only cursors that it issued, and only for
//! the workspace and the filter that they were issued for. Each names the epoch of the database in which it has a meaning.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use callhistory_model::{CallId, ChangesQuery, FieldError, FieldErrorCode, ListQuery, WorkspaceId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{error::StoreError, results::Epoch};

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
/// The bytes of the epoch in a cursor: it tells epochs apart, and the tag proves the rest.
const EPOCH_BYTES: usize = 8;

/// Signs and verifies the cursors of one epoch of a database.
pub(crate) struct CursorSigner {
    secret: Vec<u8>,
    epoch: Epoch,
}

/// The last record of a page: its sort key and its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListPosition {
    pub(crate) key: i64,
    pub(crate) id: CallId,
}

impl CursorSigner {
    pub(crate) fn new(secret: Vec<u8>) -> Self {
        // A digest, because cursors show a part of it.
        let digest = Sha256::new_with_prefix(b"epoch").chain_update(&secret).finalize();
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&digest[..16]);
        Self { secret, epoch: Epoch(epoch) }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether this signer has the secret.
    #[cfg(feature = "postgres")]
    pub(crate) fn has_secret(&self, secret: &[u8]) -> bool {
        self.secret == secret
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
        let read = |content: &[u8]| {
            let (key, id) = content.split_first_chunk::<8>()?;
            Some(ListPosition { key: i64::from_be_bytes(*key), id: std::str::from_utf8(id).ok()?.parse().ok()? })
        };
        let detail =
            "is not a cursor of this list; start again without it, and do not change workspace, filters and sort";
        self.verify(&list_scope(workspace, query), cursor, read, detail)
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
        let read = |content: &[u8]| Some(i64::from_be_bytes(content.try_into().ok()?));
        self.verify(&format!("feed {workspace}"), cursor, read, "is not a cursor of the change feed of this workspace")
    }

    fn tag(&self, scope: &str, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut tag = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        tag.update(&[VERSION]);
        tag.update(&(scope.len() as u64).to_be_bytes());
        tag.update(scope.as_bytes());
        tag.update(content);
        Some(tag)
    }

    /// The first bytes of a cursor of this epoch.
    fn head(&self) -> [u8; 1 + EPOCH_BYTES] {
        let mut head = [VERSION; 1 + EPOCH_BYTES];
        head[1..].copy_from_slice(&self.epoch.0[..EPOCH_BYTES]);
        head
    }

    fn sign(&self, scope: &str, content: &[u8]) -> String {
        let tag = self.tag(scope, content).map(|tag| tag.finalize().into_bytes()).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&self.head(), content, &tag[..TAG_BYTES]].concat())
    }

    /// The content of a cursor. The tag of another epoch cannot be verified, but its cursor has the same form.
    fn verify<T>(
        &self,
        scope: &str,
        cursor: &str,
        read: impl Fn(&[u8]) -> Option<T>,
        detail: &str,
    ) -> Result<T, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
        let parsed = bytes.split_first_chunk().and_then(|(head, rest): (&[u8; 1 + EPOCH_BYTES], _)| {
            let (content, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
            Some((head, content, tag, read(content)?))
        });
        let Some((head, content, tag, position)) = parsed.filter(|(head, ..)| head[0] == VERSION) else {
            return Err(invalid(detail));
        };
        if *head != self.head() {
            return Err(StoreError::CursorExpired);
        }
        // In constant time: a tag must not be guessed byte by byte.
        let is_own = self.tag(scope, content).is_some_and(|own| own.verify_truncated_left(tag).is_ok());
        if is_own { Ok(position) } else { Err(invalid(detail)) }
    }
}

/// The scope of a cursor of a list. Page size and fields may change between pages.
fn list_scope(workspace: &WorkspaceId, query: &ListQuery) -> String {
    format!("list {workspace} {} {}", query.sort, query.filter.to_query())
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
