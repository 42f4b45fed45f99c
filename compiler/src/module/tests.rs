use super::*;
use crate::fixture::{Fixture, RelocationOf, STACK_TOP, SymbolOf};

fn error(change: impl FnOnce(&mut Fixture)) -> String {
    let mut fixture = Fixture::honest();
    change(&mut fixture);
    Module::read(&fixture.wasm()).unwrap_err().to_string()
}

#[test]
fn symbols_become_objects_and_relocations_references() {
    let wasm = Fixture::honest().wasm();
    wasmparser::validate(&wasm).unwrap();
    let module = Module::read(&wasm).unwrap();
    assert!(module.is_movable() && module.unplaced().is_empty());
    let objects: Vec<_> = module
        .objects()
        .iter()
        .map(|object| {
            (object.name.as_str(), object.address - STACK_TOP, object.bytes, object.alignment, object.kind)
        })
        .collect();
    assert_eq!(
        objects,
        [
            ("text", 0, 10, 16, Kind::Constant),
            // Two symbols of which one is the other's end; the greater alignment counts.
            ("more", 10, 16, 4, Kind::Constant),
            ("numbers", 32, 33, 16, Kind::Variable),
            // Bytes that say something belong to somebody.
            (".data+33", 65, 3, 1, Kind::Variable),
            ("pointer", 68, 4, 4, Kind::Variable),
            ("zeros", 80, 300, 16, Kind::Variable),
        ]
    );
    let references: Vec<_> = module
        .references()
        .iter()
        .map(|reference| {
            (module.objects()[reference.object].name.as_str(), reference.encoding, reference.addend)
        })
        .collect();
    assert_eq!(
        references,
        [
            ("text", Encoding::Sleb, 3),
            ("zeros", Encoding::Leb, 8),
            ("numbers", Encoding::Sleb, -50),
            // From the symbol's start to that of its object.
            ("more", Encoding::Sleb, 16),
            ("zeros", Encoding::I32, 300),
        ]
    );
    assert_eq!(module.object_at(STACK_TOP + 64), Some(2));
    assert_eq!(module.object_at(STACK_TOP + 26), None);
    assert_eq!(module.object_at(STACK_TOP + 380), None);
    assert_eq!(module.object_at(0), None);
    assert_eq!(module.segments()[2].bytes, 300);
}

#[test]
fn without_relocations_objects_are_known_and_cannot_be_moved() {
    let mut fixture = Fixture::honest();
    fixture.with_relocations = false;
    let wasm = fixture.wasm();
    let module = Module::read(&wasm).unwrap();
    // Zeroed variables follow the last segment.
    assert_eq!(module.objects().last().unwrap().range(), STACK_TOP + 80..STACK_TOP + 380);
    assert!(!module.is_movable() && module.references().is_empty());
    // Nor without symbols: a segment is one object, even of zeros.
    let wasm = wat::parse_str(
        r#"(module (memory 1) (data $.rodata (i32.const 64) "ab") (data $.imem (i32.const 128) "\00"))"#,
    )
    .unwrap();
    let module = Module::read(&wasm).unwrap();
    let found: Vec<_> =
        module.objects().iter().map(|object| (object.name.as_str(), object.range())).collect();
    assert_eq!(found, [(".rodata+0", 64..66), (".imem+0", 128..129)]);
    assert_eq!(module.objects()[1].wanted, Some(Tier::Imem));
}

#[test]
fn sections_say_what_an_object_is_and_where_it_wants_to_be() {
    for (name, kind, wanted) in [
        (".rodata", Kind::Constant, None),
        (".rodata.cst16", Kind::Constant, None),
        (".data", Kind::Variable, None),
        (".local", Kind::Variable, Some(Tier::Local)),
        (".ctm.hot", Kind::Variable, Some(Tier::Ctm)),
        (".imem.const", Kind::Constant, Some(Tier::Imem)),
        (".emem", Kind::Variable, Some(Tier::Emem)),
        (".emem.const", Kind::Constant, Some(Tier::Emem)),
        (".ememory", Kind::Variable, None),
        (".data.const", Kind::Variable, None),
        (".rodatum", Kind::Variable, None),
        ("emem", Kind::Variable, None),
        ("", Kind::Variable, None),
    ] {
        let mut fixture = Fixture::honest();
        fixture.segments[1].name = name;
        let wasm = fixture.wasm();
        let object = Module::read(&wasm).unwrap().objects()[2].clone();
        assert_eq!((object.kind, object.wanted), (kind, wanted), "{name}");
    }
}

