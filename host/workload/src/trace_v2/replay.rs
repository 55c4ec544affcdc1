//! How a trace is replayed.

use super::read::Record;
use crate::import::Selection;
use crate::think::ThinkTime;

/// When the rounds of recorded sessions are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionMode {
    /// Every request at its recorded time.
    #[default]
    Fixed,
    /// Round 0 at its recorded time, each later round a think time after the round before it ended.
    ClosedLoop,
}

/// What becomes of the epoch send times of observed traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RealTime {
    /// Simulated as they stand, like the reference does.
    #[default]
    AsRecorded,
    /// The first send becomes time 0; deadlines keep their distance from the arrival.
    Rebased,
}

/// How a trace is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Sessions as recorded or as a closed loop.
    pub session_mode: SessionMode,
    /// Think time of all rounds, instead of the recorded ones.
    pub think_time: Option<ThinkTime>,
    /// Seed of drawn think times.
    pub seed: u64,
    /// A follow-up that would arrive after this is not sent, microseconds.
    pub horizon_us: i64,
    /// Epoch send times.
    pub real_time: RealTime,
    /// What of it is replayed. Think times and time limits are not scaled; sessions of a closed
    /// loop are kept whole.
    pub selection: Selection,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            session_mode: SessionMode::Fixed,
            think_time: None,
            seed: 0,
            horizon_us: i64::MAX,
            real_time: RealTime::AsRecorded,
            selection: Selection::default(),
        }
    }
}

/// A recorded request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) record: Record,
    pub(super) inject_us: i64,
    pub(super) deadline_us: i64,
}
