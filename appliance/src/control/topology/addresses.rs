//! Judges a port's addresses: its own, those of its networks, and who passes packets on to others.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use toml::Spanned;

use super::services;
use crate::control::config::Problems;
use crate::control::config::raw::{self, Value};
use crate::matcher::{Error as PrefixError, Prefix};

/// What a port is known by, and who its neighbours are.
pub(super) struct Addresses {
    pub(super) mac: Option<[u8; 6]>,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
    pub(super) ipv4_network: Option<Prefix>,
    pub(super) ipv6_network: Option<Prefix>,
    pub(super) ipv4_gateway: Option<Ipv4Addr>,
    pub(super) ipv6_gateway: Option<Ipv6Addr>,
}

/// Judges all of them; `place` names the port.
pub(super) fn judge(place: &str, raw: &raw::Port, problems: &mut Problems<'_>) -> Addresses {
    let ipv4 = address(place, "ipv4", &raw.ipv4, 32, problems).filter(|(ip, _): &(Spanned<Ipv4Addr>, _)| {
        let ip4 = ip.get_ref();
        let usable = !(ip4.is_unspecified() || ip4.is_multicast() || ip4.is_broadcast() || ip4.is_loopback());
        unicast(place, "ipv4", ip, usable, problems)
    });
    let ipv6 = address(place, "ipv6", &raw.ipv6, 128, problems).filter(|(ip, _): &(Spanned<Ipv6Addr>, _)| {
        let ip6 = ip.get_ref();
        let usable = !(ip6.is_unspecified()
            || ip6.is_multicast()
            || ip6.is_loopback()
            || ip6.to_ipv4_mapped().is_some());
        unicast(place, "ipv6", ip, usable, problems)
    });
    let (ipv4, ipv4_bits) = ipv4.map_or((None, None), |(ip, bits)| (Some(ip.into_inner()), bits));
    let (ipv6, ipv6_bits) = ipv6.map_or((None, None), |(ip, bits)| (Some(ip.into_inner()), bits));
    let (ipv4_network, ipv6_network) = (network(ipv4, ipv4_bits), network(ipv6, ipv6_bits));
    Addresses {
        mac: mac(place, &raw.mac, problems),
        ipv4_gateway: gateway(place, "ipv4", &raw.ipv4_gateway, ipv4, ipv4_network, problems),
        ipv6_gateway: gateway(place, "ipv6", &raw.ipv6_gateway, ipv6, ipv6_network, problems),
        ipv4,
        ipv6,
        ipv4_network,
        ipv6_network,
    }
}

/// An address, with or without the length of its network's prefix.
fn address<A: FromStr>(
    place: &str,
    key: &str,
    value: &Value<String>,
    limit: u8,
    problems: &mut Problems<'_>,
) -> Option<(Spanned<A>, Option<u8>)> {
    let value = value.as_ref()?;
    let text = value.get_ref();
    let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(at, bits)| (at, Some(bits)));
    let bits = prefix.map(|bits| bits.parse().ok().filter(|bits: &u8| *bits <= limit));
    match (address.parse(), bits) {
        (Ok(parsed), None) => Some((Spanned::new(value.span(), parsed), None)),
        (Ok(parsed), Some(Some(bits))) => Some((Spanned::new(value.span(), parsed), Some(bits))),
        _ => {
            let example = if key == "ipv4" { "10.77.0.1 or 10.77.0.1/24" } else { "fd77::1 or fd77::1/64" };
            problems.wrong(
                Some(value.span()),
                format!("{place}: {key}: \"{text}\" is no address such as {example}"),
            );
            None
        }
    }
}

/// The network of an address, if the length of its prefix is known.
fn network<A: Into<IpAddr>>(address: Option<A>, bits: Option<u8>) -> Option<Prefix> {
    match Prefix::new(address?.into(), bits?) {
        Ok(network) | Err(PrefixError::HostBits { network, .. }) => Some(network),
        Err(_) => None,
    }
}

/// Who passes packets on: another host of the port's network.
fn gateway<A: FromStr + Copy + Into<IpAddr>>(
    place: &str,
    family: &str,
    value: &Value<String>,
    own: Option<A>,
    network: Option<Prefix>,
    problems: &mut Problems<'_>,
) -> Option<A> {
    let value = value.as_ref()?;
    let text = value.get_ref();
    let wrong = match (text.parse::<A>(), own) {
        (Err(_), _) => {
            let example = if family == "ipv4" { "10.77.0.254" } else { "fd77::fe" };
            format!("{text:?} is no address such as {example}")
        }
        (Ok(_), None) => format!("the port has no {family} to ask it from"),
        (Ok(gateway), Some(own)) => {
            let address: IpAddr = gateway.into();
            // Routers for IPv6 are known by such addresses (RFC 4861, 6.1.2).
            let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            match network {
                _ if !services::is_host(address) || address == own.into() => {
                    format!("{address} is no address that another host can have")
                }
                Some(network) if !network.has(address) && !is_link_local => {
                    format!("{address} is not in the port's network, {network}")
                }
                _ => return Some(gateway),
            }
        }
    };
    problems.wrong(Some(value.span()), format!("{place}: {family}_gateway: {wrong}"));
    None
}

fn unicast<A: Display>(
    place: &str,
    key: &str,
    address: &Spanned<A>,
    usable: bool,
    problems: &mut Problems<'_>,
) -> bool {
    if !usable {
        let text = format!("{place}: {key}: {} is no address that a port can have", address.get_ref());
        problems.wrong(Some(address.span()), text);
    }
    usable
}

fn mac(place: &str, value: &Value<String>, problems: &mut Problems<'_>) -> Option<[u8; 6]> {
    let value = value.as_ref()?;
    let text = value.get_ref();
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    let complete = bytes.iter_mut().all(|byte| {
        parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .is_some_and(|part| u8::from_str_radix(part, 16).map(|value| *byte = value).is_ok())
    });
    if !complete || parts.next().is_some() {
        problems.wrong(
            Some(value.span()),
            format!("{place}: mac: \"{text}\" is no MAC address such as 02:00:00:00:00:01"),
        );
        return None;
    }
    if bytes[0] & 1 == 1 || bytes == [0; 6] {
        problems.wrong(Some(value.span()), format!("{place}: mac: {text} is not a unicast address"));
        return None;
    }
    Some(bytes)
}
