//! Content: files that become part of a lambda's module, with what a web server has to say of them worked out beforehand.
//!
//! Their bytes go to the assembler as they are (`.incbin`), so that megabytes build as fast as they are read; a table of C tells paths,
//! entity tags and templates' parts. The same files give the same bytes, wherever they lie and in whatever order they are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{BuildError, file};
use crate::lambda::Limits;

/// Folder beside a lambda's code that is its content.
const FOLDER: &str = "content";
/// The SDK's header, without the numbers in front of it.
const HEADER: &str = include_str!("../../../../lambdas/sdk/c/lnic_content.h");
/// Longest path; the header's `LNIC_CONTENT_PATH_CAPACITY`.
const PATH_BYTES: usize = 255;
/// Most files.
const FILES: usize = 4096;
/// Most names in one template.
const NAMES: usize = 1024;
/// Longest name in a template.
const NAME_BYTES: usize = 64;
/// What a template's file name ends with.
const TEMPLATE: &str = ".tmpl";
const INDEX: &str = "/index.html";
/// Bytes of the digits of an entity tag.
const TAG_BYTES: usize = 16;
/// Bodies begin at multiples of this, for copies of 16 bytes at a time.
const ALIGN: usize = 16;

/// Why a folder cannot be content.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file or folder.
    #[error("content: cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("content {}: no files; hidden ones do not count", .0.display())]
    Empty(PathBuf),
    /// More than a module may have.
    #[error("content {}: over the limit of {limit} bytes that a lambda's module may have", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Too many files.
    #[error("content {}: over the limit of {FILES} files", .0.display())]
    TooMany(PathBuf),
    /// A name that makes no path.
    #[error("content {}: its path has to be UTF-8, without control characters, and of at most {PATH_BYTES} bytes", .0.display())]
    Name(PathBuf),
    /// A link that leads out, or to a folder.
    #[error("content {}: a link has to lead to a file of the same content", .0.display())]
    Link(PathBuf),
    /// A pipe, a socket, a device.
    #[error("content {}: is neither a file nor a folder", .0.display())]
    Kind(PathBuf),
    /// A page and a template of the same name.
    #[error("content {}: {path} is there twice", folder.display())]
    Twice {
        /// The folder.
        folder: PathBuf,
        /// The path.
        path: String,
    },
    /// A template cannot be read.
    #[error("content {}:{line}: {reason}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: &'static str,
    },
}

/// A piece of a template: where its text and the name behind it lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    text: (usize, usize),
    name: (usize, usize),
}

/// A file.
#[derive(Debug)]
struct File {
    content_type: &'static str,
    tag: String,
    bytes: Vec<u8>,
    /// Of a template; else nothing.
    parts: Option<Vec<Part>>,
}

/// The files of a folder.
#[derive(Debug)]
struct Content {
    files: Vec<File>,
    /// Numbers of files by their paths; a file may have several.
    paths: BTreeMap<String, usize>,
}

impl Content {
    /// Reads a folder. All files together have at most `limit` bytes.
    fn read(folder: &Path, limit: u64) -> Result<Self, ContentError> {
        let failed = |source| ContentError::Read { path: folder.into(), source };
        let root = folder.canonicalize().map_err(failed)?;
        let mut reader = Reader { folder, root, limit, left: limit, found: BTreeMap::new() };
        reader.folder(folder, "")?;
        if reader.found.is_empty() {
            return Err(ContentError::Empty(folder.into()));
        }
        let mut content = Self { files: Vec::new(), paths: BTreeMap::new() };
        for (path, file) in reader.found {
            let number = content.files.len();
            content.files.push(file);
            if let Some(folder) = path.strip_suffix(INDEX) {
                content.paths.insert(format!("{folder}/"), number);
            }
            content.paths.insert(path, number);
        }
        Ok(content)
    }

    /// Numbers of paths and of files.
    fn counts(&self) -> (usize, usize) {
        (self.paths.len(), self.files.len())
    }

