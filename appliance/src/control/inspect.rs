//! What the compiler found out about a lambda and decided for it, for `lnic inspect`.

use lnic_compiler::analysis::Site;
use lnic_compiler::compile::Compiled;
use lnic_compiler::module::Kind;
use lnic_compiler::placement::{Layout, Runs};
use lnic_compiler::{HeaderBytes, Sharing};
use serde::{Deserialize, Serialize};

mod print;

/// One lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Inspection {
    /// Its entry.
    pub entry: String,
    /// `any NPU`, or `one NPU at a time`.
    pub runs: String,
    /// Why.
    pub because: String,
    /// `dense` or `windows`.
    pub layout: String,
    /// Bytes of linear memory of one instance.
    pub memory_bytes: u64,
    /// What that is made of, by address.
    pub windows: Vec<WindowInspection>,
    /// Its objects, hot ones first.
    pub objects: Vec<ObjectInspection>,
    /// Why its objects lie where the linker had put them, if they do.
    pub unmoved: Option<String>,
    /// Header fields that it may read.
    pub headers_read: Vec<String>,
    /// Header fields that it may write.
    pub headers_written: Vec<String>,
    /// The payload: `read`, `written`, both or neither.
    pub payload: Vec<String>,
    /// Places in the code that touch memory.
    pub sites: SiteInspection,
    /// Its code.
    pub code: CodeInspection,
    /// Memory stratification: what a run's accesses to objects cost by the model, everything in EMEM against as placed.
    pub stratification: BeforeAfter,
    /// What only a deployment knows; absent for a file.
    pub deployed: Option<DeployedInspection>,
}

/// A range of linear memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WindowInspection {
    /// First address.
    pub address: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Where they lie.
    pub tier: String,
    /// Who sees the same: `instance`, `NPU`, `island`, `all`.
    pub shared_by: String,
}

/// A data object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ObjectInspection {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u32,
    /// `constant` or `variable`.
    pub kind: String,
    /// Reads of a run, a loop counted ten times.
    pub reads: f64,
    /// Writes of a run, likewise.
    pub writes: f64,
    /// All of these are atomic.
    pub atomic: bool,
    /// Its tier.
    pub tier: String,
    /// Who sees the same object.
    pub shared_by: String,
    /// Why it is there.
    pub why: String,
    /// Where the linker had put it.
    pub linked_address: u32,
    /// Where it is.
    pub address: u32,
    /// What a run's accesses to it cost by the model, in ns.
    pub cost_ns: f64,
}

/// Places in the code that touch memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SiteInspection {
    /// All of them.
    pub total: usize,
    /// Those of which it is known what they touch.
    pub attributed: usize,
    /// The others: what they may touch counts as everything.
    pub lost: Vec<LostSite>,
    /// Why the analysis gave up, if it did.
    pub incomplete: Option<String>,
}

/// An access that could not be followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LostSite {
    /// Its function.
    pub function: String,
    /// Byte of the module's file where its operator begins.
    pub position: usize,
    /// The operator.
    pub operator: String,
    /// Why.
    pub why: String,
}

/// Code of a lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CodeInspection {
    /// Functions that its entry reaches.
    pub functions: usize,
    /// Bytes of their WebAssembly.
    pub wasm_bytes: usize,
    /// Bytes of machine code, and what the engine keeps beside it, of the whole module.
    pub native_bytes: usize,
    /// Fuel of a run, roughly: operators, all branches taken and loops counted ten times.
    pub fuel: f64,
    /// Most bytes of stack; absent if there is no bound.
    pub stack_bytes: Option<u64>,
    /// It calls other lambdas.
    pub calls_lambdas: bool,
}

/// An optimisation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BeforeAfter {
    /// Without it.
    pub before: f64,
    /// With it.
    pub after: f64,
}

/// What only a deployment knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeployedInspection {
    /// Name of the lambda.
    pub name: String,
    /// Headers that the parser decodes for all lambdas and rules together.
    pub parser_plan: String,
    /// Match reduction: rules of the appliance.
    pub rules: BeforeAfter,
    /// Lambda coalescing: deployments of this code, and copies of it.
    pub copies: BeforeAfter,
}

