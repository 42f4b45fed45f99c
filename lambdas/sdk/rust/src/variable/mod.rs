//! What outlives a run.

mod held;
mod pinned;
mod place;

pub use pinned::Pinned;

#[cfg(target_arch = "wasm32")]
pub(crate) use held::release_all;
pub(crate) use held::{after_waiting, before_waiting};
