//! Modules in etcd: in pieces, for it takes no large values, with a head that is put last.

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp};
use serde::{Deserialize, Serialize};

use super::client::Remote;
use super::signed;
use crate::store::CHUNK_BYTES;
use crate::{Error, Revision};

const MODULES: &str = "modules";
/// Beside the pieces, so that they can be listed without.
const HEADS: &str = "module-heads";
/// Times that a module is put, if somebody removes it at the same time.
const TRIES: usize = 3;

/// What is known of a module that is there.
#[derive(Serialize, Deserialize)]
struct Head {
    bytes: u64,
    chunks: usize,
}

impl Remote {
    pub(super) async fn put_module(&self, hex: &str, wasm: &[u8]) -> Result<(), Error> {
        let chunks: Vec<&[u8]> = wasm.chunks(CHUNK_BYTES).collect();
        // Most often it is there already, and putting its head again says that somebody needs it.
        for attempt in 0..=TRIES {
            if attempt > 0 {
                for (number, chunk) in chunks.iter().enumerate() {
                    self.ask(self.kv().put(self.chunk(hex, number), *chunk, None)).await?;
                }
            }
            if self.put_head(hex, wasm.len() as u64, chunks.len()).await? {
                return Ok(());
            }
        }
        Err(Error::Conflict(format!("module {hex}")))
    }

    /// Only if all pieces are there.
    async fn put_head(&self, hex: &str, bytes: u64, chunks: usize) -> Result<bool, Error> {
        let key = self.place(HEADS, hex);
        let head = serde_json::to_vec(&Head { bytes, chunks })
            .map_err(|error| Error::Unreadable { key: key.clone(), reason: error.to_string() })?;
        let there = |number| Compare::create_revision(self.chunk(hex, number), CompareOp::Greater, 0);
        let request = Txn::new()
            .when((0..chunks).map(there).collect::<Vec<_>>())
            .and_then([TxnOp::put(key, head, None)]);
        Ok(self.ask(self.kv().txn(request)).await?.succeeded())
    }

    /// Says that somebody needs it; whether it is there.
    pub(super) async fn touch_module(&self, hex: &str) -> Result<bool, Error> {
        let found = self.ask(self.kv().get(self.place(HEADS, hex), None)).await?;
        let Some(found) = found.kvs().first() else { return Ok(false) };
        let Head { bytes, chunks } = head(found)?;
        self.put_head(hex, bytes, chunks).await
    }

    pub(super) async fn module(&self, hex: &str) -> Result<Option<Vec<u8>>, Error> {
        let found = self.ask(self.kv().get(self.place(HEADS, hex), None)).await?;
        let Some(found) = found.kvs().first() else { return Ok(None) };
        let head = head(found)?;
        let mut wasm = Vec::new();
        for number in 0..head.chunks {
            let found = self.ask(self.kv().get(self.chunk(hex, number), None)).await?;
            // Removed meanwhile.
            let Some(found) = found.kvs().first() else { return Ok(None) };
            wasm.extend_from_slice(found.value());
        }
        Ok(Some(wasm))
    }

    pub(super) async fn modules(&self) -> Result<Vec<(String, u64, Revision)>, Error> {
        let place = self.place(HEADS, "");
        let found = self.ask(self.kv().get(place.as_str(), Some(GetOptions::new().with_prefix()))).await?;
        let module = |found: &etcd_client::KeyValue| {
            let hex = String::from_utf8_lossy(found.key()).replacen(&place, "", 1);
            Ok((hex, head(found)?.bytes, Revision(found.mod_revision().unsigned_abs())))
        };
        found.kvs().iter().map(module).collect()
    }

    pub(super) async fn remove_module(&self, hex: &str, seen: Revision) -> Result<bool, Error> {
        let head = self.place(HEADS, hex);
        let chunks = DeleteOptions::new().with_prefix();
        let request = Txn::new()
            .when([Compare::mod_revision(head.as_str(), CompareOp::Equal, signed(seen.0))])
            .and_then([
                TxnOp::delete(head, None),
                TxnOp::delete(self.place(MODULES, &format!("{hex}/")), Some(chunks)),
            ]);
        Ok(self.ask(self.kv().txn(request)).await?.succeeded())
    }

    fn chunk(&self, hex: &str, number: usize) -> String {
        self.place(MODULES, &format!("{hex}/{number}"))
    }
}

fn head(found: &etcd_client::KeyValue) -> Result<Head, Error> {
    serde_json::from_slice(found.value()).map_err(|error| Error::Unreadable {
        key: String::from_utf8_lossy(found.key()).into_owned(),
        reason: error.to_string(),
    })
}
