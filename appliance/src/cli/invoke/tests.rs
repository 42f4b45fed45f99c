use std::net::UdpSocket;

use lnic_wire::rpc::Header;

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

/// Answers this many requests with the payload reversed, every third one BUSY; its address.
fn responder(requests: usize) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let address = socket.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for count in 1..=requests {
            let (bytes, from) = socket.recv_from(&mut buffer).expect("a request");
            let request = Header::parse(&buffer[..bytes]).expect("a request");
            let payload: Vec<u8> = request.payload(&buffer[..bytes]).iter().rev().copied().collect();
            let status = if count % 3 == 0 { Status::Busy } else { Status::Ok };
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
    assert!(text.starts_with("BUSY, 18 bytes"), "{text}");
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
    assert!(lines[2].starts_with("3: BUSY, 0 bytes"), "{text}");
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
