//! DMA engines: copies that another unit makes while the lcore goes on.
//!
//! A [`DmaDevice`] becomes a [`DmaQueue`] when it is started: one virtual channel, memory to memory, with one owner. What a copy reads
//! and writes is handed over with it, a packet buffer and a [`Hold`] on a slot, and comes back when it is complete. So nothing that
//! the engine may still touch can be freed, whatever the caller does; dropping the queue stops the engine first.
//!
//! Addresses are virtual ones: `--iova-mode=va`, the default here, or an engine that shares the process's page tables (SVA). A
//! card's engine behind an IOMMU sees what [`Region::register`](crate::external::Region::register) mapped for a port of the same VFIO
//! container.
//!
//! `dma_skeleton` (Debian: `librte-dma-skeleton23`; a plug-in, loaded at start) is an engine in software, with a thread of its own
//! that polls: good for tests, slower than copying oneself. There is one of it in a process.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::eal::Eal;
use crate::error::Error;
use crate::ethdev::control;
use crate::external::Hold;
use crate::mbuf::Mbuf;
use crate::sys;

/// Engines that have an owner: DPDK keeps no book of it.
static OWNED: Mutex<Vec<i16>> = Mutex::new(Vec::new());

/// What an engine is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaInfo {
    /// Its name.
    pub name: String,
    /// Copies from memory to memory.
    pub copies: bool,
    /// Works with the process's virtual addresses, whatever the mode of addresses.
    pub shared_addresses: bool,
    /// Goes on after a copy that failed.
    pub handles_errors: bool,
    /// Fewest descriptors of a channel.
    pub least_descriptors: u16,
    /// Most descriptors of a channel.
    pub most_descriptors: u16,
    /// NUMA node, if it has one.
    pub numa_node: Option<u32>,
}

/// A DMA engine that is not started. Has one owner; dropping it closes it, and detaches it if [`probe`](Self::probe) attached it.
pub struct DmaDevice {
    device: i16,
    name: String,
    attached: bool,
    started: bool,
    _eal: Eal,
}

/// Names of the engines that are attached.
#[must_use]
pub fn names(_eal: &Eal) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = 0;
    loop {
        // SAFETY: walks the table of engines.
        let device = unsafe { sys::rte_dma_next_dev(next) };
        if device < 0 {
            return names;
        }
        names.extend(raw_info(device, "").map(|raw| name_of(&raw)));
        next = device + 1;
    }
}

fn raw_info(device: i16, name: &str) -> Result<sys::rte_dma_info, Error> {
    let mut raw = MaybeUninit::<sys::rte_dma_info>::zeroed();
    // SAFETY: the place is large enough; zero is valid for every field.
    let code = unsafe { sys::rte_dma_info_get(device, raw.as_mut_ptr()) };
    check("read info of", name, code)?;
    // SAFETY: zeroed, then filled.
    Ok(unsafe { raw.assume_init() })
}

fn name_of(raw: &sys::rte_dma_info) -> String {
    if raw.dev_name.is_null() {
        return String::new();
    }
    // SAFETY: terminated by DPDK, in its table of engines.
    unsafe { std::ffi::CStr::from_ptr(raw.dev_name) }.to_string_lossy().into_owned()
}

/// DPDK's number for an engine.
fn id_of(name: &str) -> Option<i16> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name outlives the call.
    let code = unsafe { sys::rte_dma_get_dev_id_by_name(name.as_ptr()) };
    i16::try_from(code).ok().filter(|device| *device >= 0)
}

fn check(action: &'static str, name: &str, code: i32) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::from_code(action, name, code)) }
}

impl DmaDevice {
    /// Attaches an engine by its devargs: `dma_skeleton0`, `0000:00:04.1`, …
    pub fn probe(eal: &Eal, devargs: &str) -> Result<Self, Error> {
        const ACTION: &str = "probe";
        let c_devargs = CString::new(devargs).map_err(|_| Error::new(ACTION, devargs, libc::EINVAL))?;
        let _control = control();
        let name = devargs.split(',').next().unwrap_or_default();
        // Probing what is there already answers 0 too.
        let there = id_of(name).is_some();
        // SAFETY: the string outlives the call and is copied.
        let attached = match unsafe { sys::rte_dev_probe(c_devargs.as_ptr()) } {
            0 => !there,
            code if code == -libc::EEXIST => false,
            code if code == -libc::EFAULT => {
                let subject = format!("{devargs}: no driver of that name");
                return Err(Error::new(ACTION, subject, libc::ENODEV));
            }
            code => return Err(Error::from_code(ACTION, devargs, code)),
        };
        Self::own(eal, name, attached).inspect_err(|_| {
            // Something else, which is nobody's now.
            if attached {
                detach(name);
            }
        })
    }

