use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lnic_registry::ManifestService;

use super::*;
use crate::control::client::tests::double::Double;
use crate::control::plane::Manifest;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn arguments(words: &[&str]) -> Args {
    let words = ["deploy"].iter().chain(words);
    <Command as clap::Parser>::try_parse_from(words).map(|command| command.args).expect("arguments")
}

/// A module with these entries, as the linker leaves one.
fn module(entries: &[&str]) -> Vec<u8> {
    let exports: String = entries
        .iter()
        .map(|name| format!("(func (export \"{name}\") (param i32 i32) (result i32) i32.const 0)\n"))
        .collect();
    let text = format!(
        r#"(module (memory (export "memory") 1 1)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            {exports})"#
    );
    wat::parse_str(text).expect("a module")
}

fn prepared(path: &Path, words: &[&str]) -> Result<Prepared, SourceError> {
    let path = path.to_str().expect("UTF-8");
    prepare(Path::new(path), &arguments(&[&[path], words].concat()))
}

fn refused(path: &Path, words: &[&str]) -> String {
    prepared(path, words).expect_err("a mistake").to_string()
}

#[test]
fn a_folder_with_one_module_and_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let lambda = folder.path().join("my_echo");
    fs::create_dir(&lambda).unwrap();
    assert!(
        refused(&lambda, &[])
            .ends_with("my_echo: neither C files (*.c), a crate in Rust (Cargo.toml) nor a module (*.wasm)")
    );
    fs::write(lambda.join("code.wasm"), module(&["echo"])).unwrap();
    // The only entry, whatever its name.
    let ready = prepared(&lambda, &[]).unwrap();
    assert_eq!(
        ready.manifest,
        Manifest { name: "my-echo".into(), entry: Some("echo".into()), ..Manifest::default() }
    );
    assert_eq!(
        (ready.wasm.clone(), ready.digest),
        (module(&["echo"]), crate::control::plane::Digest::of(&ready.wasm))
    );

    fs::write(
        lambda.join("lambda.toml"),
        "name = \"echo\"\nweight = 2\nreplicas = 3\n[environment]\nA = \"1\"\n",
    )
    .unwrap();
    let ready =
        prepared(&lambda, &["--set", "environment.B=2", "--set", "weight=5", "--replicas", "1"]).unwrap();
    let manifest = ready.manifest;
    assert_eq!((manifest.name.as_str(), manifest.entry, manifest.weight), ("echo", None, Some(5)));
    assert_eq!((manifest.replicas, manifest.environment.len()), (Some(1), 2));
    let other = folder.path().join("other.toml");
    fs::write(&other, "name = \"third\"\n").unwrap();
    let words = ["--manifest", other.to_str().unwrap(), "--name", "fourth"];
    let manifest = prepared(&lambda, &words).unwrap().manifest;
    assert_eq!(
        (manifest.name.as_str(), manifest.entry.as_deref(), manifest.weight),
        ("fourth", Some("echo"), None)
    );
}

#[test]
fn a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web-server.wasm");
    fs::write(&file, module(&["other", "web_server"])).unwrap();
    let manifest = prepared(&file, &[]).unwrap().manifest;
    assert_eq!((manifest.name.as_str(), manifest.entry), ("web-server", None));
    fs::write(folder.path().join("lambda.toml"), "weight = 3\n").unwrap();
    assert_eq!(prepared(&file, &[]).unwrap().manifest.weight, Some(3));
    let said = refused(&file, &["--name", "third"]);
    assert!(
        said.ends_with(
            "web-server.wasm: has several entries (other, web_server): name one with --set entry=NAME"
        ),
        "{said}"
    );
    assert_eq!(
        prepared(&file, &["--name", "x", "--set", "entry=other"]).unwrap().manifest.entry.as_deref(),
        Some("other")
    );
    assert!(refused(&file, &["--set", "entry=none"]).contains("web-server.wasm: \"none\": "));
}

#[test]
fn what_cannot_be_deployed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(refused(&path.join("none"), &[]).contains("none: No such file"));
    fs::write(path.join("x.c"), "").unwrap();
    assert!(
        refused(&path.join("x.c"), &[])
            .ends_with("x.c: deploy a folder with C files, a crate in Rust or a module, or a .wasm file")
    );
    fs::remove_file(path.join("x.c")).unwrap();
    fs::write(path.join("a.wasm"), "text").unwrap();
    assert!(refused(path, &["--name", "a"]).contains("a.wasm: "));
    fs::write(path.join("b.wasm"), "text").unwrap();
    assert!(
        refused(path, &["--name", "a"]).ends_with(": has several modules (a.wasm, b.wasm): name one of them")
    );
    fs::write(path.join("a.wasm"), module(&[])).unwrap();
    assert!(refused(&path.join("a.wasm"), &[]).ends_with(
        "a.wasm: has no entry: define one with LAMBDA(name) of <lnic.h>, or lambda! of lnic-lambda"
    ));
    // The manifest is told first, with its line.
    fs::write(path.join("lambda.toml"), "\nwieght = 1\n").unwrap();
    assert!(refused(path, &[]).ends_with("lambda.toml:2: wieght: unknown key: did you mean \"weight\"?"));
    fs::write(path.join("lambda.toml"), "").unwrap();
    assert!(refused(&path.join("a.wasm"), &["--name", "A"]).starts_with("lambda \"A\": name: allowed are"));
    assert!(matches!(prepared(path, &["--manifest", "none.toml"]), Err(SourceError::Manifest(_))));
}

