//! Addresses as people write them.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use lnic_wire::rpc;

use crate::Error;

/// The address that `text` means: `10.0.0.1`, `10.0.0.1:4793`, `fd00::1`, `[fd00::1]`, `[fd00::1]:4793`, `name`, `name:4793`.
/// The port is λ-RPC's unless given.
///
/// # Errors
/// [`Error::Address`] if it is none of these, or the name does not resolve.
pub fn resolve(text: &str) -> Result<SocketAddr, Error> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, rpc::PORT));
    }
    // The resolver also takes link-local addresses with a scope.
    let resolved = match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() && !bare.contains("::") => text.to_socket_addrs(),
        _ => (bare, rpc::PORT).to_socket_addrs(),
    };
    let failed = |source| Error::Address { text: text.to_owned(), source };
    resolved
        .map_err(failed)?
        .next()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_form() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:4793"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("fd00::1", "[fd00::1]:4793"),
            ("::1", "[::1]:4793"),
            ("[fd00::1]", "[fd00::1]:4793"),
            ("[fd00::1]:5000", "[fd00::1]:5000"),
            ("1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:4793"),
        ] {
            assert_eq!(resolve(text).expect(text), expected.parse().expect("an address"), "{text}");
        }
        for (text, port) in [("localhost", 4793), ("localhost:5000", 5000)] {
            let address = resolve(text).expect(text);
            assert!(address.ip().is_loopback() && address.port() == port, "{text}: {address}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for text in ["", ":", "10.0.0.1:99999", "[fd00::1", "a b", "10.0.0.256"] {
            let error = resolve(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
