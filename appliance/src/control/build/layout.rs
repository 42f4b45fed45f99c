//! Where a linked module has its stack and data, and what it exports.

use lnic_abi as abi;
use wasmparser::{
    CompositeInnerType, ExternalKind, Operator, Parser, Payload, ValType, Validator, WasmFeatures,
};

use super::BuildError;

/// What a lambda's memory is a multiple of: a page of the machine's.
const MEMORY_GRANULE: u64 = 4_096;

/// What the first link tells about the module.
pub(super) struct Layout {
    /// First byte behind stack and data.
    pub(super) heap_base: u32,
    /// First byte behind the stack.
    pub(super) stack_top: u32,
    /// Entry functions, in the module's order.
    pub(super) entries: Vec<String>,
}

impl Layout {
    /// Holds stack, data and the I/O area.
    pub(super) fn memory_bytes(&self) -> u64 {
        let io = u64::from(self.heap_base).next_multiple_of(abi::IO_ALIGN as u64);
        (io + abi::IO_BYTES as u64).next_multiple_of(MEMORY_GRANULE)
    }

    pub(super) fn read(module: &[u8]) -> Result<Self, BuildError> {
        let unreadable = |error: wasmparser::BinaryReaderError| BuildError::Module(error.to_string());
        let types =
            Validator::new_with_features(WasmFeatures::all()).validate_all(module).map_err(unreadable)?;
        let types = types.as_ref();
        let is_entry = |function: u32| {
            matches!(&types[types.core_function_at(function)].composite_type.inner, CompositeInnerType::Func(signature)
                if signature.params() == [ValType::I32, ValType::I32] && signature.results() == [ValType::I32])
        };
        // A module that imports globals is refused right after, so their indices need not count imports.
        let mut globals = Vec::new();
        let (mut heap_base, mut stack_top, mut entries) = (None, None, Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(unreadable)? {
                Payload::GlobalSection(section) => {
                    for global in section {
                        let value = global.map_err(unreadable)?.init_expr.get_operators_reader().read();
                        globals.push(match value.map_err(unreadable)? {
                            Operator::I32Const { value } => Some(value.cast_unsigned()),
                            _ => None,
                        });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.map_err(unreadable)?;
                        let value = || globals.get(export.index as usize).copied().flatten();
                        match (export.kind, export.name) {
                            (ExternalKind::Global, abi::EXPORT_HEAP_BASE) => heap_base = value(),
                            (ExternalKind::Global, abi::EXPORT_STACK_POINTER) => stack_top = value(),
                            (ExternalKind::Func, name) if is_entry(export.index) => {
                                entries.push(name.to_owned())
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let missing = |name: &str| BuildError::Module(format!("no constant \"{name}\""));
        Ok(Self {
            heap_base: heap_base.ok_or_else(|| missing(abi::EXPORT_HEAP_BASE))?,
            stack_top: stack_top.ok_or_else(|| missing(abi::EXPORT_STACK_POINTER))?,
            entries,
        })
    }
}
