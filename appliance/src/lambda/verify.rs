//! Is this module a lambda? Judged from its bytes, before anything is compiled.

use lnic_abi as abi;
use lnic_compiler::HeaderUse;
use wasmparser::types::TypesRef;
use wasmparser::{ExternalKind, Operator, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures};

use super::writable::Variables;

/// Bytes of a WebAssembly page, unless a memory says otherwise, as a power of two.
const PAGE_BYTES_LOG2: u32 = 16;

/// What a module may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the module.
    pub module_bytes: usize,
    /// Bytes of its linear memory.
    pub memory_bytes: u64,
    /// Elements of all its tables.
    pub table_elements: u64,
    /// Functions with a body.
    pub functions: u32,
    /// Bytes of one function's body. Fuel is looked at where functions begin and loops turn: what lies between has to be short.
    pub function_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 16 << 20,
            memory_bytes: 64 << 20,
            table_elements: 10_000,
            functions: 10_000,
            function_bytes: 64 << 10,
        }
    }
}

/// What a verified module looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of linear memory, fixed.
    pub memory_bytes: u64,
    /// It exports `init`.
    pub has_init: bool,
    /// It imports `lnic.call` or `lnic.request`, so its runs may suspend.
    pub suspends: bool,
    /// It may have variables that outlive a run; false only if it is known to have none.
    pub writable_globals: bool,
    /// Header bytes that it touches; all as long as nobody has analysed it. The others are not extracted for it.
    pub header_use: HeaderUse,
}

