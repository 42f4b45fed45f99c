//! Moving objects changes nothing that a lambda computes: originals and moved modules run side by side on random inputs, and give
//! equal verdicts, equal I/O areas and equal objects.
//!
//! `LNIC_SEED=n` runs other programs; a failure names the seed of its module.

mod support;

use std::sync::Mutex;

use fastrand::Rng;
use lnic_abi as abi;
use lnic_compiler::module::Module;
use lnic_compiler::mover::{Assignment, Layout, Moved, relocate};
use lnic_compiler::{Sharing, Tier};
use support::clang::{build, build_text, have_tools, lambdas};
use support::machine::{Machine, compare_objects, engine};
use support::program::{PRELUDE, program};
use wasmtime::Engine;

const LIMIT_BYTES: u64 = 64 << 20;
const LEVELS: [&str; 5] = ["-O0", "-O1", "-O2", "-O3", "-Oz"];
/// Modules of generated programs, and programs of each.
const MODULES: u64 = 25;
const PROGRAMS: usize = 8;

const ASSIGNMENTS: [Assignment; 6] = [
    Assignment { tier: Tier::Local, sharing: Sharing::Instance },
    Assignment { tier: Tier::Local, sharing: Sharing::Npu },
    Assignment { tier: Tier::Ctm, sharing: Sharing::Island },
    Assignment { tier: Tier::Imem, sharing: Sharing::All },
    Assignment { tier: Tier::Emem, sharing: Sharing::All },
    Assignment { tier: Tier::Ctm, sharing: Sharing::All },
];

/// Two random placements, one of each layout.
fn placements(module: &Module<'_>, random: &mut Rng) -> [Moved; 2] {
    let mut order: Vec<usize> = (0..module.objects().len()).collect();
    random.shuffle(&mut order);
    let dense = relocate(module, &order, Layout::Dense { tier: Tier::Local }, LIMIT_BYTES).unwrap();
    random.shuffle(&mut order);
    let some = random.usize(1..=ASSIGNMENTS.len());
    let assignments: Vec<Assignment> = order.iter().map(|_| ASSIGNMENTS[random.usize(0..some)]).collect();
    let layout = Layout::Windows { assignments: &assignments };
    let windows = relocate(module, &order, layout, LIMIT_BYTES).unwrap();
    check_places(module, &dense, |_| Assignment { tier: Tier::Local, sharing: Sharing::Instance });
    check_places(module, &windows, |object| assignments[object]);
    [dense, windows]
}

/// Objects lie in their windows, aligned, and apart from each other, stack and I/O area.
fn check_places(module: &Module<'_>, moved: &Moved, assignment: impl Fn(usize) -> Assignment) {
    let mut places = Vec::new();
    for (at, (object, &address)) in module.objects().iter().zip(&moved.addresses).enumerate() {
        assert_eq!(address % object.alignment, object.address % object.alignment, "{object:?}");
        let mut start = 0;
        let window = moved.plan.windows.iter().find(|window| {
            let found = (start..start + window.bytes).contains(&u64::from(address));
            start += window.bytes;
            found
        });
        let window = window.unwrap();
        assert!(u64::from(address) + u64::from(object.bytes) <= start, "{object:?} leaves its window");
        assert_eq!(Assignment { tier: window.tier, sharing: window.sharing }, assignment(at), "{object:?}");
        places.push((address, address + object.bytes, object.name.clone()));
    }
    places.sort();
    assert!(places.first().is_none_or(|first| first.0 >= 16_384), "{places:?}");
    for pair in places.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?}");
    }
}

