//! `lnic namespaces`: whose lambdas there are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;

use super::connection::{Connection, block_on};
use super::table::{Side, Table, json, plain};
use crate::control::plane::Namespace;

/// List, make and remove namespaces
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make one
    Create {
        /// Its name
        name: String,
        /// A label; several for several labels
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<(String, String)>,
        /// An annotation; several for several annotations
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        annotation: Vec<(String, String)>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Remove one that has no lambdas, and its secrets
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// Runs `lnic namespaces`. Exit code 1 if it cannot be done, or no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match &args.what {
        What::List { connection, json: as_json } => {
            let client = connection.client()?;
            let namespaces = block_on(async { Ok(client.namespaces().await?) })?;
            if *as_json {
                json(&mut out, &namespaces)?;
            } else {
                write(&mut out, &namespaces)?;
            }
        }
        What::Create { name, label, annotation, connection } => {
            let client = connection.client()?;
            let namespace = Namespace {
                name: name.clone(),
                labels: label.iter().cloned().collect(),
                annotations: annotation.iter().cloned().collect(),
            };
            block_on(async { Ok(client.create_namespace(&namespace).await?) })?;
            writeln!(out, "{} created", plain(name))?;
        }
        What::Remove { name, connection } => {
            let client = connection.client()?;
            block_on(async { Ok(client.remove_namespace(name).await?) })?;
            writeln!(out, "{} removed", plain(name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, namespaces: &[Namespace]) -> io::Result<()> {
    let pairs = |texts: &BTreeMap<String, String>| {
        texts.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let mut table = Table::new(&[("NAME", Side::Left), ("LABELS", Side::Left), ("ANNOTATIONS", Side::Left)]);
    for namespace in namespaces {
        table.row([namespace.name.clone(), pairs(&namespace.labels), pairs(&namespace.annotations)]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each() {
        let acme = Namespace {
            name: "acme".into(),
            labels: [("team".into(), "a".into()), ("tier".into(), "b".into())].into(),
            annotations: BTreeMap::new(),
        };
        let mut out = Vec::new();
        write(&mut out, &[acme, Namespace { name: "default".into(), ..Namespace::default() }]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME     LABELS         ANNOTATIONS\nacme     team=a tier=b\ndefault\n"
        );
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err());
    }
}
