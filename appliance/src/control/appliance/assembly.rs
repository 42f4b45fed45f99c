//! Puts lcores together: ports, lambdas, dispatchers and the links between them.

use super::*;

/// Messages that an lcore can have in hand at a time, besides those that wait or are elsewhere.
const MESSAGE_JOBS: u32 = 8;

/// Everything that lcores are made of, until each takes its part.
pub(super) struct Assembly<'a> {
    topology: &'a Topology,
    engine: Engine,
    fuel_per_us: u32,
    layout: Layout,
    pub(super) doorbells: BTreeMap<LcoreId, Doorbell>,
    clients: BTreeMap<LcoreId, Vec<End>>,
    servers: BTreeMap<LcoreId, Vec<End>>,
    queues: BTreeMap<LcoreId, Queues>,
    suspended: BTreeMap<LcoreId, Arc<AtomicU32>>,
    npus: BTreeMap<LcoreId, Npu>,
    /// Calls that the lambdas of an lcore's NPU can have under way.
    calls: BTreeMap<LcoreId, u64>,
    dispatchers: BTreeMap<LcoreId, Dispatcher<dpdk_bindings::mbuf::Mbuf>>,
    messages: BTreeMap<LcoreId, Messages<dpdk_bindings::mbuf::Mbuf>>,
    pub(super) mails: Vec<(LcoreId, Mail)>,
    pub(super) quarantine: Arc<Quarantine>,
    table: Arc<Table>,
    reduction: Reduction,
    directory: Arc<Directory>,
    lambdas: usize,
    clock: TscClock,
}

impl<'a> Assembly<'a> {
    /// Decides who does what and makes the links.
    pub(super) fn plan(
        topology: &'a Topology,
        eal: &Eal,
        lambdas: &[Prepared],
        engine: &Engine,
        fuel_per_us: u32,
    ) -> Result<Self, StartError> {
        let of_layout: Vec<layout::Lambda> = lambdas.iter().map(Into::into).collect();
        let layout = Layout::plan(topology, &of_layout);
        let workers = || topology.lcores.workers.iter().map(|worker| worker.id);
        let doorbells: BTreeMap<LcoreId, Doorbell> =
            workers().map(|id| Ok((id, Doorbell::new()?))).collect::<std::io::Result<_>>()?;
        let mut clients: BTreeMap<LcoreId, Vec<End>> = BTreeMap::new();
        let mut servers: BTreeMap<LcoreId, Vec<End>> = BTreeMap::new();
        for &spec in &layout.links {
            let (client, server) =
                lcores::link(eal, spec, &doorbells[&spec.client], &doorbells[&spec.server])?;
            clients.entry(spec.client).or_default().push(client);
            servers.entry(spec.server).or_default().push(server);
        }
        let rules = topology.match_rules(&topology.references());
        let (table, reduction) = Table::reduced(rules)?;
        let settings = topology.quarantine;
        let quarantine =
            Quarantine::new(lambdas.len(), settings.failures, u64::from(settings.window_ms) * 1_000_000);
        Ok(Self {
            topology,
            engine: engine.clone(),
            fuel_per_us,
            layout,
            doorbells,
            clients,
            servers,
            queues: workers().map(|id| (id, topology.ports.iter().map(|_| None).collect())).collect(),
            suspended: workers().map(|id| (id, Arc::default())).collect(),
            npus: workers().map(|id| (id, Npu::new(lambdas.len()))).collect(),
            calls: BTreeMap::new(),
            dispatchers: BTreeMap::new(),
            messages: BTreeMap::new(),
            mails: Vec::new(),
            quarantine: Arc::new(quarantine),
            table: Arc::new(table),
            reduction,
            directory: Arc::new(Directory::new(
                lambdas.iter().map(|lambda| (lambda.spec().id, lambda.reference)),
            )),
            lambdas: lambdas.len(),
            clock: TscClock::new(),
        })
    }

    /// What was derived from the lambdas and rules together.
    pub(super) fn deployment(&self, lambdas: &[Prepared], code: Coalesced) -> DeploymentStats {
        let extracted = lambdas.iter().fold(HeaderSet::NONE, |set, lambda| set.with(lambda.headers()));
        DeploymentStats::new(&self.table, &self.reduction, extracted, code)
    }

    /// Deals the ports' queues out to those who poll.
    pub(super) fn attach_ports(&mut self, ports: &mut [OpenPort]) {
        let counts: Vec<u16> = ports.iter().map(OpenPort::queue_count).collect();
        for (lcore, queues) in self.topology.pollers().into_iter().zip(self.topology.polling(&counts)) {
            let Some(own) = self.queues.get_mut(&lcore) else { continue };
            for (port, queue) in queues {
                own[port.index()] = ports[port.index()].take(queue);
            }
        }
    }

