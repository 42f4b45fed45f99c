//! What was derived from the deployed lambdas and rules together, before and after.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::control::appliance::Coalesced;
use crate::matcher::{Reduction, Table};
use crate::parser::HeaderSet;

/// The paper's optimisations, as they came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeploymentStats {
    /// What the parser decodes.
    pub parser: String,
    /// Headers that are extracted for some lambda.
    pub extracted: String,
    /// Match reduction.
    pub rules: RuleStats,
    /// Lambda coalescing.
    pub code: Coalesced,
}

/// Match reduction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuleStats {
    /// Rules as they are configured.
    pub rules_before: usize,
    /// Rules in the table.
    pub rules: usize,
    /// Rules that can never match.
    pub shadowed: usize,
    /// Rules that went into others.
    pub merged: usize,
    /// Tuples of the rules as they are configured.
    pub tuples_before: usize,
    /// Tuples of the table; each costs a look-up a hash at most.
    pub tuples: usize,
}

impl DeploymentStats {
    /// Of a table, and of lambdas that touch these headers.
    #[must_use]
    pub fn new(table: &Table, reduction: &Reduction, extracted: HeaderSet, code: Coalesced) -> Self {
        let &Reduction { rules_before, rules, shadowed, merged, tuples_before, tuples } = reduction;
        Self {
            parser: table.plan().to_string(),
            extracted: extracted.to_string(),
            rules: RuleStats { rules_before, rules, shadowed, merged, tuples_before, tuples },
            code,
        }
    }
}

impl fmt::Display for DeploymentStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parser, extracted, rules, code } = self;
        writeln!(f, "parser    {parser}; extracted {extracted}")?;
        writeln!(
            f,
            "rules     {} in {} tuples, of {} in {}: {} shadowed, {} merged",
            rules.rules, rules.tuples, rules.rules_before, rules.tuples_before, rules.shadowed, rules.merged
        )?;
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        writeln!(
            f,
            "code      {:.1} KiB of {} modules, for {:.1} KiB of {} lambdas",
            kib(code.code_bytes),
            code.modules,
            kib(code.code_bytes_before),
            code.deployments
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LambdaId, LambdaRef};
    use crate::matcher::Rule;

    #[test]
    fn before_and_after_are_printed() {
        let rule = Rule::rpc(LambdaId::new(1), LambdaRef::default());
        let tcp =
            |bits: &str| Rule { destination: Some(bits.parse().unwrap()), ..Rule::any(LambdaRef::default()) };
        let (table, reduction) =
            Table::reduced(vec![rule.clone(), rule, tcp("10.0.0.0/9"), tcp("10.128.0.0/9")]).unwrap();
        let code = Coalesced { deployments: 3, modules: 1, code_bytes_before: 6144, code_bytes: 2048 };
        let stats = DeploymentStats::new(&table, &reduction, HeaderSet::RPC, code);
        assert_eq!(
            stats.to_string(),
            "parser    ethernet vlan ipv4(addresses, udp, tcp) ipv6(own) rpc; extracted rpc\n\
             rules     2 in 1 tuples, of 4 in 1: 1 shadowed, 1 merged\n\
             code      2.0 KiB of 1 modules, for 6.0 KiB of 3 lambdas\n"
        );
    }
}
