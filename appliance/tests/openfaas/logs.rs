use futures_util::StreamExt;
use lnic::control::plane::LambdaKey;
use serde_json::{Value, json};

use crate::clients::{Answer, Client};
use crate::plane::PlaneDouble;

/// A plane whose lambda said "line 0" to "line 4", a millisecond apart.
fn plane() -> PlaneDouble {
    let plane = PlaneDouble::new()
        .with_namespace("team-a")
        .with_lambda("team-a", "echo")
        .with_lambda("default", "other");
    for number in 0..5 {
        plane.log(&LambdaKey::new("team-a", "echo"), &format!("line {number}"));
    }
    plane.log(&LambdaKey::new("default", "other"), "nothing of theirs");
    plane
}

#[track_caller]
fn texts(answer: &Answer) -> Vec<String> {
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (200, "application/x-ndjson"),
        "{}",
        answer.body
    );
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    answer.body.lines().map(text).collect()
}

#[tokio::test]
async fn lines_are_told_one_by_one() {
    let client = Client::new(&plane());
    // As faas-cli writes its query, and as the SDK does.
    let answer = client.get("/system/logs?follow=false&name=echo&namespace=team-a&tail=1").await;
    assert_eq!(texts(&answer), ["line 4"]);
    let expected = json!({
        "name": "echo", "namespace": "team-a", "instance": "echo-1", "timestamp": "2023-11-14T22:13:20.004Z", "text": "line 4",
    });
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), expected);
    for (query, lines) in [
        ("follow=0&name=echo&namespace=team-a", 5),
        ("name=echo.team-a", 5),
        ("name=echo.team-a&tail=-1", 5),
        ("name=echo.team-a&tail=0&since=", 5),
        ("name=echo.team-a&since=2023-11-14T22%3A13%3A20Z", 5),
        ("name=echo.team-a&since=2023-11-15T00%3A13%3A21%2B02%3A00", 0),
        ("name=echo.team-a&instance=echo-1", 5),
        ("name=echo.team-a&instance=echo-2", 0),
        // Of several values the last one counts.
        ("name=other&name=echo&namespace=team-a&tail=2", 2),
    ] {
        assert_eq!(texts(&client.get(&format!("/system/logs?{query}")).await).len(), lines, "{query}");
    }
}

#[tokio::test]
async fn queries_that_make_no_sense_are_named() {
    let client = Client::new(&plane());
    for (query, status, why) in [
        ("", 422, "name: is missing"),
        ("?name=echo.team-a&tail=all", 422, "tail: \"all\" is no number"),
        ("?name=echo.team-a&since=yesterday", 422, "since: \"yesterday\" is no time"),
        ("?name=echo", 404, "no lambda \"echo\" in namespace \"default\""),
        ("?name=echo.team-a&namespace=default", 400, "namespace: both"),
    ] {
        client.get(&format!("/system/logs{query}")).await.is_refused(status, why);
    }
}

#[tokio::test]
async fn who_follows_is_told_until_they_leave() {
    let plane = plane();
    let client = Client::new(&plane);
    let answer = client.begin("GET", "/system/logs?follow=true&name=echo&namespace=team-a&tail=1", "").await;
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body().into_data_stream();
    let mut line = async || String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(line().await.contains("line 4"));
    plane.log(&LambdaKey::new("default", "other"), "nothing of theirs");
    plane.log(&LambdaKey::new("team-a", "echo"), "quotes \" and\nlines");
    assert!(line().await.ends_with("\"text\":\"quotes \\\" and\\nlines\"}\n"));
    assert_eq!(plane.followers(), 1);
    drop(body);
    assert_eq!(plane.followers(), 0);
}
