//! Start and end of the EAL, which a process has once: alone in its binary.

use std::path::Path;

use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::ethdev::{Config, Device};
use dpdk_bindings::mempool::Mempool;

#[test]
fn the_last_handle_cleans_up_and_leaves_nothing_behind() {
    let args = EalArgs::new(0, 0, Memory::SmallPages { mib: 64 }).lcore(1, 0).log_level(1);
    let eal = Eal::init(&args).unwrap();
    assert!(eal.version().starts_with("DPDK ") && !eal.has_hugepages());
    let pool = Mempool::new(&eal, "frames", 1023, 32, 2048, None).unwrap();
    let device = Device::probe(&eal, "net_null0").unwrap();
    let queues = device.start(&Config::default(), &pool).unwrap();
    let prefix = format!("lnic-{}", std::process::id());
    let parents = ["/var/run/dpdk".to_owned(), "/tmp/dpdk".to_owned()]
        .into_iter()
        .chain(std::env::var("XDG_RUNTIME_DIR").map(|folder| format!("{folder}/dpdk")));
    let folders: Vec<_> = parents.map(|parent| Path::new(&parent).join(&prefix)).collect();
    assert!(folders.iter().any(|folder| folder.exists()), "{folders:?}");
    // In any order: each holds what it needs.
    drop(eal);
    drop(pool);
    drop(device);
    drop(queues);
    assert!(!folders.iter().any(|folder| folder.exists()), "{folders:?}");
    assert!(Eal::init(&args).err().unwrap().to_string().contains("EALREADY"));
}
