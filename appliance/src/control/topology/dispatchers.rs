//! Dispatchers, and which of them feeds which island: as `[[dispatchers]]` says, or one for all.

use std::ops::Range;

use toml::Spanned;

use super::{IslandSpec, Lcores, SchedulingMode, islands, lcores};
use crate::control::config::raw;
use crate::control::config::{Cpu, Machine, Problems};
use crate::ids::{LcoreId, NpuId};

/// Up to this many workers all of them are NPUs, and one dispatches beside it.
const SHARING_WORKERS: usize = 2;

/// One dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherSpec {
    /// The lcore that hosts it; it may host an NPU too.
    pub lcore: LcoreId,
    /// The NPUs that it feeds, and no other dispatcher; never empty.
    pub npus: Vec<NpuId>,
}

/// A dispatcher by its CPU, before lcores and NPUs have numbers.
pub(super) struct Draft<'r> {
    /// How messages name it.
    place: String,
    /// `None` if what was written is no CPU.
    pub(super) cpu: Option<Cpu>,
    islands: Option<&'r Spanned<Vec<Spanned<String>>>>,
    span: Option<Range<usize>>,
}

/// Judges `[[dispatchers]]`, but for the islands that they name.
pub(super) fn written<'r>(
    raw: &'r [Spanned<raw::Dispatcher>],
    mode: SchedulingMode,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Vec<Draft<'r>> {
    if let (SchedulingMode::RunToCompletion, Some(first)) = (mode, raw.first()) {
        problems.wrong(
            Some(first.span()),
            format!(
                "[[dispatchers]]: only with [scheduling] mode = \"{}\"",
                SchedulingMode::Dispatcher.name()
            ),
        );
        return Vec::new();
    }
    let mut drafts: Vec<Draft<'r>> = Vec::new();
    for (at, raw) in raw.iter().enumerate() {
        let (span, raw) = (raw.span(), raw.get_ref());
        let mut place = format!("[[dispatchers]] number {}", at + 1);
        let mut cpu = None;
        if let Some(value) = &raw.cpu {
            cpu = lcores::given(&place, *value.get_ref(), value.span(), machine, problems);
            if let Some(cpu) = cpu {
                place = format!("dispatcher on {cpu}");
            }
            if cpu.is_some() && drafts.iter().any(|other| other.cpu == cpu) {
                let text = format!("{place}: there is another dispatcher on this CPU");
                problems.wrong(Some(value.span()), text);
            }
        } else {
            problems.wrong(Some(span.clone()), format!("{place}: has no cpu"));
        }
        drafts.push(Draft { place, cpu, islands: raw.islands.as_ref(), span: Some(span) });
    }
    drafts
}

/// Workers that are NPUs if no islands were written. A CPU that dispatches is none, unless there are too few.
pub(super) fn npu_cpus(drafts: &[Draft<'_>], lcores: &Lcores) -> Vec<Cpu> {
    let all = || lcores.workers.iter().map(|worker| worker.cpu);
    let rest: Vec<Cpu> = all().filter(|cpu| drafts.iter().all(|draft| draft.cpu != Some(*cpu))).collect();
    if lcores.workers.len() <= SHARING_WORKERS || rest.is_empty() { all().collect() } else { rest }
}

/// The dispatcher of a configuration that writes none: beside an NPU on the first worker, or, with more workers, on the first
/// CPU of the first island, which is then no NPU, unless that island has no other.
pub(super) fn default<'r>(drafts: &mut [islands::Draft], lcores: &Lcores) -> Draft<'r> {
    let mut cpu = lcores.workers.first().map(|worker| worker.cpu);
    if lcores.workers.len() > SHARING_WORKERS
        && let Some(island) = drafts.first_mut()
    {
        cpu = island.cpus.first().copied();
        if island.cpus.len() > 1 {
            island.cpus.remove(0);
        }
    }
    Draft { place: "the dispatcher".into(), cpu, islands: None, span: None }
}

/// Gives every island its dispatcher. Islands that no dispatcher names are dealt out to those that name none.
pub(super) fn feed(
    drafts: &[Draft<'_>],
    written: &[islands::Draft],
    islands: &[IslandSpec],
    lcores: &Lcores,
    problems: &mut Problems<'_>,
) -> Vec<DispatcherSpec> {
    // Run-to-completion.
    if drafts.is_empty() {
        return Vec::new();
    }
    let mut feeders: Vec<Option<usize>> = vec![None; islands.len()];
    let mut complete = true;
    for (at, draft) in drafts.iter().enumerate() {
        let Some(names) = draft.islands else { continue };
        if names.get_ref().is_empty() {
            problems.wrong(Some(names.span()), format!("{}: islands: names none", draft.place));
            complete = false;
        }
        for name in names.get_ref() {
            let known = islands.iter().map(|island| island.name.as_str());
            let Some(index) = problems.named(&draft.place, "island", name, known) else {
                complete = false;
                continue;
            };
            if let Some(other) = feeders[index] {
                let island = name.get_ref();
                let text = if other == at {
                    format!("{}: island \"{island}\" is listed twice", draft.place)
                } else {
                    format!("{}: island \"{island}\" is fed by {} already", draft.place, drafts[other].place)
                };
                problems.wrong(Some(name.span()), text);
            } else {
                feeders[index] = Some(at);
            }
        }
    }
    let dealt: Vec<usize> = (0..drafts.len()).filter(|&at| drafts[at].islands.is_none()).collect();
    let unfed = feeders.iter().enumerate().filter(|(_, feeder)| feeder.is_none()).map(|(index, _)| index);
    for (turn, index) in unfed.collect::<Vec<_>>().into_iter().enumerate() {
        if !dealt.is_empty() {
            feeders[index] = Some(dealt[turn % dealt.len()]);
        } else if complete {
            let span = written.get(index).and_then(|island| island.span.clone());
            let span = span.or_else(|| drafts.first()?.span.clone());
            problems.wrong(span, format!("island \"{}\": no dispatcher feeds it", islands[index].name));
        }
    }
    for at in dealt {
        if !feeders.contains(&Some(at)) {
            let text = format!("{}: has no NPU: no island is left for it", drafts[at].place);
            problems.wrong(drafts[at].span.clone(), text);
        }
    }
    let spec = |(at, draft): (usize, &Draft<'_>)| {
        let own = islands.iter().zip(&feeders).filter(|(_, feeder)| **feeder == Some(at));
        let npus = own.flat_map(|(island, _)| &island.npus).copied().collect();
        Some(DispatcherSpec { lcore: lcores.worker(draft.cpu?)?, npus })
    };
    drafts.iter().enumerate().filter_map(spec).collect()
}
