//! What is behind locks, whoever died with them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is behind a lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
