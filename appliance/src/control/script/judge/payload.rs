//! Judges payloads: text, hexadecimal, numbers or a file.

use std::path::Path;

use toml::Spanned;

use super::Judge;
use crate::control::config::raw::Value;
use crate::control::script::payload::Pattern;
use crate::control::script::raw;

/// Longest payload, and longest file.
const PAYLOAD_BYTES: usize = 64 << 20;

/// The keys by which a payload is said.
pub(in crate::control::script) struct Said<'a> {
    text: &'a Value<String>,
    hex: &'a Value<String>,
    bytes: &'a Value<Vec<Spanned<i64>>>,
    file: &'a Value<String>,
    length: &'a Value<i64>,
}

/// The keys by which more is expected of one.
pub(in crate::control::script) struct Expected<'a> {
    whole: Said<'a>,
    prefix: &'a Value<String>,
    prefix_hex: &'a Value<String>,
    contains: &'a raw::Table<raw::OneOrMany<String>>,
    contains_hex: &'a raw::Table<raw::OneOrMany<String>>,
}

macro_rules! said {
    ($($schema:ty),*) => {$(
        impl<'a> From<&'a $schema> for Said<'a> {
            fn from(raw: &'a $schema) -> Self {
                Self { text: &raw.text, hex: &raw.hex, bytes: &raw.bytes, file: &raw.file, length: &raw.length }
            }
        }
    )*};
}

macro_rules! expected {
    ($($schema:ty),*) => {$(
        impl<'a> From<&'a $schema> for Expected<'a> {
            fn from(raw: &'a $schema) -> Self {
                Self {
                    whole: raw.into(),
                    prefix: &raw.prefix,
                    prefix_hex: &raw.prefix_hex,
                    contains: &raw.contains,
                    contains_hex: &raw.contains_hex,
                }
            }
        }
    )*};
}

said!(raw::Bytes, raw::Send, raw::Matching, raw::Expect);
expected!(raw::Matching, raw::Expect);

impl Judge<'_, '_> {
    /// The bytes that are said, repeated or cut to `length` if that is said too; `None` if none are.
    pub(in crate::control::script) fn payload(&mut self, place: &str, said: &Said<'_>) -> Option<Vec<u8>> {
        let bytes = self.whole(place, said);
        let Some(length) = self.number(&format!("{place}: length"), said.length, PAYLOAD_BYTES as u32) else {
            return bytes;
        };
        let pattern = bytes.filter(|bytes| !bytes.is_empty()).unwrap_or_else(|| vec![0]);
        Some(pattern.into_iter().cycle().take(length as usize).collect())
    }

    /// What is expected of a payload.
    pub(in crate::control::script) fn pattern(&mut self, place: &str, said: &Expected<'_>) -> Pattern {
        let length = self.number(&format!("{place}: length"), said.whole.length, PAYLOAD_BYTES as u32);
        let mut contains: Vec<Vec<u8>> = Vec::new();
        if let Some(parts) = said.contains {
            contains.extend(parts.get_ref().0.iter().map(|part| part.as_bytes().to_vec()));
        }
        if let Some(parts) = said.contains_hex {
            for part in &parts.get_ref().0 {
                contains.extend(self.hex(&format!("{place}: contains_hex"), part, parts.span()));
            }
        }
        let prefix = match (said.prefix, said.prefix_hex) {
            (Some(_), Some(hex)) => {
                self.wrong(Some(hex.span()), format!("{place}: prefix and prefix_hex: at most one of them"));
                None
            }
            (Some(text), None) => Some(text.get_ref().as_bytes().to_vec()),
            (None, Some(hex)) => self.hex(&format!("{place}: prefix_hex"), hex.get_ref(), hex.span()),
            (None, None) => None,
        };
        Pattern {
            whole: self.whole(place, &said.whole),
            prefix,
            contains,
            length: length.map(|length| length as usize),
        }
    }

    fn whole(&mut self, place: &str, said: &Said<'_>) -> Option<Vec<u8>> {
        let spans = [
            said.text.as_ref().map(Spanned::span),
            said.hex.as_ref().map(Spanned::span),
            said.bytes.as_ref().map(Spanned::span),
            said.file.as_ref().map(Spanned::span),
        ];
        if let Some(extra) = spans.into_iter().flatten().nth(1) {
            self.wrong(Some(extra), format!("{place}: text, hex, bytes and file: at most one of them"));
            return None;
        }
        if let Some(text) = said.text {
            return Some(text.get_ref().as_bytes().to_vec());
        }
        if let Some(hex) = said.hex {
            return self.hex(&format!("{place}: hex"), hex.get_ref(), hex.span());
        }
        if let Some(numbers) = said.bytes {
            let place = format!("{place}: bytes");
            let one = |judge: &mut Self, number: &Spanned<i64>| {
                judge.problems.integer(&place, &Some(number.clone()), 0..=u8::MAX, 0)
            };
            return Some(numbers.get_ref().iter().map(|number| one(self, number)).collect());
        }
        said.file.as_ref().and_then(|file| self.file(place, file))
    }

    /// The bytes of pairs of hexadecimal digits; spaces and line breaks between them are for people.
    pub(in crate::control::script) fn hex(
        &mut self,
        place: &str,
        text: &str,
        span: std::ops::Range<usize>,
    ) -> Option<Vec<u8>> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|letter| !letter.is_whitespace() && *letter != ':')
            .map(|letter| letter.to_digit(16).map(|digit| digit as u8))
            .collect();
        if let Some((pairs, [])) = digits.as_deref().map(<[u8]>::as_chunks::<2>) {
            return Some(pairs.iter().map(|[high, low]| high << 4 | low).collect());
        }
        self.wrong(Some(span), format!("{place}: not pairs of hexadecimal digits"));
        None
    }

    /// A file beside the script.
    pub(in crate::control::script) fn file(
        &mut self,
        place: &str,
        name: &Spanned<String>,
    ) -> Option<Vec<u8>> {
        let path = self.folder.join(name.get_ref());
        match read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.wrong(Some(name.span()), format!("{place}: file {}: {error}", path.display()));
                None
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > PAYLOAD_BYTES as u64 {
        return Err(std::io::Error::other(format!("{bytes} bytes: at most {PAYLOAD_BYTES}")));
    }
    std::fs::read(path)
}
