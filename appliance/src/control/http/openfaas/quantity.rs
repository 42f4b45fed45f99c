//! Amounts of memory in Kubernetes' notation: `64Mi`, `1.5G`, `67108864`.

/// What each suffix stands for.
const SUFFIXES: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    // As Docker and faasd write MiB; thousandths of a byte mean nothing to anybody.
    ("m", 1 << 20),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];

/// Whole MiB that hold this much; `None` if it is no amount, none at all, or more than a `u32` of MiB.
pub(super) fn mib(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (_, unit) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let bytes = u128::from(whole.parse::<u64>().ok()?) * u128::from(*unit);
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(*unit);
    let bytes = bytes + parts.div_ceil(scale);
    u32::try_from(bytes.div_ceil(1 << 20)).ok().filter(|mib| *mib > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_rounded_up_to_mib() {
        for (text, expected) in [
            ("64Mi", 64),
            ("1Gi", 1024),
            ("1.5Gi", 1536),
            ("20m", 20),
            ("100M", 96),
            ("67108864", 64),
            ("1", 1),
            ("0.5Mi", 1),
            ("1048577", 2),
            ("2Ti", 2 << 20),
        ] {
            assert_eq!(mib(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", "Mi", "-1Mi", "0", "0Mi", "1e6", "64MB", "1.", ".5Mi", "1.2.3Mi", "99999999999Ti", "∞"]
        {
            assert_eq!(mib(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much_for_it(text in "\\PC{0,40}", number in "[0-9.]{0,30}", suffix in "[KMGTkmi]{0,3}") {
            mib(&text);
            mib(&format!("{number}{suffix}"));
        }
    }
}
