//! Payloads on a terminal and in JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

/// The payload as text that a terminal can show as it is.
pub(super) fn printable(payload: &[u8]) -> Option<&str> {
    let text = str::from_utf8(payload).ok()?;
    text.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\r' | '\t')).then_some(text)
}

/// Offset, 16 bytes, and what of them is ASCII.
fn hex_dump(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for (line, bytes) in bytes.chunks(16).enumerate() {
        write!(out, "{:08x} ", line * 16)?;
        for at in 0..16 {
            let gap = if at == 8 { " " } else { "" };
            match bytes.get(at) {
                Some(byte) => write!(out, "{gap} {byte:02x}")?,
                None => write!(out, "{gap}   ")?,
            }
        }
        let ascii: String = bytes
            .iter()
            .map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' })
            .collect();
        writeln!(out, "  |{ascii}|")?;
    }
    Ok(())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Writes a payload: its text if it has one to show, else a hex dump.
pub(super) fn write(out: &mut impl Write, payload: &[u8], text: Option<&str>) -> io::Result<()> {
    match text {
        _ if payload.is_empty() => Ok(()),
        Some(text) => writeln!(out, "{}", text.strip_suffix('\n').unwrap_or(text)),
        None => hex_dump(out, payload),
    }
}
