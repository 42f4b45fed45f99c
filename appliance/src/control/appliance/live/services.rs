//! Services outside that a generation may ask: their next hops are held for as long as anything of it is left.

use std::net::IpAddr;
use std::sync::Arc;

use crate::control::topology::ServiceSpec;
use crate::ids::PortId;
use crate::outside::{HopId, Neighbours, Service, Services};

/// Next hops of all lambdas together.
pub(super) const HOPS: u16 = 1024;

/// Next hops that are held for a generation; given back with the last clone.
#[derive(Clone)]
pub(super) struct Hops(#[expect(dead_code, reason = "what counts is when it is dropped")] Arc<Held>);

struct Held {
    neighbours: Arc<Neighbours>,
    hops: Vec<HopId>,
}

impl Held {
    fn hold(&mut self, port: PortId, address: IpAddr) -> Option<HopId> {
        let hop = self.neighbours.hold(port, address)?;
        self.hops.push(hop);
        Some(hop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for hop in self.hops.drain(..) {
            self.neighbours.release(hop);
        }
    }
}

/// A lambda's services, with their next hops held; none if there is no room for one of these.
pub(super) fn hold(neighbours: &Arc<Neighbours>, specs: &[ServiceSpec]) -> Option<(Services, Hops)> {
    let mut held = Held { neighbours: Arc::clone(neighbours), hops: Vec::new() };
    let mut services = Vec::with_capacity(specs.len());
    for spec in specs {
        let hop = held.hold(spec.port, spec.hop)?;
        let service = Service { address: spec.address, port: spec.port, hop, framing: spec.framing };
        services.push((spec.name.as_str().into(), service));
    }
    Some((Services::new(services), Hops(Arc::new(held))))
}
