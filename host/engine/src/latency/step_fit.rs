//! Fits a table of whole steps to steps that were measured.
//!
//! Steps of like size and like KV tokens fall into one cell, whose median is a row of the table, at
//! the size and the KV tokens that are representative of it. Then rows are moved, where they must
//! be, so that more tokens, or more of them to read, never take less time.

use super::extrapolation::Extrapolation;
use super::model::StepAggregates;
use super::step_table::Steps;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;
use windtunnel_config::{FitQuality, StepRow, StepTable};

/// Up to here every size has cells of its own.
const EXACT_SIZES: u64 = 16;
/// Beyond, the largest size of a cell over its smallest one.
const SIZE_RATIO: f64 = 1.06;
/// Most KV tokens of the first cell that has any.
const LEAST_KV: u64 = 64;
/// The most KV tokens of a cell over the least.
const KV_RATIO: f64 = 1.25;
/// Steps further from the median of their cell than so many quartile ranges say nothing of how
/// times grow within it.
const FAR: f64 = 3.0;
/// Prefills that ran alone, in a cell, from which on those that ran with decodes say nothing of it.
const ENOUGH_ALONE: usize = 3;
/// Of ten steps in a row, those that are held back.
const HELD_BACK: [usize; 3] = [2, 5, 8];
/// Fewest steps of which some are held back.
const FEWEST_TO_HOLD_BACK: usize = 40;

/// A step that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredStep {
    /// What it computed.
    pub work: StepAggregates,
    /// How long it took, milliseconds.
    pub ms: f64,
}

/// What a step consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// Prefills alone.
    Prefill,
    /// Decodes alone.
    Decode,
    /// Both.
    Mixed,
}

impl StepKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Prefill, Self::Decode, Self::Mixed];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Mixed => "mixed",
        }
    }

    fn of(work: &StepAggregates) -> Self {
        match (work.prefill_tokens > 0, work.decodes > 0) {
            (true, true) => Self::Mixed,
            (true, false) => Self::Prefill,
            _ => Self::Decode,
        }
    }
}

/// A table fitted to steps, and how far it is from them.
#[derive(Clone, Debug)]
pub struct FittedSteps {
    /// The table.
    pub table: StepTable,
    /// Over all steps.
    pub quality: FitQuality,
    /// Steps, median and 90th percentile of the errors, by what steps consist of.
    pub by_kind: Vec<(StepKind, FitQuality)>,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

/// Fits a table to steps.
///
/// # Errors
/// When no step only decodes, or none computes prompts.
pub fn fit_steps(steps: &[MeasuredStep]) -> Result<FittedSteps, InputError> {
    let mut notes = Vec::new();
    let table = fit(steps, &mut notes)?;
    let every: Vec<&MeasuredStep> = steps.iter().collect();
    let mut quality = quality(&table, &every);
    if steps.len() >= FEWEST_TO_HOLD_BACK {
        let is_held = |k: &usize| HELD_BACK.contains(&(k % 10));
        let kept: Vec<MeasuredStep> = (0..steps.len())
            .filter(|k| !is_held(k))
            .map(|k| steps[k])
            .collect();
        let held = (0..steps.len()).filter(is_held).map(|k| &steps[k]);
        // Where the others do not suffice for a table, nothing is known of those held back.
        if let Ok(table) = fit(&kept, &mut Vec::new()) {
            let of_held = self::quality(&table, &held.collect::<Vec<_>>());
            quality.held_back_steps = Some(of_held.steps);
            quality.held_back_error_median = Some(of_held.error_median);
            quality.held_back_error_p90 = Some(of_held.error_p90);
        }
    }
    let by_kind = StepKind::ALL.into_iter().filter_map(|kind| {
        let such: Vec<&MeasuredStep> = steps
            .iter()
            .filter(|s| StepKind::of(&s.work) == kind)
            .collect();
        (!such.is_empty()).then(|| (kind, self::quality(&table, &such)))
    });
    Ok(FittedSteps {
        by_kind: by_kind.collect(),
        quality,
        table,
        notes,
    })
}

fn quality(table: &StepTable, steps: &[&MeasuredStep]) -> FitQuality {
    let times = Steps::new(table);
    let error = |s: &&MeasuredStep| {
        let (ms, _) = times.ms(&s.work, Extrapolation::Linear);
        (ms - s.ms).abs() / s.ms
    };
    let mut errors: Vec<f64> = steps.iter().map(error).collect();
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = errors.len().saturating_sub(1);
        let k = (share * last as f64).round() as usize;
        errors.get(k).copied().unwrap_or_default()
    };
    FitQuality {
        steps: steps.len() as u64,
        error_median: at(0.5),
        error_p90: at(0.9),
        ..FitQuality::default()
    }
}

