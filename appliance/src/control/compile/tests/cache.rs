//! What is compiled once is not compiled again; those who ask at once share a job; the same code is loaded once.

use futures_util::future::join_all;

use super::*;
use crate::control::appliance::Source;

#[test]
fn what_the_server_makes_is_what_is_made_here() {
    let bench = Bench::new(&settings(None));
    let wasm = module(7);
    for wishes in [
        WISHES,
        Wishes { slots: Some((4, 4096)), ..WISHES },
        Wishes { concurrency: Concurrency::Pinned, layout: LayoutWish::Dense, ..WISHES },
    ] {
        for entry in ["one", "two"] {
            let ready = bench.compile_as(&wasm, entry, &wishes).unwrap();
            same_as_here(&wasm, entry, &wishes, &ready);
        }
    }
    // Loops in loops cost more than JSON can say.
    let deep = format!("{}(br 0){}", "(loop ".repeat(200), ")".repeat(200));
    bench.compile(&wat::parse_str(module_of(&format!("{deep} i32.const 7"))).unwrap()).unwrap();
}

#[test]
fn a_second_deployment_does_no_job_and_shares_the_code() {
    let bench = Bench::new(&settings(None));
    let wasm = module(1);
    assert!(bench.cached(&wasm).is_none());
    let first = bench.compile(&wasm).unwrap();
    let second = bench.compile(&wasm).unwrap();
    let third = bench.cached(&wasm).unwrap();
    assert!(first.image.shares_code(&second.image) && first.image.shares_code(&third.image));
    assert_eq!((bench.statistics().misses, bench.statistics().memory_hits), (1, 2));
    // Another entry of it is another job, and the same code.
    let other = bench.compile_as(&wasm, "two", &WISHES).unwrap();
    assert_eq!(bench.statistics().misses, 2);
    assert!(first.image.shares_code(&other.image));
    // The first may go: the code stays with the other, and is not loaded anew.
    drop((first, second, third));
    assert!(bench.cached(&wasm).is_none());
    assert!(bench.compile(&wasm).unwrap().image.shares_code(&other.image));
    assert_eq!(verdict(&other), Run::Verdict(1));
    // Without a folder what nobody runs is forgotten.
    drop(other);
    assert!(bench.cached(&wasm).is_none());
}

#[test]
fn another_life_finds_artifacts_in_their_files() {
    let state = tempfile::tempdir().unwrap();
    let wasm = module(3);
    let wishes = Wishes { slots: Some((2, 8192)), ..WISHES };
    let bench = Bench::new(&settings(Some(state.path())));
    let made = bench.compile_as(&wasm, "one", &wishes).unwrap();
    let code = made.image.artifact().code().to_vec();
    drop(bench);
    let bench = Bench::new(&settings(Some(state.path())));
    let found = bench.compile_as(&wasm, "one", &wishes).unwrap();
    let expected = CompileStatistics { file_hits: 1, files: 1, ..CompileStatistics::default() };
    let statistics = bench.statistics();
    assert_eq!(CompileStatistics { file_bytes: 0, ..statistics }, expected);
    assert_eq!(found.image.artifact().code(), code);
    assert_eq!((found.slots, found.runs), (made.slots, made.runs));
    assert_eq!((found.image.shape(), found.image.plan()), (made.image.shape(), made.image.plan()));
    assert_eq!(verdict(&found), Run::Verdict(3));
}

