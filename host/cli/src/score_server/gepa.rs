//! The paths of GEPA's evaluation server (`gepa.oa`, `EvalServer`). Its examples are the scenarios
//! of the splits train and val.

use super::api::{CANDIDATE, HttpError, HttpResult, Server, ok, parse};
use crate::candidate_text::CandidateText;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use windtunnel_base::input::hint;
use windtunnel_score::{Report, ScoreRequest, Split};

/// Its paths.
pub fn paths() -> Router<Arc<Server>> {
    Router::new()
        .route("/evaluate", post(evaluate))
        .route("/evaluate_examples", post(evaluate_examples))
        .route("/validate", post(validate))
        .route("/status", get(status))
        .route("/task", get(task))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluateBody {
    candidate: CandidateText,
    #[serde(default)]
    example_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluateExamplesBody {
    candidate: CandidateText,
    #[serde(default)]
    example_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidateBody {
    candidate: CandidateText,
}

/// The scenarios of the splits that are shown, with their splits.
fn examples(server: &Server) -> Vec<(Split, &str)> {
    let of = |split| {
        let all = server.suite.scenarios(split);
        all.map(move |s| (split, s.id.as_str()))
    };
    of(Split::Train).chain(of(Split::Val)).collect()
}

fn example<'a>(server: &'a Server, id: &str) -> Result<(Split, &'a str), HttpError> {
    let all = examples(server);
    all.iter()
        .find(|(_, known)| *known == id)
        .copied()
        .ok_or_else(|| {
            let hint = hint("; ", id, all.iter().map(|(_, id)| *id));
            HttpError::bad_request(format!("Unknown or sealed example_id: '{id}'{hint}"))
        })
}

/// A request to score a candidate on one scenario.
fn request_on(
    server: &Server,
    candidate: &CandidateText,
    (split, id): (Split, &str),
) -> ScoreRequest {
    ScoreRequest {
        split,
        scenarios: Some(vec![id.to_owned()]),
        ..server.request(candidate.clone().candidate(CANDIDATE))
    }
}

/// What an evaluation shows besides its score.
fn info(server: &Server, report: &Report, example: Option<&str>) -> Value {
    let mut info = Map::new();
    if let Some(id) = example {
        info.insert("Scenario".into(), id.into());
    }
    if !report.errors.is_empty() {
        let errors: Vec<&str> = report.errors.iter().map(|e| e.message.as_str()).collect();
        info.insert("Error".into(), errors.join("\n").into());
    }
    if let Some(stopped) = &report.stopped {
        info.insert("Stopped".into(), stopped.reason.as_str().into());
    }
    if !report.feedback.is_empty() {
        info.insert("Feedback".into(), report.feedback.as_str().into());
    }
    // Outside train only the score is shown.
    if report.split == Split::Train {
        let objectives = server.suite.file.objectives.iter().map(|o| {
            let name = o.name();
            let score = report.objectives.get(&name).copied();
            (name, score.unwrap_or(report.score))
        });
        let scores: Map<String, Value> = objectives.map(|(n, s)| (n, s.into())).collect();
        info.insert("scores".into(), scores.into());
    }
    info.insert("_budget".into(), server.budget());
    info.into()
}

async fn evaluate(State(server): State<Arc<Server>>, request: Request) -> HttpResult {
    let body: EvaluateBody = parse(request).await?;
    let id = body.example_id.as_deref();
    let score_request = match id {
        Some(id) => request_on(&server, &body.candidate, example(&server, id)?),
        None => server.request(body.candidate.candidate(CANDIDATE)),
    };
    let reports = server.score(vec![score_request]).await?;
    let report = &reports[0];
    ok(&json!({
        "score": report.score,
        "info": info(&server, report, id),
        "budget": server.budget(),
    }))
}

/// The mean score over scenarios, with the score and the info of each.
async fn score_each(
    server: &Server,
    candidate: &CandidateText,
    examples: &[(Split, &str)],
) -> Result<(f64, Map<String, Value>, Map<String, Value>), HttpError> {
    let requests = examples
        .iter()
        .map(|e| request_on(server, candidate, *e))
        .collect();
    let reports = server.score(requests).await?;
    let mean = reports.iter().map(|r| r.score).sum::<f64>() / reports.len().max(1) as f64;
    let (mut scores, mut infos) = (Map::new(), Map::new());
    for ((_, id), report) in examples.iter().zip(&reports) {
        scores.insert((*id).to_owned(), report.score.into());
        infos.insert((*id).to_owned(), info(server, report, Some(id)));
    }
    Ok((mean, scores, infos))
}

async fn evaluate_examples(State(server): State<Arc<Server>>, request: Request) -> HttpResult {
    let body: EvaluateExamplesBody = parse(request).await?;
    let all = examples(&server);
    let mut wanted: Vec<(Split, &str)> = Vec::new();
    match &body.example_ids {
        Some(ids) => {
            for id in ids {
                let example = example(&server, id)?;
                if !wanted.contains(&example) {
                    wanted.push(example);
                }
            }
        }
        None => wanted.clone_from(&all),
    }
    if wanted.is_empty() {
        return Err(HttpError::bad_request(
            "example_ids is empty; leave it out for all",
        ));
    }
    let (mean, scores, infos) = score_each(&server, &body.candidate, &wanted).await?;
    ok(&json!({
        "average_score": mean,
        "scores": scores,
        "infos": infos,
        "num_evaluated": wanted.len(),
        "errors": {},
        "budget": server.budget(),
    }))
}

async fn validate(State(server): State<Arc<Server>>, request: Request) -> HttpResult {
    let body: ValidateBody = parse(request).await?;
    let of_val = |(split, _): &(Split, &str)| *split == Split::Val;
    let wanted: Vec<(Split, &str)> = examples(&server).into_iter().filter(of_val).collect();
    if wanted.is_empty() {
        return Err(HttpError::bad_request("Task has no validation set"));
    }
    let (mean, ..) = score_each(&server, &body.candidate, &wanted).await?;
    ok(&json!({
        "val_score": mean,
        "best_val_score": server.record_val(mean),
        "budget": server.budget(),
    }))
}

async fn status(State(server): State<Arc<Server>>) -> HttpResult {
    let (best, best_val, evals) = server.so_far();
    ok(&json!({
        "budget": server.budget(),
        "task": server.suite.label(),
        "best_score": best,
        "best_val_score": best_val,
        "total_evals": evals,
        "total_cost": 0.0,
    }))
}

async fn task(State(server): State<Arc<Server>>) -> HttpResult {
    let file = &server.suite.file;
    let size = |split| server.suite.scenarios(split).count();
    let hooks: Vec<&str> = server.suite.hooks.iter().map(|h| h.name()).collect();
    ok(&json!({
        "objective": format!(
            "{}: a Luau policy that fills {}. 0 is as good as the best tuned reference, higher is better, -100 does not work.",
            file.description,
            hooks.join(" or ")
        ),
        "background": "",
        "seed_candidate": null,
        "has_dataset": true,
        "train_size": size(Split::Train),
        "val_size": size(Split::Val),
        "test_size": 0,
    }))
}
