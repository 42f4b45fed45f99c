//! Tuple-space search: rules that test the same bits form a tuple, and one hash lookup decides among all of them.
//!
//! A key is seen as six words. What a rule tests exactly (values, prefixes, presence of headers) becomes a mask and a value over
//! these words; what it tests otherwise (port ranges) is checked on the few candidates that the hash finds.

use std::collections::{BTreeMap, HashSet};

use super::rule::{PortRange, Rule, Side, VlanMatch};
use crate::parser::{Key, Present};

/// A key, a mask, or a masked value.
pub(super) type Words = [u64; 6];

/// Secrets of the hash, drawn for each table: who sends the frames cannot know which keys collide.
#[derive(Clone, Copy)]
pub(super) struct Seeds {
    words: Words,
    multiplier: u64,
}

impl Seeds {
    /// Makes seeds out of a source of random numbers.
    pub(super) fn new(mut random: impl FnMut() -> u64) -> Self {
        Self { words: std::array::from_fn(|_| random()), multiplier: random() | 1 }
    }

    /// Hash of a lambda ID.
    #[inline]
    pub(super) fn lambda(&self, id: u32) -> u64 {
        fold(u64::from(id) ^ self.words[0], self.multiplier)
    }

    /// Hash of a key under a mask.
    #[inline]
    fn masked(&self, key: &Words, mask: &Words) -> u64 {
        let word = |at: usize| (key[at] & mask[at]) ^ self.words[at];
        let source = fold(word(0), word(1));
        let destination = fold(word(2), word(3));
        let rest = fold(word(4), word(5));
        fold(source ^ destination.rotate_left(21) ^ rest.rotate_left(42), self.multiplier)
    }
}

/// Product of both, its halves folded into one.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The six words of a key.
#[inline]
pub(super) fn words(key: &Key) -> Words {
    [
        (key.source >> 64) as u64,
        key.source as u64,
        (key.destination >> 64) as u64,
        key.destination as u64,
        u64::from(key.lambda) << 32 | u64::from(key.source_port) << 16 | u64::from(key.destination_port),
        u64::from(key.ether_type) << 48
            | u64::from(key.vlan) << 32
            | u64::from(key.port.raw()) << 16
            | u64::from(key.protocol) << 8
            | u64::from(key.present.bits()),
    ]
}

/// How many tuples rules make.
pub(super) fn count(rules: &[(u32, Rule)]) -> usize {
    let general = rules.iter().filter(|(_, rule)| !rule.is_rpc_only());
    general.map(|(_, rule)| mask_and_value(rule).0).collect::<HashSet<_>>().len()
}

/// Which bits a rule tests, and what they must be.
pub(super) fn mask_and_value(rule: &Rule) -> (Words, Words) {
    let (mut mask, mut value) = (Key::default(), Key::default());
    let (mut tested, mut present) = (Present::default(), Present::default());
    let mut need = |part| {
        tested.add(part);
        present.add(part);
    };
    if rule.side == Side::Host {
        need(Present::HOST);
    }
    if let Some(id) = rule.rpc_lambda {
        need(Present::RPC);
        (mask.lambda, value.lambda) = (u32::MAX, id.raw());
    }
    if let Some(port) = rule.port {
        (mask.port, value.port) = (crate::ids::PortId::new(u16::MAX), port);
    }
    if let Some(source) = rule.source {
        let (address, bits, family) = source.parts();
        need(family);
        (mask.source, value.source) = (bits, address);
    }
    if let Some(destination) = rule.destination {
        let (address, bits, family) = destination.parts();
        need(family);
        (mask.destination, value.destination) = (bits, address);
    }
    if let Some(protocol) = rule.protocol {
        // Needs either family, which is no mask: the candidate's check decides that.
        (mask.protocol, value.protocol) = (u8::MAX, protocol);
    }
    if rule.source_port != PortRange::Any || rule.destination_port != PortRange::Any {
        need(Present::PORTS);
    }
    if let PortRange::Exact(port) = rule.source_port {
        (mask.source_port, value.source_port) = (u16::MAX, port);
    }
    if let PortRange::Exact(port) = rule.destination_port {
        (mask.destination_port, value.destination_port) = (u16::MAX, port);
    }
    if let Some(ether_type) = rule.ether_type {
        (mask.ether_type, value.ether_type) = (u16::MAX, ether_type);
    }
    match rule.vlan {
        VlanMatch::Any => {}
        VlanMatch::Untagged => tested.add(Present::VLAN),
        VlanMatch::Exact(vlan) => {
            tested.add(Present::VLAN);
            present.add(Present::VLAN);
            (mask.vlan, value.vlan) = (u16::MAX, vlan);
        }
    }
    tested.add(Present::HOST);
    (mask.present, value.present) = (tested, present);
    (words(&mask), words(&value))
}

