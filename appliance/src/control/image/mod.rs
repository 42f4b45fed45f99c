//! What `image` names in an OpenFaaS deployment: a module that was uploaded, or one that lies in the folder `images` of the state folder.
//!
//! | image | module |
//! |---|---|
//! | `sha256:…` | uploaded before |
//! | `NAME.wasm`, `file:NAME` | the file |
//! | `oci:NAME`, `oci:NAME:TAG` | of an OCI image layout: a folder, or a tar of one |
//!
//! Nothing is fetched from anywhere. What lies in the folder is trusted no more than an upload: it is bounded, every digest is verified, and
//! no name or link leads out of it.

mod folder;
mod layout;
mod tar;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use lnic_registry::Digest;

use folder::{Entry, Folder};

/// Longest name of a file, and longest tag.
const NAME_BYTES: usize = 128;
/// Largest module.
const MODULE_BYTES: u64 = 16 << 20;
/// What a module begins with: magic and version.
const MODULE_MAGIC: &[u8] = b"\0asm\x01\0\0\0";
/// The same of a component, which is something else.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

/// The folder of images; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Images(Option<Arc<PathBuf>>);

/// What an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A module that was uploaded, or not: the plane knows.
    Uploaded(Digest),
    /// The bytes of a module.
    Wasm(Bytes),
}

/// The image cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It names nothing.
    #[error(
        "image \"{0}\": expected \"sha256:…\" of an uploaded module, \"NAME.wasm\", \"file:NAME\" or \"oci:NAME[:TAG]\"; images are \
         never pulled"
    )]
    Name(String),
    /// There is no folder in which it could be.
    #[error("image \"{0}\": the appliance has no folder of images: [control] state is not set")]
    NoFolder(String),
    /// The module, or something on the way to it, is not there or not as it should be.
    #[error("image \"{image}\": {problem}")]
    Wrong {
        /// The image.
        image: String,
        /// What is wrong, and of what.
        problem: String,
    },
    /// The system does not let it be read.
    #[error("image \"{image}\": {source}")]
    Unreadable {
        /// The image.
        image: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Why there is no module in the folder, without the image's name.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Problem {
    fn wrong(text: impl Into<String>) -> Self {
        Self::Wrong(text.into())
    }
}

/// Where in the folder a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    File(&'a str),
    Layout { name: &'a str, tag: Option<&'a str> },
}

impl Images {
    /// Those in the folder `images` of a state folder.
    #[must_use]
    pub fn new(state: Option<&std::path::Path>) -> Self {
        Self(state.map(|state| Arc::new(state.join("images"))))
    }

    /// Finds what an image names. Reads files on a thread of its own.
    pub async fn resolve(&self, image: &str) -> Result<Named, ImageError> {
        let name = || ImageError::Name(image.chars().take(256).collect());
        if image.starts_with("sha256:") {
            return image.parse().map(Named::Uploaded).map_err(|_| name());
        }
        place(image).ok_or_else(name)?;
        let folder = self.0.clone().ok_or_else(|| ImageError::NoFolder(image.into()))?;
        let image = image.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            let place = place(&image).ok_or_else(|| ImageError::Name(image.clone()))?;
            read(&folder, place).map(|wasm| Named::Wasm(wasm.into())).map_err(|problem| match problem {
                Problem::Wrong(problem) => ImageError::Wrong { image: image.clone(), problem },
                Problem::Io(source) => ImageError::Unreadable { image: image.clone(), source },
            })
        });
        task.await.unwrap_or_else(|error| {
            Err(ImageError::Unreadable { image: name().to_string(), source: std::io::Error::other(error) })
        })
    }
}

fn place(image: &str) -> Option<Place<'_>> {
    if let Some(rest) = image.strip_prefix("oci:") {
        let (name, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        return (is_name(name) && tag.is_none_or(is_name)).then_some(Place::Layout { name, tag });
    }
    if let Some(name) = image.strip_prefix("file:") {
        return is_name(name).then_some(Place::File(name));
    }
    // The tag that faas-cli gives every image that has none.
    let name = image.strip_suffix(":latest").unwrap_or(image);
    (is_name(name) && name.ends_with(".wasm")).then_some(Place::File(name))
}

/// One component of a path, that is neither hidden nor a way up.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

fn read(images: &std::path::Path, place: Place<'_>) -> Result<Vec<u8>, Problem> {
    let images = Folder::open(images)?;
    let wasm = match place {
        Place::File(name) => images.read(name, MODULE_BYTES)?,
        Place::Layout { name, tag } => match images.entry(name)? {
            Entry::Folder(folder) => layout::module(&mut { folder }, tag)?,
            Entry::File(file) => layout::module(&mut tar::Archive::open(file)?, tag)?,
        },
    };
    judge(&wasm)?;
    Ok(wasm)
}

fn judge(wasm: &[u8]) -> Result<(), Problem> {
    if wasm.starts_with(MODULE_MAGIC) {
        return Ok(());
    }
    Err(Problem::wrong(if wasm.starts_with(COMPONENT_MAGIC) {
        "is a WebAssembly component: lambdas are modules"
    } else {
        "is no WebAssembly module"
    }))
}

#[cfg(test)]
mod tests;
