//! From contexts to what is reported.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use wasmparser::{BinaryReader, OperatorsReader};

use super::code::HostCall;
use super::context::Touch;
use super::engine::Engine;
use super::value::{Pointer, Region};
use super::{
    Analysis, EntryUse, FunctionUse, Incomplete, MatchDataBytes, MatchDataUse, ObjectUse, Place, Site, Target,
};
use crate::header_use::{HEADER_BYTES, HeaderBytes, HeaderUse};

/// How often a loop runs, as far as anybody can tell.
const LOOP: f64 = 10.0;
/// Loops within loops that count.
const LOOP_DEPTH: i32 = 5;
/// Bytes that one step of a bulk operator moves.
const BULK_BYTES: u64 = 16;

/// Everything was interpreted.
pub(super) fn complete(engine: &Engine<'_>, names: &[&str], roots: &[usize]) -> Analysis {
    let functions = functions(engine, roots);
    let mut objects =
        vec![ObjectUse { atomic_only: true, ..ObjectUse::default() }; engine.module.objects().len()];
    let mut entries = Vec::new();
    for (at, (&name, &root)) in names.iter().zip(roots).enumerate() {
        entries.push(entry(engine, name, root, at, &functions, &mut objects));
    }
    for pointer in engine.contents.stored().pointers.as_slice() {
        match pointer.region {
            Region::Object(object) => objects[object as usize].address_escapes = true,
            Region::AnyObject => objects.iter_mut().for_each(|object| object.address_escapes = true),
            _ => {}
        }
    }
    if engine.contents.stored().unknown {
        objects.iter_mut().for_each(|object| object.address_escapes = true);
    }
    for object in &mut objects {
        object.atomic_only &= !object.entries.is_empty();
    }
    finish(objects, entries, functions, sites(engine, roots), None, engine.work())
}

/// Nothing is certain: everything is touched by everybody.
pub(super) fn incomplete(engine: &Engine<'_>, names: &[&str], why: Incomplete) -> Analysis {
    let everybody: Vec<usize> = (0..names.len()).collect();
    let object = ObjectUse {
        reads: LOOP,
        writes: LOOP,
        atomic_only: false,
        written: true,
        address_escapes: true,
        entries: everybody.clone(),
        writers: everybody,
    };
    let imports = engine.code.imports.len() as u32;
    let functions: Vec<FunctionUse> = (imports..engine.code.functions() as u32)
        .map(|index| FunctionUse {
            index,
            name: engine.code.name(index),
            code_bytes: engine.code.bytes(index),
            contexts: 0,
        })
        .collect();
    let all = MatchDataUse { read: MatchDataBytes::all(), written: MatchDataBytes::all() };
    let entries = names.iter().map(|name| EntryUse {
        name: (*name).to_owned(),
        is_init: *name == lnic_abi::EXPORT_INIT,
        headers: HeaderUse::all(),
        match_data: all,
        reads_payload: true,
        writes_payload: true,
        stack_bytes: None,
        calls_lambdas: engine.code.imports.contains(&HostCall::Call),
        logs: engine.code.imports.contains(&HostCall::Log),
        calls_through_tables: true,
        is_recursive: true,
        functions: (0..functions.len()).collect(),
        operators: f64::INFINITY,
    });
    let objects = vec![object; engine.module.objects().len()];
    let entries = entries.collect();
    finish(objects, entries, functions, Vec::new(), Some(why), engine.work())
}

fn finish(
    objects: Vec<ObjectUse>,
    entries: Vec<EntryUse>,
    functions: Vec<FunctionUse>,
    sites: Vec<Site>,
    incomplete: Option<Incomplete>,
    work: u64,
) -> Analysis {
    let mut headers = HeaderUse { read: HeaderBytes::NONE, written: HeaderBytes::NONE };
    let mut match_data = MatchDataUse::default();
    for entry in &entries {
        headers.read.add(&entry.headers.read);
        headers.written.add(&entry.headers.written);
        match_data.read.add(entry.match_data.read);
        match_data.written.add(entry.match_data.written);
    }
    Analysis { objects, headers, match_data, entries, functions, sites, incomplete, work }
}

fn functions(engine: &Engine<'_>, roots: &[usize]) -> Vec<FunctionUse> {
    let mut contexts: BTreeMap<u32, usize> = BTreeMap::new();
    for context in engine.reachable(roots) {
        *contexts.entry(engine.contexts[context].function).or_default() += 1;
    }
    let function = |(index, contexts)| FunctionUse {
        index,
        name: engine.code.name(index),
        code_bytes: engine.code.bytes(index),
        contexts,
    };
    contexts.into_iter().map(function).collect()
}

