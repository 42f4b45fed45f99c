//! What is said about roles that cannot be.

use super::errors::{errors, errors_on, one};
use super::*;

const DISPATCHER: &str = "[scheduling]\nmode = \"dispatcher\"\n";

/// The one message about these lines, on CPUs 0–2.
fn judge(lines: &str) -> String {
    one(&errors(&format!("{lines}\n{PORT}")))
}

fn island(name: &str, npus: &str) -> String {
    format!("[[islands]]\nname = \"{name}\"\nnpus = {npus}\n")
}

#[test]
fn island_errors() {
    assert_eq!(judge("[[islands]]\nnpus = [1]"), "1: [[islands]] number 1: has no name");
    assert_eq!(
        judge(&island("a b", "[1]")),
        "2: island \"a b\": name: allowed are 1–32 letters, digits, \".\", \"-\" and \"_\""
    );
    assert_eq!(
        judge(&(island("a", "[1]") + &island("a", "[2]"))),
        "5: island \"a\": there is another island of this name"
    );
    let none = "island \"a\": has no npus, a list of CPUs such as [1, 2]";
    assert_eq!(judge("[[islands]]\nname = \"a\""), format!("1: {none}"));
    assert_eq!(judge(&island("a", "[]")), format!("3: {none}"));
    assert_eq!(judge(&island("a", "[1, 2, 1]")), "3: island \"a\": npus: CPU 1 is listed twice");
    assert_eq!(
        judge(&(island("a", "[1]") + &island("b", "[\n 2,\n 1,\n]"))),
        "8: island \"b\": npus: CPU 1 is in island \"a\" already"
    );
    assert_eq!(
        judge(&island("a", "[1, 9]")),
        "3: island \"a\": npus: CPU 9 was not given to this process: it may use 0-2"
    );
    let found = errors(&format!("{}{PORT}", island("a", "1")));
    assert_eq!(found, [format!("1: {none}"), "3: [islands] npus: integer 1: expected a list".into()]);
    assert_eq!(
        errors(&format!("{}{PORT}", island("a", "[1, \"x\"]")))[1],
        "3: [islands] npus: string \"x\": expected an integer"
    );
}

#[test]
fn workers_are_said_once() {
    assert_eq!(
        judge(&format!("[lcores]\nworkers = [1]\n{}", island("a", "[1]"))),
        "2: [lcores] workers: not beside [[islands]]: leave it out or \"auto\""
    );
    assert_eq!(
        judge(&format!("{DISPATCHER}[lcores]\nworkers = [1]\n[[dispatchers]]\ncpu = 1")),
        "4: [lcores] workers: not beside [[dispatchers]]: leave it out or \"auto\""
    );
}

#[test]
fn main_is_left_alone() {
    let starve = "would starve the control threads";
    assert_eq!(
        judge(&format!("[lcores]\nmain = 1\n{}", island("a", "[1, 2]"))),
        format!("2: [lcores] main: CPU 1 is an NPU's of island \"a\" too: an NPU {starve}")
    );
    assert_eq!(
        judge(&format!("{DISPATCHER}[lcores]\nmain = 1\n[[dispatchers]]\ncpu = 1\n{}", island("a", "[2]"))),
        format!("4: [lcores] main: CPU 1 is a dispatcher's too: a dispatcher {starve}")
    );
    let single = machine(&[0]);
    for text in [
        "[lcores]\nmain = 0\nworkers = [0]\n".to_owned(),
        format!("[lcores]\nmain = 0\n{}", island("a", "[0]")),
        format!("{DISPATCHER}[lcores]\nmain = 0\n[[dispatchers]]\ncpu = 0\n"),
    ] {
        assert_eq!(errors_on(&format!("{text}{PORT}"), &single), [""; 0], "{text}");
    }
}

#[test]
fn dispatcher_errors() {
    let two = island("a", "[1]") + &island("b", "[2]");
    let judge = |lines: &str| judge(&format!("{DISPATCHER}{lines}"));
    assert_eq!(
        one(&errors(&format!("[[dispatchers]]\ncpu = 1\n{PORT}"))),
        "1: [[dispatchers]]: only with [scheduling] mode = \"dispatcher\""
    );
    assert_eq!(judge("[[dispatchers]]"), "3: [[dispatchers]] number 1: has no cpu");
    assert_eq!(
        judge("[[dispatchers]]\ncpu = -1"),
        "4: [[dispatchers]] number 1: CPU -1 was not given to this process: it may use 0-2"
    );
    assert_eq!(
        judge(&format!("{two}[[dispatchers]]\ncpu = 1\n[[dispatchers]]\ncpu = 1")),
        "12: dispatcher on CPU 1: there is another dispatcher on this CPU"
    );
    assert_eq!(
        judge(&format!("{two}[[dispatchers]]\ncpu = 1\nislands = [\"aa\"]")),
        "11: dispatcher on CPU 1: no island \"aa\": did you mean \"a\"?"
    );
    assert_eq!(
        judge("[[dispatchers]]\ncpu = 1\nislands = [\"north\"]"),
        "5: dispatcher on CPU 1: no island \"north\": there are \"island0\""
    );
    assert_eq!(
        judge(&format!(
            "{two}[[dispatchers]]\ncpu = 1\nislands = [\"a\"]\n[[dispatchers]]\ncpu = 2\nislands = [\"b\", \"a\"]"
        )),
        "14: dispatcher on CPU 2: island \"a\" is fed by dispatcher on CPU 1 already"
    );
    assert_eq!(
        judge(&format!("{two}[[dispatchers]]\ncpu = 1\nislands = [\"a\", \"b\", \"a\"]")),
        "11: dispatcher on CPU 1: island \"a\" is listed twice"
    );
    assert_eq!(
        judge(&format!("{two}[[dispatchers]]\ncpu = 1\nislands = [\"a\"]")),
        "6: island \"b\": no dispatcher feeds it"
    );
    assert_eq!(
        judge(&format!("{two}[[dispatchers]]\ncpu = 1\nislands = []")),
        "11: dispatcher on CPU 1: islands: names none"
    );
    assert_eq!(
        judge("[[dispatchers]]\ncpu = 1\n[[dispatchers]]\ncpu = 2"),
        "5: dispatcher on CPU 2: has no NPU: no island is left for it"
    );
}

