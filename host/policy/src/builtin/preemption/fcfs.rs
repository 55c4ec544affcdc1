//! `fcfs`: the request that was admitted to the batch last.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, QueueView, Victim};

/// `fcfs`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "fcfs",
    "The last one admitted.",
    Make::Preemption(|_, _| Box::new(LastAdmitted)),
);

/// The last one admitted, as vLLM's FCFS policy chooses.
pub struct LastAdmitted;

impl Victim for LastAdmitted {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        Ok(queue.running.len() - 1)
    }
}