/// How often each context runs in one run of `root`, and which are part of a recursion.
fn weights(engine: &Engine<'_>, root: usize) -> (HashMap<usize, f64>, bool) {
    // Contexts in the order in which they are left, without recursion of our own; edges to those that are open lead back.
    let mut open = vec![(root, 0)];
    let mut state: HashMap<usize, bool> = HashMap::from([(root, false)]);
    let mut left = Vec::new();
    let mut recursive = false;
    while let Some((context, next)) = open.pop() {
        match engine.contexts[context].calls.get(next) {
            Some(&(_, callee)) => {
                open.push((context, next + 1));
                match state.get(&callee) {
                    None => {
                        state.insert(callee, false);
                        open.push((callee, 0));
                    }
                    Some(false) => recursive = true,
                    Some(true) => {}
                }
            }
            None => {
                state.insert(context, true);
                left.push(context);
            }
        }
    }
    let order: HashMap<usize, usize> = left.iter().enumerate().map(|(at, &context)| (context, at)).collect();
    let mut weights: HashMap<usize, f64> = HashMap::from([(root, 1.0)]);
    for &context in left.iter().rev() {
        let state = &engine.contexts[context];
        let calls = if state.recursive { LOOP } else { 1.0 };
        let own = weights.get(&context).copied().unwrap_or(0.0) * calls;
        weights.insert(context, own);
        for &(step, callee) in &state.calls {
            if order.get(&callee) < order.get(&context) {
                *weights.entry(callee).or_default() += own * loops(engine, state.function, step);
            }
        }
    }
    (weights, recursive)
}

/// How often a step runs each time that its function does.
fn loops(engine: &Engine<'_>, function: u32, step: u32) -> f64 {
    let depth = engine.code.known_body(function).and_then(|body| body.depths.get(step as usize).copied());
    LOOP.powi(i32::from(depth.unwrap_or(0)).min(LOOP_DEPTH))
}

fn entry(
    engine: &Engine<'_>,
    name: &str,
    root: usize,
    at: usize,
    functions: &[FunctionUse],
    objects: &mut [ObjectUse],
) -> EntryUse {
    let is_init = name == lnic_abi::EXPORT_INIT;
    let (weights, is_recursive) = weights(engine, root);
    let mut entry = EntryUse {
        name: name.to_owned(),
        is_init,
        headers: HeaderUse { read: HeaderBytes::NONE, written: HeaderBytes::NONE },
        match_data: MatchDataUse::default(),
        reads_payload: false,
        writes_payload: false,
        stack_bytes: Some(0),
        calls_lambdas: false,
        logs: false,
        calls_through_tables: false,
        is_recursive,
        functions: Vec::new(),
        operators: 0.0,
    };
    // Reads and writes of this entry alone.
    let mut counts = vec![(0.0, 0.0); objects.len()];
    for context in engine.reachable(&[root]) {
        let state = &engine.contexts[context];
        let weight = weights.get(&context).copied().unwrap_or(1.0);
        entry.calls_through_tables |= !state.table_calls.is_empty();
        entry.calls_lambdas |= state.host_calls.iter().any(|call| call.1 == HostCall::Call);
        entry.logs |= state.host_calls.iter().any(|call| call.1 == HostCall::Log);
        entry.functions.extend(functions.binary_search_by_key(&state.function, |it| it.index));
        entry.stack_bytes = entry.stack_bytes.zip(state.stack_bytes).map(|(a, b)| a.max(b));
        if let Some(body) = engine.code.known_body(state.function) {
            let factor = |depth: &u8| LOOP.powi(i32::from(*depth).min(LOOP_DEPTH));
            entry.operators += weight * body.depths.iter().map(factor).sum::<f64>();
        }
        for (&step, touches) in &state.touches {
            let weight = weight * loops(engine, state.function, step);
            for touch in touches {
                apply(engine, touch, weight, at, &mut entry, objects, &mut counts);
            }
        }
    }
    entry.functions.sort_unstable();
    entry.functions.dedup();
    for (object, (reads, writes)) in objects.iter_mut().zip(counts).filter(|_| !is_init) {
        object.reads = object.reads.max(reads);
        object.writes = object.writes.max(writes);
    }
    entry
}

