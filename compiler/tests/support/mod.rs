//! Modules made by clang, and a runner for them.

pub(crate) mod clang;
pub(crate) mod machine;
pub(crate) mod program;
