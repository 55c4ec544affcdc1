//! The machine's time, and simulated time that passes with it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Simulated microseconds since a start, so many for each that passes.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    speed: f64,
}

impl Clock {
    /// A clock that starts now and runs `speed` times as fast as the machine's.
    pub fn new(speed: f64) -> Self {
        Self {
            started: Instant::now(),
            speed,
        }
    }

    /// What it shows, microseconds.
    pub fn now_us(&self) -> i64 {
        (self.started.elapsed().as_secs_f64() * 1e6 * self.speed) as i64
    }

    /// How long it takes until it shows `us`.
    pub fn until(&self, us: i64) -> Duration {
        let at = Duration::try_from_secs_f64(us as f64 / 1e6 / self.speed);
        // What is too far away for a duration never comes.
        at.unwrap_or(Duration::MAX)
            .saturating_sub(self.started.elapsed())
    }
}

/// Time since 1970; none for a machine whose clock stands before that.
pub fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
