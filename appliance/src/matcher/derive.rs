//! From rules to the parser's plan: which frames can match at all.

use lnic_wire::{ethernet, protocol};

use super::{PortRange, Rule};
use crate::parser::{IpPlan, Plan, Ports};

/// What the parser must decode so that all rules, which are of one side, find what they test, and all that may match is verified.
pub(super) fn plan<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Plan {
    let mut plan = Plan::OWN;
    for rule in rules {
        // Messages to the appliance itself are decoded by every plan, and nothing else matches this.
        if rule.rpc_lambda.is_some() {
            continue;
        }
        for (ip, ether_type, is_ipv4) in
            [(&mut plan.ipv4, ethernet::TYPE_IPV4, true), (&mut plan.ipv6, ethernet::TYPE_IPV6, false)]
        {
            let prefixes = [rule.source, rule.destination];
            if rule.ether_type.is_none_or(|wanted| wanted == ether_type)
                && prefixes.iter().flatten().all(|prefix| prefix.is_ipv4() == is_ipv4)
            {
                ip.addresses |= prefixes.iter().any(Option::is_some);
                want(ip, rule);
            }
        }
    }
    plan
}

/// Adds what a rule wants of an IP version whose frames it may match.
fn want(ip: &mut IpPlan, rule: &Rule) {
    let tests_ports = rule.source_port != PortRange::Any || rule.destination_port != PortRange::Any;
    let upper = |number: u8, ports: &mut Ports| {
        if rule.protocol.is_none_or(|wanted| wanted == number) {
            let (first, last) = match rule.destination_port {
                PortRange::Any => (0, u16::MAX),
                PortRange::Exact(port) => (port, port),
                PortRange::Inclusive(first, last) => (first, last),
            };
            ports.add(first, last);
            return true;
        }
        false
    };
    let udp = upper(protocol::UDP, &mut ip.udp);
    let tcp = upper(protocol::TCP, &mut ip.tcp);
    // Ports of another protocol are never known: that rule matches nothing.
    ip.wanted |= udp || tcp || !tests_ports;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LambdaId, LambdaRef, PortId};

    fn printed(rules: &[Rule]) -> String {
        plan(rules).to_string()
    }

    fn any() -> Rule {
        Rule::any(LambdaRef::default())
    }

    #[test]
    fn lambda_ids_need_nothing_but_our_own_messages() {
        let rpc = Rule::rpc(LambdaId::new(7), LambdaRef::default());
        let narrowed =
            Rule { protocol: Some(17), source: Some("10.0.0.0/8".parse().unwrap()), ..rpc.clone() };
        assert_eq!(plan(&[rpc, narrowed]), Plan::OWN);
        assert_eq!(printed(&[]), "ethernet vlan ipv4(own) ipv6(own) rpc");
    }

    #[test]
    fn a_rule_that_tests_nothing_of_ip_needs_everything() {
        for rule in [any(), Rule { port: Some(PortId::new(1)), ..any() }] {
            let mut full = Plan::FULL;
            // No rule tests them.
            (full.ipv4.addresses, full.ipv6.addresses) = (false, false);
            assert_eq!(plan(&[rule]), full);
        }
        assert_eq!(printed(&[any()]), "ethernet vlan ipv4(udp, tcp) ipv6(udp, tcp) rpc");
    }

    #[test]
    fn families_protocols_and_ports_are_told_apart() {
        let dns = Rule { protocol: Some(17), destination_port: PortRange::Exact(53), ..any() };
        let high = Rule { protocol: Some(17), destination_port: PortRange::Inclusive(60, 90), ..any() };
        let from = Rule { source: Some("10.0.0.0/8".parse().unwrap()), protocol: Some(6), ..any() };
        let six = Rule { ether_type: Some(0x86DD), destination_port: PortRange::Exact(9), ..any() };
        let arp = Rule { ether_type: Some(0x0806), ..any() };
        let gre = Rule { protocol: Some(47), ether_type: Some(0x0800), ..any() };
        assert_eq!(printed(std::slice::from_ref(&dns)), "ethernet vlan ipv4(udp 53) ipv6(udp 53) rpc");
        assert_eq!(
            printed(&[dns, high, from]),
            "ethernet vlan ipv4(addresses, udp 53-90, tcp) ipv6(udp 53-90) rpc"
        );
        assert_eq!(printed(&[six]), "ethernet vlan ipv4(own) ipv6(udp 9, tcp 9) rpc");
        assert_eq!(printed(&[arp]), "ethernet vlan ipv4(own) ipv6(own) rpc");
        assert_eq!(printed(&[gre]), "ethernet vlan ipv4 ipv6(own) rpc");
        let never = Rule { protocol: Some(47), source_port: PortRange::Exact(1), ..any() };
        assert_eq!(plan(&[never]), Plan::OWN);
    }
}
