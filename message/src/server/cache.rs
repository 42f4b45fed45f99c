//! Replies of one frame that are kept until their ACK: bounded memory in chunks, and a share of it for each tenant.

use super::TenantId;
use super::list::{Links, List};

/// Bytes of a chunk: a reply takes whole ones, at least one.
const CHUNK_BYTES: usize = 256;
const NONE: u32 = u32::MAX;

/// A reply in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheId(pub(super) u32);

/// Who a cached reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A sequence of a session's window.
    Window { session: u32, sequence: u32 },
    /// An exchange.
    Exchange(u32),
}

#[derive(Clone, Debug)]
struct Entry {
    first_chunk: u32,
    bytes: u32,
    aux: u32,
    tenant: TenantId,
    owner: Owner,
}

#[derive(Clone, Debug)]
struct Tenant {
    /// Its replies, oldest first.
    replies: List,
    bytes: usize,
}

/// The replies of all tenants.
#[derive(Debug)]
pub(super) struct Cache {
    chunks: Box<[[u8; CHUNK_BYTES]]>,
    next_chunk: Box<[u32]>,
    free_chunk: u32,
    free_chunks: usize,
    entries: Box<[Entry]>,
    links: Links,
    free: List,
    tenants: Box<[Tenant]>,
    tenant_bytes: usize,
}

impl Cache {
    /// Room for so many bytes, and as many replies as there are chunks.
    pub(super) fn new(bytes: usize, tenants: usize, tenant_bytes: usize) -> Self {
        let count = bytes / CHUNK_BYTES;
        let (links, free) = Links::full(count);
        let vacant =
            Entry { first_chunk: NONE, bytes: 0, aux: 0, tenant: TenantId(0), owner: Owner::Exchange(NONE) };
        Self {
            chunks: vec![[0; CHUNK_BYTES]; count].into_boxed_slice(),
            next_chunk: (1..=count as u32)
                .map(|next| if next == count as u32 { NONE } else { next })
                .collect(),
            free_chunk: if count == 0 { NONE } else { 0 },
            free_chunks: count,
            entries: vec![vacant; count].into_boxed_slice(),
            links,
            free,
            tenants: vec![Tenant { replies: List::EMPTY, bytes: 0 }; tenants].into_boxed_slice(),
            tenant_bytes,
        }
    }

    /// How many replies there can be.
    pub(super) fn capacity(bytes: usize) -> usize {
        bytes / CHUNK_BYTES
    }

    /// Bytes in use, in whole chunks.
    pub(super) fn used_bytes(&self) -> usize {
        (self.chunks.len() - self.free_chunks) * CHUNK_BYTES
    }

    /// Whether a reply of so many bytes has room now, in memory and in its tenant's share.
    pub(super) fn has_room(&self, tenant: TenantId, bytes: usize) -> bool {
        let chunks = chunks(bytes);
        let Some(tenant) = self.tenants.get(usize::from(tenant.0)) else { return false };
        chunks <= self.free_chunks && tenant.bytes + chunks * CHUNK_BYTES <= self.tenant_bytes
    }

    /// The reply of a tenant that came first.
    pub(super) fn oldest(&self, tenant: TenantId) -> Option<CacheId> {
        self.tenants.get(usize::from(tenant.0))?.replies.first().map(CacheId)
    }

    /// Keeps a copy of a reply, if there is room.
    pub(super) fn insert(
        &mut self,
        tenant: TenantId,
        owner: Owner,
        aux: u32,
        payload: &[u8],
    ) -> Option<CacheId> {
        if !self.has_room(tenant, payload.len()) {
            return None;
        }
        let id = self.links.pop(&mut self.free)?;
        let count = chunks(payload.len());
        let first_chunk = self.free_chunk;
        let mut chunk = first_chunk;
        for at in 0..count {
            let rest = payload.get(at * CHUNK_BYTES..).unwrap_or_default();
            let bytes = rest.len().min(CHUNK_BYTES);
            self.chunks[chunk as usize][..bytes].copy_from_slice(&rest[..bytes]);
            let next = self.next_chunk[chunk as usize];
            if at + 1 == count {
                self.next_chunk[chunk as usize] = NONE;
                self.free_chunk = next;
            }
            chunk = next;
        }
        self.free_chunks -= count;
        let owned = &mut self.tenants[usize::from(tenant.0)];
        owned.bytes += count * CHUNK_BYTES;
        self.links.push(&mut owned.replies, id);
        self.entries[id as usize] = Entry { first_chunk, bytes: payload.len() as u32, aux, tenant, owner };
        Some(CacheId(id))
    }

