//! A copy of a module that writes down every access to memory before it happens.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    MemArg, MemorySection, MemoryType, Module, RawSection, TypeSection, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Bytes of a record: position, address, bytes.
pub(crate) const RECORD_BYTES: usize = 12;
/// Pages of the memory for records.
pub(crate) const LOG_PAGES: u64 = 256;

/// Adds a memory `log` and a global `log_end`: twelve bytes for each access, as little-endian words.
pub(crate) fn traced(wasm: &[u8]) -> Vec<u8> {
    let mut module = Module::new();
    let mut same = RoundtripReencoder;
    let (mut imports, mut logger, mut end, mut signature) = (0, 0, 0, 0);
    let mut types: Vec<wasmparser::FuncType> = Vec::new();
    let mut of_function: Vec<u32> = Vec::new();
    let mut code = CodeSection::new();
    let mut left = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("a valid module") {
            Payload::TypeSection(section) => {
                types.extend(section.clone().into_iter_err_on_gc_types().map(|it| it.expect("a type")));
                let mut all = TypeSection::new();
                same.parse_type_section(&mut all, section).expect("types");
                signature = all.len();
                all.ty().function([ValType::I32; 4], [ValType::I32]);
                module.section(&all);
            }
            Payload::ImportSection(section) => {
                imports += section.count();
                panic!("{imports} imports");
            }
            Payload::FunctionSection(section) => {
                of_function.extend(section.clone().into_iter().map(|it| it.expect("a function")));
                logger = section.count();
                let mut all = FunctionSection::new();
                same.parse_function_section(&mut all, section).expect("functions");
                all.function(signature);
                module.section(&all);
            }
            Payload::MemorySection(section) => {
                let mut all = MemorySection::new();
                same.parse_memory_section(&mut all, section).expect("memories");
                all.memory(MemoryType {
                    minimum: LOG_PAGES,
                    maximum: Some(LOG_PAGES),
                    memory64: false,
                    shared: false,
                    page_size_log2: None,
                });
                module.section(&all);
            }
            Payload::GlobalSection(section) => {
                end = section.count();
                let mut all = GlobalSection::new();
                same.parse_global_section(&mut all, section).expect("globals");
                let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
                all.global(ty, &ConstExpr::i32_const(0));
                module.section(&all);
            }
            Payload::ExportSection(section) => {
                let mut all = ExportSection::new();
                same.parse_export_section(&mut all, section).expect("exports");
                all.export("log", ExportKind::Memory, 1).export("log_end", ExportKind::Global, end);
                module.section(&all);
            }
            Payload::CodeSectionStart { count, .. } => left = count,
            Payload::CodeSectionEntry(body) => {
                let at = code.len() as usize;
                let parameters = types[of_function[at] as usize].params().len() as u32;
                code.function(&function(wasm, &body, parameters, logger));
                left -= 1;
                if left == 0 {
                    code.function(&log(end));
                    module.section(&code);
                }
            }
            Payload::CustomSection(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    module.finish()
}

/// `(address, offset, position, bytes) -> address`: makes a record.
fn log(end: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    let word = |offset| MemArg { offset, align: 2, memory_index: 1 };
    code.global_get(end).local_get(2).i32_store(word(0));
    code.global_get(end).local_get(0).local_get(1).i32_add().i32_store(word(4));
    code.global_get(end).local_get(3).i32_store(word(8));
    code.global_get(end).i32_const(RECORD_BYTES as i32).i32_add().global_set(end);
    code.local_get(0).end();
    function
}

/// What lies above the address on the operand stack, and how many bytes are accessed.
enum Shape {
    Plain(&'static [ValType], i32, u64),
    Copy,
    Fill,
}

fn shape(operator: &Operator<'_>) -> Option<Shape> {
    use Operator as O;
    use Shape::{Copy, Fill, Plain};
    use ValType::{F32, F64, I32, I64, V128};
    Some(match operator {
        O::MemoryCopy { .. } => Copy,
        O::MemoryFill { .. } => Fill,
        O::I32Load { memarg }
        | O::F32Load { memarg }
        | O::I64Load32U { memarg }
        | O::I64Load32S { memarg }
        | O::V128Load32Zero { memarg }
        | O::V128Load32Splat { memarg }
        | O::I32AtomicLoad { memarg } => Plain(&[], 4, memarg.offset),
        O::I64Load { memarg }
        | O::F64Load { memarg }
        | O::V128Load64Zero { memarg }
        | O::V128Load64Splat { memarg }
        | O::V128Load8x8U { memarg }
        | O::V128Load8x8S { memarg }
        | O::V128Load16x4U { memarg }
        | O::V128Load16x4S { memarg }
        | O::V128Load32x2U { memarg }
        | O::V128Load32x2S { memarg } => Plain(&[], 8, memarg.offset),
        O::I32Load8U { memarg }
        | O::I32Load8S { memarg }
        | O::I64Load8U { memarg }
        | O::I64Load8S { memarg }
        | O::V128Load8Splat { memarg } => Plain(&[], 1, memarg.offset),
        O::I32Load16U { memarg }
        | O::I32Load16S { memarg }
        | O::I64Load16U { memarg }
        | O::I64Load16S { memarg }
        | O::V128Load16Splat { memarg } => Plain(&[], 2, memarg.offset),
        O::V128Load { memarg } => Plain(&[], 16, memarg.offset),
        O::I32Store { memarg } | O::I32AtomicRmwAdd { memarg } | O::I32AtomicStore { memarg } => {
            Plain(&[I32], 4, memarg.offset)
        }
        O::I32AtomicRmwCmpxchg { memarg } => Plain(&[I32, I32], 4, memarg.offset),
        O::I32Store8 { memarg } => Plain(&[I32], 1, memarg.offset),
        O::I32Store16 { memarg } => Plain(&[I32], 2, memarg.offset),
        O::I64Store { memarg } => Plain(&[I64], 8, memarg.offset),
        O::I64Store8 { memarg } => Plain(&[I64], 1, memarg.offset),
        O::I64Store16 { memarg } => Plain(&[I64], 2, memarg.offset),
        O::I64Store32 { memarg } => Plain(&[I64], 4, memarg.offset),
        O::F32Store { memarg } => Plain(&[F32], 4, memarg.offset),
        O::F64Store { memarg } => Plain(&[F64], 8, memarg.offset),
        O::V128Store { memarg } => Plain(&[V128], 16, memarg.offset),
        O::V128Load8Lane { memarg, .. } | O::V128Store8Lane { memarg, .. } => {
            Plain(&[V128], 1, memarg.offset)
        }
        O::V128Load16Lane { memarg, .. } | O::V128Store16Lane { memarg, .. } => {
            Plain(&[V128], 2, memarg.offset)
        }
        O::V128Load32Lane { memarg, .. } | O::V128Store32Lane { memarg, .. } => {
            Plain(&[V128], 4, memarg.offset)
        }
        O::V128Load64Lane { memarg, .. } | O::V128Store64Lane { memarg, .. } => {
            Plain(&[V128], 8, memarg.offset)
        }
        other => {
            let name = format!("{other:?}");
            let touches = ["Load", "Store", "Atomic", "MemoryInit"].iter().any(|it| name.contains(it));
            assert!(!touches || name == "AtomicFence", "{name} is not traced");
            return None;
        }
    })
}

fn function(wasm: &[u8], body: &FunctionBody<'_>, parameters: u32, logger: u32) -> Function {
    let mut same = RoundtripReencoder;
    let mut locals = Vec::new();
    for declared in body.get_locals_reader().expect("locals") {
        let (count, ty) = declared.expect("a local");
        locals.push((count, same.val_type(ty).expect("a type")));
    }
    // Two of each type to put operands aside.
    let first = parameters + locals.iter().map(|it| it.0).sum::<u32>();
    let kinds = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
    locals.extend(kinds.map(|kind| (2, kind)));
    let spare = |kind: ValType, which: u32| {
        first + 2 * kinds.iter().position(|it| *it == kind).expect("a kind") as u32 + which
    };
    let mut function = Function::new(locals);
    let mut reader = body.get_operators_reader().expect("operators");
    while !reader.eof() {
        let (operator, position) = reader.read_with_offset().expect("an operator");
        let end = reader.original_position();
        let (a, b) = (spare(ValType::I32, 0), spare(ValType::I32, 1));
        let at = position as i32;
        let mut code = function.instructions();
        match shape(&operator) {
            Some(Shape::Plain(above, bytes, offset)) => {
                for (which, kind) in above.iter().enumerate().rev() {
                    code.local_set(spare(*kind, which as u32));
                }
                code.i32_const(offset as u32 as i32).i32_const(at).i32_const(bytes).call(logger);
                for (which, kind) in above.iter().enumerate() {
                    code.local_get(spare(*kind, which as u32));
                }
            }
            Some(Shape::Copy) => {
                code.local_set(b).i32_const(0).i32_const(at).local_get(b).call(logger).local_set(a);
                code.i32_const(0).i32_const(at).local_get(b).call(logger).local_get(a).local_get(b);
            }
            Some(Shape::Fill) => {
                code.local_set(b).local_set(a).i32_const(0).i32_const(at).local_get(b).call(logger);
                code.local_get(a).local_get(b);
            }
            None => {}
        }
        function.raw(wasm[position..end].iter().copied());
    }
    function
}
