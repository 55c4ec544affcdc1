//! Routing by least outstanding prompt tokens.
//!
//! The policy keeps its own ledger: a dispatch adds the prompt's tokens to the instance, the end of
//! a request takes them off again. It knows the plugin contract and nothing of the host.

use std::collections::HashMap;
use windtunnel_plugin_api::{
    ClusterView, Event, EventKind, Interests, PolicyError, RequestView, Route, Router,
    export_plugin,
};

export_plugin! {
    name: "least-tokens";
    version: env!("CARGO_PKG_VERSION");

    /// Sends each request where the fewest prompt tokens are outstanding, by a ledger of its own.
    routing "least-tokens" {} = |_| Ok(LeastTokens::new());
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::InstanceView;

    fn event(kind: EventKind, serial: u64, instance: u32, prompt_tokens: u32) -> Event {
        Event {
            kind: kind as u32,
            serial,
            instance,
            prompt_tokens,
            ..Event::default()
        }
    }

    #[test]
    fn a_dispatch_charges_and_the_end_pays_back() {
        let mut policy = LeastTokens::new();
        let views = [0, 1].map(|index| InstanceView {
            index,
            ..InstanceView::default()
        });
        let cluster = ClusterView::bare(0, &views);
        let request = RequestView::default();
        let mut next = |events: &[Event]| {
            for event in events {
                policy.on_event(event).expect("taken in");
            }
            policy.route(&request, &cluster).expect("routed")
        };
        assert_eq!(next(&[]), Route::To(0), "a tie");
        assert_eq!(next(&[event(EventKind::Dispatch, 1, 0, 10)]), Route::To(1));
        assert_eq!(next(&[event(EventKind::Dispatch, 2, 1, 20)]), Route::To(0));
        assert_eq!(next(&[event(EventKind::Complete, 2, 1, 20)]), Route::To(1));
        // An end that it never heard the beginning of changes nothing.
        assert_eq!(next(&[event(EventKind::Complete, 9, 1, 5)]), Route::To(1));
    }
}
