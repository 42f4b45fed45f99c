//! An OCI image layout: from its index to the one layer that is a WebAssembly module.

use lnic_registry::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{MODULE_BYTES, Problem, tar};

/// Largest index or manifest.
const DOCUMENT_BYTES: u64 = 1 << 20;
/// Indexes within each other.
const DEPTH: usize = 4;
/// Layers, or manifests of an index.
const DESCRIPTORS: usize = 256;
/// What a tar has over the file in it.
const TAR_BYTES: u64 = 64 << 10;
/// Annotation with a manifest's tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Media types of layers that are a module.
const WASM: [&str; 3] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];
/// Of layers that are a tar.
const TAR: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"];
/// Of indexes.
const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Where a layout's files are.
pub(super) trait Blobs {
    /// A file by the components of its path, at most so many bytes of it.
    fn read(&mut self, path: &[&str], limit: u64) -> Result<Vec<u8>, Problem>;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

/// The module of the image with this tag; of the only one, or of the one that is `latest`, if none is named.
pub(super) fn module(blobs: &mut dyn Blobs, tag: Option<&str>) -> Result<Vec<u8>, Problem> {
    let layout: Layout = document("oci-layout", &blobs.read(&["oci-layout"], DOCUMENT_BYTES)?)?;
    if !layout.image_layout_version.starts_with("1.") {
        return Err(Problem::wrong("oci-layout: is of a version that is not known"));
    }
    let index: Index = document("index.json", &blobs.read(&["index.json"], DOCUMENT_BYTES)?)?;
    let mut found = tagged(index.manifests, tag)?;
    for _ in 0..DEPTH {
        if !INDEX.contains(&found.media_type.as_str()) {
            let manifest: Manifest = document("manifest", &blob(blobs, &found, DOCUMENT_BYTES)?)?;
            return layer(blobs, manifest.layers);
        }
        let index: Index = document("index", &blob(blobs, &found, DOCUMENT_BYTES)?)?;
        found = for_wasm(index.manifests)?;
    }
    Err(Problem::wrong(format!("more than {DEPTH} indexes within each other")))
}

fn tagged(manifests: Vec<Descriptor>, tag: Option<&str>) -> Result<Descriptor, Problem> {
    let is = |manifest: &Descriptor, tag: &str| {
        let name = manifest.annotations.as_ref().and_then(|annotations| annotations.get(REF_NAME));
        // Tools write the tag, or the whole name with it.
        name.is_some_and(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag))
    };
    match tag {
        Some(tag) => only(manifests, &format!("tag \"{tag}\""), |manifest| is(manifest, tag)),
        None if manifests.len() == 1 => only(manifests, "manifest", |_| true),
        None => only(manifests, "tag \"latest\", as none is named", |manifest| is(manifest, "latest")),
    }
}

/// Of manifests for several platforms, the one for WebAssembly.
fn for_wasm(manifests: Vec<Descriptor>) -> Result<Descriptor, Problem> {
    if manifests.len() == 1 {
        return only(manifests, "manifest", |_| true);
    }
    only(manifests, "manifest for WebAssembly", |manifest| {
        manifest.platform.as_ref().is_some_and(|platform| platform.architecture.starts_with("wasm"))
    })
}

/// The one descriptor that is asked for.
fn only(
    descriptors: Vec<Descriptor>,
    what: &str,
    is: impl Fn(&Descriptor) -> bool,
) -> Result<Descriptor, Problem> {
    if descriptors.len() > DESCRIPTORS {
        return Err(Problem::wrong(format!("more than {DESCRIPTORS} entries in a list")));
    }
    let mut found = descriptors.into_iter().filter(|descriptor| is(descriptor));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Problem::wrong(format!("there is no {what}"))),
        (Some(_), Some(_)) => Err(Problem::wrong(format!("there are several of {what}"))),
    }
}

/// The module, as a layer by itself or as the only file of one.
fn layer(blobs: &mut dyn Blobs, layers: Vec<Descriptor>) -> Result<Vec<u8>, Problem> {
    let is = |types: &'static [&str]| move |layer: &Descriptor| types.contains(&layer.media_type.as_str());
    if layers.iter().any(is(&WASM)) {
        let layer = only(layers, "layer that is a module", is(&WASM))?;
        return blob(blobs, &layer, MODULE_BYTES);
    }
    if let Some(layer) =
        layers.iter().find(|layer| layer.media_type.contains("tar+") || layer.media_type.contains("tar."))
    {
        let text = format!("layer {}: is compressed ({}); store it as it is", layer.digest, layer.media_type);
        return Err(Problem::wrong(text));
    }
    let layer = only(layers, "layer with a module", is(&TAR))?;
    let bytes = blob(blobs, &layer, MODULE_BYTES + TAR_BYTES)?;
    tar::only_file(&bytes, ".wasm")
}

/// A blob whose length and digest are what its descriptor says.
fn blob(blobs: &mut dyn Blobs, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Problem> {
    let Descriptor { digest, size, .. } = descriptor;
    if *size > limit {
        return Err(Problem::wrong(format!("blob {digest}: {size} bytes, at most {limit} are read")));
    }
    let bytes = blobs.read(&["blobs", "sha256", &digest.hex()], *size)?;
    if bytes.len() as u64 != *size || Digest::of(&bytes) != *digest {
        return Err(Problem::wrong(format!("blob {digest}: is damaged: it is not what its digest says")));
    }
    Ok(bytes)
}

fn document<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::wrong(format!("{name}: {error}")))
}