    /// Forgets a reply that is there; whose it was.
    pub(super) fn remove(&mut self, id: CacheId) -> Owner {
        let Entry { first_chunk, bytes, tenant, owner, .. } = self.entries[id.0 as usize];
        let count = chunks(bytes as usize);
        let mut last = first_chunk;
        while self.next_chunk[last as usize] != NONE {
            last = self.next_chunk[last as usize];
        }
        self.next_chunk[last as usize] = self.free_chunk;
        self.free_chunk = first_chunk;
        self.free_chunks += count;
        let owned = &mut self.tenants[usize::from(tenant.0)];
        owned.bytes -= count * CHUNK_BYTES;
        self.links.remove(&mut owned.replies, id.0);
        self.links.push(&mut self.free, id.0);
        owner
    }

    /// Bytes of a reply, and its aux field.
    pub(super) fn reply(&self, id: CacheId) -> (u32, u32) {
        let entry = &self.entries[id.0 as usize];
        (entry.bytes, entry.aux)
    }

    /// Copies a reply to the start of `buffer`; its bytes, or `None` if it does not fit.
    pub(super) fn copy(&self, id: CacheId, buffer: &mut [u8]) -> Option<usize> {
        let entry = self.entries.get(id.0 as usize)?;
        let buffer = buffer.get_mut(..entry.bytes as usize)?;
        let mut chunk = entry.first_chunk;
        for part in buffer.chunks_mut(CHUNK_BYTES) {
            let bytes = part.len();
            part.copy_from_slice(&self.chunks.get(chunk as usize)?[..bytes]);
            chunk = self.next_chunk[chunk as usize];
        }
        Some(entry.bytes as usize)
    }
}

fn chunks(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_what_it_took_and_leaks_nothing(
            steps in proptest::collection::vec((any::<bool>(), 0..2_u16, 0..1200_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut cache = Cache::new(16 * CHUNK_BYTES, 2, 10 * CHUNK_BYTES);
            let mut kept: Vec<(CacheId, u16, Vec<u8>)> = Vec::new();
            for (number, (insert, tenant, bytes, pick)) in (0_u32..).zip(steps) {
                if insert {
                    let payload = vec![number as u8; bytes];
                    let owner = Owner::Exchange(number);
                    let room = cache.has_room(TenantId(tenant), bytes);
                    let id = cache.insert(TenantId(tenant), owner, number, &payload);
                    prop_assert_eq!(id.is_some(), room);
                    kept.extend(id.map(|id| (id, tenant, payload)));
                } else if !kept.is_empty() {
                    let (id, ..) = kept.remove(pick.index(kept.len()));
                    cache.remove(id);
                }
                let used = |tenant| -> usize {
                    kept.iter().filter(|kept| kept.1 == tenant).map(|kept| chunks(kept.2.len()) * CHUNK_BYTES).sum()
                };
                prop_assert!(used(0) <= 10 * CHUNK_BYTES && used(1) <= 10 * CHUNK_BYTES);
                prop_assert_eq!(cache.used_bytes(), used(0) + used(1));
                for tenant in 0..2 {
                    let oldest = kept.iter().find(|kept| kept.1 == tenant).map(|kept| kept.0);
                    prop_assert_eq!(cache.oldest(TenantId(tenant)), oldest);
                }
                for (id, _, payload) in &kept {
                    let mut buffer = [0; 1200];
                    prop_assert_eq!(cache.copy(*id, &mut buffer), Some(payload.len()));
                    prop_assert_eq!(&buffer[..payload.len()], &payload[..]);
                }
            }
            prop_assert_eq!(cache.insert(TenantId(2), Owner::Exchange(0), 0, &[]), None);
        }
    }
}
