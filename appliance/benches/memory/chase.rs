//! A lambda that touches one window of its memory, a cache line at a time, in an order that no prefetcher foresees.

use std::sync::Arc;
use std::time::Instant;

use lnic::ids::{IslandId, NpuId};
use lnic::lambda::{Engine, HostSide, Image, Instance, Limits, Run};
use lnic::memory::{
    Account, Deployment, Hugepages, MemoryPlan, NpuPlace, RegionSettings, Regions, Sharing, Tier, Window,
};
use lnic_compiler::HeaderUse;

/// Of WebAssembly's pages.
const PAGE_BYTES: u64 = 64 << 10;
/// Stack and I/O area have at least this much.
const OWN_BYTES: u64 = 32 << 10;
const LINE_BYTES: u32 = 64;
/// Accesses between two looks at the fuel.
const UNROLLED: u32 = 8;
/// Half of a small first-level cache.
const HOT_LINES: u32 = 256;

/// What a run does at each of its steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Makes a line point to the next.
    Link,
    /// Loads where to load from next.
    Read,
    /// Stores.
    Write,
    /// Adds atomically.
    Atomic,
    /// Only finds out where it would.
    Nothing,
}

/// Which lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The first few of the window.
    Hot,
    /// All of the window.
    Whole,
}

/// Lines in an order: all once, then again. A linear congruential generator modulo a power of two has such a period.
#[derive(Clone, Copy)]
struct Lines {
    /// Address of the first line's word.
    base: u32,
    /// A power of two.
    count: u32,
    /// The line that is next, for reads: as an address.
    pointer: u32,
    /// The same for all else: as the generator's state.
    state: u32,
}

/// One instance of the lambda.
pub struct Chaser {
    instance: Instance,
    hot: Lines,
    whole: Lines,
}

/// Its text for a memory of so many bytes. Arguments are in the payload, 256 bytes behind match data: access, state, steps
/// by [`UNROLLED`], mask of lines, address of the first line's word. The verdict is where to go on.
fn text(bytes: u64) -> String {
    let repeat = |step: &str| step.repeat(UNROLLED as usize);
    let next = "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))";
    let here =
        "(i32.add (local.get $base) (i32.shl (i32.and (local.get $x) (local.get $mask)) (i32.const 6)))";
    let bodies = [
        format!("(local.set $at {here}) {next} (i32.store (local.get $at) {here})"),
        "(local.set $x (i32.load (local.get $x)))".to_owned(),
        format!("(i32.store offset=16 {here} (local.get $x)) {next}"),
        format!("(drop (i32.atomic.rmw.add offset=20 {here} (i32.const 1))) {next}"),
        next.to_owned(),
    ];
    let branches: String = (0..)
        .zip(&bodies)
        .map(|(access, body)| {
            format!(
                "(if (i32.eq (local.get $access) (i32.const {access})) (then
                    (loop $turn
                        {}
                        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                        (br_if $turn (local.get $left)))
                    (return (local.get $x))))",
                repeat(body)
            )
        })
        .collect();
    format!(
        r#"(module
            (memory (export "memory") {pages} {pages})
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "entry") (param $headers i32) (param $match i32) (result i32)
                (local $access i32) (local $x i32) (local $left i32) (local $mask i32) (local $base i32) (local $at i32)
                (local.set $access (i32.load offset=256 (local.get $match)))
                (local.set $x (i32.load offset=260 (local.get $match)))
                (local.set $left (i32.load offset=264 (local.get $match)))
                (local.set $mask (i32.load offset=268 (local.get $match)))
                (local.set $base (i32.load offset=272 (local.get $match)))
                (if (i32.eqz (local.get $left)) (then (return (local.get $x))))
                {branches}
                unreachable))"#,
        pages = bytes >> 16,
    )
}

/// Code and memory of a lambda that touches a window.
pub struct Chased {
    image: Image,
    deployment: Deployment,
    regions: Regions,
    /// Where the window begins.
    base: u32,
    lines: u32,
}

