//! Lambdas over HTTP through the whole appliance on DPDK, without root or hardware: an HTTP server on loopback, the internal port, two
//! lcores that poll. One test, because DPDK starts once per process; its parts are in order, each with what it counts.
//!
//! Frames from outside cannot disturb the gateway, and no test sends any: the internal port has no device that one could come in by, and
//! what arrives on other ports is answered on those.

mod support;

#[path = "gateway/message.rs"]
mod message;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lnic::control::appliance::Appliance;
use lnic::control::config::Machine;
use lnic::control::gateway::later::{
    AsyncQueue, AsyncRequest, Callbacks, MemoryQueue, Requests, Settings as LaterSettings,
};
use lnic::control::gateway::{FunctionGateway, Gateway, InvokeError, PacketGateway, Settings};
use lnic::control::http::{Caller, Right, Rights};
use lnic::control::plane::LambdaKey;
use lnic::control::topology::{Lcore, Topology};
use lnic::ids::LcoreId;
use support::functions::{Functions, serve};
use support::lab::{built, built_from};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const BODY_BYTES: usize = 1 << 20;
const IN_FLIGHT: u32 = 64;
const TIMEOUT: Duration = Duration::from_millis(1500);

const MUTE: &str = "#include <lnic.h>
LAMBDA(mute) { return DROP; }";
const TRAP: &str = "#include <lnic.h>
LAMBDA(trap) { __builtin_trap(); }";
/// Counts the requests that it ran, and takes a while for each.
const SLOW: &str = "#include <lnic.h>
static uint32_t count;
LAMBDA(slow) {
    for (uint32_t turn = 0; turn < 2000000; turn++) { __asm__ volatile(\"\" ::: \"memory\"); }
    uint32_t now = ++count;
    return lnic_reply_with(headers, match_data, STATUS_OK, &now, sizeof now);
}";
/// Answers in the name of every request of another lambda that may be open: the next hundred of its own session.
const LIAR: &str = "#include <lnic.h>
LAMBDA(liar) {
    headers->rpc.lambda_id = 1;
    headers->rpc.request_id += 1;
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}";
const REFUSES: &str = "#include <lnic.h>
LAMBDA(refuses) { return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0); }";

fn configuration() -> String {
    let mut text = format!(
        r#"
        [memory]
        hugepages = "off"
        eal_mib = 96
        pool_frames = 8191
        [idle]
        max_sleep_ms = 20
        [quarantine]
        failures = 4
        window_ms = 60000
        [budget]
        max_us = 1000000
        [gateway]
        timeout_ms = {}
        in_flight = {IN_FLIGHT}
        body_kib = 1024
        async_requests = 4
        async_mib = 1
        async_in_flight = 2
        [[ports]]
        name = "silent"
        devargs = "net_null0,no-rx=1"
        ipv4 = "10.77.1.1"
        "#,
        TIMEOUT.as_millis()
    );
    let lambdas = [
        ("echo", 1, ""),
        ("big", 2, "message_slots = 16\nmessage_kib = 1024\nbudget_us = 100000\nentry = \"echo\""),
        ("mute", 3, ""),
        ("trap", 4, ""),
        ("slow", 5, "budget_us = 1000000"),
        ("liar", 6, "egress = \"any\""),
        ("refuses", 7, ""),
        ("small", 8, "message_slots = 2\nmessage_kib = 4\nentry = \"echo\""),
        ("site", 9, "http = \"message\"\nmessage_slots = 64\nentry = \"web_server\""),
        ("mirror", 10, "http = \"message\"\nmessage_slots = 4\nmessage_kib = 256\nbudget_us = 100000"),
        ("parrot", 11, "http = \"message\"\nmessage_slots = 4"),
    ];
    for (name, id, more) in lambdas {
        let file = if ["big", "small"].contains(&name) { "echo" } else { name };
        text += &format!("[[lambdas]]\nname = \"{name}\"\nid = {id}\nfile = \"{file}.wasm\"\n{more}\n");
    }
    text += "[[rules]]\nlambda = \"mute\"\nport = \"gateway\"\nprotocol = \"udp\"\ndestination_port = 9\n";
    text
}

/// An HTTP client with a connection of its own for each request.
#[derive(Clone, Copy)]
struct Http(SocketAddr);

impl Http {
    async fn send(self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let stream = TcpStream::connect(self.0).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("its body").to_bytes();
        connection.abort();
        Response::from_parts(head, body)
    }

    async fn post(self, path: &str, body: impl Into<Bytes>) -> Response<Bytes> {
        self.post_with(path, body, &[]).await
    }

    async fn post_with(
        self,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let request = Request::post(path).header("host", "lnic");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Full::new(body.into())).expect("a request")).await
    }

    async fn status(self, path: &str, body: impl Into<Bytes>) -> u16 {
        self.post(path, body).await.status().as_u16()
    }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Everything that is tried.
