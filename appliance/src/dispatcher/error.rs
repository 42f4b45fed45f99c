//! Why an item or a share is refused.

/// Why an item was handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// The lambda's own queue is full.
    #[error("the lambda's queue is full")]
    QueueFull,
    /// The items of all lambdas together fill the dispatcher.
    #[error("the dispatcher has no room for another item")]
    NoRoom,
    /// No such lambda, or every NPU that it may use is dead.
    #[error("the lambda is gone")]
    Gone,
}

/// Why a share cannot be deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// A slot that no table has.
    #[error("lambda slot {slot}: over the limit of {}", super::SLOTS - 1)]
    Slot {
        /// Slot asked for.
        slot: u32,
    },
    /// A weight that is not 1–1000.
    #[error("weight {weight}: must be 1 to 1000")]
    Weight {
        /// Weight asked for.
        weight: u32,
    },
    /// A limit of items in flight that is not 1–65,535.
    #[error("{in_flight} items in flight: must be 1 to 65535")]
    InFlight {
        /// Limit asked for.
        in_flight: u32,
    },
    /// None of the NPUs that it names exists.
    #[error("no NPU to run on: it names none of the {npus} that exist")]
    NoNpu {
        /// NPUs of this scheduler.
        npus: usize,
    },
    /// More different sets of NPUs than classes.
    #[error("more than {limit} different sets of NPUs")]
    TooManySets {
        /// Most that a scheduler keeps apart, each NPU alone included.
        limit: usize,
    },
}
