//! Names of lambdas on the command line: `name`, or `name.namespace`.

use crate::control::plane::LambdaKey;

/// Which namespace, for commands that take the name of a lambda.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct InNamespace {
    /// Namespace of names that say none
    #[arg(long, short, value_name = "NS")]
    pub(super) namespace: Option<String>,
}

/// Why a word names no lambda.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No lambda has such a name.
    #[error(
        "no lambda \"{}\": a name has 1–63 lower-case letters, digits and, between them, \"-\"; .NAMESPACE may follow",
        .0.escape_debug()
    )]
    NoName(String),
    /// It is said twice, and differently.
    #[error("\"{name}\" is in namespace \"{named}\", and --namespace says \"{option}\"")]
    Contradiction {
        /// As it was given.
        name: String,
        /// Its own namespace.
        named: String,
        /// The option's.
        option: String,
    },
}

impl InNamespace {
    /// The lambda that a word names.
    pub(super) fn key(&self, word: &str) -> Result<LambdaKey, Error> {
        let (name, named) = match word.split_once('.') {
            Some((name, namespace)) => (name, Some(namespace)),
            None => (word, None),
        };
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name || named.is_some_and(|namespace| !is_namespace(namespace)) {
            return Err(Error::NoName(word.into()));
        }
        match (named, &self.namespace) {
            (Some(named), Some(option)) if named != option => {
                Err(Error::Contradiction { name: word.into(), named: named.into(), option: option.clone() })
            }
            (Some(namespace), _) => Ok(LambdaKey::new(namespace, name)),
            (None, _) => Ok(LambdaKey::new(self.name(), name)),
        }
    }

    /// The namespace of those who name none.
    #[must_use]
    pub(super) fn name(&self) -> &str {
        self.namespace.as_deref().unwrap_or(LambdaKey::DEFAULT_NAMESPACE)
    }
}

/// Whatever an appliance may call a namespace; it has the last word.
fn is_namespace(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && !name.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_namespaces() {
        let none = InNamespace::default();
        let acme = InNamespace { namespace: Some("acme".into()) };
        assert_eq!(none.key("echo").unwrap(), LambdaKey::new("default", "echo"));
        assert_eq!(none.key("echo.acme").unwrap(), LambdaKey::new("acme", "echo"));
        assert_eq!(acme.key("echo").unwrap(), LambdaKey::new("acme", "echo"));
        assert_eq!(acme.key("echo.acme").unwrap(), LambdaKey::new("acme", "echo"));
        let error = acme.key("echo.other").unwrap_err().to_string();
        assert_eq!(error, "\"echo.other\" is in namespace \"other\", and --namespace says \"acme\"");
        for word in ["", ".", "..", "a.", ".a", "a..", "no/body", "ECHO", "1a", "a b", "a\u{1b}[2J", "a.b/c"]
        {
            let error = none.key(word).unwrap_err().to_string();
            assert!(error.starts_with(&format!("no lambda \"{}\": ", word.escape_debug())), "{error}");
        }
    }
}