struct Lab {
    http: Http,
    packets: Arc<PacketGateway>,
    functions: Arc<Functions>,
    observed: Arc<Mutex<Vec<(String, u16)>>>,
}

#[test]
fn lambdas_answer_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let sources = [
        ("mute", MUTE),
        ("trap", TRAP),
        ("slow", SLOW),
        ("liar", LIAR),
        ("refuses", REFUSES),
        ("mirror", message::MIRROR),
        ("parrot", message::PARROT),
    ];
    std::fs::write(folder.path().join("echo.wasm"), built("echo")).unwrap();
    std::fs::write(folder.path().join("site.wasm"), built("web-server")).unwrap();
    for (name, source) in sources {
        std::fs::write(folder.path().join(format!("{name}.wasm")), built_from(source, name)).unwrap();
    }
    let machine = Machine::read().unwrap();
    let (mut topology, absent) =
        Topology::from_text(&configuration(), &folder.path().join("test.toml"), &machine).unwrap();
    assert!(absent.is_empty(), "{absent:?}");
    // Two lcores wherever the test runs: on one CPU they take turns.
    let (first, last) = (topology.lcores.main.cpu, topology.lcores.workers.last().unwrap().cpu);
    let lcores = [LcoreId::new(1), LcoreId::new(2)];
    topology.lcores.workers = vec![Lcore { id: lcores[0], cpu: last }, Lcore { id: lcores[1], cpu: first }];

    let mut appliance = Appliance::start(&topology, &machine).unwrap();
    let queues = appliance.take_gateway_queues().expect("a gateway");
    assert_eq!(queues.queues.len(), topology.pollers().len(), "one queue for each lcore that polls");
    assert!(appliance.take_gateway_queues().is_none(), "once");
    // Made here, used on another thread.
    let packets = PacketGateway::new(queues, Settings::from(&topology.gateway));
    let functions = Arc::new(Functions::of(&topology).with("acme", "echo", 1).with("acme", "gone", 999));
    let run = {
        let (packets, settings) = (Arc::clone(&packets), LaterSettings::from(&topology.gateway));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(everything(packets, functions, settings));
        })
    };
    run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert_eq!(packets.open_requests(), 0);

    let snapshot = appliance.sources().snapshot();
    let port = snapshot.ports.iter().find(|port| port.name == "gateway").expect("in the statistics");
    assert_eq!((port.driver.as_str(), port.mac.as_str()), ("internal", "02:6c:6e:69:63:01"));
    assert_eq!((port.rx_no_buffer, port.tx_errors), (0, 0), "{snapshot}");
    let site = snapshot.lambdas.iter().find(|lambda| lambda.name == "site").expect("in the statistics");
    assert_eq!(site.concurrency, "replicated", "it counts, and nothing keeps it on one NPU");
    let frames = &snapshot.frames;
    assert_eq!(frames.received, port.rx_packets, "the other port is silent");
    assert_eq!(frames.received + frames.made, frames.sent + frames.to_host + frames.dropped + frames.placed);
    drop(packets);
    let stopped = appliance.stop();
    assert_eq!((stopped.panics, stopped.lost_frames), (vec![], 0));
}

