//! From what is written in a script to what can be played: everything is checked here, with the line that is wrong.

mod expect;
mod payload;
mod send;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::compare::Expect;
use super::frame::Template;
use super::payload::Pattern;
use super::raw;
use crate::control::config::raw::Value;
use crate::control::config::{Problems, parse};
use crate::control::manifest;
use crate::control::plane::Manifest;

/// Most packets of a script.
const STEPS: usize = 10_000;
/// Most times that one is sent.
const REPEAT: u32 = 1_000_000;
/// How long an answer is waited for unless a script says otherwise, in simulated time.
const WAIT_MS: u32 = 1_000;
/// Longest time that can pass between packets: a day.
const LONGEST_MS: u32 = 86_400_000;
/// Longest reply of a service that is one datagram, over IPv6 too.
const DATAGRAM_BYTES: usize = 1_452;
/// Most lambdas beside the one that is tested.
const COMPANIONS: usize = 14;

/// A script that can be played.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) path: PathBuf,
    /// How the lambda is deployed.
    pub(super) manifest: Manifest,
    /// Its λ-RPC ID.
    pub(super) id: u32,
    /// Values of its secrets.
    pub(super) secrets: BTreeMap<String, String>,
    /// A dispatcher decides what runs when, and not the order of arrival.
    pub(super) dispatches: bool,
    /// The appliance has a host port.
    pub(super) has_host: bool,
    /// Others that are deployed with it.
    pub(super) companions: Vec<Companion>,
    /// What services answer, by name.
    pub(super) services: BTreeMap<String, Vec<Exchange>>,
    pub(super) steps: Vec<Step>,
}

/// A lambda that is deployed beside the one that is tested.
#[derive(Clone, Debug)]
pub struct Companion {
    /// Its folder or module.
    pub source: PathBuf,
    /// Its name, if not its manifest's.
    pub name: Option<String>,
    /// Its λ-RPC ID, if not its manifest's.
    pub id: Option<u32>,
    /// More for its environment.
    pub environment: BTreeMap<String, String>,
    /// Where it is named.
    pub line: usize,
}

/// A request that a service gets, and what it answers.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) line: usize,
    pub(super) request: Pattern,
    /// `None`: silence.
    pub(super) reply: Option<Vec<u8>>,
    pub(super) delay_ns: u64,
}

/// A packet, and what has to come of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) after_ns: u64,
    pub(super) wait_ns: u64,
    pub(super) repeat: u32,
    pub(super) send: Vec<Send>,
    /// `None`: whatever comes.
    pub(super) expect: Option<Vec<Expect>>,
    pub(super) log: Option<Vec<String>>,
    pub(super) max_fuel: Option<u64>,
    pub(super) counters: Vec<(String, u64)>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Send {
    /// A packet, made layer by layer.
    Packet(Box<Template>),
    /// A frame, as it is.
    Frame(super::frame::Side, Vec<u8>),
}

/// λ-RPC ID of the lambda that is tested, if its manifest says none.
const TESTED: u32 = 1;

/// Whom a script is about, and where its files are.
pub(super) struct Judge<'p, 't> {
    problems: &'p mut Problems<'t>,
    text: &'t str,
    /// The script's.
    folder: &'p Path,
    /// λ-RPC ID of the lambda that is tested.
    id: u32,
    /// Those of the companions, by name.
    ids: BTreeMap<String, u32>,
}

/// Judges the text of a script for a lambda with this manifest; relative paths start at the folder of `path`.
pub(super) fn judge<'t>(text: &'t str, path: &Path, base: &Manifest, problems: &mut Problems<'t>) -> Script {
    let raw: raw::Script = parse(text, problems);
    let folder = path.parent().unwrap_or(Path::new(""));
    let manifest = manifest::overridden(base, raw.lambda, problems);
    let id = manifest.id.unwrap_or(TESTED);
    let mut judge = Judge { problems, text, folder, id, ids: BTreeMap::new() };
    let secrets = judge.secrets(&manifest, &raw.secrets);
    let modes = [("run-to-completion", false), ("dispatcher", true)];
    let dispatches =
        judge.problems.choice("[appliance] scheduling", &raw.appliance.scheduling, &modes, false);
    let companions = judge.companions(&raw.lambdas);
    let services = judge.services(&manifest, &raw.services);
    let steps = judge.steps(&raw.packets);
    if steps.is_empty() {
        judge.wrong(None, "there are no [[packets]]: nothing is tested");
    }
    let has_host = raw.appliance.host_port.as_ref().is_none_or(|value| *value.get_ref());
    Script { path: path.into(), manifest, id, secrets, dispatches, has_host, companions, services, steps }
}

