//! `slo-class`: the SLO class alone.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, Priority, QueueView, RequestView};

/// `slo-class`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "slo-class",
    "The SLO class alone.",
    Make::Priority(|facts, _| {
        Box::new(SloClass {
            highest: facts.highest_priority,
        })
    }),
);

/// The SLO class alone, as vLLM's priority scheduling takes it: `highest - priority(class)`.
pub struct SloClass {
    /// The highest priority any class has.
    pub highest: i32,
}

impl Priority for SloClass {
    fn priority(
        &mut self,
        request: &RequestView,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(f64::from(self.highest - request.class_priority))
    }
}
