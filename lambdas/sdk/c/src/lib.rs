//! Headers for lambdas in C, as `lnic build` lays them beside the sources that it compiles.
//!
//! `lnic_abi.h` is made from the crate `lnic-abi` by the test `abi_header`, and is not edited. All of them are compiled to
//! WebAssembly and run by the tests of this crate, the shared ones also by many threads of this machine.

macro_rules! headers {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("../", $name)))),+] };
}

/// Name and text of each header.
pub const HEADERS: [(&str, &str); 12] = headers![
    "lnic.h",
    "lnic_abi.h",
    "lnic_fixed.h",
    "lnic_hash.h",
    "lnic_headers.h",
    "lnic_map.h",
    "lnic_ring.h",
    "lnic_shared.h",
    "lnic_shared_map.h",
    "lnic_shared_ring.h",
    "lnic_simd.h",
    "lnic_text.h",
];
