//! Tables for people, and JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// On which side of its column a cell lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: columns as wide as their widest cell.
pub(super) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    #[must_use]
    pub(super) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column. Control characters are escaped: what tenants wrote must not write to terminals.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Writes the heading and the rows.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in lines() {
            let mut text = String::new();
            for ((cell, width), (_, side)) in line.iter().zip(&widths).zip(&self.columns) {
                let gap = " ".repeat(width - cell.chars().count());
                let (before, after) =
                    if *side == Side::Left { ("", gap.as_str()) } else { (gap.as_str(), "") };
                text.extend([before, cell, after, "  "]);
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Text that cannot write to a terminal.
#[must_use]
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut plain, letter| {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
        plain
    })
}

/// JSON over several lines.
pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// JSON on one line.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// A time as RFC 3339 has it.
#[must_use]
pub(super) fn time(ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms));
    // The last moment that can be written is in the year 9999.
    time.filter(|_| ms < 253_402_300_800_000)
        .map_or_else(|| format!("{ms} ms"), |time| humantime::format_rfc3339_millis(time).to_string())
}

/// Bytes with a unit.
#[must_use]
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A digest, short enough for a line.
#[must_use]
pub(super) fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new(&[("NAME", Side::Left), ("µs", Side::Right), ("WHY", Side::Left)]);
        table.row(["echo".into(), "1234".into(), String::new()]);
        table.row(["a-long-name".into(), "5".into(), "be\u{1b}[2Jcause\n".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "\
NAME           µs  WHY
echo         1234
a-long-name     5  be\\u{1b}[2Jcause\\n
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn units() {
        assert_eq!(time(1_500_000_000_123), "2017-07-14T02:40:00.123Z");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms");
        assert_eq!([bytes(10_239), bytes(10_240), bytes(64 << 20)], ["10239 B", "10 KiB", "64 MiB"]);
        assert_eq!(short(&format!("sha256:{}", "ab".repeat(32))), "sha256:abababababab");
    }
}
