//! `windowed`: batches that are formed at once, as soon as requests wait, or when enough do.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Interests, PolicyError, QueueView, StepView,
};

/// `windowed`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "min_batch_size",
            1.0,
            1.0,
            f64::MAX,
            "waiting requests that make a batch",
        )
        .whole(),
        Param::number(
            "window_us",
            10_000.0,
            0.0,
            1e15,
            "longest wait of the first request for others, microseconds",
        )
        .whole(),
    ],
    ..BuiltIn::new(
        "windowed",
        "As greedy, but an idle engine waits until min_batch_size requests wait or the first \
         of them has waited for the window.",
        Make::Batching(|_, values| {
            Box::new(Windowed {
                min_batch_size: values.get("min_batch_size") as u32,
                window_us: values.get("window_us") as i64,
            })
        }),
    )
};

/// Batches that are closed when they are formed: prompts first, then decodes until all are done.
pub(super) struct Windowed {
    pub(super) min_batch_size: u32,
    pub(super) window_us: i64,
}

impl Batching for Windowed {
    fn interests(&self) -> Interests {
        Interests::WAITING
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let closed = BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..admitting(step, queue, 0)
        };
        let Some(head) = queue.waiting.get(0).filter(|_| queue.batch_size == 0) else {
            return Ok(closed);
        };
        // What was collected once is not collected again.
        let collects = step.with_kv == 0 && queue.queue_depth < self.min_batch_size;
        let opens_us = head.enqueued_us.saturating_add(self.window_us);
        if collects && queue.now_us < opens_us {
            return Ok(BatchLimits {
                hold_until_us: opens_us,
                ..closed
            });
        }
        Ok(BatchLimits {
            max_admissions: step.free_places,
            ..closed
        })
    }
}