#[test]
fn thirty_two_at_once_share_a_job_or_have_one_each() {
    let bench = Bench::new(&settings(None));
    let wasm = module(5);
    let digest = Digest::of(&wasm);
    let bounds = &bounds();
    let same = (0..32).map(|_| bench.compiler.compile(&digest, &wasm, "one", &WISHES, bounds));
    let same = bench.runtime.block_on(join_all(same));
    let first = same[0].as_ref().unwrap();
    assert!(same.iter().all(|ready| ready.as_ref().unwrap().image.shares_code(&first.image)));
    assert_eq!(bench.statistics().misses, 1);
    let modules: Vec<_> = (100..132).map(module).collect();
    let each = modules
        .iter()
        .map(|wasm| async { bench.compiler.compile(&Digest::of(wasm), wasm, "one", &WISHES, bounds).await });
    let each = bench.runtime.block_on(join_all(each));
    for (number, ready) in (100..).zip(&each) {
        assert_eq!(verdict(ready.as_ref().unwrap()), Run::Verdict(number));
    }
    assert_eq!(bench.statistics().misses, 33);
    // A failure is shared too.
    let wrong = Digest::of(b"wrong");
    let failed = (0..32).map(|_| bench.compiler.compile(&wrong, b"wrong", "one", &WISHES, bounds));
    assert!(bench.runtime.block_on(join_all(failed)).iter().all(Result::is_err));
    assert_eq!(bench.statistics().failures, 1);
    assert!(bench.compiler.flights().is_empty());
}

#[test]
fn somebody_who_gives_up_waiting_hinders_nobody() {
    let bench = Bench::new(&settings(None));
    let wasm = module(6);
    let digest = Digest::of(&wasm);
    let bounds = &bounds();
    let ready = bench.runtime.block_on(async {
        let mut gives_up = Box::pin(bench.compiler.compile(&digest, &wasm, "one", &WISHES, bounds));
        tokio::select! {
            biased;
            _ = &mut gives_up => panic!("at once"),
            () = std::future::ready(()) => {}
        }
        let waits = bench.compiler.compile(&digest, &wasm, "one", &WISHES, bounds);
        drop(gives_up);
        waits.await
    });
    assert_eq!(verdict(&ready.unwrap()), Run::Verdict(6));
    assert!(bench.compiler.flights().is_empty());
    // Nor does it leave anything behind if nobody else waits.
    let (wasm, digest) = (module(60), Digest::of(&module(60)));
    bench.runtime.block_on(async {
        let mut gives_up = Box::pin(bench.compiler.compile(&digest, &wasm, "one", &WISHES, bounds));
        tokio::select! {
            biased;
            _ = &mut gives_up => panic!("at once"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(bench.compiler.flights().len(), 1);
    });
    assert!(bench.compiler.flights().is_empty());
}

#[test]
fn lambdas_of_a_configuration_are_ready_in_their_order() {
    let bench = Bench::new(&settings(None));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (a, copy) = (file("a", &module(8)), file("copy", &module(8)));
    let (b, none) = (file("b", &module(9)), file("none", b"no module"));
    let source = |name, file, entry| Source { name, file, entry, wishes: WISHES };
    let mut sources = vec![source("a", a.as_path(), "one"); 200];
    sources.extend([source("copy", &copy, "two"), source("b", &b, "one")]);
    // Also from where a runtime must not be blocked.
    let (ready, coalesced) =
        bench.runtime.block_on(async { bench.compiler.ready_all(&sources, &bounds()) }).unwrap();
    assert_eq!((ready.len(), coalesced.deployments, coalesced.modules), (202, 202, 2));
    assert!(ready[..201].iter().all(|same| same.image.shares_code(&ready[0].image)));
    assert_eq!([&ready[0], &ready[200], &ready[201]].map(verdict), [8, 8, 9].map(Run::Verdict));
    assert_eq!(bench.statistics().misses, 3);
    let error =
        |sources: &[Source<'_>]| bench.compiler.ready_all(sources, &bounds()).err().unwrap().to_string();
    let wrong =
        error(&[source("good", &a, "one"), source("bad", &a, "three"), source("worse", &none, "one")]);
    assert!(wrong.contains("\"bad\"") && wrong.contains("does not export \"three\""), "{wrong}");
    let absent = folder.path().join("absent");
    assert!(error(&[source("gone", &absent, "one")]).contains("\"gone\""));
    assert_eq!(bench.compiler.ready_all(&[], &bounds()).unwrap().1.deployments, 0);
}