async fn everything(packets: Arc<PacketGateway>, functions: Arc<Functions>, settings: LaterSettings) {
    let driver = tokio::spawn(Arc::clone(&packets).drive());
    let observed = Arc::new(Mutex::new(Vec::new()));
    let (calls, noted) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&observed));
    let hook = Hook { calls: Arc::clone(&calls), ..Hook::default() };
    let callbacks = hook.clone().serve().await;

    let requests = later(&packets, &functions, settings, Arc::new(MemoryQueue::default())).await;
    let work = tokio::spawn(Arc::clone(&requests).work());
    let observer = Arc::new(move |key: &LambdaKey, status: u16, _: Duration| {
        noted.lock().unwrap().push((key.to_string(), status));
    });
    let way: Arc<dyn Gateway> = Arc::new(FunctionGateway::new(
        Arc::clone(&packets) as Arc<dyn Gateway>,
        Some(Arc::clone(&requests)),
        Some(observer),
    ));
    let plane = Arc::clone(&functions);
    let at = serve("127.0.0.1:0", plane.clone(), Some(Arc::clone(&way)), Caller::local()).await;
    let lab = Lab { http: Http(at), packets: Arc::clone(&packets), functions, observed };

    bodies_of_any_length_come_back(&lab).await;
    message::a_site_can_be_walked_about_in(&lab).await;
    message::pages_count_whoever_asks(&lab).await;
    message::what_a_lambda_gets_and_says_is_http(&lab).await;
    names_and_rights_are_looked_at(&lab, plane, way).await;
    failures_have_their_statuses(&lab).await;
    slow_lambdas_run_once_and_do_not_keep_others_waiting(&lab).await;
    many_at_a_time_and_no_more_than_that(&lab).await;
    a_lambda_that_lies_deceives_nobody(&lab).await;
    results_are_sent_to_where_they_may_be(&lab, callbacks, &hook).await;
    message::results_are_messages_too(&lab, callbacks, &hook).await;
    the_queue_is_bounded(&lab, &requests, callbacks, &hook).await;
    what_a_life_did_not_finish_the_next_one_does(&lab, settings, callbacks, &hook).await;

    requests.stop();
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the workers stop").unwrap();
    closed_is_closed(&lab).await;
    driver.await.unwrap().unwrap();
}

async fn later(
    packets: &Arc<PacketGateway>,
    functions: &Arc<Functions>,
    settings: LaterSettings,
    queue: Arc<dyn AsyncQueue>,
) -> Arc<Requests> {
    let callbacks = Callbacks::new(&["127.0.0.1".to_owned()]).unwrap();
    let resolve = Arc::clone(functions);
    let way = Arc::clone(packets) as Arc<dyn Gateway>;
    Requests::open(settings, queue, callbacks, way, Box::new(move |key| resolve.find(key)), None)
        .await
        .unwrap()
}

async fn bodies_of_any_length_come_back(lab: &Lab) {
    let http = lab.http;
    let response = http.post("/function/echo", "hello").await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&response, "x-call-id").len(), 36);
    assert!(header(&response, "x-start-time").parse::<u64>().unwrap() > 1_600_000_000_000_000_000);
    assert!(header(&response, "x-duration-seconds").parse::<f64>().unwrap() < 1.5);
    let response = http.post_with("/function/echo", vec![0xFF], &[("x-call-id", "mine")]).await;
    assert_eq!(header(&response, "content-type"), "application/octet-stream");
    assert_eq!(header(&response, "x-call-id"), "mine");
    let get = Request::get("/function/echo/a/path?and=more").body(Full::default()).unwrap();
    let response = http.send(get).await;
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));

    // One frame, the last byte of one, the first of two, a window of fragments, the largest.
    for bytes in [0, 1, 1000, 1900, 2026, 2027, 4096, 65_535, 65_536, 300_001, BODY_BYTES] {
        let body = pattern(bytes);
        let response = http.post("/function/big", body.clone()).await;
        assert_eq!(response.status(), StatusCode::OK, "{bytes} bytes: {:?}", response.body());
        assert!(response.body() == &body, "{bytes} bytes");
    }
    assert_eq!(http.status("/function/big", pattern(BODY_BYTES + 1)).await, 413, "more than body_kib");
    assert_eq!(http.status("/function/echo", pattern(10_000)).await, 413, "it has no slots");
    assert_eq!(http.status("/function/small", pattern(4096)).await, 200);
    assert_eq!(http.status("/function/small", pattern(10_000)).await, 413, "its slots are smaller");
    let counters = lab.packets.counters();
    assert_eq!((counters.unmatched, counters.retransmitted), (0, 0), "{counters:?}");
}

