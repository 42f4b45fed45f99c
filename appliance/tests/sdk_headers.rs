//! The C SDK's helpers for headers, through the deparser: what they make is a frame that its receiver takes.

mod support;

use lnic::frame::Checksum;
use lnic::matcher::{Egress, PortRange, Rule};
use lnic::parser::{self, Interface, Parsed, Present};
use support::frames::*;
use support::lab::{Deployed, Lab, built_from, interface};

/// Does what each byte of its payload says, and sends on what becomes of it. The first that is refused drops the frame.
const EDITOR: &str = "#include <lnic.h>
    #include <lnic_headers.h>
    static const uint8_t there[16] = {0x20, 1, 0xd, 0xb8, [15] = 1}, here[16] = {0x20, 1, 0xd, 0xb8, [15] = 2};
    static bool edit(EXTRACTED_HEADERS_T *headers, uint8_t step) {
        switch (step) {
        case 'V': return lnic_vlan_push(headers, 77, 5);
        case 'v': return lnic_vlan_pop(headers);
        case '4': return lnic_ipv4_push(headers, 0x0a000001, 0x0a000002, lnic_protocol(headers));
        case '6': return lnic_ipv6_push(headers, there, here, lnic_protocol(headers));
        case 'i': return lnic_ip_pop(headers, 0x88b5);
        case 'U': return lnic_udp_push(headers, 1000, 2000);
        case 'u': return lnic_udp_pop(headers, 253);
        case 'R': return lnic_rpc_push(headers, 7, 0x1122334455667788, 900);
        case 'r': return lnic_rpc_pop(headers);
        case '#': return lnic_vlan_push(headers, 4095, 0) || lnic_vlan_push(headers, 1, 8) || lnic_ip_pop(headers, 0x0800);
        default: return step == '.';
        }
    }
    LAMBDA(editor) {
        const uint8_t *steps = lnic_payload(match_data);
        for (uint32_t at = 0; at < match_data->length; at++) {
            if (!edit(headers, steps[at])) { return DROP; }
        }
        return FORWARD;
    }";

fn lab() -> Lab {
    let mut deployed = Deployed::new(built_from(EDITOR, "editor"), "editor");
    deployed.egress = Egress::Any;
    deployed.rules = vec![|rule| Rule { destination_port: PortRange::Exact(9), ..rule }];
    Lab::new(vec![deployed], false)
}

/// What a receiver finds in a frame that must be valid.
fn received(frame: &[u8]) -> Parsed {
    let peer = Interface { promiscuous: true, ..interface(0) };
    parser::parse(frame, Checksum::Unknown, Checksum::Unknown, &peer).expect("a valid frame")
}

#[test]
fn headers_come_and_go_and_frames_stay_valid() {
    let mut lab = lab();
    let payload =
        |frame: &[u8], parsed: &Parsed| frame[usize::from(parsed.payload)..usize::from(parsed.end)].to_vec();
    for (steps, has, has_not) in [
        ("V", Present::VLAN, Present::RPC),
        ("Vv", Present::IPV4, Present::VLAN),
        ("6", Present::IPV6, Present::IPV4),
        ("64", Present::IPV4, Present::IPV6),
        ("u", Present::IPV4, Present::PORTS),
        ("uU", Present::PORTS, Present::RPC),
        ("V6uU", Present::VLAN, Present::IPV4),
    ] {
        let replies = lab.exchange(&ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, steps.as_bytes()))));
        let [frame] = &replies[..] else { panic!("{steps}: {} frames", replies.len()) };
        let parsed = received(frame);
        let present = parsed.key.present;
        assert!(present.has(has) && !present.has(has_not), "{steps}: {present:?}");
        assert_eq!(payload(frame, &parsed), steps.as_bytes(), "{steps}");
    }
    lab.assert_balanced();
}

#[test]
fn added_headers_say_what_they_were_told() {
    let mut lab = lab();
    let send = |lab: &mut Lab, steps: &str| {
        lab.exchange(&ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, steps.as_bytes())))).remove(0)
    };
    let tagged = send(&mut lab, "V");
    assert_eq!(tagged[12..16], [0x81, 0, 5 << 5, 77]);
    let bare = send(&mut lab, "i");
    assert_eq!((&bare[12..14], &bare[14..15]), (&[0x88, 0xb5][..], &b"i"[..]));
    let other = send(&mut lab, "u");
    assert_eq!(other[14 + 9], 253);
    let translated = received(&send(&mut lab, "64uU"));
    assert_eq!((translated.key.source_port, translated.key.destination_port), (1000, 2000));
    assert_eq!(translated.key.destination, 0xffff_0a00_0002);
    // λ-RPC behind port 9 is a datagram to the parser: its header is read here as its receiver would.
    let message = send(&mut lab, "R");
    let header = lnic_wire::rpc::Header::parse(&message[14 + 20 + 8..]).expect("a λ-RPC request");
    assert_eq!((header.lambda, header.request, header.budget_us()), (7, 0x1122_3344_5566_7788, 900));
    assert_eq!(header.payload(&message[14 + 20 + 8..]), b"R");
    assert_eq!(send(&mut lab, "Rr").len(), 14 + 20 + 8 + 2);
    lab.assert_balanced();
}

#[test]
fn what_cannot_be_is_refused() {
    let mut lab = lab();
    for steps in ["VV", "v", "4", "66", "U", "ii", "iU", "uR", "r", "RR", "uu", "#", "iR"] {
        let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, steps.as_bytes())));
        assert!(lab.exchange(&frame).is_empty(), "{steps}");
    }
    lab.assert_balanced();
}
