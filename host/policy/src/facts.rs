//! What a policy can know of its run before it starts.

/// What a policy can know of its run before it starts.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Instances in the cluster.
    pub instances: u32,
    /// Most requests the cluster can run at once.
    pub slots: u64,
    /// The highest priority that any SLO class has.
    pub highest_priority: i32,
    /// Names that the run knows before its policies ask for any: what stands for a name has a
    /// number below this.
    pub known_names: u32,
}
