use lnic::control::plane::SecretValue;
use serde_json::json;

use crate::clients::Client;
use crate::plane::PlaneDouble;

const PATH: &str = "/system/secrets";

#[tokio::test]
async fn secrets_come_and_go_with_the_statuses_that_clients_know() {
    let plane = PlaneDouble::new().with_namespace("team-a");
    let client = Client::new(&plane);
    let body = |value: &str| format!(r#"{{"name":"key","namespace":"team-a","value":"{value}"}}"#);
    client.put(PATH, &body("one")).await.is_refused(404, "no secret \"key\"");
    client.post(PATH, &body("one")).await.is_done(201);
    client.post(PATH, &body("two")).await.is_refused(409, "is there already");
    client.put(PATH, &body("two")).await.is_done(200);
    assert_eq!(plane.secret("team-a", "key").unwrap().bytes(), b"two");
    let names = json!([{"name": "key", "namespace": "team-a"}]);
    assert_eq!(client.get("/system/secrets?namespace=team-a").await.json(), names);
    assert_eq!(client.get(PATH).await.json(), json!([]));
    client.delete(PATH, r#"{"name":"key","namespace":"team-a"}"#).await.is_done(200);
    client.delete(PATH, r#"{"name":"key","namespace":"team-a"}"#).await.is_refused(404, "no secret \"key\"");
}

#[tokio::test]
async fn bytes_that_are_no_text_come_in_base64() {
    let plane = PlaneDouble::new();
    let client = Client::new(&plane);
    client
        .post("/system/secrets?namespace=default", r#"{"name":"raw","rawValue":"AP8="}"#)
        .await
        .is_done(201);
    assert_eq!(plane.secret("default", "raw").unwrap().bytes(), [0, 255]);
    // The text goes first, as documented.
    client.put(PATH, r#"{"name":"raw","value":"text","rawValue":"AP8="}"#).await.is_done(200);
    assert_eq!(plane.secret("default", "raw").unwrap().bytes(), b"text");
    client.put(PATH, r#"{"name":"raw","value":"text","rawValue":null}"#).await.is_done(200);
}

#[tokio::test]
async fn values_are_bounded_and_never_told() {
    let plane = PlaneDouble::new();
    let client = Client::new(&plane);
    let body = |bytes: usize| json!({"name": "key", "value": "v".repeat(bytes)}).to_string();
    client.post(PATH, &body(SecretValue::BYTES)).await.is_done(201);
    let refused = client.put(PATH, &body(SecretValue::BYTES + 1)).await;
    refused.is_refused(400, "65537 bytes, at most 65536");
    assert!(!refused.body.contains("vv"));
    for (body, why) in [
        (r#"{"name":"key","rawValue":"vv!"}"#, "rawValue: is no base64"),
        (r#"{"name":"key"}"#, "has no value"),
        (r#"{"value":"vv"}"#, "the secret's name is missing"),
        (r#"{"name":"key","value":"vv","namespace":"nowhere"}"#, "no namespace \"nowhere\""),
        (r#"{"name":"key","value":["vv"]}"#, "request body: "),
        ("vv", "request body: "),
    ] {
        let refused = client.post(PATH, body).await;
        refused.is_refused(400, why);
        assert!(!refused.body.contains("vv"), "{}", refused.body);
    }
}

#[tokio::test]
async fn a_secret_that_is_in_use_stays() {
    let plane = PlaneDouble::new();
    let client = Client::new(&plane);
    client.post(PATH, r#"{"name":"key","value":"x"}"#).await.is_done(201);
    let image = plane.add_module(crate::plane::WASM);
    let body = json!({"service": "echo", "image": image.to_string(), "secrets": ["key"]});
    client.deploy(&body.to_string()).await.is_done(202);
    client.delete(PATH, r#"{"name":"key"}"#).await.is_refused(409, "lambda \"echo\" names it");
}
