//! Slots in plain memory, and datagrams.

use lnic_message::server::{Action, Limits, Refusal, Server, SlotId, Slots, Source, TenantId};
use lnic_message::{Head, Options};
use lnic_wire::rpc::{self, Header, Status, Tlv};

/// So many slots of one size, for every lambda below 100.
#[derive(Debug)]
pub struct Memory {
    pub slots: Vec<Vec<u8>>,
    pub taken: Vec<bool>,
}

impl Memory {
    pub fn new(slots: usize, bytes: usize) -> Self {
        Self { slots: vec![vec![0; bytes]; slots], taken: vec![false; slots] }
    }
}

impl Slots for Memory {
    fn tenant(&self, lambda: u32) -> Option<TenantId> {
        (lambda < 100).then_some(TenantId((lambda % 2) as u16))
    }

    fn take(&mut self, _: u32, bytes: u32) -> Result<SlotId, Refusal> {
        let free = self.taken.iter().position(|taken| !taken);
        let Some(free) = free.filter(|&free| self.slots[free].len() >= bytes as usize) else {
            return Err(Refusal { status: Status::Busy, retry_us: 77 });
        };
        self.taken[free] = true;
        Ok(SlotId(free as u32))
    }

    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]) {
        assert!(self.taken[slot.0 as usize], "a slot that is taken");
        self.slots[slot.0 as usize][offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn free(&mut self, slot: SlotId) {
        assert!(std::mem::take(&mut self.taken[slot.0 as usize]), "a slot that is taken");
    }
}

pub const SOURCE: Source = Source { address: [1; 16], port: 4000, interface: 0 };

pub fn limits() -> Limits {
    Limits {
        exchanges: 8,
        fragments: 256,
        message_bytes: 10_000,
        sessions: 8,
        cache_bytes: 8192,
        cache_bytes_per_tenant: 4096,
        tenants: 2,
        ..Limits::default()
    }
}

pub fn server() -> Server<()> {
    Server::new(limits(), [5; 16], 77)
}

/// A datagram with TLVs and a CRC.
pub fn datagram(mut header: Header, tlvs: &[Tlv<'_>], payload: &[u8]) -> Vec<u8> {
    let mut area = [0; rpc::HEADER_CAPACITY - rpc::HEADER_BYTES];
    let area_bytes = rpc::emit_tlvs(tlvs, &mut area).expect("fits");
    header.header_bytes = rpc::HEADER_BYTES + area_bytes;
    let mut datagram = vec![0; rpc::HEADER_BYTES];
    datagram.extend_from_slice(&area[..area_bytes]);
    datagram.extend_from_slice(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

/// Passes a datagram to the server as the appliance does.
pub fn pass(server: &mut Server<()>, memory: &mut Memory, now_us: u64, datagram: &[u8]) -> Action<()> {
    let header = Header::parse(datagram).expect("a header");
    server.frame(now_us, &SOURCE, (), &header, datagram, memory)
}

/// What the server answers, alone.
pub fn answer(action: Action<()>) -> Head {
    match action {
        Action::Send(head) => head,
        other => panic!("{other:?}"),
    }
}

/// A cookie, for the asking.
pub fn cookie(server: &mut Server<()>, memory: &mut Memory, now_us: u64) -> [u8; 8] {
    let ping = Header { kind: rpc::Kind::Ping, ..Header::request(1, 1, 0) };
    let action = pass(server, memory, now_us, &datagram(ping, &[Tlv::Cookie(&[0; 8])], &[]));
    let Options { cookie, epoch, .. } = *answer(action).options();
    assert_eq!(epoch, Some(77));
    cookie.expect("a cookie")
}
