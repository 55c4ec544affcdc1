//! One door for all trace files.

use super::azure::Azure;
use super::detect::{Format, detect};
use super::five_column::FiveColumn;
use super::pace::Pace;
use super::think::ThinkTime;
use super::trace_v2::{Header, RealTime, Replay, SessionMode, TraceV2};
use crate::input::InputError;
use crate::request::{Finished, Request, Source, Symbols};
use std::path::Path;

/// How [`open`] replays a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Sessions as recorded or as a closed loop.
    pub session_mode: SessionMode,
    /// Think time of all rounds of a closed loop, instead of the recorded ones.
    pub think_time: Option<ThinkTime>,
    /// Seed of drawn think times.
    pub seed: u64,
    /// No follow-up arrives after this, microseconds. [`Trace::set_horizon_us`] changes it later.
    pub horizon_us: i64,
    /// Epoch send times of observed TraceV2 traces.
    pub real_time: RealTime,
    /// Time limit of every request of a format without deadlines, microseconds; `None` = none.
    pub timeout_us: Option<i64>,
    /// Most requests, in order of arrival.
    pub max_requests: Option<u64>,
    /// Factor on the arrival rate: recorded times are divided by it.
    pub rate_scale: f64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            session_mode: SessionMode::Fixed,
            think_time: None,
            seed: 0,
            horizon_us: i64::MAX,
            real_time: RealTime::AsRecorded,
            timeout_us: None,
            max_requests: None,
            rate_scale: 1.0,
        }
    }
}

impl OpenOptions {
    fn check(&self) -> Result<(), InputError> {
        let refuse = |message: String| Err(InputError::new(message));
        if !(self.rate_scale.is_finite() && self.rate_scale > 0.0) {
            return refuse(format!(
                "the rate scale is {}; expected a finite number above 0",
                self.rate_scale
            ));
        }
        if self.think_time.is_some() && self.session_mode == SessionMode::Fixed {
            return refuse(
                "a think time has no effect in the fixed session mode; choose the closed loop"
                    .into(),
            );
        }
        if let Some(timeout) = self.timeout_us
            && timeout <= 0
        {
            return refuse(format!(
                "the timeout is {timeout} us; expected a time above 0"
            ));
        }
        Ok(())
    }
}

/// An opened trace file.
#[derive(Clone, Debug)]
pub enum Trace {
    /// Azure LLM inference trace.
    AzureLlm(Azure),
    /// Five-column trace.
    FiveColumn(FiveColumn),
    /// TraceV2 trace.
    TraceV2(Box<TraceV2>),
}

/// Opens a trace of any format. `header` is the YAML file of a TraceV2 trace.
///
/// # Errors
/// When a file cannot be read or is wrong, or an option makes no sense for it.
pub fn open(
    path: &Path,
    header: Option<&Path>,
    options: &OpenOptions,
) -> Result<Trace, InputError> {
    options.check()?;
    let format = detect(path)?;
    if format == Format::TraceV2 {
        let header = header.map(Header::read).transpose()?;
        let replay = Replay {
            session_mode: options.session_mode,
            think_time: options.think_time,
            seed: options.seed,
            horizon_us: options.horizon_us,
            real_time: options.real_time,
            max_requests: options.max_requests,
            rate_scale: options.rate_scale,
        };
        let source = TraceV2::open(path, header.as_ref(), replay)?;
        return Ok(Trace::TraceV2(Box::new(source)));
    }
    let refuse = |what: &str| {
        Err(InputError::in_file(
            path.display(),
            format!("this is a {format}: {what}"),
        ))
    };
    if let Some(header) = header {
        return refuse(&format!(
            "the header {} would have no effect, only TraceV2 has one",
            header.display()
        ));
    }
    if options.session_mode == SessionMode::ClosedLoop {
        return refuse("it has no sessions to replay as a closed loop, only TraceV2 has them");
    }
    let pace = Pace {
        rate_scale: options.rate_scale,
        timeout_us: options.timeout_us,
        max_requests: options.max_requests,
    };
    Ok(match format {
        Format::AzureLlm => Trace::AzureLlm(Azure::open(path, pace)?),
        _ => Trace::FiveColumn(FiveColumn::open(path, pace)?),
    })
}

impl Trace {
    /// What it is.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::AzureLlm(_) => Format::AzureLlm,
            Self::FiveColumn(_) => Format::FiveColumn,
            Self::TraceV2(_) => Format::TraceV2,
        }
    }

    /// The latest arrival that does not hang on a completion, microseconds; `None` without requests.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        match self {
            Self::AzureLlm(t) => t.latest_arrival_us(),
            Self::FiveColumn(t) => t.latest_arrival_us(),
            Self::TraceV2(t) => t.latest_arrival_us(),
        }
    }

    /// The reference's horizon for a replay: twice the latest arrival, 10 minutes if that is 0, none for an empty trace.
    #[must_use]
    pub fn replay_horizon_us(&self) -> i64 {
        match self.latest_arrival_us() {
            Some(0) => 600_000_000,
            Some(latest) => latest.checked_mul(2).unwrap_or(i64::MAX),
            None => i64::MAX,
        }
    }

    /// Sets the time after which no follow-up arrives. To be called before the first request is taken.
    pub fn set_horizon_us(&mut self, horizon_us: i64) {
        if let Self::TraceV2(t) = self {
            t.set_horizon_us(horizon_us);
        }
    }

    fn source(&self) -> &dyn Source {
        match self {
            Self::AzureLlm(t) => t,
            Self::FiveColumn(t) => t,
            Self::TraceV2(t) => t.as_ref(),
        }
    }

    fn source_mut(&mut self) -> &mut dyn Source {
        match self {
            Self::AzureLlm(t) => t,
            Self::FiveColumn(t) => t,
            Self::TraceV2(t) => t.as_mut(),
        }
    }
}

