//! `lambda.toml`: what an author says about a lambda beside its code.
//!
//! [`read`] is for those who deploy: it finds every mistake that needs no appliance to be known, with its line. [`judge`] is for the
//! appliance: it knows its islands, ports and bounds, and has the last word. Both use the judges of the configuration's
//! `[[lambdas]]` and `[[rules]]`. [`schema`] describes the file to editors.

mod convert;
mod merge;
pub mod schema;

#[cfg(test)]
mod tests;

use std::path::Path;

use lnic_registry::{LambdaKey, Manifest};

use super::config::{Error, Kind, Problem, Problems, parse};
use super::topology::{LambdaSpec, Surroundings, Topology, judge_manifest};
use crate::ids::LambdaId;
use crate::matcher::Rule;

/// Name of the file that lies beside a lambda's code.
pub const FILE: &str = "lambda.toml";
/// Longest file that is read.
const FILE_BYTES: u64 = 1 << 20;
/// Stands for a name that the file leaves to its folder, while the rest is judged.
const UNNAMED: &str = "unnamed";

/// Reads a manifest. All mistakes at once, each with its line. The name may be left out: it is empty then.
///
/// # Errors
/// The file cannot be read, or says what cannot be.
pub fn read(path: &Path) -> Result<Manifest, Error> {
    let failed = |source| Error::Manifest { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES {
        return Err(failed(std::io::Error::other(format!("{bytes} bytes: at most {FILE_BYTES}"))));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    from_text(&text, path)
}

/// The manifest that a text holds; `path` is where it comes from, for people.
///
/// # Errors
/// It says what cannot be.
pub fn from_text(text: &str, path: &Path) -> Result<Manifest, Error> {
    let mut problems = Problems::new(text);
    let raw = parse(text, &mut problems);
    let manifest = convert::from_raw(&raw);
    judge_offline(raw, &mut problems);
    let problems = problems.into_sorted();
    if problems.is_empty() { Ok(manifest) } else { Err(Error::Invalid { path: path.into(), problems }) }
}

/// What no appliance would take of a manifest that was put together from several sources.
///
/// # Errors
/// A line for each mistake.
pub fn check(manifest: &Manifest) -> Result<(), Vec<String>> {
    let mut problems = Problems::new("");
    judge_offline(convert::to_raw(manifest), &mut problems);
    lines(problems)
}

/// A manifest with what another file says over it: tables entry by entry, all else whole. Only what that file says is judged.
pub(crate) fn overridden(
    base: &Manifest,
    raw: super::config::raw::Manifest,
    problems: &mut Problems<'_>,
) -> Manifest {
    let over = convert::from_raw(&raw);
    judge_offline(raw, problems);
    merge::over(base, &over)
}

fn judge_offline(mut raw: super::config::raw::Manifest, problems: &mut Problems<'_>) {
    let place = match &raw.name {
        Some(name) => place(&LambdaKey::new("", name.get_ref())),
        None => "the lambda".to_owned(),
    };
    raw.name.get_or_insert_with(|| convert::spanned(UNNAMED.to_owned()));
    judge_manifest(&place, raw, &Surroundings::unknown(), problems);
}

/// What a manifest makes of a lambda on this appliance, and its rules, in which the lambda has the first slot. `id` is the one that
/// the lambda has, whatever the manifest wishes; `module` is shown to people as its file.
///
/// # Errors
/// A line for each mistake.
pub fn judge(
    manifest: &Manifest,
    namespace: &str,
    id: u32,
    module: &Path,
    topology: &Topology,
) -> Result<(LambdaSpec, Vec<Rule>), Vec<String>> {
    let mut problems = Problems::new("");
    let place = place(&LambdaKey::new(namespace, &manifest.name));
    let raw = convert::to_raw(manifest);
    let (spec, rules) = judge_manifest(&place, raw, &Surroundings::of(topology), &mut problems);
    lines(problems)?;
    Ok((LambdaSpec { id: LambdaId::new(id), file: module.into(), ..spec }, rules))
}

/// How messages name the lambda: in the default namespace, and where that is not known, by its name alone.
fn place(key: &LambdaKey) -> String {
    // A name can be anything here, and must not write to terminals.
    let name: String = key.name.chars().take(80).collect();
    match key.namespace.as_str() {
        "" | LambdaKey::DEFAULT_NAMESPACE => format!("lambda {name:?}"),
        namespace => format!("lambda {:?}", format!("{name}.{namespace}")),
    }
}

fn lines(problems: Problems<'_>) -> Result<(), Vec<String>> {
    let line = |Problem { message, kind, .. }: Problem| match kind {
        Kind::Wrong => message,
        Kind::Absent { fix } => format!("{message}: {fix}"),
    };
    let lines: Vec<String> = problems.into_sorted().into_iter().map(line).collect();
    if lines.is_empty() { Ok(()) } else { Err(lines) }
}
