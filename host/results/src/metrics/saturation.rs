//! Was the cluster saturated? Three detectors that look at a finished run.
//!
//! They see completed requests only, so a run cut at its horizon hides what it left unfinished:
//! what remains in flight at the end is not counted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windtunnel_base::input::{InputError, parse_yaml, unknown};
use windtunnel_base::record::RunRecord;
use windtunnel_base::request::RequestId;

/// How saturated, the more severe the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// It keeps up.
    Stable,
    /// It lags.
    Backlogged,
    /// It loses.
    Overloaded,
}

impl Level {
    /// `STABLE`, `BACKLOGGED` or `OVERLOADED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "STABLE",
            Self::Backlogged => "BACKLOGGED",
            Self::Overloaded => "OVERLOADED",
        }
    }
}

/// A way to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// The trend of the number in flight over fixed windows.
    BacklogDrift,
    /// Completions falling behind arrivals, and latencies that keep growing.
    Composite,
    /// Mean latency above a threshold.
    Threshold,
}

impl Detector {
    /// All of them, sorted by name.
    pub const ALL: [Self; 3] = [Self::BacklogDrift, Self::Composite, Self::Threshold];

    /// `backlog-drift`, `composite` or `threshold`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BacklogDrift => "backlog-drift",
            Self::Composite => "composite",
            Self::Threshold => "threshold",
        }
    }
}

/// Which detectors look, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Detectors {
    /// Which, sorted by name, each once.
    pub selected: Vec<Detector>,
    /// `threshold`: mean end-to-end latency from which a cluster counts as overloaded,
    /// milliseconds.
    pub threshold_ms: f64,
    /// `backlog-drift`: window, microseconds.
    pub window_us: i64,
    /// The final label is the most frequent level of the verdicts this close to the last one,
    /// microseconds.
    pub final_window_us: i64,
}

/// The settings file of the detectors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    threshold: Option<ThresholdSettings>,
    backlog_drift: Option<DriftSettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdSettings {
    threshold_ms: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DriftSettings {
    window_size_sec: Option<f64>,
}

impl Detectors {
    /// Reads `all` or names separated by commas. `flag` is what messages call the text.
    ///
    /// # Errors
    /// On an unknown name.
    pub fn parse(flag: &str, text: &str) -> Result<Self, InputError> {
        let mut selected = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name == "all" {
                selected.extend(Detector::ALL);
                continue;
            }
            let Some(&detector) = Detector::ALL.iter().find(|d| d.name() == name) else {
                let mut valid: Vec<&str> = Detector::ALL.map(Detector::name).into();
                valid.push("all");
                return Err(InputError::new(format!(
                    "{flag}: {}",
                    unknown("detector", name, &valid)
                )));
            };
            selected.push(detector);
        }
        selected.sort_unstable();
        selected.dedup();
        Ok(Self {
            selected,
            threshold_ms: 5000.0,
            window_us: 60_000_000,
            final_window_us: 30_000_000,
        })
    }

    /// Reads a settings file (`threshold.threshold_ms`, `backlog_drift.window_size_sec`). The
    /// latter is the final window, too.
    ///
    /// # Errors
    /// On unknown keys, settings of a detector that is not selected, and numbers that are not above
    /// 0.
    pub fn configure(&mut self, file: &str, text: &str) -> Result<(), InputError> {
        let settings: Settings = parse_yaml(file, text)?;
        let (mut threshold_ms, mut window_us, mut final_window_us) =
            (self.threshold_ms, self.window_us, self.final_window_us);
        let selected = |detector: Detector, key: &str| {
            if self.selected.contains(&detector) {
                Ok(())
            } else {
                Err(InputError::in_file(
                    file,
                    format!("{key}: detector \"{}\" is not selected", detector.name()),
                ))
            }
        };
        let above_0 = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(value)
            } else {
                Err(InputError::in_file(
                    file,
                    format!("{key}: must be above 0, found {value}"),
                ))
            }
        };
        if let Some(block) = settings.threshold {
            selected(Detector::Threshold, "threshold")?;
            if let Some(ms) = block.threshold_ms {
                threshold_ms = above_0("threshold.threshold_ms", ms)?;
            }
        }
        if let Some(block) = settings.backlog_drift {
            selected(Detector::BacklogDrift, "backlog_drift")?;
            if let Some(s) = block.window_size_sec {
                window_us = ((above_0("backlog_drift.window_size_sec", s)? * 1e6) as i64).max(1);
                final_window_us = window_us;
            }
        }
        self.threshold_ms = threshold_ms;
        self.window_us = window_us;
        self.final_window_us = final_window_us;
        Ok(())
    }
}

