//! TLS, users, and what happens when their files change.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lnic::control::http::{ServeError, Settings, Users};

use crate::harness::{Server, bearer, make_certificate, user, wait_until, write_secret, write_users};
use crate::plane::PlaneDouble;

fn settings() -> Settings {
    Settings { refresh_time: Duration::from_millis(50), ..Settings::default() }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn root() -> String {
    user("root", "\"*\" = \"admin\"")
}

fn status(server: &Server, authorization: &str) -> u16 {
    server.connect_tls().unwrap().ask("GET", "/v1/info", Some(authorization), None).status
}

#[test]
fn tokens_and_passwords() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), 30);
    write_secret(&folder.path().join("basic-auth-password"), "correct horse\n");
    let admin = "[[users]]\nname = \"admin\"\npassword_file = \"basic-auth-password\"\nrights = { \"*\" = \"admin\" }\n";
    write_users(folder.path(), &(root() + admin));
    let server = Server::launch(PlaneDouble::new(), settings(), folder, true).unwrap();
    for (authorization, expected) in [
        (bearer("root"), 200),
        (bearer("root").replace("Bearer", "bearer"), 200),
        (basic("root", "root-token"), 200),
        (basic("admin", "correct horse"), 200),
        (basic("admin", "correct horse\n"), 401),
        (basic("admin", "root-token"), 401),
        (basic("root", "correct horse"), 401),
        ("Bearer correct horse".into(), 401),
        (basic("nobody", "correct horse"), 401),
        (format!("Digest {}", "a".repeat(5000)), 401),
    ] {
        assert_eq!(status(&server, &authorization), expected, "{authorization}");
    }
}

#[test]
fn guessing_takes_time() {
    let server = Server::start_network(PlaneDouble::new(), settings(), &root());
    let mut client = server.connect_tls().unwrap();
    let mut ask = |authorization: &str| client.ask("GET", "/v1/info", Some(authorization), None);
    let start = Instant::now();
    let mut limited = None;
    for _ in 0..30 {
        let answer = ask("Bearer guess");
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let limited = limited.expect("a limit");
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert!(limited.error().contains("too many wrong credentials"));
    // Also for the right one: else a guess would be as good as ever.
    if start.elapsed() < Duration::from_millis(900) {
        assert_eq!(ask(&bearer("root")).status, 429);
    }
    wait_until("its turn comes again", || ask(&bearer("root")).status == 200);
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    // Who needs no credentials is not concerned.
    assert_eq!(client.ask("GET", "/healthz", None, None).status, 200);
}

#[test]
fn users_change_while_it_runs() {
    let server = Server::start_network(PlaneDouble::new(), settings(), &root());
    let mut kept = server.connect_tls().unwrap();
    let mut ask = |name: &str| kept.ask("GET", "/v1/info", Some(&bearer(name)), None).status;
    assert_eq!((ask("root"), ask("anna")), (200, 401));
    write_users(server.folder.path(), &(root() + &user("anna", "\"team-a\" = \"read\"")));
    wait_until("anna is known", || {
        server.connect_tls().unwrap().ask("GET", "/v1/info", Some(&bearer("anna")), None).status == 200
    });
    assert_eq!((ask("root"), ask("anna")), (200, 200));
    // A broken file changes nothing.
    write_users(server.folder.path(), "[[users]]\nname = \"eve\"\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((ask("root"), ask("anna")), (200, 200));
    // Who is removed is refused on connections that are open.
    write_users(server.folder.path(), &user("anna", "\"team-a\" = \"read\""));
    wait_until("root is unknown", || ask("root") != 200);
    assert_eq!(kept.ask("GET", "/v1/info", Some(&bearer("anna")), None).status, 200);
}

#[test]
fn a_certificate_is_read_again() {
    let server = Server::start_network(PlaneDouble::new(), settings(), &root());
    let folder = server.folder.path();
    let first = folder.join("first.crt");
    std::fs::copy(folder.join("tls.crt"), &first).unwrap();
    let mut kept = server.connect_tls().unwrap();
    // The certificate alone: its key is another's, until that is there too.
    let new = tempfile::tempdir().unwrap();
    make_certificate(new.path(), 30);
    std::fs::copy(new.path().join("tls.crt"), folder.join("tls.crt")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.connect_trusting(&first).is_ok(), "the old pair stays");
    assert!(server.connect_tls().is_err());
    std::fs::copy(new.path().join("tls.key"), folder.join("tls.key")).unwrap();
    wait_until("the new pair is served", || server.connect_tls().is_ok());
    assert!(server.connect_trusting(&first).is_err());
    assert_eq!(kept.ask("GET", "/healthz", None, None).status, 200, "connections go on");
    // One that has expired is not taken for one that has not.
    let old = tempfile::tempdir().unwrap();
    make_certificate(old.path(), 0);
    std::thread::sleep(Duration::from_millis(1100));
    std::fs::copy(old.path().join("tls.crt"), folder.join("tls.crt")).unwrap();
    std::fs::copy(old.path().join("tls.key"), folder.join("tls.key")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.connect_trusting(&new.path().join("tls.crt")).is_ok());
    server.assert_well();
}

#[test]
fn an_expired_certificate_starts_and_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), 0);
    write_users(folder.path(), &root());
    std::thread::sleep(Duration::from_millis(1100));
    let server = Server::launch(PlaneDouble::new(), settings(), folder, true).unwrap();
    let error = server.connect_tls().err().expect("clients refuse it");
    assert!(error.to_string().contains("expired"), "{error}");
    server.assert_well();
    make_certificate(server.folder.path(), 30);
    wait_until("the new one is served", || server.connect_tls().is_ok());
}