    /// Finds an engine that has been attached and that nobody has, by name.
    pub fn find(eal: &Eal, name: &str) -> Result<Self, Error> {
        let _control = control();
        Self::own(eal, name, false)
    }

    fn own(eal: &Eal, name: &str, attached: bool) -> Result<Self, Error> {
        const ACTION: &str = "find DMA engine";
        let device = id_of(name).ok_or_else(|| Error::new(ACTION, name, libc::ENODEV))?;
        let mut owned = OWNED.lock().unwrap_or_else(PoisonError::into_inner);
        if owned.contains(&device) {
            return Err(Error::new("open", name, libc::EBUSY));
        }
        owned.push(device);
        Ok(Self { device, name: name.to_owned(), attached, started: false, _eal: eal.clone() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is and can do.
    pub fn info(&self) -> Result<DmaInfo, Error> {
        let raw = raw_info(self.device, &self.name)?;
        let has = |wanted: u64| raw.dev_capa & wanted == wanted;
        Ok(DmaInfo {
            name: name_of(&raw),
            copies: has(sys::LNIC_DMA_CAPA_MEM_TO_MEM | sys::LNIC_DMA_CAPA_OPS_COPY),
            shared_addresses: has(sys::LNIC_DMA_CAPA_SVA),
            handles_errors: has(sys::LNIC_DMA_CAPA_HANDLES_ERRORS),
            least_descriptors: raw.min_desc,
            most_descriptors: raw.max_desc,
            numa_node: u32::try_from(raw.numa_node).ok(),
        })
    }

    /// Configures one channel with as near to `descriptors` as the engine allows, a power of two, and starts it.
    pub fn start(mut self, descriptors: u16) -> Result<DmaQueue, Error> {
        const ACTION: &str = "start";
        let info = self.info()?;
        let refused = |why: &str| Error::new(ACTION, format!("{}: {why}", self.name), libc::ENOTSUP);
        if !info.copies {
            return Err(refused("it does not copy from memory to memory"));
        }
        // SAFETY: reads the configuration.
        let virtual_addresses = unsafe { sys::rte_eal_iova_mode() } == sys::rte_iova_mode::RTE_IOVA_VA;
        if !virtual_addresses && !info.shared_addresses {
            return Err(refused("addresses are physical"));
        }
        let wanted =
            descriptors.clamp(info.least_descriptors.max(2), info.most_descriptors.clamp(2, 1 << 15));
        let mut depth = wanted.checked_next_power_of_two().unwrap_or(1 << 15);
        if depth > info.most_descriptors {
            depth /= 2;
        }
        let device = sys::rte_dma_conf { nb_vchans: 1, ..Default::default() };
        let channel = sys::rte_dma_vchan_conf {
            direction: sys::rte_dma_direction::RTE_DMA_DIR_MEM_TO_MEM,
            nb_desc: depth,
            ..Default::default()
        };
        let _control = control();
        // SAFETY: the engine is attached and stopped; both configurations outlive the calls.
        unsafe {
            check("configure", &self.name, sys::rte_dma_configure(self.device, &raw const device))?;
            let code = sys::rte_dma_vchan_setup(self.device, 0, &raw const channel);
            check("set up channel of", &self.name, code)?;
            check(ACTION, &self.name, sys::rte_dma_start(self.device))?;
        }
        self.started = true;
        let flights = (0..depth).map(|_| None).collect();
        Ok(DmaQueue { device: self, flights, head: 0, tail: 0, staged: false })
    }
}

impl DmaDevice {
    /// True if the engine does nothing any more.
    fn stop(&mut self) -> bool {
        // SAFETY: nobody else has the engine.
        if self.started && unsafe { sys::rte_dma_stop(self.device) } == 0 {
            self.started = false;
        }
        !self.started
    }
}

/// Takes a device off its bus, whichever has it.
fn detach(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the strings outlive the calls; the device is nobody's.
    [c"vdev", c"pci"]
        .iter()
        .any(|bus| unsafe { sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) } == 0)
}

impl Drop for DmaDevice {
    fn drop(&mut self) {
        let _control = control();
        self.stop();
        // Detaching closes it; closing alone would leave a device of the bus that cannot be attached again.
        if !self.attached || !detach(&self.name) {
            // SAFETY: nobody else has the engine, and it is stopped.
            unsafe { sys::rte_dma_close(self.device) };
        }
        OWNED.lock().unwrap_or_else(PoisonError::into_inner).retain(|device| *device != self.device);
    }
}

/// What a copy keeps until it is complete.
struct Flight {
    from: Mbuf,
    start: usize,
    to: Hold,
    tag: u32,
}

/// A copy that has ended.
#[derive(Debug)]
pub struct Complete {
    /// The buffer that was copied from.
    pub from: Mbuf,
    /// Where in it.
    pub start: usize,
    /// Where it went; the slot is in use until this is dropped.
    pub to: Hold,
    /// What the caller told it by.
    pub tag: u32,
    /// The engine did it; else nothing is known of the destination's bytes.
    pub is_copied: bool,
}

/// The channel of a started engine. Can be sent to an lcore, cannot be shared.
pub struct DmaQueue {
    device: DmaDevice,
    flights: Box<[Option<Flight>]>,
    /// Copies enqueued so far, and ended so far; DPDK numbers them alike, from 0.
    head: u16,
    tail: u16,
    /// There are copies that the engine has not been told of.
    staged: bool,
}

impl DmaQueue {
    /// Copies under way.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.head.wrapping_sub(self.tail).into()
    }

    /// Most copies that can be under way; the engine may have room for fewer.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.flights.len()
    }

