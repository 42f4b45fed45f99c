//! The SDK, as it is written beside a crate.

use std::io;
use std::path::Path;

use super::super::{BuildError, file};

/// Where it lies, in the crate's folder: what `Cargo.toml` says if this program's SDK is meant.
pub(super) const FOLDER: &str = ".lnic/sdk/rust";

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        [$((concat!($folder, $name), include_str!(concat!("../../../../../lambdas/", $folder, $name)))),*]
    };
}

/// The crate `lnic-lambda`, by path in `.lnic`: as it lies in `lambdas`.
pub(super) const SDK: [(&str, &str); 22] = files!("sdk/rust/":
    "Cargo.toml",
    "src/bytes.rs",
    "src/entry.rs",
    "src/fixed.rs",
    "src/format.rs",
    "src/headers.rs",
    "src/host/mod.rs",
    "src/host/wasm.rs",
    "src/lib.rs",
    "src/map.rs",
    "src/message.rs",
    "src/panic.rs",
    "src/ring.rs",
    "src/simd.rs",
    "src/status.rs",
    "src/testing/mod.rs",
    "src/testing/platform.rs",
    "src/testing/request.rs",
    "src/variable/held.rs",
    "src/variable/mod.rs",
    "src/variable/pinned.rs",
    "src/variable/place.rs",
);
/// The sources of `lnic-abi`.
pub(super) const ABI: [(&str, &str); 2] = files!("abi/": "src/lib.rs", "src/rpc.rs");
/// Its own `Cargo.toml` names a crate for hosts, which cargo would look for in the network even though no lambda uses it.
const ABI_MANIFEST: (&str, &str) = (
    "abi/Cargo.toml",
    "[package]\nname = \"lnic-abi\"\nversion = \"0.1.0\"\nedition = \"2021\"\nrust-version = \"1.63\"\nlicense = \"Apache-2.0\"\n\
     publish = false\n\n[features]\nbytemuck = []\n",
);
/// Nothing in `.lnic` is the author's.
const IGNORE: (&str, &str) = (".gitignore", "*\n");

/// Writes what is not there already: a file that is written again would be compiled again.
pub(super) fn write(dir: &Path) -> Result<(), BuildError> {
    let folder = dir.join(".lnic");
    for (name, text) in SDK.iter().chain(&ABI).chain([&ABI_MANIFEST, &IGNORE]) {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| replace(&path, text));
        written.map_err(file("write", &path))?;
    }
    Ok(())
}

/// Two builds at once, or an editor that reads, never see half a file.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".lnic-").tempfile_in(folder)?;
    std::fs::write(temporary.path(), text)?;
    temporary.persist(path)?;
    Ok(())
}