async fn names_and_rights_are_looked_at(lab: &Lab, plane: Arc<Functions>, way: Arc<dyn Gateway>) {
    let http = lab.http;
    assert_eq!(http.post("/function/echo.acme", "x").await.body(), "x");
    assert_eq!(http.post("/function/echo.acme/", "x").await.body(), "x");
    for unknown in ["nobody", "echo.nobody", "nobody.acme", "gone.acme", "%2e%2e", "echo."] {
        assert_eq!(http.status(&format!("/function/{unknown}"), "x").await, 404, "{unknown}");
    }
    assert_eq!(http.status("/async-function/nobody", "x").await, 404);
    let rights = Rights::new([("acme".to_owned(), Right::Invoke)].into());
    let limited = Http(serve("127.0.0.1:0", plane.clone(), Some(way), Caller::new("ann", rights)).await);
    assert_eq!(limited.status("/function/echo.acme", "x").await, 200);
    assert_eq!(limited.status("/function/echo", "x").await, 403);
    assert_eq!(limited.status("/async-function/echo", "x").await, 403);
    assert_eq!(limited.status("/function/nobody", "x").await, 403, "who may not ask does not learn names");
    let none = Http(serve("127.0.0.1:0", plane, None, Caller::local()).await);
    assert_eq!(none.status("/function/echo", "x").await, 501);
    assert_eq!(none.status("/async-function/echo", "x").await, 501);
}

async fn failures_have_their_statuses(lab: &Lab) {
    let http = lab.http;
    lab.observed.lock().unwrap().clear();
    let since = Instant::now();
    assert_eq!(http.status("/function/mute", "x").await, 504);
    assert!((TIMEOUT..2 * TIMEOUT + TIMEOUT).contains(&since.elapsed()), "{:?}", since.elapsed());
    assert_eq!(http.status("/function/refuses", "x").await, 400);
    // Four failures within a minute; what is on its way then may still trap.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&503) {
        statuses.push(http.status("/function/trap", "x").await);
        assert!(statuses.len() < 20, "{statuses:?}");
    }
    assert_eq!(statuses[..4], [502; 4], "{statuses:?}");
    assert_eq!(http.status("/function/trap", "x").await, 503, "it is quarantined");
    assert_eq!(http.status("/function/gone.acme", "x").await, 404, "the path does not know its ID");
    let observed = std::mem::take(&mut *lab.observed.lock().unwrap());
    assert_eq!(observed[..2], [("mute".into(), 504), ("refuses".into(), 400)]);
    assert_eq!(observed.last(), Some(&("gone.acme".into(), 404)));
    assert_eq!(http.post("/function/echo", "still there").await.body(), "still there");
}

async fn slow_lambdas_run_once_and_do_not_keep_others_waiting(lab: &Lab) {
    let http = lab.http;
    // A client that leaves: the lambda is told, and nobody else notices.
    {
        let mut left = std::pin::pin!(http.post("/function/mute", "x"));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut left).await.is_err());
    }
    let slow = async { http.post("/function/slow", "x").await };
    let quick = async {
        for _ in 0..20 {
            assert_eq!(http.status("/function/echo", "x").await, 200);
        }
    };
    let (response, ()) = tokio::join!(slow, quick);
    let count = |response: &Response<Bytes>| u32::from_le_bytes(response.body()[..].try_into().unwrap());
    assert_eq!(count(&response), 1);
    for expected in 2..5 {
        let response = http.post("/function/slow", "x").await;
        assert_eq!(count(&response), expected, "it ran a request twice");
    }
}

