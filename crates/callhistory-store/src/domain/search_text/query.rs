//! The parsed text of a search, and where a text matches it.

use super::{
    index::{FRAGMENT_DIGITS, IndexedText, is_fragment, is_hangul, prefix_lengths},
    normalize::normalized,
    tokens::{Compound, Link, Token, TokenKind, compound, is_hebrew_quote, tokens},
};

/// The quotation marks of a phrase.
const QUOTES: [char; 8] = ['"', '“', '”', '„', '‟', '«', '»', '＂'];

/// A search: a text or a record matches if it matches every item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParsedSearch {
    pub(crate) items: Vec<SearchItem>,
}

/// One word, phrase or number of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchItem {
    /// Digits, anywhere inside a number.
    Digits(String),
    /// Words that follow each other.
    Words {
        parts: Vec<Part>,
        /// A compound without its apostrophes and hyphens, which matches as well.
        joined: Option<Part>,
    },
}

/// One word of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) test: PartTest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartTest {
    /// It equals a word.
    Exact,
    /// A word starts with it.
    Prefix,
    /// It is a part of a run of characters without blanks.
    Run,
}

/// A normalized text with its tokens.
pub(crate) struct TokenizedText<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    compounds: Vec<Compound>,
    is_phone_number: bool,
}

impl ParsedSearch {
    /// Parses the text of a search. No text is invalid: a quotation mark without its partner separates words.
    pub(crate) fn parse(text: &str) -> Self {
        let mut search = Self::default();
        let quotes: Vec<_> = text
            .char_indices()
            .filter(|(at, c)| QUOTES.contains(c) && !(*c == '"' && is_hebrew_quote(text, *at)))
            .map(|(at, c)| (at, at + c.len_utf8()))
            .collect();
        let mut at = 0;
        for pair in quotes.chunks_exact(2) {
            search.add_words(&text[at..pair[0].0], false);
            let has_star = text[pair[1].1..].starts_with(['*', '＊']);
            search.add_phrase(&text[pair[0].1..pair[1].0], has_star);
            at = pair[1].1;
        }
        search.add_words(&text[at..], true);
        // An item that is repeated finds nothing else, and each costs a scan of the text.
        let mut distinct: Vec<SearchItem> = Vec::new();
        for item in std::mem::take(&mut search.items) {
            if !distinct.contains(&item) {
                distinct.push(item);
            }
        }
        search.items = distinct;
        search
    }

    /// Adds the words of a part without quotation marks. The last word of a search is a prefix.
    fn add_words(&mut self, text: &str, is_last: bool) {
        let text = normalized(text);
        let all: Vec<_> = tokens(&text).collect();
        for group in all.chunk_by(|_, next| next.link != Link::Apart) {
            let end = group[group.len() - 1].end();
            let is_end = is_last && all.last().is_some_and(|last| last.end() == end);
            self.add_group(group, is_end || text[end..].starts_with('*'));
        }
    }

