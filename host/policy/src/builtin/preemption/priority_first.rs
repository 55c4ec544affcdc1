//! `priority-first`: the least urgent request, as vLLM's priority scheduling chooses it.

use super::priority::by_urgency;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, QueueView, Victim};

/// `priority-first`.
pub const POLICY: BuiltIn = BuiltIn {
    reads_priorities: true,
    ..BuiltIn::new(
        "priority-first",
        "The least urgent; among equals the latest, and of those the one admitted first.",
        Make::Preemption(|_, _| Box::new(LeastUrgentFirst)),
    )
};

/// The least urgent one; among those the latest arrival; among those the first of the batch.
pub struct LeastUrgentFirst;

impl Victim for LeastUrgentFirst {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        // Of equals, the one that is seen last counts.
        let all = (0..queue.running.len()).rev();
        let first = all.max_by(|a, b| by_urgency(queue, *a, *b));
        Ok(first.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::{RequestView, RunningView};

    #[test]
    fn of_equal_requests_the_first_of_the_batch_is_preempted() {
        let victim = |running: &[(f64, i64)]| {
            let requests: Vec<RequestView> = running
                .iter()
                .map(|(_, arrival_us)| RequestView {
                    arrival_us: *arrival_us,
                    ..RequestView::default()
                })
                .collect();
            let views: Vec<RunningView<'_>> = (requests.iter().zip(running))
                .map(|(request, (priority, _))| RunningView {
                    priority: *priority,
                    ..RunningView::of(request)
                })
                .collect();
            LeastUrgentFirst.victim(&QueueView::bare(0, &[], &views))
        };
        assert_eq!(victim(&[(1.0, 5), (7.0, 1), (0.0, 9)]), Ok(1));
        assert_eq!(victim(&[(1.0, 5), (1.0, 9), (-3.0, 99)]), Ok(1));
        assert_eq!(victim(&[(0.0, 1), (1.0, 5), (1.0, 5)]), Ok(1));
    }
}
