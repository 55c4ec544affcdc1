//! Paths of the server for whole reports and suites, and what all its paths share.

use super::cost::CostLimits;
use super::queue::{JobQueue, Refused};
use super::unique::UniqueKeys;
use crate::args::named;
use crate::candidate_text::CandidateText;
use crate::score::parse_seeds;
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
use windtunnel_base::input::{InputError, unknown, visible};
use windtunnel_score::{
    Candidate, LastStage, Report, ScoreRequest, ScoringError, Seeds, Split, Suite,
};

/// Longest body of an HTTP request, bytes: far more than a script for every hook.
pub const LONGEST_BODY: usize = 1 << 20;
/// Longest name of a candidate in its report, characters.
const LONGEST_ID: usize = 200;
/// What the file of a candidate is called in messages, whatever the candidate's name: a name that a
/// client chooses is no path.
pub const CANDIDATE: &str = "candidate.lua";
/// All paths, for the hint about an unknown one.
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

/// The state that all connections share.
pub struct Server {
    /// The suite that candidates are scored on.
    pub suite: Arc<Suite>,
    /// The queue of score requests.
    pub queue: Arc<JobQueue>,
    /// Most evaluations.
    max_evals: Option<u64>,
    /// `/score` may have the split holdout.
    allow_holdout: bool,
    /// What one HTTP request may cost.
    limits: CostLimits,
    /// Worker processes.
    pub jobs: usize,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    evals: u64,
    best: Option<f64>,
    best_val: Option<f64>,
}

/// The answer to a request that has no result.
pub struct HttpError {
    status: StatusCode,
    body: Value,
}

impl HttpError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            body: json!({ "error": message.into() }),
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

fn ending() -> HttpError {
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending")
}

