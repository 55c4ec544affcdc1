//! The paths of the server that are ours, and what all paths share.

use super::desk::{Desk, Refused};
use crate::args::named;
use crate::score::parse_seeds;
use crate::texts::Texts;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_score::{Ask, Candidate, Report, Seeds, Split, Suite, Trouble, Until};

/// Longest body of a request, bytes: by far enough for a script for every hook.
const LONGEST_BODY: usize = 1 << 20;
/// All paths, for whoever asks for another.
const PATHS: &[&str] = &[
    "/evaluate",
    "/evaluate_examples",
    "/validate",
    "/status",
    "/task",
    "/score",
    "/suite",
    "/health",
];

/// What all connections share.
pub struct Server {
    /// What candidates are scored on.
    pub suite: Arc<Suite>,
    /// Who scores them.
    pub desk: Arc<Desk>,
    /// Most evaluations.
    max_evals: Option<u64>,
    /// `/score` may have the split holdout.
    allow_holdout: bool,
    /// Processes.
    pub jobs: usize,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    evals: u64,
    best: Option<f64>,
    best_val: Option<f64>,
}

/// A request that gets no result.
pub struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            body: json!({ "error": message.into() }),
        }
    }

    pub fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let status = match trouble {
            Trouble::Input(_) => StatusCode::BAD_REQUEST,
            Trouble::Start(_) | Trouble::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, trouble.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        answer(self.status, self.body.to_string())
    }
}

/// What a path gives.
pub type Given = Result<Response, Refusal>;

fn answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A result.
pub fn fine(body: &Value) -> Given {
    Ok(answer(StatusCode::OK, body.to_string()))
}

/// What a request's body says.
pub async fn parse<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let too_long = || {
        let message = format!("the body is longer than {LONGEST_BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    // One that says how long it is need not be sent.
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|n| n > LONGEST_BODY) {
        return Err(too_long());
    }
    let body = axum::body::to_bytes(request.into_body(), LONGEST_BODY).await;
    let body = body.map_err(|_| too_long())?;
    serde_json::from_slice(&body)
        .map_err(|e| Refusal::wrong(format!("the body is not what it should be: {e}")))
}

impl Server {
    /// A server that has scored nothing yet.
    pub fn new(
        suite: Arc<Suite>,
        desk: Arc<Desk>,
        max_evals: Option<u64>,
        allow_holdout: bool,
        jobs: usize,
    ) -> Self {
        Self {
            suite,
            desk,
            max_evals,
            allow_holdout,
            jobs,
            counts: Mutex::default(),
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic before")
    }

    /// The budget of evaluations.
    pub fn budget(&self) -> Value {
        self.budget_of(&self.counts())
    }

    fn budget_of(&self, counts: &Counts) -> Value {
        let mut budget = json!({ "exhausted": false, "used": counts.evals });
        if let Some(most) = self.max_evals {
            budget["exhausted"] = (counts.evals >= most).into();
            budget["max_evals"] = most.into();
            budget["remaining_evals"] = most.saturating_sub(counts.evals).into();
        }
        budget
    }

    /// Best score on the whole of train so far, best mean on val so far, and evaluations.
    pub fn so_far(&self) -> (Option<f64>, Option<f64>, u64) {
        let counts = self.counts();
        (counts.best, counts.best_val, counts.evals)
    }

    /// Notes a mean on val and gives the best so far.
    pub fn note_val(&self, score: f64) -> f64 {
        let mut counts = self.counts();
        let best = counts.best_val.map_or(score, |best| best.max(score));
        counts.best_val = Some(best);
        best
    }

    /// A question about a candidate.
    pub fn ask(&self, candidate: Candidate) -> Ask {
        Ask::new(candidate, Arc::clone(&self.suite))
    }

    /// Has all of it scored; each question is one evaluation of the budget, however it ends.
    pub async fn score(&self, asks: Vec<Ask>) -> Result<Vec<Report>, Refusal> {
        let wanted = asks.len() as u64;
        let is_whole = |ask: &Ask| ask.split == Split::Train && ask.scenarios.is_none();
        let whole: Vec<bool> = asks.iter().map(is_whole).collect();
        let answers = {
            let mut counts = self.counts();
            if self
                .max_evals
                .is_some_and(|most| counts.evals + wanted > most)
            {
                let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Budget exhausted");
                refusal.body["budget"] = self.budget_of(&counts);
                return Err(refusal);
            }
            let answers = self.desk.take(asks).map_err(|why| {
                let why = match why {
                    Refused::Full => "too many evaluations wait already; ask again later",
                    Refused::Closed => "the server is ending",
                };
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
            })?;
            counts.evals += wanted;
            answers
        };
        let mut reports = Vec::new();
        for answer in answers {
            let gone = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
            reports.push(answer.await.map_err(gone)??);
        }
        let mut counts = self.counts();
        let whole = reports.iter().zip(whole).filter(|(_, whole)| *whole);
        for (report, _) in whole.filter(|(report, _)| report.ok) {
            let best = counts
                .best
                .map_or(report.score, |best| best.max(report.score));
            counts.best = Some(best);
        }
        Ok(reports)
    }
}

/// Our paths.
pub fn paths() -> Router<Arc<Server>> {
    Router::new()
        .route("/score", post(score))
        .route("/suite", get(suite))
        .route("/health", get(health))
}

/// Says what is wrong where nobody serves.
pub fn closed(paths: Router<Arc<Server>>) -> Router<Arc<Server>> {
    paths
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
}

async fn unknown_path(uri: axum::http::Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, unknown("path", uri.path(), PATHS))
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}

