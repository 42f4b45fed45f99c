//! Who may do what: every route that the OpenAPI document knows, for callers with every right, in every namespace.

use lnic::control::http::{Settings, openapi_document};
use lnic::control::plane::LambdaKey;
use serde_json::{Value, json};

use crate::harness::{Server, bearer, user};
use crate::plane::{PlaneDouble, WASM};

const RIGHTS: [&str; 4] = ["invoke", "read", "deploy", "admin"];
/// Namespaces that users have rights in; requests are about "team-a".
const PLACES: [&str; 3] = ["*", "team-a", "team-b"];

/// Everything that the routes are about, as it was before.
fn plane() -> PlaneDouble {
    let plane = PlaneDouble::new().with_namespace("team-a").with_namespace("team-b");
    let plane = plane.with_lambda("team-a", "echo").with_lambda("team-b", "other");
    plane.with_lambda(LambdaKey::DEFAULT_NAMESPACE, "echo")
}

/// A request that its route takes: about namespace `team-a`.
fn request(method: &str, path: &str, operation: &Value) -> (String, Option<Value>) {
    let digest = lnic_registry::Digest::of(&[WASM, b"echo"].concat()).to_string();
    let mut path = path.replace("{namespace}", "team-a").replace("{name}", "echo");
    if operation["x-scope"] == "query" {
        path += "?namespace=team-a";
    }
    let body = match (method, path.rsplit('/').next().unwrap_or_default()) {
        ("post", "scale") => json!({ "replicas": 1 }),
        ("post", "rollback") => json!({ "generation": 1 }),
        ("post", "namespaces") => json!({ "name": "team-c" }),
        ("put", "team-a") => json!({}),
        ("put", "echo") if path.contains("/lambdas/") => {
            json!({ "manifest": { "name": "echo" }, "module": digest })
        }
        _ => Value::Null,
    };
    (path, Some(body).filter(|body| !body.is_null()))
}

/// What the document says: may one with this right in this place do it?
fn allowed(operation: &Value, has: &str, place: &str) -> bool {
    let rank = |right: &str| RIGHTS.iter().position(|known| *known == right);
    let needed = match operation["x-right"].as_str().expect("a right") {
        "none" | "any" => return true,
        right => rank(right).expect("a right that is known"),
    };
    let there = match operation["x-scope"].as_str().expect("a scope") {
        "everywhere" => place == "*",
        "somewhere" => true,
        "namespace" | "query" => place == "*" || place == "team-a",
        other => panic!("scope {other}"),
    };
    there && rank(has).expect("a right") >= needed
}

#[test]
fn every_route_asks_for_its_right() {
    let users: Vec<(String, &str, &str)> = RIGHTS
        .iter()
        .flat_map(|&right| PLACES.map(|place| (format!("u{}-{right}", place.len()), right, place)))
        .map(|(name, right, place)| (if place == "team-b" { format!("b{name}") } else { name }, right, place))
        .collect();
    let text: String =
        users.iter().map(|(name, right, place)| user(name, &format!("\"{place}\" = \"{right}\""))).collect();
    let (mut asked, mut refused) = (0, 0);
    for (path, methods) in openapi_document()["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            // What a request changed is no other's business.
            let server = Server::start_network(plane(), Settings::default(), &text);
            let (path, body) = request(method, path, operation);
            let method = method.to_uppercase();
            let open = operation["x-right"] == "none";
            for authorization in [None, Some("Bearer nobody-token"), Some("Basic !")] {
                let answer = server.connect_tls().unwrap().ask(&method, &path, authorization, body.as_ref());
                if open && authorization.is_none() {
                    assert_eq!(answer.status, 200, "{method} {path}");
                    continue;
                }
                assert_eq!(answer.status, 401, "{method} {path} {authorization:?}");
                assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"Restricted\""));
                answer.error();
            }
            for (name, right, place) in &users {
                let mut client = server.connect_tls().unwrap();
                let answer = client.ask(&method, &path, Some(&bearer(name)), body.as_ref());
                asked += 1;
                let what = format!("{method} {path} with {right} in {place}: {}", answer.status);
                if allowed(operation, right, place) {
                    assert_ne!(answer.status, 403, "{what}");
                    assert_ne!(answer.status, 401, "{what}");
                    assert!(answer.status < 500, "{what}");
                } else {
                    refused += 1;
                    assert_eq!(answer.status, 403, "{what}");
                    let error = answer.error();
                    assert!(error.contains(name.as_str()) && error.contains("has no right"), "{error}");
                }
            }
        }
    }
    assert!(asked > 250 && refused > 100, "{asked} asked, {refused} refused");
}

#[test]
fn lists_show_what_one_may_read() {
    let users = user("anna", "\"team-a\" = \"read\"") + &user("root", "\"*\" = \"admin\"");
    let server = Server::start_network(plane(), Settings::default(), &users);
    let mut client = server.connect_tls().unwrap();
    let mut names = |path: &str, user: &str, pointer: &str| -> Vec<String> {
        let answer = client.ask("GET", path, Some(&bearer(user)), None);
        assert_eq!(answer.status, 200, "{path}");
        let list = answer.json();
        let name = |item: &Value| item.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("/v1/lambdas", "anna", "/namespace"), ["team-a"]);
    assert_eq!(names("/v1/lambdas", "root", "/namespace"), ["default", "team-a", "team-b"]);
    assert_eq!(names("/v1/namespaces", "anna", "/name"), ["team-a"]);
    assert_eq!(names("/v1/namespaces", "root", "/name"), ["default", "team-a", "team-b"]);
    // "other" is team-b's module; "echo" is shared by team-a and default.
    assert_eq!(names("/v1/modules", "anna", "/digest").len(), 1);
    assert_eq!(names("/v1/modules", "root", "/digest").len(), 2);
    let answer = client.ask("GET", "/v1/lambdas?namespace=team-b", Some(&bearer("anna")), None);
    assert_eq!(answer.status, 403);
}

#[test]
fn strangers_learn_whether_it_is_ready_and_not_why_not() {
    let server = Server::start_network(plane(), Settings::default(), &user("root", "\"*\" = \"read\""));
    server.plane.set_problems(&["port \"p0\": no link"]);
    let mut client = server.connect_tls().unwrap();
    let answer = client.ask("GET", "/readyz", None, None);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), json!({ "ready": false, "problems": [], "ports": [], "lcores": [] }));
    let answer = client.ask("GET", "/readyz", Some(&bearer("root")), None);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["problems"][0], "port \"p0\": no link");
}
