//! Whatever datagrams come, every frame ends in one way, and what was taken is given back.

use proptest::prelude::*;

use crate::*;

/// A datagram that is mostly well-formed: of few sessions, sequences and shapes, so that they meet.
#[derive(Clone, Debug)]
struct Word {
    kind: u8,
    flags: u16,
    lambda: u32,
    session: u32,
    sequence: u32,
    message_length: u32,
    fragment_bytes: u16,
    fragment_index: u16,
    aux: u32,
    /// None, its port's, or a forged one.
    cookie: u8,
    bitmap: Option<Vec<u8>>,
    epoch: Option<u32>,
    has_right_length: bool,
    payload_bytes: usize,
    first: u8,
    port: u16,
    pass_us: u64,
}

fn few<T: Clone + std::fmt::Debug + Arbitrary + 'static>(values: Vec<T>) -> BoxedStrategy<T> {
    prop_oneof![6 => prop::sample::select(values), 1 => any::<T>()].boxed()
}

fn word() -> impl Strategy<Value = Word> {
    (
        (prop_oneof![3 => Just(0u8), 1 => 0..=8u8], any::<u16>(), few(vec![1u32, 2, 3, 4]), 0..2u32, 0..6u32),
        (few(vec![0u32, 100, 1000, 3000, 9000]), few(vec![0u16, 64, 1000, 1024]), few(vec![0u16, 1, 2, 3])),
        (few(vec![0u32, 1, 3, 64]), prop::sample::select(vec![0u8, 1, 1, 1, 2])),
        (
            prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 1..30)),
            prop::option::weighted(0.2, prop_oneof![Just(EPOCH), any::<u32>()]),
        ),
        (prop::bool::weighted(0.9), 0..1_400usize, prop::sample::select(b"ntldvhor".to_vec())),
        (0..3u16, prop_oneof![4 => Just(0u64), 2 => 0..2_000u64, 1 => 0..8_000_000u64]),
    )
        .prop_map(|(a, b, c, d, e, f)| Word {
            kind: a.0,
            flags: a.1,
            lambda: a.2,
            session: a.3,
            sequence: a.4,
            message_length: b.0,
            fragment_bytes: b.1,
            fragment_index: b.2,
            aux: c.0,
            cookie: c.1,
            bitmap: d.0,
            epoch: d.1,
            has_right_length: e.0,
            payload_bytes: e.1,
            first: e.2,
            port: PORT + f.0,
            pass_us: f.1,
        })
}

impl Word {
    fn datagram(&self, cookie: &[u8; 8]) -> Vec<u8> {
        let mut tlvs = Vec::new();
        match self.cookie {
            1 => tlvs.push(Tlv::Cookie(cookie)),
            2 => tlvs.push(Tlv::Cookie(&[9; 8])),
            _ => {}
        }
        tlvs.extend(self.bitmap.as_deref().map(Tlv::Bitmap));
        tlvs.extend(self.epoch.map(Tlv::Epoch));
        let adjust = |header: &mut Header| {
            header.kind = Kind::new(self.kind).expect("a kind");
            header.flags = self.flags;
            header.request = u64::from(self.session) << 32 | u64::from(self.sequence);
            header.message_length = self.message_length;
            header.fragment_bytes = self.fragment_bytes;
            header.fragment_index = self.fragment_index;
            header.aux = self.aux;
        };
        let mut header = Header::request(0, 0, 0);
        adjust(&mut header);
        let bytes = match header.payload_bytes() {
            Some(bytes) if self.has_right_length && bytes <= 1_400 => usize::from(bytes),
            _ => self.payload_bytes,
        };
        let mut payload = wants(4_000, bytes.max(5));
        payload[0] = self.first;
        payload.truncate(bytes);
        datagram_of(self.lambda, 0, &payload, &tlvs, adjust)
    }
}

/// Two lambdas with slots, one without; both of a kind that does what it is told.
fn lambdas() -> Vec<Deployed> {
    let worker = || Deployed { fuel: 20_000, ..worker() };
    vec![
        Deployed { slots: (2, 8192), ..worker() },
        Deployed { slots: (3, 3072), ..flip() },
        Deployed { slots: (0, 0), ..worker() },
    ]
}

/// Sends all of it, some in one burst; what is left behind is nothing.
fn suffer(arrangement: Arrangement, words: &[Word]) -> Result<(), TestCaseError> {
    let small = MessageSetup::default();
    let limits =
        lnic_message::server::Limits { exchanges: 6, sessions: 4, cache_bytes: 4096, ..small.limits };
    let messages = Some(MessageSetup { limits, running: 5 });
    let mut lab = Lab::of(lambdas(), Setup { messages, ..setup(arrangement) });
    let mut waiting = 0;
    let mut cookies = [0, 1, 2].map(|at| cookie(&mut lab, PORT + at));
    for word in words {
        let cookie = &cookies[usize::from(word.port - PORT)];
        prop_assert!(lab.peers[0].send(&framed(word.port, &word.datagram(cookie))));
        waiting += 1;
        if word.pass_us > 0 || waiting == 16 {
            lab.settle();
            waiting = 0;
            for header in headers(&lab.received(0)) {
                let is_ours = !matches!(header.kind, Kind::Request | Kind::Ack | Kind::Ping | Kind::Cancel);
                prop_assert!(is_ours, "{header:?}");
            }
            prop_assert!(lab.slots_taken() <= 5);
            lab.clock.pass(word.pass_us * 1000);
            lab.settle();
            lab.received(0);
            cookies = [0, 1, 2].map(|at| self::cookie(&mut lab, PORT + at));
        }
    }
    assert_at_rest(&mut lab);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn run_to_completion_gives_everything_back(words in prop::collection::vec(word(), 1..150)) {
        suffer(RunToCompletion, &words)?;
    }

    #[test]
    fn so_does_a_dispatcher(words in prop::collection::vec(word(), 1..150)) {
        suffer(OneLcore, &words)?;
    }

    #[test]
    fn so_do_links(words in prop::collection::vec(word(), 1..150)) {
        suffer(Links, &words)?;
    }

    #[test]
    fn so_do_both(words in prop::collection::vec(word(), 1..150)) {
        suffer(Mixed, &words)?;
    }
}
