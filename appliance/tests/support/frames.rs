//! Frames made byte by byte, with a checksum of their own, so that they judge the appliance's code and do not share its mistakes.

use lnic_wire::rpc;

pub const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub const OUR_IPV4: [u8; 4] = [10, 77, 0, 1];
pub const PEER_IPV4: [u8; 4] = [10, 77, 0, 2];
pub const OUR_IPV6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const PEER_IPV6: [u8; 16] =
    [0xfd, 0x77, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x17, 0x28, 0x39, 0x4a, 0x5b, 0x6c, 0x7d, 2];
pub const RPC_PORT: u16 = 4793;
pub const PEER_PORT: u16 = 50_000;

/// RFC 1071, two bytes at a time.
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let bytes = pieces.concat();
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

pub fn ethernet(vlan: Option<u16>, ether_type: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    if let Some(tag) = vlan {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(rest);
    frame
}

pub fn ipv4(options: &[u8], protocol: u8, rest: &[u8]) -> Vec<u8> {
    let header_bytes = 20 + options.len();
    let mut ip = vec![0x40 | u8::try_from(header_bytes / 4).unwrap(), 0];
    ip.extend(u16::try_from(header_bytes + rest.len()).unwrap().to_be_bytes());
    ip.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(PEER_IPV4);
    ip.extend(OUR_IPV4);
    ip.extend(options);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(rest);
    ip
}

/// `extensions` must begin with a header of type `first`.
pub fn ipv6(first: u8, extensions: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x6A, 0xB1, 0x2C, 0x3D];
    ip.extend(u16::try_from(extensions.len() + rest.len()).unwrap().to_be_bytes());
    ip.extend([first, 64]);
    ip.extend(PEER_IPV6);
    ip.extend(OUR_IPV6);
    ip.extend(extensions);
    ip.extend(rest);
    ip
}

pub fn udp(pseudo: &[&[u8]], source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram =
        [source.to_be_bytes(), destination.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    datagram.extend(payload);
    let upper = [[0, 17], length.to_be_bytes()].concat();
    let sum = checksum(&[&pseudo.concat(), &upper, &datagram]);
    datagram[6..8].copy_from_slice(&if sum == 0 { 0xFFFF } else { sum }.to_be_bytes());
    datagram
}

pub fn udp4(destination: u16, payload: &[u8]) -> Vec<u8> {
    udp(&[&PEER_IPV4, &OUR_IPV4], PEER_PORT, destination, payload)
}

pub fn udp6(destination: u16, payload: &[u8]) -> Vec<u8> {
    udp(&[&PEER_IPV6, &OUR_IPV6], PEER_PORT, destination, payload)
}

/// A broadcast ARP request for the appliance's address.
pub fn arp_request() -> Vec<u8> {
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &PEER_MAC, &PEER_IPV4, &[0; 6], &OUR_IPV4].concat();
    let mut frame = ethernet(None, 0x0806, &arp);
    frame[..6].fill(0xFF);
    frame
}

/// A λ-RPC request with a right CRC.
pub fn request(lambda: u32, payload: &[u8]) -> Vec<u8> {
    request_with(lambda, payload, |_| {})
}

pub fn request_with(lambda: u32, payload: &[u8], adjust: impl Fn(&mut rpc::Header)) -> Vec<u8> {
    let mut header =
        rpc::Header::request(lambda, 0xC0FF_EE01_0000_0001, u32::try_from(payload.len()).unwrap());
    adjust(&mut header);
    let mut datagram = vec![0; rpc::HEADER_BYTES];
    datagram.extend(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

/// A whole frame with a λ-RPC request over IPv4.
pub fn rpc4(lambda: u32, payload: &[u8]) -> Vec<u8> {
    ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &request(lambda, payload))))
}

/// A whole frame with a λ-RPC request over IPv6.
pub fn rpc6(lambda: u32, payload: &[u8]) -> Vec<u8> {
    ethernet(None, 0x86DD, &ipv6(17, &[], &udp6(RPC_PORT, &request(lambda, payload))))
}

/// A reply, taken apart and checked: addresses turned round, checksums, lengths, CRC.
pub struct Reply {
    pub vlan: Option<u16>,
    pub header: rpc::Header,
    pub payload: Vec<u8>,
}

pub fn reply(frame: &[u8]) -> Reply {
    assert_eq!(frame[..6], PEER_MAC, "destination MAC");
    assert_eq!(frame[6..12], OUR_MAC, "source MAC");
    let (vlan, at) = if frame[12..14] == [0x81, 0] {
        (Some(u16::from_be_bytes([frame[14], frame[15]])), 16)
    } else {
        (None, 12)
    };
    let ip = &frame[at + 2..];
    let datagram = match frame[at..at + 2] {
        [0x08, 0x00] => {
            let header_bytes = usize::from(ip[0] & 15) * 4;
            assert_eq!(checksum(&[&ip[..header_bytes]]), 0, "IPv4 header checksum");
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len(), "IPv4 total length");
            assert_eq!((&ip[12..16], &ip[16..20]), (&OUR_IPV4[..], &PEER_IPV4[..]), "IPv4 addresses");
            check_udp(&ip[12..20], &ip[header_bytes..]);
            &ip[header_bytes..]
        }
        [0x86, 0xDD] => {
            assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), ip.len() - 40, "IPv6 payload length");
            assert_eq!((&ip[8..24], &ip[24..40]), (&OUR_IPV6[..], &PEER_IPV6[..]), "IPv6 addresses");
            let mut at = 40;
            let mut next = ip[6];
            while next != 17 {
                (next, at) = (ip[at], at + 8 * (usize::from(ip[at + 1]) + 1));
            }
            check_udp(&ip[8..40], &ip[at..]);
            &ip[at..]
        }
        [high, low] => panic!("EtherType {high:02x}{low:02x}"),
        _ => unreachable!(),
    };
    assert_eq!(datagram[..4], [RPC_PORT.to_be_bytes(), PEER_PORT.to_be_bytes()].concat(), "UDP ports");
    let header = rpc::Header::parse(&datagram[8..]).expect("λ-RPC reply");
    assert_eq!(header.request, 0xC0FF_EE01_0000_0001, "request ID");
    let payload = datagram[8 + header.header_bytes..].to_vec();
    assert_eq!(header.message_length as usize, payload.len(), "message length");
    Reply { vlan, header, payload }
}

fn check_udp(addresses: &[u8], datagram: &[u8]) {
    assert_eq!(usize::from(u16::from_be_bytes([datagram[4], datagram[5]])), datagram.len(), "UDP length");
    let upper = [[0, 17], [datagram[4], datagram[5]]].concat();
    assert_eq!(checksum(&[addresses, &upper, datagram]), 0, "UDP checksum");
}