/// Why a module is not a lambda.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// Over a limit.
    #[error("{what}: {value}, over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// How large it may be.
        limit: u64,
    },
    /// Something else altogether.
    #[error("not a WebAssembly module: `lnic build` makes one")]
    NotWasm,
    /// Not valid WebAssembly, or it uses a proposal that lambdas may not.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// An import that is not provided.
    #[error("imports \"{module}\".\"{name}\": a lambda may import {known} and nothing else", known = known_imports())]
    Import {
        /// Module of the import.
        module: String,
        /// Its name.
        name: String,
    },
    /// An import is provided, but not like this.
    #[error("imports \"{}\".\"{name}\", which is not {expected}", abi::IMPORT_MODULE)]
    ImportType {
        /// Name of the import.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A start function would run outside a budget.
    #[error("has a start function: use the export \"init\" instead")]
    Start,
    /// No memory, or several, or a shared or 64-bit one.
    #[error("needs exactly one 32-bit unshared memory of its own")]
    Memory,
    /// The memory can grow.
    #[error(
        "memory: minimum {minimum} and maximum {maximum:?} pages differ: link with --initial-memory equal to --max-memory"
    )]
    Growable {
        /// Pages at the start.
        minimum: u64,
        /// Pages at the most.
        maximum: Option<u64>,
    },
    /// Memory and tables have a fixed size.
    #[error("uses {0}: the sizes of a lambda's memory and tables are fixed")]
    Grows(&'static str),
    /// A needed export is absent.
    #[error("does not export \"{0}\": build it with `lnic build`")]
    Missing(String),
    /// An export is something else than it must be.
    #[error("export \"{name}\" is not {expected}")]
    Export {
        /// Name of the export.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Built for another ABI.
    #[error("built for ABI \"{0}\", this is {expected}", expected = abi::EXPORT_VERSION)]
    Version(String),
}

/// A function that lambdas may import from [`abi::IMPORT_MODULE`].
struct Import {
    name: &'static str,
    parameters: &'static [ValType],
    results: &'static [ValType],
    /// The same in words.
    expected: &'static str,
}

/// All of them; `host.rs` provides them.
const IMPORTS: [Import; 7] = [
    Import {
        name: abi::IMPORT_CALL,
        parameters: &[ValType::I32; 6],
        results: &[ValType::I32],
        expected: "a function (i32, i32, i32, i32, i32, i32) -> i32",
    },
    Import {
        name: abi::IMPORT_LOG,
        parameters: &[ValType::I32; 2],
        results: &[],
        expected: "a function (i32, i32) -> ()",
    },
    Import {
        name: abi::IMPORT_ENVIRONMENT,
        parameters: &[ValType::I32; 4],
        results: &[ValType::I32],
        expected: "a function (i32, i32, i32, i32) -> i32",
    },
    Import {
        name: abi::IMPORT_SECRET,
        parameters: &[ValType::I32; 4],
        results: &[ValType::I32],
        expected: "a function (i32, i32, i32, i32) -> i32",
    },
    Import {
        name: abi::IMPORT_SERVICE,
        parameters: &[ValType::I32; 2],
        results: &[ValType::I32],
        expected: "a function (i32, i32) -> i32",
    },
    Import {
        name: abi::IMPORT_REQUEST,
        parameters: &[ValType::I32; 6],
        results: &[ValType::I32],
        expected: "a function (i32, i32, i32, i32, i32, i32) -> i32",
    },
    Import {
        name: abi::IMPORT_RANDOM,
        parameters: &[],
        results: &[ValType::I64],
        expected: "a function () -> i64",
    },
];

fn known_imports() -> String {
    IMPORTS.map(|import| format!("\"{}\".\"{}\"", abi::IMPORT_MODULE, import.name)).join(", ")
}

/// Judges a module. Bounded: linear in its bytes.
pub fn verify(wasm: &[u8], entry: &str, limits: &Limits) -> Result<Shape, VerifyError> {
    within("bytes of the module", wasm.len() as u64, limits.module_bytes as u64)?;
    if !wasm.starts_with(b"\0asm") {
        return Err(VerifyError::NotWasm);
    }
    let features = WasmFeatures::WASM2
        .union(WasmFeatures::THREADS)
        .union(WasmFeatures::TAIL_CALL)
        .union(WasmFeatures::CUSTOM_PAGE_SIZES)
        .difference(WasmFeatures::MULTI_MEMORY)
        .difference(WasmFeatures::MEMORY64);
    let types = Validator::new_with_features(features)
        .validate_all(wasm)
        .map_err(|error| VerifyError::Invalid(error.to_string()))?;
    let types = types.as_ref();

    let mut memory = None;
    let mut imported = Vec::new();
    let mut variables = Variables::default();
    let mut table_elements = 0u64;
    let mut exports: Vec<(&str, ExternalKind, u32)> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        variables.see(&payload).map_err(invalid)?;
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(invalid)?;
                    imported.push(judge_import(&import, imported.len(), &types)?);
                    within("imports", imported.len() as u64, IMPORTS.len() as u64)?;
                }
            }
            Payload::StartSection { .. } => return Err(VerifyError::Start),
            Payload::FunctionSection(functions) => {
                within("functions", functions.count().into(), limits.functions.into())?;
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    table_elements = table_elements.saturating_add(table.map_err(invalid)?.ty.initial);
                    within("table elements", table_elements, limits.table_elements)?;
                }
            }
            Payload::MemorySection(memories) => {
                for found in memories {
                    let found = found.map_err(invalid)?;
                    if memory.is_some() || found.shared || found.memory64 {
                        return Err(VerifyError::Memory);
                    }
                    memory = Some(found);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                within("bytes of a function", bytes as u64, limits.function_bytes as u64)?;
                for operator in body.get_operators_reader().map_err(invalid)? {
                    match operator.map_err(invalid)? {
                        Operator::MemoryGrow { .. } => return Err(VerifyError::Grows("memory.grow")),
                        Operator::TableGrow { .. } => return Err(VerifyError::Grows("table.grow")),
                        _ => {}
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    exports.push((export.name, export.kind, export.index));
                }
            }
            _ => {}
        }
    }

    let memory = memory.ok_or(VerifyError::Memory)?;
    if memory.maximum != Some(memory.initial) {
        return Err(VerifyError::Growable { minimum: memory.initial, maximum: memory.maximum });
    }
    let memory_bytes =
        memory.initial << memory.page_size_log2.unwrap_or(PAGE_BYTES_LOG2).min(PAGE_BYTES_LOG2);
    within("bytes of memory", memory_bytes, limits.memory_bytes)?;

    let find = |name: &str| exports.iter().find(|export| export.0 == name).map(|export| (export.1, export.2));
    let function = |name: &str, parameters: &[ValType], results: &[ValType], expected: &'static str| {
        let (kind, index) = find(name).ok_or_else(|| VerifyError::Missing(name.into()))?;
        let matches = kind == ExternalKind::Func && has_signature(&types, index, parameters, results);
        if matches { Ok(()) } else { Err(VerifyError::Export { name: name.into(), expected }) }
    };
    let global = |name: &str, mutable: bool, expected: &'static str| {
        let (kind, index) = find(name).ok_or_else(|| VerifyError::Missing(name.into()))?;
        let matches = kind == ExternalKind::Global && {
            let found = types.global_at(index);
            found.content_type == ValType::I32 && (found.mutable || !mutable)
        };
        if matches { Ok(()) } else { Err(VerifyError::Export { name: name.into(), expected }) }
    };

    if find(abi::EXPORT_VERSION).is_none() {
        let other = exports.iter().find(|export| export.0.starts_with("lnic_abi_"));
        return Err(match other {
            Some(other) => VerifyError::Version(other.0.into()),
            None => VerifyError::Missing(abi::EXPORT_VERSION.into()),
        });
    }
    match find(abi::EXPORT_MEMORY) {
        Some((ExternalKind::Memory, _)) => {}
        Some(_) => return Err(VerifyError::Export { name: abi::EXPORT_MEMORY.into(), expected: "a memory" }),
        None => return Err(VerifyError::Missing(abi::EXPORT_MEMORY.into())),
    }
    global(abi::EXPORT_HEAP_BASE, false, "an i32 global")?;
    global(abi::EXPORT_STACK_POINTER, true, "a mutable i32 global")?;
    function(entry, &[ValType::I32, ValType::I32], &[ValType::I32], "a function (i32, i32) -> i32")?;
    let has_init = find(abi::EXPORT_INIT).is_some();
    if has_init {
        function(abi::EXPORT_INIT, &[], &[], "a function () -> ()")?;
    }
    let index = |name: &str| match find(name) {
        Some((ExternalKind::Global, index)) => Some(index),
        _ => None,
    };
    let writable_globals = index(abi::EXPORT_STACK_POINTER)
        .is_none_or(|stack_pointer| variables.writable(stack_pointer, index(abi::EXPORT_DATA_END)));
    Ok(Shape {
        memory_bytes,
        has_init,
        suspends: [abi::IMPORT_CALL, abi::IMPORT_REQUEST].iter().any(|name| imported.contains(name)),
        writable_globals,
        header_use: HeaderUse::all(),
    })
}

