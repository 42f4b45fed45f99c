//! The choice of layout and tiers.

use std::fmt;

use super::{Because, Concurrency, Layout, LayoutWish, ObjectFacts, PlaceError, Placement, Request, Runs};
use crate::module::{Kind, Module, Object};
use crate::{Sharing, Tier};

/// Where one object goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Its tier.
    pub tier: Tier,
    /// Who sees the same bytes of it.
    pub sharing: Sharing,
    /// Why.
    pub why: Why,
    /// What a run's accesses to it cost there by the model, in ns.
    pub cost_ns: f64,
}

/// Why an object is in its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its section says so.
    Section,
    /// A dense memory lies in one tier as a whole.
    Dense,
    /// No other tier keeps its meaning.
    Only,
    /// It is the cheapest that its meaning allows.
    Cheapest,
    /// A cheaper one is full, or too small.
    Full,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Section => "its section",
            Self::Dense => "the memory is dense",
            Self::Only => "its sharing",
            Self::Cheapest => "cheapest",
            Self::Full => "nearer ones are full",
        })
    }
}

/// Why nothing is known of a module's objects.
const NO_RELOCATIONS: &str =
    "the module has no relocations: build it with `lnic build`, or link with --emit-relocs";

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("its configuration says so"),
            Self::NoVariables => f.write_str("nothing outlives a run that NPUs would share"),
            Self::Atomics => f.write_str("its variables are accessed by atomics only"),
            Self::Variable(name) => write!(f, "\"{name}\" is written, and not by atomics only"),
            Self::Globals => f.write_str("it has variables that are not in memory"),
        }
    }
}

/// Places a lambda's objects. `facts` are in the order of the module's objects; `globals`: it has variables outside memory.
pub fn place(
    module: &Module<'_>,
    facts: &[ObjectFacts],
    globals: bool,
    request: &Request,
) -> Result<Placement, PlaceError> {
    let objects = module.objects();
    let own_room = request.quota_bytes[Tier::Local.index()].saturating_sub(request.own_bytes);
    let all: Vec<(&Object, ObjectFacts)> = objects
        .iter()
        .enumerate()
        .map(|(at, object)| {
            let mut facts = facts.get(at).copied().unwrap_or(ObjectFacts::UNKNOWN);
            // What each instance makes for itself has to be near each; what is too large for that is one for all.
            facts.written |= facts.initialised && u64::from(object.bytes) > own_room / 2;
            (object, facts)
        })
        .collect();
    let (runs, because) = who(&all, globals, request);
    let npus = if runs == Runs::Anywhere { request.npus.max(1) } else { 1 };
    let replicated = request.concurrency == Concurrency::Replicated;
    let variable = |at: usize| !replicated && is_variable(all[at].0, &all[at].1);
    let has_variables = (globals && !replicated) || (0..all.len()).any(variable);
    // A lambda that writes what it shares with nobody has one instance: a second would not see it.
    let each = match runs {
        Runs::OnOneNpu => 1,
        Runs::Anywhere => request.in_flight.max(1),
    };
    let instances = npus.saturating_mul(each);
    let shared = has_variables && instances > 1;
    if shared && globals {
        // Whoever asked for that would get a copy for each instance.
        let why =
            if module.is_movable() { "it has variables that are not in memory" } else { NO_RELOCATIONS };
        return Err(PlaceError::NotMovable(why));
    }
    let local = each > 1 && all.iter().any(|(object, facts)| is_local(object) && facts.written);
    let bytes = request.own_bytes + all.iter().map(|(object, _)| u64::from(object.bytes)).sum::<u64>();

    let layout = match request.layout {
        LayoutWish::Dense if shared || local => {
            let at = (0..all.len())
                .find(|&at| if shared { variable(at) } else { is_local(all[at].0) && all[at].1.written });
            let object = at.map_or_else(String::new, |at| all[at].0.name.clone());
            return Err(PlaceError::DenseShared { object, instances });
        }
        LayoutWish::Dense if bytes > request.dense_bytes => {
            let object = all.iter().max_by_key(|(object, _)| object.bytes);
            let object = object.map_or_else(String::new, |(object, _)| object.name.clone());
            return Err(PlaceError::DenseSize { bytes, limit: request.dense_bytes, object });
        }
        LayoutWish::Dense => None,
        LayoutWish::Windows => Some(()),
        LayoutWish::Auto => {
            (shared || local || (bytes > request.dense_bytes && module.is_movable())).then_some(())
        }
    };
    let windows = layout.is_some();
    if windows && !module.is_movable() {
        return Err(PlaceError::NotMovable(NO_RELOCATIONS));
    }

    let mut order: Vec<usize> = (0..all.len()).collect();
    let heat = |at: usize| all[at].1.accesses() / f64::from(all[at].0.bytes.max(1));
    order.sort_by(|&a, &b| heat(b).total_cmp(&heat(a)).then(a.cmp(&b)));

    let crowd =
        Crowd { npus, islands: request.islands.max(1), each, pinned: runs == Runs::OnOneNpu, replicated };
    let flat_cost_ns = all
        .iter()
        .enumerate()
        .map(|(at, (_, facts))| request.model.cost_ns(facts, Tier::Emem, variable(at) && npus > 1))
        .sum();
    let (layout, objects) = if windows {
        (Layout::Windows, windows_of(&all, &order, variable, crowd, request)?)
    } else {
        dense_of(&all, bytes, crowd, request)?
    };
    let cost_ns = objects.iter().map(|placed| placed.cost_ns).sum();
    Ok(Placement { runs, because, layout, objects, order, cost_ns, flat_cost_ns })
}

