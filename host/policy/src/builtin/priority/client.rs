//! `client`: what the client asked for.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, Priority, QueueView, RequestView};

/// `client`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "client",
    "The priority that the client sends, as vLLM takes it.",
    Make::Priority(|_, _| Box::new(Client)),
);

/// The priority of the request itself, whatever its class: lower is more urgent, 0 is the default.
pub struct Client;

impl Priority for Client {
    fn priority(
        &mut self,
        request: &RequestView,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(f64::from(request.client_priority))
    }
}
