//! Turns a stream into UTF-8: a stream in UTF-16 begins with a byte order mark, or with an ASCII character.

use super::format_hint::binary_format;

/// As many bytes as it takes to recognise a format.
const START_BYTES: usize = 16;

/// The encoding of a stream.
enum Encoding {
    /// Not known yet, with the first bytes.
    Unknown(Vec<u8>),
    /// UTF-8, or something that a parser can repair.
    Utf8,
    Utf16 {
        is_big_endian: bool,
        odd: Option<u8>,
        surrogate: Option<u16>,
    },
}

/// Decodes a stream piece by piece.
pub(super) struct TextDecoder(Encoding);

impl TextDecoder {
    pub(super) fn new() -> Self {
        Self(Encoding::Unknown(Vec::new()))
    }

    /// Decodes the next bytes. Fails with a hint if the stream is no text.
    pub(super) fn push<'a>(&mut self, bytes: &'a [u8], text: &'a mut Vec<u8>) -> Result<&'a [u8], &'static str> {
        text.clear();
        match &mut self.0 {
            Encoding::Utf8 => return Ok(bytes),
            Encoding::Utf16 { .. } => self.decode(bytes, text),
            Encoding::Unknown(start) => {
                start.extend_from_slice(bytes);
                if start.len() >= START_BYTES {
                    self.recognise(text)?;
                }
            }
        }
        Ok(text)
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        text.clear();
        if let Encoding::Unknown(_) = self.0 {
            self.recognise(text)?;
        }
        if let Encoding::Utf16 { odd, surrogate, .. } = &mut self.0
            && (odd.take().is_some() | surrogate.take().is_some())
        {
            push_char(char::REPLACEMENT_CHARACTER, text);
        }
        Ok(())
    }

    fn recognise(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        let Encoding::Unknown(start) = &mut self.0 else { return Ok(()) };
        let start = std::mem::take(start);
        if let Some(hint) = binary_format(&start) {
            return Err(hint);
        }
        let is_big_endian = match start.as_slice() {
            [0xfe, 0xff, ..] => Some(true),
            [0xff, 0xfe, ..] => Some(false),
            [0, ascii, ..] if (1..0x80).contains(ascii) => Some(true),
            [ascii, 0, ..] if (1..0x80).contains(ascii) => Some(false),
            _ => None,
        };
        if let Some(is_big_endian) = is_big_endian {
            self.0 = Encoding::Utf16 { is_big_endian, odd: None, surrogate: None };
            self.decode(&start, text);
        } else {
            self.0 = Encoding::Utf8;
            *text = start;
        }
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        let Encoding::Utf16 { is_big_endian, odd, surrogate } = &mut self.0 else { return };
        for byte in bytes {
            let Some(first) = odd.take() else {
                *odd = Some(*byte);
                continue;
            };
            let unit = [first, *byte];
            let unit = if *is_big_endian { u16::from_be_bytes(unit) } else { u16::from_le_bytes(unit) };
            let high = surrogate.take();
            let is_high = (0xd800..0xdc00).contains(&unit);
            match (high, (0xdc00..0xe000).contains(&unit)) {
                (Some(high), true) => {
                    let decoded = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                    push_char(decoded.unwrap_or(char::REPLACEMENT_CHARACTER), text);
                    continue;
                }
                (Some(_), false) => push_char(char::REPLACEMENT_CHARACTER, text),
                (None, _) => {}
            }
            if is_high {
                *surrogate = Some(unit);
            } else {
                push_char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), text);
            }
        }
    }
}

fn push_char(character: char, text: &mut Vec<u8>) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
