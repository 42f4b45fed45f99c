//! A port whose other side is in this process: the control plane's way into the packet path.
//!
//! ```text
//!  control thread                                    lcore
//!  Peer.to_lcore ──── full ───► InternalPort::rx ──► a frame of its pool
//!                ◄─── empty ──┘
//!  Peer.from_lcore ◄─ full ──── InternalPort::tx ◄── a frame, which goes home
//!                ──── empty ──►
//! ```
//!
//! Bytes cross in packets that were allocated at the start and travel in a circle. So only the lcore touches the pool of frames, whose
//! rings are shared: a control thread that the kernel takes off its CPU in the middle of one would keep every lcore waiting. For the
//! same reason the rings in between are DPDK's for one producer and one consumer, which nobody can leave half done.
//!
//! Nothing from outside comes in here: there is no device, and what other ports receive leaves by this one only if a lambda that may
//! send anywhere says so.

use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_bindings::Error;
use dpdk_bindings::eal::Eal;
use dpdk_bindings::ring::{self, Consumer, Producer, Sharing};

use super::{Capabilities, Port};
use crate::frame::{BURST, Burst, Frame, FrameSource};
use crate::observe::counters::Counter;

/// Bytes of one frame on their way from one side to the other.
struct Packet {
    bytes: usize,
    data: Box<[u8]>,
}

type Packets = ArrayVec<Box<Packet>, BURST>;

/// Where packets go in.
pub struct Sender {
    full: Producer<Box<Packet>>,
    empty: Consumer<Box<Packet>>,
    #[expect(clippy::vec_box, reason = "boxes are what travels")]
    /// Those that can be written: the one that came back last is the next, while it is in a cache.
    spare: Vec<Box<Packet>>,
    outgoing: Packets,
}

/// Where packets come out.
pub struct Receiver {
    full: Consumer<Box<Packet>>,
    empty: Producer<Box<Packet>>,
    /// Taken out of the ring, and not by whoever reads yet.
    incoming: Packets,
    done: Packets,
}

/// One way, for `packets` of `packet_bytes` each.
fn way(eal: &Eal, name: &str, packets: u32, packet_bytes: usize) -> Result<(Sender, Receiver), Error> {
    let ring = |kind: &str| ring::new(eal, &format!("{name}-{kind}"), packets, None, Sharing::Single);
    let ((full, there), (back, empty)) = (ring("full")?, ring("empty")?);
    let spare =
        (0..packets).map(|_| Box::new(Packet { bytes: 0, data: vec![0; packet_bytes].into() })).collect();
    let sender = Sender { full, empty, spare, outgoing: Packets::new() };
    Ok((sender, Receiver { full: there, empty: back, incoming: Packets::new(), done: Packets::new() }))
}

impl Sender {
    /// Takes back what the other side has read.
    #[inline]
    fn reclaim(&mut self) {
        loop {
            let mut back = Packets::new();
            self.empty.dequeue(&mut back);
            let is_all = !back.is_full();
            // Never more than there were at the start: the vector does not grow.
            self.spare.extend(back);
            if is_all {
                return;
            }
        }
    }

    /// True if a packet can be sent.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.spare.is_empty() {
            self.reclaim();
        }
        !self.spare.is_empty()
    }

    /// Sends what `write` writes, with the next flush; it says how many bytes those are. False, and nothing sent, if it writes none, or
    /// if there is no room, and it was not asked.
    #[inline]
    pub fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(mut packet) = self.spare.pop() else { return false };
        let Some(bytes) = write(&mut packet.data).filter(|bytes| *bytes <= packet.data.len()) else {
            self.spare.push(packet);
            return false;
        };
        packet.bytes = bytes;
        if self.outgoing.is_full() {
            self.full.enqueue(&mut self.outgoing);
        }
        self.outgoing.push(packet);
        true
    }

    /// Lets go of what was sent. True if there was anything.
    #[inline]
    pub fn flush(&mut self) -> bool {
        let any = !self.outgoing.is_empty();
        // There is room: the ring holds all packets that there are.
        self.full.enqueue(&mut self.outgoing);
        self.reclaim();
        any
    }
}

