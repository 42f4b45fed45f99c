//! Queues: one owner each, so that nobody polls one twice.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;

use super::{Device, Wake};
use crate::mbuf::Mbuf;
use crate::ring::forget_front;
use crate::sys;

/// A receive queue. Can be sent to an lcore, cannot be shared.
pub struct RxQueue {
    device: Device,
    port: u16,
    queue: u16,
}

/// A transmit queue. Can be sent to an lcore, cannot be shared.
pub struct TxQueue {
    device: Device,
    port: u16,
    queue: u16,
}

pub(super) fn pair(device: &Device, queue: u16) -> (RxQueue, TxQueue) {
    let port = device.port();
    (RxQueue { device: device.clone(), port, queue }, TxQueue { device: device.clone(), port, queue })
}

impl RxQueue {
    /// Appends received buffers until the burst is full or the queue empty. Returns how many came.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let first = burst.len();
        #[allow(clippy::cast_possible_truncation, reason = "a burst is far below 64 Ki")]
        let room = burst.remaining_capacity() as u16;
        // SAFETY: the queue is started and has one owner; there is room for so many pointers behind the burst's last; an
        // Mbuf is a pointer (repr(transparent)), and what the driver gives is ours.
        let count = unsafe {
            let place = burst.as_mut_ptr().add(first).cast::<*mut sys::rte_mbuf>();
            let count = usize::from(sys::rte_eth_rx_burst(self.port, self.queue, place, room));
            burst.set_len(first + count);
            count
        };
        // Not every driver does (net_ring).
        for mbuf in &mut burst[first..] {
            mbuf.set_port(self.port);
        }
        count
    }

    /// The descriptor of the queue's receive interrupt, duplicated, if the driver has one. Arm it with
    /// [`arm_interrupt`](Self::arm_interrupt).
    #[must_use]
    pub fn interrupt(&self) -> Option<Wake> {
        if !self.device.0.interrupts.load(Ordering::SeqCst) {
            return None;
        }
        // SAFETY: the queue exists.
        let descriptor = unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port, self.queue) };
        if descriptor < 0 {
            return None;
        }
        // SAFETY: the driver keeps it open while the device lives, which `self` sees to.
        unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().ok().and_then(Wake::interrupt)
    }

    /// Arms or disarms the receive interrupt; does nothing on drivers whose descriptor needs no arming.
    pub fn arm_interrupt(&mut self, armed: bool) {
        // SAFETY: the queue exists; drivers without the call answer ENOTSUP.
        unsafe {
            if armed {
                sys::rte_eth_dev_rx_intr_enable(self.port, self.queue);
            } else {
                sys::rte_eth_dev_rx_intr_disable(self.port, self.queue);
            }
        }
    }

    /// The device that it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl TxQueue {
    /// Sends buffers from the front; what the driver did not take stays, in order. Returns how many left.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "a burst is far below 64 Ki")]
        let count = burst.len() as u16;
        // SAFETY: the queue is started and has one owner; the driver owns what it takes, and that is forgotten here.
        let sent = usize::from(unsafe {
            let first = burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
            sys::rte_eth_tx_burst(self.port, self.queue, first, count)
        });
        forget_front(burst, sent);
        sent
    }

    /// The device that it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }
}
