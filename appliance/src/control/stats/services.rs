//! Services that lambdas ask outside, and the next hops that lead there.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LambdaStats, LcoreStats, Snapshot, mac_text};
use crate::control::topology::{ServiceSpec, Topology, framing_name};
use crate::outside::{Neighbour, NeighbourState};

/// A service that a lambda may ask, and the way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceStats {
    /// What the lambda calls it.
    pub name: String,
    /// Where requests go.
    pub address: String,
    /// `datagram` or `memcached`.
    pub framing: String,
    /// Name of the port that requests leave on.
    pub port: String,
    /// Who they go to there: the service itself, or a gateway.
    pub next_hop: String,
}

impl ServiceStats {
    /// As this appliance sees it.
    #[must_use]
    pub fn of(spec: &ServiceSpec, topology: &Topology) -> Self {
        let port = topology.ports.get(spec.port.index());
        Self {
            name: spec.name.clone(),
            address: spec.address.to_string(),
            framing: framing_name(spec.framing).to_owned(),
            port: port.map(|port| port.name.clone()).unwrap_or_default(),
            next_hop: spec.hop.to_string(),
        }
    }
}

/// A next hop of services. One that does not answer is why nothing comes back from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NeighbourStats {
    /// Name of the port that it is on.
    pub port: String,
    /// Its IP address.
    pub address: String,
    /// `unknown`: nobody has needed it yet. `unanswered`: it was asked for its MAC address, and has not answered. `known`: it has.
    pub state: String,
    /// Its MAC address, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Seconds since it last answered; it is asked again while it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_s_ago: Option<f64>,
    /// Questions since then.
    #[serde(default)]
    pub unanswered: u32,
    /// Services of lambdas that it leads to.
    pub services: u32,
}

impl NeighbourStats {
    /// Of what lcores wrote down; `now` is since the appliance started, as their clock tells.
    #[must_use]
    pub fn of(neighbour: &Neighbour, ports: &[String], now: Duration) -> Self {
        let (state, mac, answered_s_ago, unanswered) = match neighbour.state {
            NeighbourState::Unknown => ("unknown", None, None, 0),
            NeighbourState::Unanswered => ("unanswered", None, None, 0),
            NeighbourState::Known { mac, confirmed_ns, unanswered } => {
                let age = now.saturating_sub(Duration::from_nanos(confirmed_ns));
                ("known", Some(mac_text(mac)), Some(age.as_secs_f64()), unanswered)
            }
        };
        Self {
            port: ports.get(neighbour.port.index()).cloned().unwrap_or_default(),
            address: neighbour.address.to_string(),
            state: state.to_owned(),
            mac,
            answered_s_ago,
            unanswered,
            services: neighbour.held,
        }
    }
}

/// For people: who asked, on which lcore, and by which next hops; nothing where no lambda may ask anybody.
pub(super) fn print(f: &mut fmt::Formatter<'_>, snapshot: &Snapshot) -> fmt::Result {
    lambdas(f, &snapshot.lambdas)?;
    lcores(f, &snapshot.lcores)?;
    neighbours(f, &snapshot.neighbours)
}

fn lambdas(f: &mut fmt::Formatter<'_>, lambdas: &[LambdaStats]) -> fmt::Result {
    let asking: Vec<&LambdaStats> =
        lambdas.iter().filter(|lambda| lambda.requests > 0 || !lambda.services.is_empty()).collect();
    if !asking.is_empty() {
        writeln!(
            f,
            "\n{:<20} {:>10} {:>10} {:>10} {:>10}",
            "LAMBDA", "REQUESTS", "REPLIES", "TIMED OUT", "FAILED"
        )?;
    }
    for lambda in asking {
        writeln!(
            f,
            "{:<20} {:>10} {:>10} {:>10} {:>10}",
            lambda.name, lambda.requests, lambda.replies, lambda.requests_timed_out, lambda.requests_failed
        )?;
    }
    Ok(())
}

fn lcores(f: &mut fmt::Formatter<'_>, lcores: &[LcoreStats]) -> fmt::Result {
    let asking: Vec<&LcoreStats> =
        lcores.iter().filter(|lcore| lcore.requests > 0 || lcore.neighbours_asked > 0).collect();
    if !asking.is_empty() {
        writeln!(
            f,
            "\n{:<20} {:>10} {:>10} {:>10} {:>10} {:>16}",
            "LCORE", "REQUESTS", "REPLIES", "TIMED OUT", "UNRESOLVED", "NEIGHBOURS ASKED"
        )?;
    }
    for lcore in asking {
        writeln!(
            f,
            "{:<20} {:>10} {:>10} {:>10} {:>10} {:>16}",
            lcore.lcore,
            lcore.requests,
            lcore.replies,
            lcore.requests_timed_out,
            lcore.requests_unresolved,
            lcore.neighbours_asked
        )?;
    }
    Ok(())
}

fn neighbours(f: &mut fmt::Formatter<'_>, neighbours: &[NeighbourStats]) -> fmt::Result {
    if !neighbours.is_empty() {
        writeln!(
            f,
            "\n{:<39} {:<12} {:<17} {:<10} {:>10} {:>10} {:>8}",
            "NEXT HOP", "PORT", "MAC", "STATE", "ANSWERED", "UNANSWERED", "SERVICES"
        )?;
    }
    for hop in neighbours {
        let answered = hop.answered_s_ago.map(|seconds| format!("{seconds:.1} s")).unwrap_or_default();
        writeln!(
            f,
            "{:<39} {:<12} {:<17} {:<10} {:>10} {:>10} {:>8}",
            hop.address,
            hop.port,
            hop.mac.as_deref().unwrap_or("-"),
            hop.state,
            answered,
            hop.unanswered,
            hop.services
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PortId;

    #[test]
    fn next_hops_say_why_nothing_comes_back() {
        let (ports, now) = (["wire".to_owned()], Duration::from_secs(100));
        let of = |address: &str, state| {
            let address = address.parse().unwrap();
            NeighbourStats::of(&Neighbour { port: PortId::new(0), address, state, held: 2 }, &ports, now)
        };
        let known =
            NeighbourState::Known { mac: [2, 0, 0, 0, 0, 0xab], confirmed_ns: 97_500_000_000, unanswered: 1 };
        let all = [
            of("10.77.0.2", known),
            of("10.77.0.3", NeighbourState::Unanswered),
            of("fd77::4", NeighbourState::Unknown),
        ];
        assert_eq!(all[0].mac.as_deref(), Some("02:00:00:00:00:ab"));
        struct All<'a>(&'a [NeighbourStats]);
        impl fmt::Display for All<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                neighbours(f, self.0)
            }
        }
        let shown = All(&all).to_string();
        let rows: Vec<Vec<&str>> =
            shown.lines().skip(2).map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                vec!["10.77.0.2", "wire", "02:00:00:00:00:ab", "known", "2.5", "s", "1", "2"],
                vec!["10.77.0.3", "wire", "-", "unanswered", "0", "2"],
                vec!["fd77::4", "wire", "-", "unknown", "0", "2"],
            ]
        );
        assert_eq!(All(&[]).to_string(), "");
    }
}
