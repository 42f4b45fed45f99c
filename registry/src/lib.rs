//! What is deployed, kept: lambdas with their generations, namespaces, secrets and modules, in a store that survives a power cut.
//!
//! The [`Store`] is embedded, or etcd where several appliances share one; both keep the same promises, and the [`Registry`] on top
//! does not know which it has. What several change at once is decided by compare-and-swap: a [`Revision`] that is not the
//! current one any more is an [`Error::Conflict`], and nothing has changed.

mod error;
mod manifest;
mod modules;
mod names;
mod record;
mod registry;
pub mod store;

pub use error::Error;
pub use manifest::{Manifest, ManifestRule, ManifestService};
pub use record::{Digest, DigestError, GenerationRecord, LambdaKey, LambdaRecord, NamespaceRecord, Revision};
pub use registry::{AsyncRequest, Backend, Event, Registry, Secret, Versioned};
pub use store::{ApplianceRecord, Store};