impl Script {
    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lambdas to deploy beside the one that is tested.
    #[must_use]
    pub fn companions(&self) -> &[Companion] {
        &self.companions
    }

    /// Names of its packets.
    pub fn packets(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }
}

impl Judge<'_, '_> {
    fn wrong(&mut self, span: Option<std::ops::Range<usize>>, message: impl Into<String>) {
        self.problems.wrong(span, message);
    }

    fn line<T>(&self, value: &Spanned<T>) -> usize {
        let before = self.text.get(..value.span().start).unwrap_or_default();
        before.bytes().filter(|&byte| byte == b'\n').count() + 1
    }

    fn number<T>(&mut self, place: &str, value: &Value<i64>, most: T) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy + Default,
    {
        value.as_ref()?;
        Some(self.problems.integer(place, value, T::default()..=most, T::default()))
    }

    fn flag(value: &Value<bool>) -> bool {
        value.as_ref().is_some_and(|value| *value.get_ref())
    }

    fn secrets(
        &mut self,
        manifest: &Manifest,
        said: &crate::control::config::raw::Texts,
    ) -> BTreeMap<String, String> {
        let named: BTreeSet<&str> = manifest.secrets.iter().map(String::as_str).collect();
        let mut values = BTreeMap::new();
        for (name, value) in said {
            if !named.contains(name.get_ref().as_str()) {
                let text = format!("[secrets] {}: the manifest's `secrets` does not name it", name.get_ref());
                self.wrong(Some(name.span()), text);
            }
            values.insert(name.get_ref().clone(), value.get_ref().clone());
        }
        for name in named.iter().filter(|name| !values.contains_key(**name)) {
            self.wrong(None, format!("the manifest names the secret {name:?}: say its value in [secrets]"));
        }
        values
    }

    fn companions(&mut self, all: &[Spanned<raw::Companion>]) -> Vec<Companion> {
        if let Some(extra) = all.get(COMPANIONS) {
            self.wrong(Some(extra.span()), format!("{} [[lambdas]]: at most {COMPANIONS}", all.len()));
        }
        let mut companions = Vec::new();
        for (number, spanned) in (1..).zip(all.iter().take(COMPANIONS)) {
            let (place, raw) = (format!("lambda {number}"), spanned.get_ref());
            let Some(source) = &raw.source else {
                self.wrong(Some(spanned.span()), format!("{place}: has no source, its folder or module"));
                continue;
            };
            let id = self.number(&format!("{place}: id"), &raw.id, u32::MAX);
            let name = raw.name.as_ref().map(|name| name.get_ref().clone());
            if let (Some(name), Some(id)) = (&name, id) {
                self.ids.insert(name.clone(), id);
            }
            let environment = raw.environment.iter();
            let environment =
                environment.map(|(name, value)| (name.get_ref().clone(), value.get_ref().clone())).collect();
            let (source, line) = (self.folder.join(source.get_ref()), self.line(spanned));
            companions.push(Companion { source, name, id, environment, line });
        }
        companions
    }

    fn services(
        &mut self,
        manifest: &Manifest,
        said: &BTreeMap<Spanned<String>, Vec<Spanned<raw::Exchange>>>,
    ) -> BTreeMap<String, Vec<Exchange>> {
        let mut services = BTreeMap::new();
        for (name, exchanges) in said {
            let names = manifest.services.keys().map(String::as_str);
            self.problems.named("[[services]]", "service of the manifest", name, names);
            let mut judged = Vec::new();
            for (number, spanned) in (1..).zip(exchanges) {
                let (exchange, repeat) = self.exchange(manifest, name.get_ref(), number, spanned);
                judged.extend((0..repeat).map(|_| exchange.clone()));
            }
            services.insert(name.get_ref().clone(), judged);
        }
        services
    }

