//! Placement keeps meaning and quotas, whatever it is asked.

use proptest::prelude::*;

use super::*;
use crate::Sharing;
use crate::module::{Kind, Module, Object};

fn object(name: &str, bytes: u32, kind: Kind, wanted: Option<Tier>) -> Object {
    Object { name: name.into(), segment: 0, address: 0, bytes, alignment: 4, kind, wanted }
}

fn facts(reads: f64, writes: f64) -> ObjectFacts {
    ObjectFacts { reads, writes, written: writes > 0.0, initialised: false, atomic_only: false }
}

fn request() -> Request {
    Request {
        concurrency: Concurrency::Auto,
        layout: LayoutWish::Auto,
        npus: 2,
        islands: 1,
        in_flight: 1,
        quota_bytes: [64 << 10, 256 << 10, 1 << 20, 64 << 20],
        dense_bytes: 1 << 20,
        own_bytes: 16_384 + 9_728,
        model: CostModel::default(),
    }
}

fn module(objects: Vec<Object>) -> Module<'static> {
    Module::of_objects(objects, true)
}

#[test]
fn a_plain_counter_pins_its_lambda_and_its_memory_may_move_within_the_island() {
    let module = module(vec![object("hits", 4, Kind::Variable, None)]);
    let placed = place(&module, &[facts(1.0, 1.0)], false, &request()).unwrap();
    assert_eq!(placed.runs, Runs::OnOneNpu);
    assert_eq!(placed.because, Because::Variable("hits".into()));
    assert_eq!(placed.layout, Layout::Dense(Tier::Ctm));
    let far = place(&module, &[facts(1.0, 1.0)], false, &Request { islands: 2, ..request() }).unwrap();
    assert_eq!(far.layout, Layout::Dense(Tier::Imem));
}

#[test]
fn atomics_run_anywhere_on_one_object_near_all_who_write_it() {
    let module = module(vec![object("hits", 4, Kind::Variable, None)]);
    let atomic = ObjectFacts { atomic_only: true, ..facts(1.0, 1.0) };
    let placed = place(&module, &[atomic], false, &request()).unwrap();
    assert_eq!((placed.runs, placed.because.clone()), (Runs::Anywhere, Because::Atomics));
    assert_eq!(placed.layout, Layout::Windows);
    assert_eq!((placed.objects[0].tier, placed.objects[0].sharing), (Tier::Ctm, Sharing::Island));
    let far = place(&module, &[atomic], false, &Request { islands: 2, npus: 4, ..request() }).unwrap();
    assert_eq!((far.objects[0].tier, far.objects[0].sharing), (Tier::Imem, Sharing::All));
    // Alone it needs no windows.
    let alone = place(&module, &[atomic], false, &Request { npus: 1, ..request() }).unwrap();
    assert_eq!(alone.layout, Layout::Dense(Tier::Local));
    // But two requests of it on one NPU are two instances.
    let two = place(&module, &[atomic], false, &Request { npus: 1, in_flight: 2, ..request() }).unwrap();
    assert_eq!(two.layout, Layout::Windows);
    assert_ne!(two.objects[0].sharing, Sharing::Instance);
}

#[test]
fn the_default_model_finds_farther_tiers_no_cheaper() {
    let CostModel { read_ns, write_ns, shared_ns } = CostModel::default();
    assert!(read_ns.is_sorted() && write_ns.is_sorted() && shared_ns.is_sorted());
    for (read_ns, (write_ns, shared_ns)) in read_ns.into_iter().zip(write_ns.into_iter().zip(shared_ns)) {
        assert!(write_ns <= read_ns && read_ns <= shared_ns);
    }
}

#[test]
fn only_constants_run_anywhere_in_their_own_slices() {
    let module = module(vec![object("table", 1024, Kind::Constant, None)]);
    let placed = place(&module, &[facts(100.0, 0.0)], false, &request()).unwrap();
    assert_eq!((placed.runs, placed.layout), (Runs::Anywhere, Layout::Dense(Tier::Local)));
    assert_eq!(placed.because, Because::NoVariables);
    let globals = place(&module, &[facts(100.0, 0.0)], true, &request()).unwrap();
    assert_eq!((globals.runs, globals.because), (Runs::OnOneNpu, Because::Globals));
}

