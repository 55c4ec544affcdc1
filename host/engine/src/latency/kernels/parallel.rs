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
    /// Of the GPUs that split a layer, those on one node.
    pub tp_on_node: u32,
    /// Of the GPUs that share the experts, those on one node.
    pub experts_on_node: u32,
}