/// What a detector says after an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Level.
    pub level: Level,
    /// How saturated, 0..=1.
    pub score: f64,
    /// How sure, 0..=1.
    pub confidence: f64,
    /// What the verdict rests on; flags are 0 or 1.
    pub signals: Vec<(&'static str, f64)>,
}

/// Final levels by detector name.
pub type Labels = BTreeMap<&'static str, Level>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Arrival,
    Completion,
}

/// Judges a run. `each` sees (time in microseconds, detector, verdict) after every event, in order;
/// the result is the final labels. A run without completed requests is stable.
pub fn judge(
    record: &RunRecord,
    detectors: &Detectors,
    mut each: impl FnMut(i64, Detector, &Verdict),
) -> Labels {
    let mut events: Vec<(i64, Kind, &RequestId, i64)> = Vec::new();
    for r in &record.requests {
        if let Some(e2e) = r.e2e_us {
            // Through seconds and milliseconds in binary64 and cut off, as the reference reads its
            // own results.
            let arrival = (r.arrival_us as f64 / 1e6 * 1e6) as i64;
            let completion = arrival + (e2e as f64 / 1e3 * 1e3) as i64;
            events.push((arrival, Kind::Arrival, &r.id, e2e));
            events.push((completion, Kind::Completion, &r.id, e2e));
        }
    }
    events.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| a.2.cmp(b.2)));
    let from = events
        .last()
        .map_or(0, |last| last.0 - detectors.final_window_us);
    let mut votes = vec![[0u64; 3]; detectors.selected.len()];
    let mut state = State::new(detectors);
    for (at, kind, _, e2e) in events {
        state.see(at, kind, e2e);
        for (detector, votes) in detectors.selected.iter().zip(&mut votes) {
            let verdict = match detector {
                Detector::Composite => state.composite(),
                Detector::Threshold => state.threshold(),
                Detector::BacklogDrift => state.backlog_drift(),
            };
            if at >= from {
                votes[verdict.level as usize] += 1;
            }
            each(at, *detector, &verdict);
        }
    }
    detectors
        .selected
        .iter()
        .zip(votes)
        .map(|(detector, votes)| (detector.name(), plurality(votes)))
        .collect()
}

/// The most frequent level, the more severe one of equals; stable without any vote.
fn plurality(votes: [u64; 3]) -> Level {
    let most = votes.into_iter().max().unwrap_or(0);
    match votes {
        _ if most == 0 => Level::Stable,
        [_, _, n] if n == most => Level::Overloaded,
        [_, n, _] if n == most => Level::Backlogged,
        _ => Level::Stable,
    }
}

/// Everything the detectors know so far; each event costs O(1).
struct State {
    threshold_ms: f64,
    window_us: i64,
    arrivals: u64,
    /// Sums of the first k latencies in order of completion, microseconds.
    latency_sums: Vec<i128>,
    drift: Drift,
}

/// The number in flight at the end of each window, as running sums of a straight-line fit.
#[derive(Default)]
struct Drift {
    /// The window being filled; windows count from 0 at the clock's 0.
    window: Option<i64>,
    /// Closed windows since the first.
    closed: u64,
    sum_y: f64,
    sum_xy: f64,
}

impl State {
    fn new(detectors: &Detectors) -> Self {
        Self {
            threshold_ms: detectors.threshold_ms,
            window_us: detectors.window_us,
            arrivals: 0,
            latency_sums: vec![0],
            drift: Drift::default(),
        }
    }

    fn completions(&self) -> usize {
        self.latency_sums.len() - 1
    }

    fn in_flight(&self) -> f64 {
        self.arrivals as f64 - self.completions() as f64
    }

