//! A thousand requests of clients that mean harm, or are broken. Each is answered or cut off in time, and the server is well afterwards.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lnic::control::http::{Limits, Settings};

use crate::harness::{Client, Server, bearer, user};
use crate::plane::PlaneDouble;

/// How long the server may take for any of them.
const BOUND: Duration = Duration::from_secs(10);
const REQUESTS: u32 = 1000;
/// Connections at a time.
const CONNECTIONS: usize = 32;

fn settings() -> Settings {
    let short = Duration::from_millis(500);
    let limits = Limits {
        connections: CONNECTIONS,
        header_time: short,
        idle_time: short,
        body_time: short,
        write_time: short,
        ..Limits::default()
    };
    Settings { limits, ..Settings::default() }
}

const PATHS: [&str; 16] = [
    "/v1/namespaces/../../etc/passwd",
    "/v1/namespaces/%2e%2e/lambdas/echo",
    "/v1/namespaces/default/lambdas/%2e%2e%2f%2e%2e",
    "/v1/namespaces/default/lambdas/echo%00",
    "/v1/namespaces/default/lambdas/%ff%fe",
    "/v1/namespaces/default/lambdas/echo%0d%0aX:%20y",
    "/v1/namespaces/*/lambdas/echo",
    "/v1/namespaces/%2a/secrets",
    "/v1/namespaces/default/secrets/..%2f..%2fetc%2fshadow",
    "/v1//lambdas",
    "/./v1/lambdas",
    "/v1/lambdas/",
    "/v1/lambdas?namespace=%00",
    "/v1/lambdas?namespace=default&namespace=team-a",
    "/v1/logs?tail=99999999999999999999",
    "/v1/namespaces/default/lambdas/echo/inspection/..",
];

const MALFORMED: [&[u8]; 24] = [
    b"\r\n\r\n\r\n",
    b"\0\0\0\0\0\0\0\0\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\nHost: l\n\n",
    b"GET  /  HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\n Folded: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nA\0B: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: l\r\n\r\n",
    b"POST /v1/modules HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/modules HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
    b"POST /v1/modules HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/modules HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    b"POST /v1/modules HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /v1/modules HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/modules HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /v1/modules HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    b"POST /v1/modules HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=\"\r\nhello\r\n",
    b"GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
];

const BODIES: [&str; 12] = [
    "",
    "null",
    "[]",
    "{",
    "{\"manifest\":{\"name\":\"echo\"},\"manifest\":{\"name\":\"echo\"},\"module\":\"\"}",
    "{\"manifest\":{\"name\":\"echo\",\"id\":-1},\"module\":\"sha256:0\"}",
    "{\"manifest\":{\"name\":\"echo\",\"id\":1e400},\"module\":\"sha256:0\"}",
    "{\"manifest\":{\"name\":\"\\u0000\"},\"module\":\"sha256:0\"}",
    "{\"manifest\":{\"name\":\"\\ud800\"},\"module\":\"sha256:0\"}",
    "{\"__proto__\":{}}",
    "\u{feff}{}",
    "{\"replicas\":18446744073709551616}",
];

