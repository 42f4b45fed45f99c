//! Static libraries: `ar` archives.

/// What every one begins with.
const MAGIC: &[u8] = b"!<arch>\n";
/// Name 16, date 12, owner 6, group 6, mode 8, size 10, and two that end it.
const HEADER_BYTES: usize = 60;

/// Contents of the archive's files, in their order; `None` where it is none. Its tables of symbols and long names are no files.
pub(super) fn files(archive: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = archive.strip_prefix(MAGIC)?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let (content, behind) = behind.split_at_checked(size)?;
        let name = header[..16].trim_ascii_end();
        if !matches!(name, b"/" | b"//" | b"/SYM64/") {
            files.push(content);
        }
        // Headers begin at even places.
        rest = behind.get(size % 2..).unwrap_or_default();
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> String {
        let padding = if content.len() % 2 == 1 { "\n" } else { "" };
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{content}{padding}", 0, 0, 0, 644, content.len())
    }

    #[test]
    fn files_are_what_is_not_a_table() {
        let archive = [
            "!<arch>\n",
            &file("/", "sym"),
            &file("//", "long name/\n"),
            &file("/0", "odd"),
            &file("b/", "even"),
        ];
        assert_eq!(files(archive.concat().as_bytes()).unwrap(), [&b"odd"[..], b"even"]);
        assert_eq!(files(b"!<arch>\n").unwrap(), [&b""[..]; 0]);
    }

    #[test]
    fn what_is_torn_is_none() {
        let archive = ["!<arch>\n", &file("a/", "content")].concat();
        for end in 9..archive.len() - 1 {
            assert!(files(&archive.as_bytes()[..end]).is_none(), "{end}");
        }
        assert!(files(b"thin").is_none());
        assert!(files(archive.replace("7         `", "99999999999").as_bytes()).is_none());
    }
}
