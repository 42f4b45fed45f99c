//! `--set KEY=VALUE`: keys of the manifest on the command line.

use std::path::Path;

use crate::control::config;
use crate::control::manifest::from_text;
use crate::control::plane::Manifest;

/// Tables whose values are always text.
const TEXTS: [&str; 3] = ["environment", "labels", "annotations"];
/// The table of tables, and the key that each of these has.
const SERVICES: &str = "services";
const ADDRESS: &str = "address";
/// Stands for a service's address while another of its keys is judged.
const ANY_ADDRESS: &str = "192.0.2.1:1";

/// What was set, by the keys of a manifest.
pub(super) type Settings = Vec<toml::Table>;

/// Reads them. A value may be written as in a manifest, or a text without its quotes.
pub(super) fn parse(settings: &[String]) -> Result<Settings, Vec<String>> {
    let mut parsed = Vec::new();
    let mut wrong = Vec::new();
    for setting in settings {
        match one(setting) {
            Ok(table) => parsed.push(table),
            Err(reasons) => {
                let line = |reason: String| format!("--set {}: {reason}", setting.escape_debug());
                wrong.extend(reasons.into_iter().map(line));
            }
        }
    }
    if wrong.is_empty() { Ok(parsed) } else { Err(wrong) }
}

/// Lays them over a manifest, the last over all.
pub(super) fn apply(manifest: &mut Manifest, settings: &Settings) {
    // A manifest always has the form of a table, and what was parsed is a part of one.
    let Ok(mut all) = toml::Table::try_from(&*manifest) else { return };
    for setting in settings {
        lay_over(&mut all, setting.clone());
    }
    // A service that the manifest does not have: the judge says that it has no address.
    for service in services_of(&mut all) {
        service.entry(ADDRESS).or_insert_with(|| toml::Value::String(String::new()));
    }
    if let Ok(changed) = all.try_into() {
        *manifest = changed;
    }
}

fn lay_over(table: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(table)), toml::Value::Table(more)) => lay_over(table, more),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

fn services_of(manifest: &mut toml::Table) -> impl Iterator<Item = &mut toml::Table> {
    let services = manifest.get_mut(SERVICES).and_then(toml::Value::as_table_mut);
    services
        .into_iter()
        .flat_map(|services| services.iter_mut())
        .filter_map(|(_, service)| service.as_table_mut())
}

fn one(setting: &str) -> Result<toml::Table, Vec<String>> {
    let Some((key, value)) = setting.split_once('=') else {
        return Err(vec!["expected KEY=VALUE".into()]);
    };
    let text = toml::Value::String(value.to_owned()).to_string();
    let (path, is_text) = match key.split_once('.') {
        Some((table, name)) if TEXTS.contains(&table) => {
            (format!("{table}.{}", toml::Value::String(name.to_owned())), true)
        }
        _ => (key.to_owned(), false),
    };
    // A service cannot be without an address, but what is set here may be another key of one that has it.
    let service = key.strip_prefix("services.").and_then(|rest| rest.rsplit_once('.'));
    let partial = service.filter(|&(_, last)| last != ADDRESS).map(|(name, _)| name);
    let address = partial.map(|name| format!("\n{SERVICES}.{name}.{ADDRESS} = {ANY_ADDRESS:?}"));
    let address = address.unwrap_or_default();
    let judge = |value: &str| from_text(&format!("{path} = {value}{address}"), Path::new("--set"));
    // As it would stand in a file, if it could; else as a text.
    let plain = if is_text || toml::from_str::<toml::Table>(&format!("value = {value}")).is_err() {
        judge(&text)
    } else {
        judge(value).or_else(|error| judge(&text).map_err(|_| error))
    };
    let manifest = plain.map_err(|error| match error {
        config::Error::Invalid { problems, .. } => {
            problems.into_iter().map(|problem| problem.message).collect()
        }
        error => vec![error.to_string()],
    })?;
    let mut table = toml::Table::try_from(&manifest).map_err(|error| vec![error.to_string()])?;
    // What is not set is not laid over.
    table.retain(|name, _| name != "name" || key == "name");
    if partial.is_some() {
        services_of(&mut table).for_each(|service| drop(service.remove(ADDRESS)));
    }
    Ok(table)
}