    /// Writes what the compiler is given to `scratch`; the C files among it.
    fn write(&self, scratch: &Path) -> io::Result<Vec<PathBuf>> {
        let mut data = Data::default();
        let files: Vec<Placed> = self.files.iter().map(|file| data.place(file)).collect();
        let mut parts = Vec::new();
        let pieces = self.files.iter().zip(&files).map(|(file, placed)| {
            let first = parts.len();
            for Part { text, name } in file.parts.iter().flatten() {
                let (from, at) = (placed.body + text.0, placed.body + name.0);
                parts.push([from, text.1 - text.0, at, name.1 - name.0]);
            }
            (first, parts.len() - first)
        });
        let pieces: Vec<(usize, usize)> = pieces.collect();
        // C has no arrays without elements.
        parts.push([0; 4]);
        let entries = self.paths.iter().map(|(path, &number)| {
            let (file, placed, (first, count)) = (&self.files[number], &files[number], pieces[number]);
            let (from, to) = placed.content_type;
            let head_bytes = placed.body - placed.response;
            [
                data.name(path.as_bytes()),
                path.len(),
                placed.tag,
                file.tag.len(),
                placed.response,
                head_bytes,
                from,
                to - from,
                file.bytes.len(),
                first,
                count,
                number,
            ]
        });
        let entries: Vec<_> = entries.collect();
        let mut objects = String::new();
        for (name, bytes) in [("names", &data.names), ("bytes", &data.bytes)] {
            let file = scratch.join(format!("lnic_content.{name}"));
            std::fs::write(&file, bytes)?;
            objects.push_str(&incbin(name, &file, bytes.len()));
        }
        let source = format!(
            "#include <lnic_content.h>\nconst LNIC_CONTENT_PART_T lnic_content_parts[] = {{\n{}}};\n\
             const LNIC_CONTENT_T lnic_content[LNIC_CONTENT_COUNT] = {{\n{}}};\n",
            rows(&parts),
            rows(&entries)
        );
        // Two files: where an object is declared and assembled in one, clang 14 writes its size modulo 64 KiB. No file of the author's has
        // these names: hidden ones are not compiled.
        let files = [(".lnic_content.c", source), (".lnic_content_bytes.c", objects)];
        let mut paths = Vec::new();
        for (name, text) in files {
            paths.push(scratch.join(name));
            std::fs::write(scratch.join(name), text)?;
        }
        Ok(paths)
    }
}

/// Writes the SDK's header to `sdk`, with the numbers of the content in front of it; and what there is to compile of that content, the
/// folder that is named or the one in `dir`, to `scratch`: its C files, which are none without content.
pub(super) fn prepare(
    dir: &Path,
    named: Option<&Path>,
    sdk: &Path,
    scratch: &Path,
) -> Result<Vec<PathBuf>, BuildError> {
    let beside = dir.join(FOLDER);
    let folder = named.or_else(|| beside.is_dir().then_some(&*beside));
    let content =
        folder.map(|folder| Content::read(folder, Limits::default().module_bytes as u64)).transpose()?;
    let numbers = content.as_ref().map_or_else(String::new, |content| {
        let (paths, files) = content.counts();
        format!("#define LNIC_CONTENT_COUNT {paths}\n#define LNIC_CONTENT_FILES {files}\n")
    });
    let header = sdk.join("lnic_content.h");
    std::fs::write(&header, numbers + HEADER).map_err(file("write", &header))?;
    content.map_or_else(|| Ok(Vec::new()), |content| content.write(scratch).map_err(file("write", scratch)))
}

/// Rows of numbers, as initialisers.
fn rows<const N: usize>(rows: &[[usize; N]]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        let numbers: Vec<String> = row.iter().map(usize::to_string).collect();
        let _ = writeln!(text, "    {{{}}},", numbers.join(", "));
        text
    })
}

/// An object of a file's bytes.
fn incbin(name: &str, file: &Path, bytes: usize) -> String {
    let symbol = format!("lnic_content_{name}");
    // Once for the assembler's string, once for the compiler's.
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!(
        ".section .rodata.{symbol},\"\",@\n.p2align 4\n.globl {symbol}\n.hidden {symbol}\n.type {symbol},@object\n\
         {symbol}:\n.incbin \"{}\"\n.size {symbol}, {bytes}\n",
        quoted(&file.display().to_string())
    );
    format!("__asm__(\"{}\");\n", quoted(&text).replace('\n', "\\n"))
}

/// Where a file's bytes are.
struct Placed {
    /// In the names.
    tag: usize,
    /// In the bytes.
    response: usize,
    /// The same.
    body: usize,
    /// In the response.
    content_type: (usize, usize),
}

/// The two objects that the table points into: short texts, which every request looks at, and the files.
#[derive(Default)]
struct Data {
    names: Vec<u8>,
    bytes: Vec<u8>,
}

impl Data {
    fn name(&mut self, name: &[u8]) -> usize {
        let at = self.names.len();
        self.names.extend_from_slice(name);
        at
    }

