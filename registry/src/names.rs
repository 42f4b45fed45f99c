//! What may be a name.

use crate::{Error, LambdaKey};

/// Most bytes of a lambda's or namespace's name: those of a DNS label.
const LABEL_BYTES: usize = 63;
/// Most bytes of a secret's or an appliance's name.
const FILE_NAME_BYTES: usize = 253;

/// Judges both names of a lambda.
pub(crate) fn key(key: &LambdaKey) -> Result<(), Error> {
    namespace(&key.namespace)?;
    label("lambda", &key.name)
}

/// Judges a namespace's name.
pub(crate) fn namespace(name: &str) -> Result<(), Error> {
    label("namespace", name)
}

/// Judges a secret's name.
pub(crate) fn secret(name: &str) -> Result<(), Error> {
    file("secret", name)
}

/// Judges an appliance's name.
pub(crate) fn appliance(name: &str) -> Result<(), Error> {
    file("appliance", name)
}

fn file(what: &'static str, name: &str) -> Result<(), Error> {
    let is_name = (1..=FILE_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.');
    judge(what, name, is_name, "1–253 letters, digits, \"-\", \"_\" and \".\", no \".\" first")
}

fn label(what: &'static str, name: &str) -> Result<(), Error> {
    let is_name = (1..=LABEL_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-');
    let allowed = "1–63 lower-case letters, digits and, between them, \"-\", a letter first";
    judge(what, name, is_name, allowed)
}

fn judge(what: &'static str, name: &str, is_name: bool, allowed: &'static str) -> Result<(), Error> {
    if is_name {
        return Ok(());
    }
    Err(Error::Name { what, name: name.chars().take(80).collect(), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_secret_names() {
        for name in ["a", "resize-2", &"a".repeat(63)] {
            assert_eq!(namespace(name), Ok(()), "{name}");
        }
        for name in ["", "A", "2a", "-a", "a-", "a.b", "a/b", "ä", "a\0", &"a".repeat(64)] {
            assert!(namespace(name).is_err(), "{name:?}");
            assert!(key(&LambdaKey::new("default", name)).is_err(), "{name:?}");
            assert!(key(&LambdaKey::new(name, "echo")).is_err(), "{name:?}");
        }
        for name in ["A", "db.password", "_x", "-", &"a".repeat(253)] {
            assert_eq!(secret(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"a".repeat(254)] {
            assert!(secret(name).is_err(), "{name:?}");
        }
    }
}
