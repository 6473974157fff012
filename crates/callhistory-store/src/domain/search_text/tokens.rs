//! Tokens of a normalized text: words, and runs of scripts that are written without blanks between words.

use icu_properties::{CodePointMapData, props::Script};

use super::normalize::is_mark;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A word: letters and digits with their marks.
    Word,
    /// Characters of a script without blanks: any part of it can be a word.
    Run,
}

/// How a token follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// After a separator, or first.
    Apart,
    /// After one apostrophe or hyphen inside of a compound.
    Joined,
    /// Without anything between them, because the script changes.
    Adjacent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Where it starts in the text, in bytes.
    pub(crate) start: usize,
    pub(crate) kind: TokenKind,
    pub(crate) link: Link,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A word that is written with apostrophes or hyphens, and what it is without them: `e-mail` is also `email`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compound {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Maximum number of words of a compound. Longer ones are chains of words.
const MAX_PARTS: usize = 8;

/// The compound of tokens that follow each other, if they are one.
pub(crate) fn compound(tokens: &[Token<'_>]) -> Option<Compound> {
    let ([first, rest @ ..], true) = (tokens, (2..=MAX_PARTS).contains(&tokens.len())) else { return None };
    let is_whole = rest.iter().all(|token| token.link == Link::Joined);
    let text = || tokens.iter().map(|token| token.text).collect();
    is_whole.then(|| Compound { text: text(), start: first.start, end: tokens[tokens.len() - 1].end() })
}

/// The tokens of a normalized text.
pub(crate) fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text, at: 0, last: None }
}

pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The kind and the end of the token before.
    last: Option<(TokenKind, usize)>,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.text[self.at..];
        let (skipped, kind) = rest.char_indices().find_map(|(at, c)| Some((at, kind(c)?)))?;
        let start = self.at + skipped;
        let continues = |c: char| if is_mark(c) { true } else { self::kind(c) == Some(kind) };
        let length = rest[skipped..].find(|c| !continues(c)).unwrap_or(rest.len() - skipped);
        let link = match self.last {
            Some((_, end)) if end == start => Link::Adjacent,
            Some((TokenKind::Word, end)) if kind == TokenKind::Word && joins(self.text, end, start) => Link::Joined,
            _ => Link::Apart,
        };
        self.at = start + length;
        self.last = Some((kind, self.at));
        Some(Token { text: &self.text[start..self.at], start, kind, link })
    }
}

/// Whether what is between two words joins them: one apostrophe or hyphen, or the quotation mark of a Hebrew abbreviation.
fn joins(text: &str, end: usize, start: usize) -> bool {
    match &text[end..start] {
        "'" | "-" => true,
        "\"" => is_hebrew_quote(text, end),
        _ => false,
    }
}

/// Whether a quotation mark is between two Hebrew letters, where it marks an abbreviation.
pub(crate) fn is_hebrew_quote(text: &str, at: usize) -> bool {
    let is_letter = |c: Option<char>| matches!(c, Some('\u{5d0}'..='\u{5ea}'));
    is_letter(text[..at].chars().next_back()) && is_letter(text[at..].chars().nth(1))
}

/// What a character belongs to; `None` for a separator.
fn kind(c: char) -> Option<TokenKind> {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric().then_some(TokenKind::Word);
    }
    if !c.is_alphanumeric() && !is_mark(c) {
        return None;
    }
    // The long vowel mark belongs to two scripts, and therefore to none.
    let is_run = c == 'ー' || has_no_blanks(const { CodePointMapData::<Script>::new() }.get(c));
    Some(if is_run { TokenKind::Run } else { TokenKind::Word })
}

/// Whether a script is written without blanks between words.
fn has_no_blanks(script: Script) -> bool {
    [
        Script::Han,
        Script::Hiragana,
        Script::Katakana,
        Script::Bopomofo,
        Script::Thai,
        Script::Lao,
        Script::Khmer,
        Script::Myanmar,
        Script::Tibetan,
        Script::Javanese,
        Script::Balinese,
        Script::TaiLe,
        Script::NewTaiLue,
        Script::Lana,
        Script::TaiViet,
        Script::Yi,
    ]
    .contains(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_words_runs_and_compounds() {
        use Link::{Adjacent, Apart, Joined};
        use TokenKind::{Run, Word};
        let of = |text| tokens(text).map(|token| (token.text, token.kind, token.link)).collect::<Vec<_>>();
        assert_eq!(
            of("don't iphone手机 -5"),
            [
                ("don", Word, Apart),
                ("t", Word, Joined),
                ("iphone", Word, Apart),
                ("手机", Run, Adjacent),
                ("5", Word, Apart),
            ]
        );
        assert_eq!(of("हिन्दी データ"), [("हिन्दी", Word, Apart), ("データ", Run, Apart)]);
        assert_eq!(
            of("a--b צה\"ל \"x\""),
            [("a", Word, Apart), ("b", Word, Apart), ("צה", Word, Apart), ("ל", Word, Joined), ("x", Word, Apart)]
        );
        let all: Vec<_> = tokens("e-mail").collect();
        assert_eq!(compound(&all).map(|word| (word.text, word.end)), Some(("email".to_owned(), 6)));
    }
}
