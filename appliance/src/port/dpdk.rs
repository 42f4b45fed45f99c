//! Any port that DPDK drives.
//!
//! How an idle lcore sleeps on it: `net_tap`, `net_vhost`, `net_virtio_user` and hardware have receive interrupts; `net_af_packet`
//! and `net_af_xdp` have none, but the socket of each queue becomes readable; the others can only be polled.
//!
//! External memory is sent where the driver says that it sends chains of buffers (on 22.11 all of these but `net_null`). Cards and `net_ring` hand it on as it is; `net_tap` and `net_af_packet`
//! copy it into the kernel's buffers and let go of it within `tx`.

use std::ops::Range;
use std::os::fd::OwnedFd;

use dpdk_bindings::Error;
use dpdk_bindings::eal::Eal;
use dpdk_bindings::ethdev::{Config, Descriptors, Device, Info, RxQueue, TxQueue, Wake};
use dpdk_bindings::external::Slot;
use dpdk_bindings::mbuf::{Checked, Mbuf, TxChecksum};
use dpdk_bindings::mempool::Mempool;

use super::{Capabilities, Port};
use crate::frame::{Burst, Checksum, ChecksumOffload, External, Frame, FrameSource};

impl From<Checked> for Checksum {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Unknown => Self::Unknown,
            Checked::Good => Self::Good,
            Checked::Bad => Self::Bad,
        }
    }
}

impl External for Slot {
    #[inline]
    fn bytes(&self) -> usize {
        Slot::bytes(self)
    }

    #[inline]
    fn in_use(&self) -> usize {
        Slot::in_use(self)
    }

    #[inline]
    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        Slot::write(self, offset, bytes)
    }

    #[inline]
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        Slot::read(self, offset, bytes)
    }
}

impl Frame for Mbuf {
    type External = Slot;

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data()
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.data_mut()
    }

    #[inline]
    fn is_whole(&self) -> bool {
        self.segments() == 1
    }

    #[inline]
    fn resize(&mut self, bytes: usize) -> bool {
        Mbuf::resize(self, bytes)
    }

    #[inline]
    fn capacity(&self) -> usize {
        Mbuf::capacity(self)
    }

    #[inline]
    fn append_external(&mut self, memory: &Slot, range: Range<usize>) -> bool {
        // net_tap sums a checksum segment by segment, and takes each for whole words.
        self.packet_bytes().is_multiple_of(2) && self.attach(memory, range)
    }

    #[inline]
    fn ip_checksum(&self) -> Checksum {
        self.ip_checked().into()
    }

    #[inline]
    fn l4_checksum(&self) -> Checksum {
        self.l4_checked().into()
    }

    #[inline]
    fn set_tx_offload(&mut self, offload: Option<ChecksumOffload>) {
        self.set_tx_checksum(offload.map(|offload| TxChecksum {
            l2_bytes: offload.l2_bytes,
            l3_bytes: offload.l3_bytes,
            ipv4: offload.ipv4,
            udp: offload.udp,
        }));
    }
}

/// Makes frames from a mempool: on an lcore, from its cache there.
#[derive(Clone)]
pub struct PoolSource(pub Mempool);

impl FrameSource for PoolSource {
    type Frame = Mbuf;

    fn capacity(&self) -> usize {
        self.0.data_bytes().into()
    }

    #[inline]
    fn frame(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        let mut frame = self.0.allocate()?;
        if !frame.resize(bytes.len()) {
            return None;
        }
        frame.data_mut().copy_from_slice(bytes);
        Some(frame)
    }
}

/// One queue pair of a device.
pub struct DpdkPort {
    rx: RxQueue,
    tx: TxQueue,
    capabilities: Capabilities,
    retries: u16,
    /// What becomes readable when frames wait, if anything does.
    wake: Option<Wake>,
    /// It is a receive interrupt, which has to be armed.
    interrupt: bool,
}

/// How to open a device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Queue pairs, if the device has as many.
    pub queues: u16,
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// MAC address to take, if not the device's own.
    pub mac: Option<[u8; 6]>,
    /// Takes frames for any MAC.
    pub promiscuous: bool,
    /// Will be given frames with external memory, where the driver sends such. Costs the simplest transmit functions of some cards.
    pub tx_external: bool,
    /// Times that a full transmit queue is tried again before the rest is dropped.
    pub tx_retries: u16,
}

/// A started device.
pub struct Opened {
    /// Handle, for its counters.
    pub device: Device,
    /// What it is.
    pub info: Info,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its queue pairs.
    pub queues: Vec<DpdkPort>,
}

/// Probes, configures and starts the device that `devargs` name.
pub fn open(eal: &Eal, devargs: &str, pool: &Mempool, options: &Options) -> Result<Opened, Error> {
    let before = Descriptors::now();
    let device = Device::probe(eal, devargs)?;
    let info = device.info()?;
    let config = Config {
        queues: options.queues.min(info.rx_queues).min(info.tx_queues).max(1),
        mtu: options.mtu,
        mac: options.mac,
        promiscuous: options.promiscuous,
        rx_interrupts: true,
        tx_segments: options.tx_external,
        ..Config::default()
    };
    let pairs = device.start(&config, pool)?;
    let mut sockets = before.packet_sockets_since(info.interface).into_iter();
    let capabilities =
        Capabilities { tx_checksum: info.tx_checksum, tx_external: options.tx_external && info.tx_segments };
    let queues = pairs
        .into_iter()
        .map(|(rx, tx)| {
            let socket = sockets.next().map(Wake::socket);
            let interrupt = socket.is_none();
            let wake = socket.or_else(|| rx.interrupt());
            DpdkPort { rx, tx, capabilities, retries: options.tx_retries, wake, interrupt }
        })
        .collect();
    Ok(Opened { mac: device.mac()?, device, info, queues })
}

impl Port<Mbuf> for DpdkPort {
    #[inline]
    fn rx(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let first = burst.len();
        let count = self.rx.rx_burst(burst);
        for frame in &mut burst[first..] {
            if frame.segments() > 1 {
                // One that does not fit one buffer stays a chain, and the path drops it by name.
                frame.linearize();
            }
        }
        count
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let mut sent = self.tx.tx_burst(burst);
        for _ in 0..self.retries {
            if burst.is_empty() {
                break;
            }
            sent += self.tx.tx_burst(burst);
        }
        sent
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn readable(&self) -> Option<OwnedFd> {
        self.wake.as_ref()?.descriptor().try_clone().ok()
    }

    fn arm(&mut self, sleeping: bool) {
        let Some(wake) = &self.wake else { return };
        if self.interrupt {
            self.rx.arm_interrupt(sleeping);
        }
        if !sleeping {
            wake.silence();
        }
    }
}