impl From<ScoringError> for HttpError {
    fn from(error: ScoringError) -> Self {
        match error {
            ScoringError::Input(_) => Self::bad_request(error.to_string()),
            ScoringError::Start(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            // Somebody who has gone hears nothing of it.
            ScoringError::Cancelled => ending(),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        answer(self.status, self.body.to_string())
    }
}

/// The result of a path.
pub type HttpResult = Result<Response, HttpError>;

fn answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A result with status 200.
pub fn ok(body: &Value) -> HttpResult {
    Ok(answer(StatusCode::OK, body.to_string()))
}

/// Parses the body of a request, which is there as a whole.
pub async fn parse<T: DeserializeOwned>(request: Request) -> Result<T, HttpError> {
    let wrong = |e: serde_json::Error| {
        HttpError::bad_request(format!("the body is not what it should be: {e}"))
    };
    let body = axum::body::to_bytes(request.into_body(), LONGEST_BODY).await;
    let body = body.map_err(|e| HttpError::bad_request(e.to_string()))?;
    serde_json::from_slice::<UniqueKeys>(&body).map_err(wrong)?;
    serde_json::from_slice(&body).map_err(wrong)
}

impl Server {
    /// The state of a server before its first request.
    pub fn new(
        suite: Arc<Suite>,
        queue: Arc<JobQueue>,
        max_evals: Option<u64>,
        allow_holdout: bool,
        limits: CostLimits,
        jobs: usize,
    ) -> Self {
        Self {
            suite,
            queue,
            max_evals,
            allow_holdout,
            limits,
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

    /// Best score on the whole train split, best mean on val, and number of evaluations.
    pub fn so_far(&self) -> (Option<f64>, Option<f64>, u64) {
        let counts = self.counts();
        (counts.best, counts.best_val, counts.evals)
    }

    /// Records a mean on val and returns the best.
    pub fn record_val(&self, score: f64) -> f64 {
        let mut counts = self.counts();
        let best = counts.best_val.map_or(score, |best| best.max(score));
        counts.best_val = Some(best);
        best
    }

    /// A request to score a candidate on the whole train split.
    pub fn request(&self, candidate: Candidate) -> ScoreRequest {
        ScoreRequest::new(candidate, Arc::clone(&self.suite))
    }

    /// Scores candidates. Each request is one evaluation of the budget, whatever its result, unless
    /// it is refused. What is under way ends when the client goes, as this future is dropped then.
    pub async fn score(&self, requests: Vec<ScoreRequest>) -> Result<Vec<Report>, HttpError> {
        let refused = |e: InputError| HttpError::bad_request(e.to_string());
        self.limits.check(&requests).map_err(refused)?;
        let wanted = requests.len() as u64;
        let is_whole = |r: &ScoreRequest| r.split == Split::Train && r.scenarios.is_none();
        let whole: Vec<bool> = requests.iter().map(is_whole).collect();
        let mut answers = {
            let mut counts = self.counts();
            if self
                .max_evals
                .is_some_and(|most| counts.evals + wanted > most)
            {
                let mut error = HttpError::new(StatusCode::TOO_MANY_REQUESTS, "Budget exhausted");
                error.body["budget"] = self.budget_of(&counts);
                return Err(error);
            }
            let answers = self.queue.submit(requests).map_err(|refused| {
                let full = "too many evaluations wait already; ask again later";
                match refused {
                    Refused::Full => HttpError::new(StatusCode::SERVICE_UNAVAILABLE, full),
                    Refused::Closed => ending(),
                }
            })?;
            counts.evals += wanted;
            answers
        };
        let mut reports = Vec::new();
        for answer in &mut answers.all {
            reports.push(answer.await.map_err(|_| ending())??);
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

/// The paths for whole reports and suites.
pub fn paths() -> Router<Arc<Server>> {
    Router::new()
        .route("/score", post(score))
        .route("/suite", get(suite))
        .route("/health", get(health))
}

/// Adds errors for unknown paths and methods.
pub fn with_fallbacks(paths: Router<Arc<Server>>) -> Router<Arc<Server>> {
    paths
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
}

async fn unknown_path(uri: axum::http::Uri) -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, unknown("path", uri.path(), PATHS))
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> HttpError {
    HttpError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}

/// The body of `/score`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreBody {
    /// Name in the report.
    #[serde(default)]
    id: Option<String>,
    candidate: CandidateText,
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

fn stage(name: Option<&str>) -> Result<LastStage, HttpError> {
    let named = |name| named("stage", name).map_err(|e| HttpError::bad_request(e.to_string()));
    name.map_or(Ok(LastStage::Auto), named)
}

fn seeds(seeds: Option<&Value>) -> Result<Seeds, HttpError> {
    let text = match seeds {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let wrong = |e: InputError| HttpError::bad_request(e.message().trim_start_matches('-'));
    parse_seeds(text.as_deref()).map_err(wrong)
}

async fn score(State(server): State<Arc<Server>>, request: Request) -> HttpResult {
    let body: ScoreBody = parse(request).await?;
    let split = body.split.unwrap_or(Split::Train);
    if split == Split::Holdout && !server.allow_holdout {
        let message =
            "the split holdout is for the last word: start the server with --allow-holdout";
        return Err(HttpError::new(StatusCode::FORBIDDEN, message));
    }
    let mut candidate = body.candidate.candidate(CANDIDATE);
    if let Some(id) = body.id {
        if id.chars().count() > LONGEST_ID {
            let message = format!("id: expected at most {LONGEST_ID} characters");
            return Err(HttpError::bad_request(message));
        }
        // It is told back to whoever reads the report.
        candidate.name = visible(&id).into_owned();
    }
    candidate.params = body.params;
    let request = ScoreRequest {
        split,
        last_stage: stage(body.stage.as_deref())?,
        seeds: seeds(body.seeds.as_ref())?,
        scenarios: body.scenarios,
        incumbent: body.incumbent,
        ..server.request(candidate)
    };
    let reports = server.score(vec![request]).await?;
    let report = serde_json::to_string(&reports[0])
        .map_err(|e| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(answer(StatusCode::OK, report))
}

async fn suite(State(server): State<Arc<Server>>) -> HttpResult {
    let suite = &server.suite;
    let file = &suite.file;
    let ids = |split| -> Vec<&str> { suite.scenarios(split).map(|s| s.id.as_str()).collect() };
    let hooks: Vec<&str> = suite.hooks.iter().map(|h| h.name()).collect();
    let objectives: Vec<String> = file.objectives.iter().map(|o| o.name()).collect();
    let references: Vec<&String> = file.references.keys().collect();
    // The ids of the holdout scenarios are not shown either.
    ok(&json!({
        "suite": suite.label(),
        "description": file.description,
        "hooks": hooks,
        "objectives": objectives,
        "references": references,
        "scenarios": { "train": ids(Split::Train), "val": ids(Split::Val) },
        "requests": file.requests,
        "seeds": { "train": file.seeds, "val": file.seeds_of(Split::Val) },
        "limits": { "seeds": server.limits.seeds, "requests": server.limits.requests },
        "key": suite.digest(),
    }))
}

async fn health(State(server): State<Arc<Server>>) -> HttpResult {
    ok(&json!({
        "ok": true,
        "engine": windtunnel_score::engine(),
        "suite": server.suite.label(),
        "jobs": server.jobs,
        "waiting": server.queue.len(),
        "budget": server.budget(),
    }))
}
