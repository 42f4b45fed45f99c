//! Senders that lie: with the addresses of others, so that they see no answer, or with their own and a cookie.

use lnic_message::Options;
use lnic_wire::rpc::{self, HEADER_BYTES, Header, Kind, Tlv};

#[derive(Debug)]
pub(crate) struct Attacker {
    /// Sees what is sent to it, and shows the cookie that it got.
    listens: bool,
    cookie: Option<[u8; 8]>,
    /// What it heard of last, to speak of again.
    heard: Option<Header>,
}

impl Attacker {
    pub(crate) fn new(listens: bool) -> Self {
        Self { listens, cookie: None, heard: None }
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) {
        if let Ok(header) = Header::parse(datagram)
            && self.listens
        {
            self.cookie = Options::of(header.tlvs(datagram)).cookie.or(self.cookie);
            self.heard = Some(header);
        }
    }

    /// Something to send.
    pub(crate) fn datagram(&mut self, random: &mut fastrand::Rng) -> Vec<u8> {
        if random.u8(0..10) == 0 {
            return (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        }
        let kind = match random.u8(0..20) {
            raw @ 0..=8 => Kind::new(raw).expect("a kind"),
            _ => Kind::Request,
        };
        let few = |random: &mut fastrand::Rng| random.u32(0..6);
        let session = random.u32(0..20);
        let mut header = Header {
            kind,
            flags: rpc::CRC | random.u16(..) & (rpc::RTX | rpc::AT_MOST_ONCE | rpc::NOREPLY),
            message_length: random.u32(0..4_000),
            fragment_bytes: random.u16(0..200),
            fragment_index: few(random) as u16,
            aux: if random.bool() { few(random) } else { random.u32(..) },
            ..Header::request(few(random), u64::from(session) << 32 | u64::from(few(random) * 40), 0)
        };
        if random.u8(0..4) == 0 {
            header.message_length = random.u32(..);
        }
        if let Some(heard) = self.heard.filter(|_| random.bool()) {
            header.lambda = heard.lambda;
            header.request = heard.request;
            if random.bool() {
                (header.message_length, header.fragment_bytes) = (heard.message_length, heard.fragment_bytes);
            }
        }
        let payload_bytes = match header.payload_bytes() {
            Some(bytes) if random.u8(0..8) > 0 && bytes < 1000 => usize::from(bytes),
            _ => random.usize(0..100),
        };
        let bitmap: Vec<u8> = (0..random.usize(1..20)).map(|_| random.u8(..)).collect();
        let mut tlvs = Vec::new();
        let forged = [random.u8(..); 8];
        match (&self.cookie, random.u8(0..4)) {
            (Some(cookie), 0..3) => tlvs.push(Tlv::Cookie(cookie)),
            (_, 0) => tlvs.push(Tlv::Cookie(&forged)),
            _ => {}
        }
        if random.u8(0..4) == 0 {
            tlvs.push(Tlv::Bitmap(&bitmap));
        }
        if random.u8(0..4) == 0 {
            tlvs.push(Tlv::Epoch(random.u32(0..4)));
        }
        let mut area = [0; rpc::HEADER_CAPACITY - HEADER_BYTES];
        let area_bytes = rpc::emit_tlvs(&tlvs, &mut area).expect("fits");
        header.header_bytes += area_bytes;
        let mut datagram = vec![0; HEADER_BYTES];
        datagram.extend_from_slice(&area[..area_bytes]);
        datagram.resize(header.header_bytes + payload_bytes, random.u8(..));
        header.emit_with_crc(&mut datagram);
        datagram
    }
}
