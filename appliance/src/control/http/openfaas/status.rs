//! A lambda as OpenFaaS shows functions.

use std::time::{Duration, UNIX_EPOCH};

use super::manifest;
use super::types::{FunctionResources, FunctionStatus, FunctionUsage};
use crate::control::plane::Lambda;

/// Latest moment that RFC 3339 has a year for.
const LATEST_MS: u64 = 253_402_300_799_999;

/// What is shown of a lambda.
pub(super) fn status(lambda: &Lambda, usage: Option<FunctionUsage>) -> FunctionStatus {
    let (mut container, annotations) = manifest::container(&lambda.manifest);
    if let (None, Some(mib)) = (&container.limits, lambda.manifest.memory_mib) {
        container.limits = Some(FunctionResources { memory: format!("{mib}Mi"), ..Default::default() });
    }
    let current = lambda.generations.iter().find(|generation| generation.number == lambda.generation);
    let image = current.map_or("", |generation| match generation.image.as_str() {
        "" => &generation.module,
        image => image,
    });
    FunctionStatus {
        name: lambda.key.name.clone(),
        image: image.to_owned(),
        namespace: lambda.key.namespace.clone(),
        env_vars: lambda.manifest.environment.clone(),
        secrets: lambda.manifest.secrets.clone(),
        labels: lambda.manifest.labels.clone(),
        annotations,
        container,
        invocation_count: lambda.invocations,
        // All that it may run on, where nobody said how many; one that cannot run now is wanted all the same.
        replicas: lambda.replicas.unwrap_or(lambda.available_replicas.max(1)),
        available_replicas: lambda.available_replicas,
        created_at: rfc3339(lambda.created_at_ms),
        usage,
    }
}

/// A time in RFC 3339, with milliseconds.
pub(super) fn rfc3339(time_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(time_ms.min(LATEST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

/// A time in RFC 3339 with any offset, in ms since 1970; what lies before that is 0.
pub(super) fn parse_rfc3339(text: &str) -> Option<u64> {
    let (local, offset_s) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let at = text.len().checked_sub(6)?;
            let (local, offset) = text.is_char_boundary(at).then(|| text.split_at(at))?;
            (local, offset_seconds(offset)?)
        }
    };
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let local_ms = i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).ok()?;
    Some(u64::try_from(local_ms - offset_s * 1000).unwrap_or(0))
}

/// `+02:00` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digit =
        |at: usize| bytes.get(at).filter(|digit| digit.is_ascii_digit()).map(|digit| i64::from(digit - b'0'));
    let (hours, minutes) = (digit(1)? * 10 + digit(2)?, digit(4)? * 10 + digit(5)?);
    (bytes.get(3) == Some(&b':') && hours < 24 && minutes < 60)
        .then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_with_their_offset() {
        let noon = 1_700_000_000_000;
        assert_eq!(rfc3339(noon), "2023-11-14T22:13:20.000Z");
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20+00:00",
            "2023-11-15T00:13:20+02:00",
            "2023-11-14T16:43:20-05:30",
            "2023-11-14T22:13:20.000Z",
        ] {
            assert_eq!(parse_rfc3339(text), Some(noon), "{text}");
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00+02:00"), Some(0));
        for text in [
            "",
            "yesterday",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20+2:00",
            "+00:00",
            "é+00:0",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_was_written(time_ms in 0..=LATEST_MS) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(time_ms)), Some(time_ms));
        }

        #[test]
        fn no_text_is_too_much_for_it(text in "\\PC{0,40}", tail in "[+-:0-9]{6}") {
            parse_rfc3339(&text);
            parse_rfc3339(&format!("{text}{tail}"));
        }
    }
}
