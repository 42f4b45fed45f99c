//! Names of symbols, for people.

use std::borrow::Cow;

/// What the SDK's macros add to the path of a placed static.
const PLACES: [&str; 4] = ["::lnic_local", "::lnic_ctm", "::lnic_imem", "::lnic_emem"];

/// A name as its author wrote it: `limiter::TABLE`. rustc's hashes go; they differ from folder to folder, and modules shall not.
pub(super) fn readable(name: &str) -> Cow<'_, str> {
    if let Some(number) = unnamed(name) {
        return format!("constant.{number}").into();
    }
    let Ok(path) = rustc_demangle::try_demangle(name) else { return name.into() };
    let path = format!("{path:#}");
    // LLVM numbers the parts of what it has taken apart.
    let part =
        path.rfind(|letter: char| letter != '.' && !letter.is_ascii_digit()).map_or(0, |last| last + 1);
    let (path, part) = path.split_at(if path[part..].starts_with('.') { part } else { path.len() });
    let path = PLACES.iter().find_map(|place| path.strip_suffix(place)).unwrap_or(path);
    format!("{path}{part}").into()
}

/// The number of a constant that has no name: `.Lanon.HASH.7`, `anon.HASH.7.llvm.HASH`.
fn unnamed(name: &str) -> Option<&str> {
    let mut words = name.trim_start_matches(".L").strip_prefix("anon.")?.split('.');
    let (hash, number) = (words.next()?, words.next()?);
    let is_hash = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_author_wrote_them() {
        for (name, expected) in [
            ("_ZN7limiter5TABLE9lnic_emem17hdd31a9ac3974fc75E", "limiter::TABLE"),
            (
                "_ZN11lnic_lambda8variable4held4wasm4HEAD10lnic_local17hc40da15aae1942c7E.0",
                "lnic_lambda::variable::held::wasm::HEAD.0",
            ),
            ("_ZN7limiter4HITS17hc5be1db8156f00a6E", "limiter::HITS"),
            ("_RNvNvCs4fqI2P2rA04_7limiter4SEEN10lnic_local", "limiter::SEEN"),
            (".Lanon.d091669bc81744c7f215de6c238e7fc0.17", "constant.17"),
            ("anon.9610dd5cd19a98826a6c0274e9667860.34.llvm.17598357649929899349", "constant.34"),
            ("table", "table"),
            ("anon.table.1", "anon.table.1"),
            (".L.str", ".L.str"),
            ("counters.0", "counters.0"),
        ] {
            assert_eq!(readable(name), expected);
        }
    }
}
