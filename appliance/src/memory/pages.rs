//! The pages that slabs are made of.

use std::fmt;

/// Bytes of what `Pages::Huge` has.
pub(super) const HUGE_BYTES: usize = 2 << 20;
/// Bytes of what `Pages::Gigantic` has.
pub(super) const GIGANTIC_BYTES: usize = 1 << 30;

/// Whether slabs take hugepages that are reserved (`vm.nr_hugepages`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// If enough are free.
    #[default]
    Auto,
    /// Or there is no memory.
    Required,
    /// Never.
    Off,
}

/// Pages of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pages {
    /// Reserved hugepages of 1 GiB.
    Gigantic,
    /// Reserved hugepages of 2 MiB.
    Huge,
    /// The kernel gathers huge pages as far as it has them.
    Transparent,
    /// 4 KiB.
    Small,
}

impl Pages {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gigantic => "1 GiB hugepages",
            Self::Huge => "2 MiB hugepages",
            Self::Transparent => "transparent huge pages",
            Self::Small => "4 KiB pages",
        }
    }

    /// What a mapping of them begins and ends at.
    pub(super) const fn granule_bytes(self) -> usize {
        match self {
            Self::Gigantic => GIGANTIC_BYTES,
            Self::Huge => HUGE_BYTES,
            Self::Transparent | Self::Small => super::GRANULE_BYTES,
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Does the kernel gather huge pages where it is asked to?
pub(super) fn transparent() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|modes| !modes.contains("[never]"))
}
