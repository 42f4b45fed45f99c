//! Prints what came of packet scripts.

use std::io::{self, Write};

use serde::Serialize;

use super::Tally;
use crate::cli::table::{json_line, plain};
use crate::control::script::{Difference, PacketReport, Report, Trouble};

/// A script as JSON.
#[derive(Serialize)]
struct ScriptLine<'a> {
    script: String,
    passed: usize,
    failed: usize,
    took_ms: f64,
    packets: Vec<PacketLine<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<ServiceLine<'a>>,
}

#[derive(Serialize)]
struct PacketLine<'a> {
    name: &'a str,
    line: usize,
    passed: bool,
    fuel: u64,
    invocations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a Trouble>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    frames: &'a [String],
}

#[derive(Serialize)]
struct ServiceLine<'a> {
    line: usize,
    message: &'a str,
}

/// Prints what came of a script: a line if all is well, and all that is known of what is not.
pub(super) fn report(
    out: &mut impl Write,
    report: &Report,
    took_ms: f64,
    verbose: bool,
    json: bool,
) -> io::Result<()> {
    if json {
        return json_line(out, &script_line(report, took_ms));
    }
    let path = report.path.display().to_string();
    for packet in &report.packets {
        if verbose {
            let state = if packet.trouble.is_some() { "failed" } else { "passed" };
            let (line, name, runs) = (packet.line, &packet.name, packet.invocations);
            writeln!(out, "{path}:{line}: {name:?}: {state}, {runs} runs, {} fuel", packet.fuel)?;
            for frame in &packet.trace {
                writeln!(out, "    {}", plain(frame))?;
            }
        }
        if let Some(found) = &packet.trouble {
            trouble(out, &path, packet, found)?;
        }
    }
    for (line, message) in &report.unasked {
        writeln!(out, "{path}:{line}: {message}")?;
    }
    let (passed, failed) = (report.passed(), report.failed());
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    writeln!(out, "{path}: {passed} passed{failed} ({took_ms:.1} ms)")
}

fn trouble(out: &mut impl Write, path: &str, packet: &PacketReport, trouble: &Trouble) -> io::Result<()> {
    let time = trouble.repetition.map(|number| format!(", time {number}")).unwrap_or_default();
    writeln!(out, "{path}:{}: {:?}{time}: failed", packet.line, packet.name)?;
    for (word, lines) in [("sent", &trouble.sent), ("expected", &trouble.expected), ("got", &trouble.got)] {
        for (at, line) in lines.iter().enumerate() {
            let word = if at == 0 { word } else { "" };
            writeln!(out, "    {word:<9} {}", plain(line))?;
        }
    }
    for Difference { what, expected, got, dump } in &trouble.differences {
        writeln!(out, "    {what}: expected {}, got {}", plain(expected), plain(got))?;
        for line in dump {
            writeln!(out, "        {}", plain(line))?;
        }
    }
    for note in &trouble.notes {
        writeln!(out, "    {}", plain(note))?;
    }
    Ok(())
}

/// Prints the sum over all scripts.
pub(super) fn tally(out: &mut impl Write, tally: &Tally) -> io::Result<()> {
    let Tally { scripts, passed, failed, wrong } = tally;
    let packets = passed + failed;
    let mut end = match failed {
        0 => "all passed".to_owned(),
        failed => format!("{passed} passed, {failed} failed"),
    };
    if *wrong > 0 {
        let more = format!("{} cannot be played", count(*wrong, "script"));
        end = if packets == 0 { more } else { format!("{end}; {more}") };
    }
    writeln!(out, "{}, {}: {end}", count(*scripts, "script"), count(packets, "packet"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn script_line(report: &Report, took_ms: f64) -> ScriptLine<'_> {
    let services = report.unasked.iter();
    ScriptLine {
        script: report.path.display().to_string(),
        passed: report.passed(),
        failed: report.failed(),
        took_ms,
        packets: report.packets.iter().map(packet_line).collect(),
        services: services.map(|(line, message)| ServiceLine { line: *line, message }).collect(),
    }
}

fn packet_line(packet: &PacketReport) -> PacketLine<'_> {
    PacketLine {
        name: &packet.name,
        line: packet.line,
        passed: packet.trouble.is_none(),
        fuel: packet.fuel,
        invocations: packet.invocations,
        trouble: packet.trouble.as_ref(),
        frames: &packet.trace,
    }
}