/// The body of `/score`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Name in the report.
    #[serde(default)]
    id: Option<String>,
    candidate: Texts,
    #[serde(default)]
    params: BTreeMap<String, f64>,
    #[serde(default)]
    split: Option<Split>,
    #[serde(default)]
    stage: Option<String>,
    #[serde(default)]
    seeds: Option<Value>,
    #[serde(default)]
    scenarios: Option<Vec<String>>,
    #[serde(default)]
    incumbent: Option<f64>,
}

fn stage(name: Option<&str>) -> Result<Until, Refusal> {
    let named = |name| named("stage", name).map_err(|e| Refusal::wrong(e.to_string()));
    name.map_or(Ok(Until::Auto), named)
}

fn seeds(seeds: Option<&Value>) -> Result<Seeds, Refusal> {
    let text = match seeds {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let wrong = |e: InputError| Refusal::wrong(e.message().trim_start_matches('-'));
    parse_seeds(text.as_deref()).map_err(wrong)
}

async fn score(State(server): State<Arc<Server>>, request: Request) -> Given {
    let question: Question = parse(request).await?;
    let split = question.split.unwrap_or(Split::Train);
    if split == Split::Holdout && !server.allow_holdout {
        let message =
            "the split holdout is for the last word: start the server with --allow-holdout";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    let name = question.id.as_deref().unwrap_or("candidate.lua");
    let mut candidate = question.candidate.candidate(name);
    candidate.params = question.params;
    let ask = Ask {
        split,
        until: stage(question.stage.as_deref())?,
        seeds: seeds(question.seeds.as_ref())?,
        scenarios: question.scenarios,
        incumbent: question.incumbent,
        ..server.ask(candidate)
    };
    let reports = server.score(vec![ask]).await?;
    let report = serde_json::to_string(&reports[0])
        .map_err(|e| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(answer(StatusCode::OK, report))
}

async fn suite(State(server): State<Arc<Server>>) -> Given {
    let suite = &server.suite;
    let file = &suite.file;
    let ids = |split| -> Vec<&str> { suite.scenarios(split).map(|s| s.id.as_str()).collect() };
    let hooks: Vec<&str> = suite.hooks.iter().map(|h| h.name()).collect();
    let objectives: Vec<String> = file.objectives.iter().map(|o| o.name()).collect();
    let references: Vec<&String> = file.references.keys().collect();
    // What is not told of holdout begins with its names.
    fine(&json!({
        "suite": suite.label(),
        "description": file.description,
        "hooks": hooks,
        "objectives": objectives,
        "references": references,
        "scenarios": { "train": ids(Split::Train), "val": ids(Split::Val) },
        "requests": file.requests,
        "seeds": { "train": file.seeds, "val": file.seeds_of(Split::Val) },
        "key": suite.digest(),
    }))
}

async fn health(State(server): State<Arc<Server>>) -> Given {
    fine(&json!({
        "ok": true,
        "engine": windtunnel_score::engine(),
        "suite": server.suite.label(),
        "jobs": server.jobs,
        "waiting": server.desk.waiting(),
        "budget": server.budget(),
    }))
}
