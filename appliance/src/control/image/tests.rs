use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const IMAGE_WASM: &[u8] = b"\0asm\x01\0\0\0 the module";
const WASM_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
const TAR_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A state folder with a folder of images in it.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("images").join(name)
    }

    fn with(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn resolve(&self, image: &str) -> Result<Named, ImageError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Images::new(Some(self.0.path())).resolve(image))
    }

    fn error(&self, image: &str) -> String {
        self.resolve(image).expect_err(image).to_string()
    }
}

/// Files of an image layout, by path.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.0.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    fn manifest(&mut self, layers: &[Value]) -> Value {
        let config = self.blob("application/vnd.wasm.config.v0+json", b"{}");
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn index(mut self, manifests: &[Value]) -> Self {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.0.insert("index.json".into(), index.to_string().into_bytes());
        self.0.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        self
    }

    /// An image of one layer.
    fn image(media_type: &str, layer: &[u8]) -> Self {
        let mut files = Self::default();
        let layer = files.blob(media_type, layer);
        let manifest = files.manifest(&[layer]);
        files.index(&[manifest])
    }

    fn write(&self, folder: &Path) {
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn archive(&self) -> Vec<u8> {
        archive(
            &self.0.iter().map(|(path, bytes)| (path.as_str(), b'0', bytes.as_slice())).collect::<Vec<_>>(),
        )
    }
}

fn tag(mut descriptor: Value, tag: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    descriptor
}

