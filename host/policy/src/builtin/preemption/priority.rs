//! `priority`: the least urgent request.

use crate::builtin::policy::{BuiltIn, Make};
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
        let running = queue.running;
        let rank = |i: &usize| (running[*i].priority, running[*i].request.arrival_us);
        let least_urgent = (0..running.len())
            .max_by(|a, b| {
                rank(a)
                    .0
                    .total_cmp(&rank(b).0)
                    .then(rank(a).1.cmp(&rank(b).1))
            })
            .unwrap_or(0);
        Ok(least_urgent)
    }
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
