//! Independent work on all cores, with results that do not depend on how many there are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads to use by default: one per core.
#[must_use]
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Applies `work` to every item on `jobs` threads and returns the results in the items' order.
/// `done` is called with the index and result of each item as it is finished: one call at a time,
/// in any order.
///
/// # Panics
/// When `work` or `done` panics.
pub fn map<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    done: impl FnMut(usize, &R) + Send,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let done = Mutex::new(done);
    std::thread::scope(|scope| {
        let take_turns = || {
            while let Some((k, item)) = {
                let k = next.fetch_add(1, Ordering::Relaxed);
                items.get(k).map(|item| (k, item))
            } {
                let result = work(item);
                (done.lock().expect("no panic before"))(k, &result);
                results.lock().expect("no panic before")[k] = Some(result);
            }
        };
        for k in 0..jobs.clamp(1, items.len().max(1)) {
            let started = std::thread::Builder::new().spawn_scoped(scope, take_turns);
            if started.is_err() {
                // The system gives no more: those that there are do the work, or else this one.
                if k == 0 {
                    take_turns();
                }
                break;
            }
        }
    });
    let results = results.into_inner().expect("no panic before");
    results
        .into_iter()
        .map(|r| r.expect("every item was worked on"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        let items: Vec<u64> = (0..100).collect();
        for jobs in [0, 1, 3, 200] {
            let mut done = Vec::new();
            let squares = map(&items, jobs, |x| x * x, |k, _| done.push(k));
            assert_eq!(squares, items.iter().map(|x| x * x).collect::<Vec<_>>());
            done.sort_unstable();
            assert_eq!(done, (0..100).collect::<Vec<_>>());
        }
        assert!(map(&[] as &[u8], 4, |_| (), |_, ()| ()).is_empty());
    }
}
