//! What lambdas get, and what of their replies is let through: by example, and for any bytes.

use axum::http::Request;
use proptest::prelude::*;

use super::*;

fn head(request: axum::http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

fn text(message: &Bytes) -> &str {
    std::str::from_utf8(message).unwrap()
}

fn answered(reply: &str) -> Result<Response<Bytes>, Malformed> {
    response(HttpMode::Message, false, Bytes::copy_from_slice(reply.as_bytes()))
}

#[test]
fn a_request_is_its_line_its_headers_and_its_body() {
    let head = head(
        Request::put("/function/site.team/a%20b/?q=1&r=%0d")
            .header("host", "lnic.example:8443")
            .header("accept", "text/html")
            .header("accept-language", "de")
            .header("accept-language", "en")
            .header("content-length", "5")
            .header("x-forwarded-for", "192.0.2.9"),
    );
    let peer = Some(Peer::Network("::ffff:203.0.113.7".parse().unwrap()));
    let stamps = [(HeaderName::from_static("x-call-id"), HeaderValue::from_static("7"))];
    let message = request(&head, peer, &stamps, b"hello").unwrap();
    assert_eq!(
        text(&message),
        "PUT /a%20b/?q=1&r=%0d HTTP/1.1\r\n\
         host: lnic.example:8443\r\n\
         accept: text/html\r\n\
         accept-language: de\r\n\
         accept-language: en\r\n\
         x-call-id: 7\r\n\
         x-forwarded-host: lnic.example:8443\r\n\
         x-forwarded-uri: /function/site.team/a%20b/?q=1&r=%0d\r\n\
         x-forwarded-proto: https\r\n\
         x-forwarded-for: 192.0.2.9, 203.0.113.7\r\n\
         content-length: 5\r\n\
         \r\n\
         hello"
    );
}

#[test]
fn only_the_method_head_asks_for_a_head() {
    let of = |method: &str| {
        is_head(
            &request(&head(Request::builder().method(method).uri("/function/x")), None, &[], b"").unwrap(),
        )
    };
    assert!(of("HEAD") && !of("HEADS") && !of("GET") && !is_head(b""));
}

#[test]
fn what_is_of_the_connection_or_secret_stays_here() {
    let head = head(
        Request::get("/function/site")
            .header("authorization", "Basic c2VjcmV0")
            .header("cookie", "session=c2VjcmV0")
            .header("cookie", "other=1")
            .header("proxy-authorization", "Basic c2VjcmV0")
            .header("connection", "close, X-Private")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "websocket")
            .header("expect", "100-continue")
            .header("x-callback-url", "http://hooks.example/token")
            .header("x-call-id", "forged")
            .header("x-forwarded-proto", "forged")
            .header("x-forwarded-host", "forged"),
    );
    let message = request(&head, Some(Peer::Local), &[], b"").unwrap();
    let expected = "GET / HTTP/1.1\r\nx-forwarded-uri: /function/site\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(text(&message), expected);
}

#[test]
fn paths_are_what_is_behind_the_name() {
    for (path, rest) in [
        ("/function/site", "/"),
        ("/function/site/", "/"),
        ("/function/site//x", "//x"),
        ("/async-function/site.team/a/b", "/a/b"),
        ("/function/s%2Fx/../y", "/../y"),
    ] {
        assert_eq!(split(path).1, rest, "{path}");
    }
}

#[test]
fn a_head_is_bounded() {
    let with = |bytes: usize| head(Request::get("/function/x/").header("a", "x".repeat(bytes)));
    assert!(request(&with(HEAD_BYTES - 200), None, &[], &[0; 1 << 20]).is_ok());
    let error = request(&with(HEAD_BYTES), None, &[], b"").unwrap_err();
    assert!(error.0 > HEAD_BYTES && error.to_string().ends_with("at most 16384 reach a lambda"), "{error}");
}

#[test]
fn a_reply_is_status_headers_and_body() {
    let response = answered(
        "HTTP/1.1 404 Nowhere to be found\r\nContent-Type: text/html\r\nContent-Length: 5\r\nVary: a\r\n\
         Vary: b\r\nETag: \"x\"\r\n\r\nhello",
    )
    .unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (404, &b"hello"[..]));
    let headers = response.headers();
    assert_eq!(
        (&headers["content-type"], &headers["etag"]),
        (&"text/html".parse().unwrap(), &"\"x\"".parse().unwrap())
    );
    assert_eq!(headers.get_all("vary").iter().count(), 2);
    assert_eq!(headers[CONTENT_SECURITY_POLICY], SANDBOX);
    // What arrived is as long as it is, and whoever sends it says so.
    assert!(!headers.contains_key(CONTENT_LENGTH));
    assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\nhello").unwrap().body(), "hello");
    assert_eq!(answered("HTTP/1.0 200\r\n\r\n").unwrap().body(), "");
}

#[test]
fn what_is_not_the_lambdas_to_say_is_left_out() {
    let response = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nUpgrade: h2c\r\nTrailer: x\r\n\
         Strict-Transport-Security: max-age=1\r\nAlt-Svc: h3=\":1\"\r\nClear-Site-Data: \"*\"\r\n\
         Service-Worker-Allowed: /\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nContent-Security-Policy: default-src *\r\n\r\n",
    )
    .unwrap();
    let policies: Vec<_> = response.headers().get_all(CONTENT_SECURITY_POLICY).iter().collect();
    assert_eq!(policies, ["default-src *", SANDBOX], "both hold");
    assert_eq!(response.headers().len(), 2, "{:?}", response.headers());
}

