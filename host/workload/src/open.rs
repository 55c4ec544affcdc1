//! One door for all trace files.

use super::detect::{Format, detect};
use super::import::five_column::FiveColumn;
use super::import::held::{Held, HeldReplay, Turns};
use super::import::mooncake::{Mooncake, Reading};
use super::import::row::OpenRows;
use super::import::{
    Choice, ColumnMap, Cut, RowErrors, Rows, Selection, TimeUnit, azure, burstgpt, guidellm,
    mapped, mooncake, turns_of, vllm_bench,
};
use super::spec::{self, Generator};
use super::think::ThinkTime;
use super::trace_v2::{Header, RealTime, Replay, SessionMode, TraceV2};
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Finished, Request, Source, Symbols};

/// How [`open`] replays a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions {
    /// Sessions as recorded or as a closed loop.
    pub session_mode: SessionMode,
    /// Think time of all rounds of a closed loop, instead of the recorded ones.
    pub think_time: Option<ThinkTime>,
    /// Seed of what is drawn: think times, samples, ServeGen data.
    pub seed: u64,
    /// No follow-up arrives after this, microseconds. [`Trace::set_horizon_us`] changes it later.
    pub horizon_us: i64,
    /// Epoch send times of observed TraceV2 traces.
    pub real_time: RealTime,
    /// What is replayed, and how fast.
    pub selection: Selection,
    /// A malformed row is an error; otherwise it is skipped and counted.
    pub strict: bool,
    /// Which run of a file with several, from 1.
    pub run: Option<usize>,
    /// Unit of the time stamps, where a format leaves it open.
    pub time_unit: Option<TimeUnit>,
    /// Which column is what, in a CSV file of no known format.
    pub map: Option<ColumnMap>,
    /// Tokens of the blocks that `hash_ids` name.
    pub block_size: Option<u32>,
    /// Length of the answers that the file does not tell, tokens.
    pub output_tokens: Option<u32>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            session_mode: SessionMode::Fixed,
            think_time: None,
            seed: 0,
            horizon_us: i64::MAX,
            real_time: RealTime::AsRecorded,
            selection: Selection::default(),
            strict: false,
            run: None,
            time_unit: None,
            map: None,
            block_size: None,
            output_tokens: None,
        }
    }
}

impl OpenOptions {
    fn check(&self) -> Result<(), InputError> {
        self.selection.check()?;
        if self.think_time.is_some() && self.session_mode == SessionMode::Fixed {
            return Err(InputError::new(
                "a think time has no effect in the fixed session mode; choose the closed loop",
            ));
        }
        Ok(())
    }
}