impl Source for Trace {
    fn next_request(&mut self) -> Option<Request> {
        self.source_mut().next_request()
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        self.source_mut().on_finished(finished)
    }

    fn has_follow_ups(&self) -> bool {
        self.source().has_follow_ups()
    }

    fn size_hint(&self) -> Option<u64> {
        self.source().size_hint()
    }

    fn symbols(&self) -> &Symbols {
        self.source().symbols()
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        self.source_mut().symbols_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    fn data(rest: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/workload")
            .join(rest)
    }

    #[test]
    fn a_trace_is_opened_by_its_content_alone() {
        let mut azure = open(&data("azure.csv"), None, &OpenOptions::default()).unwrap();
        assert_eq!(azure.format(), Format::AzureLlm);
        assert_eq!(azure.latest_arrival_us(), Some(52_001));
        assert_eq!(azure.replay_horizon_us(), 104_002);
        assert_eq!(azure.size_hint(), Some(3));
        assert!(azure.next_request().is_some());
        let closed = OpenOptions {
            session_mode: SessionMode::ClosedLoop,
            ..OpenOptions::default()
        };
        let header = data("closed-loop-prefix/trace.yaml");
        let trace = open(
            &data("closed-loop-prefix/trace.csv"),
            Some(&header),
            &closed,
        )
        .unwrap();
        assert_eq!(trace.format(), Format::TraceV2);
        assert_eq!(trace.size_hint(), Some(125));
        assert!(trace.has_follow_ups());
    }

    #[test]
    fn options_without_effect_are_refused() {
        let azure = data("azure.csv");
        let refuse = |header: Option<&Path>, options: OpenOptions| {
            open(&azure, header, &options).unwrap_err().to_string()
        };
        let usual = OpenOptions::default();
        let closed = OpenOptions {
            session_mode: SessionMode::ClosedLoop,
            ..usual
        };
        assert!(refuse(Some(Path::new("h.yaml")), usual).contains("only TraceV2 has one"));
        assert!(refuse(None, closed).contains("it has no sessions"));
        let think_time = Some(ThinkTime::Constant(5));
        assert!(
            refuse(
                None,
                OpenOptions {
                    think_time,
                    ..usual
                }
            )
            .contains("no effect")
        );
        for rate_scale in [0.0, -1.0, f64::NAN] {
            assert!(
                refuse(
                    None,
                    OpenOptions {
                        rate_scale,
                        ..usual
                    }
                )
                .contains("rate scale")
            );
        }
        let timeout_us = Some(0);
        assert!(
            refuse(
                None,
                OpenOptions {
                    timeout_us,
                    ..usual
                }
            )
            .contains("timeout")
        );
        let missing = open(Path::new("no-such.csv"), None, &usual).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no-such.csv: cannot read: no such file or folder"
        );
        let folder = open(&data(""), None, &usual).unwrap_err().to_string();
        assert!(folder.ends_with("cannot read: it is a folder"), "{folder}");
    }

    proptest! {
        #[test]
        fn no_file_makes_a_reader_panic(
            which in 0usize..3,
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, any::<u8>()), 0..8),
        ) {
            let trace = std::fs::read(data("closed-loop-prefix/trace.csv")).unwrap();
            let five = b"t,a,b,p,o\n1.5,x,y,\"[1,2,3]\",[4]\n1.5,x,y,\"[1,2,5]\",[4]\n".to_vec();
            let mut bytes = match which {
                0 => trace[..2000].to_vec(),
                1 => std::fs::read(data("azure.csv")).unwrap(),
                _ => five,
            };
            const BYTES: &[u8] = b"0-9.,\"[]\n\r eN\xff";
            for (at, kind, byte) in edits {
                let at = at.index(bytes.len());
                let byte = BYTES[byte as usize % BYTES.len()];
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => bytes.truncate(at + 1),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    bytes.push(byte);
                }
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.csv");
            std::fs::write(&path, &bytes).unwrap();
            match open(&path, None, &OpenOptions { rate_scale: 1.5, ..OpenOptions::default() }) {
                Ok(mut trace) => {
                    let mut last = 0;
                    while let Some(request) = trace.next_request() {
                        prop_assert!(request.arrival_us >= last);
                        last = request.arrival_us;
                    }
                }
                Err(error) => prop_assert!(error.to_string().contains("t.csv"), "{}", error),
            }
        }
    }
}
