//! A module whose author lies: reading its objects ends in an answer or an error, and objects lie where they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lnic_compiler::module::Module;

fuzz_target!(|wasm: &[u8]| {
    let Ok(module) = Module::read(wasm) else { return };
    for pair in module.objects().windows(2) {
        assert!(pair[0].range().end <= pair[1].address);
    }
    for object in module.objects() {
        assert_eq!(object.bytes == 0, module.object_at(object.address).is_none_or(|at| module.objects()[at] != *object));
    }
    for reference in module.references() {
        assert!(reference.object < module.objects().len() && reference.position < wasm.len());
    }
});