#[test]
fn files_that_are_wrong_are_named() {
    let start = |prepare: &dyn Fn(&std::path::Path)| -> ServeError {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path(), 30);
        write_users(folder.path(), &root());
        prepare(folder.path());
        Server::launch(PlaneDouble::new(), settings(), folder, true).err().expect("refused")
    };
    let error = start(&|folder| std::fs::write(folder.join("tls.crt"), "hello").unwrap()).to_string();
    assert!(error.contains("tls.crt: no certificate in it"), "{error}");
    let error = start(&|folder| std::fs::write(folder.join("tls.key"), "hello").unwrap()).to_string();
    assert!(error.contains("tls.key: no private key in it"), "{error}");
    let error = start(&|folder| std::fs::remove_file(folder.join("tls.key")).unwrap()).to_string();
    assert!(error.contains("tls.key: No such file"), "{error}");
    let error = start(&|folder| {
        let other = tempfile::tempdir().unwrap();
        make_certificate(other.path(), 30);
        std::fs::copy(other.path().join("tls.key"), folder.join("tls.key")).unwrap();
    })
    .to_string();
    assert!(error.contains("tls.key: is not the key of"), "{error}");
    let error = start(&|folder| {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.join("users.toml"), mode).unwrap();
    })
    .to_string();
    assert!(error.contains("users.toml: others than owner and group may use it (mode 0644)"), "{error}");
}

#[test]
fn mistakes_in_the_users_file_have_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("short"), "1234567\n");
    let error = |text: &str| {
        write_users(folder.path(), text);
        Users::check(&folder.path().join("users.toml")).expect_err("wrong").to_string()
    };
    let text = "[[users]]\nname = \"a:b\"\ntoken_sha256 = \"12\"\nrights = { \"*\" = \"amin\" }\n\n\
                [[users]]\nname = \"c\"\nrights = { \"Team\" = \"read\" }\n\n\
                [[users]]\nname = \"c\"\npassword_file = \"short\"\n\n\
                [[users]]\nname = \"d\"\npassword_file = \"none\"\nrights = { \"*\" = \"read\" }\n";
    let error_text = error(text);
    let lines: Vec<_> = error_text.lines().map(|line| line.split_once("users.toml:").unwrap().1).collect();
    for (at, expected) in [
        "2: [[users]] name: \"a:b\": expected 1–64 letters",
        "3: user \"a:b\": token_sha256: expected 64 hexadecimal digits",
        "4: user \"a:b\": rights: \"amin\": allowed are \"invoke\", \"read\", \"deploy\", \"admin\"",
        "6: user \"c\": needs password_file or token_sha256",
        "8: user \"c\": rights: \"Team\" is no name",
        "10: user \"c\": needs rights",
        "11: [[users]] name: \"c\" is there twice",
        "12: user \"c\": password_file",
        "16: user \"d\": password_file",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(lines.get(at).is_some_and(|line| line.starts_with(expected)), "{expected}\n{error_text}");
    }
    assert_eq!(lines.len(), 9, "{error_text}");
    assert!(error("[[users]]\nnam = \"x\"\n").contains("users.toml:2: unknown field `nam`"));
    assert!(error("[[users]\n").contains("users.toml:1: "));
}

#[test]
fn the_example_of_users_is_right() {
    let example = include_str!("../../../configs/users.toml");
    let folder = tempfile::tempdir().unwrap();
    write_users(folder.path(), example);
    assert!(Users::check(&folder.path().join("users.toml")).unwrap().is_empty(), "nobody, as it is shipped");
    // With its examples uncommented.
    write_secret(&folder.path().join("basic-auth-password"), "correct horse\n");
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    write_users(folder.path(), &uncommented);
    assert_eq!(Users::check(&folder.path().join("users.toml")).unwrap().len(), 2);
}