#[test]
fn an_island_that_the_machine_made_needs_a_dispatcher_too() {
    let cpus = [0, 1, 2, 3];
    let numa_nodes = cpus.map(|cpu| (Cpu::new(cpu), cpu / 2)).into();
    let machine = Machine { numa_nodes, ..machine(&cpus) };
    let found = errors_on(
        &format!("{DISPATCHER}[[dispatchers]]\ncpu = 2\nislands = [\"island1\"]\n{PORT}"),
        &machine,
    );
    assert_eq!(one(&found), "3: island \"island0\": no dispatcher feeds it");
}

#[test]
fn too_many_npus() {
    let cpus: Vec<u32> = (0..200).collect();
    let npus: Vec<u32> = (1..129).collect();
    let text = island("a", &format!("{npus:?}")) + PORT;
    assert_eq!(
        one(&errors_on(&text, &machine(&cpus))),
        "1: 128 CPUs of NPUs and dispatchers, over the limit of 127"
    );
    let text = format!(
        "{DISPATCHER}{}[[dispatchers]]\ncpu = 150\n{PORT}",
        island("a", &format!("{:?}", &npus[1..]))
    );
    assert_eq!(
        one(&errors_on(&text, &machine(&cpus))),
        "3: 128 CPUs of NPUs and dispatchers, over the limit of 127"
    );
}

#[test]
fn scheduling_errors() {
    assert_eq!(
        judge("[scheduling]\nmode = \"fair\""),
        "2: [scheduling] mode: \"fair\": allowed are \"run-to-completion\", \"dispatcher\""
    );
    assert_eq!(
        judge("[scheduling]\nqueue_frames = 65537"),
        "2: [scheduling] queue_frames: 65537 is not in 1–65536"
    );
    assert_eq!(judge("[scheduling]\nin_flight = 257"), "2: [scheduling] in_flight: 257 is not in 1–256");
    assert_eq!(
        judge("[scheduling]\nwaiting_frames = 0"),
        "2: [scheduling] waiting_frames: 0 is not in 1–1048576"
    );
    assert_eq!(
        judge("[scheduling]\nwaiting_frames = 4097"),
        "2: [scheduling] waiting_frames: 4097, over half of [memory] pool_frames 8191, which leaves too few for the ports: at most 4096"
    );
    let two = island("a", "[1]") + &island("b", "[2]");
    assert_eq!(
        judge(&format!(
            "{DISPATCHER}waiting_frames = 2049\n{two}[[dispatchers]]\ncpu = 1\n[[dispatchers]]\ncpu = 2"
        )),
        "3: [scheduling] waiting_frames: 2049, for each of 2 dispatchers, over half of [memory] pool_frames 8191, \
         which leaves too few for the ports: at most 2048"
    );
    assert_eq!(
        judge("[quarantine]\nfailures = 1000001"),
        "2: [quarantine] failures: 1000001 is not in 0–1000000"
    );
    assert_eq!(judge("[quarantine]\nwindow_ms = 0"), "2: [quarantine] window_ms: 0 is not in 1–3600000");
    assert_eq!(judge("[budget]\ndefault_us = 20\nmax_us = 10"), "2: [budget] default_us: 20, over max_us 10");
    assert_eq!(judge("[budget]\nmax_us = 10000001"), "2: [budget] max_us: 10000001 is not in 1–10000000");
    for wrong in ["0", "1000001", "\"fast\"", "true"] {
        assert_eq!(
            judge(&format!("[budget]\nfuel_per_us = {wrong}")),
            format!("2: [budget] fuel_per_us: {wrong}: allowed are \"auto\" and 1–1000000")
        );
    }
}

#[test]
fn queues_that_no_dispatcher_polls() {
    assert_eq!(
        one(&errors(&format!("{DISPATCHER}{PORT}queues = 2\n"))),
        "6: port \"p0\": queues: 2, over the number of dispatchers, 1: nobody would poll the rest"
    );
}

#[test]
fn errors_of_lambdas() {
    let lambda = |line: &str| one(&errors(&format!("{PORT}{LAMBDA}{line}\n")));
    assert_eq!(lambda("budget_us = 10001"), "8: lambda \"echo\": budget_us: 10001 is not in 1–10000");
    assert_eq!(lambda("weight = 1001"), "8: lambda \"echo\": weight: 1001 is not in 1–1000");
    assert_eq!(lambda("in_flight = 65"), "8: lambda \"echo\": in_flight: 65 is not in 1–64");
    assert_eq!(lambda("queue_frames = 0"), "8: lambda \"echo\": queue_frames: 0 is not in 1–65536");
    assert_eq!(
        lambda("concurrency = \"sharde\""),
        "8: lambda \"echo\": concurrency: \"sharde\": allowed are \"auto\", \"pinned\", \"shared\", \"replicated\""
    );
    assert_eq!(
        lambda("islands = [\"iland0\"]"),
        "8: lambda \"echo\": no island \"iland0\": did you mean \"island0\"?"
    );
    assert_eq!(lambda("islands = []"), "8: lambda \"echo\": islands: names none");
    assert_eq!(
        lambda("islands = [\"island0\", \"island0\"]"),
        "8: lambda \"echo\": islands: \"island0\" is listed twice"
    );
}
