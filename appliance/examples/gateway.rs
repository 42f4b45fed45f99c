//! An appliance whose configured lambdas answer HTTP on a TCP port, without users and TLS: what `scripts/bench.sh control` measures.
//!
//! `gateway CONFIG ADDRESS` starts it: it answers once the address does. It ends with its standard input.

#[path = "../tests/support/functions.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use more of it")]
mod functions;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use functions::Functions;
use lnic::control::appliance::Appliance;
use lnic::control::config::Machine;
use lnic::control::gateway::{Gateway, PacketGateway};
use lnic::control::http::Caller;
use lnic::control::topology::Topology;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, address] = &arguments[..] else { anyhow::bail!("usage: gateway CONFIG ADDRESS") };
    let machine = Machine::read()?;
    let topology = Topology::load(Path::new(config), &machine)?;
    let mut appliance = Appliance::start(&topology, &machine)?;
    let queues =
        appliance.take_gateway_queues().ok_or_else(|| anyhow::anyhow!("[gateway] enabled = false"))?;
    let gateway = PacketGateway::new(queues, (&topology.gateway).into());
    // On a thread of its own, as `lnic run` does it: the main lcore's is not kept waiting.
    let (plane, served, address) = (Functions::of(&topology), Arc::clone(&gateway), address.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let driven = Arc::clone(&served);
            let way: Arc<dyn Gateway> = served;
            functions::serve(&address, Arc::new(plane), Some(way), Caller::local()).await;
            driven.drive().await
        })
    });
    let _ = std::io::stdin().read(&mut [0]);
    gateway.close();
    appliance.stop();
    Ok(())
}
