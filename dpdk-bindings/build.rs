//! Generates `sys` from the system's DPDK: bindgen over wrapper.h, inline functions through `wrap_static_fns`.

use std::env;
use std::path::PathBuf;

/// Oldest DPDK that the wrappers are written for.
const OLDEST: &str = "22.11";

/// Functions that the wrappers call; everything else stays out, and the build short.
const FUNCTIONS: &[&str] = &[
    "lnic_errno",
    "rte_dev_(probe|remove|dma_map|dma_unmap)",
    "rte_dma_(info_get|configure|vchan_setup|start|stop|close|stats_get|get_dev_id_by_name|next_dev)",
    "rte_dma_(copy|submit|completed|completed_status|burst_capacity)",
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|get_lcore_state|has_hugepages|get_runtime_dir|iova_mode)",
    "rte_eal_hotplug_remove",
    "rte_extmem_(register|unregister)",
    "rte_eth_dev_(configure|start|stop|close|info_get|get_port_by_name|get_name_by_port|set_mtu|get_mtu|socket_id)",
    "rte_eth_dev_(default_mac_addr_set|rx_intr_enable|rx_intr_disable|rx_intr_ctl_q_get_fd|adjust_nb_rx_tx_desc)",
    "rte_eth_(rx_queue_setup|tx_queue_setup|rx_burst|tx_burst|macaddr_get|link_get_nowait|promiscuous_enable|stats_get)",
    "rte_eth_dev_owner_(new|set)",
    "rte_eth_(stats_reset|xstats_get|xstats_get_names|find_next|allmulticast_enable)",
    "rte_get_tsc_hz",
    "rte_lcore_(id|to_socket_id|to_cpu_id|count|is_enabled)",
    "rte_get_(main_lcore|next_lcore)",
    "rte_mempool_(avail_count|in_use_count|free|lookup)",
    "rte_pktmbuf_(pool_create|alloc|free|linearize|chain|attach_extbuf)",
    "rte_pktmbuf_free_bulk",
    "rte_rdtsc",
    "rte_ring_(create|free|lookup|enqueue_burst|dequeue_burst|count|free_count|get_capacity)",
    "rte_socket_id",
    "rte_strerror",
    "rte_version",
];

/// Drivers that code names, so that the linker keeps them. The others are loaded from DPDK's plug-in folder at start.
const DRIVERS: &[&str] = &["rte_net_ring", "rte_bus_vdev"];

fn main() {
    println!("cargo:rerun-if-changed=wrapper.h");
    println!("cargo:rerun-if-changed=build.rs");
    let dpdk = pkg_config::Config::new().atleast_version(OLDEST).probe("libdpdk").unwrap_or_else(|error| {
        panic!("DPDK {OLDEST} or newer is needed, with its headers (Debian: apt-get install libdpdk-dev): {error}")
    });
    for driver in DRIVERS {
        println!("cargo:rustc-link-lib={driver}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let flags = compile_flags();
    let inline_c = out.join("inline.c");

    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(&flags)
        .use_core()
        .derive_debug(false)
        // Doxygen's markup is none that rustdoc reads.
        .generate_comments(false)
        .derive_default(true)
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .prepend_enum_name(false)
        .wrap_static_fns(true)
        .wrap_static_fns_path(&inline_c)
        .allowlist_recursively(true)
        .allowlist_var("LNIC_.*")
        .allowlist_var("RTE_ETH_(NAME_MAX_LEN|XSTATS_NAME_SIZE)|RTE_MAX_LCORE|RTE_MAX_ETHPORTS")
        .allowlist_type("rte_dma_(direction|status_code)|rte_mbuf_ext_shared_info")
        .allowlist_type("rte_eth_rx_mq_mode|rte_lcore_state_t|rte_eth_dev_owner|rte_iova_mode")
        // Reached by offset only: see mbuf.rs.
        .opaque_type("rte_device")
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        .opaque_type("rte_ring");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    let bindings = builder
        .generate()
        .expect("bindgen reads DPDK's headers (it needs libclang: apt-get install libclang-dev)");
    bindings.write_to_file(out.join("sys.rs")).expect("OUT_DIR is writable");

    let mut inline = cc::Build::new();
    inline
        .file(&inline_c)
        .include(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .opt_level(3)
        .warnings(false);
    for flag in &flags {
        inline.flag(flag);
    }
    inline.compile("dpdk_inline");
    // The inline code calls into DPDK: name its libraries after it, for linkers that resolve in order.
    for library in &dpdk.libs {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// pkg-config's flags as they are: the crate drops those that only the preprocessor knows (`-include rte_config.h`, `-march`).
fn compile_flags() -> Vec<String> {
    let output = std::process::Command::new(env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()))
        .args(["--cflags", "libdpdk"])
        .output()
        .expect("pkg-config runs");
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}