    /// Copies `bytes` of the buffer's first segment to where `to` is; begins with the next [`submit`](Self::submit) at the latest.
    /// Given back if the channel is full or the lengths do not fit.
    #[inline]
    pub fn copy(&mut self, from: Mbuf, bytes: Range<usize>, to: Hold, tag: u32) -> Result<(), (Mbuf, Hold)> {
        let mask = self.flights.len() - 1;
        let place = usize::from(self.head) & mask;
        let Some(source) = from.data().get(bytes.clone()) else { return Err((from, to)) };
        if source.len() != to.bytes() || source.is_empty() || self.in_flight() > mask {
            return Err((from, to));
        }
        let (source, length) = (source.as_ptr() as u64, source.len() as u32);
        // SAFETY: the engine is started. It reads a buffer that is owned and writes a range that is held; both are kept here until it says
        // that the copy has ended, or is stopped.
        let code = unsafe {
            sys::rte_dma_copy(self.device.device, 0, source, to.address().as_ptr() as u64, length, 0)
        };
        if code < 0 {
            return Err((from, to));
        }
        debug_assert_eq!(code, i32::from(self.head));
        self.flights[place] = Some(Flight { from, start: bytes.start, to, tag });
        self.head = self.head.wrapping_add(1);
        self.staged = true;
        Ok(())
    }

    /// Tells the engine of the copies that were enqueued: one doorbell for all.
    #[inline]
    pub fn submit(&mut self) {
        if std::mem::take(&mut self.staged) {
            // SAFETY: the engine is started and has one owner.
            unsafe { sys::rte_dma_submit(self.device.device, 0) };
        }
    }

    /// Gives `ended` every copy that has ended, in order, at most `most`. Returns how many.
    #[inline]
    pub fn completed(&mut self, most: u16, mut ended: impl FnMut(Complete)) -> u16 {
        let (mut last, mut has_error) = (0, false);
        let most = most.min(self.head.wrapping_sub(self.tail));
        if most == 0 {
            return 0;
        }
        // SAFETY: the engine is started; both places outlive the call.
        let copied =
            unsafe { sys::rte_dma_completed(self.device.device, 0, most, &raw mut last, &raw mut has_error) };
        for _ in 0..copied {
            self.end(true, &mut ended);
        }
        if !has_error || copied == most {
            return copied;
        }
        // The one that failed is asked for by itself; what follows it is for the next time.
        let mut status = sys::rte_dma_status_code::RTE_DMA_STATUS_SUCCESSFUL;
        // SAFETY: as above, with a place for one status.
        let failed = unsafe {
            sys::rte_dma_completed_status(self.device.device, 0, 1, &raw mut last, &raw mut status)
        };
        for _ in 0..failed {
            self.end(status == sys::rte_dma_status_code::RTE_DMA_STATUS_SUCCESSFUL, &mut ended);
        }
        copied + failed
    }

    #[inline]
    fn end(&mut self, is_copied: bool, ended: &mut impl FnMut(Complete)) {
        let place = usize::from(self.tail) & (self.flights.len() - 1);
        self.tail = self.tail.wrapping_add(1);
        if let Some(Flight { from, start, to, tag }) = self.flights[place].take() {
            ended(Complete { from, start, to, tag, is_copied });
        }
    }

    /// The engine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.device.name()
    }
}

impl Drop for DmaQueue {
    fn drop(&mut self) {
        // One that cannot be stopped keeps what it may still read and write.
        if !self.device.stop() {
            std::mem::forget(std::mem::take(&mut self.flights));
        }
    }
}
