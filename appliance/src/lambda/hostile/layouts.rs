//! The same attacks on memories of one slice and of windows.

use std::sync::Arc;

use super::*;
use crate::memory::{InitialData, MemoryError, MemoryPlan, PlanError, Sharing, Tier, Window};

/// Bytes of every memory here.
const BYTES: usize = 65_536;

/// Where a window of [`windows`] ends and the next begins.
pub(super) const EDGES: [usize; 6] = [0, 24 << 10, 28 << 10, 36 << 10, 56 << 10, BYTES];
/// First bytes of its windows for an island, for all, and for an NPU.
pub(super) const CTM: usize = EDGES[1];
pub(super) const IMEM: usize = EDGES[2];
pub(super) const EMEM: usize = EDGES[3];
pub(super) const LOCAL: usize = EDGES[4];

pub(super) fn dense() -> Arc<MemoryPlan> {
    Arc::new(MemoryPlan::dense(Tier::Emem, BYTES as u64))
}

/// A window of each kind, in [`BYTES`].
pub(super) fn windows() -> Arc<MemoryPlan> {
    let kinds = [
        (Tier::Local, Sharing::Instance),
        (Tier::Ctm, Sharing::Island),
        (Tier::Imem, Sharing::All),
        (Tier::Emem, Sharing::All),
        (Tier::Local, Sharing::Npu),
    ];
    let bytes = EDGES.windows(2).map(|edges| (edges[1] - edges[0]) as u64);
    let windows =
        kinds.into_iter().zip(bytes).map(|((tier, sharing), bytes)| Window { tier, sharing, bytes });
    Arc::new(MemoryPlan { windows: windows.collect(), initial: Vec::new() })
}

pub(super) fn layouts() -> [Arc<MemoryPlan>; 2] {
    [dense(), windows()]
}

pub(super) fn image(wat: &str, plan: &Arc<MemoryPlan>) -> Result<Image, PrepareError> {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    Image::compile_with(
        &engine,
        &wat::parse_str(wat).unwrap(),
        "entry",
        &Limits::default(),
        plan,
        lnic_compiler::HeaderUse::all(),
    )
}

/// What [`TOOL`] does. Its arguments are in the payload, which lies 256 bytes behind match data.
#[derive(Clone, Copy)]
pub(super) enum Tool {
    /// `memory.fill` with a byte.
    Fill { at: usize, value: u8, bytes: usize },
    /// `memory.copy`.
    Copy { to: usize, from: usize, bytes: usize },
    /// A byte.
    Load { at: usize },
    /// How many bytes of the memory are this one.
    Count { value: u8 },
    /// Adds 1 so many times to the word there, atomically.
    Add { at: usize, times: u32 },
    /// Traps with 1 KiB of stack taken.
    Trap,
}

/// Does one of several things to its memory.
const TOOL: &str = r#"
    (local $at i32) (local $found i32)
    (if (i32.eq (i32.load offset=256 (local.get $match)) (i32.const 0)) (then
        (memory.fill (i32.load offset=260 (local.get $match)) (i32.load offset=264 (local.get $match)) (i32.load offset=268 (local.get $match)))
        (return (i32.const 0))))
    (if (i32.eq (i32.load offset=256 (local.get $match)) (i32.const 1)) (then
        (memory.copy (i32.load offset=260 (local.get $match)) (i32.load offset=264 (local.get $match)) (i32.load offset=268 (local.get $match)))
        (return (i32.const 0))))
    (if (i32.eq (i32.load offset=256 (local.get $match)) (i32.const 2)) (then
        (return (i32.load8_u (i32.load offset=260 (local.get $match))))))
    (if (i32.eq (i32.load offset=256 (local.get $match)) (i32.const 3)) (then
        (loop $next
            (local.set $found (i32.add (local.get $found)
                (i32.eq (i32.load8_u (local.get $at)) (i32.xor (i32.const 255) (i32.load offset=260 (local.get $match))))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 65536))))
        (return (local.get $found))))
    (if (i32.eq (i32.load offset=256 (local.get $match)) (i32.const 4)) (then
        (loop $next
            (drop (i32.atomic.rmw.add (i32.load offset=260 (local.get $match)) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.load offset=264 (local.get $match)))))
        (return (i32.const 0))))
    (global.set $sp (i32.sub (global.get $sp) (i32.const 1024)))
    (i32.store (global.get $sp) (i32.const 1))
    unreachable"#;

/// Bytes of the arguments, which lie there while the tool works.
const ARGUMENTS: std::ops::Range<usize> = 8192 + 512..8192 + 512 + 16;

