//! Comparing policies with a baseline.

use crate::error::raised;
use crate::interrupt::in_background;
use crate::score::{LoadedCandidate, ScoringOptions, give_back, take, wrong};
use pyo3::prelude::*;
use std::sync::Arc;
use windtunnel_cli::calls;
use windtunnel_score::Split;
use windtunnel_score::compare::{ComparisonRequest, compare as run};
use windtunnel_score::render::page;

/// Compares candidates with the first of them. Returns what the command prints with `--json`, and
/// its page, which says that `call` makes it again.
#[pyfunction]
pub fn compare(
    py: Python<'_>,
    candidates: Vec<LoadedCandidate>,
    options: &ScoringOptions,
    call: String,
) -> PyResult<(String, String)> {
    let split = calls::named::<Split>("split", &options.split).map_err(wrong)?;
    let suite = options.suite(split).map_err(wrong)?;
    let key = options.key(&suite).map_err(wrong)?;
    let request = ComparisonRequest {
        candidates: candidates.into_iter().map(|one| one.candidate).collect(),
        suite: Arc::new(suite),
        split,
        seeds: calls::seeds(options.seeds.as_deref()).map_err(wrong)?,
    };
    let scorer = take(&key).map_err(|e| raised(&e.into()))?;
    let cancelling = Arc::clone(&scorer);
    let (scorer, outcome) = in_background(
        py,
        move || {
            let outcome = run(scorer.runner(), &request, &|_| ());
            let told = outcome.map(|outcome| {
                let candidates: Vec<_> = request.candidates.iter().collect();
                let page = page::comparison(&outcome, &candidates, &call);
                (serde_json::to_string(&outcome), page)
            });
            (scorer, told)
        },
        || cancelling.runner().workers.cancel(),
    )?;
    drop(cancelling);
    let (report, page) = outcome.map_err(|error| raised(&calls::to_anyhow(error)))?;
    give_back(key, scorer);
    Ok((report.map_err(|e| raised(&e.into()))?, page))
}
