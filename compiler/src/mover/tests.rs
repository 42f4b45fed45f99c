use proptest::prelude::*;

use super::*;
use crate::fixture::{Fixture, RelocationOf, STACK_TOP, SymbolOf};
use crate::module::Kind;

const LIMIT_BYTES: u64 = 64 << 20;
const DENSE: Layout<'_> = Layout::Dense { tier: Tier::Imem };
const HERE: Assignment = Assignment { tier: Tier::Local, sharing: Sharing::Instance };
const NPU: Assignment = Assignment { tier: Tier::Local, sharing: Sharing::Npu };
const CTM: Assignment = Assignment { tier: Tier::Ctm, sharing: Sharing::Island };
const IMEM: Assignment = Assignment { tier: Tier::Imem, sharing: Sharing::All };
const EMEM: Assignment = Assignment { tier: Tier::Emem, sharing: Sharing::All };

/// In the order of addresses.
fn in_order(wasm: &[u8], layout: Layout<'_>) -> Result<Moved, MoveError> {
    let module = Module::read(wasm).unwrap();
    let order: Vec<usize> = (0..module.objects().len()).collect();
    relocate(&module, &order, layout, LIMIT_BYTES)
}

fn change(change: impl FnOnce(&mut Fixture)) -> Vec<u8> {
    let mut fixture = Fixture::honest();
    change(&mut fixture);
    fixture.wasm()
}

/// Data segments with their names.
fn segments(wasm: &[u8]) -> Vec<(u32, Vec<u8>, String)> {
    let module = Module::read(wasm).unwrap();
    let read = |segment: &crate::module::Segment| {
        (segment.address, wasm[segment.file.clone()].to_vec(), segment.name.clone())
    };
    module.segments().iter().map(read).collect()
}

fn windows(moved: &Moved) -> Vec<(Tier, Sharing, u64)> {
    moved.plan.windows.iter().map(|window| (window.tier, window.sharing, window.bytes)).collect()
}

/// Values of the exported globals `__heap_base` and `__data_end`.
fn ends(wasm: &[u8]) -> [u32; 2] {
    let mut values = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let wasmparser::Payload::GlobalSection(section) = payload.unwrap() {
            for global in section {
                match global.unwrap().init_expr.get_operators_reader().read().unwrap() {
                    wasmparser::Operator::I32Const { value } => values.push(value as u32),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(values[0], STACK_TOP);
    [values[1], values[2]]
}

#[test]
fn dense_modules_have_objects_in_order_and_patched_addresses() {
    let wasm = Fixture::honest().wasm();
    let module = Module::read(&wasm).unwrap();
    let names: Vec<&str> = module.objects().iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["text", "more", "numbers", ".data+33", "pointer", "zeros"]);
    let moved = relocate(&module, &[5, 4, 2, 0, 3, 1], DENSE, LIMIT_BYTES).unwrap();
    // "more" begins at an address that leaves a remainder of 2 by 4, as it did.
    let places = [352, 366, 304, 362, 300, 0].map(|offset| STACK_TOP + offset);
    assert_eq!(moved.addresses, places);
    assert_eq!(moved.plan, MemoryPlan::dense(Tier::Imem, 16_384));
    assert_eq!(ends(&moved.wasm), [STACK_TOP + 384, STACK_TOP + 382]);
    let pointer = (STACK_TOP + 300).to_le_bytes();
    let mut expected = pointer.to_vec();
    expected.extend([7; 33]);
    expected.resize(352 - 300, 0);
    // Zeros between the pointer and the numbers are few: they stay in one segment. "zeros" is in none.
    let found = segments(&moved.wasm);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0, found[0].2.as_str()), (STACK_TOP + 300, ".data"));
    assert_eq!(found[0].1[..4], pointer);
    assert_eq!(found[0].1[4..37], [7; 33]);
    assert_eq!(found[0].1[52..], *b"constants \x07\x07\x07\0and more of them");
    // Code has the same bytes but where addresses are.
    let body = |wasm: &[u8]| {
        let payloads = wasmparser::Parser::new(0).parse_all(wasm);
        let mut bodies = payloads.filter_map(|payload| match payload.unwrap() {
            wasmparser::Payload::CodeSectionEntry(body) => Some(body.range()),
            _ => None,
        });
        wasm[bodies.next().unwrap()].to_vec()
    };
    let (before, mut after) = (body(&wasm), body(&moved.wasm));
    assert_ne!(before, after);
    let start = wasm.windows(before.len()).position(|window| window == before).unwrap();
    for reference in module.references().iter().filter(|reference| reference.encoding != Encoding::I32) {
        let at = reference.position - start;
        let address = i64::from(moved.addresses[reference.object]) + reference.addend;
        let mut expected = vec![0; 5];
        encode(&mut expected, 0, reference.encoding, address as u32);
        assert_eq!(after[at..at + 5], expected);
        after[at..at + 5].copy_from_slice(&before[at..at + 5]);
    }
    assert_eq!(before, after);
    // Names stay; what is wrong by now does not.
    let has = |name: &str| moved.wasm.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("entry_function") && !has("linking") && !has("reloc."));
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(&moved.wasm)
        .unwrap();
}

