//! Ctrl-C during long work.

use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Time between two checks for signals.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Checks for signals that Python should handle.
pub struct SignalCheck {
    next: Instant,
}

/// Unwinds the stack up to [`interruptible`]: a Python exception that a signal's handler raised.
struct Interrupted(PyErr);

impl SignalCheck {
    /// Unwinds if a signal's handler raised, as Ctrl-C's does. Cheap between two checks.
    pub fn check(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + CHECK_INTERVAL;
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            resume_unwind(Box::new(Interrupted(error)));
        }
    }
}

/// Works without the interpreter's lock. The work may check for signals; if one interrupts it, it
/// is dropped.
///
/// # Errors
/// The exception of a signal's handler.
pub fn interruptible<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut SignalCheck) -> R + Send,
) -> PyResult<R> {
    py.detach(|| {
        let mut signals = SignalCheck {
            next: Instant::now() + CHECK_INTERVAL,
        };
        catch_unwind(AssertUnwindSafe(|| work(&mut signals)))
    })
    .or_else(|cause| match cause.downcast::<Interrupted>() {
        Ok(interrupted) => Err(interrupted.0),
        Err(cause) => resume_unwind(cause),
    })
}

/// Works in a thread of its own, without the interpreter's lock. If a signal's handler raises,
/// `cancel` is called and this returns without waiting for the work.
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
        // The receiver is dropped after an interrupt.
        let _ = done.send(work());
    });
    py.detach(move || {
        loop {
            match result.recv_timeout(CHECK_INTERVAL) {
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

/// Works in a thread of its own, without the interpreter's lock, and hands the work a switch that
/// is on when a signal's handler has raised. Then the work should end soon: it is waited for, as it
/// may hold files.
///
/// # Errors
/// The exception of a signal's handler.
pub fn stoppable<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> R + Send,
) -> PyResult<R> {
    let stop = AtomicBool::new(false);
    py.detach(|| {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(&stop));
            let mut raised = None;
            while !worker.is_finished() {
                std::thread::park_timeout(CHECK_INTERVAL / 10);
                if raised.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    stop.store(true, Ordering::Relaxed);
                    raised = Some(error);
                }
            }
            let result = worker.join();
            match (raised, result) {
                (Some(error), _) => Err(error),
                (None, Ok(result)) => Ok(result),
                (None, Err(cause)) => resume_unwind(cause),
            }
        })
    })
}
