//! Priorities, schedulers and preemption victims. Priorities are instance-level: lower is more
//! urgent.

use windtunnel_plugin_api::{
    KeyRefresh, PolicyError, Priority, QueueOrder, QueueView, QueuedView, RequestView, Scheduler,
    Victim,
};

/// Everyone is equal.
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

/// Class and age: a request is worth one class step more for every [`AGE_STEP_US`] it has waited.
///
/// With `direction` 1, older and more important requests are more urgent; with -1 everything is
/// upside down. All requests age at the same rate, so their order never changes while they wait,
/// and the value `class step + arrival / AGE_STEP_US` at enqueue says the same as the aged value at
/// any later time.
pub struct SloBased {
    /// The highest priority any class has.
    pub highest: i32,
    /// 1, or -1 for the inverted policy.
    pub direction: f64,
}

/// Waiting time that makes up for one step of class priority, microseconds.
pub const AGE_STEP_US: f64 = 1_000_000.0;

impl Priority for SloBased {
    fn priority(
        &mut self,
        request: &RequestView,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        let class = f64::from(self.highest - request.class_priority);
        Ok(self.direction * (class + request.arrival_us as f64 / AGE_STEP_US))
    }
}

/// First come, first served; a preempted request returns to the front.
pub struct Fcfs;

impl Scheduler for Fcfs {
    fn order(&self) -> QueueOrder {
        QueueOrder::Fifo
    }
    fn key(
        &mut self,
        _queued: &QueuedView<'_>,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(0.0)
    }
}

/// By priority, then arrival.
pub struct PriorityFcfs {
    /// 1 for the most urgent first, -1 for the least urgent first.
    pub direction: f64,
}

impl Scheduler for PriorityFcfs {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }
    fn key(&mut self, queued: &QueuedView<'_>, _queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(self.direction * queued.priority)
    }
}

/// Shortest prompt first.
pub struct ShortestPrompt;

impl Scheduler for ShortestPrompt {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }
    fn key(&mut self, queued: &QueuedView<'_>, _queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(f64::from(queued.request.prompt_tokens))
    }
}

/// The last one admitted, as vLLM's FCFS policy chooses.
pub struct LastAdmitted;

impl Victim for LastAdmitted {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        Ok(queue.running.len() - 1)
    }
}

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
    use windtunnel_plugin_api::RunningView;

    fn request(class_priority: i32, arrival_us: i64) -> RequestView {
        RequestView {
            class_priority,
            arrival_us,
            ..RequestView::default()
        }
    }

    #[test]
    fn slo_based_prefers_the_older_and_the_more_important() {
        let mut policy = SloBased {
            highest: 4,
            direction: 1.0,
        };
        let now = QueueView::bare(9_000_000, &[], &[]);
        let mut p = |class, arrival| {
            let priority = policy.priority(&request(class, arrival), &now);
            priority.expect("built-ins answer")
        };
        assert!(p(3, 0) < p(3, 1), "older first");
        assert!(
            p(4, 500_000) < p(3, 0),
            "half a second of age does not outweigh a class"
        );
        assert!(p(3, 0) < p(4, 1_500_000), "a second and a half does");
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
