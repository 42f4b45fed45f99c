//! A frame from the wire: parsed, answered by the appliance, extracted, changed as a hostile lambda would, deparsed.
//! Nothing panics, offsets lie in the frame, a refused frame is unchanged, and what leaves fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lnic_abi as abi;
use lnic_fuzz::deparser::{self, Exit};
use lnic_fuzz::frame::{Checksum, Frame};
use lnic_fuzz::ids::PortId;
use lnic_fuzz::lambda::extract::extract;
use lnic_fuzz::matcher::Egress;
use lnic_fuzz::parser::{self, Interface};
use lnic_fuzz::{Bytes, local, message};

fuzz_target!(|data: &[u8]| {
    // Two bytes steer; the next 160 are what the lambda makes of the headers; the rest is the frame.
    let Some((&[choice, port_state], rest)) = data.split_first_chunk::<2>() else { return };
    let Some((lambda, frame)) = rest.split_first_chunk::<{ size_of::<abi::Headers>() }>() else { return };
    let interface = Interface {
        port: PortId::new(0),
        mac: [2, 0, 0, 0, 0, 1],
        ipv4: Some([10, 77, 0, 1].into()),
        ipv6: Some("fd77::1".parse().unwrap()),
        rpc_port: 4793,
        service_ports: parser::Ports::NONE,
        promiscuous: port_state & 1 != 0,
        partial_checksums: port_state & 2 != 0,
        mtu: 1500,
    };
    let trust = if port_state & 4 != 0 { Checksum::Good } else { Checksum::Unknown };
    let mut frame = Bytes { bytes: frame.to_vec(), capacity: 2048 };
    let Ok(parsed) = parser::parse(frame.bytes(), trust, trust, &interface) else { return };
    let length = frame.bytes.len().min(usize::from(u16::MAX));
    for offset in [parsed.network, parsed.transport, parsed.rpc, parsed.payload, parsed.end] {
        assert!(usize::from(offset) <= length);
    }
    assert!(parsed.payload <= parsed.end || parsed.fragment);
    let _ = message::judge(frame.bytes(), &parsed, &interface);
    let mut headers = abi::Headers::default();
    extract(frame.bytes(), &parsed, 7, &mut headers);
    let mut answered = Bytes { bytes: frame.bytes.clone(), capacity: 2048 };
    let _ = local::answer(&mut answered, &parsed, &interface);
    assert!(answered.bytes.len() <= answered.capacity.max(frame.bytes.len()));

    // Bits of the choice say which headers the lambda overwrites; the others stay as they were extracted.
    let own: abi::Headers = bytemuck::pod_read_unaligned(lambda);
    let mut made = headers;
    if choice & 1 != 0 {
        made.rpc = own.rpc;
    }
    if choice & 2 != 0 {
        made.ethernet = own.ethernet;
        made.vlan = own.vlan;
    }
    if choice & 4 != 0 {
        made.ipv4 = own.ipv4;
    }
    if choice & 8 != 0 {
        made.ipv6 = own.ipv6;
    }
    if choice & 16 != 0 {
        made.udp = own.udp;
        made.tcp = own.tcp;
    }
    let egress = if choice & 32 != 0 { Egress::Any } else { Egress::Reply };
    let exit = Exit { interface: &interface, mtu: interface.mtu, tx_checksum: choice & 64 != 0 };
    let payload = vec![0x5A; usize::from(lambda[0]) * 8];
    let before = frame.bytes.clone();
    match deparser::deparse(&mut frame, &parsed, &made, &payload, egress, &exit) {
        Err(_) => assert_eq!(frame.bytes, before, "a refused frame is unchanged"),
        Ok(()) => assert!(frame.bytes.len() <= 1500 + 18),
    }
});
