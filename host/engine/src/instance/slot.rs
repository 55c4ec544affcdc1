//! How the requests of an instance are referred to.

/// Index of a request in its instance's slab. Policies see it as `slot`.
pub type Slot = u32;

/// A request in the running batch. Batch order is order of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchEntry {
    /// Number of its admission to the batch.
    pub(crate) admission: u64,
    pub(crate) slot: Slot,
}