/// An opened trace.
#[derive(Clone, Debug)]
pub struct Trace {
    format: Format,
    kind: Kind,
    says_accepted: bool,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
enum Kind {
    Rows(Box<Cut<Rows>>),
    FiveColumn(Box<Cut<FiveColumn>>),
    Held(Box<Held>),
    ServeGen(Box<Cut<Generator>>),
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
    let format = match options.map {
        Some(_) => Format::Mapped,
        None => detect(path)?,
    };
    refuse_units(path, format, options)?;
    if options.output_tokens.is_some() && !format.may_lack_output_lengths() {
        let message = format!(
            "this is {}, whose requests have their own lengths; `output_tokens` has no effect",
            format.with_article()
        );
        return Err(InputError::in_file(path.display(), message));
    }
    let mut notes = Vec::new();
    let mut errors = RowErrors::new(options.strict);
    let kind = if format == Format::TraceV2 {
        let header = header.map(Header::read).transpose()?;
        let replay = Replay {
            session_mode: options.session_mode,
            think_time: options.think_time,
            seed: options.seed,
            horizon_us: options.horizon_us,
            real_time: options.real_time,
            selection: options.selection,
        };
        refuse_run(path, format, options)?;
        Kind::TraceV2(Box::new(TraceV2::open(
            path,
            header.as_ref(),
            replay,
            &mut errors,
        )?))
    } else {
        refuse_what_only_trace_v2_has(path, header, format, options)?;
        without_sessions(path, format, options, &mut errors, &mut notes)?
    };
    if let Some(note) = errors.note()? {
        notes.push(note);
    }
    let trace = Trace {
        format,
        says_accepted: match &kind {
            Kind::FiveColumn(t) => t.inner().says_accepted(),
            Kind::TraceV2(t) => t.says_accepted(),
            _ => false,
        },
        kind,
        notes,
    };
    if format.is_held() && options.selection == Selection::default() && trace.size_hint() == Some(0)
    {
        return Err(InputError::in_file(
            path.display(),
            "there is no request in it",
        ));
    }
    if options.selection != Selection::default() && trace.clone().next_request().is_none() {
        let message = "the window, sample and cap leave no request";
        return Err(InputError::in_file(path.display(), message));
    }
    Ok(trace)
}

fn without_sessions(
    path: &Path,
    format: Format,
    options: &OpenOptions,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Kind, InputError> {
    let selection = options.selection;
    let rows = |open: Box<OpenRows>, errors: &mut RowErrors| {
        refuse_run(path, format, options)?;
        Rows::open(path, open, errors)
    };
    let rows = match format {
        Format::AzureLlm => rows(Box::new(azure::open), errors)?,
        Format::BurstGpt => {
            let unit = options.time_unit;
            rows(Box::new(move |path| burstgpt::open(path, unit)), errors)?
        }
        Format::Mapped => {
            let (map, unit) = (options.map.clone(), options.time_unit);
            let map = map.expect("what makes this format");
            rows(Box::new(move |path| mapped::open(path, &map, unit)), errors)?
        }
        Format::Mooncake => {
            refuse_run(path, format, options)?;
            let reading = Reading {
                unit: options.time_unit,
                block: options.block_size,
            };
            match mooncake::open(path, reading, errors, notes)? {
                Mooncake::Rows(_) if options.session_mode == SessionMode::ClosedLoop => {
                    return Err(no_sessions(path, format));
                }
                Mooncake::Rows(rows) => *rows,
                Mooncake::Turns(turns) => return replayed(path, turns, options),
            }
        }
        Format::VllmBench => vllm_bench::open(path, options.run, errors)?,
        Format::GuideLlm => {
            let scaled = selection.rate_scale != 1.0;
            guidellm::open(path, options.run, scaled, errors, notes)?
        }
        Format::FiveColumn => {
            refuse_run(path, format, options)?;
            let trace = FiveColumn::open(path, options.time_unit, errors)?;
            notes.extend(trace.notes().iter().cloned());
            return Ok(Kind::FiveColumn(Box::new(Cut::new(trace, selection))));
        }
        Format::ServeGen => {
            refuse_run(path, format, options)?;
            let seconds = |us: i64| us / 1_000_000;
            let from_s = seconds(selection.from_us.unwrap_or(0));
            let to_s = selection.to_us.map(seconds);
            let (generator, more) = spec::servegen(path, from_s, to_s, errors, options.seed)?;
            notes.extend(more);
            // The window is chosen already, whole windows of the data at a time.
            let rest = Selection {
                from_us: None,
                to_us: None,
                ..selection
            };
            *errors = RowErrors::new(options.strict);
            return Ok(Kind::ServeGen(Box::new(Cut::new(generator, rest))));
        }
        _ if format.is_held() => return held(path, format, options, errors, notes),
        _ => {
            let message =
                "this is a workload spec, no trace; `windtunnel run --workload-spec FILE` takes it";
            return Err(InputError::in_file(path.display(), message));
        }
    };
    notes.extend(rows.notes().iter().cloned());
    Ok(Kind::Rows(Box::new(Cut::new(rows, selection))))
}

fn held(
    path: &Path,
    format: Format,
    options: &OpenOptions,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Kind, InputError> {
    if format != Format::SgLang {
        refuse_run(path, format, options)?;
    }
    let choice = Choice {
        run: options.run,
        seed: options.seed,
        output_tokens: options.output_tokens,
    };
    let turns = turns_of(path, format, choice, errors, notes)?;
    replayed(path, turns, options)
}

/// Requests and sessions that are held in memory, as the options say.
fn replayed(path: &Path, turns: Turns, options: &OpenOptions) -> Result<Kind, InputError> {
    let replay = HeldReplay {
        closed_loop: options.session_mode == SessionMode::ClosedLoop,
        think_time: options.think_time,
        seed: options.seed,
        horizon_us: options.horizon_us,
        selection: options.selection,
    };
    let held = Held::new(&path.display().to_string(), turns, replay)?;
    Ok(Kind::Held(Box::new(held)))
}

fn refuse_what_only_trace_v2_has(
    path: &Path,
    header: Option<&Path>,
    format: Format,
    options: &OpenOptions,
) -> Result<(), InputError> {
    let refuse = |what: &str| {
        let message = format!("this is {}: {what}", format.with_article());
        Err(InputError::in_file(path.display(), message))
    };
    if let Some(header) = header {
        return refuse(&format!(
            "the header {} would have no effect, only TraceV2 has one",
            header.display()
        ));
    }
    if options.session_mode == SessionMode::ClosedLoop && !format.can_have_sessions() {
        return Err(no_sessions(path, format));
    }
    Ok(())
}

fn no_sessions(path: &Path, format: Format) -> InputError {
    let message = format!(
        "this is {}: it has no sessions to replay as a closed loop; `windtunnel workload convert` makes a TraceV2 trace of it",
        format.with_article()
    );
    InputError::in_file(path.display(), message)
}

/// Refuses a unit or a size of blocks that a format does not leave open.
fn refuse_units(path: &Path, format: Format, options: &OpenOptions) -> Result<(), InputError> {
    let refuse = |what: &str| {
        let message = format!("this is {}: {what}", format.with_article());
        Err(InputError::in_file(path.display(), message))
    };
    let open = [
        Format::Mooncake,
        Format::BurstGpt,
        Format::FiveColumn,
        Format::Mapped,
    ];
    if options.time_unit.is_some() && !open.contains(&format) {
        return refuse("`time_unit` has no effect, its format says the unit of its times");
    }
    match options.block_size {
        Some(0) => Err(InputError::new(
            "`trace_block_size` is 0; expected at least 1 token",
        )),
        Some(_) if format != Format::Mooncake => {
            refuse("`trace_block_size` has no effect, only Mooncake traces have hash_ids")
        }
        _ => Ok(()),
    }
}

fn refuse_run(path: &Path, format: Format, options: &OpenOptions) -> Result<(), InputError> {
    match options.run {
        Some(run) => Err(InputError::in_file(
            path.display(),
            format!(
                "this is {}: it has no runs of which {run} could be chosen",
                format.with_article()
            ),
        )),
        None => Ok(()),
    }
}

impl Trace {
    /// What it is.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What a person should know: rows that were skipped, data that are missing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The TraceV2 trace, if it is one.
    #[must_use]
    pub fn as_trace_v2(&self) -> Option<&TraceV2> {
        match &self.kind {
            Kind::TraceV2(t) => Some(t),
            _ => None,
        }
    }

    /// Does every request say how many of its drafts are right?
    #[must_use]
    pub fn says_accepted(&self) -> bool {
        self.says_accepted
    }

    /// Whether its requests belong to sessions that a closed loop can replay.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        match &self.kind {
            Kind::TraceV2(t) => t.has_sessions(),
            Kind::Held(t) => t.has_sessions(),
            _ => false,
        }
    }

    /// The latest arrival that does not hang on a completion, microseconds; `None` without
    /// requests.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        match &self.kind {
            Kind::Rows(t) => t.latest_arrival_us(),
            Kind::FiveColumn(t) => t.latest_arrival_us(),
            Kind::Held(t) => t.latest_arrival_us(),
            Kind::ServeGen(t) => t.latest_arrival_us(),
            Kind::TraceV2(t) => t.latest_arrival_us(),
        }
    }

    /// The reference's horizon for a replay: twice the latest arrival, 10 minutes if that is 0,
    /// none for an empty trace.
    #[must_use]
    pub fn replay_horizon_us(&self) -> i64 {
        match self.latest_arrival_us() {
            Some(0) => 600_000_000,
            Some(latest) => latest.checked_mul(2).unwrap_or(i64::MAX),
            None => i64::MAX,
        }
    }

    /// Sets the time after which no follow-up arrives. To be called before the first request is
    /// taken.
    pub fn set_horizon_us(&mut self, horizon_us: i64) {
        match &mut self.kind {
            Kind::TraceV2(t) => t.set_horizon_us(horizon_us),
            Kind::Held(t) => t.set_horizon_us(horizon_us),
            _ => {}
        }
    }

    fn source(&self) -> &dyn Source {
        match &self.kind {
            Kind::Rows(t) => t.as_ref(),
            Kind::FiveColumn(t) => t.as_ref(),
            Kind::Held(t) => t.as_ref(),
            Kind::ServeGen(t) => t.as_ref(),
            Kind::TraceV2(t) => t.as_ref(),
        }
    }

    fn source_mut(&mut self) -> &mut dyn Source {
        match &mut self.kind {
            Kind::Rows(t) => t.as_mut(),
            Kind::FiveColumn(t) => t.as_mut(),
            Kind::Held(t) => t.as_mut(),
            Kind::ServeGen(t) => t.as_mut(),
            Kind::TraceV2(t) => t.as_mut(),
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
#[path = "open_tests.rs"]
mod tests;
