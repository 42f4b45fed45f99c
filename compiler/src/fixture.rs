//! Modules as a linker writes them, made by hand so that they can lie.

use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, Encode, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, MemorySection, MemoryType, NameMap, NameSection, Section,
    TypeSection, ValType,
};

use crate::module::{Encoding, encode};

/// Address of the first segment: the top of the stack.
pub(crate) const STACK_TOP: u32 = 4096;

/// A data segment, or zeroed variables if it has no bytes of its own.
#[derive(Clone)]
pub(crate) struct SegmentOf {
    pub(crate) name: &'static str,
    pub(crate) address: u32,
    pub(crate) alignment_log2: u32,
    /// `None`: it is not in the data section.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// A data symbol: flags, name, and segment, offset and bytes.
#[derive(Clone)]
pub(crate) struct SymbolOf {
    pub(crate) flags: u32,
    pub(crate) name: &'static str,
    pub(crate) place: Option<(u32, u32, u32)>,
}

/// A relocation. Its place is found by its order in code, or is said: segment and offset.
#[derive(Clone)]
pub(crate) struct RelocationOf {
    pub(crate) encoding: Encoding,
    pub(crate) symbol: u32,
    pub(crate) addend: i32,
    pub(crate) at: Option<(usize, usize)>,
    /// What is written instead of the address.
    pub(crate) lie: Option<u32>,
}

/// What a module is made of.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) segments: Vec<SegmentOf>,
    pub(crate) symbols: Vec<SymbolOf>,
    pub(crate) relocations: Vec<RelocationOf>,
    /// Added to the offsets in relocation sections.
    pub(crate) shift: u32,
    /// A data count section, and instructions that need it.
    pub(crate) bulk: bool,
    pub(crate) exports: Vec<(&'static str, u32)>,
    pub(crate) with_relocations: bool,
}

impl Fixture {
    /// Constants, variables and zeroed variables; each is referred to from code, and one from data.
    pub(crate) fn honest() -> Self {
        let segment = |name, address, bytes: Option<&[u8]>| SegmentOf {
            name,
            address,
            alignment_log2: 4,
            bytes: bytes.map(<[u8]>::to_vec),
        };
        let mut variables = [7; 40];
        variables[36..].fill(0);
        let symbol =
            |name, segment, offset, bytes| SymbolOf { flags: 4, name, place: Some((segment, offset, bytes)) };
        let relocation =
            |encoding, symbol, addend| RelocationOf { encoding, symbol, addend, at: None, lie: None };
        Self {
            segments: vec![
                segment(".rodata", STACK_TOP, Some(b"constants and more of them")),
                segment(".data", STACK_TOP + 32, Some(&variables)),
                segment(".bss", STACK_TOP + 80, None),
            ],
            symbols: vec![
                symbol("text", 0, 0, 10),
                symbol("more", 0, 10, 16),
                symbol("end_of_more", 0, 20, 6),
                symbol("pointer", 1, 36, 4),
                symbol("numbers", 1, 0, 33),
                symbol("zeros", 2, 0, 300),
                SymbolOf { flags: 0x11, name: "nobody", place: None },
            ],
            relocations: vec![
                relocation(Encoding::Sleb, 0, 3),
                relocation(Encoding::Leb, 5, 8),
                relocation(Encoding::Sleb, 4, -50),
                relocation(Encoding::Sleb, 2, 6),
                RelocationOf { at: Some((1, 36)), ..relocation(Encoding::I32, 5, 300) },
            ],
            shift: 0,
            bulk: false,
            exports: vec![("__stack_pointer", 0), ("__heap_base", 1), ("__data_end", 2)],
            with_relocations: true,
        }
    }

    /// The address that a relocation writes.
    fn value(&self, relocation: &RelocationOf) -> u32 {
        let place = self.symbols.get(relocation.symbol as usize).and_then(|symbol| symbol.place);
        let address = place.and_then(|(segment, offset, _)| {
            Some(self.segments.get(segment as usize)?.address.wrapping_add(offset))
        });
        relocation.lie.unwrap_or(address.map_or(0, |address| address.wrapping_add_signed(relocation.addend)))
    }

