//! Ctrl-C during long work.

use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Between two looks at the signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// Looks for signals that Python should handle.
pub struct Watch {
    next: Instant,
}

/// What unwinds the stack up to [`watched`]: a Python exception that a signal's handler raised.
struct Interrupted(PyErr);

impl Watch {
    /// Unwinds if a signal's handler raised, as Ctrl-C's does. Cheap between looks.
    pub fn look(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PATIENCE;
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            resume_unwind(Box::new(Interrupted(error)));
        }
    }
}

/// Works without the interpreter's lock. The work may look for signals; if one interrupts it, it is dropped where it stands.
///
/// # Errors
/// The exception of a signal's handler.
pub fn watched<R: Send>(py: Python<'_>, work: impl FnOnce(&mut Watch) -> R + Send) -> PyResult<R> {
    py.detach(|| {
        let mut watch = Watch {
            next: Instant::now() + PATIENCE,
        };
        catch_unwind(AssertUnwindSafe(|| work(&mut watch)))
    })
    .or_else(|cause| match cause.downcast::<Interrupted>() {
        Ok(interrupted) => Err(interrupted.0),
        Err(cause) => resume_unwind(cause),
    })
}
