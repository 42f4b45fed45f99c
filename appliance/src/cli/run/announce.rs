//! What an appliance says of itself when it starts.

use tracing::{info, warn};

use crate::control::appliance::Appliance;
use crate::control::manager::Restored;
use crate::control::topology::{Pages, Topology};

/// Lambdas that are announced one by one.
const ANNOUNCED: usize = 20;

/// Memory, lcores, ports, lambdas of the configuration.
pub(super) fn appliance(topology: &Topology, appliance: &Appliance) {
    match appliance.pages() {
        Pages::Huge { page_bytes, pages } => info!("memory: {pages} hugepages of {} KiB", page_bytes / 1024),
        Pages::Small => info!("memory: {} MiB in 4 KiB pages", topology.memory.eal_mib),
        Pages::SmallForWant(want) => {
            warn!("memory: {} MiB in 4 KiB pages: {want}", topology.memory.eal_mib);
        }
    }
    info!("{}: main on {}", topology.scheduling.mode.name(), topology.lcores.main.cpu);
    for lcore in &appliance.sources().lcores {
        info!("lcore {} on CPU {}: {}", lcore.lcore, lcore.cpu, lcore.roles);
    }
    for (spec, stats) in topology.ports.iter().zip(appliance.sources().snapshot().ports) {
        let addresses: Vec<_> =
            [spec.ipv4.map(|ip| ip.to_string()), spec.ipv6.map(|ip| ip.to_string())].into();
        let addresses: Vec<_> = addresses.into_iter().flatten().collect();
        info!("port \"{}\": {} {} {}", spec.name, stats.driver, stats.mac, addresses.join(" "));
    }
    let origin = if topology.budget.fuel_per_us.is_some() { "configured" } else { "calibrated" };
    info!("budgets: {} fuel a microsecond, {origin}", appliance.fuel_per_us());
    for lambda in topology.lambdas.iter().take(ANNOUNCED) {
        info!(
            "lambda \"{}\": ID {}, weight {}, budget {} µs",
            lambda.name, lambda.id, lambda.weight, lambda.budget_us
        );
    }
    if let Some(more) = topology.lambdas.len().checked_sub(ANNOUNCED).filter(|&more| more > 0) {
        info!("and {more} lambdas more");
    }
    if let Some(listen) = &topology.control.listen {
        info!("API: https://{}", listen.address);
    }
}

/// What was deployed before.
pub(super) fn restored(topology: &Topology, restored: Restored) {
    let Restored { deployed, failed } = restored;
    if deployed + failed > 0 {
        info!("registry: {deployed} lambdas deployed");
    }
    if failed > 0 {
        warn!("registry: {failed} lambdas cannot be deployed here: see above, and `lnic list`");
    }
    if topology.control.state.is_none() && topology.control.etcd.is_none() {
        info!("registry: in memory, gone when the appliance ends; [control] state keeps it");
    }
}