impl Tool {
    fn arguments(self) -> [u32; 4] {
        match self {
            Self::Fill { at, value, bytes } => [0, at as u32, value.into(), bytes as u32],
            Self::Copy { to, from, bytes } => [1, to as u32, from as u32, bytes as u32],
            Self::Load { at } => [2, at as u32, 0, 0],
            // Turned over, so that the argument is not found.
            Self::Count { value } => [3, (!value).into(), 0, 0],
            Self::Add { at, times } => [4, at as u32, times, 0],
            Self::Trap => [5, 0, 0, 0],
        }
    }

    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (place, word) in bytes.chunks_exact_mut(4).zip(self.arguments()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn run(self, instance: &mut Instance) -> Run {
        instance.io().unwrap().payload[..16].copy_from_slice(&self.bytes());
        instance.run(0)
    }

    /// What it returns; it does not trap.
    pub(super) fn value(self, instance: &mut Instance) -> u32 {
        match self.run(instance) {
            Run::Verdict(value) => value.cast_unsigned(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn word(instance: &mut Instance, at: usize) -> u32 {
    let bytes = std::array::from_fn(|byte| Tool::Load { at: at + byte }.value(instance) as u8);
    u32::from_le_bytes(bytes)
}

pub(super) fn tool(plan: &Arc<MemoryPlan>) -> Image {
    image(&lambda(TOOL), plan).unwrap()
}

#[test]
fn bulk_memory_over_every_edge_does_what_it_should_or_traps() {
    let near = |edge: usize| (edge.saturating_sub(1)..=edge + 1).collect::<Vec<_>>();
    let places: Vec<usize> = EDGES.into_iter().flat_map(near).collect();
    for plan in layouts() {
        let mut instance = made(&tool(&plan), 1 << 40).unwrap();
        let mut model = vec![0u8; BYTES];
        let mut random = fastrand::Rng::with_seed(7);
        for &at in &places {
            for &other in &places {
                let bytes = *random.choice(&places).unwrap();
                let fills = [
                    Tool::Fill { at, value: random.u8(..), bytes: other.saturating_sub(at) },
                    Tool::Copy { to: at, from: other, bytes },
                ];
                for tool in fills {
                    let before = model.clone();
                    model[ARGUMENTS].copy_from_slice(&tool.bytes());
                    let fits = match tool {
                        Tool::Fill { at, value, bytes } => {
                            model.get_mut(at..at + bytes).map(|range| range.fill(value)).is_some()
                        }
                        Tool::Copy { to, from, bytes } => {
                            let fits = to.max(from) + bytes <= BYTES;
                            if fits {
                                model.copy_within(from..from + bytes, to);
                            }
                            fits
                        }
                        _ => unreachable!(),
                    };
                    let expected = if fits { Run::Verdict(0) } else { Run::Failed(Failure::Trap) };
                    assert_eq!(tool.run(&mut instance), expected, "{:?}", tool.arguments());
                    assert!(fits || before[..8192] == model[..8192]);
                    for &place in places.iter().filter(|place| **place < BYTES) {
                        let load = Tool::Load { at: place };
                        model[ARGUMENTS].copy_from_slice(&load.bytes());
                        assert_eq!(load.value(&mut instance), u32::from(model[place]), "byte {place}");
                    }
                }
            }
        }
    }
}

#[test]
fn far_accesses_trap_in_both_layouts() {
    for plan in layouts() {
        for address in [65_536u32, 65_533, 131_072, 1 << 30, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] {
            for body in [
                format!("(i32.load (i32.const {}))", address.cast_signed()),
                format!("(i32.store (i32.const {}) (i32.const 7)) i32.const 0", address.cast_signed()),
                format!("(i32.load offset={address} (i32.const 0))"),
                format!("(i32.store offset={address} (i32.const 65535) (i32.const 7)) i32.const 0"),
                format!("(i32.atomic.rmw.add offset={address} (i32.const 3) (i32.const 7))"),
            ] {
                let mut instance = made(&image(&lambda(&body), &plan).unwrap(), 1000).unwrap();
                assert_eq!(instance.run(0), Run::Failed(Failure::Trap), "{body}");
            }
        }
    }
}

#[test]
fn a_trap_leaves_the_stack_as_it_was_in_both_layouts() {
    for plan in layouts() {
        let mut instance = made(&tool(&plan), 1 << 20).unwrap();
        // Four times would use up the stack.
        for _ in 0..100 {
            assert_eq!(Tool::Trap.run(&mut instance), Run::Failed(Failure::Trap));
        }
        assert_eq!(word(&mut instance, 3072), 1);
        assert_eq!(word(&mut instance, 2048), 0);
    }
}

#[test]
fn bulk_memory_is_charged_by_the_byte_in_both_layouts() {
    for plan in layouts() {
        let fill = Tool::Fill { at: 0, value: 1, bytes: BYTES };
        assert_eq!(fill.run(&mut made(&tool(&plan), 60_000).unwrap()), Run::Failed(Failure::Budget));
        assert_eq!(fill.run(&mut made(&tool(&plan), 100_000).unwrap()), Run::Verdict(0));
    }
}

#[test]
fn active_data_segments_lie_in_the_first_window_only() {
    let first = windows().windows[0].bytes;
    let with = |data: &str| image(&module("i32.const 0", data, MEMORY), &windows());
    let at = |address: u64, data: &str| with(&format!("(data (i32.const {address}) \"{data}\")"));
    for (address, data) in [(first, "x"), (first - 1, "xy"), (30_000, "x"), (0xFFFF_FFFF, "xx")] {
        let Err(error) = at(address, data) else { panic!("{address}: each instance would write it anew") };
        assert!(matches!(error, PrepareError::Plan(PlanError::ActiveSegments)), "{address}: {error}");
    }
    // What is an instance's own is its own to write.
    assert!(at(first - 2, "xy").is_ok() && at(0, "").is_ok());
    // Passive ones do nothing by themselves, and in a memory of its own a lambda may have either.
    assert!(with("(data \"x\")").is_ok());
    assert!(image(&module("i32.const 0", "(data (i32.const 30000) \"x\")", MEMORY), &dense()).is_ok());
}

#[test]
fn initial_data_is_written_once_for_all_and_once_for_each() {
    let initial = |address: usize, text: &[u8]| InitialData { address: address as u32, bytes: text.into() };
    let plan = Arc::new(MemoryPlan {
        initial: vec![initial(4096, b"own"), initial(EMEM + 20_477, b"all"), initial(LOCAL, b"npu")],
        ..(*windows()).clone()
    });
    let image = tool(&plan);
    let regions = crate::memory::Regions::standalone();
    let seat = image
        .deploy(&regions, crate::memory::Account::unlimited("it"))
        .unwrap()
        .seat(crate::ids::NpuId::new(0));
    let fresh = || Instance::new(&image, 1 << 20, &HostSide::detached(), &seat).unwrap();
    let text = |instance: &mut Instance, at: usize| {
        [0, 1, 2].map(|byte| Tool::Load { at: at + byte }.value(instance) as u8)
    };
    let mut first = fresh();
    assert_eq!(text(&mut first, 4096), *b"own");
    assert_eq!(text(&mut first, EMEM + 20_477), *b"all");
    assert_eq!(text(&mut first, LOCAL), *b"npu");
    Tool::Fill { at: 0, value: b'!', bytes: BYTES }.value(&mut first);
    let mut second = fresh();
    assert_eq!((text(&mut second, 4096), text(&mut second, 0)), (*b"own", [0; 3]));
    assert_eq!((text(&mut second, EMEM + 20_477), text(&mut second, LOCAL)), (*b"!!!", *b"!!!"));
    // Instances go and come; what they shared stays as long as the deployment does.
    drop((first, second));
    assert_eq!(text(&mut fresh(), LOCAL), *b"!!!");
}

/// Where the machine has hugepages, the large window is a part of small pages, one of hugepages and another of small ones.
#[test]
fn a_large_window_is_one_whatever_pages_it_is_made_of() {
    const START: usize = 64 << 10;
    const WINDOW: usize = (5 << 20) + (64 << 10);
    let window = |sharing, bytes: usize| Window { tier: Tier::Emem, sharing, bytes: bytes as u64 };
    let data: Arc<[u8]> = (0..WINDOW).map(|at| (at % 251) as u8).collect();
    let plan = Arc::new(MemoryPlan {
        windows: vec![
            window(Sharing::Instance, START),
            window(Sharing::All, WINDOW),
            window(Sharing::Island, 64 << 10),
        ],
        initial: vec![InitialData { address: START as u32, bytes: Arc::clone(&data) }],
    });
    let wat = lambda(TOOL).replace("1 1)", "83 83)");
    let image = image(&wat, &plan).unwrap();
    let seat = image.detached_seat().unwrap();
    let fresh = || Instance::new(&image, 1 << 40, &HostSide::detached(), &seat).unwrap();
    let (mut one, mut two) = (fresh(), fresh());
    let edges = (0..=WINDOW).step_by(32 << 10).flat_map(|at| [at.saturating_sub(1), at]);
    let edges: Vec<usize> = edges.filter(|at| *at < WINDOW).collect();
    for &at in &edges {
        assert_eq!(Tool::Load { at: START + at }.value(&mut one), u32::from(data[at]), "byte {at}");
    }
    // Over all of it at once, and beyond its end.
    Tool::Copy { to: START, from: START + 1, bytes: WINDOW }.value(&mut one);
    for &at in &edges {
        let expected = data.get(at + 1).copied().unwrap_or(0);
        assert_eq!(Tool::Load { at: START + at }.value(&mut two), u32::from(expected), "byte {at}");
    }
    let end = 83 * 65_536;
    assert_eq!(Tool::Fill { at: START, value: 1, bytes: end - START }.run(&mut two), Run::Verdict(0));
    assert_eq!(
        Tool::Fill { at: START, value: 1, bytes: end - START + 1 }.run(&mut two),
        Run::Failed(Failure::Trap)
    );
}

#[test]
fn stack_and_io_area_lie_in_the_first_window() {
    let plan = |first: u64| {
        let own = Window { tier: Tier::Local, sharing: Sharing::Instance, bytes: first };
        let all = Window { tier: Tier::Emem, sharing: Sharing::All, bytes: BYTES as u64 - first };
        Arc::new(MemoryPlan { windows: vec![own, all], initial: vec![] })
    };
    assert!(made(&tool(&plan(20 << 10)), 1000).is_ok());
    let error = made(&tool(&plan(16 << 10)), 1000).err().unwrap();
    let expected = PlanError::FirstTooSmall { end: 8192 + abi::IO_BYTES as u64, first: 16 << 10 };
    assert!(matches!(error, PrepareError::Plan(error) if error == expected), "{error}");
    let high = lambda("i32.const 0").replace("(i32.const 4096)", "(i32.const 65536)");
    let error = made(&image(&high, &plan(20 << 10)).unwrap(), 1000).err().unwrap();
    assert!(matches!(error, PrepareError::Plan(PlanError::FirstTooSmall { end: 65_536, .. })), "{error}");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let window = |tier, sharing, bytes| Window { tier, sharing, bytes };
    let own = window(Tier::Local, Sharing::Instance, 32_768);
    let plan = |windows: &[Window]| MemoryPlan { windows: windows.to_vec(), initial: vec![] };
    let refused =
        |plan: MemoryPlan| image(&lambda("i32.const 0"), &Arc::new(plan)).err().unwrap().to_string();
    let cases = [
        (plan(&[]), "memory plan of 0 windows"),
        (plan(&[own; 65]), "memory plan of 65 windows"),
        (
            plan(&[own, window(Tier::Emem, Sharing::All, 32_767)]),
            "window 1 of the memory plan has 32767 bytes",
        ),
        (plan(&[own, window(Tier::Emem, Sharing::All, 0)]), "window 1 of the memory plan has 0 bytes"),
        (plan(&[window(Tier::Emem, Sharing::All, 65_536)]), "window 0 of the memory plan is shared"),
        (plan(&[own, window(Tier::Local, Sharing::Island, 32_768)]), "shared wider than local reaches"),
        (plan(&[own, window(Tier::Ctm, Sharing::All, 32_768)]), "shared wider than ctm reaches"),
        (
            plan(&[own, window(Tier::Emem, Sharing::All, 4096)]),
            "36864 bytes for a module whose memory has 65536",
        ),
        (plan(&[own, window(Tier::Emem, Sharing::All, 1 << 32)]), "4294967296 are possible"),
    ];
    for (plan, expected) in cases {
        let error = refused(plan);
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }
    let data = |address, bytes: usize| vec![InitialData { address, bytes: vec![1; bytes].into() }];
    let in_dense = MemoryPlan { initial: data(0, 1), ..(*dense()).clone() };
    assert!(refused(in_dense).contains("initial data in the dense layout"));
    for (address, bytes) in [(CTM as u32 - 1, 2), (65_535, 2), (u32::MAX, 1)] {
        let error = refused(MemoryPlan { initial: data(address, bytes), ..(*windows()).clone() });
        assert!(error.contains("lies in no window"), "{error}");
    }
}

#[test]
fn a_seat_is_for_one_plan_and_an_npu_that_is_there() {
    let (dense, windows) = (tool(&dense()), tool(&windows()));
    let other = windows.detached_seat().unwrap();
    let error = Instance::new(&dense, 1000, &HostSide::detached(), &other).err().unwrap();
    assert!(matches!(error, PrepareError::OtherPlan { .. }), "{error}");
    for image in [dense, windows] {
        let deployment = image
            .deploy(&crate::memory::Regions::standalone(), crate::memory::Account::unlimited("it"))
            .unwrap();
        let seat = deployment.seat(crate::ids::NpuId::new(1));
        let error = Instance::new(&image, 1000, &HostSide::detached(), &seat).err().unwrap();
        let PrepareError::Memory(error) = error else { panic!("{error}") };
        assert!(matches!(*error, MemoryError::NoNpu { .. }), "{error}");
    }
}
