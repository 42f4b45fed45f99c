//! How the platform enters a lambda.

use lnic_abi as abi;

/// What becomes of the frame.
///
/// ```
/// use lnic_lambda::Verdict;
/// assert_eq!(Verdict::Drop as i32, -1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Verdict {
    /// It leaves as the headers now say.
    Forward = abi::FORWARD,
    /// It is dropped without an answer.
    Drop = abi::DROP,
    /// It goes, unchanged, to the port's host side.
    ToHost = abi::TO_HOST,
}

/// Defines a lambda and exports it under the function's name, which the deployment's `entry` says. A crate may have several.
///
/// ```
/// use lnic_lambda::prelude::*;
///
/// lambda! {
///     /// Lets DNS pass, and nothing else.
///     pub fn only_dns(headers: &mut Headers, _message: &mut Message) -> Verdict {
///         if headers.udp.valid != 0 && headers.udp.destination_port == 53 {
///             Verdict::Forward
///         } else {
///             Verdict::Drop
///         }
///     }
/// }
/// # use lnic_lambda::testing::Request;
/// assert_eq!(Request::udp(53, b"").run(only_dns).verdict, Verdict::Forward);
/// assert_eq!(Request::udp(54, b"").run(only_dns).verdict, Verdict::Drop);
/// ```
#[macro_export]
macro_rules! lambda {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($headers:ident: $headers_type:ty, $message:ident: $message_type:ty $(,)?) -> $verdict:ty
        $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name($headers: $headers_type, $message: $message_type) -> $verdict $body

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            #[export_name = stringify!($name)]
            extern "C" fn lnic_entry(
                headers: &mut $crate::Headers,
                match_data: &mut $crate::abi::MatchData,
            ) -> i32 {
                // SAFETY: only the platform calls this, once for a run, with what it made for that.
                unsafe { $crate::enter(headers, match_data, $name) }
            }

            // `lnic build` exports what has a mark like this.
            #[export_name = concat!("lnic_export.", stringify!($name))]
            static LNIC_EXPORT: u8 = 0;
        };
    };
}

/// Defines what runs once for each NPU before the first packet. It cannot wait for replies.
///
/// ```
/// use lnic_lambda::prelude::*;
///
/// static SEED: Pinned<u64> = Pinned::new(0);
///
/// init! {
///     fn prepare() {
///         SEED.set(host::random());
///     }
/// }
/// # prepare();
/// ```
#[macro_export]
macro_rules! init {
    ($(#[$meta:meta])* $vis:vis fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
        $vis fn $name() $body

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            #[export_name = "init"]
            extern "C" fn lnic_entry() {
                // SAFETY: only the platform calls this, before the first run.
                unsafe { $crate::enter_init($name) }
            }

            #[export_name = "lnic_export.init"]
            static LNIC_EXPORT: u8 = 0;
        };
    };
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::Verdict;
    use crate::{variable, Headers, Message};
    use lnic_abi as abi;

    /// Which ABI this was built for: the export's name says it. Never called.
    #[no_mangle]
    extern "C" fn lnic_abi_1() {}

    #[export_name = "lnic_export.lnic_abi_1"]
    static LNIC_EXPORT: u8 = 0;

    /// What an entry does.
    ///
    /// # Safety
    /// A run begins: nothing of an earlier one is borrowed any more. `match_data` is the platform's, so its payload lies in memory that
    /// is this run's alone, for as many bytes as it says.
    #[inline(always)]
    pub unsafe fn enter(
        headers: &mut Headers,
        match_data: &mut abi::MatchData,
        lambda: fn(&mut Headers, &mut Message<'_>) -> Verdict,
    ) -> i32 {
        variable::release_all();
        let bytes = match_data.length.max(match_data.capacity) as usize;
        // SAFETY: as the caller promises: the platform has put the payload there, with room for what may leave, and touches it only before and after the run;
        // nothing of the lambda's lies there.
        let buffer = unsafe { core::slice::from_raw_parts_mut(match_data.payload as *mut u8, bytes) };
        lambda(headers, &mut Message::new(match_data, buffer)) as i32
    }

    /// What `init` does.
    ///
    /// # Safety
    /// Nothing runs yet on this NPU: nothing is borrowed.
    pub unsafe fn enter_init(init: fn()) {
        variable::release_all();
        init();
    }
}

#[cfg(target_arch = "wasm32")]
pub use wasm::{enter, enter_init};
