//! Stages of a pipeline: when each is free, and when a step has gone through all of them.

use crate::latency::StageTimes;

/// The stages of an instance.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// When each stage has done what it was given.
    free_us: Vec<i64>,
    /// When the engine's own code has done with the steps chosen so far.
    host_free_us: i64,
    /// What the step at hand takes.
    pub(super) times: StageTimes,
    /// End of the last step that is counted: steps overlap.
    counted_us: i64,
}

/// When a step runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    /// For how long a GPU works on it, in the mean of the stages, microseconds.
    pub(super) busy_us: i64,
}

impl Pipeline {
    /// So many stages, all free; `None` = one stage is no pipeline.
    pub(super) fn new(stages: usize) -> Option<Self> {
        (stages > 1).then(|| Self {
            free_us: vec![0; stages],
            host_free_us: 0,
            times: StageTimes::default(),
            counted_us: 0,
        })
    }

    /// How many there are.
    pub(super) fn stages(&self) -> usize {
        self.free_us.len()
    }

    /// Sends a step through that may begin at `ready_us`, and waits `delay_us` in its first stage.
    /// A stage begins when the one before it has done with the step, and when it has done with the
    /// step before.
    pub(super) fn pass(&mut self, ready_us: i64, delay_us: i64) -> Passage {
        let start_us = ready_us.max(self.free_us[0]);
        let mut end_us = start_us.saturating_add(delay_us);
        let mut sum_us = delay_us;
        for (free_us, us) in self.free_us.iter_mut().zip(&self.times.stages_us) {
            end_us = end_us.max(*free_us).saturating_add(*us);
            *free_us = end_us;
            sum_us = sum_us.saturating_add(*us);
        }
        let host = start_us.max(self.host_free_us);
        self.host_free_us = host.saturating_add(self.times.host_us);
        Passage {
            start_us,
            end_us: end_us.max(self.host_free_us),
            busy_us: sum_us / self.free_us.len() as i64,
        }
    }

    /// Of the time from start to end of a step, what no step before it took, microseconds.
    pub(super) fn count(&mut self, start_us: i64, end_us: i64) -> i64 {
        let since = start_us.max(self.counted_us);
        self.counted_us = self.counted_us.max(end_us);
        (end_us - since).max(0)
    }
}