/// An archive of entries: path, kind, bytes.
fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, kind, bytes) in entries {
        let mut header = [0; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = *kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn wasm() -> Named {
    Named::Wasm(IMAGE_WASM.into())
}

#[test]
fn a_digest_names_what_was_uploaded() {
    let digest = Digest::of(IMAGE_WASM);
    let state = State::new();
    assert_eq!(state.resolve(&digest.to_string()).unwrap(), Named::Uploaded(digest));
    assert!(state.error("sha256:12").starts_with("image \"sha256:12\": expected"));
}

#[test]
fn a_file_is_named_by_itself() {
    let state = State::new().with("echo.wasm", IMAGE_WASM).with("echo", IMAGE_WASM);
    for image in ["echo.wasm", "echo.wasm:latest", "file:echo", "file:echo.wasm"] {
        assert_eq!(state.resolve(image).unwrap(), wasm(), "{image}");
    }
    assert_eq!(state.error("other.wasm"), "image \"other.wasm\": other.wasm: no such file in the folder");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let state = State::new();
    for image in [
        "",
        "echo",
        "ghcr.io/openfaas/figlet:latest",
        "../echo.wasm",
        "a/echo.wasm",
        "/etc/passwd.wasm",
        "file:..",
        "file:/etc/passwd",
        "file:.hidden",
        "file:a\0b",
        "oci:..",
        "oci:a/b",
        "oci:name:",
        "oci:name:a:b",
        "oci::tag",
        ".wasm",
        "echo.wasm:latest:latest",
        "file:é",
        &format!("file:{}", "n".repeat(129)),
    ] {
        assert!(matches!(state.resolve(image), Err(ImageError::Name(_))), "{image}");
    }
}

#[test]
fn nothing_but_regular_files_is_read_and_no_link_followed() {
    let state = State::new().with("large", &vec![0; MODULE_BYTES as usize + 1]).with("text", b"(module)");
    let state = state.with("component", COMPONENT_MAGIC);
    fs::write(state.0.path().join("secret"), IMAGE_WASM).unwrap();
    std::os::unix::fs::symlink("../secret", state.path("link")).unwrap();
    fs::create_dir(state.path("folder")).unwrap();
    std::os::unix::fs::symlink("../../secret", state.path("folder/index.json")).unwrap();
    fs::write(state.path("folder/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::os::unix::fs::symlink("folder", state.path("linked-folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        state.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (image, problem) in [
        ("file:link", "link: is a symbolic link"),
        ("oci:linked-folder", "linked-folder: is a symbolic link"),
        ("oci:folder", "index.json: is a symbolic link"),
        ("file:folder", "folder: is a folder"),
        ("file:pipe", "pipe: is no file"),
        ("file:large", "large: is larger than 16777216 bytes"),
        ("file:text", "is no WebAssembly module"),
        ("file:component", "is a WebAssembly component"),
    ] {
        let error = state.error(image);
        assert!(error.contains(problem), "{image}: {error}");
    }
}

#[test]
fn without_a_folder_only_uploads_have_names() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let resolve =
        |images: Images, image: &'static str| runtime.block_on(async move { images.resolve(image).await });
    assert!(matches!(resolve(Images::default(), "echo.wasm"), Err(ImageError::NoFolder(_))));
    assert!(resolve(Images::default(), &*Digest::of(b"").to_string().leak()).is_ok());
    let empty = tempfile::tempdir().unwrap();
    let error = resolve(Images::new(Some(empty.path())), "echo.wasm").unwrap_err();
    assert!(error.to_string().contains("the folder \"images\" is not there"), "{error}");
}

#[test]
fn layouts_are_read_from_folders_and_archives() {
    let layer = archive(&[("./", b'5', b""), ("./plugin.wasm", b'0', IMAGE_WASM)]);
    let extended =
        archive(&[("pax", b'x', b"30 mtime=1700000000.123456789\n"), ("m.wasm", b'0', IMAGE_WASM)]);
    for (media_type, layer) in [
        (WASM_LAYER, IMAGE_WASM),
        ("application/wasm", IMAGE_WASM),
        (TAR_LAYER, layer.as_slice()),
        (TAR_LAYER, extended.as_slice()),
    ] {
        let files = Files::image(media_type, layer);
        let state = State::new().with("image.tar", &files.archive());
        files.write(&state.path("image"));
        assert_eq!(state.resolve("oci:image").unwrap(), wasm(), "{media_type}");
        assert_eq!(state.resolve("oci:image.tar").unwrap(), wasm(), "{media_type}");
    }
}

#[test]
fn archives_of_other_programs_are_read() {
    let state = State::new();
    Files::image(WASM_LAYER, IMAGE_WASM).write(&state.path("image"));
    for format in ["ustar", "gnu", "pax"] {
        for root in [".", "oci-layout index.json blobs"] {
            let status = Command::new("tar")
                .arg(format!("--format={format}"))
                .arg("-cf")
                .arg(state.path("image.tar"))
                .arg("-C")
                .arg(state.path("image"))
                .args(root.split(' '))
                .status();
            assert!(status.expect("tar is installed").success());
            assert_eq!(state.resolve("oci:image.tar").unwrap(), wasm(), "{format} {root}");
        }
    }
}

/// Made by `buildah from scratch`, `buildah copy`, `buildah commit` and `podman save --uncompressed --format oci-archive`.
#[test]
fn an_image_of_podman_is_read() {
    let state = State::new().with("echo.tar", include_bytes!("../../../tests/images/podman.tar"));
    for image in ["oci:echo.tar", "oci:echo.tar:latest"] {
        assert_eq!(state.resolve(image).unwrap(), Named::Wasm(MODULE_MAGIC.into()), "{image}");
    }
}

#[test]
fn a_tag_chooses_and_an_index_leads_on() {
    let mut files = Files::default();
    let mut image = |wasm: &[u8]| {
        let layer = files.blob(WASM_LAYER, wasm);
        files.manifest(&[layer])
    };
    let one = image(IMAGE_WASM);
    let two = image(b"\0asm\x01\0\0\0 another");
    let mut native = two.clone();
    native["platform"] = json!({"architecture": "amd64", "os": "linux"});
    let mut portable = one.clone();
    portable["platform"] = json!({"architecture": "wasm", "os": "wasip1"});
    let nested = json!({"schemaVersion": 2, "manifests": [native, portable]});
    let nested = files.blob(INDEX, nested.to_string().as_bytes());
    let all = [
        tag(two.clone(), "1.0"),
        tag(one.clone(), "registry.example/echo:2.0"),
        tag(one.clone(), "latest"),
        tag(two, "twice"),
        tag(one, "twice"),
        tag(nested, "many"),
    ];
    let state = State::new();
    files.index(&all).write(&state.path("image"));
    for image in ["oci:image:2.0", "oci:image:latest", "oci:image", "oci:image:many"] {
        assert_eq!(state.resolve(image).unwrap(), wasm(), "{image}");
    }
    assert_ne!(state.resolve("oci:image:1.0").unwrap(), wasm());
    assert!(state.error("oci:image:3.0").contains("there is no tag \"3.0\""));
    assert!(state.error("oci:image:twice").contains("there are several of tag \"twice\""));
}

#[test]
fn what_is_damaged_or_strange_is_named() {
    let state = State::new();
    let write = |name: &str, files: &Files| files.write(&state.path(name));

    let mut damaged = Files::image(WASM_LAYER, IMAGE_WASM);
    damaged.0.values_mut().filter(|bytes| *bytes == IMAGE_WASM).for_each(|bytes| bytes[9] ^= 1);
    write("damaged", &damaged);
    let mut missing = Files::image(WASM_LAYER, IMAGE_WASM);
    missing.0.retain(|_, bytes| bytes != IMAGE_WASM);
    write("missing", &missing);
    let mut longer = Files::image(WASM_LAYER, IMAGE_WASM);
    longer.0.values_mut().filter(|bytes| *bytes == IMAGE_WASM).for_each(|bytes| bytes.push(0));
    write("longer", &longer);
    write("compressed", &Files::image("application/vnd.oci.image.layer.v1.tar+gzip", b"\x1f\x8b"));
    let two = archive(&[("a.wasm", b'0', IMAGE_WASM), ("b.wasm", b'0', IMAGE_WASM)]);
    write("two", &Files::image(TAR_LAYER, &two));
    write("link", &Files::image(TAR_LAYER, &archive(&[("a.wasm", b'2', b"")])));
    let renamed = archive(&[("pax", b'x', b"18 path=evil.wasm\n"), ("m.wasm", b'0', IMAGE_WASM)]);
    write("renamed", &Files::image(TAR_LAYER, &renamed));
    let mut huge = Files::default();
    let mut layer = huge.blob(WASM_LAYER, IMAGE_WASM);
    layer["size"] = json!(u64::MAX);
    let manifest = huge.manifest(&[layer]);
    write("huge", &huge.index(&[manifest]));
    let mut endless = Files::default();
    let mut inner = endless.blob(MANIFEST, b"{}");
    for _ in 0..5 {
        inner = endless.blob(INDEX, json!({"manifests": [inner]}).to_string().as_bytes());
    }
    write("endless", &endless.index(&[inner]));
    let many = Files::default().index(&vec![json!({"digest": Digest::of(b"").to_string(), "size": 0}); 300]);
    write("many", &many);

    for (image, problem) in [
        ("oci:damaged", "is damaged"),
        ("oci:missing", "no such file"),
        ("oci:longer", "is larger than"),
        ("oci:compressed", "is compressed"),
        ("oci:two", "and there are 2: a.wasm, b.wasm"),
        ("oci:link", "and there are 1: "),
        ("oci:renamed", "an extended header with a name or a size"),
        ("oci:huge", "18446744073709551615 bytes, at most 16777216 are read"),
        ("oci:endless", "more than 4 indexes"),
        ("oci:many", "more than 256 entries"),
    ] {
        let error = state.error(image);
        assert!(error.contains(problem), "{image}: {error}");
    }
}

#[test]
fn an_archive_that_is_no_archive_is_named() {
    let valid = Files::image(WASM_LAYER, IMAGE_WASM).archive();
    let beyond = &archive(&[("oci-layout", b'0', &[b' '; 2048])])[..1024];
    let mut checksum = valid.clone();
    checksum[0] ^= 1;
    let twice = archive(&[("oci-layout", b'0', b"{}"), ("oci-layout", b'0', b"{}")]);
    let long = archive(&vec![("x", b'0', b"".as_slice()); 5000]);
    for (bytes, problem) in [
        (&b"hello"[..], "half a header"),
        (&[7; 512], "no ustar header"),
        (b"", "no file oci-layout"),
        (beyond, "goes beyond the end"),
        (&checksum, "wrong checksum"),
        (&twice, "several files oci-layout"),
        (&long, "more than 4096 entries"),
    ] {
        let error = State::new().with("image.tar", bytes).error("oci:image.tar");
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

/// What a damaged image comes to: an error, or the module that its digests promise.
fn from_archive(bytes: &[u8]) -> Option<Vec<u8>> {
    layout::module(&mut tar::Archive::new(std::io::Cursor::new(bytes)).ok()?, None).ok()
}

proptest! {
    #[test]
    fn no_name_leaves_the_folder(image in "(file:|oci:)?[a-z./\\\\:%\0~-]{0,12}(\\.wasm)?(:latest)?") {
        if let Some(Place::File(name) | Place::Layout { name, .. }) = place(&image) {
            prop_assert!(Path::new(name).components().eq([std::path::Component::Normal(name.as_ref())]), "{name}");
        }
    }

    #[test]
    fn random_archives_are_no_images(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert_eq!(from_archive(&bytes), None);
        prop_assert!(tar::only_file(&bytes, ".wasm").is_err());
    }

    #[test]
    fn random_headers_are_survived(
        name in "[a-z./]{0,20}", kind: u8, size in "[0-9 \0]{12}", bytes in proptest::collection::vec(any::<u8>(), 0..600)
    ) {
        let mut archive = archive(&[(&name, kind, &bytes)]);
        archive[124..136].copy_from_slice(size.as_bytes());
        archive[148..156].fill(b' ');
        let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
        archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        if let Ok(found) = tar::only_file(&archive, ".wasm") {
            prop_assert!(found.len() <= archive.len() && name.ends_with(".wasm"));
        }
        from_archive(&archive);
    }

    #[test]
    fn a_damaged_image_is_refused_or_means_the_same(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 1..4), cut: proptest::sample::Index
    ) {
        let mut bytes = Files::image(WASM_LAYER, IMAGE_WASM).archive();
        prop_assert_eq!(from_archive(&bytes).unwrap(), IMAGE_WASM);
        prop_assert!(from_archive(&bytes[..cut.index(bytes.len())]).is_none_or(|found| found == IMAGE_WASM));
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(found) = from_archive(&bytes) {
            // What was damaged was padding, or something that nobody reads.
            prop_assert_eq!(found, IMAGE_WASM);
        }
    }
}
