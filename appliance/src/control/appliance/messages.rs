//! What an lcore that polls needs for messages: a server, slots in the lambdas' memory, frames to send.

#![allow(unsafe_code, reason = "what memory slots lie in is vouched for here")]

use std::ptr::NonNull;

use dpdk_bindings::dmadev::DmaDevice;
use dpdk_bindings::eal::Eal;
use dpdk_bindings::external::{Backing, Region};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use lnic_message::server::{Limits, Server, TenantId};

use super::lambdas::Prepared;
use super::{StartError, Topology};
use crate::ids::NpuId;
use crate::lambda::PrepareError;
use crate::memory::View;
use crate::message::copy::CopyEngine;
use crate::message::copy::dma::Dma;
use crate::message::slots::{LambdaSlots, MessageSlots};
use crate::path::Messages;
use crate::port::dpdk::PoolSource;

/// Who finds all slots of a lambda taken is told to ask again after so many microseconds.
const RETRY_US: u16 = 500;
/// Smallest fragments that a message of the largest size may be in.
const LEAST_FRAGMENT_BYTES: u32 = 512;
/// Fragments of a message if no lambda has slots.
const LEAST_FRAGMENTS: u32 = 64;
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

/// The message server of each of `pollers` lcores, in their order.
pub(super) fn messages(
    eal: &Eal,
    topology: &Topology,
    lambdas: &[Prepared],
    pool: &Mempool,
    pollers: usize,
) -> Result<Vec<Messages<Mbuf>>, StartError> {
    let mut of_poller: Vec<Vec<LambdaSlots<_>>> = (0..pollers).map(|_| Vec::new()).collect();
    for lambda in lambdas.iter().filter(|lambda| lambda.spec().rpc) {
        let spec = lambda.spec();
        let region = match lambda.slots() {
            None => None,
            Some((area, deployment)) => {
                let failed = |error| StartError::Lambda {
                    name: spec.name.clone(),
                    file: spec.file.clone(),
                    source: PrepareError::Memory(Box::new(error)),
                };
                let npu = lambda.npus.first().copied().unwrap_or(NpuId::new(0));
                let view = deployment.seat(npu).view(area.window).map_err(failed)?;
                view.map(|view| (area, slot_region(view)))
            }
        };
        for (at, own) in of_poller.iter_mut().enumerate() {
            let mut slots = Vec::new();
            let mut address = 0;
            if let Some((area, region)) = &region {
                let bytes = area.slot_bytes as usize;
                let first = at * spec.message_slots as usize;
                address = area.address + (first * bytes) as u32;
                slots.extend(
                    (first..first + spec.message_slots as usize)
                        .map_while(|slot| region.slot(slot * bytes..(slot + 1) * bytes)),
                );
            }
            own.push(LambdaSlots {
                id: spec.id,
                lambda: lambda.reference.slot,
                tenant: TenantId(spec.tenant as u16),
                slots,
                address,
                slot_bytes: spec.message_bytes,
            });
        }
    }
    let largest =
        topology.lambdas.iter().filter(|spec| spec.message_slots > 0).map(|spec| spec.message_bytes);
    let largest = largest.max().unwrap_or(0);
    let bounds = &topology.messages;
    let tenants = u16::try_from(topology.tenants.len()).unwrap_or(u16::MAX);
    let limits = Limits {
        exchanges: bounds.exchanges,
        // A tenant alone may have all.
        exchanges_per_tenant: if tenants > 1 { bounds.exchanges.div_ceil(2) } else { bounds.exchanges },
        fragments: (largest / LEAST_FRAGMENT_BYTES).clamp(LEAST_FRAGMENTS, lnic_message::FRAGMENTS),
        message_bytes: largest.max(u32::from(u16::MAX)),
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
    let running = topology
        .lambdas
        .iter()
        .map(|spec| spec.message_slots)
        .fold(bounds.exchanges + u32::from(bounds.sessions > 0) * 256, u32::saturating_add);
    let engine = |at: usize| -> Result<Option<Box<dyn CopyEngine<Mbuf> + Send>>, StartError> {
        let Some(devargs) = bounds.copy_engines.get(at) else { return Ok(None) };
        let queue = DmaDevice::probe(eal, devargs)?.start(COPY_DESCRIPTORS)?;
        Ok(Some(Box::new(Dma::new(queue, bounds.copy_engine_bytes as usize))))
    };
    let servers = of_poller.into_iter().enumerate().map(|(at, slots)| {
        let mut key = *key;
        // Pollers do not see each other's messages, and need not accept each other's cookies.
        key[0] ^= at as u8;
        Ok(Messages::new(
            Server::new(limits, key, epoch),
            MessageSlots::new(slots, RETRY_US),
            Box::new(PoolSource(pool.clone())),
            running.min(1 << 16),
            engine(at)?,
        ))
    });
    servers.collect()
}