#[test]
fn windows_have_no_data_segments_and_shared_objects_behind_the_io_area() {
    let wasm = Fixture::honest().wasm();
    let assignments = [IMEM, HERE, CTM, NPU, EMEM, CTM];
    let moved = in_order(&wasm, Layout::Windows { assignments: &assignments }).unwrap();
    assert_eq!(
        windows(&moved),
        [
            (Tier::Local, Sharing::Instance, 16_384),
            (Tier::Local, Sharing::Npu, 4096),
            (Tier::Ctm, Sharing::Island, 4096),
            (Tier::Imem, Sharing::All, 4096),
            (Tier::Emem, Sharing::All, 4096),
        ]
    );
    let page = |window: u32| 16_384 + window * 4096;
    assert_eq!(moved.addresses, [page(2), STACK_TOP + 2, page(1), page(0), page(3), page(1) + 48]);
    assert_eq!(ends(&moved.wasm), [STACK_TOP + 32, page(3) + 4]);
    assert_eq!(segments(&moved.wasm), []);
    let initial: Vec<_> =
        moved.plan.initial.iter().map(|initial| (initial.address, initial.bytes.to_vec())).collect();
    assert_eq!(
        initial,
        [
            (STACK_TOP + 2, b"and more of them"[..].to_vec()),
            (page(0), vec![7; 3]),
            (page(1), vec![7; 33]),
            (page(2), b"constants ".to_vec()),
            (page(3), (page(1) + 48 + 300).to_le_bytes()[..2].to_vec()),
        ]
    );
    assert!(!moved.plan.is_dense());
}

#[test]
fn windows_that_nobody_shares_are_dense() {
    let wasm = Fixture::honest().wasm();
    let moved = in_order(&wasm, Layout::Windows { assignments: &[HERE; 6] }).unwrap();
    assert_eq!(moved, in_order(&wasm, Layout::Dense { tier: Tier::Local }).unwrap());
    assert!(moved.plan.is_dense() && moved.plan.initial.is_empty() && !segments(&moved.wasm).is_empty());
}

#[test]
fn large_windows_are_huge_pages_and_come_last() {
    let size = |bytes: u32| {
        change(|fixture| {
            fixture.symbols[5].place = Some((2, 0, bytes));
            fixture.relocations[4].addend = 0;
        })
    };
    let assignments = [EMEM, EMEM, NPU, IMEM, IMEM, CTM];
    let order =
        |bytes| windows(&in_order(&size(bytes), Layout::Windows { assignments: &assignments }).unwrap());
    let tail = |bytes| order(bytes)[1..].iter().map(|window| (window.0, window.2)).collect::<Vec<_>>();
    let small = [(Tier::Local, 4096), (Tier::Imem, 4096), (Tier::Emem, 4096)];
    let huge = 2 << 20;
    assert_eq!(tail(huge - 1), [small[0], (Tier::Ctm, u64::from(huge)), small[1], small[2]]);
    assert_eq!(tail(huge - 4096), [small[0], (Tier::Ctm, u64::from(huge) - 4096), small[1], small[2]]);
    assert_eq!(tail(huge), [small[0], small[1], small[2], (Tier::Ctm, u64::from(huge))]);
    assert_eq!(tail(huge + 1), [small[0], small[1], small[2], (Tier::Ctm, 2 * u64::from(huge))]);
}