/// Adds one touch to what its entry and its objects are said to do.
fn apply(
    engine: &Engine<'_>,
    touch: &Touch,
    weight: f64,
    at: usize,
    entry: &mut EntryUse,
    objects: &mut [ObjectUse],
    counts: &mut [(f64, f64)],
) {
    let times = weight * touch.bytes.map_or(LOOP, |bytes| bytes.div_ceil(BULK_BYTES).max(1) as f64);
    let all_objects = 0..counts.len();
    let mut object = |object: usize| {
        let (Some(found), Some(count)) = (objects.get_mut(object), counts.get_mut(object)) else { return };
        count.0 += if touch.reads { times } else { 0.0 };
        count.1 += if touch.writes { times } else { 0.0 };
        found.atomic_only &= touch.atomic;
        found.written |= touch.writes;
        if found.entries.last() != Some(&at) {
            found.entries.push(at);
        }
        if touch.writes && found.writers.last() != Some(&at) {
            found.writers.push(at);
        }
    };
    let everything = touch.lost(|region| engine.region_bytes(region)).is_some();
    if everything {
        all_objects.for_each(&mut object);
        let all = HeaderBytes::all();
        let match_data = MatchDataBytes::all();
        if touch.reads {
            entry.headers.read.add(&all);
            entry.match_data.read.add(match_data);
            entry.reads_payload = true;
        }
        if touch.writes {
            entry.headers.written.add(&all);
            entry.match_data.written.add(match_data);
            entry.writes_payload = true;
        }
        return;
    }
    for pointer in touch.address.pointers.as_slice() {
        let bytes = bytes(pointer, touch);
        match pointer.region {
            Region::Object(found) => object(found as usize),
            Region::AnyObject => all_objects.clone().for_each(&mut object),
            Region::Headers => {
                let bytes = within(bytes, HEADER_BYTES);
                if touch.reads {
                    entry.headers.read.insert(bytes.clone());
                }
                if touch.writes {
                    entry.headers.written.insert(bytes);
                }
            }
            Region::MatchData => {
                let bytes = within(bytes, super::MATCH_DATA_BYTES);
                if touch.reads {
                    entry.match_data.read.insert(bytes.clone());
                }
                if touch.writes {
                    entry.match_data.written.insert(bytes);
                }
            }
            Region::Payload => {
                entry.reads_payload |= touch.reads;
                entry.writes_payload |= touch.writes;
            }
            Region::Stack => {}
        }
    }
}

/// Bytes of a region that a touch may reach; `None` if that can be any.
fn bytes(pointer: &Pointer, touch: &Touch) -> Option<Range<i64>> {
    if pointer.offset.is_full() {
        return None;
    }
    let bytes = i64::try_from(touch.bytes?).ok()?;
    Some(pointer.offset.low..pointer.offset.high.checked_add(bytes)?)
}

/// Those that there are; all if the offset has no bounds.
fn within(bytes: Option<Range<i64>>, limit: usize) -> Range<usize> {
    let clamp = |at: i64| at.clamp(0, limit as i64) as usize;
    bytes.map_or(0..limit, |bytes| clamp(bytes.start)..clamp(bytes.end))
}

/// Regions that a site may touch, and which bytes of them, if there is a bound.
type Reached = BTreeMap<Region, Option<Range<i64>>>;

/// Every step that touches memory, over all its contexts.
fn sites(engine: &Engine<'_>, roots: &[usize]) -> Vec<Site> {
    let mut sites: BTreeMap<usize, (Site, Reached)> = BTreeMap::new();
    for context in engine.reachable(roots) {
        let state = &engine.contexts[context];
        let Some(body) = engine.code.known_body(state.function) else { continue };
        for (&step, touches) in &state.touches {
            let Some(&position) = body.positions.get(step as usize) else { continue };
            let (site, targets) = sites.entry(position).or_insert_with(|| {
                let site = Site {
                    function: engine.code.name(state.function),
                    position,
                    operator: operator(engine.module.wasm(), position),
                    reads: false,
                    writes: false,
                    is_atomic: true,
                    targets: Vec::new(),
                    lost: None,
                };
                (site, BTreeMap::new())
            });
            for touch in touches {
                site.reads |= touch.reads;
                site.writes |= touch.writes;
                site.is_atomic &= touch.atomic;
                site.lost = site.lost.or_else(|| touch.lost(|region| engine.region_bytes(region)));
                for pointer in touch.address.pointers.as_slice() {
                    let found = bytes(pointer, touch);
                    targets
                        .entry(pointer.region)
                        .and_modify(|known| {
                            *known = known
                                .take()
                                .zip(found.clone())
                                .map(|(a, b)| a.start.min(b.start)..a.end.max(b.end));
                        })
                        .or_insert(found);
                }
            }
        }
    }
    sites.into_values().map(|(site, targets)| Site { targets: places(&site, targets), ..site }).collect()
}

fn places(site: &Site, targets: Reached) -> Vec<Target> {
    if site.lost.is_some() {
        let all = [Place::AnyObject, Place::Headers, Place::MatchData, Place::Payload, Place::Stack];
        return all.map(|place| Target { place, bytes: None }).to_vec();
    }
    let place = |region| match region {
        Region::Object(object) => Place::Object(object as usize),
        Region::AnyObject => Place::AnyObject,
        Region::Headers => Place::Headers,
        Region::MatchData => Place::MatchData,
        Region::Payload => Place::Payload,
        Region::Stack => Place::Stack,
    };
    targets.into_iter().map(|(region, bytes)| Target { place: place(region), bytes }).collect()
}

/// Name of the operator at a position.
fn operator(wasm: &[u8], position: usize) -> String {
    let Some(bytes) = wasm.get(position..) else { return String::new() };
    let operator = OperatorsReader::new(BinaryReader::new(bytes, position)).read();
    let name = operator.map_or_else(|_| String::new(), |operator| format!("{operator:?}"));
    name.split([' ', '{']).next().unwrap_or_default().to_owned()
}
