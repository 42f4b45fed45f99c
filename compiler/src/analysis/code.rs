//! A module's functions, tables and globals, as far as the analysis needs them.

use std::rc::Rc;

use lnic_abi as abi;
use wasmparser::{
    ConstExpr, ElementItems, ExternalKind, FuncType, FunctionBody, KnownCustom, Name, Operator, Parser,
    Payload, TypeRef, Validator, WasmFeatures,
};

use super::AnalysisError;
use super::step::{Step, step};
use crate::module::Module;

/// A call that the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostCall {
    Call,
    Log,
    /// `environment`, `secret`.
    Value,
    Service,
    Request,
    Random,
}

/// A function of the module, reduced.
pub(super) struct Body {
    pub(super) steps: Vec<Step>,
    /// Position in the file of each step.
    pub(super) positions: Vec<usize>,
    /// How many loops each step is in, capped.
    pub(super) depths: Vec<u8>,
    /// Locals besides the parameters.
    pub(super) locals: u32,
}

/// What the code section and those before it say.
pub(super) struct Code<'a> {
    module: &'a Module<'a>,
    pub(super) types: Vec<FuncType>,
    /// By function index: its type. Imported ones come first.
    signatures: Vec<u32>,
    pub(super) imports: Vec<HostCall>,
    bodies: Vec<FunctionBody<'a>>,
    decoded: Vec<Option<Rc<Body>>>,
    /// Functions whose reference exists: what a table may hold, by index.
    referenced: Vec<u32>,
    exports: Vec<(&'a str, u32)>,
    names: Vec<Option<&'a str>>,
    /// By index: what each global begins with.
    pub(super) globals: Vec<Option<i64>>,
    /// The global that is the stack pointer.
    pub(super) stack_pointer: Option<u32>,
}

impl<'a> Code<'a> {
    /// Reads a module; it is valid and has only imports that are known if this succeeds. Linear in its bytes.
    pub(super) fn read(module: &'a Module<'a>) -> Result<Self, AnalysisError> {
        let features = WasmFeatures::WASM2
            .union(WasmFeatures::THREADS)
            .union(WasmFeatures::TAIL_CALL)
            .union(WasmFeatures::CUSTOM_PAGE_SIZES)
            .difference(WasmFeatures::MULTI_MEMORY)
            .difference(WasmFeatures::MEMORY64);
        Validator::new_with_features(features).validate_all(module.wasm()).map_err(invalid)?;
        let mut code = Self {
            module,
            types: Vec::new(),
            signatures: Vec::new(),
            imports: Vec::new(),
            bodies: Vec::new(),
            decoded: Vec::new(),
            referenced: Vec::new(),
            exports: Vec::new(),
            names: Vec::new(),
            globals: Vec::new(),
            stack_pointer: None,
        };
        for payload in Parser::new(0).parse_all(module.wasm()) {
            code.see(payload.map_err(invalid)?)?;
        }
        code.referenced.sort_unstable();
        code.referenced.dedup();
        code.decoded = vec![None; code.bodies.len()];
        Ok(code)
    }

