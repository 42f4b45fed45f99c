//! The host calls' other side.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::string::String;
use std::vec::Vec;

use crate::Status;
use lnic_abi as abi;

type Handler = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, Status>>;

/// What the lambdas of this thread find when they ask.
///
/// ```
/// use lnic_lambda::testing::Platform;
/// Platform::new().environment("MODE", "fast").install();
/// ```
#[derive(Default)]
pub struct Platform {
    environment: Vec<(String, Vec<u8>)>,
    secrets: Vec<(String, Vec<u8>)>,
    services: Vec<(String, Handler)>,
    lambdas: Vec<(u32, Handler)>,
    log: Vec<String>,
}

std::thread_local! {
    static PLATFORM: RefCell<Platform> = RefCell::new(Platform::default());
}

impl Platform {
    /// One that knows nothing.
    ///
    /// ```
    /// lnic_lambda::testing::Platform::new().install();
    /// assert!(lnic_lambda::host::environment("MODE", &mut []).is_err());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable of the environment.
    ///
    /// ```
    /// lnic_lambda::testing::Platform::new().environment("MODE", "x").install();
    /// assert_eq!(lnic_lambda::host::environment("MODE", &mut [0; 4]), Ok(&b"x"[..]));
    /// ```
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With a secret.
    ///
    /// ```
    /// lnic_lambda::testing::Platform::new().secret("KEY", "x").install();
    /// assert_eq!(lnic_lambda::host::secret("KEY", &mut [0; 4]), Ok(&b"x"[..]));
    /// ```
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.push((name.into(), value.into()));
        self
    }

    /// With a service and what it replies.
    ///
    /// ```
    /// use lnic_lambda::{host::Service, testing::Platform};
    /// Platform::new().service("clock", |_| Ok(b"12:00".to_vec())).install();
    /// assert_eq!(Service::find("clock").unwrap().request(b"?", &mut [0; 8], 100), Ok(&b"12:00"[..]));
    /// ```
    #[must_use]
    pub fn service(
        mut self,
        name: &str,
        reply: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + 'static,
    ) -> Self {
        self.services.push((name.into(), Box::new(reply)));
        self
    }

    /// With another lambda and what it replies.
    ///
    /// ```
    /// use lnic_lambda::{host, testing::Platform};
    /// Platform::new().lambda(3, |_| Ok(b"yes".to_vec())).install();
    /// assert_eq!(host::call(3, b"?", &mut [0; 8], 100), Ok(&b"yes"[..]));
    /// ```
    #[must_use]
    pub fn lambda(mut self, id: u32, reply: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + 'static) -> Self {
        self.lambdas.push((id, Box::new(reply)));
        self
    }

    /// From now on lambdas of this thread find this, and nothing of what was installed before.
    ///
    /// ```
    /// lnic_lambda::testing::Platform::new().install();
    /// ```
    pub fn install(self) {
        PLATFORM.with(|platform| *platform.borrow_mut() = self);
    }
}

/// Takes the lines that this thread has logged.
///
/// ```
/// lnic_lambda::log!("once");
/// assert_eq!(lnic_lambda::testing::take_log(), ["once"]);
/// assert!(lnic_lambda::testing::take_log().is_empty());
/// ```
#[must_use]
pub fn take_log() -> Vec<String> {
    PLATFORM.with(|platform| std::mem::take(&mut platform.borrow_mut().log))
}

pub(crate) fn call(lambda_id: u32, request: &[u8], reply: &mut [u8], timeout_us: u32) -> i32 {
    if request.len() > abi::PAYLOAD_CAPACITY || reply.len() > abi::PAYLOAD_CAPACITY {
        return refused(Status::INVALID_ARGUMENT);
    }
    PLATFORM.with(|platform| {
        let lambdas = &mut platform.borrow_mut().lambdas;
        match lambdas.iter_mut().find(|(id, _)| *id == lambda_id) {
            Some((_, handler)) => ask(handler, request, reply, timeout_us),
            None => refused(Status::UNIMPLEMENTED),
        }
    })
}

pub(crate) fn request(service: u32, request: &[u8], reply: &mut [u8], timeout_us: u32) -> i32 {
    PLATFORM.with(|platform| match platform.borrow_mut().services.get_mut(service as usize) {
        Some((_, handler)) => ask(handler, request, reply, timeout_us),
        None => refused(Status::INVALID_ARGUMENT),
    })
}

pub(crate) fn service(name: &[u8]) -> i32 {
    PLATFORM.with(|platform| {
        let services = &platform.borrow().services;
        services.iter().position(|(own, _)| own.as_bytes() == name).map_or(-1, |at| at as i32)
    })
}

pub(crate) fn environment(name: &[u8], out: &mut [u8]) -> i32 {
    PLATFORM.with(|platform| copy(&platform.borrow().environment, name, out))
}

pub(crate) fn secret(name: &[u8], out: &mut [u8]) -> i32 {
    PLATFORM.with(|platform| copy(&platform.borrow().secrets, name, out))
}

pub(crate) fn log(line: &[u8]) {
    let line = String::from_utf8_lossy(&line[..line.len().min(abi::LOG_CAPACITY)]).into_owned();
    PLATFORM.with(|platform| platform.borrow_mut().log.push(line));
}

pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn ask(handler: &mut Handler, request: &[u8], reply: &mut [u8], timeout_us: u32) -> i32 {
    if timeout_us == 0 {
        return refused(Status::INVALID_ARGUMENT);
    }
    match handler(request) {
        Ok(bytes) => match reply.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                bytes.len() as i32
            }
            None => refused(Status::OUT_OF_RANGE),
        },
        Err(status) => refused(status),
    }
}

/// A failure that says OK is told as UNKNOWN.
fn refused(status: Status) -> i32 {
    -i32::from(if status == Status::OK { Status::UNKNOWN.0 } else { status.0 })
}

fn copy(values: &[(String, Vec<u8>)], name: &[u8], out: &mut [u8]) -> i32 {
    match values.iter().find(|(own, _)| own.as_bytes() == name) {
        Some((_, value)) => {
            let fits = value.len().min(out.len());
            out[..fits].copy_from_slice(&value[..fits]);
            value.len() as i32
        }
        None => -1,
    }
}
