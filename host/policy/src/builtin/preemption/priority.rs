//! `priority`: the least urgent request.

use crate::builtin::policy::{BuiltIn, Make};
use std::cmp::Ordering;
use windtunnel_plugin_api::{PolicyError, QueueView, Victim};

/// `priority`.
pub const POLICY: BuiltIn = BuiltIn {
    reads_priorities: true,
    ..BuiltIn::new(
        "priority",
        "The least urgent; among equals the latest.",
        Make::Preemption(|_, _| Box::new(LeastUrgent)),
    )
};

/// The least urgent one; among those the latest arrival; among those the last admitted.
pub struct LeastUrgent;

impl Victim for LeastUrgent {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let all = 0..queue.running.len();
        let last = all.max_by(|a, b| by_urgency(queue, *a, *b));
        Ok(last.unwrap_or(0))
    }
}

/// Orders two positions of the batch: the more urgent one first, then the earlier arrival.
pub(super) fn by_urgency(queue: &QueueView<'_>, a: usize, b: usize) -> Ordering {
    let (a, b) = (&queue.running[a], &queue.running[b]);
    let by_priority = a.priority.total_cmp(&b.priority);
    by_priority.then(a.request.arrival_us.cmp(&b.request.arrival_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::{RequestView, RunningView};

    fn request(class_priority: i32, arrival_us: i64) -> RequestView {
        RequestView {
            class_priority,
            arrival_us,
            ..RequestView::default()
        }
    }

    #[test]
    fn the_priority_victim_is_the_least_urgent_then_the_latest_then_the_last() {
        let victim = |running: &[(f64, i64)]| {
            let requests: Vec<RequestView> = running.iter().map(|r| request(3, r.1)).collect();
            let views: Vec<RunningView<'_>> = (requests.iter().zip(running))
                .map(|(request, (priority, _))| RunningView {
                    priority: *priority,
                    ..RunningView::of(request)
                })
                .collect();
            LeastUrgent.victim(&QueueView::bare(0, &[], &views))
        };
        assert_eq!(victim(&[(1.0, 5), (7.0, 1), (0.0, 9)]), Ok(1));
        assert_eq!(victim(&[(1.0, 9), (1.0, 5)]), Ok(0));
        assert_eq!(victim(&[(1.0, 5), (1.0, 5)]), Ok(1));
    }
}