fn fit(steps: &[MeasuredStep], notes: &mut Vec<String>) -> Result<StepTable, InputError> {
    let of = |kind| steps.iter().filter(move |s| StepKind::of(&s.work) == kind);
    let decodes: Vec<Point> = of(StepKind::Decode).map(Point::of_decodes).collect();
    if decodes.is_empty() {
        return Err(InputError::new(
            "there is no step that only decodes: a table needs some, as they occur while nobody sends requests",
        ));
    }
    let mut prefills: Vec<Point> = of(StepKind::Prefill).map(Point::of_prefills).collect();
    let mixed: Vec<&MeasuredStep> = of(StepKind::Mixed).collect();
    let mut moved = Moved::default();
    let decode_rows = rows(&decodes, &mut moved);
    let mut overlap = 1.0;
    if prefills.is_empty() {
        if mixed.is_empty() {
            return Err(InputError::new(
                "there is no step that computes a prompt: a table needs some",
            ));
        }
        notes.push("no step has prefills alone: their times are those of steps with both, without what the decodes take alone".to_owned());
    } else {
        let known = assemble(&rows(&prefills, &mut Moved::default()), &decode_rows, 1.0);
        overlap = fitted_overlap(&Steps::new(&known), &mixed).unwrap_or(1.0);
    }
    let mut alone_in: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for point in &prefills {
        *alone_in.entry(point.cell()).or_default() += 1;
    }
    let times = Steps::new(&assemble(&[], &decode_rows, overlap));
    let told = mixed.iter().filter_map(|s| alone(s, &times, overlap));
    let told = told.filter(|p| alone_in.get(&p.cell()).is_none_or(|n| *n < ENOUGH_ALONE));
    let told: Vec<Point> = told.collect();
    if !told.is_empty() && !prefills.is_empty() {
        notes.push(format!(
            "few steps have prefills alone: {} with decodes, too, say what some of their sizes take",
            told.len()
        ));
    }
    prefills.extend(told);
    if prefills.is_empty() {
        return Err(InputError::new(
            "there is no step from which the time of a prefill can be told",
        ));
    }
    let prefill_rows = rows(&prefills, &mut moved);
    if moved.rows > 0 {
        notes.push(format!(
            "{} of {} rows were moved, by {:.1} % at most, so that more work never takes less time",
            moved.rows,
            prefill_rows.len() + decode_rows.len(),
            moved.most * 1e2
        ));
    }
    Ok(assemble(&prefill_rows, &decode_rows, overlap))
}

/// The prefills of a step with both, alone: what the decodes did not add.
fn alone(step: &MeasuredStep, times: &Steps, overlap: f64) -> Option<Point> {
    let work = StepAggregates {
        prefill_tokens: 0,
        prefill_context: 0,
        ..step.work
    };
    let decode = times.ms(&work, Extrapolation::Linear).0;
    let ms = step.ms - overlap * decode;
    (ms >= decode).then(|| Point {
        ms,
        ..Point::of_prefills(step)
    })
}

/// The share of the shorter part that steps with both take beyond the longer one: the median, each
/// step counted by its shorter part.
fn fitted_overlap(times: &Steps, mixed: &[&MeasuredStep]) -> Option<f64> {
    let (reach, _) = times.reach();
    let known = mixed.iter().filter(|s| s.work.prefill_tokens <= reach);
    let mut shares: Vec<(f64, f64)> = known
        .map(|s| {
            let (prefill, decode) = times.parts_ms(&s.work);
            let shorter = prefill.min(decode);
            let beyond = s.ms - prefill.max(decode);
            ((beyond / shorter).clamp(0.0, 2.0), shorter)
        })
        .filter(|(share, _)| share.is_finite())
        .collect();
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = shares.iter().map(|s| s.1).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let median = shares.iter().find(|(_, weight)| {
        sum += weight;
        sum >= half
    });
    median.map(|(share, _)| (share * 1e4).round() / 1e4)
}

