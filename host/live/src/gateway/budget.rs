//! How many requests may be sent again: a share of all, so that a cluster that fails does not get
//! more to do.

use crate::locks::lock;
use std::sync::Mutex;

/// Retries that are saved up at most, and those that are there at the start.
const MOST: f64 = 100.0;
const AT_FIRST: f64 = 10.0;

/// Retries that may be spent.
#[derive(Debug)]
pub struct Budget(Mutex<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(AT_FIRST))
    }
}

impl Budget {
    /// A request came.
    pub fn earn(&self, share: f64) {
        let mut left = lock(&self.0);
        *left = (*left + share).min(MOST);
    }

    /// Takes one, if there is one.
    pub fn spend(&self) -> bool {
        let mut left = lock(&self.0);
        let enough = *left >= 1.0;
        if enough {
            *left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_spent_than_there_was_at_first_and_was_earned() {
        let budget = Budget::default();
        let spent = (0..1000).filter(|_| {
            budget.earn(0.25);
            budget.spend()
        });
        assert_eq!(spent.count(), 10 + 250);
    }
}
