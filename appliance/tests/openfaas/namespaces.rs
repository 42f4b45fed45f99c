use serde_json::json;

use crate::clients::Client;
use crate::plane::PlaneDouble;

/// What the SDK sends; it names itself in labels and annotations.
const TEAM_A: &str = r#"{"name":"team-a","annotations":{"openfaas":"1"},"labels":{"openfaas":"1"}}"#;

#[tokio::test]
async fn namespaces_come_and_go() {
    let client = Client::new(&PlaneDouble::new());
    assert_eq!(client.get("/system/namespaces").await.json(), json!(["default"]));
    client.get("/system/namespace/team-a").await.is_refused(404, "no namespace \"team-a\"");
    client.put("/system/namespace/team-a", TEAM_A).await.is_refused(404, "no namespace \"team-a\"");
    client.post("/system/namespace/", TEAM_A).await.is_done(201);
    client.post("/system/namespace/", TEAM_A).await.is_refused(409, "team-a");
    assert_eq!(client.get("/system/namespaces").await.json(), json!(["default", "team-a"]));
    let shown = client.get("/system/namespace/team-a").await.json();
    assert_eq!(shown, serde_json::from_str::<serde_json::Value>(TEAM_A).unwrap());
    let changed = r#"{"name":"team-a","annotations":null,"labels":{"openfaas":"1","owner":"a"}}"#;
    client.put("/system/namespace/team-a", changed).await.is_done(200);
    let shown = client.get("/system/namespace/team-a").await.json();
    assert_eq!(shown, json!({"name": "team-a", "labels": {"openfaas": "1", "owner": "a"}}));
    let body = r#"{"name":"team-a","labels":{"openfaas":"1"}}"#;
    client.delete("/system/namespace/team-a", body).await.is_done(202);
    client.delete("/system/namespace/team-a", body).await.is_refused(404, "no namespace");
    // With the name in the path alone.
    client.post("/system/namespace/team-b", "").await.is_done(201);
    client.delete("/system/namespace/team-b", "").await.is_done(202);
}

#[tokio::test]
async fn a_namespace_has_one_name() {
    let client = Client::new(&PlaneDouble::new());
    client.post("/system/namespace/team-b", TEAM_A).await.is_refused(400, "both \"team-b\" and \"team-a\"");
    client.post("/system/namespace/", "{}").await.is_refused(400, "the namespace's name is missing");
    client.post("/system/namespace", "").await.is_refused(400, "the namespace's name is missing");
    client.post("/system/namespace/", r#"{"name":"No Name"}"#).await.is_refused(400, "No Name");
}

#[tokio::test]
async fn a_namespace_in_use_stays() {
    let plane = PlaneDouble::new().with_namespace("team-a").with_lambda("team-a", "echo");
    let client = Client::new(&plane);
    client.delete("/system/namespace/team-a", "").await.is_refused(409, "has lambdas");
}
