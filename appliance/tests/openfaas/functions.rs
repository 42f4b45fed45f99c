use lnic::control::plane::{LambdaKey, Plane};
use serde_json::{Value, json};

use crate::clients::Client;
use crate::plane::{PlaneDouble, WASM};

/// What `faas-cli deploy --image IMAGE --name NAME` sends: Go writes nil maps as null.
fn deployment(name: &str, image: &str) -> String {
    format!(r#"{{"service":"{name}","image":"{image}","labels":null,"annotations":null}}"#)
}

fn module(plane: &PlaneDouble) -> String {
    plane.add_module(WASM).to_string()
}

#[tokio::test]
async fn deploying_is_a_put_then_a_post_then_puts() {
    let plane = PlaneDouble::new();
    let client = Client::new(&plane);
    let body = deployment("echo", &module(&plane));
    client.put("/system/functions", &body).await.is_refused(404, "no lambda \"echo\"");
    client.post("/system/functions", &body).await.is_done(202);
    client.put("/system/functions", &body).await.is_done(200);
    client.post("/system/functions", &body).await.is_refused(409, "is there already");
    assert_eq!(plane.lambda(&LambdaKey::new("default", "echo")).await.unwrap().generation, 2);
}

#[tokio::test]
async fn a_function_is_shown_as_it_was_deployed() {
    let plane = PlaneDouble::new().with_namespace("team-a");
    let client = Client::new(&plane);
    let image = module(&plane);
    client.post("/system/secrets", r#"{"name":"key","namespace":"team-a","value":"x"}"#).await.is_done(201);
    // As the Go SDK's types are written, all fields set, and one that is not known.
    let body = json!({
        "service": "echo", "image": image, "namespace": "team-a", "envProcess": "python index.py",
        "envVars": {"MODE": "fast"}, "constraints": ["node.role == worker"], "secrets": ["key"],
        "labels": {"team": "a", "com.openfaas.scale.min": "1"},
        "annotations": {"lnic.weight": "3", "lnic.rules": "[{\"protocol\":\"udp\",\"destination_port\":\"53\"}]"},
        "limits": {"memory": "64Mi", "cpu": "100m"}, "requests": {"memory": "20Mi"},
        "readOnlyRootFilesystem": true, "network": "func_functions",
    });
    client.deploy(&body.to_string()).await.is_done(202);
    let lambda = plane.lambda(&LambdaKey::new("team-a", "echo")).await.unwrap();
    assert_eq!((lambda.manifest.weight, lambda.manifest.memory_mib), (Some(3), Some(64)));
    assert_eq!((lambda.replicas, lambda.manifest.rules.len()), (Some(1), 1));

    let shown = client.get("/system/function/echo?namespace=team-a&usage=1").await.json();
    let mut expected = body;
    let fields = expected.as_object_mut().unwrap();
    fields.remove("network");
    fields.remove("service");
    fields.extend(
        json!({
            "name": "echo", "invocationCount": 0, "replicas": 1, "availableReplicas": 1,
            "createdAt": "2023-11-14T22:13:20.000Z", "usage": {"cpu": 0.0, "totalMemoryBytes": 65536.0},
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    assert_eq!(shown, expected);

    expected.as_object_mut().unwrap().remove("usage");
    let expected = expected.clone();
    assert_eq!(client.get("/system/functions?namespace=team-a").await.json(), json!([expected]));
    assert_eq!(client.get("/system/function/echo.team-a").await.json(), expected);
    assert_eq!(client.get("/system/functions").await.json(), json!([]));
    client.get("/system/function/echo").await.is_refused(404, "no lambda \"echo\" in namespace \"default\"");
    let used = client.get("/system/functions?namespace=team-a&usage=1").await.json();
    assert_eq!(used[0]["usage"]["totalMemoryBytes"], 65536.0);
}

#[tokio::test]
async fn a_function_that_was_deployed_otherwise_is_shown_too() {
    let plane = PlaneDouble::new().with_configured("echo");
    let client = Client::new(&plane);
    let shown = client.get("/system/function/echo").await.json();
    let expected = json!({
        "name": "echo", "image": "echo.wasm", "namespace": "default", "labels": {}, "annotations": {},
        "invocationCount": 0, "replicas": 2, "availableReplicas": 2, "createdAt": "2023-11-14T22:13:20.000Z",
    });
    assert_eq!(shown, expected);
    let body = deployment("echo", &module(&plane));
    client.put("/system/functions", &body).await.is_refused(409, "the configuration file's");
    client.delete("/system/functions", r#"{"functionName":"echo"}"#).await.is_refused(409, "configuration");
}

#[tokio::test]
async fn scaling_goes_by_name_and_body() {
    let plane = PlaneDouble::new().with_namespace("team-a").with_lambda("team-a", "echo");
    let client = Client::new(&plane);
    let body = r#"{"serviceName":"echo","replicas":0,"namespace":"team-a"}"#;
    client.post("/system/scale-function/echo", body).await.is_done(202);
    let shown = client.get("/system/function/echo?namespace=team-a").await.json();
    assert_eq!((&shown["replicas"], &shown["availableReplicas"]), (&json!(0), &json!(0)));
    client.post("/system/scale-function/echo?namespace=team-a", r#"{"replicas":1}"#).await.is_done(202);
    client
        .post("/system/scale-function/echo.team-a", r#"{"serviceName":"echo.team-a","replicas":1}"#)
        .await
        .is_done(202);
    for (path, body, status, why) in [
        ("echo", r#"{"replicas":1}"#, 404, "no lambda"),
        ("echo", r#"{"serviceName":"other","replicas":1}"#, 400, "serviceName: both"),
        ("echo?namespace=other", body, 400, "namespace: both \"other\" and \"team-a\""),
        ("echo", r#"{"replicas":-1}"#, 400, "invalid value: integer `-1`"),
        ("echo", r#"{"serviceName":"echo"}"#, 400, "missing field `replicas`"),
        ("echo", r#"{"replicas":4294967296,"namespace":"team-a"}"#, 400, "4294967296 are too many"),
    ] {
        client.post(&format!("/system/scale-function/{path}"), body).await.is_refused(status, why);
    }
}

#[tokio::test]
async fn a_function_is_removed_once() {
    let plane = PlaneDouble::new().with_namespace("team-a").with_lambda("team-a", "echo");
    let client = Client::new(&plane);
    let body = r#"{"functionName":"echo","namespace":"team-a"}"#;
    client.delete("/system/functions", r#"{"functionName":"echo"}"#).await.is_refused(404, "no lambda");
    client.delete("/system/functions", body).await.is_done(202);
    client.delete("/system/functions", body).await.is_refused(404, "no lambda");
    client.delete("/system/functions", "{}").await.is_refused(400, "the function's name is missing");
    // The namespace in the query, as some clients have it.
    let plane = plane.with_lambda("team-a", "echo");
    Client::new(&plane)
        .delete("/system/functions?namespace=team-a", r#"{"functionName":"echo"}"#)
        .await
        .is_done(202);
}

#[tokio::test]
async fn images_on_disk_are_uploaded() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("images")).unwrap();
    std::fs::write(state.path().join("images/echo.wasm"), WASM).unwrap();
    let plane = PlaneDouble::new();
    let client = Client::with_state(&plane, Some(state.path()));
    // What faas-cli makes of "image: echo.wasm" in a stack file.
    client.deploy(&deployment("echo", "echo.wasm:latest")).await.is_done(202);
    let modules = plane.modules().await.unwrap();
    assert_eq!(modules.len(), 1);
    let lambda = plane.lambda(&LambdaKey::new("default", "echo")).await.unwrap();
    assert_eq!(lambda.generations[0].module, modules[0].digest);
    assert_eq!(client.get("/system/function/echo").await.json()["image"], "echo.wasm:latest");
    client.deploy(&deployment("other", "other.wasm")).await.is_refused(400, "no such file");
}

#[tokio::test]
async fn deployments_that_make_no_sense_are_named() {
    let plane = PlaneDouble::new();
    let client = Client::new(&plane);
    let image = module(&plane);
    let absent = format!("sha256:{}", "0".repeat(64));
    let with = |more: Value| {
        let mut body = json!({"service": "echo", "image": image});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    for (body, why) in [
        ("".to_owned(), "request body: EOF"),
        ("[]".into(), "request body: "),
        ("{".into(), "request body: EOF"),
        (with(json!({"labels": {"a": 1}})), "request body: invalid type"),
        (with(json!({"namespace": "nowhere"})), "no namespace \"nowhere\""),
        (with(json!({"image": ""})), "image: is missing"),
        (with(json!({"image": "ghcr.io/openfaas/figlet:latest"})), "images are never pulled"),
        (with(json!({"image": absent})), "upload it first"),
        (with(json!({"labels": {"lnic.weight": "0"}})), "weight: 0 is not in 1–1000"),
        (with(json!({"labels": {"lnic.wieght": "1"}})), "lnic.wieght: there is no such setting"),
        (with(json!({"secrets": ["absent"]})), "no secret \"absent\""),
        (with(json!({"limits": {"memory": "lots"}})), "limits.memory: \"lots\""),
        (with(json!({"service": "No Name"})), "\"No Name\" is no name"),
    ] {
        client.post("/system/functions", &body).await.is_refused(400, why);
    }
    let large = with(json!({"envVars": {"A": "x".repeat(300_000)}}));
    assert_eq!(client.post("/system/functions", &large).await.status, 413);
    assert_eq!(client.get("/system/functions").await.json(), json!([]));
    plane.set_away(Some("etcd does not answer"));
    client.post("/system/functions", &with(json!({}))).await.is_refused(503, "etcd does not answer");
}

#[tokio::test]
async fn other_methods_and_paths_are_not_there() {
    let client = Client::new(&PlaneDouble::new());
    for (method, path, status) in [
        ("PATCH", "/system/functions", 405),
        ("POST", "/system/function/echo", 405),
        ("GET", "/system/scale-function/echo", 405),
        ("POST", "/system/info", 405),
        ("GET", "/system/function/", 404),
        ("GET", "/system/function/a/b", 404),
        ("GET", "/system", 404),
    ] {
        assert_eq!(client.send(method, path, "").await.status, status, "{method} {path}");
    }
    // Names that are no names are just not there.
    for name in ["..", "%2e%2e", "a%00b", "%F0%9F%A6%80", "x.y.z"] {
        client.get(&format!("/system/function/{name}")).await.is_refused(404, "no lambda");
    }
}

#[tokio::test]
async fn the_program_is_told() {
    let version = json!({"sha": "", "release": env!("CARGO_PKG_VERSION")});
    let info = Client::new(&PlaneDouble::new()).get("/system/info").await.json();
    let expected = json!({
        "arch": std::env::consts::ARCH, "version": version,
        "provider": {"provider": "lnic", "version": version, "orchestration": "lnic"},
    });
    assert_eq!(info, expected);
}
