use std::net::UdpSocket;

use lnic_wire::rpc::{self, Header, Tlv};

use super::*;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Args {
    let words = ["invoke"].iter().chain(words);
    <Command as clap::Parser>::try_parse_from(words).map(|command| command.args).expect("arguments")
}

/// What it prints, and how it exits.
fn printed(args: &Args) -> (String, Result<ExitCode, Failure>) {
    let mut out = Vec::new();
    let result = invoke(args, &mut out);
    (String::from_utf8(out).expect("text"), result)
}

/// Answers this many requests with the payload reversed, every third one INTERNAL; its address.
fn responder(requests: usize) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let address = socket.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for count in 1..=requests {
            let (bytes, from) = socket.recv_from(&mut buffer).expect("a request");
            let request = Header::parse(&buffer[..bytes]).expect("a request");
            assert_eq!(request.kind, rpc::Kind::Request);
            let payload: Vec<u8> = request.payload(&buffer[..bytes]).iter().rev().copied().collect();
            let status = if count % 3 == 0 { Status::Internal } else { Status::Ok };
            let reply = request.reply(status, 4, 42, payload.len() as u32);
            let mut datagram = vec![0; rpc::HEADER_BYTES];
            datagram.extend_from_slice(&payload);
            reply.emit_with_crc(&mut datagram);
            socket.send_to(&datagram, from).expect("sent");
        }
    });
    address
}

fn code(result: Result<ExitCode, Failure>) -> String {
    format!("{:?}", result.expect("no failure"))
}

#[test]
fn prints_text_and_bytes() {
    let to = responder(3);
    let (text, result) = printed(&parse(&["7", "--to", &to, "--data", "hello"]));
    assert!(text.starts_with("OK, 5 bytes in ") && text.ends_with(" µs, lambda 42 µs\nolleh\n"), "{text}");
    assert_eq!(code(result), format!("{:?}", ExitCode::SUCCESS));

    let (text, _) = printed(&parse(&["7", "--to", &to, "--data", "a\u{1}b", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["status"], &json["payload_hex"]), (&"OK".into(), &"620161".into()), "{text}");

    let (text, result) = printed(&parse(&["7", "--to", &to, "--data", "abcdefghijklmnopqr", "--hex"]));
    assert!(text.starts_with("INTERNAL, 18 bytes"), "{text}");
    let dump = "00000000  72 71 70 6f 6e 6d 6c 6b  6a 69 68 67 66 65 64 63  |rqponmlkjihgfedc|\n\
                00000010  62 61                                             |ba|\n";
    assert!(text.ends_with(dump), "{text}");
    assert_eq!(code(result), format!("{:?}", ExitCode::from(1)));
}

#[test]
fn counts_and_sums_up() {
    let to = responder(4);
    let line = ["7", "--to", &to, "--count", "4", "--interval-ms", "0", "--quiet"];
    let (text, result) = printed(&parse(&line));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[2].starts_with("3: INTERNAL, 0 bytes"), "{text}");
    assert!(lines[4].starts_with("4 sent, 4 received, 0.0 % loss, 1 not OK; min/p50/p99/max "), "{text}");
    assert_eq!(code(result), format!("{:?}", ExitCode::from(1)));

    // It has stopped: the kernel refuses, or nobody answers.
    let (text, result) =
        printed(&parse(&[&line[..7], &["--json", "--timeout-ms", "5", "--retries", "0"]].concat()));
    let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["summary"]["sent"], &last["summary"]["loss"]), (&4.into(), &1.0.into()), "{text}");
    assert_eq!(code(result), format!("{:?}", ExitCode::from(3)));
}

