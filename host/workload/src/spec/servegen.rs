//! ServeGen data: production traffic as one client per chunk, each with its own rate, burstiness
//! and lengths in windows of ten minutes.
//!
//! A folder holds `chunk-<id>-trace.csv` (no header; window start in seconds, rate, cv, pattern,
//! shape, scale in seconds) and `chunk-<id>-dataset.json` (probabilities of lengths by window
//! start, windows of six hours, written as Python dictionaries).

use super::locate::Fault;
use super::parts;
use super::planned::{Counted, Kind, Modalities, Planned, Prompt, Traffic, Wire};
use super::types::ServeGenData;
use crate::import::RowErrors;
use crate::json::read_json;
use crate::sample::{Empirical, Gaps, Lengths};
use crate::table::open_file;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{self, InputError};

/// Length of a window of the published data, seconds.
const WINDOW_S: i64 = 600;
/// Requests of the longest window that is drawn as a whole: published data has none.
const UNSPLIT: f64 = 1_048_576.0;
/// Longest trace file, bytes.
const MOST_BYTES: u64 = 64 << 20;

/// What of a folder is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// First window, seconds.
    pub(super) start_s: i64,
    /// End, seconds; `None` = all there is.
    pub(super) end_s: Option<i64>,
    /// Length of a window, seconds.
    pub(super) window_s: i64,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            start_s: 0,
            end_s: None,
            window_s: WINDOW_S,
        }
    }
}

/// The clients of a folder, with notes about what is missing.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) clients: Vec<Planned>,
    pub(super) notes: Vec<String>,
}

/// Reads what a spec says.
pub(super) fn plan(data: &ServeGenData, folder: &Path) -> Result<Loaded, Fault> {
    let unread = [
        ("time_window", data.time_window.is_some()),
        ("drain_timeout_secs", data.drain_timeout_secs.is_some()),
    ];
    if let Some((key, _)) = unread.iter().find(|(_, given)| *given) {
        let message = "has no effect: windows follow each other as recorded; span_start and span_end choose them";
        return Err(Fault::new(*key, message));
    }
    if data.path.is_empty() {
        return Err(Fault::new("", "path is missing"));
    }
    let window_s = data.window_duration_secs.unwrap_or(WINDOW_S);
    if !(1..=1_000_000).contains(&window_s) {
        let message = format!("expected seconds from 1 to 1000000, found {window_s}");
        return Err(Fault::new("window_duration_secs", message));
    }
    if data.span_start < 0 || (data.span_end != 0 && data.span_end <= data.span_start) {
        let message = format!(
            "expected 0 <= span_start < span_end, found {} and {}",
            data.span_start, data.span_end
        );
        return Err(Fault::new("span_end", message));
    }
    let span = Span {
        start_s: data.span_start,
        end_s: (data.span_end != 0).then_some(data.span_end),
        window_s,
    };
    let mut errors = RowErrors::new(false);
    load(&folder.join(&data.path), span, &mut errors).map_err(|e| Fault::new("path", e.to_string()))
}

/// Is this a folder of ServeGen data?
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir() && traces(path).is_ok_and(|t| !t.is_empty())
}