#[test]
fn heads_and_statuses_without_bodies() {
    let head = |reply: &'static str| response(HttpMode::Message, true, Bytes::from_static(reply.as_bytes()));
    for reply in ["HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n1234567"] {
        let response = head(reply).unwrap();
        assert_eq!(
            (response.body(), &response.headers()[CONTENT_LENGTH]),
            (&Bytes::new(), &7.into()),
            "{reply}"
        );
    }
    assert_eq!(head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nx").unwrap_err(), Malformed::Length(1));
    for status in ["204 No Content", "304 Not Modified"] {
        let none = answered(&format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n")).unwrap();
        assert_eq!((none.body().len(), &none.headers()["etag"]), (0, &"\"x\"".parse().unwrap()));
        let body = answered(&format!("HTTP/1.1 {status}\r\n\r\nx")).unwrap_err();
        assert!(matches!(body, Malformed::Body(204 | 304)));
    }
    assert!(answered("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").is_ok());
    assert_eq!(answered("HTTP/1.1 204 None\r\nContent-Length: 9\r\n\r\n").unwrap_err(), Malformed::Length(0));
}

#[test]
fn what_is_no_response_is_named() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: x\r\n".repeat(HEADERS + 1));
    for (reply, expected) in [
        ("", Malformed::StatusLine),
        ("hello", Malformed::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/2 200 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 200 OK\r\n", Malformed::Endless),
        ("HTTP/1.1 200 OK\r\nA: x\r\n", Malformed::Endless),
        (&long, Malformed::Endless),
        (&many, Malformed::Head(httparse::Error::TooManyHeaders)),
        ("HTTP/1.1 2xx OK\r\n\r\n", Malformed::Head(httparse::Error::Status)),
        ("HTTP/1.1 100 Continue\r\n\r\n", Malformed::Status(100)),
        ("HTTP/1.1 101 Switching\r\n\r\n", Malformed::Status(101)),
        ("HTTP/1.1 999 Odd\r\n\r\n", Malformed::Status(999)),
        ("HTTP/1.1 200 OK\nA: x\n\n", Malformed::LineEnd),
        ("HTTP/1.1 200 OK\r\nA: x\n\r\n", Malformed::LineEnd),
        ("HTTP/1.1 200 OK\r\nA: x\r\n folded\r\n\r\n", Malformed::Head(httparse::Error::HeaderName)),
        ("HTTP/1.1 200 OK\r\nA : x\r\n\r\n", Malformed::Head(httparse::Error::HeaderName)),
        ("HTTP/1.1 200 OK\r\nA: x\ry\r\n\r\n", Malformed::Head(httparse::Error::HeaderValue)),
        ("HTTP/1.1 200 OK\r\nA: x\0y\r\n\r\n", Malformed::Head(httparse::Error::HeaderValue)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello", Malformed::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", Malformed::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", Malformed::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Malformed::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello", Malformed::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", Malformed::Length(5)),
    ] {
        assert_eq!(answered(reply).unwrap_err(), expected, "{}", reply.escape_debug());
    }
}

#[test]
fn in_the_other_mode_a_reply_is_a_body() {
    let reply = "HTTP/1.1 500 x\r\n\r\n";
    let response = response(HttpMode::Body, false, Bytes::from_static(reply.as_bytes())).unwrap();
    assert_eq!((response.status(), response.body()), (StatusCode::OK, &Bytes::from_static(reply.as_bytes())));
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
}

/// Pieces that hostile heads are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![
            &b"HTTP/1.1 200 OK\r\n"[..], b"\r\n", b"\n", b"\r", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Location: x\r\nSet-Cookie: y\r\n",
            b"HTTP/1.1 204 No\r\n", b"X: \x80\xff\r\n", b"X:\x00\r\n", b"abc", b"\r\n\r\n", b": \r\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    /// Whatever a lambda replies, what leaves is one response: its body is the end of the reply, and nothing in its headers can
    /// end a line, or say where it ends.
    #[test]
    fn no_reply_panics_or_smuggles(pieces in prop::collection::vec(piece(), 0..12), starts in any::<bool>(), head in any::<bool>()) {
        let mut reply = if starts { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        reply.extend(pieces.concat());
        let reply = Bytes::from(reply);
        if let Ok(response) = response(HttpMode::Message, head, reply.clone()) {
            prop_assert!(reply.ends_with(response.body()));
            prop_assert!(!head || response.body().is_empty());
            prop_assert!(response.status().as_u16() >= 200);
            let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line") + 4;
            prop_assert!(head || response.body().len() == reply.len() - end);
            for (name, value) in response.headers() {
                prop_assert!(!HOP_BY_HOP.contains(name) && (head || *name != CONTENT_LENGTH), "{name}");
                prop_assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
            }
            prop_assert_eq!(response.headers().get_all(CONTENT_SECURITY_POLICY).iter().next_back().unwrap(), SANDBOX);
        }
    }
}
