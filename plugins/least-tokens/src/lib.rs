//! Routing by least outstanding prompt tokens.
//!
//! The policy keeps its own ledger: a dispatch adds the prompt's tokens to the instance, the end of a request takes
//! them off again. It knows the plugin contract and nothing of the host.

use std::collections::HashMap;
use windtunnel_plugin_api::{
    ClusterView, Event, EventKind, Interests, PolicyError, RequestView, Route, Router,
};

/// Sends each request where the fewest prompt tokens are outstanding; ties go to the lowest index.
#[derive(Debug, Default)]
pub struct LeastTokens {
    outstanding: Vec<u64>,
    charged: HashMap<u64, (usize, u64)>,
}

impl LeastTokens {
    /// A fresh ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Prompt tokens that instance `i` still owes.
    #[must_use]
    pub fn outstanding(&self, i: usize) -> u64 {
        self.outstanding.get(i).copied().unwrap_or(0)
    }
}

impl Router for LeastTokens {
    fn interests(&self) -> Interests {
        Interests::LIFECYCLE
    }

    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let owed = |i: usize| self.outstanding(cluster.instances[i].index as usize);
        let best = (0..cluster.instances.len()).min_by_key(|&i| owed(i));
        Ok(best.map_or(
            Route::Hold {
                retry_after_us: 1_000,
            },
            Route::To,
        ))
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        match event.what() {
            Some(EventKind::Dispatch) => {
                let i = event.instance as usize;
                if self.outstanding.len() <= i {
                    self.outstanding.resize(i + 1, 0);
                }
                self.outstanding[i] += u64::from(event.prompt_tokens);
                self.charged
                    .insert(event.serial, (i, u64::from(event.prompt_tokens)));
            }
            Some(EventKind::Complete) => {
                if let Some((i, tokens)) = self.charged.remove(&event.serial) {
                    self.outstanding[i] -= tokens;
                }
            }
            Some(EventKind::FirstToken | EventKind::Preempt | EventKind::Reject) | None => {}
        }
        Ok(())
    }
}
