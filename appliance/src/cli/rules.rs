//! `lnic rules`: what sends frames to lambdas.

use std::io::{self, Write};
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::table::{Side, Table, json};
use crate::control::plane::Rule;

/// List the match rules of a running appliance, in order of precedence
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic rules`. Exit code 1 if no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let rules = block_on(async { Ok(client.rules().await?) })?;
    let mut out = io::stdout().lock();
    if args.json {
        json(&mut out, &rules)?;
    } else {
        write(&mut out, &rules)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, rules: &[Rule]) -> io::Result<()> {
    let columns = [
        ("PRIORITY", Side::Right),
        ("LAMBDA", Side::Left),
        ("EGRESS", Side::Left),
        ("CONDITIONS", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for rule in rules {
        table.row([
            rule.priority.to_string(),
            rule.lambda.to_string(),
            rule.egress.clone(),
            rule.conditions.clone(),
        ]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::plane::LambdaKey;

    #[test]
    fn a_line_for_each() {
        let rule = |priority, namespace: &str, conditions: &str| Rule {
            lambda: LambdaKey::new(namespace, "dns"),
            priority,
            conditions: conditions.into(),
            egress: "reply".into(),
        };
        let mut out = Vec::new();
        let rules = [rule(10, "acme", "udp, destination port 53"), rule(0, "default", "λ-RPC ID 7")];
        write(&mut out, &rules).unwrap();
        let expected = "\
PRIORITY  LAMBDA    EGRESS  CONDITIONS
      10  dns.acme  reply   udp, destination port 53
       0  dns       reply   λ-RPC ID 7
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