#[test]
fn sources_are_built() {
    let folder = tempfile::tempdir().unwrap();
    let lambda = folder.path().join("echo");
    fs::create_dir(&lambda).unwrap();
    let source = "#include <lnic.h>\nLAMBDA(echo) { return lnic_reply(headers, match_data, STATUS_OK, match_data->length); }\n";
    fs::write(lambda.join("echo.c"), source).unwrap();
    // Sources go before what somebody built once.
    fs::write(lambda.join("echo.wasm"), "stale").unwrap();
    let ready = prepared(&lambda, &[]).unwrap();
    assert_eq!((ready.manifest.name.as_str(), ready.manifest.entry), ("echo", None));
    assert!(ready.wasm.starts_with(b"\0asm"));
    assert_eq!(fs::read_dir(&lambda).unwrap().count(), 2, "nothing is left behind");
    fs::write(lambda.join("echo.c"), "#include <lnic.h>\nLAMBDA(echo) { return oops; }\n").unwrap();
    let Err(SourceError::Build(BuildError::Diagnosed { diagnostics, .. })) = prepared(&lambda, &[]) else {
        panic!("the compiler's words")
    };
    assert!(diagnostics.contains("oops"), "{diagnostics}");
}

#[test]
fn settings_are_judged_as_in_a_manifest() {
    let set =
        |words: &[&str]| settings::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let mut manifest = Manifest { name: "a".into(), weight: Some(1), ..Manifest::default() };
    manifest.environment.insert("KEEP".into(), "x".into());
    let words = [
        "weight=7",
        "concurrency=pinned",
        "layout=\"dense\"",
        "rpc=false",
        "islands=[\"near\", \"far\"]",
        "environment.PORT=8080",
        "labels.com.example/team=a=b",
        "annotations.text=two words",
        "secrets=[\"key\"]",
        "rules=[{ destination_port = 53, protocol = \"udp\" }]",
        "weight=8",
        "name=b",
    ];
    settings::apply(&mut manifest, &set(&words).unwrap());
    assert_eq!((manifest.name.as_str(), manifest.weight, manifest.rpc), ("b", Some(8), Some(false)));
    assert_eq!(
        (manifest.concurrency.as_deref(), manifest.layout.as_deref()),
        (Some("pinned"), Some("dense"))
    );
    assert_eq!(manifest.islands.as_deref(), Some(&["near".to_owned(), "far".to_owned()][..]));
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&manifest.environment), ["KEEP=x", "PORT=8080"]);
    assert_eq!(pairs(&manifest.labels), ["com.example/team=a=b"]);
    assert_eq!(pairs(&manifest.annotations), ["text=two words"]);
    assert_eq!(manifest.rules[0].destination_port.as_deref(), Some("53"));

    let wrong =
        set(&["weight", "weight=0", "wieght=1", "weight=heavy", "environment.2X=1", "concurrency=all"])
            .unwrap_err();
    assert_eq!(
        wrong,
        [
            "--set weight: expected KEY=VALUE",
            "--set weight=0: the lambda: weight: 0 is not in 1–1000",
            "--set wieght=1: wieght: unknown key: did you mean \"weight\"?",
            "--set weight=heavy: weight: string \"heavy\": expected an integer",
            "--set environment.2X=1: the lambda: environment: \"2X\": allowed are letters, digits and \"_\", no digit first",
            "--set concurrency=all: the lambda: concurrency: \"all\": allowed are \"auto\", \"pinned\", \"shared\", \"replicated\"",
        ]
    );
}

