//! What a device counts.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use super::Device;
use crate::error::Error;
use crate::sys;

/// A device's basic counters, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets for which the device's queue had no room.
    pub rx_missed: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets not sent for an error.
    pub tx_errors: u64,
    /// Packets for which the pool had no buffer.
    pub rx_no_buffer: u64,
}

/// A device's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Carrier.
    pub up: bool,
    /// Mbit/s; `None` if unknown.
    pub speed_mbps: Option<u32>,
}

impl Device {
    /// Basic counters.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut raw = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: the place is large enough; zero is valid for every field.
        let code = unsafe { sys::rte_eth_stats_get(self.port(), raw.as_mut_ptr()) };
        self.check("read statistics of", code)?;
        // SAFETY: zeroed, then filled.
        let raw = unsafe { raw.assume_init() };
        Ok(Stats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_buffer: raw.rx_nombuf,
        })
    }

    /// The driver's own counters, by name.
    pub fn extended_stats(&self) -> Result<Vec<(String, u64)>, Error> {
        const ACTION: &str = "read extended statistics of";
        // SAFETY: null and 0 ask for the count.
        let count = unsafe { sys::rte_eth_xstats_get_names(self.port(), std::ptr::null_mut(), 0) };
        let count = u32::try_from(count).map_err(|_| Error::from_code(ACTION, self.name(), count))?;
        let mut names: Vec<sys::rte_eth_xstat_name> = (0..count).map(|_| Default::default()).collect();
        let mut values: Vec<sys::rte_eth_xstat> = (0..count).map(|_| Default::default()).collect();
        // SAFETY: both places have `count` elements.
        let (got_names, got_values) = unsafe {
            (
                sys::rte_eth_xstats_get_names(self.port(), names.as_mut_ptr(), count),
                sys::rte_eth_xstats_get(self.port(), values.as_mut_ptr(), count),
            )
        };
        for got in [got_names, got_values] {
            if got < 0 {
                return Err(Error::from_code(ACTION, self.name(), got));
            }
        }
        let name_of = |id: u64| {
            let name = usize::try_from(id).ok().and_then(|id| names.get(id))?;
            // SAFETY: terminated by DPDK within its array.
            Some(unsafe { CStr::from_ptr(name.name.as_ptr()) }.to_string_lossy().into_owned())
        };
        let got = usize::try_from(got_values).unwrap_or(0).min(values.len());
        Ok(values[..got].iter().filter_map(|value| Some((name_of(value.id)?, value.value))).collect())
    }

    /// Link state, as far as the driver knows without waiting.
    pub fn link(&self) -> Result<Link, Error> {
        let mut raw = MaybeUninit::<sys::rte_eth_link>::zeroed();
        // SAFETY: the place is large enough; zero is valid for every field.
        let code = unsafe { sys::rte_eth_link_get_nowait(self.port(), raw.as_mut_ptr()) };
        self.check("read link of", code)?;
        // SAFETY: zeroed, then filled.
        let raw = unsafe { raw.assume_init() };
        let (up, speed) = link_fields(&raw);
        Ok(Link { up, speed_mbps: (speed != 0 && speed != u32::MAX).then_some(speed) })
    }
}

/// 22.11 and 23.11 have the fields in the structure, 24.11 in an anonymous union; all keep the speed in the first four bytes
/// and the status in bit 2 of those that follow. Read by place, as the buffers' fields are.
fn link_fields(raw: &sys::rte_eth_link) -> (bool, u32) {
    let words = std::ptr::from_ref(raw).cast::<u32>();
    // SAFETY: the structure has 8 bytes and is aligned to 8.
    let (speed, bits) = unsafe { (*words, *words.add(1)) };
    (bits >> 2 & 1 == 1, speed)
}

const _: () = assert!(size_of::<sys::rte_eth_link>() == 8);
