//! `lnic logs`: what lambdas said.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{Connection, block_on};
use super::name::InNamespace;
use super::table::{json_line, plain, time};
use crate::control::plane::{LogLine, LogQuery};

/// Print what lambdas logged
///
/// An appliance keeps the last lines of each lambda.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda: NAME, or NAME.NAMESPACE [default: all]
    name: Option<String>,
    #[command(flatten)]
    namespace: InNamespace,
    /// Go on with new lines until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only so many lines of those that are kept, the latest
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Only lines that are not older, such as 10m or 1h30m, or from a time on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    Time(SystemTime),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Since::Ago(ago));
    }
    humantime::parse_rfc3339_weak(text)
        .map(Since::Time)
        .map_err(|_| "expected how long ago, such as 10m, or a time such as 2026-01-31T12:00:00Z".into())
}

impl Since {
    /// ms since 1970; what is before that is all there is.
    fn ms(self, now: SystemTime) -> u64 {
        let from = match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(UNIX_EPOCH),
            Self::Time(time) => time,
        };
        from.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Runs `lnic logs`. Exit code 1 if no appliance answers, or it ends while its log is followed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let query = query(args, SystemTime::now())?;
    block_on(async {
        let mut lines = client.logs(&query).await?;
        while let Some(line) = lines.next().await {
            print(&mut io::stdout().lock(), &line?, args.json)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn query(args: &Args, now: SystemTime) -> anyhow::Result<LogQuery> {
    let mut query = LogQuery {
        name: None,
        namespace: args.namespace.namespace.clone(),
        tail: args.tail,
        since_ms: args.since.map(|since| since.ms(now)),
        follow: args.follow,
    };
    if let Some(name) = &args.name {
        let key = args.namespace.key(name)?;
        query.name = Some(key.name);
        query.namespace = Some(key.namespace);
    }
    Ok(query)
}

fn print(out: &mut impl Write, line: &LogLine, as_json: bool) -> io::Result<()> {
    if as_json {
        json_line(out, line)?;
    } else {
        writeln!(out, "{} {}: {}", time(line.time_ms), line.lambda, plain(&line.text))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::plane::LambdaKey;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn asked(words: &str) -> LogQuery {
        let words = std::iter::once("logs").chain(words.split_whitespace());
        let command = <Command as clap::Parser>::try_parse_from(words).expect("arguments");
        query(&command.args, UNIX_EPOCH + Duration::from_secs(1_000)).expect("a query")
    }

    #[test]
    fn options_become_the_query() {
        assert_eq!(asked(""), LogQuery::default());
        let all = asked("echo.acme -f --tail 5 --since 10s");
        let expected = LogQuery {
            name: Some("echo".into()),
            namespace: Some("acme".into()),
            tail: Some(5),
            since_ms: Some(990_000),
            follow: true,
        };
        assert_eq!(all, expected);
        assert_eq!(asked("echo").namespace.as_deref(), Some("default"));
        assert_eq!(asked("-n acme"), LogQuery { namespace: Some("acme".into()), ..LogQuery::default() });
        assert_eq!(asked("--since 2h").since_ms, Some(0));
        assert_eq!(asked("--since 1970-01-01T00:01:00Z").since_ms, Some(60_000));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn lines_for_people_and_programs() {
        let line = LogLine {
            lambda: LambdaKey::new("acme", "echo"),
            generation: 3,
            time_ms: 1_500_000_000_123,
            text: "hello\u{7}".into(),
        };
        let printed = |json| {
            let mut out = Vec::new();
            print(&mut out, &line, json).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(false), "2017-07-14T02:40:00.123Z echo.acme: hello\\u{7}\n");
        assert_eq!(serde_json::from_str::<LogLine>(&printed(true)).unwrap(), line);
    }
}