/// Who would see an object.
#[derive(Clone, Copy)]
struct Crowd {
    npus: u32,
    islands: u32,
    /// Instances on an NPU.
    each: u32,
    pinned: bool,
    /// Each instance has variables of its own.
    replicated: bool,
}

fn who(all: &[(&Object, ObjectFacts)], globals: bool, request: &Request) -> (Runs, Because) {
    match request.concurrency {
        Concurrency::Pinned => return (Runs::OnOneNpu, Because::Manifest),
        Concurrency::Shared | Concurrency::Replicated => return (Runs::Anywhere, Because::Manifest),
        Concurrency::Auto => {}
    }
    if globals {
        return (Runs::OnOneNpu, Because::Globals);
    }
    let mut variables = all.iter().filter(|(object, facts)| is_variable(object, facts)).peekable();
    if variables.peek().is_none() {
        return (Runs::Anywhere, Because::NoVariables);
    }
    match variables.find(|(_, facts)| !facts.atomic_only) {
        Some((object, _)) => (Runs::OnOneNpu, Because::Variable(object.name.clone())),
        None => (Runs::Anywhere, Because::Atomics),
    }
}

/// Written, and one for all NPUs. A constant that is written all the same is not believed.
fn is_variable(object: &Object, facts: &ObjectFacts) -> bool {
    facts.written && !is_local(object)
}

fn is_local(object: &Object) -> bool {
    object.wanted == Some(Tier::Local) && object.kind == Kind::Variable
}

/// The slice lies in the nearest tier that keeps its meaning and has room; an explicit section draws all of it along.
fn dense_of(
    all: &[(&Object, ObjectFacts)],
    bytes: u64,
    crowd: Crowd,
    request: &Request,
) -> Result<(Layout, Vec<Placed>), PlaceError> {
    // A pinned lambda moves between the NPUs that may run it, with its memory.
    let nearest = match (crowd.pinned, request.npus, crowd.islands) {
        (false, ..) | (true, 0 | 1, _) => Tier::Local,
        (true, _, 1) => Tier::Ctm,
        (true, ..) => Tier::Imem,
    };
    let wanted = all.iter().filter_map(|(object, _)| object.wanted).max();
    let first = wanted.map_or(nearest, |wanted| wanted.max(nearest));
    let fits = |tier: Tier| bytes <= request.quota_bytes[tier.index()];
    let candidates: Vec<Tier> = Tier::ALL.into_iter().filter(|tier| *tier >= first).collect();
    let Some(tier) = candidates.iter().copied().find(|tier| fits(*tier)) else {
        return Err(no_room("all of it", bytes, &candidates, &[0; 4], request));
    };
    let placed = all.iter().map(|(_, facts)| Placed {
        tier,
        sharing: Sharing::Instance,
        why: Why::Dense,
        cost_ns: request.model.cost_ns(facts, tier, false),
    });
    Ok((Layout::Dense(tier), placed.collect()))
}