#[test]
fn zeroed_variables_leave_a_trace_for_the_verifier() {
    let zeros = change(|fixture| fixture.segments[1].bytes = Some(vec![0; 36]));
    let zeros = {
        let module = Module::read(&zeros);
        assert!(module.is_err(), "the pointer has no bytes");
        change(|fixture| {
            fixture.segments[1].bytes = Some(vec![0; 40]);
            fixture.relocations.pop();
        })
    };
    let module = Module::read(&zeros).unwrap();
    let (constants, variables): (Vec<usize>, Vec<usize>) =
        (0..module.objects().len()).partition(|&at| module.objects()[at].kind == Kind::Constant);
    // Constants last: no gap behind the last segment.
    let order: Vec<usize> = variables.into_iter().chain(constants).collect();
    let moved = relocate(&module, &order, DENSE, LIMIT_BYTES).unwrap();
    let names: Vec<_> =
        segments(&moved.wasm).into_iter().map(|segment| (segment.1.len(), segment.2)).collect();
    assert_eq!(names.last().unwrap(), &(0, ".bss".to_owned()));
    assert_eq!(names[0].1, ".rodata");
}

#[test]
fn what_cannot_be_moved_is_refused_by_name() {
    let refused = |wasm: &[u8]| in_order(wasm, DENSE).unwrap_err();
    assert_eq!(refused(&change(|fixture| fixture.with_relocations = false)), MoveError::NoRelocations);
    let heap_base = change(|fixture| {
        fixture.symbols.push(SymbolOf { flags: 0x200, name: "__heap_base", place: Some((0, 8192, 0)) });
        let taken =
            RelocationOf { encoding: Encoding::Sleb, symbol: 7, addend: 0, at: None, lie: Some(8192) };
        fixture.relocations.push(taken);
    });
    assert_eq!(refused(&heap_base), MoveError::LinkerSymbol("__heap_base".to_owned()));
    assert_eq!(refused(&change(|fixture| fixture.bulk = true)), MoveError::DataSegments("data.drop"));
    for (at, name) in [(0, "__stack_pointer"), (1, "__heap_base")] {
        let without = change(|fixture| {
            fixture.exports.remove(at);
        });
        assert_eq!(refused(&without), MoveError::Export(name));
        // Of the other mutability.
        assert_eq!(
            refused(&change(|fixture| fixture.exports[at].1 = 1 - at as u32)),
            MoveError::Export(name)
        );
        assert_eq!(refused(&change(|fixture| fixture.exports[at].1 = 99)), MoveError::Export(name));
    }
    assert_eq!(
        refused(&change(|fixture| fixture.exports[2].1 = 1)),
        MoveError::SameGlobal("__heap_base", "__data_end")
    );
    let low = change(|fixture| fixture.segments[0].address = STACK_TOP - 64);
    assert_eq!(refused(&low), MoveError::StackNotFirst(".rodata".to_owned()));
    // An instruction's offset does not wrap around, below 0 or behind the memory; a number may.
    for (addend, encoding) in [(-4400, Encoding::Leb), (1 << 30, Encoding::Leb), (-4400, Encoding::Sleb)] {
        let wasm = change(|fixture| {
            fixture.relocations[1].addend = addend;
            fixture.relocations[1].encoding = encoding;
        });
        match encoding {
            Encoding::Leb => assert_eq!(
                refused(&wasm),
                MoveError::Unreachable {
                    object: "zeros".to_owned(),
                    addend: addend.into(),
                    address: STACK_TOP + 80,
                }
            ),
            _ => assert!(in_order(&wasm, DENSE).is_ok()),
        }
    }
    let imported =
        wat::parse_str(r#"(module (import "a" "b" (global i32)) (memory 1) (@custom "reloc.X" "\00\00"))"#);
    assert_eq!(refused(&imported.unwrap()), MoveError::ImportedGlobal);
    for memory in [
        "",
        "(import \"a\" \"b\" (memory 1))",
        "(memory 1 1 shared)",
        "(memory i64 1)",
        "(memory 1) (memory 1)",
    ] {
        let text = format!(r#"(module {memory} (func) (@custom "reloc.X" "\01\00"))"#);
        assert_eq!(refused(&wat::parse_str(text).unwrap()), MoveError::Memory, "{memory}");
    }
}

#[test]
fn what_the_caller_says_is_checked() {
    let wasm = Fixture::honest().wasm();
    let module = Module::read(&wasm).unwrap();
    for order in [&[0, 1, 2, 3, 4][..], &[0, 1, 2, 3, 4, 4], &[0, 1, 2, 3, 4, 6], &[0, 1, 2, 3, 4, 5, 5], &[]]
    {
        let moved = relocate(&module, order, DENSE, LIMIT_BYTES);
        assert_eq!(moved, Err(MoveError::Order { objects: 6 }), "{order:?}");
    }
    let order = [0, 1, 2, 3, 4, 5];
    let few = Layout::Windows { assignments: &[HERE; 5] };
    assert_eq!(
        relocate(&module, &order, few, LIMIT_BYTES),
        Err(MoveError::Assignments { given: 5, objects: 6 })
    );
    assert!(relocate(&module, &order, DENSE, 16_384).is_ok());
    let too_large = MoveError::TooLarge { bytes: 16_384, limit_bytes: 16_383 };
    assert_eq!(relocate(&module, &order, DENSE, 16_383), Err(too_large));
    assert!(matches!(relocate(&module, &order, DENSE, 0), Err(MoveError::TooLarge { .. })));
    // Claims of gigabytes cost nothing.
    let wasm = change(|fixture| fixture.symbols[5].place = Some((2, 0, 3 << 30)));
    let module = Module::read(&wasm).unwrap();
    let moved = relocate(&module, &order, DENSE, LIMIT_BYTES);
    assert!(matches!(moved, Err(MoveError::TooLarge { limit_bytes: LIMIT_BYTES, .. })));
}

/// Moves what can be read, to windows by turns.
fn try_all(wasm: &[u8]) {
    let Ok(module) = Module::read(wasm) else { return };
    let order: Vec<usize> = (0..module.objects().len()).rev().collect();
    let all = [HERE, NPU, CTM, IMEM, EMEM];
    let assignments: Vec<Assignment> = order.iter().map(|at| all[at % all.len()]).collect();
    for layout in [DENSE, Layout::Windows { assignments: &assignments }] {
        let Ok(moved) = relocate(&module, &order, layout, 1 << 20) else { continue };
        assert!(moved.plan.bytes() <= 1 << 20);
        assert!(moved.wasm.len() < 2 * wasm.len() + 1000);
        let end = |bytes: usize, address: u32| u64::from(address) + bytes as u64;
        assert!(moved.plan.initial.iter().all(|run| end(run.bytes.len(), run.address) <= moved.plan.bytes()));
        for (object, &address) in module.objects().iter().zip(&moved.addresses) {
            assert!(end(object.bytes as usize, address) <= moved.plan.bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Nothing that a module says makes reader or mover panic, or ask for more memory than allowed.
    #[test]
    fn mutated_modules_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut wasm = Fixture::honest().wasm();
        // What is behind code and data: symbols, relocations and names. Sometimes anything.
        let customs = wasm.windows(7).position(|window| window == b"linking").unwrap() - 3;
        let first = if changes[0].1 % 4 == 0 { 8 } else { customs };
        for (place, byte) in changes {
            let at = first + place.index(wasm.len() - first);
            wasm[at] = byte;
        }
        try_all(&wasm);
    }

    /// Nor do numbers at the edges of what 32 bits hold.
    #[test]
    fn claims_of_any_size_do_not_panic(
        symbol in 0usize..6,
        place in (prop::sample::select(vec![0u32, 1, 2, 3]), edge(), edge()),
        relocation in 0usize..5,
        addend in edge(),
        lie in prop::option::of(edge()),
        address in edge(),
        alignment_log2 in 0u32..40,
    ) {
        let wasm = change(|fixture| {
            fixture.symbols[symbol].place = Some(place);
            fixture.relocations[relocation].addend = addend.cast_signed();
            fixture.relocations[relocation].lie = lie;
            fixture.segments[2].alignment_log2 = alignment_log2;
            if address % 3 == 0 {
                fixture.segments[2].address = address;
            }
        });
        try_all(&wasm);
    }
}

fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..64, (1u32 << 31) - 4..(1 << 31) + 4, u32::MAX - 64..=u32::MAX, any::<u32>()]
}