/// A rule that the hash found; its ranges decide most cases without touching the rule.
#[derive(Clone, Copy)]
struct Candidate {
    /// Place in the order of precedence.
    rank: u32,
    source_ports: (u16, u16),
    destination_ports: (u16, u16),
}

impl Candidate {
    fn new(rank: u32, rule: &Rule) -> Self {
        Self {
            rank,
            source_ports: bounds(rule.source_port),
            destination_ports: bounds(rule.destination_port),
        }
    }

    #[inline]
    fn in_range(&self, key: &Key) -> bool {
        let within = |port: u16, (first, last)| first <= port && port <= last;
        within(key.source_port, self.source_ports) && within(key.destination_port, self.destination_ports)
    }
}

/// An exact port was compared by the hash already, and the rule's own check follows.
fn bounds(range: PortRange) -> (u16, u16) {
    match range {
        PortRange::Any | PortRange::Exact(_) => (0, u16::MAX),
        PortRange::Inclusive(first, last) => (first, last),
    }
}

/// Candidates that share all tested bits; free if there are none.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    first: u32,
    count: u32,
}

/// All rules that test the same bits.
pub(super) struct Tuple {
    mask: Words,
    /// Power of two, at most half full.
    slots: Box<[Slot]>,
    /// By slot, within it by precedence.
    candidates: Box<[Candidate]>,
    /// Precedence of its best rule.
    best_rank: u32,
}

impl Tuple {
    /// Groups rules, given in order of precedence, into tuples, and orders the tuples by their best rule.
    pub(super) fn group<'a>(rules: impl Iterator<Item = (u32, &'a Rule)>, seeds: &Seeds) -> Box<[Tuple]> {
        let mut groups: BTreeMap<Words, BTreeMap<Words, Vec<Candidate>>> = BTreeMap::new();
        for (rank, rule) in rules {
            let (mask, value) = mask_and_value(rule);
            groups.entry(mask).or_default().entry(value).or_default().push(Candidate::new(rank, rule));
        }
        let mut tuples: Vec<Tuple> =
            groups.into_iter().map(|(mask, values)| Tuple::build(mask, values, seeds)).collect();
        tuples.sort_by_key(|tuple| tuple.best_rank);
        tuples.into()
    }

    fn build(mask: Words, values: BTreeMap<Words, Vec<Candidate>>, seeds: &Seeds) -> Self {
        let mut slots = vec![Slot::default(); (values.len() * 2).next_power_of_two()];
        let last = slots.len() - 1;
        let mut candidates = Vec::new();
        for (value, found) in values {
            let hash = seeds.masked(&value, &mask);
            let mut at = hash as usize & last;
            while slots[at].count != 0 {
                at = (at + 1) & last;
            }
            slots[at] = Slot { hash, first: candidates.len() as u32, count: found.len() as u32 };
            candidates.extend(found);
        }
        let best_rank = candidates.iter().map(|candidate| candidate.rank).min().unwrap_or(u32::MAX);
        Self { mask, slots: slots.into(), candidates: candidates.into(), best_rank }
    }

    /// Precedence of its best rule.
    #[inline]
    pub(super) fn best_rank(&self) -> u32 {
        self.best_rank
    }

    /// The matching rule with the best rank, if it is better than `limit`.
    #[inline]
    pub(super) fn lookup(
        &self,
        key: &Key,
        words: &Words,
        seeds: &Seeds,
        limit: u32,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let hash = seeds.masked(words, &self.mask);
        let last = self.slots.len() - 1;
        let mut at = hash as usize & last;
        loop {
            let slot = self.slots[at];
            if slot.count == 0 {
                return None;
            }
            if slot.hash == hash {
                let candidates = &self.candidates[slot.first as usize..][..slot.count as usize];
                for candidate in candidates.iter().take_while(|candidate| candidate.rank < limit) {
                    if candidate.in_range(key) && matches(candidate.rank) {
                        return Some(candidate.rank);
                    }
                }
            }
            at = (at + 1) & last;
        }
    }
}