    fn add_group(&mut self, group: &[Token<'_>], is_prefix: bool) {
        let is_number = |token: &Token<'_>| token.text.bytes().all(|byte| byte.is_ascii_digit());
        if group.iter().all(is_number) {
            for (at, token) in group.iter().enumerate() {
                let is_prefix = is_prefix && at + 1 == group.len();
                self.items.push(if is_fragment(token.text) {
                    SearchItem::Digits(token.text.to_owned())
                } else {
                    SearchItem::Words { parts: vec![Part::new(token, is_prefix)], joined: None }
                });
            }
            return;
        }
        // Korean particles follow their word without a blank.
        let is_prefix = is_prefix || group.last().is_some_and(|last| last.text.starts_with(is_hangul));
        let joined = compound(group).map(|word| Part::word(word.text, is_prefix));
        self.items.push(SearchItem::Words { parts: parts(group, is_prefix), joined });
    }

    fn add_phrase(&mut self, text: &str, has_star: bool) {
        let text = normalized(text);
        let all: Vec<_> = tokens(&text).collect();
        if let Some(last) = all.last() {
            let is_prefix = has_star || text[last.end()..].starts_with('*');
            self.items.push(SearchItem::Words { parts: parts(&all, is_prefix), joined: None });
        }
    }
}

fn parts(tokens: &[Token<'_>], is_prefix: bool) -> Vec<Part> {
    let last = tokens.len().saturating_sub(1);
    tokens.iter().enumerate().map(|(at, token)| Part::new(token, is_prefix && at == last)).collect()
}

impl Part {
    fn new(token: &Token<'_>, is_prefix: bool) -> Self {
        match token.kind {
            TokenKind::Word => Self::word(token.text.to_owned(), is_prefix),
            TokenKind::Run => Self { text: token.text.to_owned(), test: PartTest::Run },
        }
    }

    /// A word. A prefix that is shorter than those of the index is a whole word.
    fn word(text: String, is_prefix: bool) -> Self {
        let is_long = text.chars().nth(*prefix_lengths(&text).start() - 1).is_some();
        let test = if is_prefix && is_long { PartTest::Prefix } else { PartTest::Exact };
        Self { text, test }
    }

    /// What the index must have, one of each group, and whether that is all.
    fn groups(&self) -> (Vec<Vec<IndexedText<'_>>>, bool) {
        let text = self.text.as_str();
        match self.test {
            PartTest::Exact => (vec![vec![IndexedText::Word(text)]], true),
            PartTest::Prefix => {
                let longest = *prefix_lengths(text).end();
                match text.char_indices().nth(longest) {
                    None => (vec![vec![IndexedText::Word(text), IndexedText::Prefix(text)]], true),
                    Some((end, _)) => (vec![vec![IndexedText::Prefix(&text[..end])]], false),
                }
            }
            PartTest::Run => {
                let chars: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                let count = chars.len() - 1;
                if count == 1 {
                    return (vec![vec![IndexedText::Characters(text)]], true);
                }
                // Every second pair covers all characters.
                let starts = (0..count - 2).step_by(2).chain([count - 2]);
                let pair = |start: usize| vec![IndexedText::Characters(&text[chars[start]..chars[start + 2]])];
                (starts.map(pair).collect(), count == 2)
            }
        }
    }
}

impl SearchItem {
    /// What the index must have, one of each group, and whether that is all. Otherwise the record is compared as well.
    pub(crate) fn groups(&self) -> (Vec<Vec<IndexedText<'_>>>, bool) {
        let (parts, joined) = match self {
            Self::Digits(digits) => return (vec![vec![IndexedText::Digits(digits)]], digits.len() == FRAGMENT_DIGITS),
            Self::Words { parts, joined } => (parts, joined),
        };
        let (mut groups, mut is_exact) = (Vec::new(), parts.len() == 1);
        for part in parts {
            let (own, is_own_exact) = part.groups();
            groups.extend(own);
            is_exact &= is_own_exact;
        }
        if let Some(joined) = joined {
            let (alternatives, _) = joined.groups();
            // Either all parts or the compound: it is in every group.
            groups.iter_mut().for_each(|group| group.extend(alternatives.iter().flatten()));
        }
        (groups, is_exact)
    }

    /// The word that is a match by itself, of an item that is compared with the record because it can also be a longer word's start.
    pub(crate) fn certain(&self) -> Option<&str> {
        match self {
            Self::Words { parts, joined: None } if parts.len() == 1 && parts[0].test == PartTest::Prefix => {
                Some(&parts[0].text)
            }
            _ => None,
        }
    }

    /// Whether a JSON text without other characters than those of ASCII and without escape sequences cannot have a match.
    pub(crate) fn is_absent(&self, lower_case: &str, digits: &str) -> bool {
        match self {
            Self::Digits(run) => !digits.contains(run),
            Self::Words { parts, .. } => parts.iter().any(|part| !lower_case.contains(&part.text)),
        }
    }
}

impl<'a> TokenizedText<'a> {
    pub(crate) fn new(normalized: &'a str, is_phone_number: bool) -> Self {
        let tokens: Vec<_> = tokens(normalized).collect();
        let chains = tokens.chunk_by(|_, next| next.link == Link::Joined);
        let compounds = chains.filter_map(compound).collect();
        Self { text: normalized, tokens, compounds, is_phone_number }
    }

    /// Where the text matches an item, in bytes of the normalized text.
    pub(crate) fn matches(&self, item: &SearchItem) -> Vec<(usize, usize)> {
        match item {
            SearchItem::Digits(digits) => self.digit_matches(digits),
            SearchItem::Words { parts, joined } => {
                let mut found: Vec<_> = (0..self.tokens.len()).flat_map(|at| self.part_matches(parts, at)).collect();
                let word = if let [part] = parts.as_slice() { Some(part) } else { joined.as_ref() };
                if let Some(word) = word.filter(|word| word.test != PartTest::Run) {
                    found.extend(self.word_matches(word, joined.is_some()));
                }
                found
            }
        }
    }

    /// The matches of a word among the compounds, and of a compound among the words too.
    fn word_matches(&self, word: &Part, among_words: bool) -> Vec<(usize, usize)> {
        let compounds = self.compounds.iter().map(|word| (word.text.as_str(), word.start, word.end));
        let words = self.tokens.iter().filter(|token| among_words && token.kind == TokenKind::Word);
        let words = words.map(|token| (token.text, token.start, token.start + word.text.len()));
        let holds =
            |text: &str| if word.test == PartTest::Prefix { text.starts_with(&word.text) } else { text == word.text };
        compounds.chain(words).filter(|(text, ..)| holds(text)).map(|(_, start, end)| (start, end)).collect()
    }

    /// The matches of parts from a token on: several inside of a run, otherwise one.
    fn part_matches(&self, parts: &[Part], at: usize) -> Vec<(usize, usize)> {
        let Some(tokens) = self.tokens.get(at..at + parts.len()) else { return Vec::new() };
        if let ([token], [part]) = (tokens, parts)
            && (part.test, token.kind) == (PartTest::Run, TokenKind::Run)
        {
            let starts = token.text.match_indices(&part.text).map(|(start, _)| token.start + start);
            return starts.map(|start| (start, start + part.text.len())).collect();
        }
        let last = parts.len() - 1;
        let holds = |(at, (part, token)): (usize, (&Part, &Token<'_>))| match (part.test, token.kind) {
            (PartTest::Exact, TokenKind::Word) => token.text == part.text,
            (PartTest::Prefix, TokenKind::Word) => token.text.starts_with(&part.text),
            (PartTest::Run, TokenKind::Run) if at == 0 => token.text.ends_with(&part.text),
            (PartTest::Run, TokenKind::Run) if at == last => token.text.starts_with(&part.text),
            (PartTest::Run, TokenKind::Run) => token.text == part.text,
            _ => false,
        };
        if !parts.iter().zip(tokens).enumerate().all(holds) {
            return Vec::new();
        }
        // Of the first run its end matches, of every other token its start.
        let start =
            if parts[0].test == PartTest::Run { tokens[0].end() - parts[0].text.len() } else { tokens[0].start };
        vec![(start, tokens[last].start + parts[last].text.len())]
    }

    fn digit_matches(&self, digits: &str) -> Vec<(usize, usize)> {
        if self.is_phone_number {
            let places: Vec<_> = self.text.char_indices().filter(|(_, c)| c.is_ascii_digit()).collect();
            let all: String = places.iter().map(|(_, c)| c).collect();
            return all
                .find(digits)
                .map(|at| (places[at].0, places[at + digits.len() - 1].0 + 1))
                .into_iter()
                .collect();
        }
        let numbers = self.tokens.iter().filter(|token| is_fragment(token.text));
        let found = numbers.filter_map(|token| Some(token.start + token.text.find(digits)?));
        found.map(|start| (start, start + digits.len())).collect()
    }
}
