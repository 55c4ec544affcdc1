//! When a command that serves ends: on signals, or with its standard input.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Ends when standard input does. Its thread may still read when the process ends.
pub fn end_with_stdin(end: &Arc<watch::Sender<bool>>) {
    let end = Arc::clone(end);
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(1..) = io::stdin().lock().read(&mut part) {}
        end.send_replace(true);
    });
}

/// Ends on Ctrl-C and SIGTERM; needs tokio's runtime around it.
pub fn end_on_signals(end: &Arc<watch::Sender<bool>>) {
    tokio::spawn(interrupts(Arc::clone(end)));
    #[cfg(unix)]
    tokio::spawn(terminations(Arc::clone(end)));
}

/// The first signal ends the server gracefully, the second at once, whether or not the input has
/// ended.
fn on_signal(end: &watch::Sender<bool>) {
    static SIGNALLED: AtomicBool = AtomicBool::new(false);
    if SIGNALLED.swap(true, Ordering::Relaxed) {
        std::process::exit(1);
    }
    end.send_replace(true);
}

/// Waits for Ctrl-C.
async fn interrupts(end: Arc<watch::Sender<bool>>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        on_signal(&end);
    }
}

/// Waits for SIGTERM.
#[cfg(unix)]
async fn terminations(end: Arc<watch::Sender<bool>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut signals) = signal(SignalKind::terminate()) else {
        return;
    };
    while signals.recv().await.is_some() {
        on_signal(&end);
    }
}
