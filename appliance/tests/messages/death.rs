//! NPUs that die with messages on them: their slots come back.

use lnic::observe::DropReason;

use crate::*;

/// When a message whose NPU has died is given up.
const LOST_NS: u64 = 60_000_000_000;

#[test]
fn slots_of_messages_on_a_dead_npu_come_back() {
    for (arrangement, npu) in [(Links, 0), (Mixed, 1)] {
        for bytes in [3_000, 100] {
            let mut lab = lab(arrangement, vec![Deployed { slots: (4, 8192), ..flip() }]);
            let mut callers: Vec<Caller> = (0..4).map(|at| Caller::new(PORT + at)).collect();
            // Each has a cookie before it counts.
            for (seed, caller) in (0..).zip(&mut callers) {
                assert_eq!(caller.ask(&mut lab, 1, &body(3_000, seed)).0, Status::Ok);
            }
            for (seed, caller) in (0..).zip(&mut callers) {
                caller.request(&lab, 1, body(bytes, seed), RequestOptions::default());
                caller.transmit(&mut lab);
            }
            // The dispatcher hands them out, and an NPU dies before it looks.
            for _ in 0..6 {
                lab.breath.once();
            }
            lab.kill(0, npu);
            lab.settle();
            let lost = lab.dropped(DropReason::NpuLost);
            assert!(lost > 0, "{arrangement:?} {bytes}");
            assert_eq!(lab.slots_taken() as u64, lost + answered(&mut lab, &mut callers, bytes));
            lab.clock.pass(LOST_NS);
            lab.settle();
            lab.rest();
            assert_eq!(lab.slots_taken(), 0, "{arrangement:?} {bytes}");
            // All of them can be used again.
            let mut after: Vec<Caller> = (0..4).map(|at| Caller::new(PORT + 10 + at)).collect();
            for (seed, caller) in (0..).zip(&mut after) {
                caller.request(&lab, 1, body(8_000, seed), RequestOptions::default());
            }
            converse(&mut lab, &mut after.iter_mut().collect::<Vec<_>>());
            for (seed, caller) in (0..).zip(&mut after) {
                assert!(caller.replies()[0].payload == flipped(&body(8_000, seed)), "{arrangement:?}");
            }
            assert_at_rest(&mut lab);
        }
    }
}

/// How many replies of several frames are on their way, with their slots; those of one frame have none any more.
fn answered(lab: &mut Lab, callers: &mut [Caller], bytes: usize) -> u64 {
    let frames = lab.received(0);
    let mut replied: Vec<u16> = Vec::new();
    for (frame, header) in frames.iter().zip(headers(&frames)) {
        let (port, _) = datagram(frame).expect("λ-RPC");
        if header.kind == Kind::Reply && header.fragments() > Some(1) && !replied.contains(&port) {
            replied.push(port);
        }
    }
    assert!(bytes > 1_024 || replied.is_empty());
    // They are not acknowledged: the callers are gone too.
    callers.iter_mut().for_each(|caller| caller.events.clear());
    replied.len() as u64
}