#[test]
fn what_init_makes_is_each_instances_own_if_it_is_small() {
    let made = |bytes| module(vec![object("crc_table", bytes, Kind::Variable, None)]);
    let uses = [ObjectFacts { initialised: true, ..facts(10.0, 0.0) }];
    let placed = place(&made(1024), &uses, false, &request()).unwrap();
    assert_eq!((placed.runs, placed.layout), (Runs::Anywhere, Layout::Dense(Tier::Local)));
    let windows = Request { layout: LayoutWish::Windows, ..request() };
    let placed = place(&made(1024), &uses, false, &windows).unwrap();
    assert_eq!((placed.objects[0].tier, placed.objects[0].sharing), (Tier::Local, Sharing::Instance));
    let placed = place(&made(100_000), &uses, false, &request()).unwrap();
    assert_eq!((placed.runs, placed.because), (Runs::OnOneNpu, Because::Variable("crc_table".into())));
}

#[test]
fn hot_and_small_objects_are_nearer_than_cold_and_large_ones() {
    let module = module(vec![
        object("cold", 4 << 20, Kind::Variable, None),
        object("warm", 200 << 10, Kind::Constant, None),
        object("hot", 64, Kind::Constant, None),
    ]);
    let uses = [ObjectFacts { atomic_only: true, ..facts(1.0, 1.0) }, facts(10.0, 0.0), facts(100.0, 0.0)];
    let placed = place(&module, &uses, false, &request()).unwrap();
    assert_eq!(placed.layout, Layout::Windows);
    let tiers: Vec<Tier> = placed.objects.iter().map(|object| object.tier).collect();
    assert_eq!(tiers, [Tier::Emem, Tier::Ctm, Tier::Local]);
    assert_eq!(placed.order, [2, 1, 0]);
    assert_eq!(placed.objects[1].why, Why::Full);
    assert!(placed.cost_ns < placed.flat_cost_ns);
}

#[test]
fn sections_override_and_contradictions_are_named() {
    let counter = object("hits", 4, Kind::Variable, Some(Tier::Ctm));
    let atomic = ObjectFacts { atomic_only: true, ..facts(1.0, 1.0) };
    let far = Request { islands: 2, ..request() };
    let error = place(&module(vec![counter]), &[atomic], false, &far).unwrap_err();
    assert!(error.to_string().contains("\"hits\" is in section \".ctm\""), "{error}");
    let local = object("mine", 4, Kind::Variable, Some(Tier::Local));
    let placed = place(&module(vec![local.clone()]), &[facts(1.0, 1.0)], false, &far).unwrap();
    assert_eq!((placed.runs, placed.layout), (Runs::Anywhere, Layout::Dense(Tier::Local)));
    let several = Request { in_flight: 4, ..far };
    let placed = place(&module(vec![local]), &[facts(1.0, 1.0)], false, &several).unwrap();
    assert_eq!((placed.layout, placed.objects[0].sharing), (Layout::Windows, Sharing::Npu));
    let emem = object("table", 4, Kind::Constant, Some(Tier::Emem));
    let windows = Request { layout: LayoutWish::Windows, ..request() };
    let placed = place(&module(vec![emem]), &[facts(9.0, 0.0)], false, &windows).unwrap();
    assert_eq!((placed.objects[0].tier, placed.objects[0].why), (Tier::Emem, Why::Section));
}

#[test]
fn dense_is_refused_for_what_is_shared_or_too_large() {
    let dense = Request { layout: LayoutWish::Dense, concurrency: Concurrency::Shared, ..request() };
    let counter = module(vec![object("hits", 4, Kind::Variable, None)]);
    let error = place(&counter, &[facts(1.0, 1.0)], false, &dense).unwrap_err();
    assert_eq!(error, PlaceError::DenseShared { object: "hits".into(), instances: 2 });
    let large = module(vec![object("table", 2 << 20, Kind::Constant, None)]);
    let error = place(&large, &[facts(1.0, 0.0)], false, &dense).unwrap_err();
    assert!(matches!(&error, PlaceError::DenseSize { object, .. } if object == "table"), "{error}");
    let fixed = Module::of_objects(vec![object("hits", 4, Kind::Variable, None)], false);
    let shared = Request { concurrency: Concurrency::Shared, ..request() };
    let error = place(&fixed, &[facts(1.0, 1.0)], false, &shared).unwrap_err();
    assert!(error.to_string().contains("lnic build"), "{error}");
    // Nothing is known of it but that it may have variables: it is not run as if it had none.
    let unknown = Module::of_objects(vec![], false);
    for layout in LayoutWish::ALL {
        let error = place(&unknown, &[], true, &Request { layout, ..shared }).unwrap_err();
        assert!(error.to_string().contains("lnic build"), "{error}");
    }
    let error = place(&module(vec![]), &[], true, &shared).unwrap_err();
    assert!(error.to_string().contains("not in memory"), "{error}");
    let replicated = Request { concurrency: Concurrency::Replicated, ..request() };
    assert_eq!(place(&unknown, &[], true, &replicated).unwrap().runs, Runs::Anywhere);
    assert_eq!(place(&unknown, &[], true, &Request { npus: 1, ..shared }).unwrap().runs, Runs::Anywhere);
}