impl Inspection {
    /// Of a lambda that was compiled.
    #[must_use]
    pub fn new(entry: &str, compiled: &Compiled, native_bytes: usize) -> Self {
        let Compiled { plan, placement, analysis, objects, addresses, .. } = compiled;
        let mut next = 0;
        let windows = plan
            .windows
            .iter()
            .map(|window| {
                let address = next;
                next += window.bytes;
                WindowInspection {
                    address,
                    bytes: window.bytes,
                    tier: window.tier.to_string(),
                    shared_by: shared_by(window.sharing).to_owned(),
                }
            })
            .collect();
        let object = |&at: &usize| {
            let (object, placed, used) = (&objects[at], &placement.objects[at], &analysis.objects[at]);
            ObjectInspection {
                name: object.name.clone(),
                bytes: object.bytes,
                kind: if object.kind == Kind::Constant { "constant" } else { "variable" }.to_owned(),
                reads: used.reads,
                writes: used.writes,
                atomic: used.atomic_only,
                tier: placed.tier.to_string(),
                shared_by: shared_by(placed.sharing).to_owned(),
                why: placed.why.to_string(),
                linked_address: object.address,
                address: addresses[at],
                cost_ns: placed.cost_ns,
            }
        };
        let own = analysis.entries.iter().find(|known| known.name == entry);
        let of_entry = |functions: &[usize]| {
            functions.iter().map(|&at| analysis.functions[at].code_bytes).sum::<usize>()
        };
        Self {
            entry: entry.to_owned(),
            runs: match placement.runs {
                Runs::Anywhere => "any NPU",
                Runs::OnOneNpu => "one NPU at a time",
            }
            .to_owned(),
            because: placement.because.to_string(),
            layout: match placement.layout {
                Layout::Dense(_) => "dense",
                Layout::Windows => "windows",
            }
            .to_owned(),
            memory_bytes: plan.bytes(),
            windows,
            objects: placement.order.iter().map(object).collect(),
            unmoved: compiled.unmoved.as_ref().map(ToString::to_string),
            headers_read: describe(&compiled.headers.read),
            headers_written: describe(&compiled.headers.written),
            payload: own.map_or_else(Vec::new, |own| {
                let uses = [(own.reads_payload, "read"), (own.writes_payload, "written")];
                uses.iter().filter(|(does, _)| *does).map(|(_, what)| (*what).to_owned()).collect()
            }),
            sites: SiteInspection {
                total: analysis.sites.len(),
                attributed: analysis.sites.len() - analysis.unattributed().count(),
                lost: analysis.unattributed().map(lost).collect(),
                incomplete: analysis.incomplete.map(|why| why.to_string()),
            },
            code: CodeInspection {
                functions: own.map_or(0, |own| own.functions.len()),
                wasm_bytes: own.map_or(0, |own| of_entry(&own.functions)),
                native_bytes,
                fuel: own.map_or(0.0, |own| own.operators),
                stack_bytes: own.and_then(|own| own.stack_bytes),
                calls_lambdas: own.is_some_and(|own| own.calls_lambdas),
            },
            stratification: BeforeAfter { before: placement.flat_cost_ns, after: placement.cost_ns },
            deployed: None,
        }
    }
}

fn describe(bytes: &HeaderBytes) -> Vec<String> {
    if *bytes == HeaderBytes::all() { vec!["all".to_owned()] } else { bytes.describe() }
}

const fn shared_by(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Instance => "instance",
        Sharing::Npu => "NPU",
        Sharing::Island => "island",
        Sharing::All => "all",
    }
}

fn lost(site: &Site) -> LostSite {
    LostSite {
        function: site.function.clone(),
        position: site.position,
        operator: site.operator.clone(),
        why: site.lost.map_or_else(String::new, |why| why.to_string()),
    }
}
