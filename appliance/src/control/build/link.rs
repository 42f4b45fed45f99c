//! The link, the same for all languages.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Command;

use super::{BuildError, Compiled, Options, diagnosed, file, run};
use lnic_abi as abi;

/// Said of a module without relocations.
const UNMOVABLE: &str = "warning: wasm-ld cannot keep relocations: all objects stay where they are. Does the code take the \
                         address of __heap_base, __data_end or another symbol of the linker's?\n";

/// What the linker leaves in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// Its symbols, and where their addresses are.
    Relocations,
}

/// Links the same objects again and again.
pub(super) struct Linker<'a> {
    wasm_ld: &'a OsStr,
    scratch: &'a Path,
    options: &'a Options,
    keeps: Keeps,
}

impl<'a> Linker<'a> {
    pub(super) fn new(wasm_ld: &'a OsStr, scratch: &'a Path, options: &'a Options) -> Self {
        Self { wasm_ld, scratch, options, keeps: Keeps::Relocations }
    }

    /// Links with a memory of exactly `memory_bytes`; returns the module. Adds to the warnings.
    pub(super) fn link(&mut self, compiled: &mut Compiled, memory_bytes: u64) -> Result<Vec<u8>, BuildError> {
        let linked = self.attempt(compiled, memory_bytes);
        if self.keeps == Keeps::Nothing || !matches!(linked, Err(BuildError::Diagnosed { .. })) {
            return linked;
        }
        // The linker of LLVM 14 cannot keep the relocation of an address of its own; if it is not that, it fails again.
        self.keeps = Keeps::Nothing;
        let linked = self.attempt(compiled, memory_bytes)?;
        compiled.warnings.push_str(UNMOVABLE);
        Ok(linked)
    }

    fn attempt(&self, compiled: &Compiled, memory_bytes: u64) -> Result<Vec<u8>, BuildError> {
        let mut command = Command::new(self.wasm_ld);
        command.args(["--no-entry", "--stack-first", "--fatal-warnings", "-O2", "-z"]);
        command.arg(format!("stack-size={}", self.options.stack_bytes));
        command.arg(format!("--initial-memory={memory_bytes}")).arg(format!("--max-memory={memory_bytes}"));
        for name in [abi::EXPORT_HEAP_BASE, abi::EXPORT_DATA_END, abi::EXPORT_STACK_POINTER] {
            command.arg(format!("--export={name}"));
        }
        command.args(compiled.exports.iter().map(|name| format!("--export={name}")));
        if self.keeps == Keeps::Relocations {
            command.arg("--emit-relocs");
        }
        // Relative names: the linker's messages then say `echo.o`.
        command.args(["-o", "module.wasm"]).args(&compiled.objects).current_dir(self.scratch);
        diagnosed("wasm-ld", run(&mut command)?)?;
        let module = self.scratch.join("module.wasm");
        std::fs::read(&module).map_err(file("read", &module))
    }
}

/// The linker of the compiler's own version; its bare name if there is none.
pub(super) fn of_clang(clang: &OsStr) -> Result<OsString, BuildError> {
    let printed = run(Command::new(clang).args([super::c::TARGET, "-print-prog-name=wasm-ld"]))?.stdout;
    Ok(OsString::from(String::from_utf8_lossy(&printed).trim()))
}

/// The linker, if it is there.
pub(super) fn checked(wasm_ld: OsString) -> Result<OsString, BuildError> {
    match Command::new(&wasm_ld).arg("--version").output() {
        Ok(_) => Ok(wasm_ld),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BuildError::ToolMissing { tool: wasm_ld.display().to_string(), variable: "WASM_LD" })
        }
        Err(source) => Err(BuildError::Tool { tool: wasm_ld.display().to_string(), source }),
    }
}
