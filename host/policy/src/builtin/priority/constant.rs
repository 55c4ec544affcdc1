//! `constant`: all requests are equally urgent.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, Priority, QueueView, RequestView};

/// `constant`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "constant",
    "Everyone is equal.",
    Make::Priority(|_, _| Box::new(Constant)),
);

/// All requests are equally urgent.
pub struct Constant;

impl Priority for Constant {
    fn priority(
        &mut self,
        _request: &RequestView,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(0.0)
    }
}
