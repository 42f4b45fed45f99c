//! The imports, in safe functions: slices are pointers and lengths that belong together.

mod import {
    #[link(wasm_import_module = "lnic")]
    extern "C" {
        pub(super) fn call(
            lambda_id: u32,
            request: *const u8,
            request_bytes: usize,
            reply: *mut u8,
            reply_capacity: usize,
            timeout_us: u32,
        ) -> i32;
        pub(super) fn log(text: *const u8, bytes: usize);
        pub(super) fn environment(name: *const u8, name_bytes: usize, out: *mut u8, out_bytes: usize) -> i32;
        pub(super) fn secret(name: *const u8, name_bytes: usize, out: *mut u8, out_bytes: usize) -> i32;
        pub(super) fn service(name: *const u8, name_bytes: usize) -> i32;
        pub(super) fn request(
            service: u32,
            request: *const u8,
            request_bytes: usize,
            reply: *mut u8,
            reply_capacity: usize,
            timeout_us: u32,
        ) -> i32;
        pub(super) fn random() -> u64;
    }
}

pub(super) fn call(lambda_id: u32, request: &[u8], reply: &mut [u8], timeout_us: u32) -> i32 {
    // SAFETY: the platform reads the one slice and writes the other, within their lengths, before it returns.
    unsafe {
        import::call(lambda_id, request.as_ptr(), request.len(), reply.as_mut_ptr(), reply.len(), timeout_us)
    }
}

pub(super) fn log(line: &[u8]) {
    // SAFETY: the platform reads the slice before it returns.
    unsafe { import::log(line.as_ptr(), line.len()) }
}

pub(super) fn environment(name: &[u8], out: &mut [u8]) -> i32 {
    // SAFETY: as in `call`.
    unsafe { import::environment(name.as_ptr(), name.len(), out.as_mut_ptr(), out.len()) }
}

pub(super) fn secret(name: &[u8], out: &mut [u8]) -> i32 {
    // SAFETY: as in `call`.
    unsafe { import::secret(name.as_ptr(), name.len(), out.as_mut_ptr(), out.len()) }
}

pub(super) fn service(name: &[u8]) -> i32 {
    // SAFETY: as in `log`.
    unsafe { import::service(name.as_ptr(), name.len()) }
}

pub(super) fn request(service: u32, request: &[u8], reply: &mut [u8], timeout_us: u32) -> i32 {
    // SAFETY: as in `call`.
    unsafe {
        import::request(service, request.as_ptr(), request.len(), reply.as_mut_ptr(), reply.len(), timeout_us)
    }
}

pub(super) fn random() -> u64 {
    // SAFETY: it takes nothing and touches no memory.
    unsafe { import::random() }
}
