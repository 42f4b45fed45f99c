//! What the compiler makes of lambdas with these helpers: shared maps and rings leave them on all NPUs, others pin them.
#![allow(missing_docs)]

mod support;

use lnic_compiler::analysis::Options;
use lnic_compiler::compile::{Compiled, Source, compile};
use lnic_compiler::placement::{Because, Concurrency, CostModel, LayoutWish, Request, Runs};
use support::{build_text, have_tools};

fn placed(declarations: &str, body: &str, level: &str) -> Compiled {
    let text = format!("#include <lnic.h>\n{declarations}\nLAMBDA(a) {{ {body} }}\n");
    let wasm = build_text(&text, level);
    let source = Source {
        wasm: &wasm,
        entry: "a",
        memory_bytes: 1 << 20,
        may_have_variables: true,
        limit_bytes: 64 << 20,
        slots: None,
    };
    let request = Request {
        concurrency: Concurrency::Auto,
        layout: LayoutWish::Auto,
        npus: 4,
        islands: 2,
        in_flight: 1,
        quota_bytes: [64 << 10, 256 << 10, 1 << 20, 64 << 20],
        dense_bytes: 1 << 20,
        own_bytes: 0,
        model: CostModel::default(),
    };
    compile(&source, &request, Options::default()).unwrap()
}

const SHARED: &str = "#include <lnic_shared_map.h>\n#include <lnic_shared_ring.h>\n
    typedef struct { uint32_t source, destination; uint16_t ports[2]; } FLOW_T;
    typedef struct { uint64_t packets, bytes; } COUNT_T;
    LNIC_SHARED_MAP(flows, FLOW_T, COUNT_T, 1024)
    LNIC_SHARED_RING(events, COUNT_T, 64)
    static flows_T flows;
    static events_T events;";
const SHARED_BODY: &str = "FLOW_T key = {headers->ipv4.source, headers->ipv4.destination, \
    {headers->udp.source_port, headers->udp.destination_port}};
    COUNT_T was, now = {1, match_data->length};
    while (flows_get(&flows, &key, &was)) {
        now = (COUNT_T){was.packets + 1, was.bytes + match_data->length};
        if (flows_replace(&flows, &key, &was, &now)) { return FORWARD; }
    }
    if (!flows_put(&flows, &key, &now)) { events_push(&events, &now); }
    if (match_data->rule == 1) { flows_remove(&flows, &key); events_pop(&events, &was); }
    for (uint32_t at = 0; match_data->rule == 2 && flows_next(&flows, &at, &key, &was);) { events_push(&events, &was); }
    return lnic_reply_with(headers, match_data, STATUS_OK, &was, sizeof(was));";

#[test]
fn shared_maps_and_rings_run_on_all_npus() {
    if !have_tools() {
        return;
    }
    for level in ["-O3", "-Os"] {
        let compiled = placed(SHARED, SHARED_BODY, level);
        let lost: Vec<_> = compiled.analysis.unattributed().collect();
        assert!(lost.is_empty(), "{level}: {lost:#?}");
        assert_eq!(compiled.analysis.incomplete, None);
        assert_eq!(
            (compiled.placement.runs, &compiled.placement.because),
            (Runs::Anywhere, &Because::Atomics),
            "{level}"
        );
        for (object, found) in compiled.objects.iter().zip(&compiled.analysis.objects) {
            assert!(!found.written || found.atomic_only, "{level}: {}", object.name);
        }
    }
}

#[test]
fn own_maps_and_rings_pin_their_lambda_unless_each_npu_has_one() {
    if !have_tools() {
        return;
    }
    let declarations = |tier: &str| {
        format!(
            "#include <lnic_map.h>\n#include <lnic_ring.h>\n#include <lnic_text.h>\n#include <lnic_fixed.h>\n
            #include <lnic_headers.h>\n
            LNIC_MAP(flows, uint32_t, uint64_t, 256)\nLNIC_RING(recent, uint32_t, 16)
            static flows_T flows {tier};\nstatic recent_T recent {tier};\nstatic LNIC_Q16_T average {tier};"
        )
    };
    let body = "uint64_t *count = flows_enter(&flows, &headers->ipv4.source);
        if (count == NULL) { flows_remove(&flows, recent_peek(&recent, 0)); return DROP; }
        ++*count; recent_force(&recent, &headers->ipv4.source);
        average = lnic_q16_average(average, lnic_q16_from((int32_t)match_data->length), 3);
        lnic_vlan_push(headers, 7, 1);
        LNIC_LINE(line, 64); lnic_put_ipv4(&line, headers->ipv4.source); lnic_put_q16(&line, average);
        return lnic_reply_with(headers, match_data, STATUS_OK, line.bytes, line.length);";
    for level in ["-O3", "-Os"] {
        let pinned = placed(&declarations(""), body, level);
        assert_eq!(pinned.placement.runs, Runs::OnOneNpu, "{level}");
        assert!(matches!(pinned.placement.because, Because::Variable(_)));
        let local = placed(&declarations("LOCAL"), body, level);
        assert_eq!(local.placement.runs, Runs::Anywhere, "{level}: {:?}", local.placement.because);
        for compiled in [pinned, local] {
            let lost: Vec<_> = compiled.analysis.unattributed().collect();
            assert!(lost.is_empty(), "{level}: {lost:#?}");
        }
    }
}
