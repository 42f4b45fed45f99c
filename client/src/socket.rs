//! Connected UDP sockets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use lnic_wire::rpc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// Asked of the kernel in each direction; it grants at most net.core.rmem_max and wmem_max.
const BUFFER_BYTES: usize = 4 << 20;

/// A socket that takes datagrams from `address` only. The kernel sets DF on what it sends.
pub(crate) fn connect(address: SocketAddr) -> Result<UdpSocket, Error> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        socket.bind(&any.into())?;
        socket.connect(&address.into())?;
        Ok(UdpSocket::from(socket))
    };
    open().map_err(|source| Error::socket(address, source))
}

/// Most bytes of payload that one datagram to this address carries at an MTU of 1500.
#[must_use]
pub fn payload_limit(address: SocketAddr) -> usize {
    usize::from(match address {
        SocketAddr::V4(_) => rpc::FRAGMENT_BYTES_IPV4,
        SocketAddr::V6(_) => rpc::FRAGMENT_BYTES_IPV6,
    })
}
