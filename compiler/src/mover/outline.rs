//! What the mover has to know of a module.

use lnic_abi as abi;
use wasmparser::{BinaryReader, ExternalKind, Operator, Parser, Payload, TypeRef, ValType};

use super::{MoveError, invalid};

/// Where a module keeps what moving changes.
pub(super) struct Outline {
    /// The stack's first address; it grows down, to 0.
    pub(super) stack_top: u32,
    /// Index of the global `__heap_base`.
    pub(super) heap_base: u32,
    /// Index of the global `__data_end`, if it is exported.
    pub(super) data_end: Option<u32>,
}

/// A global that the module defines.
struct Global {
    is_i32: bool,
    mutable: bool,
    value: Option<u32>,
}

impl Outline {
    pub(super) fn read(wasm: &[u8]) -> Result<Self, MoveError> {
        let mut memories = 0;
        let mut globals = Vec::new();
        let (mut stack_pointer, mut heap_base, mut data_end) = (None, None, None);
        let mut numbers_segments = false;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import.map_err(invalid)?.ty {
                            TypeRef::Memory(_) => return Err(MoveError::Memory),
                            TypeRef::Global(_) => return Err(MoveError::ImportedGlobal),
                            _ => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory.map_err(invalid)?;
                        memories += 1;
                        if memory.shared || memory.memory64 {
                            return Err(MoveError::Memory);
                        }
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global.map_err(invalid)?;
                        globals.push(Global {
                            is_i32: global.ty.content_type == ValType::I32,
                            mutable: global.ty.mutable,
                            value: constant(global.init_expr.get_binary_reader()),
                        });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.map_err(invalid)?;
                        let index = (export.kind == ExternalKind::Global).then_some(export.index);
                        match export.name {
                            abi::EXPORT_STACK_POINTER => stack_pointer = index,
                            abi::EXPORT_HEAP_BASE => heap_base = index,
                            abi::EXPORT_DATA_END => data_end = Some(index),
                            _ => {}
                        }
                    }
                }
                // Without the section, no instruction can name a segment.
                Payload::DataCountSection { .. } => numbers_segments = true,
                Payload::CodeSectionEntry(body) if numbers_segments => {
                    for operator in body.get_operators_reader().map_err(invalid)? {
                        match operator.map_err(invalid)? {
                            Operator::MemoryInit { .. } => {
                                return Err(MoveError::DataSegments("memory.init"));
                            }
                            Operator::DataDrop { .. } => return Err(MoveError::DataSegments("data.drop")),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if memories != 1 {
            return Err(MoveError::Memory);
        }
        let global = |name: &'static str, index: Option<u32>, mutable: bool| {
            index
                .and_then(|index| Some((index, globals.get(index as usize)?)))
                .filter(|(_, global)| global.is_i32 && global.mutable == mutable)
                .and_then(|(index, global)| Some((index, global.value?)))
                .ok_or(MoveError::Export(name))
        };
        let (_, stack_top) = global(abi::EXPORT_STACK_POINTER, stack_pointer, true)?;
        let (heap_base, _) = global(abi::EXPORT_HEAP_BASE, heap_base, false)?;
        let data_end = match data_end {
            Some(index) => Some(global(abi::EXPORT_DATA_END, index, false)?.0),
            None => None,
        };
        if data_end == Some(heap_base) {
            return Err(MoveError::SameGlobal(abi::EXPORT_HEAP_BASE, abi::EXPORT_DATA_END));
        }
        Ok(Self { stack_top, heap_base, data_end })
    }
}

/// The value of an expression that is one `i32.const`.
fn constant(expression: BinaryReader<'_>) -> Option<u32> {
    let mut operators = wasmparser::OperatorsReader::new(expression);
    match (operators.read().ok()?, operators.read().ok()?) {
        (Operator::I32Const { value }, Operator::End) => Some(value.cast_unsigned()),
        _ => None,
    }
}