#[test]
fn what_fits_nowhere_is_named_with_what_is_used() {
    let huge = module(vec![object("table", 65 << 20, Kind::Constant, None)]);
    let error = place(&huge, &[facts(1.0, 0.0)], false, &request()).unwrap_err().to_string();
    assert!(
        error.contains("\"table\", 68157440 bytes") && error.contains("of 67108864 bytes of emem"),
        "{error}"
    );
}

fn objects() -> impl Strategy<Value = Vec<(Object, ObjectFacts)>> {
    let tier = prop_oneof![
        4 => Just(None),
        1 => (0..4usize).prop_map(|at| Some(Tier::ALL[at])),
    ];
    let one = (1u32..300_000, any::<bool>(), tier, 0..1000u32, 0..1000u32, any::<bool>()).prop_map(
        |(bytes, constant, wanted, reads, writes, atomic_only)| {
            let kind = if constant && wanted.is_none() { Kind::Constant } else { Kind::Variable };
            let written = writes % 3 == 0;
            let writes = if written { f64::from(writes) } else { 0.0 };
            (
                object("o", bytes, kind, wanted),
                ObjectFacts {
                    reads: f64::from(reads),
                    writes,
                    written,
                    initialised: reads % 5 == 0,
                    atomic_only,
                },
            )
        },
    );
    proptest::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn meaning_and_quotas_hold_whatever_is_asked(
        objects in objects(),
        globals in any::<bool>(),
        concurrency in prop_oneof![
            3 => Just(Concurrency::Auto),
            1 => Just(Concurrency::Pinned),
            2 => Just(Concurrency::Shared),
            1 => Just(Concurrency::Replicated),
        ],
        layout in prop_oneof![Just(LayoutWish::Auto), Just(LayoutWish::Dense), Just(LayoutWish::Windows)],
        (npus, islands, in_flight) in (1u32..5, 1u32..3, 1u32..4),
        quotas in proptest::array::uniform4(20_000u64..1_000_000),
    ) {
        let islands = islands.min(npus);
        let request = Request { concurrency, layout, npus, islands, in_flight, quota_bytes: quotas, ..request() };
        let facts: Vec<ObjectFacts> = objects.iter().map(|(_, facts)| *facts).collect();
        let module = module(objects.iter().map(|(object, _)| object.clone()).collect());
        let Ok(placed) = place(&module, &facts, globals, &request) else { return Ok(()) };
        let instances = if placed.runs == Runs::Anywhere { npus * in_flight } else { 1 };
        let own_room = quotas[0].saturating_sub(request.own_bytes);
        let mut used = [0u64; 4];
        for ((object, facts), at) in objects.iter().zip(&placed.objects) {
            let is_local = object.wanted == Some(Tier::Local);
            if facts.written && !is_local && concurrency == Concurrency::Auto && !facts.atomic_only {
                prop_assert_eq!(placed.runs, Runs::OnOneNpu);
            }
            let small = u64::from(object.bytes) <= own_room / 2;
            let written = facts.written || facts.initialised && !small;
            let own = if written { concurrency == Concurrency::Replicated } else { facts.initialised };
            if own && !is_local {
                prop_assert!(at.sharing == Sharing::Instance);
            } else if written && !is_local && instances > 1 {
                let one_for_all = match at.sharing {
                    Sharing::All => true,
                    Sharing::Island => islands == 1,
                    Sharing::Npu => npus == 1,
                    Sharing::Instance => false,
                };
                prop_assert!(one_for_all, "{object:?} {at:?}");
            }
            if is_local && facts.written {
                prop_assert!(at.sharing == Sharing::Npu || at.sharing == Sharing::Instance);
                let several = placed.runs == Runs::Anywhere && in_flight > 1;
                prop_assert!(at.sharing == Sharing::Npu || !several);
            }
            if placed.layout == Layout::Windows {
                used[at.tier.index()] += u64::from(object.bytes);
                if let Some(wanted) = object.wanted {
                    prop_assert_eq!(at.tier, wanted);
                }
            }
        }
        for (used, quota) in used.iter().zip(quotas) {
            prop_assert!(*used <= quota);
        }
        if let Layout::Dense(tier) = placed.layout {
            let bytes = request.own_bytes + objects.iter().map(|(object, _)| u64::from(object.bytes)).sum::<u64>();
            prop_assert!(bytes <= quotas[tier.index()]);
        }
        prop_assert!(placed.cost_ns <= placed.flat_cost_ns * 2.0 + 1.0);
    }
}
