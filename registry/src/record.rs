//! What the registry keeps of each thing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::Manifest;

/// The name of a module: its SHA-256, written `sha256:` and 64 hexadecimal digits, as OCI does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// No digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no digest: \"sha256:\" and 64 hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// That of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its hexadecimal digits alone: a name for files.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError(text.chars().take(80).collect());
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            if !digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which state of a thing somebody has seen: it grows with each change of the store. 0 is a thing that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// A lambda's name within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct LambdaKey {
    /// Whose it is.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl LambdaKey {
    /// The namespace of those who name none.
    pub const DEFAULT_NAMESPACE: &'static str = "default";

    /// A name in a namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for LambdaKey {
    /// As gateways write it: `name`, or `name.namespace` outside the default one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            Self::DEFAULT_NAMESPACE => f.write_str(&self.name),
            namespace => write!(f, "{}.{namespace}", self.name),
        }
    }
}

/// A lambda, as it shall be on every appliance of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaRecord {
    /// Whose it is, and its name.
    pub key: LambdaKey,
    /// λ-RPC lambda ID; stays over generations.
    pub id: u32,
    /// Number of the generation that runs.
    pub current: u64,
    /// All generations that one can go back to, oldest first; `current` is one of them.
    pub generations: Vec<GenerationRecord>,
    /// NPUs that run it at once, if somebody scaled it; else its manifest's.
    pub replicas: Option<u32>,
    /// When it was first deployed, ms since 1970.
    pub created_at_ms: u64,
}

/// One deployment of a lambda; never changed once written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Counts deployments of the lambda, from 1; a number is never used again.
    pub number: u64,
    /// Its code.
    pub module: Digest,
    /// What its author says.
    pub manifest: Manifest,
    /// How its deployer named the code, such as an image's name; for people.
    pub image: String,
    /// When it was deployed, ms since 1970.
    pub deployed_at_ms: u64,
}

impl LambdaRecord {
    /// The generation that runs.
    #[must_use]
    pub fn generation(&self) -> Option<&GenerationRecord> {
        self.generations.iter().find(|generation| generation.number == self.current)
    }
}

/// A namespace: a tenant of the appliance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its name.
    pub name: String,
    /// For people and programs.
    pub labels: BTreeMap<String, String>,
    /// The same, for longer texts.
    pub annotations: BTreeMap<String, String>,
    /// When it was made, ms since 1970.
    pub created_at_ms: u64,
}