/// Runs an original beside its placements.
fn compare(
    engine: &Engine,
    wasm: &[u8],
    entries: &[String],
    random: &mut Rng,
    runs: usize,
) -> Result<(), String> {
    let module = Module::read(wasm).map_err(|error| error.to_string())?;
    let placements = placements(&module, random);
    let mut original = Machine::of_original(engine, wasm);
    let mut machines = placements.each_ref().map(|moved| Machine::of_moved(engine, moved));
    for run in 0..runs {
        let mut io = vec![0; abi::IO_BYTES];
        random.fill(&mut io);
        // Lengths that a lambda may believe.
        let length = random.u32(..=abi::PAYLOAD_CAPACITY as u32);
        for (offset, value) in [(4, length), (8, abi::PAYLOAD_CAPACITY as u32)] {
            let at = abi::IO_MATCH_DATA + offset;
            io[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let entry = &entries[run % entries.len()];
        let (verdict, left) = original.run(entry, &io);
        for (at, (machine, moved)) in machines.iter_mut().zip(&placements).enumerate() {
            let what = || format!("{entry}, run {run}, {}", ["dense", "windows"][at]);
            let (other, other_left) = machine.run(entry, &io);
            if verdict.is_none() || other != verdict {
                return Err(format!("{}: {verdict:?} became {other:?}", what()));
            }
            if let Some(byte) = left.iter().zip(&other_left).position(|(before, after)| before != after) {
                return Err(format!("{}: byte {byte} of the I/O area differs", what()));
            }
            compare_objects(&module, moved, original.memory(), machine.memory())
                .map_err(|error| format!("{}: {error}", what()))?;
        }
    }
    Ok(())
}

#[test]
fn lambdas_of_the_repository_do_the_same_wherever_their_objects_lie() {
    if !have_tools() {
        return;
    }
    let engine = engine();
    let folder = tempfile::tempdir().unwrap();
    let mut random = Rng::with_seed(1);
    for (source, entry) in [("echo/echo.c", "echo"), ("../compiler/tests/web_server.c", "web_server")] {
        for level in LEVELS {
            let wasm = build(&lambdas().join(source), folder.path(), level);
            for _ in 0..4 {
                if let Err(error) = compare(&engine, &wasm, &[entry.to_owned()], &mut random, 200) {
                    panic!("{source} {level}: {error}");
                }
            }
        }
    }
}

/// What random programs do not have: names for parts of others, objects without bytes, without a fixed size, without a definition.
const ODDITIES: &str = r#"
typedef unsigned char u8; typedef unsigned int u32;
struct list { u32 count; u32 items[]; };
static struct list list = {3, {10, 20, 30}};
struct nothing {} nothing;
u32 empty[0];
u8 table[64] = {1, 2, 3, [63] = 9};
extern u8 alias[64] __attribute__((alias("table")));
extern u32 nobody __attribute__((weak));
static u32 *volatile maybe = &nobody;
static const char *const words[] = {"underpass", "pass", "ass", "underpass" + 5, ""};
static u8 *const ends[] = {table, table + 64, alias + 32};
static u32 self = (u32)0;
static u32 *const cycle[] = {&self, (u32 *)&list, list.items + 3};
__attribute__((export_name("oddities"))) int oddities(u32 headers, u32 match_data) {
    u8 *in = (u8 *)headers;
    u32 x = in[0] | in[1] << 8, sum = maybe ? *maybe : 5;
    if (&nobody) sum += nobody;
    list.items[x % 3] += in[2];
    alias[x % 64] ^= in[3];
    table[in[4] % 64] += 3;
    for (const char *c = words[x % 5]; *c; c++) sum = sum * 31 + (u8)*c;
    sum += (words[0] == words[3] - 5) + (u32)(ends[1] - ends[0]) + ends[1][-1 - (int)(x % 64)] + *ends[2];
    sum += (void *)&nothing == 0 || (void *)empty == 0;
    self += cycle[2][-1 - (int)(x % 3)] + cycle[1][0];
    *(u32 *)(headers + 512) = sum;
    return (int)(sum + self);
}
"#;

#[test]
fn objects_that_are_hard_to_tell_apart_do_the_same_wherever_they_lie() {
    if !have_tools() {
        return;
    }
    let engine = engine();
    let mut random = Rng::with_seed(2);
    for level in LEVELS {
        let wasm = build_text(ODDITIES, level);
        for _ in 0..8 {
            if let Err(error) = compare(&engine, &wasm, &["oddities".to_owned()], &mut random, 100) {
                panic!("{level}: {error}");
            }
        }
    }
}

#[test]
fn generated_programs_do_the_same_wherever_their_objects_lie() {
    if !have_tools() {
        return;
    }
    let first: u64 = std::env::var("LNIC_SEED").map_or(0, |seed| seed.parse().unwrap());
    let engine = engine();
    let folder = tempfile::tempdir().unwrap();
    let next = Mutex::new(first..first + MODULES);
    let moved_objects = Mutex::new(0usize);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else { break };
                    let mut random = Rng::with_seed(seed);
                    let entries: Vec<String> = (0..PROGRAMS).map(|at| format!("p{at}_f")).collect();
                    let mut text = PRELUDE.to_owned();
                    for at in 0..PROGRAMS {
                        text.push_str(&program(&mut random, &format!("p{at}")));
                    }
                    let source = folder.path().join(format!("seed{seed}.c"));
                    std::fs::write(&source, &text).unwrap();
                    for level in LEVELS {
                        let wasm = build(&source, folder.path(), level);
                        *moved_objects.lock().unwrap() += Module::read(&wasm).unwrap().objects().len();
                        if let Err(error) = compare(&engine, &wasm, &entries, &mut random, 24) {
                            failures.lock().unwrap().push(format!("seed {seed} {level}: {error}"));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // They have objects to speak of.
    let objects = moved_objects.into_inner().unwrap();
    assert!(objects > 20 * PROGRAMS * MODULES as usize * LEVELS.len(), "{objects} objects");
}