    fn place(&mut self, file: &File) -> Placed {
        let tag = self.name(file.tag.as_bytes());
        let status = "HTTP/1.1 200 OK\r\n";
        let line = format!("Content-Type: {}\r\n", file.content_type);
        let rest = match &file.parts {
            // Its length is known once it is filled in.
            Some(_) => format!("Cache-Control: no-store\r\nContent-Length: {:10}\r\n\r\n", ""),
            None => format!(
                "ETag: {}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
                file.tag,
                file.bytes.len()
            ),
        };
        let content_type = (status.len(), status.len() + line.len());
        let head = [status, &line, &rest].concat();
        // The head's end is aligned, and so is the body.
        let body = (self.bytes.len() + head.len()).next_multiple_of(ALIGN);
        let response = body - head.len();
        self.bytes.resize(response, 0);
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(&file.bytes);
        Placed { tag, response, body, content_type }
    }
}

/// Walks a folder.
struct Reader<'a> {
    folder: &'a Path,
    root: PathBuf,
    limit: u64,
    left: u64,
    found: BTreeMap<String, File>,
}

impl Reader<'_> {
    /// Reads what is in one folder; `path` is what its files' paths begin with.
    fn folder(&mut self, folder: &Path, path: &str) -> Result<(), ContentError> {
        let failed = |source| ContentError::Read { path: folder.into(), source };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, file) = (entry.file_name(), entry.path());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let name = name.to_str().filter(|name| !name.contains(char::is_control));
            let path = name.map(|name| format!("{path}/{name}")).filter(|path| path.len() <= PATH_BYTES);
            let path = path.ok_or_else(|| ContentError::Name(file.clone()))?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.folder(&file, &path)?;
            } else {
                if kind.is_symlink() {
                    self.judge_link(&file)?;
                } else if !kind.is_file() {
                    return Err(ContentError::Kind(file));
                }
                self.file(&file, path)?;
            }
        }
        Ok(())
    }

    fn judge_link(&self, link: &Path) -> Result<(), ContentError> {
        let target =
            link.canonicalize().map_err(|source| ContentError::Read { path: link.into(), source })?;
        let is_inside = target.strip_prefix(&self.root).is_ok_and(|inside| {
            // What is hidden is hidden from links too.
            !inside.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
        });
        if is_inside && target.is_file() { Ok(()) } else { Err(ContentError::Link(link.into())) }
    }

    fn file(&mut self, file: &Path, path: String) -> Result<(), ContentError> {
        use std::io::Read as _;

        if self.found.len() == FILES {
            return Err(ContentError::TooMany(self.folder.into()));
        }
        let failed = |source| ContentError::Read { path: file.into(), source };
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(self.left + 1).read_to_end(&mut bytes).map_err(failed)?;
        let too_large = ContentError::TooLarge { path: self.folder.into(), limit: self.limit };
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(too_large)?;
        let (path, parts) = match path.strip_suffix(TEMPLATE) {
            Some(page) if !page.ends_with('/') => (page.to_owned(), Some(parts(&bytes, file)?)),
            _ => (path, None),
        };
        let content_type = content_type(&path);
        let tag = tag(&bytes);
        if self.found.insert(path.clone(), File { content_type, tag, bytes, parts }).is_some() {
            return Err(ContentError::Twice { folder: self.folder.into(), path });
        }
        Ok(())
    }
}

/// A strong entity tag.
fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().take(TAG_BYTES).fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    format!("\"{digits}\"")
}

/// A template's parts: text and the name behind it, and the text behind the last name.
fn parts(template: &[u8], file: &Path) -> Result<Vec<Part>, ContentError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(begin) = position(&template[at..], b"{{").map(|found| at + found) {
        let wrong = |reason| {
            let line = 1 + template[..begin].iter().filter(|&&byte| byte == b'\n').count();
            ContentError::Template { path: file.into(), line, reason }
        };
        let inside = begin + 2;
        let end = position(&template[inside..], b"}}").ok_or_else(|| wrong("{{ without }}"))? + inside;
        let name = template[inside..end].trim_ascii();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=NAME_BYTES).contains(&name.len()) || !name.iter().all(is_name) {
            return Err(wrong(
                "between {{ and }} stands a name of 1–64 letters, digits, \".\", \"_\" and \"-\"",
            ));
        }
        if parts.len() == NAMES {
            return Err(wrong("over the limit of 1024 names"));
        }
        let blank = template[inside..end].len() - template[inside..end].trim_ascii_start().len();
        let name = (inside + blank, inside + blank + name.len());
        parts.push(Part { text: (at, begin), name });
        at = end + 2;
    }
    parts.push(Part { text: (at, template.len()), name: (at, at) });
    Ok(parts)
}

fn position(bytes: &[u8], two: &[u8; 2]) -> Option<usize> {
    bytes.windows(2).position(|found| found == two)
}

/// What a file is, by the end of its name. Text is UTF-8.
fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "text" | "log" | "conf" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "xhtml" => "application/xhtml+xml",
        "atom" => "application/atom+xml",
        "rss" => "application/rss+xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/vnd.microsoft.icon",
        "bmp" => "image/bmp",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