    fn see(&mut self, payload: Payload<'a>) -> Result<(), AnalysisError> {
        match payload {
            Payload::TypeSection(section) => {
                for signature in section.into_iter_err_on_gc_types() {
                    self.types.push(signature.map_err(invalid)?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    let (TypeRef::Func(signature), abi::IMPORT_MODULE) = (import.ty, import.module) else {
                        return Err(AnalysisError::Import(format!("{}.{}", import.module, import.name)));
                    };
                    let known = match import.name {
                        abi::IMPORT_CALL => (HostCall::Call, 6, 1),
                        abi::IMPORT_LOG => (HostCall::Log, 2, 0),
                        abi::IMPORT_ENVIRONMENT | abi::IMPORT_SECRET => (HostCall::Value, 4, 1),
                        abi::IMPORT_SERVICE => (HostCall::Service, 2, 1),
                        abi::IMPORT_REQUEST => (HostCall::Request, 6, 1),
                        abi::IMPORT_RANDOM => (HostCall::Random, 0, 1),
                        other => return Err(AnalysisError::Import(format!("{}.{other}", import.module))),
                    };
                    let found = self.types.get(signature as usize);
                    if found.is_none_or(|found| {
                        (found.params().len(), found.results().len()) != (known.1, known.2)
                    }) {
                        return Err(AnalysisError::Import(format!("{}.{}", import.module, import.name)));
                    }
                    self.imports.push(known.0);
                    self.signatures.push(signature);
                }
            }
            Payload::FunctionSection(section) => {
                for signature in section {
                    self.signatures.push(signature.map_err(invalid)?);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global.map_err(invalid)?;
                    let number = match global.init_expr.get_operators_reader().read() {
                        Ok(Operator::I32Const { value }) => Some(i64::from(value)),
                        Ok(Operator::I64Const { value }) => Some(value),
                        _ => None,
                    };
                    self.globals.push(number);
                    self.refer(&global.init_expr)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    match export.kind {
                        ExternalKind::Func => self.exports.push((export.name, export.index)),
                        ExternalKind::Global if export.name == abi::EXPORT_STACK_POINTER => {
                            self.stack_pointer = Some(export.index);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    match element.map_err(invalid)?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.referenced.push(function.map_err(invalid)?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.refer(&expression.map_err(invalid)?)?;
                            }
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader().map_err(invalid)? {
                    if let Operator::RefFunc { function_index } = operator.map_err(invalid)? {
                        self.referenced.push(function_index);
                    }
                }
                self.bodies.push(body);
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for name in names.into_iter().map_while(Result::ok) {
                        let Name::Function(functions) = name else { continue };
                        for naming in functions.into_iter().map_while(Result::ok) {
                            let at = naming.index as usize;
                            // Nobody has validated these.
                            if at < self.signatures.len() {
                                self.names.resize(self.signatures.len(), None);
                                self.names[at] = Some(naming.name);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of functions that a constant refers to.
    fn refer(&mut self, expression: &ConstExpr<'a>) -> Result<(), AnalysisError> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator.map_err(invalid)? {
                self.referenced.push(function_index);
            }
        }
        Ok(())
    }

    pub(super) fn functions(&self) -> usize {
        self.signatures.len()
    }

    /// The function that is exported by this name.
    pub(super) fn exported(&self, name: &str) -> Option<u32> {
        self.exports.iter().find(|export| export.0 == name).map(|export| export.1)
    }

    /// A function's name: the linker's, else that of an export, else its index.
    pub(super) fn name(&self, function: u32) -> String {
        let named = self.names.get(function as usize).copied().flatten();
        let exported = || self.exports.iter().find(|export| export.1 == function).map(|export| export.0);
        named.or_else(exported).map_or_else(|| format!("function {function}"), str::to_owned)
    }

    pub(super) fn signature(&self, function: u32) -> Option<&FuncType> {
        self.types.get(*self.signatures.get(function as usize)? as usize)
    }

    /// Bytes of a function's code.
    pub(super) fn bytes(&self, function: u32) -> usize {
        let body = (function as usize).checked_sub(self.imports.len()).and_then(|at| self.bodies.get(at));
        body.map_or(0, |body| body.range().len())
    }

    /// How many functions a table may hold.
    pub(super) fn references(&self) -> usize {
        self.referenced.len()
    }

    /// Functions that a call through a table by this type may reach.
    pub(super) fn candidates(&self, signature: u32) -> Vec<u32> {
        let Some(wanted) = self.types.get(signature as usize) else { return Vec::new() };
        self.referenced.iter().copied().filter(|&function| self.signature(function) == Some(wanted)).collect()
    }

    /// The body of a function that is not imported.
    pub(super) fn body(&mut self, function: u32) -> Result<Rc<Body>, AnalysisError> {
        let at = (function as usize).wrapping_sub(self.imports.len());
        if let Some(Some(body)) = self.decoded.get(at) {
            return Ok(Rc::clone(body));
        }
        let body = Rc::new(self.decode(at)?);
        self.decoded[at] = Some(Rc::clone(&body));
        Ok(body)
    }

    /// The body of a function that was decoded before.
    pub(super) fn known_body(&self, function: u32) -> Option<&Body> {
        let at = (function as usize).checked_sub(self.imports.len())?;
        self.decoded.get(at)?.as_deref()
    }

    fn decode(&self, at: usize) -> Result<Body, AnalysisError> {
        let source =
            self.bodies.get(at).ok_or_else(|| AnalysisError::Invalid("no such function".to_owned()))?;
        let mut locals = 0u32;
        for declared in source.get_locals_reader().map_err(invalid)? {
            locals = locals.saturating_add(declared.map_err(invalid)?.0);
        }
        let mut body = Body { steps: Vec::new(), positions: Vec::new(), depths: Vec::new(), locals };
        let references = self.module.references();
        let mut next = references.partition_point(|it| it.position < source.range().start);
        let mut reader = source.get_operators_reader().map_err(invalid)?;
        // For each open block: is it a loop?
        let mut blocks = Vec::new();
        let mut depth = 0u8;
        while !reader.eof() {
            let (operator, position) = reader.read_with_offset().map_err(invalid)?;
            let end = reader.original_position();
            while references.get(next).is_some_and(|it| it.position < position) {
                next += 1;
            }
            let address =
                references.get(next).filter(|it| it.position < end).map(|it| (it.object as u32, it.addend));
            let step = step(&operator, address, &self.types).ok_or_else(|| {
                AnalysisError::Invalid(format!("operator at byte {position}: {operator:?}"))
            })?;
            match &step {
                Step::Block { .. } | Step::If { .. } => blocks.push(false),
                Step::Loop { .. } => {
                    blocks.push(true);
                    depth = depth.saturating_add(1);
                }
                Step::End if blocks.pop() == Some(true) => depth = depth.saturating_sub(1),
                _ => {}
            }
            body.steps.push(step);
            body.positions.push(position);
            body.depths.push(depth);
        }
        Ok(body)
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> AnalysisError {
    AnalysisError::Invalid(error.to_string())
}
