//! What becomes content, what is refused, and that a lambda finds in its memory what lies in the folder.

use std::os::unix::fs::symlink;
use std::time::Instant;

use super::super::{BuildError, Options, build};
use super::*;

const LIMIT: u64 = 4 << 20;

/// True if there is a compiler; says so otherwise.
fn have_tools() -> bool {
    let found = std::process::Command::new("clang").arg("--version").output().is_ok();
    if !found {
        let _ = io::Write::write_all(&mut io::stderr(), b"skipped: no clang\n");
    }
    found
}

fn with_output(output: &Path) -> Options {
    Options { output: Some(output.into()), ..Options::default() }
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn read(files: &[(&str, &[u8])]) -> Result<Content, ContentError> {
    Content::read(folder(files).path(), LIMIT)
}

/// What is said of a folder, without the folder's own name.
fn refused(folder: &Path, limit: u64) -> String {
    let error = Content::read(folder, limit).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "DIR")
}

#[test]
fn paths_are_the_files_and_those_of_folders_with_an_index() {
    let content = read(&[
        ("index.html", b"home"),
        ("a/b/index.html", b"deep"),
        ("a/page.HTML", b"page"),
        ("status.json.tmpl", b"{{n}}"),
        (".git/config", b"secret"),
        ("a/.hidden", b"secret"),
        ("LICENSE", b"text"),
    ])
    .unwrap();
    let paths: Vec<(&str, usize, &str)> = content
        .paths
        .iter()
        .map(|(path, &file)| (path.as_str(), file, content.files[file].content_type))
        .collect();
    let html = "text/html; charset=utf-8";
    assert_eq!(
        paths,
        [
            ("/", 3, html),
            ("/LICENSE", 0, "application/octet-stream"),
            ("/a/b/", 1, html),
            ("/a/b/index.html", 1, html),
            ("/a/page.HTML", 2, html),
            ("/index.html", 3, html),
            ("/status.json", 4, "application/json"),
        ]
    );
    assert_eq!(content.counts(), (7, 5));
    assert!(
        content.files.iter().all(|file| file.parts.is_some() == (file.content_type == "application/json"))
    );
}

#[test]
fn entity_tags_are_the_bytes_alone() {
    let content = read(&[("a.txt", b"same"), ("b.css", b"same"), ("c.txt", b"other")]).unwrap();
    let tags: Vec<&str> = content.files.iter().map(|file| file.tag.as_str()).collect();
    // sha256sum, the first 32 digits.
    assert_eq!(tags[0], "\"0967115f2813a3541eaef77de9d9d577\"");
    assert_eq!((tags[0] == tags[1], tags[0] == tags[2]), (true, false));
}

#[test]
fn templates_are_text_and_names() {
    let of = |template: &[u8]| {
        let pieces = parts(template, Path::new("t.tmpl")).unwrap();
        let text = |(from, to): (usize, usize)| String::from_utf8(template[from..to].to_vec()).unwrap();
        pieces.iter().map(|part| (text(part.text), text(part.name))).collect::<Vec<_>>()
    };
    let pair = |text: &str, name: &str| (text.to_owned(), name.to_owned());
    assert_eq!(of(b""), [pair("", "")]);
    assert_eq!(of(b"plain } {a} text"), [pair("plain } {a} text", "")]);
    assert_eq!(of(b"{{a}}{{ b.c-d_1\n}}"), [pair("", "a"), pair("", "b.c-d_1"), pair("", "")]);
    assert_eq!(of(b"x{{a}}}y"), [pair("x", "a"), pair("}y", "")]);
    let wrong = |template: &[u8]| parts(template, Path::new("t.tmpl")).unwrap_err().to_string();
    assert_eq!(wrong(b"\n\n{{a"), "content t.tmpl:3: {{ without }}");
    let name = "content t.tmpl:1: between {{ and }} stands a name of 1\u{2013}64 letters, digits, \".\", \"_\" and \"-\"";
    let long = format!("{{{{{}}}}}", "x".repeat(NAME_BYTES + 1));
    for template in ["{{}}", "{{ }}", "{{a b}}", "{{<x>}}", "{{{a}}}", "{{\u{e9}}}", &long] {
        assert_eq!(wrong(template.as_bytes()), name, "{template}");
    }
    assert!(wrong("{{a}}".repeat(NAMES + 1).as_bytes()).ends_with("over the limit of 1024 names"));
}

