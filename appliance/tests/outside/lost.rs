//! What does not come, or comes too late.

use lnic::observe::DropReason;
use lnic::path::Stock;

use crate::*;

#[test]
fn a_request_that_nobody_answers_ends_with_its_time() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        assert!(exchange(&mut lab, FOUR, b"", b"here").is(b"here"));
        // Nobody waits longer than 10 s.
        for (timeout_us, waits_us) in [(1_000, 1_000), (1_000_000, 1_000_000), (i32::MAX as u32, 10_000_000)]
        {
            ask(&mut lab, FOUR, timeout_us, b"silence");
            assert_eq!(settled(&mut lab).requests.len(), 1);
            pass_us(&mut lab, waits_us - 500);
            assert!(told(&mut lab).is_empty(), "{arrangement:?}: it still waits");
            pass_us(&mut lab, 500);
            assert_eq!(told_once(&mut lab).result, -4, "{arrangement:?}: DEADLINE_EXCEEDED");
            assert!(settled(&mut lab).requests.is_empty());
        }
        assert_eq!(lab.count(1, |count| &count.requests_timed_out), 3);
        assert_eq!(lab.count(1, |count| &count.calls_timed_out), 0);
        assert_ended(&mut lab);
    }
}

#[test]
fn a_reply_that_comes_late_is_nobodys() {
    for arrangement in ALL {
        for service in [FOUR, MEMCACHED] {
            let one = Deployed { in_flight: 1, ..asker() };
            let setup = OutsideSetup { in_flight: 1, ..OutsideSetup::default() };
            let mut lab = lab_with(arrangement, vec![one], setup);
            assert!(exchange(&mut lab, service, b"", b"here").is(b"here"));
            let mut late = Vec::new();
            for round in 0..20u64 {
                ask(&mut lab, service, 1_000, b"slow");
                let request = settled(&mut lab).requests.remove(0);
                pass_us(&mut lab, 1_100);
                assert_eq!(told_once(&mut lab).result, -4);
                late.push(answer_of(service, &request, b"late"));
                // The place of the one that gave up is taken by the next, which must not get it.
                ask(&mut lab, service, 1_000, b"next");
                let next = settled(&mut lab).requests.remove(0);
                late.iter().for_each(|late| deliver(&mut lab, late));
                assert!(told(&mut lab).is_empty(), "{arrangement:?}: another's reply");
                assert_eq!(lab.dropped(DropReason::StrayReply), (round + 1) * (round + 2) / 2);
                deliver(&mut lab, &answer_of(service, &next, b"mine"));
                assert!(told_once(&mut lab).is(b"mine"));
            }
            assert_ended(&mut lab);
        }
    }
}

/// Asks again and again at once, as long as nobody answers; what the last answer was, and after how many.
const STUBBORN: &str = "#include <lnic.h>
    LAMBDA(stubborn) {
        uint8_t reply[64];
        int32_t result = -STATUS_DEADLINE_EXCEEDED;
        uint32_t times = 0;
        while (result == -STATUS_DEADLINE_EXCEEDED && times < 5) {
            times++;
            result = lnic_request(0, \"once more\", 9, reply, sizeof(reply), 1000);
        }
        lnic_store_be32(lnic_payload(match_data), times);
        lnic_store_be32(lnic_payload(match_data) + 4, (uint32_t)result);
        return lnic_reply(headers, match_data, STATUS_OK, 8);
    }";

#[test]
fn who_is_told_that_its_time_is_over_may_ask_again_at_once() {
    for arrangement in ALL {
        // As many calls in store as can be under way.
        let outside = Some(OutsideSetup { in_flight: 1, ..OutsideSetup::default() });
        let setup = Setup { outside, stock: Stock { jobs: 600, calls: 1 }, ..arrangement.setup() };
        let stubborn = Deployed::new(built_from(STUBBORN, "stubborn"), "stubborn");
        let mut lab = Lab::of(vec![stubborn], setup);
        assert!(lab.peers[0].send(&rpc4(1, &[0; 8])));
        let mut requests = resolved(&mut lab).requests;
        for time in 2..=4 {
            assert_eq!(requests.len(), 1, "{arrangement:?}: time {time}");
            pass_us(&mut lab, 1_000);
            requests = settled(&mut lab).requests;
        }
        deliver(&mut lab, &requests[0].reply(b"at last"));
        let reply = reply(&settled(&mut lab).others[0]).payload;
        assert_eq!(reply, [4u32, 7].map(u32::to_be_bytes).concat(), "{arrangement:?}");
        assert_ended(&mut lab);
    }
}

#[test]
fn an_npu_that_dies_takes_no_place_with_it() {
    for arrangement in [Links, Mixed] {
        // The last quarter is not for one who has half.
        let setup = OutsideSetup { in_flight: 42, ..OutsideSetup::default() };
        let mut lab = lab_with(arrangement, vec![asker()], setup);
        assert!(exchange(&mut lab, FOUR, b"", b"here").is(b"here"));
        for _ in 0..32 {
            ask(&mut lab, FOUR, 50_000, b"before");
        }
        let requests = settled(&mut lab).requests;
        assert_eq!(requests.len(), 32, "{arrangement:?}");
        let (at, npu) = if arrangement == Links { (0, 0) } else { (0, 1) };
        lab.kill(at, npu);
        lab.settle();
        // Half are answered, though nobody may be there any more; the time of the others is over.
        requests[..16].iter().for_each(|request| deliver(&mut lab, &request.reply(b"whom?")));
        lab.settle();
        pass_us(&mut lab, 60_000);
        let survivors = told(&mut lab).len();
        assert!(survivors < 32, "{arrangement:?}");
        assert_eq!(survivors as u64 + lab.dropped(DropReason::NpuLost), 32, "{arrangement:?}");
        for _ in 0..32 {
            ask(&mut lab, FOUR, 50_000, b"after");
        }
        let requests = settled(&mut lab).requests;
        assert_eq!(requests.len(), 32, "{arrangement:?}: every place is free again");
        requests.iter().for_each(|request| deliver(&mut lab, &request.reply(b"you")));
        assert_eq!(told(&mut lab).iter().filter(|told| told.is(b"you")).count(), 32);
        lab.rest();
        lab.assert_balanced();
    }
}
