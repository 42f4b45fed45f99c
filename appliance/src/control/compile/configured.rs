//! Lambdas of the configuration file, compiled apart like any other.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use lnic_registry::Digest;

use super::{CompileError, Compiler};
use crate::control::appliance::{Bounds, Coalesced, Ready, Source, StartError};

/// A module that was read.
type Module = (Digest, Arc<Vec<u8>>);

impl Compiler {
    /// Compiles every lambda's code, once for each that differs, as many at a time as there are jobs; or finds it compiled. Blocks until
    /// all are done: for the start, when nobody waits for this thread. The result is in the order of the sources; of several that are
    /// wrong the first is named.
    pub fn ready_all(
        &self,
        sources: &[Source<'_>],
        bounds: &Bounds,
    ) -> Result<(Vec<Ready>, Coalesced), StartError> {
        let modules = read(sources)?;
        // A thread of its own, as the caller's may be one of a runtime, which must not wait.
        let made =
            std::thread::scope(|scope| scope.spawn(|| self.block_on(sources, &modules, bounds)).join());
        let failed = |error: CompileError| match sources.first() {
            Some(source) => wrong(source, error),
            None => StartError::Compile { name: String::new(), file: "".into(), source: error },
        };
        let made = made
            .unwrap_or_else(|_| Err(CompileError::Answer("a thread panicked".to_owned())))
            .map_err(failed)?;
        let ready = sources
            .iter()
            .zip(made)
            .map(|(source, made)| made.map_err(|error| wrong(source, error)))
            .collect::<Result<Vec<_>, _>>()?;
        let coalesced = Coalesced::of(ready.iter().map(|ready| &ready.image));
        Ok((ready, coalesced))
    }

    fn block_on(
        &self,
        sources: &[Source<'_>],
        modules: &[Module],
        bounds: &Bounds,
    ) -> Result<Vec<Result<Ready, CompileError>>, CompileError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CompileError::Server(Arc::new(error)))?;
        let jobs = sources.iter().zip(modules).map(|(source, (digest, wasm))| async move {
            self.compile(digest, wasm, source.entry, &source.wishes, bounds).await
        });
        // More than there are jobs at a time, so that loading one goes on while another waits for its turn.
        Ok(runtime.block_on(stream::iter(jobs).buffered(2 * self.jobs()).collect()))
    }
}

fn wrong(source: &Source<'_>, error: CompileError) -> StartError {
    StartError::Compile { name: source.name.to_owned(), file: source.file.to_owned(), source: error }
}

/// Reads every file once.
fn read(sources: &[Source<'_>]) -> Result<Vec<Module>, StartError> {
    let mut known: HashMap<&Path, Module> = HashMap::new();
    let read = |source: &Source<'_>| {
        fs::read(source.file).map_err(|error| StartError::LambdaFile {
            name: source.name.to_owned(),
            file: source.file.to_owned(),
            source: error,
        })
    };
    let mut modules = Vec::with_capacity(sources.len());
    for source in sources {
        modules.push(match known.get(source.file) {
            Some(module) => module.clone(),
            None => {
                let wasm = read(source)?;
                let module = (Digest::of(&wasm), Arc::new(wasm));
                known.insert(source.file, module.clone());
                module
            }
        });
    }
    Ok(modules)
}