/// Trace files with the names of their chunks, in order of the names.
fn traces(folder: &Path) -> Result<Vec<(String, PathBuf)>, InputError> {
    let refuse = |e: std::io::Error| {
        InputError::in_file(
            folder.display(),
            format!("cannot read: {}", input::plain(&e)),
        )
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(chunk) = name
            .strip_suffix("-trace.csv")
            .filter(|n| n.starts_with("chunk-"))
        {
            found.push((chunk.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a folder. Time 0 is the beginning of the span.
pub(super) fn load(
    folder: &Path,
    span: Span,
    errors: &mut RowErrors,
) -> Result<Loaded, InputError> {
    let traces = traces(folder)?;
    if traces.is_empty() {
        let message = "there is no file chunk-<id>-trace.csv; expected a folder of ServeGen data for one model";
        return Err(InputError::in_file(folder.display(), message));
    }
    let (mut kept, mut lost) = (0.0, 0.0);
    let mut loaded = Loaded::default();
    let mut without = Vec::new();
    for (chunk, path) in &traces {
        let windows = windows(path, span, errors)?;
        let rate: f64 = windows.iter().map(|w| w.rate).sum();
        if windows.is_empty() {
            continue;
        }
        let dataset = folder.join(format!("{chunk}-dataset.json"));
        let lengths = if dataset.is_file() {
            Dataset::read(&dataset)?
        } else {
            Dataset::default()
        };
        let counted = counted(&windows, &lengths, span);
        let sent: f64 = counted
            .iter()
            .map(|w| w.expected / span.window_s as f64)
            .sum();
        (kept, lost) = (kept + sent, lost + rate - sent);
        if counted.is_empty() {
            without.push(chunk.as_str());
        } else {
            loaded.clients.push(client(chunk, counted));
        }
    }
    split(&mut loaded.clients)
        .map_err(|f| InputError::in_file(folder.display(), InputError::from(f).message()))?;
    if loaded.clients.is_empty() {
        let message = "no chunk has an active window with lengths in this span";
        return Err(InputError::in_file(folder.display(), message));
    }
    if lost > 1e-9 {
        let shown = if without.is_empty() {
            "windows without lengths are left out".to_owned()
        } else {
            let few = without
                .iter()
                .take(3)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            let more = if without.len() > 3 { ", ..." } else { "" };
            format!(
                "{} chunks have no lengths (no dataset file, or empty) and are left out: {few}{more}",
                without.len()
            )
        };
        loaded.notes.push(format!(
            "{}: {shown}; that is {:.1}% of the rate",
            folder.display(),
            100.0 * lost / (kept + lost)
        ));
    }
    if let Some(note) = errors.note()? {
        loaded.notes.push(note);
    }
    Ok(loaded)
}

/// An active window of a chunk.
struct Active {
    start_s: i64,
    rate: f64,
    gaps: Gaps,
}

fn windows(path: &Path, span: Span, errors: &mut RowErrors) -> Result<Vec<Active>, InputError> {
    let mut text = String::new();
    let cannot = |e: std::io::Error| {
        InputError::in_file(path.display(), format!("cannot read: {}", input::plain(&e)))
    };
    open_file(path)?
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    let mut windows = Vec::new();
    for (k, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let row = active(line, span)
            .map_err(|what| InputError::at(path.display(), k as u64 + 1, 0, what));
        windows.extend(errors.take(row)?.flatten());
    }
    Ok(windows)
}

/// A row of a trace file; `None` when it is inactive or outside the span.
fn active(line: &str, span: Span) -> Result<Option<Active>, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [start, rate, cv, pattern, shape, scale] = fields[..] else {
        return Err(format!("expected 6 columns, found {}", fields.len()));
    };
    let number = |text: &str, what: &str| {
        let x = text
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_finite() && *x >= 0.0);
        x.ok_or_else(|| format!("{what}: expected a number of 0 or more, found \"{text}\""))
    };
    let start_s = number(start, "window start")?.min(1e12) as i64;
    let (rate, cv) = (number(rate, "rate")?, number(cv, "cv")?);
    let (shape, scale) = (number(shape, "shape")?, number(scale, "scale")?);
    if rate == 0.0 || start_s < span.start_s || span.end_s.is_some_and(|end| start_s >= end) {
        return Ok(None);
    }
    let fitted = shape > 0.0 && scale > 0.0;
    let gaps = match pattern.to_ascii_lowercase().as_str() {
        "gamma" if fitted => Gaps::gamma_of(shape, scale * 1e6),
        "gamma" if cv > 0.0 => Gaps::gamma(rate, cv),
        "weibull" if fitted => Gaps::weibull_of(shape, scale * 1e6),
        "weibull" if cv > 0.0 => Gaps::weibull(rate, cv),
        _ => Some(Gaps::poisson(rate)),
    };
    let gaps = gaps.ok_or("shape, scale and cv make no distribution")?;
    Ok(Some(Active {
        start_s,
        rate,
        gaps,
    }))
}

/// Lengths of a window of six hours.
#[derive(Clone)]
struct Sizes {
    prompt: Prompt,
    output: Lengths,
    reasoning: Option<Lengths>,
}

/// Lengths of a chunk by window start, seconds.
#[derive(Default)]
struct Dataset(BTreeMap<i64, Sizes>);

impl Dataset {
    fn read(path: &Path) -> Result<Self, InputError> {
        type Raw = BTreeMap<String, BTreeMap<String, String>>;
        let raw: Raw = read_json(path, "ServeGen dataset")?;
        let mut windows = BTreeMap::new();
        for (start, fields) in raw {
            let wrong = |what: String| {
                InputError::in_file(path.display(), format!("window {start}: {what}"))
            };
            let at: i64 = start
                .trim()
                .parse()
                .map_err(|_| wrong("expected seconds as key".into()))?;
            if let Some(sizes) = sizes(&fields).map_err(wrong)? {
                windows.insert(at, sizes);
            }
        }
        Ok(Self(windows))
    }

    /// Lengths at a time: of the nearest window before it, else after it.
    fn at(&self, seconds: i64) -> Option<&Sizes> {
        let before = self.0.range(..=seconds).next_back();
        let found = before.or_else(|| self.0.range(seconds..).next());
        found.map(|(_, sizes)| sizes)
    }
}

fn sizes(fields: &BTreeMap<String, String>) -> Result<Option<Sizes>, String> {
    let read = |key: &str, scale: f64| match fields.get(key) {
        Some(text) => pmf(text, scale).map_err(|e| format!("{key}: {e}")),
        None => Ok(None),
    };
    let Some(output) = read("output_tokens", 1.0)? else {
        return Ok(None);
    };
    let prompt = if fields.contains_key("text_tokens") {
        let text = read("text_tokens", 1.0)?;
        let pair = |name: &str| {
            Ok::<_, String>(
                read(&format!("{name}_count"), 1.0)?.zip(read(&format!("{name}_tokens"), 1.0)?),
            )
        };
        let others = [pair("image")?, pair("audio")?, pair("video")?];
        if text.is_none() && others.iter().all(Option::is_none) {
            return Ok(None);
        }
        Prompt::Multimodal(Box::new(Modalities { text, others }))
    } else {
        match read("input_tokens", 1.0)? {
            Some(lengths) => Prompt::Text(lengths),
            None => return Ok(None),
        }
    };
    Ok(Some(Sizes {
        prompt,
        output,
        reasoning: read("reason_ratio", 100.0)?,
    }))
}

/// Probabilities by value, as Python writes a dictionary: `{224: 0.0003, 225: 0.0008}`. Values are
/// multiplied by `scale`. `None` without any.
fn pmf(text: &str, scale: f64) -> Result<Option<Lengths>, String> {
    // The samples that circulate end in a comment.
    let text = text.split('#').next().unwrap_or_default().trim();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let inner = inner.ok_or("expected a dictionary in braces")?;
    let mut bins = Vec::new();
    for item in inner.split(',').filter(|i| !i.trim().is_empty()) {
        let pair = item.split_once(':').and_then(|(value, weight)| {
            let value: f64 = value.trim().parse().ok()?;
            let weight: f64 = weight.trim().parse().ok()?;
            let value = value * scale;
            (weight.is_finite() && (0.0..=1e9).contains(&value)).then_some((value as u32, weight))
        });
        let found = || {
            format!(
                "expected a length and its probability, found \"{}\"",
                item.trim()
            )
        };
        bins.push(pair.ok_or_else(found)?);
    }
    Ok(Empirical::new(bins).map(Lengths::Empirical))
}

fn counted(windows: &[Active], lengths: &Dataset, span: Span) -> Vec<Counted> {
    let window = |w: &Active| {
        let sizes = lengths.at(w.start_s)?.clone();
        let end_s = (w.start_s + span.window_s).min(span.end_s.unwrap_or(i64::MAX));
        Some(Counted {
            start_us: (w.start_s - span.start_s) * 1_000_000,
            end_us: (end_s - span.start_s) * 1_000_000,
            expected: w.rate * (end_s - w.start_s) as f64,
            gaps: w.gaps,
            prompt: Some(Arc::new(sizes.prompt)),
            output: Some(Arc::new(sizes.output)),
            reasoning: sizes.reasoning.map(Arc::new),
        })
    };
    let mut counted: Vec<Counted> = windows.iter().filter_map(window).collect();
    counted.sort_by_key(|w| w.start_us);
    counted
}

/// Splits windows of so many requests that drawing their gaps ahead would take long.
fn split(clients: &mut [Planned]) -> Result<(), Fault> {
    let expected = |c: &Planned| match &c.traffic {
        Traffic::Windows(windows) => {
            let windows = windows.iter().map(|w| (w.start_us, w.end_us, w.expected));
            (1.0, windows.collect())
        }
        _ => (1.0, Vec::new()),
    };
    let groups: Vec<(f64, Vec<parts::Expected>)> = clients.iter().map(expected).collect();
    let size = parts::part_size(UNSPLIT, &groups)?;
    for client in clients {
        if let Traffic::Windows(windows) = &mut client.traffic
            && windows.iter().any(|w| w.expected >= size)
        {
            let whole = windows.iter().cloned();
            *windows = whole.flat_map(|w| parts::split(w, size)).collect();
        }
    }
    Ok(())
}

fn client(chunk: &str, windows: Vec<Counted>) -> Planned {
    Planned {
        kind: Arc::new(Kind {
            adapters: Vec::new(),
            deal: None,
            tenant: chunk.to_owned(),
            slo_class: String::new(),
            model: String::new(),
            adapter: String::new(),
            prefix_tokens: 0,
            streaming: true,
            timeout_us: 0,
            slo_ttft_us: 0,
            wire: Wire::default(),
            prompt: Prompt::Text(Lengths::Constant(1)),
            output: Lengths::Constant(1),
            reasoning: None,
            session: None,
        }),
        id: format!("servegen-{chunk}"),
        prefix_group: String::new(),
        key: 0,
        traffic: Traffic::Windows(windows.into()),
    }
}
