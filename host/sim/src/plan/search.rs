//! The search over candidates: each at its least size, the cheapest ones over all seeds.

use super::Trial;
use super::least::least;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;

/// What is looked for.
pub struct Problem<'a> {
    /// What there is to choose from.
    pub candidates: Vec<Candidate>,
    /// Seeds of each answer; the first one finds the sizes to look at.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// The run of a candidate at a size with a seed (from 0). Same arguments, same answer.
    pub run: &'a (dyn Fn(usize, u32, u64) -> Result<Trial, InputError> + Sync),
    /// Is a larger number more load, rather than more instances?
    pub of_loads: bool,
    /// Told after every run: how many are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// A thing to choose.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Least and most of its numbers.
    pub range: [u32; 2],
    /// Where to look first; `None` = as the capacity of the least one says.
    pub start: Option<u32>,
}

/// What was found of a candidate.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It meets the targets.
    Fits(Box<Found>),
    /// It misses them at every number that was looked at; this one was the nearest.
    NotAtAny(u32, Box<Trial>),
    /// It was not searched: by what its least size completes per second it takes so many times as
    /// much as that, which costs more than what was found.
    Dearer(u32, Box<Trial>),
    /// There is no such run, or it goes wrong.
    Impossible(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Found {
    /// The least number; of loads the largest.
    pub number: u32,
    /// What single seeds say, in their order; one entry = only the first was asked.
    pub by_seed: Vec<u32>,
    /// Runs at that number, by seed.
    pub trials: Vec<Trial>,
    /// Runs at the number that is not enough (of loads: too much); none if there is none.
    pub beyond: Vec<Trial>,
}

/// Verdicts in the order of the candidates, and how many runs they took.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By candidate.
    pub verdicts: Vec<Verdict>,
    /// Runs carried out.
    pub runs: u64,
    /// Cost is dollars, as the price of all that can run is known; else it is GPUs.
    pub by_price: bool,
}

/// Where prices are known of all, dollars per hour; else GPUs.
fn cost(trial: &Trial, by_price: bool) -> f64 {
    match trial.usd_per_hour {
        Some(usd) if by_price => usd,
        _ => trial.gpus as f64,
    }
}

/// Candidates that are searched at a time: what they find decides which others are worth it.
const ROUND: usize = 8;
/// Beyond so many times the least cost, what one instance serves is reason enough not to search.
const SURELY_DEARER: f64 = 1.5;
/// Up to so many times the least cost, all seeds are asked.
const NEAR: f64 = 1.5;

/// Finds the verdicts.
///
/// # Errors
/// When no candidate makes a run: what is wrong with the first.
pub fn search(problem: &Problem<'_>) -> Result<Plan, InputError> {
    let all: Vec<usize> = (0..problem.candidates.len()).collect();
    let memos: Vec<Memo<'_>> = all.iter().map(|k| Memo::new(problem, *k)).collect();
    let first = |k: &usize| memos[*k].at(problem.candidates[*k].range[0], 0);
    let probes = parallel::map(&all, problem.jobs, first, |_, _| ());
    if let Some(Err(e)) = probes.iter().find(|p| p.is_err())
        && probes.iter().all(Result::is_err)
    {
        return Err(e.clone());
    }
    let known = probes.iter().flatten();
    let by_price = known.clone().all(|trial| trial.usd_per_hour.is_some());
    let mut verdicts: Vec<Option<Verdict>> = Vec::new();
    verdicts.extend(
        probes
            .iter()
            .map(|probe| Some(impossible(probe.as_ref().err()?.clone()))),
    );
    // By what they must cost at least; the cheapest first.
    let mut open: Vec<(f64, usize, u32)> = Vec::new();
    for (k, probe) in probes.iter().enumerate() {
        if let Ok(trial) = probe {
            let times = starts(problem, k, trial);
            open.push((f64::from(times) * cost(trial, by_price), k, times));
        }
    }
    open.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut best = f64::INFINITY;
    for round in open.chunks(ROUND) {
        let (worth, dear): (Vec<_>, Vec<_>) = round
            .iter()
            .copied()
            .partition(|(at_least, ..)| problem.of_loads || *at_least <= SURELY_DEARER * best);
        for (_, k, times) in dear {
            let trial = probes[k].clone()?;
            verdicts[k] = Some(Verdict::Dearer(times, Box::new(trial)));
        }
        let one = |(_, k, start): &(f64, usize, u32)| memos[*k].first_answer(*start);
        for ((_, k, _), found) in
            worth
                .iter()
                .zip(parallel::map(&worth, problem.jobs, one, |_, _| ()))
        {
            let verdict = found.unwrap_or_else(impossible);
            if let Verdict::Fits(found) = &verdict {
                best = best.min(cost(&found.trials[0], by_price));
            }
            verdicts[*k] = Some(verdict);
        }
    }
    let near = |v: &Option<Verdict>| match v {
        Some(Verdict::Fits(found)) => {
            problem.of_loads || cost(&found.trials[0], by_price) <= NEAR * best
        }
        _ => false,
    };
    let again: Vec<usize> = all
        .iter()
        .copied()
        .filter(|k| near(&verdicts[*k]))
        .collect();
    let answers = parallel::map(
        &again,
        problem.jobs,
        |k| match &verdicts[*k] {
            Some(Verdict::Fits(found)) => memos[*k].answer(found.number),
            other => Ok(other.clone().expect("searched")),
        },
        |_, _| (),
    );
    for (k, answer) in again.into_iter().zip(answers) {
        verdicts[k] = Some(answer.unwrap_or_else(impossible));
    }
    Ok(Plan {
        verdicts: verdicts.into_iter().flatten().collect(),
        runs: memos.iter().map(Memo::runs).sum(),
        by_price,
    })
}

