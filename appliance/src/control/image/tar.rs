//! Just enough of tar: where the regular files of an uncompressed archive are.
//!
//! Headers are POSIX ustar, with their checksum. Extended headers that rename or resize what follows are refused, so that nobody sees
//! another archive in the same bytes; those with other attributes are passed over.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::Problem;
use super::layout::Blobs;

/// Header, and what bodies are padded to.
const BLOCK: u64 = 512;
/// Entries of an archive.
const ENTRIES: usize = 4096;
/// Longest extended header.
const EXTENDED_BYTES: u64 = 64 << 10;

/// A regular file in an archive.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    path: String,
    offset: u64,
    bytes: u64,
}

/// An archive, read through once.
pub(super) struct Archive<R> {
    reader: R,
    members: Vec<Member>,
}

impl Archive<File> {
    /// Looks through an archive in a file.
    pub(super) fn open(file: File) -> Result<Self, Problem> {
        Self::new(file)
    }
}

impl<R: Read + Seek> Archive<R> {
    pub(super) fn new(mut reader: R) -> Result<Self, Problem> {
        let end = reader.seek(SeekFrom::End(0))?;
        let mut members = Vec::new();
        let mut at = 0;
        for _ in 0..=ENTRIES {
            let Some(header) = header(&mut reader, at)? else { return Ok(Self { reader, members }) };
            let offset = at + BLOCK;
            // No overflow: a size has at most 33 bits, and `at` was within the file.
            let next = offset + header.bytes.next_multiple_of(BLOCK);
            if offset + header.bytes > end {
                return Err(Problem::wrong(format!("tar: {} goes beyond the end", header.path)));
            }
            match header.kind {
                b'0' | 0 => members.push(Member { path: header.path, offset, bytes: header.bytes }),
                b'x' | b'g' => extended(&mut reader, offset, header.bytes)?,
                b'5' => {}
                kind => members.push(Member { path: special(kind, &header.path), offset, bytes: 0 }),
            }
            at = next;
        }
        Err(Problem::wrong(format!("tar: more than {ENTRIES} entries")))
    }

    fn read_member(&mut self, path: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let mut found = self.members.iter().filter(|member| member.path == path);
        let member = match (found.next(), found.next()) {
            (Some(member), None) => member,
            (None, _) => return Err(Problem::wrong(format!("tar: no file {path}"))),
            (Some(_), Some(_)) => return Err(Problem::wrong(format!("tar: several files {path}"))),
        };
        if member.bytes > limit {
            return Err(Problem::wrong(format!("{path}: is larger than {limit} bytes")));
        }
        self.reader.seek(SeekFrom::Start(member.offset))?;
        let mut bytes = Vec::new();
        (&mut self.reader).take(member.bytes).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != member.bytes {
            return Err(Problem::wrong(format!("{path}: ends early")));
        }
        Ok(bytes)
    }
}

impl<R: Read + Seek> Blobs for Archive<R> {
    fn read(&mut self, path: &[&str], limit: u64) -> Result<Vec<u8>, Problem> {
        self.read_member(&path.join("/"), limit)
    }
}

/// The only file of an archive; its name has to end so.
pub(super) fn only_file(archive: &[u8], suffix: &str) -> Result<Vec<u8>, Problem> {
    let mut archive = Archive::new(std::io::Cursor::new(archive))?;
    match archive.members.as_slice() {
        [member] if member.path.ends_with(suffix) => {
            let (path, bytes) = (member.path.clone(), member.bytes);
            archive.read_member(&path, bytes)
        }
        members => Err(Problem::wrong(format!(
            "layer: expected one file, NAME{suffix}, and there are {}: {}",
            members.len(),
            members.iter().take(4).map(|member| member.path.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// How links, devices and the like are listed: under names that no file can have.
fn special(kind: u8, path: &str) -> String {
    format!("{path}\0{}", kind.escape_ascii())
}

struct Header {
    path: String,
    bytes: u64,
    kind: u8,
}

/// The header at an offset; `None` at the end: a block of zeros, or nothing more.
fn header(reader: &mut (impl Read + Seek), at: u64) -> Result<Option<Header>, Problem> {
    reader.seek(SeekFrom::Start(at))?;
    let mut block = Vec::with_capacity(BLOCK as usize);
    reader.take(BLOCK).read_to_end(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let wrong = |what: &str| Problem::wrong(format!("tar: {what} at byte {at}"));
    let Ok(block) = <[u8; BLOCK as usize]>::try_from(block) else { return Err(wrong("half a header")) };
    if &block[257..262] != b"ustar" {
        return Err(wrong("no ustar header"));
    }
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let field: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    // The checksum is made with spaces in its own place.
    if octal(&block[148..156]) != Some(sum - field + 8 * 32) {
        return Err(wrong("a header with a wrong checksum"));
    }
    let bytes = octal(&block[124..136]).ok_or_else(|| wrong("a size that is no number"))?;
    let name = text(&block[..100]).ok_or_else(|| wrong("a name that is no text"))?;
    // GNU's headers have other things there.
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { Some("") };
    let prefix = prefix.ok_or_else(|| wrong("a name that is no text"))?;
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
    Ok(Some(Header { path, bytes, kind: block[156] }))
}

/// Refuses what changes the meaning of the entry that follows.
fn extended(reader: &mut (impl Read + Seek), offset: u64, bytes: u64) -> Result<(), Problem> {
    if bytes > EXTENDED_BYTES {
        return Err(Problem::wrong("tar: an extended header that is too long"));
    }
    reader.seek(SeekFrom::Start(offset))?;
    let mut records = Vec::new();
    reader.take(bytes).read_to_end(&mut records)?;
    let names = [&b" path="[..], b" size=", b" linkpath=", b" GNU.sparse"];
    if names.iter().any(|name| records.windows(name.len()).any(|window| window == *name)) {
        return Err(Problem::wrong("tar: an extended header with a name or a size"));
    }
    Ok(())
}

/// Up to 11 octal digits, ended by a space or a zero.
fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field)?.trim_matches(' ');
    let digits = (1..=11).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| u64::from_str_radix(text, 8).ok())?
}

/// Text up to a zero or the end.
fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).ok()
}
