//! What is read and not written: constants, and what `init` makes.

use lnic_compiler::placement::Runs;

use super::npus::{Islands, NPUS, RUNS, deploy, run};

#[test]
fn constants_run_on_any_npu() {
    let it = deploy(
        "static const int primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
         LAMBDA(it) { return primes[match_data->rule & 7] + primes[(match_data->rule + 1) & 7]; }",
        Islands::Two,
        |_| {},
    );
    assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "dense"));
    assert_eq!(it.object("primes").kind, "constant");
    let mut instances = NPUS.map(|npu| it.instance(npu));
    for (rule, sum) in (0u32..).zip([5, 8, 12, 18, 24, 30, 36, 21]) {
        for instance in &mut instances {
            instance.io().expect("it does not wait").match_data.rule = rule;
            assert_eq!(run(instance), sum);
        }
    }
    assert!(it.run_on(&NPUS).concat().iter().all(|&sum| sum == 5));
}

#[test]
fn a_large_table_costs_no_run_anything() {
    // Its bytes are thirty times the budget.
    let it = deploy(
        "static const volatile unsigned char table[600 << 10] = {[7] = 5, [(600 << 10) - 1] = 9};
         LAMBDA(it) { return table[match_data->rule]; }",
        Islands::One,
        |_| {},
    );
    assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "dense"));
    let mut instance = it.instance(NPUS[1]);
    for (rule, byte) in [(0, 0), (7, 5), ((600 << 10) - 1, 9)] {
        instance.io().expect("it does not wait").match_data.rule = rule;
        assert_eq!(run(&mut instance), byte);
    }
}

/// Sums of a table that `init` makes.
const TABLE: &str = "static int squares[64];
    LAMBDA_INIT { for (int i = 0; i < 64; i++) { squares[i] += i * i; } }";

#[test]
fn what_init_makes_is_each_instances_own_and_is_read_on_any_npu() {
    let source = format!("{TABLE} LAMBDA(it) {{ return squares[9] + squares[12]; }}");
    let it = deploy(&source, Islands::One, |_| {});
    assert_eq!((it.runs(), it.object("squares").shared_by.as_str()), (Runs::Anywhere, "instance"));
    // Had they one table, each init would add to what the others made.
    let mut all = [0, 0, 1, 1].map(|at: usize| it.instance(NPUS[at]));
    assert_eq!(all.each_mut().map(run), [81 + 144; 4]);
    assert!(it.run_on(&NPUS).concat().iter().all(|&sum| sum == 225));
}

#[test]
fn what_is_shared_begins_once_whoever_comes_later() {
    let source = format!(
        "{TABLE}
         static int hits = 1000;
         LAMBDA(it) {{ return __atomic_add_fetch(&hits, squares[1], __ATOMIC_RELAXED); }}"
    );
    for (islands, shared_by) in [(Islands::One, "island"), (Islands::Two, "all")] {
        let it = deploy(&source, islands, |_| {});
        assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "windows"));
        assert_eq!(it.object("hits").shared_by, shared_by);
        assert_eq!(it.place("squares"), ("local", "instance"));
        let mut first = it.instance(NPUS[0]);
        assert_eq!(run(&mut first), 1001);
        // Neither its data segments nor its init run over what the first has counted.
        let mut second = it.instance(NPUS[1]);
        assert_eq!((run(&mut second), run(&mut first)), (1002, 1003));
        let mut counts = it.run_on(&NPUS).concat();
        counts.sort_unstable();
        assert!(counts.into_iter().eq(1004..1004 + 2 * RUNS));
    }
}
