//! Connected UDP sockets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use lnic_message::CREDIT;
use lnic_message::client::Config;
use lnic_wire::rpc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;
use crate::datagrams::DATAGRAM_BYTES;

/// Asked of the kernel in each direction; it grants at most net.core.rmem_max and wmem_max, unless the caller administers
/// the network.
const BUFFER_BYTES: usize = 4 << 20;

/// A socket that takes datagrams from `address` only. The kernel sets DF on what it sends.
pub(crate) fn connect(address: SocketAddr) -> Result<UdpSocket, Error> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        // Without the right to, the above is all there is.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES);
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

/// The same, and the configuration without the sizes of datagrams that the kernel does not take: those over the route's MTU
/// (of IPv6's it is not asked), and those of which one message's credit would not fit the receive buffer.
pub(crate) fn connect_for(address: SocketAddr, mut config: Config) -> Result<(UdpSocket, Config), Error> {
    let socket = connect(address)?;
    if address.is_ipv4()
        && let Ok(mtu) = getsockopt(&socket, sockopt::IpMtu)
    {
        // IPv4's header and UDP's.
        let most = u16::try_from(mtu - 28).unwrap_or(u16::MAX);
        config.probes.retain(|&bytes| bytes <= most);
        config.single_datagram_bytes = config.single_datagram_bytes.min(most);
    }
    let buffer_bytes = getsockopt(&socket, sockopt::RcvBuf).unwrap_or(BUFFER_BYTES);
    config.probes.retain(|&bytes| CREDIT as usize * charged_bytes(bytes) <= buffer_bytes);
    Ok((socket, config))
}

/// What the kernel charges a receive buffer for a datagram: memory comes in powers of two, with a description.
fn charged_bytes(datagram_bytes: u16) -> usize {
    (usize::from(datagram_bytes) + 384).next_power_of_two() + 256
}

/// Bytes of the largest datagram that comes or goes.
pub(crate) fn datagram_bytes(config: &Config) -> usize {
    let probes = config.probes.iter().copied().max().unwrap_or(0);
    let most = probes.max(config.datagram_bytes).max(config.single_datagram_bytes);
    usize::from(most).max(DATAGRAM_BYTES)
}

/// Most bytes of payload that one datagram to this address carries at an MTU of 1500.
#[must_use]
pub fn payload_limit(address: SocketAddr) -> usize {
    usize::from(match address {
        SocketAddr::V4(_) => rpc::FRAGMENT_BYTES_IPV4,
        SocketAddr::V6(_) => rpc::FRAGMENT_BYTES_IPV6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_for;

    #[test]
    fn sizes_that_the_kernel_does_not_take_are_not_tried() {
        let address = "127.0.0.1:4793".parse().expect("an address");
        let wide = Config { probes: vec![1472, 8972, 65_535], ..config_for(address) };
        let (socket, config) = connect_for(address, wide).expect("a socket");
        assert!(config.probes.contains(&1472), "{:?}", config.probes);
        assert!(!config.probes.contains(&65_535), "loopback's MTU is 65,536");
        // What a caller without rights gets, and what 4 MiB give.
        assert!(64 * charged_bytes(1472) <= 2 * 212_992 && 64 * charged_bytes(8972) > 2 * 212_992);
        assert!(64 * charged_bytes(8972) <= BUFFER_BYTES);
        let granted_bytes = getsockopt(&socket, sockopt::RcvBuf).expect("a size");
        assert_eq!(config.probes.contains(&8972), 64 * charged_bytes(8972) <= granted_bytes);
    }
}
