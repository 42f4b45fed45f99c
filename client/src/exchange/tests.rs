use super::*;

const ID: RequestId = RequestId { session: 0xc0ff_ee01, sequence: 9 };
const LAMBDA: u32 = 7;
const TIMEOUT: Duration = Duration::from_millis(10);

fn exchange(options: CallOptions) -> Exchange {
    Exchange::new(ID, LAMBDA, b"hello", &options, 1440).expect("fits")
}

fn options() -> CallOptions {
    CallOptions { timeout: TIMEOUT, retries: 2, ..CallOptions::default() }
}

/// Sends the first attempt; the request as the appliance sees it.
fn send(exchange: &mut Exchange, now: Instant) -> Header {
    match exchange.poll(now) {
        Step::Transmit(datagram) => Header::parse(datagram).expect("a request"),
        step => panic!("{step:?}"),
    }
}

fn reply(request: &Header, payload: &[u8]) -> (Header, Vec<u8>) {
    let header = request.reply(Status::Ok, 3, 42, payload.len() as u32);
    (header, sealed(&header, payload))
}

fn sealed(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; header.header_bytes];
    datagram.extend_from_slice(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

#[test]
fn request_and_reply() {
    let start = Instant::now();
    let mut exchange = exchange(CallOptions { budget_us: 500, flags: rpc::AT_MOST_ONCE | 3, ..options() });
    let request = send(&mut exchange, start);
    assert_eq!(request.kind, Kind::Request);
    assert_eq!(request.flags, rpc::CRC | rpc::AT_MOST_ONCE | 3);
    assert_eq!((RequestId::of(&request), request.lambda, request.budget_us()), (ID, LAMBDA, 500));
    assert!(request.accepts(5));
    assert_eq!(exchange.poll(start), Step::Wait(start + TIMEOUT));

    let later = start + Duration::from_micros(30);
    let Received::Reply(reply) = exchange.receive(&reply(&request, b"HELLO").1, later) else {
        panic!("a reply")
    };
    assert_eq!((reply.status, reply.credit, reply.service_us, reply.attempts), (Status::Ok, 3, 42, 1));
    assert_eq!((&reply.payload[..], reply.round_trip), (&b"HELLO"[..], Duration::from_micros(30)));
}

#[test]
fn sends_again_with_what_is_left_of_the_budget_then_gives_up() {
    let start = Instant::now();
    let mut exchange =
        exchange(CallOptions { budget_us: 15_000, flags: rpc::NOREPLY | rpc::RTX, ..options() });
    assert_eq!(send(&mut exchange, start).flags, rpc::CRC);
    let second = send(&mut exchange, start + TIMEOUT);
    assert_eq!((second.flags, second.budget_us()), (rpc::CRC | rpc::RTX, 5_000));
    let third = send(&mut exchange, start + TIMEOUT * 2);
    assert_eq!(third.budget_us(), 1, "0 would be no budget");
    assert_eq!(exchange.poll(start + TIMEOUT * 2), Step::Wait(start + TIMEOUT * 3));
    assert_eq!(exchange.poll(start + TIMEOUT * 3), Step::GiveUp);
    assert_eq!((exchange.attempts(), exchange.waited(start + TIMEOUT * 3)), (3, TIMEOUT * 3));
    assert!(matches!(exchange.receive(&reply(&third, b"").1, start + TIMEOUT * 3), Received::Reply(_)));
}

#[test]
fn nack_sends_again_at_once_but_not_forever() {
    let now = Instant::now();
    let mut exchange = exchange(options());
    let request = send(&mut exchange, now);
    let nack = sealed(&Header { kind: Kind::Nack, ..Header::request(LAMBDA, ID.raw(), 0) }, b"");
    for _ in 0..2 {
        assert_eq!(exchange.receive(&nack, now), Received::Missing);
        assert_eq!(send(&mut exchange, now).request, request.request);
    }
    assert_eq!(exchange.receive(&nack, now), Received::Missing);
    assert_eq!(exchange.poll(now), Step::GiveUp);
}

#[test]
fn ignores_what_is_not_its_reply() {
    let now = Instant::now();
    let mut exchange = exchange(options());
    let request = send(&mut exchange, now);
    let (good, datagram) = reply(&request, b"HELLO");
    let mut ignored = |datagram: &[u8]| match exchange.receive(datagram, now) {
        Received::Ignored(why) => why,
        other => panic!("{other:?}"),
    };

    assert_eq!(ignored(b""), Ignored::Malformed);
    assert_eq!(ignored(&datagram[..datagram.len() - 1]), Ignored::Corrupt);
    let mut flipped = datagram.clone();
    flipped[34] ^= 1;
    assert_eq!(ignored(&flipped), Ignored::Corrupt);
    let longer = Header { message_length: 6, ..good };
    assert_eq!(ignored(&sealed(&longer, b"HELLO")), Ignored::Malformed);
    let other = RequestId { sequence: 8, ..ID };
    assert_eq!(ignored(&sealed(&Header { request: other.raw(), ..good }, b"HELLO")), Ignored::Other(other));
    let session = RequestId { session: 1, ..ID };
    assert_eq!(ignored(&sealed(&Header { request: session.raw(), ..good }, b"HELLO")), Ignored::Foreign);
    assert_eq!(ignored(&sealed(&Header { lambda: 8, ..good }, b"HELLO")), Ignored::Foreign);
    assert_eq!(
        ignored(&sealed(&Header { kind: Kind::Ack, ..good }, b"HELLO")),
        Ignored::Unexpected(Kind::Ack)
    );
    assert_eq!(ignored(&sealed(&request, b"hello")), Ignored::Unexpected(Kind::Request));
    assert!(matches!(exchange.receive(&datagram, now), Received::Reply(_)));
}

#[test]
fn names_a_reply_of_several_fragments() {
    let now = Instant::now();
    let mut exchange = exchange(options());
    let request = send(&mut exchange, now);
    let header = request.reply(Status::Ok, 0, 0, 5000);
    assert_eq!(exchange.receive(&sealed(&header, &[0; 1024]), now), Received::TooLong(5000));
}

#[test]
fn refuses_a_payload_of_several_fragments() {
    let make = |bytes: usize| Exchange::new(ID, LAMBDA, &vec![0; bytes], &options(), 1440);
    let mut largest = make(1440).expect("fits");
    assert_eq!(send(&mut largest, Instant::now()).fragment_bytes, 1440);
    for bytes in [1441, 100_000] {
        assert!(
            matches!(make(bytes), Err(Error::PayloadTooLong { bytes: b, limit_bytes: 1440 }) if b == bytes)
        );
    }
}
