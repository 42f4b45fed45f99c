//! The environment abstraction layer: started once per process, from typed arguments.

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::sys;

/// Where DPDK's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages without files (`--in-memory`): a killed process leaks none. At most this many MiB.
    Hugepages {
        /// MiB to take at start.
        mib: u32,
    },
    /// 4 KiB pages (`--no-huge`): works everywhere, costs TLB misses, no DMA by physical address.
    SmallPages {
        /// MiB in all.
        mib: u32,
    },
}

/// Arguments of [`Eal::init`].
#[derive(Clone, Debug)]
pub struct EalArgs {
    lcores: Vec<(u32, u32)>,
    main: u32,
    memory: Memory,
    pci: bool,
    prefix: String,
    log_level: u8,
    raw: Vec<String>,
}

impl EalArgs {
    /// One main lcore on a CPU, and memory.
    #[must_use]
    pub fn new(main_lcore: u32, cpu: u32, memory: Memory) -> Self {
        Self {
            lcores: vec![(main_lcore, cpu)],
            main: main_lcore,
            memory,
            pci: false,
            prefix: format!("lnic-{}", std::process::id()),
            log_level: 4,
            raw: Vec::new(),
        }
    }

    /// Adds a worker lcore on a CPU. Several lcores may share a CPU.
    #[must_use]
    pub fn lcore(mut self, lcore: u32, cpu: u32) -> Self {
        self.lcores.push((lcore, cpu));
        self
    }

    /// Looks for PCI devices; off by default, because probing takes every one that is bound to a DPDK driver.
    #[must_use]
    pub fn pci(mut self, pci: bool) -> Self {
        self.pci = pci;
        self
    }

    /// Log level, 1 (emergency) to 8 (debug); 4, errors, by default.
    #[must_use]
    pub fn log_level(mut self, level: u8) -> Self {
        self.log_level = level;
        self
    }

    /// Anything else, as DPDK's manual has it.
    #[must_use]
    pub fn raw(mut self, argument: impl Into<String>) -> Self {
        self.raw.push(argument.into());
        self
    }

    /// The arguments as DPDK reads them.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        let lcores: Vec<_> = self.lcores.iter().map(|(lcore, cpu)| format!("{lcore}@{cpu}")).collect();
        let mut arguments = vec![
            "lnic".to_owned(),
            format!("--lcores={}", lcores.join(",")),
            format!("--main-lcore={}", self.main),
            format!("--file-prefix={}", self.prefix),
            format!("--log-level={}", self.log_level),
            "--no-telemetry".to_owned(),
        ];
        // 22.11 refuses --no-huge together with --in-memory.
        match self.memory {
            Memory::Hugepages { mib } => arguments.extend(["--in-memory".to_owned(), format!("-m{mib}")]),
            Memory::SmallPages { mib } => {
                arguments.extend(["--no-huge".to_owned(), "--no-shconf".to_owned(), format!("-m{mib}")]);
            }
        }
        if !self.pci {
            arguments.push("--no-pci".to_owned());
        }
        if !self.raw.iter().any(|argument| argument.starts_with("--iova-mode")) {
            // Physical addresses need CAP_SYS_ADMIN, which a container does not have.
            arguments.push("--iova-mode=va".to_owned());
        }
        arguments.extend(self.raw.iter().cloned());
        arguments
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// The running EAL. Clones are handles; the last one that goes cleans up.
#[derive(Clone)]
pub struct Eal(#[allow(dead_code, reason = "held for its Drop")] Arc<Cleanup>);

struct Cleanup;

impl Eal {
    /// Starts DPDK. Once per process: a second call is refused, also after the first has been cleaned up.
    ///
    /// The calling thread becomes the main lcore and is pinned to its CPU. Real-time signals are ignored from here on: net_tap
    /// asks for one per packet and polls at 2.5 times the rate if nobody takes them.
    pub fn init(args: &EalArgs) -> Result<Self, Error> {
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::new("start EAL", "", libc::EALREADY));
        }
        ignore_realtime_signals();
        let arguments = args
            .to_arguments()
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Error::new("start EAL", "with a zero byte in an argument", libc::EINVAL))?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).map_err(|_| Error::new("start EAL", "", libc::E2BIG))?;
        // SAFETY: the strings outlive the call, which permutes the array and does not write the strings. DPDK keeps pointers
        // to none of them: it duplicates what it needs.
        let code = unsafe { sys::rte_eal_init(count, pointers.as_mut_ptr()) };
        if code < 0 {
            return Err(Error::from_code("start EAL", "", code));
        }
        Ok(Self(Arc::new(Cleanup)))
    }

    /// True if its memory is in hugepages.
    #[must_use]
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: reads the configuration.
        unsafe { sys::rte_eal_has_hugepages() != 0 }
    }

    /// DPDK's version, such as "DPDK 22.11.11".
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: returns a static string.
        unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // SAFETY: a static string.
        let directory =
            unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) }.to_string_lossy().into_owned();
        // SAFETY: pools and devices hold a clone of the handle, so none is left; lcores cannot run closures that hold one.
        unsafe { sys::rte_eal_cleanup() };
        // DPDK leaves it behind, empty as we run it. If it is not, it stays.
        let _ = std::fs::remove_dir(directory);
    }
}

fn ignore_realtime_signals() {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: SIG_IGN is no handler that could run; the signals are DPDK's to use in this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_dpdks() {
        let args = EalArgs::new(0, 3, Memory::SmallPages { mib: 64 }).lcore(1, 3).raw("--vdev=net_null0");
        let text = args.to_arguments().join(" ");
        for part in
            ["--lcores=0@3,1@3", "--main-lcore=0", "--no-huge", "-m64", "--no-pci", "--vdev=net_null0"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("--in-memory"));
        let huge = EalArgs::new(0, 0, Memory::Hugepages { mib: 64 }).pci(true).to_arguments().join(" ");
        assert!(huge.contains("--in-memory") && !huge.contains("--no-pci"), "{huge}");
    }
}