    fn exchange(
        &mut self,
        manifest: &Manifest,
        service: &str,
        number: usize,
        spanned: &Spanned<raw::Exchange>,
    ) -> (Exchange, u32) {
        let place = &format!("service \"{service}\": {number}");
        let raw = spanned.get_ref();
        let request = match &raw.expect {
            Some(expect) => self.pattern(&format!("{place}: expect"), &expect.get_ref().into()),
            None => Pattern::default(),
        };
        let reply = raw.reply.as_ref().map(|reply| {
            self.payload(&format!("{place}: reply"), &reply.get_ref().into()).unwrap_or_default()
        });
        if reply.is_some() == Self::flag(&raw.nothing) {
            let text = format!("{place}: say what it answers: either `reply` or `nothing = true`");
            self.wrong(Some(spanned.span()), text);
        }
        let is_datagram =
            manifest.services.get(service).is_none_or(|it| it.framing.as_deref() != Some("memcached"));
        if is_datagram && reply.as_ref().is_some_and(|reply| reply.len() > DATAGRAM_BYTES) {
            let span = raw.reply.as_ref().map(Spanned::span);
            self.wrong(span, format!("{place}: reply: a datagram has at most {DATAGRAM_BYTES} bytes"));
        }
        let delay_ms = self.number(&format!("{place}: delay_ms"), &raw.delay_ms, LONGEST_MS);
        let repeat = self.problems.integer(&format!("{place}: repeat"), &raw.repeat, 1..=100_000, 1);
        let delay_ns = u64::from(delay_ms.unwrap_or(0)) * 1_000_000;
        (Exchange { line: self.line(spanned), request, reply, delay_ns }, repeat)
    }

    fn steps(&mut self, all: &[Spanned<raw::Step>]) -> Vec<Step> {
        if let Some(extra) = all.get(STEPS) {
            self.wrong(Some(extra.span()), format!("{} [[packets]]: at most {STEPS}", all.len()));
        }
        (1..).zip(all.iter().take(STEPS)).map(|(number, step)| self.step(number, step)).collect()
    }

    fn step(&mut self, number: usize, spanned: &Spanned<raw::Step>) -> Step {
        let raw = spanned.get_ref();
        let name =
            raw.name.as_ref().map_or_else(|| format!("packet {number}"), |name| name.get_ref().clone());
        let place = match &raw.name {
            Some(name) => format!("packet {number} ({:?})", name.get_ref()),
            None => format!("packet {number}"),
        };
        let after_ms = raw.after_ms.as_ref().map_or(0.0, |value| *value.get_ref());
        if !(0.0..=f64::from(LONGEST_MS)).contains(&after_ms) {
            let span = raw.after_ms.as_ref().map(Spanned::span);
            self.wrong(span, format!("{place}: after_ms: {after_ms} is not in 0–{LONGEST_MS}"));
        }
        let wait_ms =
            self.problems.integer(&format!("{place}: wait_ms"), &raw.wait_ms, 0..=LONGEST_MS, WAIT_MS);
        let repeat = self.problems.integer(&format!("{place}: repeat"), &raw.repeat, 1..=REPEAT, 1);
        let max_fuel = self.number(&format!("{place}: max_fuel"), &raw.max_fuel, i64::MAX);
        let send = match &raw.send {
            Some(send) => self.send(&place, send),
            // Time passes, and the lambda may do something.
            None if raw.after_ms.is_some() => Vec::new(),
            None => {
                self.wrong(Some(spanned.span()), format!("{place}: has no `send`: say what is sent"));
                Vec::new()
            }
        };
        let expect = raw.expect.as_ref().map(|expect| self.expectations(&place, expect));
        let log =
            raw.log.as_ref().map(|lines| lines.get_ref().iter().map(|line| line.get_ref().clone()).collect());
        let counters = self.counters(&place, &raw.counters);
        if expect.is_none() && log.is_none() && max_fuel.is_none() && counters.is_empty() {
            let text = format!(
                "{place}: nothing that could fail: say what comes with `expect`, or `log`, `max_fuel` or `counters`"
            );
            self.wrong(Some(spanned.span()), text);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a day")]
        let after_ns = (after_ms.clamp(0.0, f64::from(LONGEST_MS)) * 1e6) as u64;
        Step {
            line: self.line(spanned),
            name,
            after_ns,
            wait_ns: u64::from(wait_ms) * 1_000_000,
            repeat,
            send,
            expect,
            log,
            max_fuel: max_fuel.map(i64::cast_unsigned),
            counters,
        }
    }

    fn counters(
        &mut self,
        place: &str,
        said: &BTreeMap<Spanned<String>, Spanned<i64>>,
    ) -> Vec<(String, u64)> {
        let mut counters = Vec::new();
        for (name, value) in said {
            let known = super::simulation::COUNTERS.iter().map(|(name, _)| *name);
            if self.problems.named(&format!("{place}: counters"), "counter", name, known).is_none() {
                continue;
            }
            let place = format!("{place}: counters: {}", name.get_ref());
            let count = self.number(&place, &Some(value.clone()), i64::MAX).unwrap_or_default();
            counters.push((name.get_ref().clone(), count.cast_unsigned()));
        }
        counters
    }
}
