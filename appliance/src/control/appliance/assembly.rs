//! Puts lcores together: ports, dispatchers, message servers and the links between them. Lambdas come later, by mail.

use super::*;
use crate::control::appliance::lcores::End;

/// Everything that lcores are made of, until each takes its part.
pub(super) struct Assembly<'a> {
    topology: &'a Topology,
    engine: Engine,
    fuel_per_us: u32,
    clients: BTreeMap<LcoreId, Vec<End>>,
    servers: BTreeMap<LcoreId, Vec<End>>,
    queues: BTreeMap<LcoreId, Queues>,
    suspended: BTreeMap<LcoreId, Arc<AtomicU32>>,
    messages: BTreeMap<LcoreId, Messages<Mbuf>>,
    polling: Vec<Vec<(PortId, QueueId)>>,
    pub(super) clock: TscClock,
}

impl<'a> Assembly<'a> {
    /// Makes the links.
    pub(super) fn plan(
        topology: &'a Topology,
        eal: &Eal,
        live: &Live<Mbuf>,
        engine: &Engine,
        fuel_per_us: u32,
    ) -> Result<Self, StartError> {
        let workers = || topology.lcores.workers.iter().map(|worker| worker.id);
        let doorbells: BTreeMap<LcoreId, Doorbell> =
            live.workers().iter().map(|worker| (worker.lcore, worker.doorbell.clone())).collect();
        let mut clients: BTreeMap<LcoreId, Vec<End>> = BTreeMap::new();
        let mut servers: BTreeMap<LcoreId, Vec<End>> = BTreeMap::new();
        for &spec in live.layout().links() {
            let (client, server) =
                lcores::link(eal, spec, &doorbells[&spec.client], &doorbells[&spec.server])?;
            clients.entry(spec.client).or_default().push(client);
            servers.entry(spec.server).or_default().push(server);
        }
        Ok(Self {
            topology,
            engine: engine.clone(),
            fuel_per_us,
            clients,
            servers,
            queues: workers().map(|id| (id, topology.ports.iter().map(|_| None).collect())).collect(),
            suspended: workers().map(|id| (id, Arc::default())).collect(),
            messages: BTreeMap::new(),
            polling: Vec::new(),
            clock: TscClock::new(),
        })
    }

    /// Deals the ports' queues out to those who poll.
    pub(super) fn attach_ports(&mut self, ports: &mut [OpenPort]) {
        let counts: Vec<u16> = ports.iter().map(OpenPort::queue_count).collect();
        self.polling = self.topology.polling(&counts);
        for (lcore, queues) in self.topology.pollers().into_iter().zip(&self.polling) {
            let Some(own) = self.queues.get_mut(&lcore) else { continue };
            for &(port, queue) in queues {
                own[port.index()] = ports[port.index()].take(queue);
            }
        }
    }

    /// Gives those who poll a message server each, with room for messages of so many lambdas.
    pub(super) fn take_messages(
        &mut self,
        eal: &Eal,
        pool: &Mempool,
        slots: usize,
    ) -> Result<(), StartError> {
        let servers = messages::messages(eal, self.topology, pool, slots)?;
        self.messages = self.topology.pollers().into_iter().zip(servers).collect();
        Ok(())
    }

    /// One lcore with everything that is its.
    pub(super) fn lcore(
        &mut self,
        live: &Live<Mbuf>,
        worker: &Worker<Mbuf>,
        ports: &[OpenPort],
    ) -> Result<Lcore, StartError> {
        let id = worker.lcore;
        let queues = self.queues.remove(&id).unwrap_or_default();
        Ok(Lcore {
            attachments: attachments(ports, &queues),
            quarantine: Arc::clone(live.quarantine()),
            npu: Npu::new(live.slots()),
            dispatcher: live.dispatcher(id, &self.suspended),
            clients: self.clients.remove(&id).unwrap_or_default(),
            servers: self.servers.remove(&id).unwrap_or_default(),
            stock: live.first_stock(id),
            suspended_here: Arc::clone(&self.suspended[&id]),
            fuel_per_us: self.fuel_per_us,
            messages: self.messages.remove(&id),
            outside: live.outside(id, &self.polling),
            counters: Arc::clone(&worker.counters),
            mail: worker.mail.clone(),
            slots: live.slots(),
            sleeper: lcores::sleeper(self.topology, &queues, &worker.doorbell)?,
            queues,
            idle: lcores::idle(self.topology),
            engine: self.engine.clone(),
            clock: self.clock,
        })
    }
}

/// The ports as an lcore with these queues sees them. A host port that it has no queue of is none to it; one without any queues
/// works for others, and sees what they see.
fn attachments(ports: &[OpenPort], own: &Queues) -> Vec<Attachment> {
    let polls = own.iter().any(Option::is_some);
    let has = |role: Role| match role {
        Role::Wire { host: Some(host) } if polls && own[host.index()].is_none() => Role::Wire { host: None },
        role => role,
    };
    ports
        .iter()
        .map(|port| Attachment {
            interface: port.interface,
            role: has(port.role),
            tx_checksum: port.tx_checksum,
            tx_external: port.tx_external,
        })
        .collect()
}