impl Receiver {
    /// Shows what has come, at most a burst; returns how many packets were taken. One that `take` refuses is shown again the next time.
    #[inline]
    pub fn receive(&mut self, mut take: impl FnMut(&[u8]) -> bool) -> usize {
        self.full.dequeue(&mut self.incoming);
        if self.incoming.is_empty() {
            return 0;
        }
        let refused = self.incoming.iter().position(|packet| !take(&packet.data[..packet.bytes]));
        let taken = refused.unwrap_or(self.incoming.len());
        self.done.extend(self.incoming.drain(..taken));
        // There is room: the ring holds all packets that there are.
        self.empty.enqueue(&mut self.done);
        taken
    }
}

/// What has passed one queue of an internal port.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Frames that the lcore received.
    pub rx_packets: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
    /// Times that no frame was free for one; it waited.
    pub rx_no_buffer: Counter,
    /// Frames that the lcore sent.
    pub tx_packets: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
    /// Frames that could not be sent: too long, or not in one piece.
    pub tx_errors: Counter,
}

/// The control side of one queue pair.
pub struct Peer {
    /// What the lcore receives.
    pub to_lcore: Sender,
    /// What the lcore has sent.
    pub from_lcore: Receiver,
}

/// The lcore's side of one queue pair. `S` makes the frames that it receives.
pub struct InternalPort<S> {
    source: S,
    from_control: Receiver,
    to_control: Sender,
    /// Wakes the control side if it sleeps.
    wake: Box<dyn Fn() + Send>,
    counters: Arc<QueueCounters>,
}

/// Dimensions of a queue pair.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions {
    /// Packets that may wait for the lcore.
    pub to_lcore: u32,
    /// Packets that may wait for the control side.
    pub from_lcore: u32,
    /// Bytes of one.
    pub packet_bytes: u16,
}

impl<S: FrameSource> InternalPort<S> {
    /// A queue pair: the lcore's side and the control's. `wake` is called on the lcore after it has sent.
    pub fn pair(
        eal: &Eal,
        name: &str,
        dimensions: Dimensions,
        source: S,
        wake: Box<dyn Fn() + Send>,
    ) -> Result<(Self, Peer), Error> {
        let bytes = usize::from(dimensions.packet_bytes).min(source.capacity());
        let (to_lcore, from_control) = way(eal, &format!("{name}-in"), dimensions.to_lcore, bytes)?;
        let (to_control, from_lcore) = way(eal, &format!("{name}-out"), dimensions.from_lcore, bytes)?;
        let port = Self { source, from_control, to_control, wake, counters: Arc::default() };
        Ok((port, Peer { to_lcore, from_lcore }))
    }

    /// What passes it.
    #[must_use]
    pub fn counters(&self) -> Arc<QueueCounters> {
        Arc::clone(&self.counters)
    }
}

impl<S: FrameSource> Port<S::Frame> for InternalPort<S> {
    #[inline]
    fn rx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        let Self { source, from_control, counters, .. } = self;
        from_control.receive(|bytes| {
            if burst.is_full() {
                return false;
            }
            let Some(frame) = source.frame(bytes) else {
                counters.rx_no_buffer.add(1);
                return false;
            };
            burst.push(frame);
            counters.rx_packets.add(1);
            counters.rx_bytes.add(bytes.len() as u64);
            true
        })
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        let mut left = 0;
        for frame in burst.iter() {
            if !self.to_control.has_room() {
                break;
            }
            let bytes = frame.bytes();
            let sent = frame.is_whole()
                && self.to_control.send(|packet| {
                    packet.get_mut(..bytes.len())?.copy_from_slice(bytes);
                    Some(bytes.len())
                });
            if sent {
                self.counters.tx_packets.add(1);
                self.counters.tx_bytes.add(bytes.len() as u64);
            } else {
                self.counters.tx_errors.add(1);
            }
            left += 1;
        }
        burst.drain(..left);
        if self.to_control.flush() {
            (self.wake)();
        }
        left
    }

    fn capabilities(&self) -> Capabilities {
        // Who reads them does so from memory, and looks at the CRC of the message.
        Capabilities { tx_checksum: true, tx_external: false }
    }

    /// It keeps no appliance running whose other ports have ended.
    fn exhausted(&self) -> bool {
        true
    }
}
