//! The configuration file: what is written in it, and what is wrong with it.
//!
//! `raw` is the schema. [`Topology`](super::topology::Topology) is what becomes of it once every value has been judged;
//! nothing else is handed on. [`machine`] is what the judgement needs to know of the machine.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};

pub mod machine;
mod problem;
pub(crate) mod raw;

#[cfg(test)]
mod tests;

pub use machine::{Cpu, Machine};
pub use problem::{Kind, Problem};
pub(crate) use problem::{Problems, nearest, quoted};

/// Most problems that are reported at once.
const PROBLEMS: usize = 50;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A manifest cannot be read.
    #[error("manifest {path}: {source}")]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The machine cannot be read.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// It says things that cannot be.
    #[error("{}", problem::lines(.path, .problems))]
    Invalid {
        /// Its path.
        path: PathBuf,
        /// Everything that was found, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// Reads the text of a configuration.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// Parses the text of a schema; unknown keys and wrong types are noted and left out, so that the rest can be judged too.
pub(crate) fn parse<T: DeserializeOwned + Default>(text: &str, problems: &mut Problems<'_>) -> T {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors.iter().take(PROBLEMS) {
            problems.wrong(error.span(), error.message());
        }
        return T::default();
    }
    for _ in 0..PROBLEMS {
        match T::deserialize(Deserializer::from(root.clone())) {
            Ok(configuration) => return configuration,
            Err(error) => {
                let span = error.span().unwrap_or_default();
                let mut place = Vec::new();
                let key = remove(root.get_mut(), &span, &mut place);
                problems.wrong(error.span(), problem::explain(error.message(), &place, key.as_deref()));
                if key.is_none() {
                    break;
                }
            }
        }
    }
    T::default()
}

/// Removes the entry whose key or value lies at `span` and returns its key; `place` becomes the names of the tables around it.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>, place: &mut Vec<String>) -> Option<String> {
    let found = table.iter().find(|(key, value)| key.span() == *span || holds(value, span));
    if let Some((key, _)) = found {
        let key = key.clone();
        table.remove(&key);
        return Some(key.into_inner().into_owned());
    }
    for (key, value) in table.iter_mut() {
        place.push(key.get_ref().to_string());
        let removed = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, span, place),
            DeValue::Array(elements) => elements.iter_mut().find_map(|element| match element.get_mut() {
                DeValue::Table(inner) => remove(inner, span, place),
                _ => None,
            }),
            _ => None,
        };
        if removed.is_some() {
            return removed;
        }
        place.pop();
    }
    None
}

/// True if the value, or an element of it that is no table, lies at `span`.
fn holds(value: &toml::Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    value.span() == *span
        || matches!(value.get_ref(), DeValue::Array(elements)
            if elements.iter().any(|element| !element.get_ref().is_table() && holds(element, span)))
}