fn assemble(prefills: &[Cell], decodes: &[Cell], overlap: f64) -> StepTable {
    let row = |cell: &Cell, is_prefill| StepRow {
        prefill_tokens: if is_prefill { cell.size } else { 0 },
        decode_seqs: if is_prefill { 0 } else { cell.size },
        kv_tokens: cell.kv,
        ms: (cell.ms * 1e6).round() / 1e6,
        spread_ms: Some((cell.spread * 1e6).round() / 1e6),
        samples: Some(cell.samples),
    };
    let prefills = prefills.iter().map(|cell| row(cell, true));
    let decodes = decodes.iter().map(|cell| row(cell, false));
    StepTable {
        rows: prefills.chain(decodes).collect(),
        overlap: Some(overlap),
    }
}

/// A step of one kind.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// New tokens.
    size: u64,
    kv: u64,
    ms: f64,
}

impl Point {
    /// Where it belongs: by its size, and by its KV tokens.
    fn cell(&self) -> (u64, u64) {
        let kv = match self.kv {
            0 => 0,
            kv => 1 + bin(kv.max(LEAST_KV), LEAST_KV, KV_RATIO),
        };
        (bin(self.size, EXACT_SIZES, SIZE_RATIO), kv)
    }

    fn of_prefills(step: &MeasuredStep) -> Self {
        Self {
            size: step.work.prefill_tokens,
            kv: step.work.prefill_context,
            ms: step.ms,
        }
    }

    fn of_decodes(step: &MeasuredStep) -> Self {
        Self {
            size: step.work.decode_tokens(),
            kv: step.work.decode_context,
            ms: step.ms,
        }
    }
}

/// A row of the table to be.
#[derive(Clone, Copy, Debug)]
struct Cell {
    size: u64,
    kv: u64,
    ms: f64,
    spread: f64,
    samples: u64,
}

/// Rows that were moved, and how far, as a share.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    rows: usize,
    most: f64,
}

fn rows(points: &[Point], moved: &mut Moved) -> Vec<Cell> {
    let mut bins: BTreeMap<u64, BTreeMap<u64, Vec<Point>>> = BTreeMap::new();
    for point in points {
        let (size, kv) = point.cell();
        let cells = bins.entry(size).or_default();
        cells.entry(kv).or_default().push(*point);
    }
    let [per_size, per_kv] = slopes(&bins);
    let largest = points.iter().map(|p| p.size).max().unwrap_or(0);
    let most_kv = points.iter().map(|p| p.kv).max().unwrap_or(0);
    let mut all = Vec::new();
    for cells in bins.values() {
        let sizes: Vec<u64> = cells.values().flatten().map(|p| p.size).collect();
        // The table must reach as far as the steps do.
        let size = match sizes.contains(&largest) {
            true => largest,
            false => median(sizes),
        };
        for points in cells.values() {
            let kvs: Vec<u64> = points.iter().map(|p| p.kv).collect();
            let kv = match kvs.contains(&most_kv) {
                true => most_kv,
                false => median(kvs),
            };
            let there = |p: &Point| {
                let wider = (size as f64 - p.size as f64) * per_size;
                (p.ms + wider + (kv as f64 - p.kv as f64) * per_kv).max(p.ms * 0.5)
            };
            let mut times: Vec<f64> = points.iter().map(there).collect();
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[(share * (times.len() - 1) as f64).round() as usize];
            all.push(Cell {
                size,
                kv,
                ms: times[(times.len() - 1) / 2],
                spread: at(0.75) - at(0.25),
                samples: times.len() as u64,
            });
        }
    }
    let measured: Vec<f64> = all.iter().map(|cell| cell.ms).collect();
    make_monotone(&mut all, per_kv);
    for (cell, before) in all.iter().zip(measured) {
        let share = (cell.ms - before).abs() / before;
        if share > 1e-9 {
            moved.rows += 1;
            moved.most = moved.most.max(share);
        }
    }
    all
}

