//! A progress bar on stderr, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use windtunnel_engine::cluster::Progress;
use windtunnel_score::render::tune::best;
use windtunnel_score::tune::TuneProgress;

/// A bar over finished requests.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for `total` requests if that is known; invisible when `quiet` or when stderr is no
    /// terminal.
    pub fn new(total: Option<u64>, quiet: bool) -> Self {
        let template = match total {
            Some(_) => {
                "{bar:40} {percent:>3}%  {human_pos}/{human_len} requests  {msg}  {eta} left"
            }
            None => "{spinner} {human_pos} requests  {msg}",
        };
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = on_terminal(bar, template, quiet);
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

/// The bar with this look; invisible when `quiet` or when stderr is no terminal.
fn on_terminal(bar: ProgressBar, template: &str, quiet: bool) -> ProgressBar {
    bar.set_draw_target(if quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
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
        let template = "{bar:40} {msg} {human_pos}/{human_len} runs";
        let bar = on_terminal(ProgressBar::new(0), template, false);
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

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// A search of parameters: on a terminal a bar over the points with the best one so far, elsewhere
/// a line now and then.
pub struct SearchBar {
    bar: ProgressBar,
    /// When the last line was said.
    said: Mutex<Option<Instant>>,
}

/// Least time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl SearchBar {
    /// A bar for so many points.
    pub fn new(points: usize) -> Self {
        let template =
            "{bar:30} {human_pos}/{human_len} points  {msg}  {elapsed} so far, {eta} left";
        let bar = on_terminal(ProgressBar::new(points as u64), template, false);
        bar.enable_steady_tick(Duration::from_millis(200));
        let said = Mutex::default();
        Self { bar, said }
    }

    /// Shows how far the search is; `line` says it in words.
    pub fn show(&self, progress: &TuneProgress, line: impl FnOnce(&TuneProgress)) {
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(format!("best: {}", best(progress)));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = said.is_none_or(|at| at.elapsed() >= BETWEEN_LINES);
        if self.bar.is_hidden() && (is_time || progress.done == progress.of) {
            *said = Some(Instant::now());
            line(progress);
        }
    }

    /// Shows what is done when all points are known.
    pub fn show_runs(&self, progress: windtunnel_score::Progress) {
        if self.bar.position() >= self.bar.length().unwrap_or(0) {
            let windtunnel_score::Progress { what, done, of } = progress;
            self.bar.set_message(format!("{what}: {done}/{of}"));
        }
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over independent runs; invisible when `quiet` or when stderr is no terminal.
pub fn bar_over_runs(runs: u64, quiet: bool) -> ProgressBar {
    let template =
        "{bar:40} {percent:>3}%  {human_pos}/{human_len} runs  {elapsed} so far, {eta} left";
    let bar = on_terminal(ProgressBar::new(runs), template, quiet);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A count of runs whose number nobody knows before; invisible when `quiet` or when stderr is no
/// terminal.
pub fn plan_bar(quiet: bool) -> ProgressBar {
    let bar = on_terminal(
        ProgressBar::no_length(),
        "{spinner} {human_pos} runs  {elapsed} so far",
        quiet,
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
        let template = "{bar:40} {human_pos}/{human_len} probes  {msg}";
        let bar = on_terminal(ProgressBar::new(probes), template, false);
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

/// A bar over the requests that are sent to a live server.
pub struct SentBar {
    bar: ProgressBar,
}

impl SentBar {
    /// A bar for so many requests, if that is known; invisible when `quiet` or when stderr is no
    /// terminal.
    pub fn new(total: Option<u64>, quiet: bool) -> Self {
        let template = match total {
            Some(_) => "{bar:30} {human_pos}/{human_len} answered  {msg}",
            None => "{spinner} {human_pos} answered  {msg}",
        };
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = on_terminal(bar, template, quiet);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Shows how far the observation is.
    pub fn show(&self, so_far: &windtunnel_live::observe::Progress) {
        self.bar.set_position(so_far.ended);
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_message(format!(
            "{} under way, {} failed, at most {:.1} ms late",
            so_far.sent - so_far.ended,
            so_far.failed,
            so_far.late_us as f64 / 1e3
        ));
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