    fn see(&mut self, at: i64, kind: Kind, e2e_us: i64) {
        let window = at.div_euclid(self.window_us);
        let y = self.in_flight();
        let drift = &mut self.drift;
        let first = *drift.window.get_or_insert(window);
        // Closing a window fixes its value; windows without events keep the one before.
        for _ in first..window {
            drift.sum_y += y;
            drift.sum_xy += drift.closed as f64 * y;
            drift.closed += 1;
        }
        drift.window = Some(window);
        match kind {
            Kind::Arrival => self.arrivals += 1,
            Kind::Completion => {
                let sum = self.latency_sums.last().copied().unwrap_or(0);
                self.latency_sums.push(sum + i128::from(e2e_us));
            }
        }
    }

    /// Mean of latencies `from..to` in order of completion, microseconds.
    fn mean_us(&self, from: usize, to: usize) -> f64 {
        (self.latency_sums[to] - self.latency_sums[from]) as f64 / (to - from) as f64
    }

    fn noise_floor(&self) -> f64 {
        1.0 / (self.arrivals as f64).sqrt()
    }

    fn arrivals_confidence(&self) -> f64 {
        (self.arrivals as f64 / 20.0).min(1.0)
    }

    fn composite(&self) -> Verdict {
        let n = self.completions();
        let rate_deficit = (1.0 - n as f64 / self.arrivals as f64).max(0.0);
        let mut raw = 0.0;
        if n >= 2 {
            let (first, second) = (self.mean_us(0, n / 2), self.mean_us(n / 2, n));
            if first > 0.0 {
                raw = ((second - first) / first).max(0.0);
            }
        }
        let monotone = n >= 20 && {
            let q = n / 4;
            let means = [
                self.mean_us(0, q),
                self.mean_us(q, 2 * q),
                self.mean_us(2 * q, 3 * q),
                self.mean_us(3 * q, n),
            ];
            means.windows(2).all(|w| w[0] < w[1])
        };
        let trend = if monotone { raw } else { 0.0 };
        let score = rate_deficit.max(trend.min(1.0));
        let noise_floor = self.noise_floor();
        Verdict {
            level: if score < noise_floor {
                Level::Stable
            } else if trend > noise_floor {
                Level::Overloaded
            } else {
                Level::Backlogged
            },
            score,
            confidence: self.arrivals_confidence(),
            signals: vec![
                ("rate_deficit", rate_deficit),
                ("latency_trend_raw", raw.min(1.0)),
                ("latency_trend", trend.min(1.0)),
                ("quartile_monotone", f64::from(u8::from(monotone))),
                ("noise_floor", noise_floor),
            ],
        }
    }

    fn threshold(&self) -> Verdict {
        let n = self.completions();
        let t = self.threshold_ms;
        let m = if n == 0 {
            0.0
        } else {
            self.mean_us(0, n) / 1000.0
        };
        let (level, score) = if n == 0 {
            (Level::Stable, 0.0)
        } else if m < t {
            (Level::Stable, 0.5 * m / t)
        } else {
            (Level::Overloaded, 0.75 + ((m - t) / (4.0 * t)).min(0.25))
        };
        Verdict {
            level,
            score,
            confidence: if n == 0 {
                0.0
            } else {
                1.0 - 1.0 / ((n + 1) as f64).sqrt()
            },
            signals: vec![("mean_e2e_ms", m), ("threshold_ms", t)],
        }
    }

