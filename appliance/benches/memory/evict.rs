//! Empties the caches.

use std::hint::black_box;

/// A buffer that is larger than all caches together.
pub struct Evictor {
    words: Vec<u64>,
}

impl Evictor {
    /// Half as much again as the last-level cache, but at most half of the memory that is free.
    pub fn new() -> Self {
        let wanted = last_level_bytes() * 3 / 2;
        let bytes = wanted.min(available_bytes() / 2);
        println!(
            "evicting by reading {} MiB; the last-level cache has {} MiB",
            bytes >> 20,
            last_level_bytes() >> 20
        );
        if bytes < wanted {
            println!("  less than it should be: memory is scarce, so cold figures are too low");
        }
        // Not zeros: those would all be one page.
        Self { words: vec![1; bytes / 8] }
    }

    /// Afterwards nothing else is in the caches, and no other page in the TLB.
    pub fn evict(&self) {
        black_box(self.words.iter().step_by(8).fold(0, |sum: u64, word| sum.wrapping_add(*word)));
    }
}

/// As the kernel tells; 64 MiB if it does not.
fn last_level_bytes() -> usize {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").into_iter().flatten().flatten();
    let sizes = caches.filter_map(|cache| {
        let text = std::fs::read_to_string(cache.path().join("size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    sizes.max().map_or(64 << 20, |kib| kib << 10)
}

fn available_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.map_or(1 << 30, |kib| kib << 10)
}