/// Numbers up to `exact` each for itself, then ranges of which the end is `ratio` times the start.
fn bin(value: u64, exact: u64, ratio: f64) -> u64 {
    if value <= exact {
        return value;
    }
    exact + 1 + ((value as f64 / exact as f64).ln() / ratio.ln()) as u64
}

/// The lower median.
fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

/// Milliseconds per new token and per KV token within cells: least squares, 0 or more, without
/// steps that are far off.
fn slopes(bins: &BTreeMap<u64, BTreeMap<u64, Vec<Point>>>) -> [f64; 2] {
    let (mut ss, mut sk, mut kk, mut st, mut kt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for points in bins.values().flat_map(BTreeMap::values) {
        let mut times: Vec<f64> = points.iter().map(|p| p.ms).collect();
        times.sort_by(f64::total_cmp);
        let quartile = |k: usize| times[(times.len() - 1) * k / 4];
        let range = FAR * (quartile(3) - quartile(1));
        let near: Vec<&Point> = points
            .iter()
            .filter(|p| (p.ms - quartile(2)).abs() <= range)
            .collect();
        let n = near.len() as f64;
        let mean = |of: fn(&Point) -> f64| near.iter().map(|p| of(p)).sum::<f64>() / n;
        let (size, kv) = (mean(|p| p.size as f64), mean(|p| p.kv as f64));
        let ms = mean(|p| p.ms);
        for p in near {
            let (s, k, t) = (p.size as f64 - size, p.kv as f64 - kv, p.ms - ms);
            ss += s * s;
            sk += s * k;
            kk += k * k;
            st += s * t;
            kt += k * t;
        }
    }
    let alone = |both: f64, square: f64| match square > 0.0 {
        true => (both / square).max(0.0),
        false => 0.0,
    };
    let determinant = ss * kk - sk * sk;
    if determinant <= 1e-9 * ss * kk {
        return match ss * LEAST_KV as f64 > kk {
            true => [alone(st, ss), 0.0],
            false => [0.0, alone(kt, kk)],
        };
    }
    let per_size = (st * kk - kt * sk) / determinant;
    let per_kv = (kt * ss - st * sk) / determinant;
    match (per_size < 0.0, per_kv < 0.0) {
        (false, false) => [per_size, per_kv],
        (true, _) => [0.0, alone(kt, kk)],
        (false, true) => [alone(st, ss), 0.0],
    }
}

/// Moves rows so that times never fall along the KV tokens of a size, nor from a size to the next
/// at equal KV tokens.
fn make_monotone(cells: &mut [Cell], per_kv: f64) {
    let mut levels = Vec::new();
    for group in cells.chunk_by_mut(|a, b| a.size == b.size) {
        let along: Vec<(f64, f64)> = group.iter().map(|c| (c.ms, c.samples as f64)).collect();
        for (cell, ms) in group.iter_mut().zip(ascending(&along)) {
            cell.ms = ms;
        }
        let weight: f64 = group.iter().map(|c| c.samples as f64).sum();
        let level = |c: &Cell| (c.ms - per_kv * c.kv as f64) * c.samples as f64;
        levels.push((group.iter().map(level).sum::<f64>() / weight, weight));
    }
    let groups = cells.chunk_by_mut(|a, b| a.size == b.size);
    for ((group, level), (before, _)) in groups.zip(ascending(&levels)).zip(&levels) {
        for cell in group {
            // No row falls to nothing because its neighbours are noisy.
            cell.ms = (cell.ms + level - before).max(cell.ms * 0.5);
        }
    }
}

/// The nearest values, by squares and weights, that never fall (pool adjacent violators).
fn ascending(values: &[(f64, f64)]) -> Vec<f64> {
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for &(value, weight) in values {
        let mut block = (value, weight, 1);
        while let Some(&(before, w, n)) = blocks.last()
            && before > block.0
        {
            blocks.pop();
            let both = w + block.1;
            block = ((before * w + block.0 * block.1) / both, both, n + block.2);
        }
        blocks.push(block);
    }
    let spread = |(value, _, n): (f64, f64, usize)| std::iter::repeat_n(value, n);
    blocks.into_iter().flat_map(spread).collect()
}

#[cfg(test)]
#[path = "step_fit_tests.rs"]
mod tests;
