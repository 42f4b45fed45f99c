//! Judges `[[lambdas]]`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{Budget, LambdaSpec, system};
use crate::control::config::Problems;
use crate::control::config::raw;
use crate::ids::LambdaId;
use crate::matcher::Egress;

/// Most lambdas of one appliance.
const LAMBDAS: usize = 65_536;
/// Longest name: a DNS label's.
const NAME_BYTES: usize = 63;

/// Judges all lambdas.
pub(super) fn lambdas(
    raw: &[Spanned<raw::Lambda>],
    folder: &Path,
    budget: &Budget,
    problems: &mut Problems<'_>,
) -> Vec<LambdaSpec> {
    if let Some(extra) = raw.get(LAMBDAS) {
        problems.wrong(Some(extra.span()), format!("{} [[lambdas]], over the limit of {LAMBDAS}", raw.len()));
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<LambdaId, usize> = HashMap::new();
    let mut lambdas: Vec<LambdaSpec> = Vec::new();
    for (at, raw) in raw.iter().take(LAMBDAS).enumerate() {
        let lambda = one(at, raw, folder, budget, problems);
        if let Some(name) = &raw.get_ref().name
            && names.insert(name.get_ref(), at).is_some()
        {
            let text = format!("lambda \"{}\": there is another lambda of this name", name.get_ref());
            problems.wrong(Some(name.span()), text);
        }
        if let Some(id) = &raw.get_ref().id
            && let Some(earlier) = ids.insert(lambda.id, at)
        {
            let text = format!(
                "lambda \"{}\": id {} is lambda \"{}\"'s already",
                lambda.name, lambda.id, lambdas[earlier].name
            );
            problems.wrong(Some(id.span()), text);
        }
        lambdas.push(lambda);
    }
    lambdas
}

fn one(
    at: usize,
    raw: &Spanned<raw::Lambda>,
    folder: &Path,
    budget: &Budget,
    problems: &mut Problems<'_>,
) -> LambdaSpec {
    let span = Some(raw.span());
    let raw = raw.get_ref();
    let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    let place =
        if name.is_empty() { format!("[[lambdas]] number {}", at + 1) } else { format!("lambda \"{name}\"") };
    match &raw.name {
        None => problems.wrong(span.clone(), format!("{place}: has no name")),
        Some(value) if !is_name(&name) => problems.wrong(
            Some(value.span()),
            format!("{place}: name: allowed are 1–{NAME_BYTES} lower-case letters, digits and, between them, \"-\", a letter first"),
        ),
        Some(_) => {}
    }
    if raw.id.is_none() {
        problems.wrong(span.clone(), format!("{place}: has no id, the number that callers name it by"));
    }
    let entry = match &raw.entry {
        None => name.replace('-', "_"),
        Some(value) => {
            if value.get_ref().is_empty() {
                problems.wrong(Some(value.span()), format!("{place}: entry: is empty"));
            }
            value.get_ref().clone()
        }
    };
    let ways = [("reply", Egress::Reply), ("any", Egress::Any)];
    LambdaSpec {
        id: LambdaId::new(problems.integer(&format!("{place}: id"), &raw.id, 0..=u32::MAX, 0)),
        file: file(&place, &raw.file, span, folder, problems),
        entry,
        budget_fuel: problems.integer(
            &format!("{place}: budget_fuel"),
            &raw.budget_fuel,
            1..=budget.max_fuel,
            budget.default_fuel,
        ),
        egress: problems.choice(&format!("{place}: egress"), &raw.egress, &ways, Egress::Reply),
        rpc: raw.rpc.as_ref().is_none_or(|value| *value.get_ref()),
        name,
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

fn file(
    place: &str,
    value: &raw::Value<String>,
    span: Option<Range<usize>>,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> PathBuf {
    let Some(value) = value else {
        problems.wrong(span, format!("{place}: has no file, the WebAssembly module that `lnic build` makes"));
        return PathBuf::new();
    };
    let path = system::resolve(folder, value.get_ref());
    if !path.is_file() {
        let sources = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        problems.absent(
            Some(value.span()),
            format!("{place}: no file {}", path.display()),
            format!("run `lnic build {}`", sources.display()),
        );
    }
    path
}
