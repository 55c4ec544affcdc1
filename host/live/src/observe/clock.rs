//! Waiting for a moment, finer than the milliseconds of tokio's timer.
//!
//! A thread of its own sleeps until shortly before, which costs next to no processor time; for what
//! is left the clock is looked at again and again, while the other tasks go on.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// By how much the system wakes a thread late, and the thread the runtime.
const SHORT: Duration = Duration::from_micros(200);

/// What the sleeping thread is told.
#[derive(Default)]
struct Wanted {
    at: Option<Instant>,
    over: bool,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    woken: Notify,
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self) {
        let mut wanted = self.wanted();
        while !wanted.over {
            let left = wanted
                .at
                .map(|at| at.saturating_duration_since(Instant::now()));
            wanted = match left {
                None => self
                    .changed
                    .wait(wanted)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    wanted.at = None;
                    self.woken.notify_one();
                    wanted
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(wanted, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A timer for one moment after the other.
pub struct Clock {
    shared: Arc<Shared>,
    /// Without a thread it is tokio's timer, which costs more processor time.
    has_thread: bool,
}

impl Clock {
    /// A timer.
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let sleeper = Arc::clone(&shared);
        let thread = thread::Builder::new().name("clock".into());
        Self {
            has_thread: thread.spawn(move || sleeper.sleep()).is_ok(),
            shared,
        }
    }

    /// Waits until `at`. Can be dropped before.
    pub async fn until(&mut self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        if left > SHORT {
            self.coarse(at - SHORT).await;
        }
        while Instant::now() < at {
            tokio::task::yield_now().await;
        }
    }

    async fn coarse(&mut self, at: Instant) {
        if !self.has_thread {
            // That timer is up to a millisecond late.
            let at = at.checked_sub(Duration::from_millis(2)).unwrap_or(at);
            return tokio::time::sleep_until(at.into()).await;
        }
        self.shared.wanted().at = Some(at);
        self.shared.changed.notify_one();
        // What an earlier moment has left is no sign of this one.
        while Instant::now() < at {
            self.shared.woken.notified().await;
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.wanted().over = true;
        self.shared.changed.notify_one();
    }
}

/// What of two futures is there first.
pub enum First<A, B> {
    /// The first one.
    A(A),
    /// The second one.
    B(B),
}

/// Waits for the first of two; when both are there, `a` goes before `b`.
pub async fn first<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> First<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(a) = a.as_mut().poll(context) {
            return Poll::Ready(First::A(a));
        }
        b.as_mut().poll(context).map(First::B)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_early_and_can_be_given_up() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut clock = Clock::new();
            let far = Instant::now() + Duration::from_secs(3600);
            // Given up, and used for an earlier moment.
            let soon = tokio::time::sleep(Duration::from_millis(1));
            assert!(matches!(first(clock.until(far), soon).await, First::B(())));
            for us in [0, 10, 300, 2500] {
                let at = Instant::now() + Duration::from_micros(us);
                clock.until(at).await;
                assert!(Instant::now() >= at);
            }
        });
    }
}
