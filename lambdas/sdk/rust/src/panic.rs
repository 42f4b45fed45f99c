//! A lambda that panics says where, once for each NPU, and traps.

use core::panic::PanicInfo;

use crate::{abi, host, Pinned, Text};

crate::local! {
    static SAID: Pinned<bool> = Pinned::new(false);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !SAID.replace(true) {
        let mut line = [0; abi::LOG_CAPACITY];
        let mut text = Text::new(&mut line);
        say(&mut text, info);
        host::log_bytes(text.as_bytes());
    }
    core::arch::wasm32::unreachable()
}

/// `panicked at src/lib.rs:9`. What it says besides would be formatted, and formatting calls functions by pointer: the analysis of a
/// lambda that can do that finds that it may touch everything.
#[cfg(not(feature = "panic-messages"))]
fn say(text: &mut Text<'_>, info: &PanicInfo<'_>) {
    text.push(b"panicked");
    if let Some(place) = info.location() {
        text.push(b" at ");
        text.push(place.file().as_bytes());
        text.push(b":");
        text.push_number(place.line().into());
    }
}

#[cfg(feature = "panic-messages")]
fn say(text: &mut Text<'_>, info: &PanicInfo<'_>) {
    text.push_fmt(format_args!("{}", info));
}