#[test]
fn looks_names_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lnic.toml");
    let config = "workers = 3\n[[lambdas]]\nname = \"echo\"\nid = 7\nfile = \"e.wasm\"\n[[lambdas]]\nname = \"web\"\nid = 9\n";
    fs::write(&path, config).expect("written");
    assert_eq!(lambda_id("web", Some(&path)).ok(), Some(9));
    assert_eq!(lambda_id("0x1F", None).ok(), Some(31));
    assert_eq!(lambda_id("4294967295", None).ok(), Some(u32::MAX));

    let says = |text: &str, config: Option<&Path>| lambda_id(text, config).expect_err(text).to_string();
    assert!(says("kv", Some(&path)).ends_with("no lambda \"kv\"; it has: echo, web"));
    assert!(says("kv", None).contains("--config FILE"));
    assert!(says("4294967296", Some(&path)).contains("no number"));
    assert!(says("kv", Some(&folder.path().join("none.toml"))).contains("none.toml"));
    fs::write(&path, "[[lambdas]]\nname = 3\n").expect("written");
    assert!(says("kv", Some(&path)).contains("lnic.toml"));
}

#[test]
fn writes_the_payload_to_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("reply");
    let output = path.to_str().expect("UTF-8");
    let to = responder(1);
    let (text, _) = printed(&parse(&["7", "--to", &to, "--data", "\u{0}x", "--output", output]));
    assert_eq!(fs::read(&path).expect("a file"), b"x\0");
    assert_eq!(text.lines().count(), 1, "{text}");

    let (_, result) = printed(&parse(&["7", "--to", &to, "--count", "2", "--output", output]));
    assert!(matches!(result, Err(Failure::Usage(_))));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let to = responder(2);
    for form in ["--hex", "--json"] {
        let failure = invoke(&parse(&["7", "--to", &to, form]), &mut Closed).expect_err("a closed pipe");
        assert_eq!(format!("{:?}", failure.report()), format!("{:?}", ExitCode::SUCCESS));
    }
}

/// Answers one request with what its header and its TLVs say; its address.
fn mirror() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
    let address = socket.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (bytes, from) = socket.recv_from(&mut buffer).expect("a request");
        let request = Header::parse(&buffer[..bytes]).expect("a request");
        let trace = request.tlvs(&buffer[..bytes]).find_map(|tlv| match tlv {
            Tlv::Trace(trace) => Some(trace::text(trace)),
            _ => None,
        });
        let text = format!("{:x} {} {trace:?}", request.flags, request.budget_us() > 0);
        let mut datagram = [&[0; rpc::HEADER_BYTES], text.as_bytes()].concat();
        request.reply(Status::Ok, 4, 42, text.len() as u32).emit_with_crc(&mut datagram);
        socket.send_to(&datagram, from).expect("sent");
    });
    address
}

#[test]
fn options_reach_the_wire() {
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = format!("--trace={given}");
    let more = ["--idempotent", "--priority", "3", "--budget-us", "900000", &trace];
    let (text, _) = printed(&parse(&[&["7", "--to", &mirror()], &more[..]].concat()));
    let flags = rpc::CRC | rpc::IDEMPOTENT | 3;
    assert!(text.contains(&format!(", trace {given}\n{flags:x} true Some({given:?})\n")), "{text}");
    let (text, _) = printed(&parse(&["7", "--to", &mirror(), "--json", "--trace"]));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let said = json["payload"].as_str().expect("text");
    assert!(said.contains(json["trace"].as_str().expect("a trace")), "a new one: {text}");
    let (text, _) = printed(&parse(&["7", "--to", &mirror()]));
    assert!(text.ends_with(&format!("\n{:x} false None\n", rpc::CRC)), "{text}");
}

#[test]
fn a_call_may_take_its_timeouts_and_what_its_payload_needs() {
    let line = ["7", "--to", "::1", "--timeout-ms", "100", "--retries", "2"];
    assert_eq!(deadline(&parse(&line), 1_000), Duration::from_millis(300));
    assert_eq!(deadline(&parse(&line), 64 << 20), Duration::from_millis(6_700));
    let line = [&line[..], &["--deadline-ms", "5"]].concat();
    assert_eq!(deadline(&parse(&line), 64 << 20), Duration::from_millis(5));
}

