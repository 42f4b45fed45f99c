//! Payloads: what is sent, and what is expected of one that came.

use serde::Serialize;

/// What a payload has to be. Everything that is said holds together.
#[derive(Clone, Debug, Default)]
pub(super) struct Pattern {
    /// These bytes and no others.
    pub(super) whole: Option<Vec<u8>>,
    /// Begins with these.
    pub(super) prefix: Option<Vec<u8>>,
    /// These are somewhere in it.
    pub(super) contains: Vec<Vec<u8>>,
    /// Has this length.
    pub(super) length: Option<usize>,
}

/// What is different from what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The thing that is different.
    pub what: String,
    /// What it was to be.
    pub expected: String,
    /// What it is.
    pub got: String,
    /// Both as a hex dump around their first difference, if they are bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dump: Vec<String>,
}

impl Difference {
    /// Without a picture.
    pub(super) fn new(what: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self { what: what.into(), expected: expected.to_string(), got: got.to_string(), dump: Vec::new() }
    }
}

/// Bytes of a dump's line.
const LINE_BYTES: usize = 16;
/// Lines of a dump before and after the first difference.
const CONTEXT_LINES: usize = 1;
/// Most bytes of a payload that is shown in a line.
const SHOWN_BYTES: usize = 60;

impl Pattern {
    /// Nothing is said.
    pub(super) fn is_any(&self) -> bool {
        self.whole.is_none() && self.prefix.is_none() && self.contains.is_empty() && self.length.is_none()
    }

    /// What is different in these bytes.
    pub(super) fn differences(&self, got: &[u8]) -> Vec<Difference> {
        let mut found = Vec::new();
        if let Some(whole) = self.whole.as_ref().filter(|whole| *whole != got) {
            found.push(Difference {
                dump: compared(whole, got),
                ..Difference::new("payload", shown(whole), shown(got))
            });
        }
        if let Some(length) = self.length.filter(|&length| length != got.len()) {
            found.push(Difference::new(
                "length of payload",
                format!("{length} bytes"),
                format!("{} bytes", got.len()),
            ));
        }
        if let Some(prefix) = self.prefix.as_ref().filter(|prefix| !got.starts_with(prefix)) {
            let beginning = &got[..got.len().min(prefix.len())];
            found.push(Difference {
                dump: compared(prefix, beginning),
                ..Difference::new("beginning of payload", shown(prefix), shown(got))
            });
        }
        for part in self.contains.iter().filter(|part| !holds(got, part)) {
            found.push(Difference::new("payload", format!("{} in it", shown(part)), shown(got)));
        }
        found
    }
}

fn holds(got: &[u8], part: &[u8]) -> bool {
    part.is_empty() || got.windows(part.len()).any(|window| window == part)
}

/// A payload in a line: text if it is that, else hexadecimal; not all of a long one.
pub(super) fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "no payload".into();
    }
    let head = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let rest = if head.len() < bytes.len() { " …" } else { "" };
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // The cut may go through a letter.
        Err(error) if head.len() - error.valid_up_to() < 4 && head.len() < bytes.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let is_text = |text: &&str| !text.chars().any(|letter| letter.is_control() && !"\r\n\t".contains(letter));
    match text.filter(is_text) {
        Some(text) => format!("{} bytes {text:?}{rest}", bytes.len()),
        None => format!("{} bytes {}{rest}", bytes.len(), hex(head)),
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Lines of a dump.
pub(super) fn dump(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(LINE_BYTES).enumerate().map(|(at, line)| dump_line(at * LINE_BYTES, line)).collect()
}

fn dump_line(at: usize, line: &[u8]) -> String {
    let visible = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    let text: String = line.iter().map(visible).collect();
    let width = LINE_BYTES * 3 - 1;
    format!("{at:06x}  {:width$}  {text}", hex(line))
}

/// Both around their first difference, with a mark under it.
fn compared(expected: &[u8], got: &[u8]) -> Vec<String> {
    let same = expected.iter().zip(got).take_while(|(left, right)| left == right).count();
    let line = same / LINE_BYTES;
    let first = line.saturating_sub(CONTEXT_LINES) * LINE_BYTES;
    let part = |bytes: &[u8]| {
        let end = ((line + 1 + CONTEXT_LINES) * LINE_BYTES).min(bytes.len());
        bytes.get(first..end).unwrap_or_default().to_vec()
    };
    let mark = " ".repeat("000000  ".len() + same % LINE_BYTES * 3) + "^^";
    let mut lines = vec![format!("first difference at byte {same}")];
    for (name, bytes) in [("expected", part(expected)), ("got", part(got))] {
        lines.push(name.to_owned());
        let marked = line - first / LINE_BYTES;
        let all: Vec<&[u8]> = bytes.chunks(LINE_BYTES).collect();
        for (at, piece) in all.iter().enumerate() {
            lines.push(dump_line(first + at * LINE_BYTES, piece));
            if at == marked {
                lines.push(mark.clone());
            }
        }
        if all.len() <= marked {
            lines.push(format!("{:06x}", first + bytes.len()));
            lines.push(mark.clone());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_marked_where_it_is() {
        let pattern = Pattern { whole: Some(b"hellO".to_vec()), ..Pattern::default() };
        let found = pattern.differences(b"hello");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].expected, "5 bytes \"hellO\"");
        let dump = [
            "first difference at byte 4",
            "expected",
            "000000  68 65 6c 6c 4f                                   hellO",
            "                    ^^",
            "got",
            "000000  68 65 6c 6c 6f                                   hello",
            "                    ^^",
        ];
        assert_eq!(found[0].dump, dump);
    }

    #[test]
    fn one_that_ends_too_early_differs_where_it_ends() {
        for (expected, got, at) in [(40, 32, 32), (0, 5, 0), (16, 0, 0), (17, 16, 16)] {
            let pattern = Pattern { whole: Some(vec![7; expected]), ..Pattern::default() };
            let found = pattern.differences(&vec![7; got]);
            assert_eq!(found[0].dump[0], format!("first difference at byte {at}"));
            assert!(found[0].dump.iter().filter(|line| line.ends_with("^^")).count() == 2, "{found:?}");
        }
    }

    #[test]
    fn all_that_is_said_holds_together() {
        let pattern = Pattern {
            prefix: Some(b"HTTP".to_vec()),
            contains: vec![b"200".to_vec(), b"".to_vec()],
            length: Some(12),
            whole: None,
        };
        assert!(pattern.differences(b"HTTP/1.1 200").is_empty());
        assert_eq!(pattern.differences(b"HTTP/1.1 404").len(), 1);
        assert_eq!(pattern.differences(b"http").len(), 3);
        assert!(Pattern::default().is_any() && !pattern.is_any());
    }

    #[test]
    fn long_text_is_cut_between_letters() {
        let text = "ä".repeat(40);
        assert_eq!(shown(text.as_bytes()), format!("80 bytes {:?} …", "ä".repeat(30)));
        assert_eq!(
            shown(format!("x{text}").as_bytes()),
            format!("81 bytes {:?} …", format!("x{}", "ä".repeat(29)))
        );
        assert_eq!(shown(&[0, 255]), "2 bytes 00 ff");
    }
}
