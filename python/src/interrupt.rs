//! Ctrl-C during long work.

use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
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

/// Works without the interpreter's lock. The work may look for signals; if one interrupts it, it is
/// dropped where it stands.
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

/// Works in a thread of its own, without the interpreter's lock. If a signal's handler raises,
/// `cancel` is called and nobody waits for the work any more.
///
/// # Errors
/// The exception of a signal's handler.
pub fn in_background<R: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> R + Send + 'static,
    cancel: impl FnOnce() + Send,
) -> PyResult<R> {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || {
        // Nobody listens after an interrupt.
        let _ = done.send(work());
    });
    py.detach(move || {
        loop {
            match result.recv_timeout(PATIENCE) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = Python::attach(|py| py.check_signals()) {
                        cancel();
                        return Err(error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(cause) => resume_unwind(cause),
                    Ok(()) => {
                        unreachable!("a thread that ends without a panic has sent its result")
                    }
                },
            }
        }
    })
}
