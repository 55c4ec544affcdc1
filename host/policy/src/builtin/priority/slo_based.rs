//! `slo-based`: class and age.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, Priority, QueueView, RequestView};

/// `slo-based`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "slo-based",
    "Class and age: a second of waiting makes up for one class step.",
    Make::Priority(|facts, _| {
        Box::new(SloBased {
            highest: facts.highest_priority,
            direction: 1.0,
        })
    }),
);

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
