//! Newtypes for every id. A raw number appears only at the edges: wire, FFI, printing.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($raw:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// Wraps a raw number.
            #[must_use]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The raw number, for the wire, FFI and indexing.
            #[must_use]
            pub const fn raw(self) -> $raw {
                self.0
            }

            /// The number as an index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A port of the appliance, by its place in the configuration.
    PortId(u16),
    "port "
);
id!(
    /// One of a port's queue pairs.
    QueueId(u16),
    "queue "
);
id!(
    /// A DPDK lcore.
    LcoreId(u32),
    "lcore "
);
id!(
    /// A group of NPUs that share memory.
    IslandId(u16),
    "island "
);
id!(
    /// One worker that runs lambdas.
    NpuId(u16),
    "NPU "
);
id!(
    /// A lambda as callers name it on the wire (λ-RPC lambda ID).
    LambdaId(u32),
    ""
);
id!(
    /// How often a lambda has been deployed; a reference to an older one is stale.
    Generation(u32),
    "generation "
);
id!(
    /// A lambda's place in the published table.
    LambdaSlot(u32),
    "slot "
);

/// A deployed lambda. A stale reference never runs other code: slot and generation must both agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LambdaRef {
    /// Place in the published table.
    pub slot: LambdaSlot,
    /// Deployment that it meant.
    pub generation: Generation,
}