#[test]
fn a_payload_is_read_up_to_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("payload");
    let file = fs::File::create(&path).expect("a file");
    file.set_len(u64::from(MESSAGE_BYTES)).expect("sparse");
    assert_eq!(read_payload(&path).expect("fits").len(), MESSAGE_BYTES as usize);
    file.set_len(u64::from(MESSAGE_BYTES) + 1).expect("sparse");
    let error = read_payload(&path).expect_err("too long").to_string();
    assert!(error.contains("payload: more than"), "{error}");
    assert!(read_payload(&folder.path().join("none")).is_err());
}

fn refused(words: &[&str]) -> String {
    let words = ["invoke"].iter().chain(words);
    <Command as clap::Parser>::try_parse_from(words).err().expect("a mistake").to_string()
}

#[test]
fn what_is_only_for_one_way_is_refused_on_the_other() {
    let wire = [
        "--retries=1",
        "--timeout-ms=5",
        "--config=x",
        "--idempotent",
        "--at-most-once",
        "--priority=1",
        "--trace",
    ];
    for option in wire {
        assert!(refused(&["echo", option]).contains("--to <ADDR[:PORT]>"), "{option}");
    }
    for option in ["--socket=x", "--url=https://x", "--namespace=x"] {
        assert!(refused(&["7", "--to", "::1", option]).contains("cannot be used with"), "{option}");
    }
}

#[test]
fn through_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lnic.sock");
    let socket = path.to_str().expect("UTF-8");
    let line = |words: &[&str]| parse(&[words, &["--socket", socket]].concat());
    let exit = |code: u8| format!("{:?}", ExitCode::from(code));

    let (_, result) = printed(&line(&["echo"]));
    let failure = result.expect_err("nobody listens");
    assert!(failure.to_string().contains("lnic.sock: No such file"), "{failure}");
    assert_eq!(format!("{:?}", failure.report()), exit(3));

    crate::control::client::tests::double::Double::on_thread(&path);
    let (text, result) = printed(&line(&["echo", "--data", "hello"]));
    assert!(text.starts_with("OK, 5 bytes in ") && text.ends_with(" µs\nhello\n"), "{text}");
    assert_eq!(code(result), exit(0));
    let (text, result) = printed(&line(&["echo", "--data", "a\u{1}", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&json["status"], &json["code"], &json["payload_hex"]),
        (&"OK".into(), &200.into(), &"6101".into())
    );
    assert_eq!((&json["call_id"], code(result)), (&"17".into(), exit(0)));

    let (text, result) = printed(&line(&["trap", "--quiet"]));
    assert!(
        text.starts_with("trap: 502 Bad Gateway in ") && text.ends_with(" µs\nthe lambda failed\n"),
        "{text}"
    );
    assert_eq!(code(result), exit(1));
    let (text, result) = printed(&line(&["echo", "--count", "3", "--interval-ms", "0", "--quiet"]));
    assert!(
        text.lines().last().expect("a line").starts_with("3 sent, 3 received, 0.0 % loss; min"),
        "{text}"
    );
    assert_eq!(code(result), exit(0));
    let (_, result) = printed(&line(&["slow", "--deadline-ms", "20"]));
    assert_eq!(format!("{:?}", result.expect_err("no answer").report()), exit(3));

    let output = folder.path().join("reply");
    let (text, _) =
        printed(&line(&["echo", "--data", "\u{0}x", "--output", output.to_str().expect("UTF-8")]));
    assert_eq!((fs::read(&output).expect("a file"), text.lines().count()), (b"\0x".to_vec(), 1));

    for (name, says) in
        [("7", "an ID needs --to ADDR"), ("ECHO", "no lambda \"ECHO\""), ("a/b", "no lambda \"a/b\"")]
    {
        let (_, result) = printed(&line(&[name]));
        let failure = result.expect_err("a mistake");
        assert!(failure.to_string().contains(says), "{failure}");
        assert_eq!(format!("{:?}", failure.report()), exit(2));
    }
}
