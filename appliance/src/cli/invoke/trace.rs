//! W3C trace context on the command line.

/// Version, trace ID and parent ID, as λ-RPC carries them.
pub(super) type Trace = [u8; 25];

/// Reads a `traceparent`, or makes one up if the text is `new`. Its flags are not carried.
pub(super) fn parse(text: &str) -> Result<Trace, String> {
    if text == "new" {
        let mut trace = [0; 25];
        loop {
            fastrand::fill(&mut trace[1..]);
            if is_valid(&trace) {
                return Ok(trace);
            }
        }
    }
    let fields: Vec<&str> = text.split('-').collect();
    let wrong = || "not VERSION-TRACEID-PARENTID-FLAGS in 2, 32, 16 and 2 hexadecimal digits".to_owned();
    let digits =
        |field: &&str| field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !fields.iter().map(|field| field.len()).eq([2, 32, 16, 2]) || !fields.iter().all(digits) {
        return Err(wrong());
    }
    let mut trace = [0; 25];
    for (byte, pair) in trace.iter_mut().zip(fields[..3].concat().as_bytes().chunks(2)) {
        *byte =
            str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
    }
    if is_valid(&trace) { Ok(trace) } else { Err("an ID of zeros, or version ff".to_owned()) }
}

/// W3C: neither ID is zero, and there is no version ff.
fn is_valid(trace: &Trace) -> bool {
    trace[0] != 0xff && trace[1..17] != [0; 16] && trace[17..] != [0; 8]
}

/// As a `traceparent`, sampled.
pub(super) fn text(trace: &Trace) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{}-{}-{}-01", hex(&trace[..1]), hex(&trace[1..17]), hex(&trace[17..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = parse(given).expect("valid");
        assert_eq!((trace[0], trace[1], trace[16], trace[17], trace[24]), (0, 0x4b, 0x36, 0, 0xb7));
        assert_eq!(text(&trace), given);
        let (one, other) = (parse("new").expect("random"), parse("new").expect("random"));
        assert_ne!(one, other);
        assert_eq!(parse(&text(&one)), Ok(one));
    }

    #[test]
    fn refuses_what_is_no_traceparent() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
