//! A λ-RPC datagram: what parses has lengths that hold, and what is emitted again parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lnic_wire::rpc::Header;

fuzz_target!(|datagram: &[u8]| {
    let Ok(header) = Header::parse(datagram) else { return };
    let payload = header.payload(datagram);
    assert!(payload.len() <= datagram.len());
    let _ = header.accepts(payload.len());
    // Bounded: each TLV takes two bytes at least.
    let mut count = 0;
    for tlv in header.tlvs(datagram) {
        let _ = tlv;
        count += 1;
    }
    assert!(count <= datagram.len() / 2 + 1);
    let mut again = datagram.to_vec();
    header.emit(&mut again);
    assert_eq!(Header::parse(&again).expect("what was emitted parses"), header);
});