async fn many_at_a_time_and_no_more_than_that(lab: &Lab) {
    let http = lab.http;
    let clients = (0..64usize).map(|client| async move {
        for round in 0..20 {
            let body = pattern(client * 29 + round);
            let response = http.post("/function/echo", body.clone()).await;
            assert_eq!(response.status(), 200, "client {client}, round {round}: {:?}", response.body());
            assert!(response.body() == &body, "client {client}, round {round}: another's reply");
        }
    });
    join_all(clients).await;
    let large = (0..12usize).map(|client| async move {
        let body = pattern(200_000 + client);
        let response = http.post("/function/big", body.clone()).await;
        assert_eq!(response.status(), 200, "client {client}: {:?}", response.body());
        assert!(response.body() == &body, "client {client}");
    });
    join_all(large).await;

    // As many as may be on their way, none of which is answered.
    let silent: Vec<JoinHandle<u16>> =
        (0..IN_FLIGHT).map(|_| tokio::spawn(http.status("/function/mute", "x"))).collect();
    let deadline = Instant::now() + TIMEOUT;
    while lab.packets.open_requests() < IN_FLIGHT {
        assert!(Instant::now() < deadline, "{} are on their way", lab.packets.open_requests());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let response = http.post("/function/echo", "x").await;
    assert_eq!((response.status(), header(&response, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    for task in silent {
        assert_eq!(task.await.unwrap(), 504);
    }
    assert_eq!(http.status("/function/echo", "x").await, 200, "there is room again");
}

/// It may send anything anywhere, and answers its own requests in the name of the echo lambda.
async fn a_lambda_that_lies_deceives_nobody(lab: &Lab) {
    let http = lab.http;
    let before = lab.packets.counters();
    let lies = (0..8).map(|_| http.post("/function/liar", "lie"));
    let truths = (0..50).map(|number: u32| async move {
        let body = number.to_string();
        assert_eq!(http.post("/function/echo", body.clone()).await.body(), &body);
    });
    let (lies, _) = tokio::join!(join_all(lies), join_all(truths));
    assert!(lies.iter().all(|response| response.status() == 504), "{lies:?}");
    let after = lab.packets.counters();
    let noticed =
        (after.refused + after.late + after.unmatched) - (before.refused + before.late + before.unmatched);
    assert_eq!(noticed, 8, "each lie is counted: {before:?} {after:?}");
}

/// Who is called back.
#[derive(Clone, Default)]
struct Hook {
    calls: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// Answers that are not 200 yet.
    failures: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

impl Hook {
    async fn serve(self) -> SocketAddr {
        async fn called(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
            hook.asked.fetch_add(1, Relaxed);
            if hook.failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            hook.calls.lock().unwrap().push((headers, body));
            StatusCode::OK
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let moved = || async { (StatusCode::TEMPORARY_REDIRECT, [("location", "/done")]) };
        let app =
            axum::Router::new().route("/done", post(called)).route("/moved", post(moved)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    async fn calls(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let calls = self.calls.lock().unwrap().clone();
            if calls.len() >= count {
                self.calls.lock().unwrap().clear();
                return calls;
            }
            assert!(Instant::now() < deadline, "{} of {count} results came", calls.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn results_are_sent_to_where_they_may_be(lab: &Lab, callbacks: SocketAddr, hook: &Hook) {
    let http = lab.http;
    let done = format!("http://{callbacks}/done");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-callback-url", done.as_str()), ("x-call-id", "call-1"), ("traceparent", trace)];
    let response = http.post_with("/async-function/echo.acme/path?query", "later", &headers).await;
    assert_eq!((response.status(), header(&response, "x-call-id")), (StatusCode::ACCEPTED, "call-1"));
    let calls = hook.calls(1).await;
    let (headers, body) = &calls[0];
    let of = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(body, "later");
    assert_eq!((of("x-call-id"), of("x-function-status")), ("call-1", "200"));
    assert_eq!((of("x-function-name"), of("traceparent")), ("echo.acme", trace));
    assert!(of("x-duration-seconds").parse::<f64>().unwrap() < 1.5);

    // A host that is busy for a while, and a lambda that fails.
    hook.failures.store(2, Relaxed);
    let with = |url: &'static str| [("x-callback-url", url)];
    let to_done = [("x-callback-url", done.as_str())];
    assert_eq!(http.post_with("/async-function/echo", "again", &to_done).await.status(), 202);
    assert_eq!(hook.calls(1).await[0].1, "again");
    assert_eq!(http.post_with("/async-function/mute", "x", &to_done).await.status(), 202);
    assert_eq!(hook.calls(1).await[0].0.get("x-function-status").unwrap(), "504");

    for refused in ["http://127.0.0.2/", "http://localhost/", "ftp://127.0.0.1/", "http://me@127.0.0.1/", "x"]
    {
        let response = http.post_with("/async-function/echo", "x", &with(refused)).await;
        assert_eq!(response.status(), 400, "{refused}");
    }
    // A redirection is not followed, and is the end of it.
    let asked = hook.asked.load(Relaxed);
    let moved = format!("http://{callbacks}/moved");
    let response = http.post_with("/async-function/echo", "x", &[("x-callback-url", &moved)]).await;
    assert_eq!(response.status(), 202);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hook.asked.load(Relaxed), asked);
}

async fn the_queue_is_bounded(lab: &Lab, requests: &Requests, callbacks: SocketAddr, hook: &Hook) {
    let http = lab.http;
    let before = requests.counters();
    let idle = Instant::now() + Duration::from_secs(10);
    while requests.waiting() > 0 {
        assert!(Instant::now() < idle, "{} wait", requests.waiting());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(http.status("/async-function/echo", pattern(BODY_BYTES)).await, 202, "as much as may wait");
    while requests.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Two are being done, and two wait.
    let done = format!("http://{callbacks}/done");
    let headers = [("x-callback-url", done.as_str())];
    for _ in 0..4 {
        assert_eq!(http.post_with("/async-function/mute", "x", &headers).await.status(), 202);
    }
    let response = http.post_with("/async-function/echo", "x", &headers).await;
    assert_eq!((response.status(), header(&response, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(hook.calls(4).await.len(), 4);
    let after = requests.counters();
    assert_eq!((after.submitted - before.submitted, after.refused - before.refused), (5, 1), "{after:?}");
    // Bytes are bounded too.
    let half = pattern(BODY_BYTES / 2 + 1);
    let (one, other) = tokio::join!(
        http.status("/async-function/mute", half.clone()),
        http.status("/async-function/mute", half)
    );
    assert_eq!([one.min(other), one.max(other)], [202, 429]);
}

async fn what_a_life_did_not_finish_the_next_one_does(
    lab: &Lab,
    settings: LaterSettings,
    callbacks: SocketAddr,
    hook: &Hook,
) {
    let queue = Arc::new(MemoryQueue::default());
    let request = |number: usize| AsyncRequest {
        call_id: format!("kept-{number}"),
        key: LambdaKey::new("default", if number == 3 { "removed" } else { "echo" }),
        body: number.to_string().into(),
        callback: Some(format!("http://{callbacks}/done")),
        headers: Vec::new(),
        received_at_ms: 1,
        attempts: 0,
    };
    // More than a life would take by itself.
    for number in 0..6 {
        queue.push(&request(number)).await.unwrap();
    }
    let requests = later(&lab.packets, &lab.functions, settings, queue.clone()).await;
    assert_eq!(requests.waiting(), 6);
    let work = tokio::spawn(Arc::clone(&requests).work());
    let mut calls: Vec<_> = hook.calls(6).await;
    calls.sort_by_key(|(headers, _)| headers["x-call-id"].clone().to_str().unwrap().to_owned());
    let statuses: Vec<_> =
        calls.iter().map(|(headers, _)| headers["x-function-status"].to_str().unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "200", "404", "200", "200"]);
    assert_eq!(calls[5].1, "5");
    let deadline = Instant::now() + Duration::from_secs(5);
    while requests.waiting() > 0 || !queue.list().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "what is done is forgotten");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    requests.stop();
    tokio::time::timeout(Duration::from_secs(5), work).await.expect("the workers stop").unwrap();
}

async fn closed_is_closed(lab: &Lab) {
    let open = tokio::spawn(lab.http.status("/function/mute", "x"));
    let deadline = Instant::now() + TIMEOUT;
    while lab.packets.open_requests() == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    lab.packets.close();
    assert_eq!(open.await.unwrap(), 503, "what was under way is told");
    assert_eq!(lab.http.status("/function/echo", "x").await, 503);
    let target = lab.functions.find(&LambdaKey::new("default", "echo")).unwrap();
    assert_eq!(lab.packets.invoke(&target, Bytes::new(), TIMEOUT).await, Err(InvokeError::Stopping));
}
