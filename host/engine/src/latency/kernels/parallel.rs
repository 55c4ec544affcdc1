//! How the GPUs of an instance share a model.

/// How the GPUs of an instance share a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// GPUs that split each layer.
    pub tp: u32,
    /// Replicas of so many GPUs that share the experts.
    pub dp: u32,
    /// Are experts spread over all GPUs, whole ones on each? Else each is split over them.
    pub whole_experts: bool,
}
