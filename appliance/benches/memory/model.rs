//! What the figures say about the cost model.

use lnic::memory::Tier;
use lnic_compiler::placement::CostModel;

use crate::Bench;

/// Prints what was measured next to what the model has for it. `read_ns` and `write_ns` are *whole*: an access to a place in a
/// tier that its lambda fills, neither kept in the first-level cache nor forgotten by all. `shared_ns` is the mean of a read
/// and an atomic that *moved* a line there from another NPU, but not less than `read_ns`.
pub fn print(bench: &Bench) {
    let model = CostModel::default();
    println!("\nWhat it says about the cost model, ns/access:");
    println!("{:<6} {:<8} {:>8} {:>8} {:>8} {:>8}", "TIER", "ACCESS", "HOT", "WHOLE", "COLD", "MODEL");
    for tier in Tier::ALL {
        let at = tier.index();
        for (access, model_ns) in [("read", model.read_ns[at]), ("write", model.write_ns[at])] {
            let median = |reach| cell(bench.median(&format!("{tier}/{access}_{reach}")));
            let (hot, whole, cold) = (median("hot"), median("whole"), median("cold"));
            println!("{:<6} {access:<8} {hot:>8} {whole:>8} {cold:>8} {model_ns:>8.1}", tier.name());
        }
    }
    println!("{:<6} {:<8} {:>8} {:>8} {:>8} {:>8}", "TIER", "ACCESS", "READ", "ATOMIC", "MEAN", "MODEL");
    for tier in Tier::ALL.into_iter().skip(1) {
        let moved = |access| bench.median(&format!("{tier}/{access}_moved"));
        let (read, atomic) = (moved("read"), moved("atomic"));
        let mean = read.zip(atomic).map(|(read, atomic)| (read + atomic) / 2.0);
        let model_ns = model.shared_ns[tier.index()];
        let (read, atomic, mean) = (cell(read), cell(atomic), cell(mean));
        println!("{:<6} {:<8} {read:>8} {atomic:>8} {mean:>8} {model_ns:>8.1}", tier.name(), "moved");
    }
}

fn cell(median: Option<f64>) -> String {
    median.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}
