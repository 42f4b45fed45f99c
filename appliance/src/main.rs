//! The one binary of the appliance: `lnic`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lnic::cli::main()
}