impl Chased {
    /// With a window of `bytes` in a tier, shared as widely as the tier is; or, if `dense`, behind stack and I/O area in one slice.
    pub fn new(engine: &Engine, tier: Tier, bytes: u64, dense: bool, hugepages: Hugepages) -> Self {
        assert!(bytes.is_power_of_two(), "lines are numbered by a mask");
        let own_bytes = (OWN_BYTES + bytes).next_multiple_of(PAGE_BYTES) - bytes;
        let plan = if dense {
            MemoryPlan::dense(tier, own_bytes + bytes)
        } else {
            let sharing = match tier {
                Tier::Local => Sharing::Instance,
                Tier::Ctm => Sharing::Island,
                Tier::Imem | Tier::Emem => Sharing::All,
            };
            let own = Window { tier: Tier::Local, sharing: Sharing::Instance, bytes: own_bytes };
            MemoryPlan { windows: vec![own, Window { tier, sharing, bytes }], initial: Vec::new() }
        };
        let npu = NpuPlace { island: IslandId::new(0), numa_node: None };
        let regions = Regions::new(&RegionSettings { hugepages, ..RegionSettings::default() }, &[npu, npu]);
        let wasm = wat::parse_str(text(plan.bytes())).expect("module");
        let limits = Limits { memory_bytes: plan.bytes(), ..Limits::default() };
        let image = Image::compile_with(engine, &wasm, "entry", &limits, &Arc::new(plan), HeaderUse::all())
            .expect("compiles");
        let deployment = image.deploy(&regions, Account::unlimited("chase")).expect("plan");
        let lines = u32::try_from(bytes / u64::from(LINE_BYTES)).expect("32-bit memory");
        let base = u32::try_from(own_bytes).expect("32-bit memory");
        Self { image, deployment, regions, base, lines }
    }

    /// An instance on an NPU; says why there is no memory for it.
    pub fn instance(&self, npu: u16) -> Result<Chaser, String> {
        let seat = self.deployment.seat(NpuId::new(npu));
        let instance = Instance::new(&self.image, 1 << 40, &HostSide::detached(), &seat)
            .map_err(|error| error.to_string())?;
        let lines = |base, count| Lines { base, count, pointer: base, state: 0 };
        let mut chaser =
            Chaser { instance, hot: lines(self.base, HOT_LINES), whole: lines(self.base + 8, self.lines) };
        chaser.run(Access::Link, Reach::Hot, HOT_LINES);
        chaser.run(Access::Link, Reach::Whole, self.lines);
        Ok(chaser)
    }

    /// The pages that most of its memory is made of.
    pub fn pages(&self) -> &'static str {
        let usage = self.regions.usage();
        let pages = usage.iter().flat_map(|region| &region.pages).max_by_key(|(_, bytes)| *bytes);
        pages.map_or("none", |(pages, _)| pages.name())
    }
}

impl Chaser {
    /// The next access of every kind is to the first line.
    pub fn restart(&mut self) {
        for lines in [&mut self.hot, &mut self.whole] {
            (lines.pointer, lines.state) = (lines.base, 0);
        }
    }

    /// Goes on for so many steps, a multiple of [`UNROLLED`]; ns of the run.
    pub fn run(&mut self, access: Access, reach: Reach, steps: u32) -> f64 {
        assert!(steps.is_multiple_of(UNROLLED), "whole turns");
        let lines = match reach {
            Reach::Hot => &mut self.hot,
            Reach::Whole => &mut self.whole,
        };
        let next = if access == Access::Read { &mut lines.pointer } else { &mut lines.state };
        let arguments = [access as u32, *next, steps / UNROLLED, lines.count - 1, lines.base];
        let io = self.instance.io().expect("it does not suspend");
        for (place, word) in io.payload.chunks_exact_mut(4).zip(arguments) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let start = Instant::now();
        let run = self.instance.run(0);
        let ns = start.elapsed().as_nanos() as f64;
        let Run::Verdict(at) = run else { panic!("the lambda failed: {run:?}") };
        *next = at.cast_unsigned();
        ns
    }
}
