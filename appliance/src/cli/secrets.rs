//! `lnic secrets`: what lambdas may read and nobody may see.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use zeroize::Zeroizing;

use super::connection::{Connection, block_on};
use super::name::InNamespace;
use super::table::{json, plain};
use crate::control::plane::SecretValue;

/// List, set and remove the secrets of a namespace
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// List their names; values are never shown
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Set one; lambdas that name it see the new value
    ///
    /// The value is taken as it is, a line's end included: printf %s "$value" | lnic secrets set NAME
    Set {
        /// Its name
        name: String,
        /// File with the value, up to 64 KiB [default: standard input]
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// It must be there already
        #[arg(long, conflicts_with = "new")]
        existing: bool,
        /// It must not be there
        #[arg(long)]
        new: bool,
        #[command(flatten)]
        at: At,
    },
    /// Remove one that no lambda names
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct At {
    #[command(flatten)]
    namespace: InNamespace,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic secrets`. Exit code 1 if there is no such secret or namespace, or no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match &args.what {
        What::List { at, json: as_json } => {
            let client = at.connection.client()?;
            let names = block_on(async { Ok(client.secrets(at.namespace.name()).await?) })?;
            if *as_json {
                json(&mut out, &names)?;
            } else {
                for name in names {
                    writeln!(out, "{}", plain(&name))?;
                }
            }
        }
        What::Set { name, file, existing, new, at } => {
            let client = at.connection.client()?;
            let value = value(file.as_deref())?;
            let existing = if *existing { Some(true) } else { new.then_some(false) };
            let namespace = at.namespace.name();
            let is_new = block_on(async { Ok(client.set_secret(namespace, name, &value, existing).await?) })?;
            writeln!(out, "{} {}", plain(name), if is_new { "created" } else { "changed" })?;
        }
        What::Remove { name, at } => {
            let client = at.connection.client()?;
            block_on(async { Ok(client.remove_secret(at.namespace.name(), name).await?) })?;
            writeln!(out, "{} removed", plain(name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A secret's bytes. Buffers on the way are zeroed.
fn value(file: Option<&Path>) -> anyhow::Result<SecretValue> {
    let limit_bytes = SecretValue::BYTES as u64 + 1;
    // Large enough never to be moved, which would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SecretValue::BYTES + 64));
    let name = file.filter(|path| path.as_os_str() != "-");
    let (read, place) = match name {
        Some(path) => {
            let read =
                std::fs::File::open(path).and_then(|file| file.take(limit_bytes).read_to_end(&mut bytes));
            (read, path.display().to_string())
        }
        None => (io::stdin().lock().take(limit_bytes).read_to_end(&mut bytes), "standard input".to_owned()),
    };
    read.with_context(|| format!("cannot read {place}"))?;
    anyhow::ensure!(
        bytes.len() <= SecretValue::BYTES,
        "{place}: a secret has at most {} bytes",
        SecretValue::BYTES
    );
    Ok(SecretValue::new(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_as_it_is_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, b"\0binary\n").unwrap();
        assert_eq!(value(Some(&path)).unwrap().bytes(), b"\0binary\n");
        std::fs::write(&path, vec![7; SecretValue::BYTES]).unwrap();
        assert_eq!(value(Some(&path)).unwrap().bytes().len(), SecretValue::BYTES);
        std::fs::write(&path, vec![7; SecretValue::BYTES + 1]).unwrap();
        let error = value(Some(&path)).unwrap_err().to_string();
        assert!(error.ends_with("value: a secret has at most 65536 bytes"), "{error}");
        assert!(value(Some(&folder.path().join("none"))).unwrap_err().to_string().contains("none"));
    }
}