#[test]
fn what_cannot_be_content_is_named() {
    assert_eq!(
        refused(folder(&[(".x", b""), ("a/.y", b"")]).path(), LIMIT),
        "content DIR: no files; hidden ones do not count"
    );
    let twice = folder(&[("a.html", b""), ("a.html.tmpl", b"")]);
    assert_eq!(refused(twice.path(), LIMIT), "content DIR: /a.html is there twice");
    let two = folder(&[("a", &[0; 600]), ("b", &[0; 600])]);
    assert!(Content::read(two.path(), 1200).is_ok());
    assert_eq!(
        refused(two.path(), 1199),
        "content DIR: over the limit of 1199 bytes that a lambda's module may have"
    );
    let name = ": its path has to be UTF-8, without control characters, and of at most 255 bytes";
    assert_eq!(refused(folder(&[("a\nb", b"")]).path(), LIMIT), format!("content a\nb{name}"));
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(134));
    assert!(read(&[(&long[..254], b"")]).is_ok());
    assert_eq!(refused(folder(&[(&long, b"")]).path(), LIMIT), format!("content {long}{name}"));
    let bad = folder(&[]);
    let raw: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.html");
    std::fs::write(bad.path().join(raw), b"").unwrap();
    assert!(matches!(Content::read(bad.path(), LIMIT), Err(ContentError::Name(_))));
    let _socket = std::os::unix::net::UnixListener::bind(bad.path().join("s")).unwrap();
    std::fs::remove_file(bad.path().join(raw)).unwrap();
    assert_eq!(refused(bad.path(), LIMIT), "content s: is neither a file nor a folder");
    let missing = bad.path().join("missing");
    assert!(refused(&missing, LIMIT).starts_with("content: cannot read DIR: No such file"));
}

#[test]
fn links_stay_inside() {
    let outside = folder(&[("secret", b"secret")]);
    for (target, is_fine) in [
        (PathBuf::from("a.html"), true),
        (PathBuf::from("../site/a.html"), true),
        (outside.path().join("secret"), false),
        (PathBuf::from("../../../../../../../../etc/passwd"), false),
        (PathBuf::from(".hidden/key"), false),
        (PathBuf::from("."), false),
        (PathBuf::from("folder"), false),
    ] {
        let within =
            folder(&[("site/a.html", b"page"), ("site/folder/b", b""), ("site/.hidden/key", b"secret")]);
        let site = within.path().join("site");
        symlink(&target, site.join("link")).unwrap();
        match Content::read(&site, LIMIT) {
            Ok(content) => assert!(is_fine && content.paths.contains_key("/link"), "{}", target.display()),
            Err(error) => {
                assert!(matches!(error, ContentError::Link(_)) && !is_fine, "{}: {error}", target.display());
            }
        }
    }
    let broken = folder(&[("a", b"")]);
    symlink("nowhere", broken.path().join("link")).unwrap();
    assert!(matches!(Content::read(broken.path(), LIMIT), Err(ContentError::Read { .. })));
}

/// Answers with the response of the file whose path it is sent.
const READER: &str = "#include <lnic.h>
#include <lnic_content.h>
LAMBDA(read) {
    const LNIC_CONTENT_T *file = lnic_content_find(lnic_payload(match_data), match_data->length);
    if (file == NULL) return lnic_reply(headers, match_data, STATUS_NOT_FOUND, 0);
    return lnic_reply_with(headers, match_data, STATUS_OK, lnic_content_response(file), file->head_bytes + file->body_bytes);
}
";

