//! What the platform does for a lambda. Each call costs fuel: about what it takes.

use core::fmt;

use crate::{variable, Status, Text};
use lnic_abi as abi;

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
use wasm as platform;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::platform;

/// Sends a request to another lambda and waits for its reply, or until `timeout_us` has passed; if this one was itself called, no longer
/// than its caller waits. Meanwhile others run; this one has its locals and statics when it goes on, and what is left of its budget. Returns
/// the reply, which lies in `reply`.
///
/// Errors are [`Status::DEADLINE_EXCEEDED`], [`Status::UNIMPLEMENTED`] (no such lambda), [`Status::UNAVAILABLE`] (also in
/// [`init!`](crate::init), which cannot wait), [`Status::RESOURCE_EXHAUSTED`], [`Status::OUT_OF_RANGE`] (the reply is longer than `reply`),
/// [`Status::INVALID_ARGUMENT`] (a length over [`abi::PAYLOAD_CAPACITY`], a time-out of 0), and what the other lambda replied. Panics
/// inside of [`Pinned::with`](crate::Pinned::with).
///
/// ```
/// use lnic_lambda::{host, testing::Platform, Status};
/// Platform::new().lambda(7, |request| Ok(request.to_ascii_uppercase())).install();
/// let mut reply = [0; 64];
/// assert_eq!(host::call(7, b"hello", &mut reply, 1000), Ok(&b"HELLO"[..]));
/// assert_eq!(host::call(8, b"hello", &mut reply, 1000), Err(Status::UNIMPLEMENTED));
/// ```
pub fn call<'a>(
    lambda_id: u32,
    request: &[u8],
    reply: &'a mut [u8],
    timeout_us: u32,
) -> Result<&'a [u8], Status> {
    variable::before_waiting();
    let code = platform::call(lambda_id, request, reply, timeout_us.min(i32::MAX as u32));
    variable::after_waiting();
    answer(code, reply)
}

/// A service outside the appliance that the deployment names in `[services]`. Found once, in [`init!`](crate::init), and kept.
///
/// ```
/// use lnic_lambda::prelude::*;
/// use lnic_lambda::testing::Platform;
///
/// static MEMCACHED: Pinned<Option<Service>> = Pinned::new(None);
///
/// init! {
///     fn prepare() {
///         MEMCACHED.set(Service::find("memcached"));
///     }
/// }
/// # Platform::new().service("memcached", |_| Ok(b"END\r\n".to_vec())).install();
/// # prepare();
/// let mut reply = [0; 64];
/// let service = MEMCACHED.get().unwrap();
/// assert_eq!(service.request(b"get key\r\n", &mut reply, 1000), Ok(&b"END\r\n"[..]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service(u32);

impl Service {
    /// The service of this name; `None` if the deployment has none.
    ///
    /// ```
    /// # lnic_lambda::testing::Platform::new().install();
    /// assert_eq!(lnic_lambda::host::Service::find("nobody"), None);
    /// ```
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let handle = platform::service(name.as_bytes());
        (handle >= 0).then_some(Self(handle as u32))
    }

    /// Sends a request and waits for the reply, as [`call`] does for another lambda. It is sent once: whether to send it again is the
    /// lambda's business.
    ///
    /// Errors are [`Status::DEADLINE_EXCEEDED`] (no reply in time), [`Status::RESOURCE_EXHAUSTED`] (too many wait),
    /// [`Status::UNAVAILABLE`] (the next hop does not answer, or [`init!`](crate::init) asks), [`Status::OUT_OF_RANGE`] (the reply is
    /// longer than `reply`) and [`Status::INVALID_ARGUMENT`] (a request that does not fit one packet, a time-out of 0). Panics inside of
    /// [`Pinned::with`](crate::Pinned::with).
    ///
    /// ```
    /// use lnic_lambda::{host::Service, testing::Platform, Status};
    /// Platform::new().service("clock", |_| Err(Status::DEADLINE_EXCEEDED)).install();
    /// let clock = Service::find("clock").unwrap();
    /// assert_eq!(clock.request(b"", &mut [], 50), Err(Status::DEADLINE_EXCEEDED));
    /// ```
    pub fn request<'a>(
        self,
        request: &[u8],
        reply: &'a mut [u8],
        timeout_us: u32,
    ) -> Result<&'a [u8], Status> {
        variable::before_waiting();
        let code = platform::request(self.0, request, reply, timeout_us.min(i32::MAX as u32));
        variable::after_waiting();
        answer(code, reply)
    }
}

