use lnic::control::http::Right;
use serde_json::json;

use crate::clients::Client;
use crate::plane::{PlaneDouble, WASM};

/// Every route: method, path, body, and what it needs in namespace `team-a`; a namespace is made by who administers all.
fn requests(image: &str) -> Vec<(&'static str, &'static str, String, Right)> {
    let body = |text: &str| text.to_owned();
    let deployment = json!({"service": "echo", "image": image, "namespace": "team-a"}).to_string();
    vec![
        ("GET", "/system/functions?namespace=team-a", body(""), Right::Read),
        ("PUT", "/system/functions", deployment.clone(), Right::Deploy),
        ("POST", "/system/functions", deployment, Right::Deploy),
        (
            "DELETE",
            "/system/functions",
            body(r#"{"functionName":"echo","namespace":"team-a"}"#),
            Right::Deploy,
        ),
        ("GET", "/system/function/echo?namespace=team-a", body(""), Right::Read),
        ("GET", "/system/function/echo.team-a", body(""), Right::Read),
        (
            "POST",
            "/system/scale-function/echo",
            body(r#"{"replicas":1,"namespace":"team-a"}"#),
            Right::Deploy,
        ),
        ("GET", "/system/secrets?namespace=team-a", body(""), Right::Read),
        ("POST", "/system/secrets", body(r#"{"name":"k","value":"v","namespace":"team-a"}"#), Right::Deploy),
        ("PUT", "/system/secrets", body(r#"{"name":"k","value":"v","namespace":"team-a"}"#), Right::Deploy),
        ("DELETE", "/system/secrets", body(r#"{"name":"k","namespace":"team-a"}"#), Right::Deploy),
        ("GET", "/system/namespace/team-a", body(""), Right::Read),
        ("GET", "/system/logs?name=echo&namespace=team-a", body(""), Right::Read),
        ("GET", "/system/info", body(""), Right::Read),
        ("POST", "/system/namespace/", body(r#"{"name":"team-c"}"#), Right::Admin),
        ("PUT", "/system/namespace/team-a", body("{}"), Right::Admin),
        ("DELETE", "/system/namespace/team-a", body(""), Right::Admin),
    ]
}

#[tokio::test]
async fn every_route_asks_for_its_right_in_the_namespace() {
    let plane =
        PlaneDouble::new().with_namespace("team-a").with_namespace("team-b").with_lambda("team-a", "echo");
    let client = Client::new(&plane);
    let image = plane.add_module(WASM).to_string();
    let all = [Right::Invoke, Right::Read, Right::Deploy, Right::Admin];
    for (method, path, body, needed) in requests(&image) {
        for has in all {
            for namespace in ["team-a", "team-b", "*"] {
                let here = match needed {
                    Right::Admin if method == "POST" => namespace == "*",
                    // Whoever may read anything may know who answers.
                    _ => namespace != "team-b" || path == "/system/info",
                };
                let may = here && has >= needed;
                let answer = client.who_may(&[(namespace, has)]).send(method, path, &body).await;
                let case =
                    format!("{method} {path} with {has:?} in {namespace}: {} {}", answer.status, answer.body);
                assert_eq!(answer.status != 403, may, "{case}");
                if !may {
                    answer.is_refused(403, "has no right");
                }
            }
        }
        // What a request changed does not matter to the next one, but the lambda and its namespace are there.
        let _ = client.post("/system/namespace/", r#"{"name":"team-a"}"#).await;
        let _ = client
            .deploy(&json!({"service": "echo", "image": image, "namespace": "team-a"}).to_string())
            .await;
    }
}

#[tokio::test]
async fn who_said_nothing_may_do_nothing() {
    let plane = PlaneDouble::new().with_namespace("team-a").with_lambda("team-a", "echo");
    let nobody = Client::new(&plane).who_may(&[]);
    for (method, path, body, _) in requests("echo.wasm") {
        nobody.send(method, path, &body).await.is_refused(403, "has no right");
    }
    assert_eq!(nobody.get("/system/namespaces").await.json(), json!([]));
    assert_eq!(nobody.get("/metrics").await.status, 403);
}

#[tokio::test]
async fn namespaces_of_others_are_not_listed() {
    let plane = PlaneDouble::new().with_namespace("team-a").with_namespace("team-b");
    let client = Client::new(&plane);
    let reader = client.who_may(&[("team-b", Right::Read), ("team-a", Right::Invoke)]);
    assert_eq!(reader.get("/system/namespaces").await.json(), json!(["team-b"]));
    assert_eq!(reader.get("/metrics").await.status, 403);
}

#[tokio::test]
async fn metrics_are_for_those_who_may_read_everything() {
    let plane = PlaneDouble::new().with_lambda("default", "echo");
    let answer = Client::new(&plane).who_may(&[("*", Right::Read)]).get("/metrics").await;
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        answer.body.contains("gateway_service_count{function_name=\"echo.default\"} 2\n"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains("lnic_ready 1\n"));
}
