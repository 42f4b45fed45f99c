//! Where a static lies, if its author knows better than the platform.

/// Defines a placed static. Its object bears a name by which `lnic build` knows where it belongs: on wasm32 the compiler's own
/// `link_section` makes a section of the file, not a place in memory.
#[doc(hidden)]
#[macro_export]
macro_rules! lnic_placed {
    ($place:ident, $(#[$meta:meta])* $vis:vis $name:ident: $type:ty = $value:expr) => {
        $(#[$meta])*
        $vis static $name: &'static $type = {
            #[allow(non_upper_case_globals)]
            static $place: $type = $value;
            &$place
        };
    };
}

/// Statics of which each NPU has its own, near to it: counters, caches, scratch. They keep nobody from running the lambda. Used like a
/// reference to the static.
///
/// ```
/// use lnic_lambda::{local, Pinned};
///
/// local! {
///     /// Packets that this NPU has seen.
///     static SEEN: Pinned<u64> = Pinned::new(0);
/// }
/// assert_eq!(SEEN.update(|seen| seen + 1), 1);
/// ```
#[macro_export]
macro_rules! local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $value:expr;)+) => {
        $($crate::lnic_placed!(lnic_local, $(#[$meta])* $vis $name: $type = $value);)+
    };
}

/// Statics near to an island of NPUs: what they share and write often.
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
///
/// lnic_lambda::ctm! {
///     static NEXT: AtomicU32 = AtomicU32::new(0);
/// }
/// assert_eq!(NEXT.fetch_add(1, Ordering::Relaxed), 0);
/// ```
#[macro_export]
macro_rules! ctm {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $value:expr;)+) => {
        $($crate::lnic_placed!(lnic_ctm, $(#[$meta])* $vis $name: $type = $value);)+
    };
}

/// Statics of all islands: what is read more than written.
///
/// ```
/// lnic_lambda::imem! {
///     static SQUARES: [u8; 4] = [0, 1, 4, 9];
/// }
/// assert_eq!(SQUARES[3], 9);
/// ```
#[macro_export]
macro_rules! imem {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $value:expr;)+) => {
        $($crate::lnic_placed!(lnic_imem, $(#[$meta])* $vis $name: $type = $value);)+
    };
}

/// Statics of all islands: what is large. What begins as zeros costs no bytes in the module.
///
/// ```
/// use lnic_lambda::{emem, Map, Pinned};
///
/// emem! {
///     static SESSIONS: Pinned<Map<u32, u64, 4096>> = Pinned::new(Map::new());
/// }
/// SESSIONS.with(|sessions| sessions.insert(0x0a00_0001, 1)).unwrap();
/// ```
#[macro_export]
macro_rules! emem {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $value:expr;)+) => {
        $($crate::lnic_placed!(lnic_emem, $(#[$meta])* $vis $name: $type = $value);)+
    };
}
