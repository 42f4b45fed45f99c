//! Lambdas, as `[[lambdas]]` says.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{
    Budget, Concurrency, IslandSpec, LayoutWish, ServiceSpec, TenantSpec, scheduling, services, system,
    tenants,
};
use crate::control::config::Problems;
use crate::control::config::raw;
use crate::ids::{IslandId, LambdaId};
use crate::matcher::Egress;

/// Most lambdas of one appliance.
const LAMBDAS: usize = 65_536;
/// Longest name: a DNS label's.
const NAME_BYTES: usize = 63;
/// Largest message slot, KiB: the largest message of λ-RPC.
const MESSAGE_KIB: u32 = lnic_message::MESSAGE_BYTES >> 10;
/// A message slot, KiB, if nothing else is said.
const DEFAULT_MESSAGE_KIB: u32 = 64;
/// Requests of one lambda that may run or be suspended at once on one NPU, if nothing else is said.
const IN_FLIGHT: u32 = 8;

/// One lambda.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LambdaSpec {
    /// Its name.
    pub name: String,
    /// Its ID on the wire.
    pub id: LambdaId,
    /// Whose it is: a place in the list of tenants.
    pub tenant: usize,
    /// WebAssembly module.
    pub file: PathBuf,
    /// Exported function to call.
    pub entry: String,
    /// Its share of the NPUs' time, against other lambdas' weights.
    pub weight: u32,
    /// Longest time of one invocation.
    pub budget_us: u32,
    /// Islands that it runs on, ascending; never empty.
    pub islands: Vec<IslandId>,
    /// Whether several NPUs may run it at once.
    pub concurrency: Concurrency,
    /// How its memory is laid out.
    pub layout: LayoutWish,
    /// Requests of it that may run or be suspended at once on one NPU.
    pub in_flight: u32,
    /// Requests that may wait for it in one dispatcher.
    pub queue_frames: u32,
    /// Where its frames may go.
    pub egress: Egress,
    /// λ-RPC messages with its ID reach it without a rule.
    pub rpc: bool,
    /// What it gets of a request over HTTP.
    pub http: HttpMode,
    /// Message slots for each lcore that polls; 0 takes messages of one frame only.
    pub message_slots: u32,
    /// Bytes of a slot.
    pub message_bytes: u32,
    /// MiB that it may have of all memory together; what each tier allows it if `None`.
    pub memory_mib: Option<u32>,
    /// Services outside that it may ask, by name.
    pub services: Vec<ServiceSpec>,
}

/// What a lambda gets of a request over HTTP, and what its reply is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// The body; its reply is the response's body.
    #[default]
    Body,
    /// An HTTP/1.1 message with request line, headers and body; its reply is one with status line, headers and body.
    Message,
}

impl HttpMode {
    /// All, the default first.
    pub const ALL: [Self; 2] = [Self::Body, Self::Message];

    /// Its name in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Message => "message",
        }
    }

    /// The one that a manifest's text names, which its judge has seen; the default without one.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|mode| name == Some(mode.name())).unwrap_or_default()
    }
}

/// What lambdas of a configuration are judged by.
pub(super) struct Context<'a> {
    pub(super) folder: &'a Path,
    pub(super) tenants: &'a [TenantSpec],
    pub(super) bounds: Bounds<'a>,
}

/// What a lambda is judged by wherever it is described.
pub(super) struct Bounds<'a> {
    pub(super) budget: &'a Budget,
    /// Requests that may wait for a lambda that says nothing.
    pub(super) queue_frames: u32,
    /// `None` if it is not known where it will run: names are then not looked up.
    pub(super) islands: Option<&'a [IslandSpec]>,
    /// `None` likewise: ways to services are then not looked for.
    pub(super) services: Option<services::Context<'a>>,
}

