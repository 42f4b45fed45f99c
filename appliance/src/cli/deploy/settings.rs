//! `--set KEY=VALUE`: keys of the manifest on the command line.

use std::path::Path;

use crate::control::config;
use crate::control::manifest::from_text;
use crate::control::plane::Manifest;

/// Tables whose values are always text.
const TEXTS: [&str; 3] = ["environment", "labels", "annotations"];

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
        for (key, value) in setting.clone() {
            match (all.get_mut(&key), value) {
                (Some(toml::Value::Table(table)), toml::Value::Table(more)) => table.extend(more),
                (_, value) => {
                    all.insert(key, value);
                }
            }
        }
    }
    if let Ok(changed) = all.try_into() {
        *manifest = changed;
    }
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
    let judge = |value: &str| from_text(&format!("{path} = {value}"), Path::new("--set"));
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
    Ok(table)
}
