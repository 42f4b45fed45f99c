//! The appliance's arrangements, and lambdas that behave in one way each.

use std::sync::LazyLock;

use lnic::path::Stock;

use super::lab::{Deployed, LIMITS, Lab, Setup, SimClock, built, built_from, module};

/// Who runs lambdas, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    RunToCompletion,
    /// Dispatcher and NPU on one lcore.
    OneLcore,
    /// Two NPUs behind links.
    Links,
    /// One NPU beside the dispatcher and one behind a link.
    Mixed,
}

pub use Arrangement::{Links, Mixed, OneLcore, RunToCompletion};

pub const ALL: [Arrangement; 4] = [RunToCompletion, OneLcore, Links, Mixed];
pub const DISPATCHING: [Arrangement; 3] = [OneLcore, Links, Mixed];

impl Arrangement {
    pub fn setup(self) -> Setup {
        Setup {
            dispatcher: (self != RunToCompletion).then_some(LIMITS),
            npu_here: self != Links,
            npus: match self {
                RunToCompletion | OneLcore => 0,
                Links => 2,
                Mixed => 1,
            },
            stock: Stock { jobs: 600, calls: 64 },
            clock: SimClock::new(100),
            ..Setup::default()
        }
    }

    pub fn npus(self) -> usize {
        if matches!(self, Links | Mixed) { 2 } else { 1 }
    }

    pub fn lab(self, lambdas: Vec<Deployed>) -> Lab {
        Lab::of(lambdas, self.setup())
    }
}

pub fn echo() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built("echo"));
    Deployed::new(MODULE.clone(), "echo")
}

pub fn web_server() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built("web-server"));
    Deployed::new(MODULE.clone(), "web_server")
}

/// Answers how often it has run.
pub fn counter() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let source = "#include <lnic.h>
            static uint32_t count;
            LAMBDA(counter) {
                lnic_store_be32(lnic_payload(match_data), ++count);
                return lnic_reply(headers, match_data, STATUS_OK, 4);
            }";
        built_from(source, "counter")
    });
    Deployed { pinned: true, ..Deployed::new(MODULE.clone(), "counter") }
}

/// Traps whatever it is given.
pub fn trapper() -> Deployed {
    Deployed::wat(&module("unreachable"))
}

/// Runs until its budget is used up.
pub fn looper() -> Deployed {
    Deployed { fuel: 5_000, ..Deployed::wat(&module("(loop $again (br $again)) i32.const 0")) }
}

/// Answers nobody.
pub fn dropper() -> Deployed {
    Deployed::wat(&module("i32.const -1"))
}
