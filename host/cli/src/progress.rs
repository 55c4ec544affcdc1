//! A progress bar on stderr, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;
use windtunnel_engine::cluster::Progress;

/// A bar over finished requests.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for `total` requests if that is known; invisible when `quiet` or when stderr is no
    /// terminal.
    pub fn new(total: Option<u64>, quiet: bool) -> Self {
        let target = if quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let template = match total {
            Some(_) => {
                "{bar:40} {percent:>3}%  {human_pos}/{human_len} requests  {msg}  {eta} left"
            }
            None => "{spinner} {human_pos} requests  {msg}",
        };
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(target);
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Shows how far the run is.
    pub fn show(&self, progress: Progress) {
        self.bar.set_position(progress.finished);
        self.bar
            .set_message(format!("simulated {:.0} s", progress.clock_us as f64 / 1e6));
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of this length and look; invisible when stderr is no terminal.
fn on_terminal(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    bar.set_draw_target(if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// A bar over the runs that a score takes.
pub struct RunsBar {
    bar: ProgressBar,
}

impl RunsBar {
    /// A bar; invisible when stderr is no terminal.
    pub fn new() -> Self {
        let bar = on_terminal(0, "{bar:40} {msg} {human_pos}/{human_len} runs");
        Self { bar }
    }

    /// Shows how far the scoring is.
    pub fn show(&self, progress: windtunnel_score::Progress) {
        self.bar.set_length(progress.of);
        self.bar.set_message(match progress.what {
            "references" => "measuring the suite's references, once",
            what => what,
        });
        self.bar.set_position(progress.done);
    }

    /// Says something above the bar.
    pub fn above(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over independent runs; invisible when `quiet` or when stderr is no terminal.
pub fn bar_over_runs(runs: u64, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    if quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template =
        "{bar:40} {percent:>3}%  {human_pos}/{human_len} runs  {elapsed} so far, {eta} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar over the probes of a live server.
pub struct ProbesBar {
    bar: ProgressBar,
}

impl ProbesBar {
    /// A bar for so many probes; invisible when stderr is no terminal.
    pub fn new(probes: u64) -> Self {
        let bar = on_terminal(probes, "{bar:40} {human_pos}/{human_len} probes  {msg}");
        Self { bar }
    }

    /// Shows that `done` of them are, and what the next one is.
    pub fn show(&self, done: u64, next: &str) {
        self.bar.set_position(done);
        self.bar.set_message(next.to_owned());
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