#[test]
fn addresses_that_belong_to_no_object_are_named() {
    let mut fixture = Fixture::honest();
    // Flag: an absolute address.
    fixture.symbols.push(SymbolOf { flags: 0x200, name: "__heap_base", place: Some((0, 8192, 0)) });
    let reference =
        RelocationOf { encoding: Encoding::Sleb, symbol: 7, addend: 0, at: None, lie: Some(8192) };
    fixture.relocations.push(reference.clone());
    let wasm = fixture.wasm();
    let module = Module::read(&wasm).unwrap();
    assert_eq!(module.unplaced().iter().map(|unplaced| &*unplaced.name).collect::<Vec<_>>(), ["__heap_base"]);
    // A weak symbol that nobody defines is at 0; if it is not, nobody knows why.
    for (lie, unplaced) in [(0, 0), (64, 1)] {
        let mut fixture = Fixture::honest();
        fixture.relocations.push(RelocationOf { symbol: 6, lie: Some(lie), ..reference.clone() });
        assert_eq!(Module::read(&fixture.wasm()).unwrap().unplaced().len(), unplaced);
    }
}

#[test]
fn lies_are_found_out() {
    let numbers = |fixture: &mut Fixture, place| fixture.symbols[4].place = Some(place);
    // A symbol that reaches behind its segment reaches into the next one.
    assert!(error(|fixture| numbers(fixture, (1, 0, 49))).ends_with("\"numbers\" and \"zeros\" overlap"));
    assert!(
        error(|fixture| numbers(fixture, (1, u32::MAX, u32::MAX))).ends_with("\"numbers\" ends behind 4 GiB")
    );
    assert!(error(|fixture| numbers(fixture, (1, 0, u32::MAX))).ends_with("segment 1 ends behind 4 GiB"));
    assert!(
        error(|fixture| numbers(fixture, (9, 0, 4)))
            .ends_with("\"numbers\" is in segment 9, which is not there")
    );
    assert!(error(|fixture| fixture.segments[1].address = STACK_TOP + 8).contains("overlap"));
    assert!(
        error(|fixture| fixture.segments[2].address = u32::MAX - 8).ends_with("segment 2 ends behind 4 GiB")
    );
    // The address is another one.
    assert!(
        error(|fixture| fixture.relocations[0].lie = Some(STACK_TOP + 4))
            .ends_with("holds 0x1004, and \"text\" is at 0x1003")
    );
    assert!(error(|fixture| fixture.relocations[4].lie = Some(0)).contains("and \"zeros\" is at"));
    // There is none, or not there.
    for shift in [1, 2, 1000, u32::MAX - 200] {
        assert!(error(|fixture| fixture.shift = shift).contains("no address at byte"), "{shift}");
    }
    assert!(
        error(|fixture| fixture.relocations[0].symbol = 77).ends_with("symbol 77 is not data, or not there")
    );
    // Twice the same place.
    let twice = error(|fixture| fixture.relocations.push(fixture.relocations[4].clone()));
    assert!(twice.contains("two relocations of byte"), "{twice}");
    // Half of it in one object, and half behind it.
    let loose = error(|fixture| fixture.relocations[4].at = Some((1, 30)));
    assert!(loose.contains("outside all objects"), "{loose}");
}

#[test]
fn what_is_no_plain_module_is_refused() {
    assert!(matches!(Module::read(b""), Err(ModuleError::Invalid(_))));
    assert!(matches!(Module::read(b"\0asm\x0d\0\x01\0"), Err(ModuleError::Invalid(_))));
    let wasm = Fixture::honest().wasm();
    assert!((9..wasm.len()).all(|bytes| bytes == wasm.len() || {
        // Cut at a section's end it may still be a module.
        Module::read(&wasm[..bytes]).map(|module| module.references().len() < 6).unwrap_or(true)
    }));
    let passive = wat::parse_str(r#"(module (memory 1) (data "passive"))"#).unwrap();
    let error = Module::read(&passive).unwrap_err().to_string();
    assert!(error.ends_with("data segment 0 is passive, or its address is no constant"), "{error}");
    // Counts of more than there is: segments of the data section, symbols, relocations.
    let claims: [&[u8]; 3] = [
        b"\x0b\x06\xff\xff\xff\xff\x0f\x00",
        b"\x00\x10\x07linking\x02\x08\x05\xff\xff\xff\xff\x0f",
        b"\x00\x11\x0areloc.CODE\x00\xff\xff\xff\xff\x0f",
    ];
    for claim in claims {
        let wasm = [b"\0asm\x01\0\0\0", claim].concat();
        assert!(matches!(Module::read(&wasm), Err(ModuleError::Invalid(_))), "{claim:?}");
    }
}
