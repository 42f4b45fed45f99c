use std::hint::black_box;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// The vectors of WIRE.md.
const REQUEST: &str =
    "a104900000000007c0ffee01000000010000000d0400000000001388cf892e5268656c6c6f2c206c616d626461";
const REPLY: &str =
    "a114800000000007c0ffee01000000010000000d040000000020002a8647ed5448454c4c4f2c204c414d424441";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn request_header() -> Header {
    Header { flags: CRC | AT_MOST_ONCE, aux: 5000, ..Header::request(7, 0xc0ff_ee01_0000_0001, 13) }
}

fn datagram(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; header.header_bytes];
    datagram.extend_from_slice(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

#[test]
fn crc_is_castagnoli() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn request_vector() {
    let vector = bytes(REQUEST);
    let header = Header::parse(&vector).expect("vector");
    assert_eq!(header, Header { crc: 0xcf89_2e52, ..request_header() });
    assert_eq!(header.budget_us(), 5000);
    assert_eq!((header.session(), header.sequence()), (0xc0ff_ee01, 1));
    assert_eq!(header.payload(&vector), b"hello, lambda");
    assert!(header.is_single_fragment() && header.accepts(13));
    assert_eq!(header.tlvs(&vector).count(), 0);
    assert_eq!(datagram(&request_header(), b"hello, lambda"), vector);
}

#[test]
fn reply_vector() {
    let vector = bytes(REPLY);
    let header = Header::parse(&vector).expect("vector");
    assert_eq!(
        (header.kind, header.status(), header.credit(), header.service_us()),
        (Kind::Reply, Status::Ok, 32, 42)
    );
    assert_eq!(header.payload(&vector), b"HELLO, LAMBDA");
    let reply = request_header().reply(Status::Ok, 32, 42, 13);
    assert_eq!(datagram(&reply, b"HELLO, LAMBDA"), vector);
}

#[test]
fn every_truncation_is_refused() {
    for vector in [bytes(REQUEST), bytes(REPLY)] {
        for end in 0..vector.len() {
            let expected = if end < HEADER_BYTES { Error::Truncated } else { Error::Crc };
            assert_eq!(Header::parse(&vector[..end]), Err(expected), "{end} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_clears_the_crc_flag() {
    let vector = bytes(REQUEST);
    for bit in 0..vector.len() * 8 {
        let mut flipped = vector.clone();
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        let expected = bit == 16;
        assert_eq!(Header::parse(&flipped).is_ok(), expected, "bit {bit}");
    }
}

#[test]
fn refuses_other_versions_types_and_lengths() {
    let with = |at: usize, value: u8| {
        let mut changed = bytes(REQUEST);
        changed[at] = value;
        Header::parse(&changed)
    };
    assert_eq!(with(0, 0xa2), Err(Error::Version));
    assert_eq!(with(1, 0x94), Err(Error::Header));
    assert_eq!(with(1, 0x03), Err(Error::Header));
    assert_eq!(with(1, 0x00), Err(Error::Header));
    assert_eq!(with(1, 0x0f), Err(Error::Truncated));
}

/// A datagram with this TLV area, checked without CRC.
fn with_tlvs(area: &[u8]) -> Result<Header, Error> {
    let header = Header { header_bytes: HEADER_BYTES + area.len(), ..Header::request(1, 1, 0) };
    let mut datagram = vec![0; HEADER_BYTES];
    datagram.extend_from_slice(area);
    header.emit(&mut datagram);
    Header::parse(&datagram)
}

#[test]
fn tlv_lengths_and_padding() {
    assert!(with_tlvs(&[4, 4, 1, 2, 3, 4, 0, 0]).is_ok());
    assert!(with_tlvs(&[9, 0, 9, 4, 0, 0, 0, 0]).is_ok(), "unknown types are skipped, more than once");
    let malformed: &[&[u8]] = &[
        &[0; 8],
        &[4, 4, 1, 2, 3, 4, 0, 1],
        &[4, 4, 1, 2, 3, 4, 9, 1],
        &[1, 6, 1, 2, 3, 4, 5, 6],
        &[4, 3, 1, 2, 3, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[3, 7, 1, 1, 1, 1, 1, 1],
        &[9, 255, 0, 0, 0, 0, 0, 0],
        &[9, 5, 0, 0, 0, 0, 0, 9],
        &[3, 1, 1, 3, 1, 1, 0, 0],
        &[4, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for area in malformed {
        assert_eq!(with_tlvs(area), Err(Error::Header), "{area:?}");
    }
}

#[test]
fn emit_refuses_tlvs_that_do_not_fit() {
    let mut area = [0; HEADER_CAPACITY - HEADER_BYTES];
    assert_eq!(emit_tlvs(&[], &mut area), Some(0));
    assert_eq!(emit_tlvs(&[Tlv::Bitmap(&[1; 86])], &mut area), Some(88));
    assert_eq!(emit_tlvs(&[Tlv::Bitmap(&[1; 87])], &mut area), None);
    assert_eq!(emit_tlvs(&[Tlv::Cookie(&[1; 8])], &mut area[..15]), None, "no room for padding");
    assert_eq!(emit_tlvs(&[Tlv::Bitmap(&[])], &mut area), None);
    assert_eq!(emit_tlvs(&[Tlv::Other { kind: 4, value: &[1] }], &mut area), None);
    assert_eq!(emit_tlvs(&[Tlv::Other { kind: 5, value: &[1; 256] }], &mut [0; 512]), None);
}

#[test]
fn statuses_have_numbers_and_names() {
    for raw in 0..=u8::MAX {
        assert_eq!(Status::new(raw).raw(), raw);
        assert_eq!(Status::new(raw).name().is_some(), raw <= 16 || (32..=34).contains(&raw), "{raw}");
    }
    assert_eq!(Status::NAMED.len(), 20);
    assert_eq!(Status::new(4).to_string(), "DEADLINE_EXCEEDED");
    assert_eq!(Status::new(99).to_string(), "STATUS_99");
}

#[test]
fn fragment_lengths() {
    let fragment = |message_length, fragment_bytes, fragment_index| Header {
        message_length,
        fragment_bytes,
        fragment_index,
        ..Header::request(1, 1, 0)
    };
    assert_eq!(fragment(0, 0, 0).payload_bytes(), Some(0));
    assert_eq!(fragment(0, 1024, 1).payload_bytes(), None);
    assert_eq!(fragment(5, 0, 0).payload_bytes(), None);
    assert_eq!(fragment(5, 0, 7).payload_bytes(), None);
    assert_eq!(fragment(2048, 1024, 1).payload_bytes(), Some(1024));
    assert_eq!(fragment(2049, 1024, 2).payload_bytes(), Some(1));
    assert_eq!(fragment(2049, 1024, 3).payload_bytes(), None);
    assert_eq!(fragment(u32::MAX, u16::MAX, u16::MAX).payload_bytes(), Some(u16::MAX));
    assert_eq!(fragment(2049, 1024, 0).fragments(), Some(3));
    assert_eq!(fragment(5, 0, 0).fragments(), None);
    assert_eq!(fragment(0, 0, 0).fragments(), Some(1));
    assert!(fragment(1024, 1024, 0).is_single_fragment());
    assert!(!fragment(1025, 1024, 0).is_single_fragment());
}

#[derive(Clone, Debug)]
struct Options {
    cookie: Option<[u8; 8]>,
    trace: Option<[u8; 25]>,
    bitmap: Vec<u8>,
    epoch: Option<u32>,
    other: Option<(u8, Vec<u8>)>,
}

impl Options {
    fn tlvs(&self) -> Vec<Tlv<'_>> {
        let mut tlvs = Vec::new();
        tlvs.extend(self.cookie.as_ref().map(Tlv::Cookie));
        tlvs.extend(self.trace.as_ref().map(Tlv::Trace));
        tlvs.extend((!self.bitmap.is_empty()).then_some(Tlv::Bitmap(&self.bitmap)));
        tlvs.extend(self.epoch.map(Tlv::Epoch));
        tlvs.extend(self.other.as_ref().map(|(kind, value)| Tlv::Other { kind: *kind, value }));
        tlvs
    }
}

fn options() -> impl Strategy<Value = Options> {
    let bitmap = proptest::collection::vec(any::<u8>(), 0..16);
    let other = proptest::option::of((5..=255_u8, proptest::collection::vec(any::<u8>(), 0..16)));
    (
        any::<Option<[u8; 8]>>(),
        proptest::option::of(proptest::array::uniform25(any::<u8>())),
        bitmap,
        any::<Option<u32>>(),
        other,
    )
        .prop_map(|(cookie, trace, bitmap, epoch, other)| Options {
            cookie,
            trace,
            bitmap,
            epoch,
            other,
        })
}

fn headers() -> impl Strategy<Value = Header> {
    (0..=8_u8, any::<u16>(), any::<(u32, u64, u32)>(), any::<(u16, u16, u32)>()).prop_map(
        |(kind, flags, (lambda, request, message_length), (fragment_bytes, fragment_index, aux))| Header {
            kind: Kind::new(kind).expect("a kind"),
            header_bytes: HEADER_BYTES,
            flags,
            lambda,
            request,
            message_length,
            fragment_bytes,
            fragment_index,
            aux,
            crc: 0,
        },
    )
}

proptest! {
    #[test]
    fn parse_inverts_emit(
        mut header in headers(),
        options in options(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let tlvs = options.tlvs();
        let mut area = [0xff; HEADER_CAPACITY - HEADER_BYTES];
        let area_bytes = emit_tlvs(&tlvs, &mut area).expect("fits");
        header.header_bytes += area_bytes;
        let mut datagram = vec![0; HEADER_BYTES];
        datagram.extend_from_slice(&area[..area_bytes]);
        datagram.extend_from_slice(&payload);

        header.emit_with_crc(&mut datagram);
        let parsed = Header::parse(&datagram).expect("sealed");
        prop_assert_eq!(parsed, Header { flags: header.flags | CRC, crc: parsed.crc, ..header });
        prop_assert_eq!(parsed.payload(&datagram), &payload[..]);
        prop_assert_eq!(parsed.tlvs(&datagram).collect::<Vec<_>>(), tlvs);

        // The definition, computed the slow way: a copy with the field zeroed.
        let mut zeroed = datagram.clone();
        zeroed[28..32].fill(0);
        prop_assert_eq!(parsed.crc, crc32c::crc32c(&zeroed));

        header.flags &= !CRC;
        header.emit(&mut datagram);
        prop_assert_eq!(Header::parse(&datagram), Ok(header));

        for end in 0..header.header_bytes {
            prop_assert_eq!(Header::parse(&datagram[..end]), Err(Error::Truncated));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut datagram in proptest::collection::vec(any::<u8>(), 0..160),
        words in 0..=0x8f_u8,
        begin_right in any::<bool>(),
    ) {
        if begin_right && datagram.len() >= HEADER_BYTES {
            datagram[0] = MAGIC_VERSION;
            datagram[1] = words;
            datagram[2] &= 0x7f;
        }
        if let Ok(header) = Header::parse(&datagram) {
            let area: usize = header.tlvs(&datagram).map(|tlv| tlv.bytes()).sum();
            prop_assert_eq!(area.next_multiple_of(8), header.header_bytes - HEADER_BYTES);
            prop_assert_eq!(header.payload(&datagram).len(), datagram.len() - header.header_bytes);
            let _ = (header.payload_bytes(), header.fragments(), header.is_single_fragment(), header.status());
        }
    }

    #[test]
    fn fragments_cover_the_message(message_length in 0..100_000_u32, fragment_bytes in 1..=3000_u16) {
        let mut header = Header { fragment_bytes, ..Header::request(1, 1, message_length) };
        let fragments = header.fragments().expect("a size");
        let mut sum = 0;
        for index in 0..fragments {
            let Ok(index) = u16::try_from(index) else { return Ok(()) };
            header.fragment_index = index;
            sum += u32::from(header.payload_bytes().expect("inside"));
        }
        prop_assert_eq!(sum, message_length);
    }
}

/// `cargo test --release -p lnic-wire parse_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "prints what it measured")]
fn parse_cost() {
    fn ns_per<T>(mut body: impl FnMut() -> T) -> f64 {
        const ROUNDS: u32 = 2_000_000;
        (0..5)
            .map(|_| {
                let start = Instant::now();
                (0..ROUNDS).for_each(|_| {
                    black_box(body());
                });
                start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
            })
            .fold(f64::INFINITY, f64::min)
    }
    fn three_pieces(datagram: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&datagram[..28]), &[0; 4]);
        crc32c::crc32c_append(crc, &datagram[32..])
    }
    fn copied(datagram: &[u8]) -> u32 {
        let (fixed, rest) = datagram.split_first_chunk().expect("a header");
        crc_of(fixed, rest)
    }
    println!("empty CRC: {:.1} ns", ns_per(|| crc32c::crc32c(black_box(&[]))));
    // In a frame the λ-RPC header begins at byte 42: 2 past 8-byte alignment.
    for (misaligned, payload_bytes) in [(0, 64), (2, 64), (2, 0), (2, 128), (2, 129), (2, 1024)] {
        let mut buffer = vec![0; 2048];
        let offset = buffer.as_ptr().align_offset(8) + misaligned;
        let sealed = &mut buffer[offset..offset + HEADER_BYTES + payload_bytes as usize];
        Header::request(7, 1, payload_bytes).emit_with_crc(sealed);
        let sealed = &*sealed;
        assert_eq!(three_pieces(sealed), copied(sealed));
        println!(
            "{payload_bytes} B, misaligned by {misaligned}: parse {:.1} ns; CRC {:.1}, in three pieces {:.1}",
            ns_per(|| Header::parse(black_box(sealed))),
            ns_per(|| copied(black_box(sealed))),
            ns_per(|| three_pieces(black_box(sealed))),
        );
    }
}

proptest! {
    #[test]
    fn a_sealed_header_is_what_sealing_the_datagram_makes(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        lambda: u32,
        request: u64,
        aux: u32,
    ) {
        let length = u32::try_from(payload.len()).unwrap();
        let header = Header { aux, ..Header::request(lambda, request, length) };
        let mut datagram = [vec![0; HEADER_BYTES], payload.clone()].concat();
        header.emit(&mut datagram);
        seal(&mut datagram);
        let sealed = header.sealed(&payload);
        let mut other = [vec![0; HEADER_BYTES], payload].concat();
        sealed.emit(&mut other);
        prop_assert_eq!(&other, &datagram);
        prop_assert_eq!(crate::checksum::fold(sealed.sum()), crate::checksum::fold(crate::checksum::add(0, &datagram[..HEADER_BYTES])));
    }
}