/// Judges all lambdas.
pub(super) fn lambdas(
    raw: &[Spanned<raw::Lambda>],
    context: &Context<'_>,
    problems: &mut Problems<'_>,
) -> Vec<LambdaSpec> {
    if let Some(extra) = raw.get(LAMBDAS) {
        problems.wrong(Some(extra.span()), format!("{} [[lambdas]], over the limit of {LAMBDAS}", raw.len()));
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<LambdaId, usize> = HashMap::new();
    let mut lambdas: Vec<LambdaSpec> = Vec::new();
    for (at, raw) in raw.iter().take(LAMBDAS).enumerate() {
        let lambda = one(at, raw, context, problems);
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
    context: &Context<'_>,
    problems: &mut Problems<'_>,
) -> LambdaSpec {
    let span = Some(raw.span());
    let raw = raw.get_ref();
    let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    let place =
        if name.is_empty() { format!("[[lambdas]] number {}", at + 1) } else { format!("lambda \"{name}\"") };
    let spec = judge(&place, span.clone(), raw, &context.bounds, problems);
    if raw.id.is_none() {
        problems.wrong(span.clone(), format!("{place}: has no id, the number that callers name it by"));
    }
    let tenant = tenants::place(&place, &raw.tenant, context.tenants, problems);
    let file = file(&place, &raw.file, span, context.folder, problems);
    LambdaSpec { tenant, file, ..spec }
}

/// Judges what a lambda says of itself, in a configuration or in a manifest. Its tenant and its file are the caller's business.
pub(super) fn judge(
    place: &str,
    span: Option<Range<usize>>,
    raw: &raw::Lambda,
    bounds: &Bounds<'_>,
    problems: &mut Problems<'_>,
) -> LambdaSpec {
    let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    match &raw.name {
        None => problems.wrong(span, format!("{place}: has no name")),
        Some(value) if !is_name(&name) => problems.wrong(
            Some(value.span()),
            format!("{place}: name: allowed are 1–{NAME_BYTES} lower-case letters, digits and, between them, \"-\", a letter first"),
        ),
        Some(_) => {}
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
        tenant: 0,
        file: PathBuf::new(),
        entry,
        weight: problems.integer(&format!("{place}: weight"), &raw.weight, 1..=1_000, 1),
        budget_us: problems.integer(
            &format!("{place}: budget_us"),
            &raw.budget_us,
            1..=bounds.budget.max_us,
            bounds.budget.default_us,
        ),
        islands: islands(place, &raw.islands, bounds.islands, problems),
        concurrency: problems.choice(
            &format!("{place}: concurrency"),
            &raw.concurrency,
            &Concurrency::ALL.map(|concurrency| (concurrency.name(), concurrency)),
            Concurrency::Auto,
        ),
        layout: problems.choice(
            &format!("{place}: layout"),
            &raw.layout,
            &LayoutWish::ALL.map(|layout| (layout.name(), layout)),
            LayoutWish::Auto,
        ),
        in_flight: problems.integer(&format!("{place}: in_flight"), &raw.in_flight, 1..=64, IN_FLIGHT),
        queue_frames: scheduling::queue_frames(
            &format!("{place}:"),
            &raw.queue_frames,
            bounds.queue_frames,
            problems,
        ),
        http: problems.choice(
            &format!("{place}: http"),
            &raw.http,
            &HttpMode::ALL.map(|mode| (mode.name(), mode)),
            HttpMode::Body,
        ),
        message_slots: problems.integer(&format!("{place}: message_slots"), &raw.message_slots, 0..=1024, 0),
        message_bytes: problems.integer(
            &format!("{place}: message_kib"),
            &raw.message_kib,
            1..=MESSAGE_KIB,
            DEFAULT_MESSAGE_KIB,
        ) << 10,
        egress: problems.choice(&format!("{place}: egress"), &raw.egress, &ways, Egress::Reply),
        memory_mib: None,
        services: services::judge(place, &raw.services, bounds.services.as_ref(), problems),
        rpc: raw.rpc.as_ref().is_none_or(|value| *value.get_ref()),
        name,
    }
}

/// The islands that are named; all if none are.
fn islands(
    place: &str,
    value: &raw::Value<Vec<Spanned<String>>>,
    islands: Option<&[IslandSpec]>,
    problems: &mut Problems<'_>,
) -> Vec<IslandId> {
    let known = islands.unwrap_or_default();
    let Some(value) = value else { return known.iter().map(|island| island.id).collect() };
    if value.get_ref().is_empty() {
        problems.wrong(Some(value.span()), format!("{place}: islands: names none"));
    }
    let mut listed = BTreeSet::new();
    let mut chosen = BTreeSet::new();
    for name in value.get_ref() {
        if islands.is_some() {
            let names = known.iter().map(|island| island.name.as_str());
            let Some(index) = problems.named(place, "island", name, names) else { continue };
            chosen.insert(known[index].id);
        }
        if !listed.insert(name.get_ref()) {
            let text = format!("{place}: islands: \"{}\" is listed twice", name.get_ref());
            problems.wrong(Some(name.span()), text);
        }
    }
    chosen.into_iter().collect()
}

/// A lambda's name: a DNS label that begins with a letter.
pub(super) fn is_name(name: &str) -> bool {
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
