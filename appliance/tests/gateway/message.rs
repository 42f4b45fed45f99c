//! Lambdas that take HTTP messages: a site that is walked about in, and replies that are none.

use super::*;

/// Answers with the body of its request, as it is: whoever asks says what it replies.
pub(crate) const PARROT: &str = "#include <lnic.h>
LAMBDA(parrot) {
    const uint8_t *text = lnic_payload(match_data);
    for (uint32_t at = 0; at + 4 <= match_data->length; at++) {
        if (memcmp(text + at, \"\\r\\n\\r\\n\", 4) == 0) {
            return lnic_reply_with(headers, match_data, STATUS_OK, text + at + 4, match_data->length - at - 4);
        }
    }
    return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
}";
/// Answers with the message that it got, as the body of a response.
pub(crate) const MIRROR: &str = "#include <lnic.h>
LAMBDA(mirror) {
    static const char head[] = \"HTTP/1.1 200 OK\\r\\nContent-Type: message/http\\r\\n\\r\\n\";
    uint32_t bytes = sizeof(head) - 1;
    memmove(lnic_payload(match_data) + bytes, lnic_payload(match_data), match_data->length);
    memcpy(lnic_payload(match_data), head, bytes);
    return lnic_reply(headers, match_data, STATUS_OK, bytes + match_data->length);
}";

impl Http {
    async fn ask(self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(path).header("host", "lnic.example");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Full::default()).expect("a request")).await
    }
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