    /// The module's bytes.
    pub(crate) fn wasm(&self) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32, ValType::I32], [ValType::I32]);
        module.section(&types);
        let mut functions = FunctionSection::new();
        functions.function(0);
        module.section(&functions);
        let mut memories = MemorySection::new();
        let memory =
            MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None };
        memories.memory(memory);
        module.section(&memories);
        let mut globals = GlobalSection::new();
        for (mutable, value) in [(true, STACK_TOP), (false, 8192), (false, 8000)] {
            let global = GlobalType { val_type: ValType::I32, mutable, shared: false };
            globals.global(global, &ConstExpr::i32_const(value.cast_signed()));
        }
        module.section(&globals);
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0).export("entry", ExportKind::Func, 0);
        for (name, global) in &self.exports {
            exports.export(name, ExportKind::Global, *global);
        }
        module.section(&exports);
        if self.bulk {
            let count = self.segments.iter().filter(|segment| segment.bytes.is_some()).count();
            module.section(&wasm_encoder::DataCountSection { count: count as u32 });
        }

        // Contents of code and data, with the places of what is relocated in them.
        let mut body = vec![];
        let mut in_code = Vec::new();
        for relocation in self.relocations.iter().filter(|relocation| relocation.at.is_none()) {
            match relocation.encoding {
                Encoding::Sleb => body.push(0x41),
                // local.get 0, i32.load with alignment 0.
                _ => body.extend([0x20, 0, 0x28, 0]),
            }
            in_code.push((body.len(), relocation));
            body.extend([0; 5]);
            encode(&mut body, in_code[in_code.len() - 1].0, relocation.encoding, self.value(relocation));
            body.push(0x1A);
        }
        if self.bulk {
            // data.drop 0
            body.extend([0xFC, 9, 0]);
        }
        // A result, and the end.
        body.extend([0x41, 0, 0x0B]);
        let mut function = Function::new([]);
        function.raw(body.iter().copied());
        let mut code = CodeSection::new();
        code.function(&function);
        // Count, size and locals come before the body.
        let before_body = contents(&code).len() - body.len();
        let mut data = DataSection::new();
        let mut in_data = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            let Some(bytes) = &segment.bytes else { continue };
            let mut bytes = bytes.clone();
            let mut places = Vec::new();
            for relocation in &self.relocations {
                if let Some((_, offset)) = relocation.at.filter(|place| place.0 == at) {
                    encode(&mut bytes, offset, Encoding::I32, self.value(relocation));
                    places.push((offset, relocation));
                }
            }
            data.active(0, &ConstExpr::i32_const(segment.address.cast_signed()), bytes.iter().copied());
            let start = contents(&data).len() - bytes.len();
            in_data.extend(places.into_iter().map(|(offset, relocation)| (start + offset, relocation)));
        }
        module.section(&code).section(&data);
        let code_place = if self.bulk { 6 } else { 5 };
        module.section(&self.linking());
        if self.with_relocations {
            module.section(&self.relocation_section("reloc.CODE", code_place, &in_code, before_body));
            module.section(&self.relocation_section("reloc.DATA", code_place + 1, &in_data, 0));
        }
        let mut names = NameSection::new();
        let mut functions = NameMap::new();
        functions.append(0, "entry_function");
        names.functions(&functions);
        let mut segments = NameMap::new();
        let backed = self.segments.iter().filter(|segment| segment.bytes.is_some());
        for (at, segment) in (0u32..).zip(backed) {
            segments.append(at, segment.name);
        }
        names.data(&segments);
        module.section(&names);
        module.finish()
    }

    fn linking(&self) -> CustomSection<'static> {
        let mut symbols = Vec::new();
        self.symbols.len().encode(&mut symbols);
        for symbol in &self.symbols {
            symbols.push(1);
            symbol.flags.encode(&mut symbols);
            symbol.name.encode(&mut symbols);
            if let Some((segment, offset, bytes)) = symbol.place {
                [segment, offset, bytes].iter().for_each(|number| number.encode(&mut symbols));
            }
        }
        let mut info = Vec::new();
        self.segments.len().encode(&mut info);
        for segment in &self.segments {
            segment.name.encode(&mut info);
            segment.alignment_log2.encode(&mut info);
            info.push(0);
        }
        let mut data = vec![2];
        for (id, part) in [(8, symbols), (5, info)] {
            data.push(id);
            part.encode(&mut data);
        }
        CustomSection { name: "linking".into(), data: data.into() }
    }

    fn relocation_section(
        &self,
        name: &'static str,
        section: u32,
        relocations: &[(usize, &RelocationOf)],
        base: usize,
    ) -> CustomSection<'static> {
        let mut data = Vec::new();
        section.encode(&mut data);
        relocations.len().encode(&mut data);
        for (offset, relocation) in relocations {
            data.push(match relocation.encoding {
                Encoding::Leb => 3,
                Encoding::Sleb => 4,
                Encoding::I32 => 5,
            });
            ((base + offset) as u32 + self.shift).encode(&mut data);
            relocation.symbol.encode(&mut data);
            relocation.addend.encode(&mut data);
        }
        CustomSection { name: name.into(), data: data.into() }
    }
}

/// What a section consists of, behind its length.
fn contents(section: &impl Section) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    let mut reader = wasmparser::BinaryReader::new(&bytes, 0);
    let length = reader.read_var_u32().unwrap() as usize;
    bytes[bytes.len() - length..].to_vec()
}
