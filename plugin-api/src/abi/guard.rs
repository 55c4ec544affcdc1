//! Nothing unwinds across the boundary: a panic of a policy becomes an error.

use crate::PolicyError;
use abi_stable::std_types::{RResult, RString};
use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic said.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("the policy panicked: {}", text.unwrap_or("without a text"))
}

/// Runs code of a plugin; a panic is an error.
pub(super) fn catch<T>(code: impl FnOnce() -> Result<T, PolicyError>) -> RResult<T, RString> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(Ok(value)) => RResult::ROk(value),
        Ok(Err(e)) => RResult::RErr(e.message().into()),
        Err(payload) => RResult::RErr(words(&*payload).into()),
    }
}

/// A policy that may panic. After a panic its state is unknown, so every later call gives the same
/// error.
pub(super) struct Guarded<T> {
    policy: ManuallyDrop<T>,
    panicked: RefCell<Option<String>>,
}

impl<T> Guarded<T> {
    pub(super) fn new(policy: T) -> Self {
        Self {
            policy: ManuallyDrop::new(policy),
            panicked: RefCell::new(None),
        }
    }

    /// Calls a method that may fail.
    pub(super) fn call<R>(
        &mut self,
        code: impl FnOnce(&mut T) -> Result<R, PolicyError>,
    ) -> RResult<R, RString> {
        let panicked = self.panicked.get_mut();
        if let Some(said) = panicked {
            return RResult::RErr(said.as_str().into());
        }
        let policy = &mut *self.policy;
        match catch_unwind(AssertUnwindSafe(|| code(policy))) {
            Ok(Ok(value)) => RResult::ROk(value),
            Ok(Err(e)) => RResult::RErr(e.message().into()),
            Err(payload) => {
                let said = words(&*payload);
                *panicked = Some(said.clone());
                RResult::RErr(said.into())
            }
        }
    }

    /// Asks something that cannot fail; after a panic, here or before, the answer is `otherwise`
    /// and the next [`call`](Self::call) says why.
    pub(super) fn ask<'a, R>(&'a self, code: impl FnOnce(&'a T) -> R, otherwise: R) -> R {
        if self.panicked.borrow().is_some() {
            return otherwise;
        }
        match catch_unwind(AssertUnwindSafe(|| code(&self.policy))) {
            Ok(answer) => answer,
            Err(payload) => {
                *self.panicked.borrow_mut() = Some(words(&*payload));
                otherwise
            }
        }
    }
}

#[allow(unsafe_code, reason = "a destructor that panics must not unwind")]
impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: dropped here once and never used again. The error has nobody left to go to.
        let _ = catch_unwind(AssertUnwindSafe(|| unsafe {
            ManuallyDrop::drop(&mut self.policy);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_from_then_on() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("at the end, too");
            }
        }
        let mut bad = Guarded::new(Bad);
        let fine = bad.call(|_| Ok(1)).into_result();
        assert_eq!(fine, Ok(1));
        assert_eq!(bad.ask(|_| panic!("asked {}", 7), 5), 5);
        let later = bad.call(|_| Ok(2)).into_result();
        assert_eq!(later, Err("the policy panicked: asked 7".into()));
        assert_eq!(bad.ask(|_| 1, 6), 6);
        let refused: RResult<(), RString> = catch(|| Err(PolicyError::new("no")));
        assert_eq!(refused.into_result(), Err("no".into()));
    }
}