fn windows_of(
    all: &[(&Object, ObjectFacts)],
    order: &[usize],
    variable: impl Fn(usize) -> bool,
    crowd: Crowd,
    request: &Request,
) -> Result<Vec<Placed>, PlaceError> {
    let mut used = [0u64; 4];
    used[Tier::Local.index()] = request.own_bytes;
    let mut placed: Vec<Option<Placed>> = vec![None; all.len()];
    // Those that have no choice first: others take what is left.
    let mut turns: Vec<usize> = order.to_vec();
    turns.sort_by_key(|&at| all[at].0.wanted.is_none());
    for at in turns {
        let (object, facts) = &all[at];
        let shared = variable(at) && crowd.npus > 1;
        let may: Vec<(Tier, Sharing)> = Tier::ALL
            .into_iter()
            .filter_map(|tier| Some((tier, sharing(tier, variable(at), object, facts, crowd)?)))
            .collect();
        let choices: Vec<(Tier, Sharing)> = match object.wanted {
            None => may.clone(),
            Some(tier) => {
                let fits: Vec<_> = may.iter().copied().filter(|(may, _)| *may == tier).collect();
                if fits.is_empty() {
                    let why = "NPUs of several islands write it, and each island would have one of its own";
                    return Err(PlaceError::Section { object: object.name.clone(), tier, why });
                }
                fits
            }
        };
        let mut by_cost: Vec<(f64, Tier, Sharing)> = choices
            .iter()
            .map(|&(tier, sharing)| (request.model.cost_ns(facts, tier, shared), tier, sharing))
            .collect();
        // Of equals the farther one: near room is scarce.
        by_cost.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let bytes = u64::from(object.bytes).next_multiple_of(u64::from(object.alignment.max(1)));
        let room = |tier: Tier| used[tier.index()] + bytes <= request.quota_bytes[tier.index()];
        let Some(&(cost_ns, tier, sharing)) = by_cost.iter().find(|choice| room(choice.1)) else {
            let tiers: Vec<Tier> = choices.iter().map(|choice| choice.0).collect();
            return Err(no_room(&object.name, bytes, &tiers, &used, request));
        };
        used[tier.index()] += bytes;
        let why = match object.wanted {
            Some(_) => Why::Section,
            None if may.len() == 1 => Why::Only,
            None if by_cost[0].1 == tier => Why::Cheapest,
            None => Why::Full,
        };
        placed[at] = Some(Placed { tier, sharing, why, cost_ns });
    }
    Ok(placed.into_iter().flatten().collect())
}

/// Who would see an object in `tier`; `None` if that would change what it means.
fn sharing(
    tier: Tier,
    variable: bool,
    object: &Object,
    facts: &ObjectFacts,
    crowd: Crowd,
) -> Option<Sharing> {
    if is_local(object) {
        let each = if crowd.each > 1 && facts.written { Sharing::Npu } else { Sharing::Instance };
        return (tier == Tier::Local).then_some(each);
    }
    // What an instance makes for itself, others do not see.
    if facts.initialised && !facts.written || crowd.replicated && facts.written {
        return (tier == Tier::Local).then_some(Sharing::Instance);
    }
    match tier {
        // A variable of one instance is its own; of several, nobody's.
        Tier::Local => (!variable || (crowd.npus == 1 && crowd.each == 1)).then_some(Sharing::Instance),
        Tier::Ctm => (!variable || crowd.islands == 1).then_some(Sharing::Island),
        Tier::Imem | Tier::Emem => Some(Sharing::All),
    }
}

fn no_room(object: &str, bytes: u64, tiers: &[Tier], used: &[u64; 4], request: &Request) -> PlaceError {
    let list = |text: &dyn Fn(&Tier) -> String| tiers.iter().map(text).collect::<Vec<_>>().join(", ");
    PlaceError::Quota {
        object: object.to_owned(),
        bytes,
        tiers: list(&|tier| tier.to_string()),
        used: list(&|tier| {
            format!("{} of {} bytes of {tier} used", used[tier.index()], request.quota_bytes[tier.index()])
        }),
    }
}
