//! The text of an API key.

use sha2::{Digest as _, Sha256};

use crate::ids::hex;

/// A key as its owner has it: `ch_live_<id>_<secret>_<checksum>`, with 12, 64 and 8 hexadecimal digits. The prefix and the
/// checksum let scanners for leaked secrets find real keys.
pub struct Token(String);

impl Token {
    pub(crate) const PREFIX: &str = "ch_live_";
    /// Random bytes of a key: six for its ID, and 32 for its secret.
    pub const RANDOM_BYTES: usize = 38;

    /// A new key.
    #[must_use]
    pub fn new(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(6);
        let text = format!("{}{}_{}", Self::PREFIX, hex(id), hex(secret));
        Self(format!("{text}_{}", checksum(&text)))
    }

    /// Parses what a caller sent; `None` if it cannot be a key.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.rsplit_once('_')?;
        let (id, secret) = body.strip_prefix(Self::PREFIX)?.split_once('_')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_valid = id.len() == 12 && secret.len() == 64 && is_hex(id) && is_hex(secret) && checksum(body) == sum;
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The whole key, which is shown once.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[Self::PREFIX.len()..Self::PREFIX.len() + 12]
    }

    /// The digest that is stored. A secret of 256 random bits needs no slow hash, because it cannot be guessed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Self::digest_of(&self.0)
    }

    pub(crate) fn digest_of(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    /// The public part of a text, which need not be a key.
    pub(crate) fn id_in(text: &str) -> Option<&str> {
        text.strip_prefix(Self::PREFIX)?.split('_').next()
    }
}

fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text)[..4])
}

/// Asserts that a text that is accepted is the key that its random bytes make.
#[cfg(fuzzing)]
pub fn assert_only_keys_parse(text: &str) {
    // Also with the right checksum, which no mutation finds.
    for text in [text, &format!("{text}_{}", checksum(text))] {
        let Some(token) = Token::parse(text) else { continue };
        assert_is_created(&token, text);
    }
}

#[cfg(fuzzing)]
#[expect(clippy::unwrap_used, reason = "a fuzz target fails by a panic")]
fn assert_is_created(token: &Token, text: &str) {
    let digits: String = text[Token::PREFIX.len()..].split('_').take(2).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    let random: [u8; Token::RANDOM_BYTES] = std::array::from_fn(byte);
    assert_eq!(Token::new(&random).as_str(), text);
    assert_eq!(token.id(), Token::id_in(text).unwrap());
}