/// Why there is no value.
///
/// ```
/// use lnic_lambda::host::ValueError;
/// assert_eq!(ValueError::Longer { bytes: 9 }.to_string(), "9 bytes do not fit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// There is none of that name.
    Absent,
    /// It is longer than the buffer, into which as much was copied as fits.
    Longer {
        /// Its bytes.
        bytes: usize,
    },
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is none of that name"),
            Self::Longer { bytes } => write!(f, "{} bytes do not fit", bytes),
        }
    }
}

/// The value of a variable of the deployment's environment. Each byte costs fuel, and it does not change while a generation of the
/// lambda runs: best read in [`init!`](crate::init) and kept.
///
/// ```
/// use lnic_lambda::{host, host::ValueError, testing::Platform};
/// Platform::new().environment("MODE", "fast").install();
/// let mut buffer = [0; 16];
/// assert_eq!(host::environment("MODE", &mut buffer), Ok(&b"fast"[..]));
/// assert_eq!(host::environment("MODE", &mut buffer[..2]), Err(ValueError::Longer { bytes: 4 }));
/// assert_eq!(host::environment("NONE", &mut buffer), Err(ValueError::Absent));
/// ```
pub fn environment<'a>(name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], ValueError> {
    let bytes = platform::environment(name.as_bytes(), buffer);
    value(bytes, buffer)
}

/// The same for a secret that the deployment names.
///
/// ```
/// use lnic_lambda::{host, testing::Platform};
/// Platform::new().secret("TOKEN", "s3cret").install();
/// assert_eq!(host::secret("TOKEN", &mut [0; 16]), Ok(&b"s3cret"[..]));
/// ```
pub fn secret<'a>(name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], ValueError> {
    let bytes = platform::secret(name.as_bytes(), buffer);
    value(bytes, buffer)
}

/// Random bits that nobody outside can foretell: for hash seeds and IDs, not for keys.
///
/// ```
/// use lnic_lambda::host;
/// assert_ne!(host::random(), host::random());
/// ```
#[must_use]
pub fn random() -> u64 {
    platform::random()
}

/// Writes a line to the appliance's log: at most [`abi::LOG_CAPACITY`] bytes of it, 16 lines at once and 16 a second. What is more is
/// counted and dropped. [`log!`](crate::log) formats one.
///
/// ```
/// use lnic_lambda::{host, testing};
/// host::log_bytes(b"began");
/// assert_eq!(testing::take_log(), ["began"]);
/// ```
pub fn log_bytes(line: &[u8]) {
    platform::log(line);
}

#[doc(hidden)]
#[inline(never)]
pub fn log_fmt(line: fmt::Arguments<'_>) {
    if let Some(text) = line.as_str() {
        return log_bytes(text.as_bytes());
    }
    let mut buffer = [0; abi::LOG_CAPACITY];
    let mut text = Text::new(&mut buffer);
    text.push_fmt(line);
    log_bytes(text.as_bytes());
}

/// Writes a formatted line to the appliance's log, as [`host::log_bytes`](crate::host::log_bytes) does.
///
/// ```
/// use lnic_lambda::{log, testing};
/// log!("{} of {}", 3, 4);
/// assert_eq!(testing::take_log(), ["3 of 4"]);
/// ```
#[macro_export]
macro_rules! log {
    ($($text:tt)+) => { $crate::host::log_fmt(::core::format_args!($($text)+)) };
}

/// What the platform says of a request: bytes, or minus a status.
fn answer(code: i32, reply: &[u8]) -> Result<&[u8], Status> {
    if code < 0 {
        return Err(Status(code.unsigned_abs() as u8));
    }
    reply.get(..code as usize).ok_or(Status::OUT_OF_RANGE)
}

/// What it says of a value: its bytes, or −1.
fn value(bytes: i32, buffer: &[u8]) -> Result<&[u8], ValueError> {
    if bytes < 0 {
        return Err(ValueError::Absent);
    }
    let bytes = bytes as usize;
    buffer.get(..bytes).ok_or(ValueError::Longer { bytes })
}
