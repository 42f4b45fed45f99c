//! The report for people.

use std::fmt;

use super::report::Report;
use super::roles::{Island, Worker};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: appliance \"{}\", socket {}",
            self.configuration.display(),
            self.name,
            self.socket.display()
        )?;
        self.cores(f)?;
        self.memory(f)?;
        self.ports(f)?;
        self.lambdas(f)?;
        self.services(f)?;
        if !self.privileges.is_empty() {
            writeln!(f, "\nPrivileges")?;
            let rows = self.privileges.iter().map(|privilege| {
                let state = if privilege.present { "present" } else { "MISSING" };
                vec![privilege.capability.into(), state.into(), format!("for {}", privilege.ports.join(", "))]
            });
            table(f, rows.collect())?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nNotes")?;
            self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        }
        if self.missing.is_empty() {
            return writeln!(f, "\nNothing is missing.");
        }
        writeln!(f, "\nMissing")?;
        for missing in &self.missing {
            writeln!(f, "  {}\n    {}", missing.what, missing.fix)?;
        }
        Ok(())
    }
}

impl Report {
    fn cores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nCores (given: {})", self.cores.given)?;
        let mut rows = vec![lcore(0, self.cores.main_cpu, "main".into(), "sleeps; control threads".into())];
        for worker in &self.cores.workers {
            rows.push(lcore(worker.lcore, worker.cpu, self.roles(worker), self.duties(worker)));
        }
        table(f, rows)?;
        writeln!(f, "\nScheduling: {}", self.scheduling.mode)?;
        let island = |island: &Island| {
            let node =
                island.numa_node.map_or_else(|| "no NUMA node".into(), |node| format!("NUMA node {node}"));
            vec![format!("island {}", island.name), node, npus(&island.npus)]
        };
        let mut rows: Vec<Vec<String>> = self.islands.iter().map(island).collect();
        if !self.dispatchers.is_empty() {
            let scheduling = &self.scheduling;
            rows.push(vec![
                "queues".into(),
                format!("{} frames for each lambda", scheduling.queue_frames),
                format!(
                    "{} for all of a dispatcher, {} handed to an NPU",
                    scheduling.waiting_frames, scheduling.in_flight
                ),
            ]);
        }
        let fuel = self.budget.fuel_per_us;
        rows.push(vec![
            "budget".into(),
            format!("{} µs, at most {} µs", self.budget.default_us, self.budget.max_us),
            fuel.map_or_else(
                || "fuel per µs is measured at the start".into(),
                |fuel| format!("{fuel} fuel per µs"),
            ),
        ]);
        rows.push(match self.quarantine.failures {
            0 => vec!["quarantine".into(), "never".into()],
            failures => vec![
                "quarantine".into(),
                format!("after {failures} failures"),
                format!("within {} ms", self.quarantine.window_ms),
            ],
        });
        table(f, rows)
    }

    fn roles(&self, worker: &Worker) -> String {
        let npu = self.npus.iter().find(|npu| Some(npu.npu) == worker.npu);
        let npu = npu.map(|npu| format!("NPU {} ({})", npu.npu, npu.island));
        let dispatcher = worker.dispatcher.then(|| "dispatcher".into());
        [dispatcher, npu].into_iter().flatten().collect::<Vec<String>>().join(", ")
    }

    fn duties(&self, worker: &Worker) -> String {
        let queues = worker.polls.iter().map(|queue| format!("{} queue {}", queue.port, queue.queue));
        let queues = queues.collect::<Vec<_>>().join(", ");
        let polls = match (worker.poller, queues.as_str()) {
            (false, _) => None,
            (true, "") => Some("polls nothing".into()),
            (true, queues) => Some(format!("polls {queues}")),
        };
        let fed = self.dispatchers.iter().find(|dispatcher| dispatcher.lcore == worker.lcore);
        let feeds = fed.map(|dispatcher| format!("feeds {}", npus(&dispatcher.npus)));
        [polls, feeds].into_iter().flatten().collect::<Vec<String>>().join("; ")
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        writeln!(f, "\nMemory")?;
        let mut rows: Vec<Vec<String>> = memory
            .lines
            .iter()
            .map(|line| vec![line.what.clone(), size(line.bytes), line.how.clone()])
            .collect();
        rows.push(vec![
            "total".into(),
            size(memory.total_bytes),
            format!("{} available", size(memory.available_bytes).trim_start()),
        ]);
        table(f, rows)?;
        let tiers = memory.tiers.iter().map(|tier| {
            let whose = match tier.tier {
                "local" => format!("each NPU ({})", tier.regions),
                "ctm" => format!("each island ({})", tier.regions),
                _ => "all islands".into(),
            };
            vec![
                format!("tier {}", tier.tier),
                whose,
                format!("lambdas take {}", size(tier.planned_bytes).trim_start()),
                format!("of at most {}", size(tier.limit_bytes).trim_start()),
                format!("one lambda at most {}", size(tier.lambda_bytes).trim_start()),
            ]
        });
        table(f, tiers.collect())?;
        writeln!(f, "  pages: {}", memory.pages)?;
        for pages in &memory.hugepages {
            let kib = pages.page_bytes / 1024;
            writeln!(f, "  hugepages of {kib} KiB: {} reserved, {} free", pages.reserved, pages.free)?;
        }
        Ok(())
    }

    fn ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nPorts")?;
        let rows = self.ports.iter().map(|port| {
            let mut options = vec![format!("mtu {}", port.mtu), format!("queues {}", port.queues)];
            options.extend(port.promiscuous.then(|| "promiscuous".into()));
            options.extend(port.partial_checksums.then(|| "partial checksums".into()));
            options.extend(port.gateways.iter().map(|gateway| format!("gateway {gateway}")));
            options.extend(port.host.as_ref().map(|host| format!("host {host}")));
            let addresses =
                if port.addresses.is_empty() { "no address".into() } else { port.addresses.join(" ") };
            vec![port.name.clone(), port.device.clone(), port.state.clone(), addresses, options.join(", ")]
        });
        table(f, rows.collect())
    }

    /// What lambdas may ask outside; nothing if that is nobody.
    fn services(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = &self.services;
        if services.allowed.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nServices outside")?;
        writeln!(
            f,
            "  lambdas may ask {}: {} requests at a time on each lcore that polls, from UDP ports {}",
            services.allowed.join(", "),
            services.in_flight,
            services.udp_ports
        )?;
        let all = self.lambdas.iter().flat_map(|lambda| lambda.services.iter().map(move |it| (lambda, it)));
        let rows = all.map(|(lambda, service)| {
            vec![
                lambda.name.clone(),
                service.name.clone(),
                service.address.clone(),
                service.framing.clone(),
                format!("leaves by {} to {}", service.port, service.next_hop),
            ]
        });
        table(f, rows.collect())
    }

    fn lambdas(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lambdas.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nLambdas")?;
        let rows = self.lambdas.iter().map(|lambda| {
            vec![
                lambda.name.clone(),
                format!("id {}", lambda.id),
                lambda.file.display().to_string(),
                format!("entry {}", lambda.entry),
                format!("weight {}", lambda.weight),
                format!("budget {} µs", lambda.budget_us),
                format!("concurrency {}", lambda.concurrency),
                format!("on {}", lambda.islands.join(", ")),
                format!("egress {}", lambda.egress),
            ]
        });
        table(f, rows.collect())?;
        writeln!(f, "\nWhere lambdas run, and where their memory is")?;
        let rows = self.lambdas.iter().map(|lambda| match (lambda.layout, lambda.runs, &lambda.because) {
            (Some(layout), Some(runs), Some(because)) => vec![
                lambda.name.clone(),
                format!("{layout} in {}", lambda.tiers.join(", ")),
                runs.into(),
                format!("because {because}"),
            ],
            _ => vec![lambda.name.clone(), "not known".into()],
        });
        table(f, rows.collect())?;
        writeln!(f, "\nRules, first match wins")?;
        let rows = self.rules.iter().map(|rule| {
            vec![
                format!("priority {}", rule.priority),
                format!("rule {}", rule.rule),
                rule.conditions.clone(),
                format!("→ {}", rule.lambda),
            ]
        });
        table(f, rows.collect())?;
        if let Some(matching) = &self.matching {
            writeln!(f, "  {}", matching.reduction)?;
            writeln!(f, "  the parser decodes {}", matching.parser)?;
        }
        Ok(())
    }
}

fn lcore(id: u32, cpu: u32, roles: String, duties: String) -> Vec<String> {
    vec![format!("lcore {id}"), format!("CPU {cpu}"), roles, duties]
}

/// NPUs by their numbers.
fn npus(numbers: &[u16]) -> String {
    let list: Vec<String> = numbers.iter().map(u16::to_string).collect();
    format!("NPU {}", list.join(", "))
}

/// MiB with one decimal, aligned.
fn size(bytes: u64) -> String {
    format!("{:>8.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Columns as wide as their widest cell.
fn table(f: &mut fmt::Formatter<'_>, rows: Vec<Vec<String>>) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        writeln!(f, "  {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