#[test]
fn keys_of_a_service_are_set_one_by_one() {
    let set = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let service = |address: &str| ManifestService {
            address: address.to_owned(),
            framing: Some("memcached".to_owned()),
            ..ManifestService::default()
        };
        let mut manifest = Manifest { name: "a".into(), ..Manifest::default() };
        manifest.services.insert("near".to_owned(), service("10.0.0.1:1"));
        manifest.services.insert("far".to_owned(), service("10.0.0.2:2"));
        settings::parse(&words).map(|settings| {
            settings::apply(&mut manifest, &settings);
            manifest.services
        })
    };
    let shown = |services: &BTreeMap<String, ManifestService>, name: &str| {
        let ManifestService { address, port, framing } = &services[name];
        format!("{address} {} {}", port.as_deref().unwrap_or("-"), framing.as_deref().unwrap_or("-"))
    };
    let services = set(&[
        "services.far.address=\"192.0.2.7:11211\"",
        "services.near.address=[2001:db8::7]:53",
        "services.near.framing=datagram",
        "services.far.port=p1",
        "services.new.framing=memcached",
        "services.new.address=10.0.0.3:3",
    ])
    .unwrap();
    assert_eq!(shown(&services, "far"), "192.0.2.7:11211 p1 memcached");
    assert_eq!(shown(&services, "near"), "[2001:db8::7]:53 - datagram");
    assert_eq!(shown(&services, "new"), "10.0.0.3:3 - memcached");
    // What the judge refuses later, with the others kept.
    let services = set(&["services.new.port=p1", "services.far.port=p2"]).unwrap();
    assert_eq!(shown(&services, "new"), " p1 -");
    assert_eq!(shown(&services, "far"), "10.0.0.2:2 p2 memcached");
    for wrong in ["services.far.adress=10.0.0.3:3", "services.far.address=here", "services.far.framing=tcp"] {
        let problems = set(&[wrong]).unwrap_err();
        assert!(problems.iter().all(|line| line.starts_with(&format!("--set {wrong}: "))), "{problems:?}");
        assert!(!problems.join("").contains("192.0.2.1"), "{problems:?}");
    }
}

#[test]
fn what_is_printed() {
    let lambda = crate::cli::list::tests::lambda("acme", "echo");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.wasm");
    fs::write(&file, module(&["echo"])).unwrap();
    let ready = prepared(&file, &[]).unwrap();
    let digest = ready.digest.to_string();
    let text = |lambda: &Lambda, json| {
        let mut out = Vec::new();
        print(&mut out, lambda, &ready, true, Duration::from_micros(1234), json).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        text(&lambda, false),
        format!(
            "echo.acme: generation 2, ID 7, {}, on 1 NPU, in 1 ms\n  try it: lnic invoke echo.acme --data hello\n",
            short(&digest)
        )
    );
    let asleep = Lambda { available_replicas: 0, problem: Some("no room".into()), ..lambda.clone() };
    assert!(text(&asleep, false).contains(", asleep until a request comes, in 1 ms\n  but: no room\n"));
    let json: serde_json::Value = serde_json::from_str(&text(&lambda, true)).unwrap();
    assert_eq!(
        (&json["name"], &json["namespace"], &json["generation"]),
        (&"echo".into(), &"acme".into(), &2.into())
    );
    assert_eq!((&json["module"], &json["uploaded"]), (&digest.into(), &true.into()));

    let mut out = Vec::new();
    plan(&mut out, &ready, &arguments(&["x", "-n", "acme"])).unwrap();
    let planned = String::from_utf8(out).unwrap();
    assert!(
        planned.starts_with("# echo.acme: sha256:") && planned.contains("\nname = \"echo\"\n"),
        "{planned}"
    );
}

#[test]
fn a_module_is_sent_once() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("echo.wasm"), folder.path().join("lnic.sock"));
    fs::write(&file, module(&["echo"])).unwrap();
    let ready = prepared(&file, &[]).unwrap();
    let double = Double::on_thread(&socket);
    let socket = socket.to_str().unwrap();
    let deployed = |words: &[&str]| {
        let args = arguments(&[&["x", "--socket", socket], words].concat());
        let client = args.connection.client().unwrap();
        block_on(async { Ok(deploy(&client, &ready, &args).await?) })
    };
    let (lambda, uploaded) = deployed(&["--new"]).unwrap();
    assert_eq!((lambda.key.to_string().as_str(), lambda.generation, uploaded), ("echo", 1, true));
    let (lambda, uploaded) = deployed(&["--existing"]).unwrap();
    assert_eq!((lambda.generation, uploaded), (2, false));
    assert_eq!(deployed(&["-n", "acme"]).unwrap().0.key.to_string(), "echo.acme");
    assert!(deployed(&["--new"]).unwrap_err().to_string().ends_with(": it is there, or it is not"));
    let asked = double.taken();
    assert_eq!(asked.iter().filter(|line| line.starts_with("POST /v1/modules ")).count(), 1, "{asked:?}");
    // Collected in between.
    double.modules.lock().unwrap().clear();
    assert!(deployed(&[]).unwrap().1);
}