pub(crate) async fn a_site_can_be_walked_about_in(lab: &Lab) {
    let http = lab.http;
    let index = http.ask("GET", "/function/site/", &[]).await;
    assert_eq!(
        (index.status(), header(&index, "content-type")),
        (StatusCode::OK, "text/html; charset=utf-8")
    );
    assert!(text(&index).starts_with("<!doctype html>") && text(&index).ends_with("</html>\n"));
    assert!(header(&index, "content-security-policy").starts_with("sandbox "));
    assert_eq!(header(&index, "x-call-id").len(), 36);
    // By name, in a folder, and without the slash that its links need.
    assert_eq!(http.ask("GET", "/function/site/index.html?x=1", &[]).await.body(), index.body());
    assert!(text(&http.ask("GET", "/function/site/docs/", &[]).await).contains("Your own site"));
    for (path, location) in [("/function/site", "./site/"), ("/function/site/docs?a=b", "./docs/?a=b")] {
        let moved = http.ask("GET", path, &[]).await;
        assert_eq!((moved.status().as_u16(), header(&moved, "location")), (301, location), "{path}");
    }
    // What a browser has already, it need not be sent.
    let tag = header(&index, "etag").to_owned();
    let same = http.ask("GET", "/function/site/", &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!((same.status().as_u16(), same.body().len(), header(&same, "etag")), (304, 0, tag.as_str()));
    assert!(!same.headers().contains_key("content-length"), "{same:?}");
    let other = http.ask("GET", "/function/site/", &[("if-none-match", "\"x\"")]).await;
    assert_eq!(other.body(), index.body());
    let head = http.ask("HEAD", "/function/site/", &[]).await;
    assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
    assert_eq!(header(&head, "content-length"), index.body().len().to_string());
    for (range, status, piece) in [
        ("bytes=0-14", 206, &index.body()[..15]),
        ("bytes=-8", 206, b"</html>\n"),
        ("bytes=100000-", 416, b""),
        ("lines=1-2", 200, &index.body()[..]),
    ] {
        let part = http.ask("GET", "/function/site/", &[("range", range)]).await;
        assert_eq!((part.status().as_u16(), &part.body()[..]), (status, piece), "{range}");
    }
    for (method, path, status) in [
        ("GET", "/function/site/nothing", 404),
        ("GET", "/function/site/%2e%2e/etc/passwd", 400),
        ("GET", "/function/site/%zz", 400),
        ("POST", "/function/site/", 405),
        ("DELETE", "/function/site/index.html", 405),
    ] {
        let refused = http.ask(method, path, &[]).await;
        assert_eq!(refused.status().as_u16(), status, "{method} {path}");
        assert!(text(&refused).starts_with(&status.to_string()), "{method} {path}");
    }
    let escaped = http.ask("GET", "/function/site/status.html?%3Cscript%3E'%22&x", &[]).await;
    assert!(text(&escaped).contains("<code>%3Cscript%3E&#39;%22&amp;x</code>"), "{}", text(&escaped));
}

/// Requests come in over the queues of two lcores.
pub(crate) async fn pages_count_whoever_asks(lab: &Lab) {
    let http = lab.http;
    let counts = async || {
        let response = http.ask("GET", "/function/site/status.json", &[]).await;
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_eq!(header(&response, "content-length"), response.body().len().to_string());
        let json: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        (json["requests"].as_u64().unwrap(), json["page_requests"].as_u64().unwrap())
    };
    let before = counts().await;
    let asked = (0..200).map(|_| http.ask("GET", "/function/site/robots.txt", &[]));
    let answers = join_all(asked).await;
    // No more than the gateway takes at a time.
    let answered = answers.iter().filter(|answer| answer.status() == 200).count() as u64;
    assert!(answered >= u64::from(IN_FLIGHT), "{answered}");
    assert_eq!(counts().await, (before.0 + answered + 1, before.1 + 1));
}

pub(crate) async fn what_a_lambda_gets_and_says_is_http(lab: &Lab) {
    let http = lab.http;
    let asked = [("accept", "x/y"), ("authorization", "Basic c2VjcmV0"), ("x-call-id", "mine")];
    let seen = http.ask("PURGE", "/function/mirror/a%20b//?c=d", &asked).await;
    assert_eq!((seen.status(), header(&seen, "content-type")), (StatusCode::OK, "message/http"));
    let seen = text(&seen);
    assert!(
        seen.starts_with(
            "PURGE /a%20b//?c=d HTTP/1.1\r\nhost: lnic.example\r\naccept: x/y\r\nx-call-id: mine\r\n"
        ),
        "{seen}"
    );
    assert!(
        !seen.contains("c2VjcmV0") && seen.ends_with("x-forwarded-uri: /function/mirror/a%20b//?c=d\r\n\r\n"),
        "{seen}"
    );
    let body = http.post("/function/mirror/x", pattern(100_000)).await;
    assert!(body.body().ends_with(&[b"\r\ncontent-length: 100000\r\n\r\n", &pattern(100_000)[..]].concat()));
    let long = http.ask("GET", "/function/mirror/", &[("x", &"y".repeat(17_000))]).await;
    assert_eq!(long.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    // A body that alone is not too much, with its head.
    for path in ["/function/mirror/x", "/async-function/mirror/x"] {
        let refused = http.post(path, pattern(BODY_BYTES)).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert!(text(&refused).contains("the request has 1048"), "{path}: {}", text(&refused));
    }

    let made =
        http.post("/function/parrot", "HTTP/1.1 418 Tea\r\nSet-Cookie: a=b\r\n\r\nshort and stout").await;
    assert_eq!(
        (made.status().as_u16(), text(&made), made.headers().contains_key("set-cookie")),
        (418, "short and stout", false)
    );
    for (reply, reason) in [
        ("hello", "no status line of HTTP/1.1"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello",
            "Content-Length is not its body's length of 5 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: its length is that of the reply",
        ),
    ] {
        let refused = http.post("/function/parrot", reply).await;
        assert_eq!(refused.status(), StatusCode::BAD_GATEWAY, "{reply:?}");
        let error: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
        assert_eq!(error["error"], format!("the lambda's reply is no HTTP response: {reason}"));
    }
}

pub(crate) async fn results_are_messages_too(lab: &Lab, callbacks: SocketAddr, hook: &Hook) {
    let done = format!("http://{callbacks}/done");
    let headers = [("x-callback-url", done.as_str())];
    for (reply, status, content_type, body) in [
        ("HTTP/1.1 201 Made\r\nContent-Type: a/b\r\n\r\nmade", "201", "a/b", "made"),
        (
            "nonsense",
            "502",
            "text/plain; charset=utf-8",
            "the lambda's reply is no HTTP response: no status line of HTTP/1.1",
        ),
    ] {
        assert_eq!(lab.http.post_with("/async-function/parrot/x", reply, &headers).await.status(), 202);
        let (headers, got) = hook.calls(1).await.remove(0);
        assert_eq!(
            (&headers["x-function-status"], &headers["content-type"]),
            (&status.parse().unwrap(), &content_type.parse().unwrap())
        );
        assert_eq!(got, body);
    }
}