/// Sends one of the requests. They are made from their number alone, so that one that fails can be sent again.
fn attack(number: u32, stream: &mut UnixStream) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(u64::from(number));
    let echo = "/v1/namespaces/default/lambdas/echo";
    match number % 10 {
        0 => {
            let path = PATHS[random.usize(..PATHS.len())];
            let method = ["GET", "PUT", "DELETE", "POST", "HEAD"][random.usize(..5)];
            stream.write_all(
                format!("{method} {path} HTTP/1.1\r\nHost: l\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            )
        }
        1 | 2 => stream.write_all(MALFORMED[random.usize(..MALFORMED.len())]),
        3 => {
            let mut noise = vec![0; random.usize(1..4096)];
            random.fill(&mut noise);
            stream.write_all(&noise)
        }
        4 => {
            // A flood of headers, or one that does not end.
            stream.write_all(b"GET /healthz HTTP/1.1\r\n")?;
            let line = format!("X-{}: {}\r\n", random.u32(..), "y".repeat(random.usize(1..2000)));
            (0..200).try_for_each(|_| stream.write_all(line.as_bytes()))
        }
        5 => {
            let body = BODIES[random.usize(..BODIES.len())];
            let path =
                [echo, &format!("{echo}/scale"), &format!("{echo}/rollback")][random.usize(..3)].to_owned();
            let method = if path.ends_with("echo") { "PUT" } else { "POST" };
            let kind =
                ["application/json", "text/plain", "application/json; charset=\"", ""][random.usize(..4)];
            let head = format!("{method} {path} HTTP/1.1\r\nHost: l\r\nContent-Type: {kind}\r\n");
            stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        }
        6 => {
            // Less than it says, and then nothing, or half a farewell.
            stream.write_all(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 100\r\n\r\nhalf")?;
            if random.bool() { stream.shutdown(Shutdown::Write) } else { Ok(()) }
        }
        7 => {
            // More than there may be.
            let length = random.u64(1 << 25..u64::MAX);
            stream.write_all(
                format!("POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: {length}\r\n\r\n")
                    .as_bytes(),
            )?;
            (0..64).try_for_each(|_| stream.write_all(&[0; 4096]))
        }
        8 => {
            // Nested deeper than anybody needs, in a body as long as allowed.
            let body = "[".repeat(random.usize(1..1 << 20));
            let head = format!("PUT {echo} HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n");
            stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        }
        _ => {
            // Many requests ahead, the last of them broken, and nobody who reads.
            stream.write_all(
                &b"GET /v1/openapi.json HTTP/1.1\r\nHost: l\r\n\r\n".repeat(random.usize(1..40)),
            )?;
            stream.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHo")
        }
    }
}

/// Statuses of all answers until the connection ends, or the server waits for more of an idle client.
fn statuses(stream: &mut UnixStream) -> Option<Vec<u16>> {
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    match stream.read_to_end(&mut bytes) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            None
        }
        _ => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let status = |part: &str| part.get(..3).and_then(|digits| digits.parse().ok());
            Some(text.split("HTTP/1.1 ").skip(1).filter_map(status).collect())
        }
    }
}

#[test]
fn a_thousand_hostile_requests() {
    let server = Server::start(PlaneDouble::new().with_lambda("default", "echo"), settings());
    let socket = server.socket();
    let (mut answered, mut cut) = (0, 0);
    let workers: Vec<_> = (0..16)
        .map(|worker| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let mut counts = (0, 0);
                for number in (worker..REQUESTS).step_by(16) {
                    let mut stream = UnixStream::connect(&socket).unwrap();
                    stream.set_write_timeout(Some(BOUND)).unwrap();
                    let start = Instant::now();
                    // The server may have hung up in the middle of it.
                    let _ = attack(number, &mut stream);
                    let statuses = statuses(&mut stream)
                        .unwrap_or_else(|| panic!("request {number}: neither answered nor cut off"));
                    assert!(start.elapsed() < BOUND, "request {number}: {:?}", start.elapsed());
                    assert!(statuses.iter().all(|status| *status < 500), "request {number}: {statuses:?}");
                    if statuses.is_empty() { counts.1 += 1 } else { counts.0 += 1 }
                }
                counts
            })
        })
        .collect();
    for worker in workers {
        let counts = worker.join().expect("no request broke its promise");
        answered += counts.0;
        cut += counts.1;
    }
    assert_eq!(answered + cut, REQUESTS);
    assert!(answered > REQUESTS / 2 && cut > 0, "{answered} answered, {cut} cut off");
    server.assert_well();
    let lambdas = server.ask("GET", "/v1/lambdas", None).json();
    assert_eq!(lambdas.as_array().map(Vec::len), Some(1), "nothing has changed: {lambdas}");
    // No connection has kept its place.
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("GET", "/healthz", None, None).status, 200);
    }
}

