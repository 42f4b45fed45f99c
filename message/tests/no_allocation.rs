//! The server allocates when it is made, and never after: a counting allocator watches requests and replies of every kind.

#![allow(unreachable_pub, dead_code, reason = "support is shared")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lnic_message::server::{Action, Body, Message, SlotId};
use lnic_wire::rpc::{self, Header, Kind, Tlv};
use support::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; this one only counts and passes on")]
// SAFETY: every call goes to `System` unchanged; counting touches a const-initialised thread local without a destructor, which
// does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is System's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator while `work` runs on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let (mut server, mut memory) = (server(), Memory::new(4, 10_000));
    let cookie = cookie(&mut server, &mut memory, 0);
    // Long requests with a hole that is filled, at-most-once ones, long replies, and what goes with them.
    let mut datagrams = Vec::new();
    for number in 0..200_u64 {
        let session = number % 12;
        let request = Header {
            flags: if number % 3 == 0 { rpc::AT_MOST_ONCE } else { 0 },
            fragment_bytes: 100,
            ..Header::request(1, session << 32 | number, if number % 2 == 0 { 950 } else { 40 })
        };
        for index in
            (0..request.fragments().expect("fragments") as u16).filter(|&index| index != 4).chain([4])
        {
            let fragment = Header { fragment_index: index, ..request };
            if let Some(bytes) = fragment.payload_bytes() {
                datagrams.push(datagram(
                    fragment,
                    &[Tlv::Cookie(&cookie)],
                    &vec![index as u8; usize::from(bytes)],
                ));
                datagrams.push(datagram(
                    Header { flags: fragment.flags | rpc::RTX, ..fragment },
                    &[],
                    &vec![0; usize::from(bytes)],
                ));
            }
        }
        for (kind, aux) in
            [(Kind::Nack, 3), (Kind::Grant, 20), (Kind::Ping, 0), (Kind::Ack, 0), (Kind::Cancel, 0)]
        {
            if kind != Kind::Ack || number % 4 != 0 {
                datagrams.push(datagram(
                    Header { kind, aux, message_length: 0, ..request },
                    &[Tlv::Bitmap(&[0xF0])],
                    &[],
                ));
            }
        }
    }
    let reply = [7; 90];
    let (mut runs, mut sent, mut replays, mut now_us) = (0_u32, 0_u32, 0_u32, 0);
    let mut buffer = [0; 2048];
    let count = allocations(|| {
        for bytes in &datagrams {
            now_us += 700;
            match pass(&mut server, &mut memory, now_us, bytes) {
                Action::Run { call, message } => {
                    runs += 1;
                    match message {
                        Message::Slot { slot, .. } if runs % 4 == 0 => {
                            server.reply(now_us, &call, 0, Body::Slot { slot, bytes: 900 }, &mut memory);
                        }
                        _ if runs % 7 == 0 => {
                            let free = memory.taken.iter().position(|taken| !taken);
                            if let Some(free) = free {
                                memory.taken[free] = true;
                                let slot = SlotId(free as u32);
                                server.reply(
                                    now_us,
                                    &call,
                                    0,
                                    Body::Slot { slot, bytes: 3_000 },
                                    &mut memory,
                                );
                            } else {
                                server.abandon(&call, rpc::Status::Busy, 0, &mut memory);
                            }
                        }
                        _ => {
                            server.reply(now_us, &call, 0, Body::Frame(&reply), &mut memory);
                        }
                    }
                }
                Action::Send(head) => head.emit(&mut buffer[..head.bytes()]).expect("room"),
                Action::Replay(_, reply) => replays += u32::from(server.cached(reply, &mut buffer).is_some()),
                Action::Kept | Action::Cancelled { .. } | Action::Drop(_) => {}
            }
            while server.poll(now_us, &mut memory).is_some() {
                sent += 1;
            }
        }
    });
    assert_eq!(count, 0, "calls of the allocator for {} datagrams", datagrams.len());
    assert!(runs > 100 && sent > 100 && replays > 10, "{runs} runs, {sent} sent, {replays} replays");
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))) >= 2, "the counter counts");
}
