//! Sequences of λ-RPC datagrams out of a fuzzer's bytes: mostly well-formed, of few requests and shapes, so that they meet.

use lnic_wire::rpc::{self, Header, Kind, Tlv};

/// The bytes that are left; what is not there is 0.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of a few values, or any.
    fn few(&mut self, values: &[u32]) -> u32 {
        let at = usize::from(self.byte());
        values.get(at % (values.len() + 1)).copied().unwrap_or_else(|| self.number())
    }
}

/// A datagram. `request` makes its ID of two small numbers; `cookies` are those that it can show.
pub fn datagram(input: &mut Input<'_>, request: impl Fn(u8, u8) -> u64, cookies: &[[u8; 8]]) -> Vec<u8> {
    let choice = input.byte();
    if choice == 0xFF {
        let bytes = usize::from(input.byte());
        return input.take(bytes).to_vec();
    }
    let kind = Kind::new(choice % 9).unwrap_or(Kind::Request);
    let flags = u16::from(input.byte()) << 8 | u16::from(input.byte() & 7);
    let (session, sequence) = (input.byte(), input.byte());
    let lambda = input.few(&[1, 2, 3, 4]);
    let mut header = Header {
        kind,
        flags,
        message_length: input.few(&[0, 60, 300, 1000, 4000]),
        fragment_bytes: input.few(&[16, 64, 100, 1024]) as u16,
        fragment_index: input.few(&[0, 1, 2, 3, 40, 63, 64]) as u16,
        aux: input.few(&[0, 1, 3, 64, 0x2000_01F4, 0x2100_0000, 0x2200_0000]),
        ..Header::request(lambda, request(session, sequence), 0)
    };
    let tlv_choice = input.byte();
    let (bitmap_bytes, epoch) = (usize::from(tlv_choice >> 4), input.byte());
    let bitmap = input.take(bitmap_bytes);
    let mut tlvs = Vec::new();
    let cookie = cookies.get(usize::from(tlv_choice & 7)).copied().unwrap_or([9; 8]);
    if tlv_choice & 7 < 5 {
        tlvs.push(Tlv::Cookie(&cookie));
    }
    if !bitmap.is_empty() {
        tlvs.push(Tlv::Bitmap(bitmap));
    }
    if epoch < 4 {
        tlvs.push(Tlv::Epoch(u32::from(epoch)));
    }
    let mut area = [0; rpc::HEADER_CAPACITY - rpc::HEADER_BYTES];
    let area_bytes = rpc::emit_tlvs(&tlvs, &mut area).unwrap_or_default();
    header.header_bytes = rpc::HEADER_BYTES + area_bytes;
    let payload_bytes = match header.payload_bytes() {
        Some(bytes) if choice & 0x40 == 0 && bytes <= 1500 => usize::from(bytes),
        _ => usize::from(input.byte()),
    };
    let mut datagram = vec![0; rpc::HEADER_BYTES];
    datagram.extend_from_slice(&area[..area_bytes]);
    datagram.resize(header.header_bytes + payload_bytes, choice);
    if choice & 0x80 == 0 {
        header.emit_with_crc(&mut datagram);
    } else {
        header.emit(&mut datagram);
    }
    datagram
}