    fn backlog_drift(&self) -> Verdict {
        // The open window ends, for now, with what is in flight.
        let (x, y) = (self.drift.closed as f64, self.in_flight());
        let n = x + 1.0;
        let (sum_y, sum_xy) = (self.drift.sum_y + y, self.drift.sum_xy + x * y);
        // Sum of 0..=x and of their squares.
        let sum_x = x * n / 2.0;
        let sum_xx = x * n * (2.0 * x + 1.0) / 6.0;
        let spread = n * sum_xx - sum_x * sum_x;
        let slope = if spread > 0.0 {
            (n * sum_xy - sum_x * sum_y) / spread
        } else {
            0.0
        };
        let noise_floor = self.noise_floor();
        Verdict {
            level: if slope <= noise_floor {
                Level::Stable
            } else if slope <= 3.0 * noise_floor {
                Level::Backlogged
            } else {
                Level::Overloaded
            },
            score: (slope.max(0.0) / (3.0 * noise_floor)).min(1.0),
            confidence: self.arrivals_confidence(),
            signals: vec![("slope_per_window", slope), ("noise_floor", noise_floor)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, run};
    use super::*;

    fn all() -> Detectors {
        Detectors::parse("--detectors", "all").unwrap()
    }

    #[test]
    fn names_are_read_and_wrong_ones_named() {
        let d = Detectors::parse("--detectors", "threshold, composite").unwrap();
        assert_eq!(d.selected, vec![Detector::Composite, Detector::Threshold]);
        let error = Detectors::parse("--detectors", "treshold").unwrap_err();
        insta::assert_snapshot!(error, @r#"--detectors: unknown detector "treshold"; did you mean "threshold"? valid: backlog-drift, composite, threshold, all"#);
    }

    #[test]
    fn settings_are_strict() {
        let mut d = all();
        d.configure(
            "s.yaml",
            "threshold: {threshold_ms: 10}\nbacklog_drift: {window_size_sec: 2}\n",
        )
        .unwrap();
        assert_eq!(
            (d.threshold_ms, d.window_us, d.final_window_us),
            (10.0, 2_000_000, 2_000_000)
        );
        let mut d = Detectors::parse("--detectors", "composite").unwrap();
        let error = d
            .configure("s.yaml", "threshold: {threshold_ms: 10}")
            .unwrap_err();
        insta::assert_snapshot!(error, @r#"s.yaml: threshold: detector "threshold" is not selected"#);
        let error = all()
            .configure("s.yaml", "threshold: {threshold_ms: 0}")
            .unwrap_err();
        insta::assert_snapshot!(error, @"s.yaml: threshold.threshold_ms: must be above 0, found 0");
    }

    #[test]
    fn latencies_that_keep_growing_are_an_overload() {
        // One arrival a millisecond, each 2 ms slower than the one before.
        let requests = (0..40)
            .map(|k| done(k, 1000 * k as i64, 1, 1000 + 2000 * k as i64, 0))
            .collect();
        let record = run(requests, 1);
        let mut verdicts = Vec::new();
        let mut d = all();
        d.final_window_us = 10_000;
        let labels = judge(&record, &d, |at, detector, verdict| {
            verdicts.push((at, detector, verdict.clone()));
        });
        assert_eq!(labels["composite"], Level::Overloaded);
        assert_eq!(labels["threshold"], Level::Stable);
        assert_eq!(labels["backlog-drift"], Level::Stable);
        assert_eq!(verdicts.len(), 3 * 80);
        let (at, _, last) = &verdicts[3 * 80 - 2];
        assert_eq!(*at, 39_000 + 79_000);
        // Halves have means 20 ms and 60 ms.
        assert_eq!(last.signals[1], ("latency_trend_raw", 1.0));
        assert_eq!(
            (last.level, last.score, last.confidence),
            (Level::Overloaded, 1.0, 1.0)
        );
        let (_, _, threshold) = &verdicts[3 * 80 - 1];
        assert_eq!(threshold.score, 0.5 * 40.0 / 5000.0);
    }

    #[test]
    fn a_growing_backlog_drifts_by_the_window() {
        // Ten arrivals in each of four windows, all finishing long after.
        let requests = (0..40)
            .map(|k| done(k, 1000 * k as i64, 1, 1_000_000, 0))
            .collect();
        let record = run(requests, 1);
        let mut d = Detectors::parse("--detectors", "backlog-drift").unwrap();
        d.window_us = 10_000;
        let mut slopes = Vec::new();
        judge(&record, &d, |at, _, v| {
            slopes.push((at, v.signals[0].1, v.level))
        });
        // In flight at the ends of the windows: 10, 20, 30, 40.
        assert_eq!(slopes[39], (39_000, 10.0, Level::Overloaded));
    }

    #[test]
    fn ties_go_to_the_more_severe_level_and_nothing_is_stable() {
        assert_eq!(plurality([2, 2, 1]), Level::Backlogged);
        assert_eq!(plurality([1, 0, 1]), Level::Overloaded);
        assert_eq!(plurality([0; 3]), Level::Stable);
        assert_eq!(
            judge(&run(vec![], 1), &all(), |_, _, _| {})["composite"],
            Level::Stable
        );
    }
}