#[test]
fn strangers_are_refused_whatever_they_ask() {
    let server = Server::start_network(
        PlaneDouble::new().with_lambda("default", "echo"),
        settings(),
        &user("root", "\"*\" = \"admin\""),
    );
    let mut random = fastrand::Rng::with_seed(9);
    for number in 0..100 {
        let mut client = server.connect_tls().unwrap();
        let path = PATHS[number % PATHS.len()];
        let length = random.usize(8..200);
        let garbage: String = (0..length).map(|_| random.alphanumeric()).collect();
        let authorization = match number % 4 {
            0 => String::new(),
            1 => format!("Authorization: {garbage}\r\n"),
            2 => format!("Authorization: Basic {garbage}\r\n"),
            _ => format!("Authorization: Bearer {garbage}\r\n"),
        };
        let method = ["GET", "PUT", "DELETE", "POST"][random.usize(..4)];
        client
            .send(
                format!("{method} {path} HTTP/1.1\r\nHost: l\r\n{authorization}Content-Length: 0\r\n\r\n")
                    .as_bytes(),
            )
            .unwrap();
        let answer = client.answer().expect("an answer");
        assert!([401, 429].contains(&answer.status), "{number}: {}", answer.status);
        assert!(!answer.error().contains(&garbage), "what they said is not repeated");
    }
    // Two headers: the first counts, and nobody gets in by the second.
    let mut client = server.connect_tls().unwrap();
    let two = format!(
        "GET /v1/info HTTP/1.1\r\nHost: l\r\nAuthorization: x y\r\nAuthorization: {}\r\n\r\n",
        bearer("root")
    );
    client.send(two.as_bytes()).unwrap();
    assert!([401, 429].contains(&client.answer().expect("an answer").status));
    server.assert_well();
}

#[test]
fn a_flood_of_connections_passes() {
    let limits = Limits { connections: 512, ..settings().limits };
    let server = Server::start(PlaneDouble::new(), Settings { limits, ..settings() });
    let silent: Vec<_> = (0..400).map(|_| server.connect()).collect();
    server.assert_well();
    drop(silent);
    for mut client in (0..100).map(|_| server.connect()).collect::<Vec<Client<_>>>() {
        client.send(b"GET /healthz HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
        drop(client);
    }
    server.assert_well();
}

/// What pages of lambdas, or of other sites, make a viewer's browser send to the control API.
#[test]
fn pages_of_other_origins_change_nothing() {
    let server = Server::start(PlaneDouble::new().with_lambda("default", "echo"), settings());
    let ask = |method: &str, path: &str, headers: &str| {
        let mut client = server.connect();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: l\r\n{headers}Content-Length: 0\r\n\r\n");
        client.send(head.as_bytes()).unwrap();
        client.answer().expect("an answer")
    };
    let echo = "/v1/namespaces/default/lambdas/echo";
    for headers in [
        "Origin: null\r\n",
        "Origin: null\r\nSec-Fetch-Site: same-origin\r\n",
        "Origin: https://elsewhere.example\r\nSec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        for (method, path) in
            [("DELETE", echo), ("POST", "/v1/modules"), ("PUT", "/system/functions"), ("POST", "/functions")]
        {
            let refused = ask(method, path, headers);
            assert_eq!(refused.status, 403, "{method} {path} {headers:?}");
            assert_eq!(refused.error(), "a page of another origin cannot change anything here");
        }
        // Looking is harmless, as the page does not see it, and lambdas may be asked by anybody.
        assert_eq!(ask("GET", "/v1/lambdas", headers).status, 200, "{headers:?}");
        for path in ["/function/echo", "/async-function/echo/x"] {
            assert_ne!(ask("POST", path, headers).status, 403, "{path} {headers:?}");
        }
    }
    let lambdas = server.ask("GET", "/v1/lambdas", None).json();
    assert_eq!(lambdas.as_array().map(Vec::len), Some(1), "nothing has changed: {lambdas}");
    for headers in ["Origin: https://l\r\nSec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n", ""] {
        assert_ne!(ask("POST", "/v1/modules", headers).status, 403, "{headers:?}");
    }
}