    /// Makes the dispatchers, and gives every lambda to those who run or queue it.
    pub(super) fn load(&mut self, lambdas: &[Prepared]) -> Result<(), StartError> {
        for spec in &self.topology.dispatchers {
            let mail = Mail::new(lambdas.len());
            self.mails.push((spec.lcore, mail.clone()));
            self.dispatchers.insert(spec.lcore, self.dispatcher(spec.lcore, &spec.npus, mail));
        }
        for (at, lambda) in lambdas.iter().enumerate() {
            if self.topology.dispatchers.is_empty() {
                for npu in &lambda.npus {
                    let lcore = self.topology.npus[npu.index()].lcore;
                    if self.layout.has(lcore, at) {
                        self.load_on(lcore, *npu, lambda)?;
                    }
                }
                continue;
            }
            for spec in &self.topology.dispatchers {
                if !self.layout.has(spec.lcore, at) {
                    continue;
                }
                let npus: Vec<NpuId> =
                    lambda.npus.iter().copied().filter(|npu| spec.npus.contains(npu)).collect();
                // Its memory is there for good: with the first of the NPUs that it moves between.
                let home = npus.first().copied().filter(|_| lambda.pinned);
                let pinned = home.map(|npu| lambda.load(npu)).transpose()?;
                for npu in &npus {
                    let lcore = self.topology.npus[npu.index()].lcore;
                    if lambda.pinned {
                        self.expect_calls(lcore, lambda);
                    } else {
                        self.load_on(lcore, *npu, lambda)?;
                    }
                }
                let share = Share {
                    weight: lambda.spec().weight,
                    queue: lambda.spec().queue_frames,
                    // One that waits for nobody is never in flight longer than its budget.
                    in_flight: if lambda.suspends() { lambda.in_flight() } else { u32::from(u16::MAX) },
                    npus: npus.into_iter().collect::<NpuSet>(),
                    pinned: lambda.pinned,
                };
                if let Some(dispatcher) = self.dispatchers.get_mut(&spec.lcore) {
                    dispatcher
                        .deploy(lambda.reference, share, pinned)
                        .map_err(|source| StartError::Share { name: lambda.spec().name.clone(), source })?;
                }
            }
        }
        Ok(())
    }

    /// Gives those who poll a message server each.
    pub(super) fn take_messages(
        &mut self,
        eal: &Eal,
        lambdas: &[Prepared],
        pool: &Mempool,
    ) -> Result<(), StartError> {
        let pollers = self.topology.pollers();
        let servers = messages::messages(eal, self.topology, lambdas, pool, pollers.len())?;
        self.messages = pollers.into_iter().zip(servers).collect();
        Ok(())
    }

    fn load_on(&mut self, lcore: LcoreId, id: NpuId, lambda: &Prepared) -> Result<(), StartError> {
        self.expect_calls(lcore, lambda);
        if let Some(npu) = self.npus.get_mut(&lcore) {
            npu.load(lambda.reference, lambda.load(id)?);
        }
        Ok(())
    }

    fn expect_calls(&mut self, lcore: LcoreId, lambda: &Prepared) {
        if lambda.suspends() {
            *self.calls.entry(lcore).or_default() += u64::from(lambda.in_flight());
        }
    }

    fn dispatcher(
        &self,
        lcore: LcoreId,
        npus: &[NpuId],
        mail: Mail,
    ) -> Dispatcher<dpdk_bindings::mbuf::Mbuf> {
        let clients = self.layout.clients(lcore);
        let feeds = self.topology.npus.iter().map(|npu| {
            if !npus.contains(&npu.id) {
                return None;
            }
            if npu.lcore == lcore {
                return Some(Feed::Here);
            }
            let is_its = |link: &LinkSpec| link.kind == LinkKind::Feed && link.server == npu.lcore;
            let at = clients.iter().position(is_its)?;
            Some(Feed::Client(at as u8, Arc::clone(&self.suspended[&npu.lcore])))
        });
        let limits = Limits {
            npu_in_flight: self.topology.scheduling.in_flight,
            waiting: self.topology.scheduling.waiting_frames,
            quantum_cycles: QUANTUM_NS,
            patience: PATIENCE,
        };
        Dispatcher::new(limits, feeds.collect(), self.lambdas, mail, Arc::clone(&self.quarantine))
    }

    /// One lcore with everything that is its.
    pub(super) fn lcore(&mut self, id: LcoreId, ports: &[OpenPort]) -> Result<Lcore, StartError> {
        let queues = self.queues.remove(&id).unwrap_or_default();
        let (clients, servers) =
            (self.clients.remove(&id).unwrap_or_default(), self.servers.remove(&id).unwrap_or_default());
        let dispatcher = self.dispatchers.remove(&id);
        let scheduling = &self.topology.scheduling;
        let waiting = if dispatcher.is_some() { scheduling.waiting_frames } else { 0 };
        let stock = lcores::stock(
            // Messages are jobs also where frames are not.
            waiting + if self.messages.contains_key(&id) { MESSAGE_JOBS } else { 0 },
            self.topology.npus.len(),
            clients.len(),
            if dispatcher.is_some() { scheduling.in_flight } else { 0 },
            self.calls.get(&id).copied().unwrap_or(0),
        );
        Ok(Lcore {
            attachments: attachments(ports, &queues),
            table: Arc::clone(&self.table),
            directory: Arc::clone(&self.directory),
            places: self.layout.places(id),
            quarantine: Arc::clone(&self.quarantine),
            npu: self.npus.remove(&id).unwrap_or_default(),
            dispatcher,
            clients,
            servers,
            stock,
            suspended_here: Arc::clone(&self.suspended[&id]),
            fuel_per_us: self.fuel_per_us,
            messages: self.messages.remove(&id),
            counters: Arc::new(LcoreCounters::new(self.lambdas)),
            sleeper: lcores::sleeper(self.topology, &queues, &self.doorbells[&id])?,
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
