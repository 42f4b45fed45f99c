//! Bytes in and out by source: nobody gets more than three times what it sent before it has shown a cookie of its own.

use std::collections::{BTreeMap, BTreeSet};

use lnic_message::{AMPLIFICATION, Options};
use lnic_wire::rpc::{Header, Kind};

#[derive(Debug, Default)]
struct Account {
    in_bytes: u64,
    out_bytes: u64,
    cookies: BTreeSet<[u8; 8]>,
    validated: bool,
}

/// The accounts of one life of the server.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<u16, Account>);

impl Ledger {
    pub(crate) fn received(&mut self, port: u16, datagram: &[u8]) {
        let account = self.0.entry(port).or_default();
        account.in_bytes += datagram.len() as u64;
        if let Ok(header) = Header::parse(datagram)
            && let Some(cookie) = Options::of(header.tlvs(datagram)).cookie
        {
            account.validated |= account.cookies.contains(&cookie);
        }
    }

    pub(crate) fn sent(&mut self, port: u16, datagram: &[u8]) {
        let account = self.0.entry(port).or_default();
        account.out_bytes += datagram.len() as u64;
        let header = Header::parse(datagram).expect("the server sends what it can read");
        if header.kind == Kind::Challenge {
            account.cookies.extend(Options::of(header.tlvs(datagram)).cookie);
        }
        let limit = account.in_bytes * u64::from(AMPLIFICATION);
        assert!(
            account.validated || account.out_bytes <= limit,
            "port {port} sent {} bytes, showed no cookie and got {}",
            account.in_bytes,
            account.out_bytes
        );
    }
}