/// The name of an import that is provided. `function` is its index, as only functions may be imported.
fn judge_import(
    import: &wasmparser::Import<'_>,
    function: usize,
    types: &TypesRef<'_>,
) -> Result<&'static str, VerifyError> {
    let known = IMPORTS.iter().find(|known| import.module == abi::IMPORT_MODULE && import.name == known.name);
    let Some(known) = known else {
        return Err(VerifyError::Import { module: import.module.into(), name: import.name.into() });
    };
    let matches = matches!(import.ty, TypeRef::Func(_))
        && u32::try_from(function)
            .is_ok_and(|function| has_signature(types, function, known.parameters, known.results));
    if matches {
        Ok(known.name)
    } else {
        Err(VerifyError::ImportType { name: known.name.into(), expected: known.expected })
    }
}

fn has_signature(types: &TypesRef<'_>, function: u32, parameters: &[ValType], results: &[ValType]) -> bool {
    let signature = types.get(types.core_function_at(function)).map(|subtype| &subtype.composite_type.inner);
    matches!(signature, Some(wasmparser::CompositeInnerType::Func(signature))
        if signature.params() == parameters && signature.results() == results)
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), VerifyError> {
    if value <= limit { Ok(()) } else { Err(VerifyError::Limit { what, value, limit }) }
}

fn invalid(error: wasmparser::BinaryReaderError) -> VerifyError {
    VerifyError::Invalid(error.to_string())
}
