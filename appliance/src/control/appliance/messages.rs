//! What an lcore that polls needs for messages: a server, slots in the lambdas' memory, frames to send.

#![allow(unsafe_code, reason = "what memory slots lie in is vouched for here")]

use std::ptr::NonNull;

use dpdk_bindings::dmadev::DmaDevice;
use dpdk_bindings::eal::Eal;
use dpdk_bindings::external::{Backing, Region};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use lnic_message::server::{Limits, Server};

use super::{StartError, Topology};
use crate::memory::View;
use crate::message::copy::CopyEngine;
use crate::message::copy::dma::Dma;
use crate::message::slots::MessageSlots;
use crate::path::Messages;
use crate::port::dpdk::PoolSource;

/// Who finds all slots of a lambda taken is told to ask again after so many microseconds.
const RETRY_US: u16 = 500;
/// Message slots of lambdas that are deployed later, of which the messages can run at a time.
const LATER_SLOTS: u32 = 4096;
/// Copies that an engine has under way at a time.
const COPY_DESCRIPTORS: u16 = 1024;
/// Bytes of the pages that views are registered in, if at all.
const PAGE_BYTES: usize = 4 << 10;

/// A window of a lambda's, where its slots are.
struct Window(View);

// SAFETY: a view's bytes are mapped, readable and writable, at the same place until it is dropped. It gives out no references to
// them, nor does anybody else: instances of the lambda see them as their linear memory.
unsafe impl Backing for Window {
    fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn page_bytes(&self) -> usize {
        PAGE_BYTES
    }
}

/// A window of a lambda's as memory that slots are cut from, and ports and engines may reach.
#[must_use]
pub fn slot_region(view: View) -> Region {
    Region::new(Window(view))
}

/// The message server of each lcore that polls, in their order, with room for messages of `slots` lambdas.
pub(super) fn messages(
    eal: &Eal,
    topology: &Topology,
    pool: &Mempool,
    slots: usize,
) -> Result<Vec<Messages<Mbuf>>, StartError> {
    let bounds = &topology.messages;
    let tenants = topology.tenants.len().max(topology.control.namespaces as usize);
    let tenants = u16::try_from(tenants).unwrap_or(u16::MAX);
    let limits = Limits {
        exchanges: bounds.exchanges,
        // A tenant alone may have all.
        exchanges_per_tenant: if tenants > 1 { bounds.exchanges.div_ceil(2) } else { bounds.exchanges },
        // Whatever is deployed later says how large its messages may be.
        fragments: lnic_message::FRAGMENTS,
        message_bytes: lnic_message::MESSAGE_BYTES,
        sessions: bounds.sessions,
        cache_bytes: bounds.reply_cache_bytes as usize,
        cache_bytes_per_tenant: bounds.reply_cache_bytes as usize / usize::from(tenants.min(4)).max(1),
        tenants,
        require_crc: bounds.require_crc,
        ..Limits::default()
    };
    // Every life of the appliance has keys of its own: what an earlier one gave out is worth nothing.
    let mut random = [0u8; 20];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
        .map_err(StartError::Random)?;
    let (key, epoch) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let epoch = epoch.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let configured = topology.lambdas.iter().map(|spec| spec.message_slots).fold(0, u32::saturating_add);
    let running = bounds.exchanges + u32::from(bounds.sessions > 0) * 256;
    let running = running.saturating_add(configured.max(LATER_SLOTS));
    let engine = |at: usize| -> Result<Option<Box<dyn CopyEngine<Mbuf> + Send>>, StartError> {
        let Some(devargs) = bounds.copy_engines.get(at) else { return Ok(None) };
        let queue = DmaDevice::probe(eal, devargs)?.start(COPY_DESCRIPTORS)?;
        Ok(Some(Box::new(Dma::new(queue, bounds.copy_engine_bytes as usize))))
    };
    let servers = (0..topology.pollers().len()).map(|at| {
        let mut key = *key;
        // Pollers do not see each other's messages, and need not accept each other's cookies.
        key[0] ^= at as u8;
        Ok(Messages::new(
            Server::new(limits, key, epoch),
            MessageSlots::new(Vec::new(), slots, RETRY_US),
            Box::new(PoolSource(pool.clone())),
            running.min(1 << 16),
            engine(at)?,
        ))
    });
    servers.collect()
}