fn lambda(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = folder(files);
    std::fs::write(dir.path().join("read.c"), READER).unwrap();
    dir
}

#[test]
fn a_lambda_has_the_folder_beside_it_or_the_one_that_is_named() {
    if !have_tools() {
        return;
    }
    let beside = lambda(&[("content/t.txt.tmpl", b"one {{two}} three")]);
    let other = folder(&[("t.txt.tmpl", b"elsewhere")]);
    let out = tempfile::tempdir().unwrap();
    let module = |content: Option<&Path>| {
        let output = out.path().join("out.wasm");
        let options = Options { content: content.map(Path::to_path_buf), ..with_output(&output) };
        assert_eq!(build(beside.path(), &options).unwrap().warnings, "");
        std::fs::read(output).unwrap()
    };
    let has = |wasm: &[u8], text: &[u8]| wasm.windows(text.len()).any(|found| found == text);
    let own = module(None);
    assert!(has(&own, b"one {{two}} three") && has(&own, b"Content-Length:           \r\n\r\n"));
    assert!(has(&module(Some(other.path())), b"elsewhere") && !has(&module(Some(other.path())), b"three"));
    assert_eq!(module(None), own, "the same again");
    assert!(!has(&own, out.path().to_str().unwrap().as_bytes()), "no places are left in it");
}

#[test]
fn without_content_the_compiler_says_what_to_do() {
    if !have_tools() {
        return;
    }
    let alone = lambda(&[]);
    match build(alone.path(), &Options::default()).unwrap_err() {
        BuildError::Diagnosed { diagnostics, .. } => {
            assert!(diagnostics.contains("make a folder content/"), "{diagnostics}")
        }
        other => panic!("{other}"),
    }
    let empty = lambda(&[]);
    std::fs::create_dir(empty.path().join("content")).unwrap();
    assert!(matches!(
        build(empty.path(), &Options::default()),
        Err(BuildError::Content(ContentError::Empty(_)))
    ));
}

/// Odd bytes, odd names, odd folders: what the assembler reads is what was there.
#[test]
fn every_file_is_in_the_module_byte_by_byte() {
    if !have_tools() {
        return;
    }
    let every: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let dir = lambda(&[
        ("content/q\"uo\\te %d.bin", &every),
        ("content/empty", b""),
        ("content/t.txt.tmpl", b"{{a}}"),
    ]);
    let output = dir.path().join("out put \"x\".wasm");
    build(dir.path(), &with_output(&output)).unwrap();
    let wasm = std::fs::read(output).unwrap();
    let at = wasm.windows(every.len()).position(|found| found == every).expect("the bytes");
    assert!(wasm[..at].ends_with(b"Content-Length: 70000\r\n\r\n"));
    let path = b"/q\"uo\\te %d.bin";
    assert!(wasm.windows(path.len()).any(|found| found == path));
}

#[test]
fn megabytes_build_in_no_time() {
    if !have_tools() {
        return;
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut large = vec![0; 8 << 20];
    random.fill(&mut large);
    let dir = lambda(&[("content/large.bin", &large), ("content/t.txt.tmpl", b"")]);
    let output = dir.path().join("out.wasm");
    let begin = Instant::now();
    let report = build(dir.path(), &with_output(&output)).unwrap();
    // 0.4 s of CPU time; the machine may be busy.
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    assert!(report.module_bytes > 8 << 20 && report.memory_bytes < 9 << 20);
    let limit = Limits::default().module_bytes;
    std::fs::write(dir.path().join("content/more.bin"), vec![0; limit - (8 << 20) + 1]).unwrap();
    let error = build(dir.path(), &with_output(&output)).unwrap_err().to_string();
    assert!(
        error.ends_with(&format!("over the limit of {limit} bytes that a lambda's module may have")),
        "{error}"
    );
}
