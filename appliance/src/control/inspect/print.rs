//! An inspection for people.

use std::fmt;

use super::{BeforeAfter, Inspection};

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.deployed.as_ref().map_or(&self.entry, |deployed| &deployed.name);
        writeln!(f, "{name}: runs on {}, because {}", self.runs, self.because)?;
        writeln!(f, "\nmemory: {} layout, {} bytes for an instance", self.layout, self.memory_bytes)?;
        writeln!(f, "  {:>10} {:>10}  {:<6} SHARED BY", "ADDRESS", "BYTES", "TIER")?;
        for window in &self.windows {
            writeln!(
                f,
                "  {:>#10x} {:>10}  {:<6} {}",
                window.address, window.bytes, window.tier, window.shared_by
            )?;
        }
        self.objects(f)?;
        writeln!(f, "\nheaders read:    {}", list(&self.headers_read))?;
        writeln!(f, "headers written: {}", list(&self.headers_written))?;
        writeln!(f, "payload:         {}", list(&self.payload))?;
        let sites = &self.sites;
        writeln!(f, "\naccess sites: {} of {} attributed", sites.attributed, sites.total)?;
        if let Some(why) = &sites.incomplete {
            writeln!(f, "  the analysis gave up, so everything counts as touched: {why}")?;
        }
        for lost in &sites.lost {
            writeln!(
                f,
                "  {} at byte {:#x}: {}: {}; it counts as touching everything",
                lost.function, lost.position, lost.operator, lost.why
            )?;
        }
        let code = &self.code;
        writeln!(
            f,
            "\ncode: {} functions, {} bytes of WebAssembly, {} of machine code; stack {}",
            code.functions,
            code.wasm_bytes,
            code.native_bytes,
            code.stack_bytes
                .map_or_else(|| "without a known bound".to_owned(), |bytes| format!("{bytes} bytes"))
        )?;
        writeln!(f, "fuel of a run: about {:.0}, all branches taken and loops counted ten times", code.fuel)?;
        writeln!(f, "\noptimisations (before → after)")?;
        change(f, "memory stratification", &self.stratification, "ns of accesses to objects in a run")?;
        if let Some(deployed) = &self.deployed {
            change(f, "match reduction", &deployed.rules, "rules of the appliance")?;
            change(f, "lambda coalescing", &deployed.copies, "copies of this code")?;
            writeln!(f, "\nparser plan of the appliance: {}", deployed.parser_plan)?;
        }
        Ok(())
    }
}

impl Inspection {
    fn objects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unmoved {
            writeln!(f, "  its objects are where the linker put them: {why}")?;
        }
        if self.objects.is_empty() {
            return writeln!(f, "\nobjects: none");
        }
        writeln!(f, "\nobjects, hot ones first; reads and writes of a run, a loop counted ten times")?;
        writeln!(
            f,
            "  {:<24} {:>9} {:>9} {:>8} {:>8}  {:<5} {:<8}  {:<22}  {:>10}",
            "NAME", "KIND", "BYTES", "READS", "WRITES", "TIER", "SHARED", "WHY", "ADDRESS"
        )?;
        for object in &self.objects {
            let atomic = if object.atomic { " atomic" } else { "" };
            writeln!(
                f,
                "  {:<24} {:>9} {:>9} {:>8} {:>8}  {:<5} {:<8}  {:<22}  {:>#10x}{atomic}",
                object.name,
                object.kind,
                object.bytes,
                object.reads,
                object.writes,
                object.tier,
                object.shared_by,
                object.why,
                object.address,
            )?;
        }
        Ok(())
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn change(f: &mut fmt::Formatter<'_>, name: &str, change: &BeforeAfter, what: &str) -> fmt::Result {
    writeln!(f, "  {name:<22} {:>8} → {:<8} {what}", round(change.before), round(change.after))
}

/// No more digits than anybody reads.
fn round(value: f64) -> f64 {
    // A sum of nothing is −0.
    (value * 10.0).round() / 10.0 + 0.0
}