/// A run that goes wrong is its candidate's fault.
fn impossible(why: InputError) -> Verdict {
    Verdict::Impossible(why.to_string())
}

/// How often the least size is needed, by what it completed.
fn starts(problem: &Problem<'_>, k: usize, least: &Trial) -> u32 {
    let candidate = &problem.candidates[k];
    if let Some(start) = candidate.start {
        return start;
    }
    let times = match least.completed_per_s > 0.0 && !least.met {
        true => (0.9 * least.arrivals_per_s / least.completed_per_s).ceil(),
        false => 1.0,
    };
    let [first, last] = candidate.range;
    (times as u32).saturating_mul(first).clamp(first, last)
}

/// The runs of a candidate that are known.
struct Memo<'a> {
    problem: &'a Problem<'a>,
    candidate: usize,
    known: Mutex<BTreeMap<(u32, u64), Trial>>,
}

impl<'a> Memo<'a> {
    fn new(problem: &'a Problem<'a>, candidate: usize) -> Self {
        Self {
            problem,
            candidate,
            known: Mutex::default(),
        }
    }

    fn runs(&self) -> u64 {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    fn at(&self, number: u32, seed: u64) -> Result<Trial, InputError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trial) = known().get(&(number, seed)) {
            return Ok(trial.clone());
        }
        let trial = (self.problem.run)(self.candidate, number, seed)?;
        known().insert((number, seed), trial.clone());
        (self.problem.progress)(1);
        Ok(trial)
    }

    /// All seeds' runs at a number.
    fn all_at(&self, number: u32) -> Result<Vec<Trial>, InputError> {
        (0..self.problem.seeds)
            .map(|seed| self.at(number, seed))
            .collect()
    }

    /// Is that enough, or of loads too much?
    fn wanted(&self, met: bool) -> bool {
        met != self.problem.of_loads
    }

    /// The answer of the first seed.
    fn first_answer(&self, start: u32) -> Result<Verdict, InputError> {
        let [first, last] = self.problem.candidates[self.candidate].range;
        let step = (start / 5).max(1);
        let found = least([first, last], start, step, |n| {
            Ok(self.wanted(self.at(n, 0)?.met))
        })?;
        let number = match (found, self.problem.of_loads) {
            (Some(n), false) => n,
            (Some(n), true) if n > first => n - 1,
            (Some(_), true) | (None, false) => return Ok(self.nearest()),
            (None, true) => last,
        };
        self.fits(number, vec![number], 1)
    }

    /// The run that came nearest to the targets; where requests are not served, the one that served
    /// most of them.
    fn nearest(&self) -> Verdict {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = |t: &Trial| {
            let unserved = t.arrivals_per_s / t.completed_per_s.max(f64::MIN_POSITIVE);
            t.use_of_limits
                .map_or((f64::INFINITY, unserved), |used| (used, 0.0))
        };
        let less = |a: &Trial, b: &Trial| {
            let (a, b) = (beyond(a), beyond(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        let nearest = known.iter().min_by(|a, b| less(a.1, b.1));
        let ((number, _), trial) = nearest.expect("the least one was asked");
        Verdict::NotAtAny(*number, Box::new(trial.clone()))
    }

    /// The answer of all seeds: met in most of them.
    fn answer(&self, start: u32) -> Result<Verdict, InputError> {
        let [first, last] = self.problem.candidates[self.candidate].range;
        let of_loads = self.problem.of_loads;
        let number = |found: Option<u32>| match (found, of_loads) {
            (Some(n), true) => n.saturating_sub(1),
            (Some(n), false) => n,
            // More than there is: the end stands for it.
            (None, _) => last,
        };
        let start = start + u32::from(of_loads);
        let mut by_seed = Vec::new();
        for seed in 0..self.problem.seeds {
            let enough = |n| Ok(self.wanted(self.at(n, seed)?.met));
            by_seed.push(number(least([first, last], start, 1, enough)?));
        }
        // The median: more than half of the seeds meet the targets with it.
        let mut sorted = by_seed.clone();
        sorted.sort_unstable();
        let median = match of_loads {
            false => sorted[sorted.len() / 2],
            true => sorted[(sorted.len() - 1) / 2],
        };
        self.fits(median.max(first), by_seed, self.problem.seeds)
    }

    fn fits(&self, number: u32, by_seed: Vec<u32>, seeds: u64) -> Result<Verdict, InputError> {
        let [first, last] = self.problem.candidates[self.candidate].range;
        let beyond = match self.problem.of_loads {
            false => (number > first).then(|| number - 1),
            true => (number < last).then(|| number + 1),
        };
        let at = |n: u32| match seeds {
            1 => Ok(vec![self.at(n, 0)?]),
            _ => self.all_at(n),
        };
        Ok(Verdict::Fits(Box::new(Found {
            number,
            by_seed,
            trials: at(number)?,
            beyond: beyond.map(at).transpose()?.unwrap_or_default(),
        })))
    }
}

/// Mean and 95 % interval (Student's t) of a few values; no interval of fewer than two.
#[must_use]
pub fn interval(values: &[f64]) -> (f64, Option<[f64; 2]>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok();
    let half = t.map(|t| t.inverse_cdf(0.975) * (variance / n).sqrt());
    (mean, half.map(|half| [mean - half, mean + half]))
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
