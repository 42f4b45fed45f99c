//! One lcore of an appliance on simulated ports: no root, no hugepages, virtual time.

use std::path::PathBuf;
use std::sync::Arc;

use lnic::breath::Breath;
use lnic::control::build;
use lnic::frame::Frame as _;
use lnic::ids::{Generation, LambdaId, LambdaRef, LambdaSlot, PortId};
use lnic::island::Npu;
use lnic::lambda::{Engine, Image, Instance, Limits};
use lnic::matcher::{Egress, Rule, Table};
use lnic::observe::DropReason;
use lnic::observe::counters::LcoreCounters;
use lnic::parser::Interface;
use lnic::path::{Attachment, Path, Role};
use lnic::port::sim::{SimFrame, SimPeer, SimPool, SimPort};
use lnic::port::{Capabilities, Port};

use super::frames::{OUR_IPV4, OUR_IPV6, OUR_MAC, RPC_PORT};

pub type SimBreath = Breath<SimFrame, fn() -> u64>;

/// A lambda to deploy; its ID on the wire is its place, from 1.
pub struct Deployed {
    pub wasm: Vec<u8>,
    pub entry: &'static str,
    pub fuel: u64,
    pub egress: Egress,
    pub parameters: Vec<u8>,
    /// Rules besides its λ-RPC ID.
    pub rules: Vec<fn(Rule) -> Rule>,
}

impl Deployed {
    pub fn new(wasm: Vec<u8>, entry: &'static str) -> Self {
        Self {
            wasm,
            entry,
            fuel: 1_000_000,
            egress: Egress::Reply,
            parameters: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// One of the lambdas of the tree, built from its C source.
    pub fn from_tree(folder: &str, entry: &'static str) -> Self {
        Self::new(built(folder), entry)
    }

    pub fn wat(text: &str) -> Self {
        Self::new(wat::parse_str(text).expect("test module"), "entry")
    }
}

/// Builds a lambda of the tree with clang, as `lnic build` does.
pub fn built(folder: &str) -> Vec<u8> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../lambdas").join(folder);
    let output = tempfile::NamedTempFile::new().expect("temporary file");
    let options = build::Options { output: Some(output.path().into()), ..build::Options::default() };
    build::build(&source, &options).expect("lambda builds");
    std::fs::read(output.path()).expect("built module")
}

/// A module whose entry has this body.
pub fn module(body: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1 1)
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "entry") (param $headers i32) (param $match i32) (result i32) {body}))"#
    )
}

pub struct Lab {
    pub breath: SimBreath,
    pub peers: Vec<SimPeer>,
    pub pool: SimPool,
    pub counters: Arc<LcoreCounters>,
}

pub fn interface(port: u16) -> Interface {
    Interface {
        port: PortId::new(port),
        mac: OUR_MAC,
        ipv4: Some(OUR_IPV4.into()),
        ipv6: Some(OUR_IPV6.into()),
        rpc_port: RPC_PORT,
        promiscuous: false,
        partial_checksums: false,
        mtu: 1500,
    }
}

impl Lab {
    /// A wire port, with a host port beside it if asked for.
    pub fn new(lambdas: Vec<Deployed>, host_port: bool) -> Self {
        Self::with(lambdas, host_port, Capabilities::default(), |_| {}, |port| port)
    }

    pub fn with(
        lambdas: Vec<Deployed>,
        host_port: bool,
        capabilities: Capabilities,
        adjust: impl Fn(&mut Interface),
        wrap: impl Fn(Box<dyn Port<SimFrame>>) -> Box<dyn Port<SimFrame>>,
    ) -> Self {
        let pool = SimPool::new(512, 2048);
        let counters = Arc::new(LcoreCounters::new(lambdas.len()));
        let (npu, rules) = deploy(lambdas);
        let host = host_port.then_some(PortId::new(1));
        let mut attachments = Vec::new();
        let mut ports: Vec<Option<Box<dyn Port<SimFrame>>>> = Vec::new();
        let mut peers = Vec::new();
        let roles = [Some(Role::Wire { host }), host.map(|_| Role::Host { wire: PortId::new(0) })];
        for (at, role) in (0u16..).zip(roles.into_iter().flatten()) {
            let (port, peer) = SimPort::pair(&pool, capabilities);
            let mut interface = interface(at);
            interface.promiscuous = matches!(role, Role::Host { .. });
            adjust(&mut interface);
            attachments.push(Attachment { interface, role, tx_checksum: capabilities.tx_checksum });
            ports.push(Some(wrap(Box::new(port))));
            peers.push(peer);
        }
        let table = Arc::new(Table::build(rules).expect("rules"));
        let path = Path::new(attachments, table, npu, Arc::clone(&counters));
        let clock: fn() -> u64 = || 1_000;
        Self { breath: Breath::new(ports, path, clock, Arc::clone(&counters)), peers, pool, counters }
    }

    /// Sends one frame to the wire port and returns what comes back there.
    pub fn exchange(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.peers[0].send(frame), "frame of {} bytes", frame.len());
        self.settle();
        self.received(0)
    }

    /// Breathes until nothing is left to do.
    pub fn settle(&mut self) {
        while self.breath.once() {}
    }

    /// What the appliance sent on a port since it was last asked.
    pub fn received(&mut self, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.peers[port].receive()).map(|frame| frame.bytes().to_vec()).collect()
    }

    /// Asserts that every frame has ended in exactly one way and that no buffer has leaked.
    pub fn assert_balanced(&mut self) {
        let counters = &self.counters;
        let ended = counters.sent.get() + counters.to_host.get() + counters.dropped_total();
        assert_eq!(counters.received.get(), ended, "received = sent + to host + dropped");
        for port in 0..self.peers.len() {
            self.received(port);
        }
        assert_eq!(self.pool.available(), self.pool.frames(), "buffers in the pool");
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }
}

fn deploy(lambdas: Vec<Deployed>) -> (Npu, Vec<Rule>) {
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let mut npu = Npu::new();
    let mut rules = Vec::new();
    for (slot, lambda) in (0u32..).zip(lambdas) {
        let reference = LambdaRef { slot: LambdaSlot::new(slot), generation: Generation::new(1) };
        let id = LambdaId::new(slot + 1);
        let image =
            Image::compile(&engine, &lambda.wasm, lambda.entry, &Limits::default()).expect("compiles");
        npu.load(reference, id, Instance::new(&image, lambda.fuel).expect("instantiates"));
        let parameters = lnic::matcher::Parameters::new(&lambda.parameters).expect("parameters");
        let base = Rule { egress: lambda.egress, parameters, ..Rule::any(reference) };
        rules.push(Rule { rpc_lambda: Some(id), ..base.clone() });
        rules.extend(lambda.rules.iter().map(|rule| rule(base.clone())));
    }
    (npu, rules)
}
