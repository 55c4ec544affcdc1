//! The traffic of inference-perf, spelled out as clients: as many requests per stage as its rate
//! and duration make, dealt out evenly to the users.

use super::locate::Fault;
use super::types::{
    Arrival, Client, Distribution, DistributionKind, InferencePerf, Lifecycle, MultiTurn, Process,
    Reasoning, SharedPrefix, Stage, Window,
};

/// Most users times stages.
const MOST_CLIENTS: u64 = 100_000;

/// The clients, each with windows of its own rate.
pub(super) fn clients(perf: &InferencePerf) -> Result<Vec<Client>, Fault> {
    let shared = perf
        .shared_prefix
        .as_ref()
        .ok_or_else(|| Fault::new("", "shared_prefix is missing"))?;
    let users =
        u64::from(shared.num_unique_system_prompts) * u64::from(shared.num_users_per_system_prompt);
    if users == 0 {
        return Err(Fault::new(
            "shared_prefix",
            "num_unique_system_prompts and num_users_per_system_prompt must be at least 1",
        ));
    }
    if perf.stages.is_empty() {
        return Err(Fault::new("stages", "expected at least one stage"));
    }
    if users.saturating_mul(perf.stages.len() as u64) > MOST_CLIENTS {
        return Err(Fault::new(
            "shared_prefix",
            format!("{users} users; with all stages at most {MOST_CLIENTS} make sense"),
        ));
    }
    let mut clients = Vec::new();
    let mut start_us = 0i64;
    for (s, stage) in perf.stages.iter().enumerate() {
        let path = format!("stages[{s}]");
        let end_us = stage_end(stage, start_us).map_err(|f| f.under(&path))?;
        let requests = (stage.rate * stage.duration as f64) as u64;
        for user in 0..users {
            let share = requests / users + u64::from(user < requests % users);
            if share > 0 {
                let mut client = client(shared, user, share, (start_us, end_us));
                if perf.stages.len() > 1 {
                    client.id = format!("stage-{s}-{}", client.id);
                }
                clients.push(client);
            }
        }
        start_us = end_us;
    }
    if clients.is_empty() {
        return Err(Fault::new(
            "stages",
            "no stage is long enough for a request",
        ));
    }
    Ok(clients)
}

/// Where a stage that begins at `start_us` ends, microseconds.
pub(super) fn stage_end(stage: &Stage, start_us: i64) -> Result<i64, Fault> {
    if !(stage.rate.is_finite() && stage.rate > 0.0) {
        return Err(Fault::new(
            "rate",
            format!("expected a finite number above 0, found {}", stage.rate),
        ));
    }
    let duration = stage.duration.checked_mul(1_000_000).filter(|us| *us > 0);
    duration
        .and_then(|us| start_us.checked_add(us))
        .ok_or_else(|| {
            let found = stage.duration;
            Fault::new(
                "duration",
                format!("expected whole seconds above 0, found {found}"),
            )
        })
}

/// One user in one stage with `share` requests.
fn client(shared: &SharedPrefix, user: u64, share: u64, (start_us, end_us): (i64, i64)) -> Client {
    let per_prompt = u64::from(shared.num_users_per_system_prompt);
    let prompt = format!("prompt-{}", user / per_prompt);
    let seconds = (end_us - start_us) as f64 / 1e6;
    let rate = share as f64 / seconds;
    let constant = |tokens: u32| {
        Some(Distribution {
            kind: DistributionKind::Constant,
            params: [("value".to_owned(), f64::from(tokens.max(1)))].into(),
            file: None,
        })
    };
    // A user with a conversation sends its share one by one, the think time apart that keeps up the
    // rate.
    let conversation = shared.enable_multi_turn_chat.then(|| Reasoning {
        reason_ratio_distribution: None,
        multi_turn: Some(MultiTurn {
            max_rounds: u32::try_from(share).unwrap_or(u32::MAX),
            think_time_us: (1e6 / rate) as i64,
            context_growth: String::new(),
            single_session: true,
        }),
    });
    Client {
        id: format!("{prompt}-user-{}", user % per_prompt),
        tenant_id: prompt.clone(),
        slo_class: "standard".into(),
        rate_fraction: 1.0,
        arrival: Some(Arrival {
            process: Process::Poisson,
            cv: None,
            shape: None,
            scale: None,
        }),
        input_distribution: constant(shared.question_len),
        output_distribution: constant(shared.output_len),
        prefix_group: prompt,
        prefix_length: Some(shared.system_prompt_len),
        lifecycle: Some(Lifecycle {
            windows: vec![Window {
                start_us,
                end_us,
                trace_rate: Some(rate),
                ..Window::default()
            }],
        }),
        reasoning: conversation,
        ..Client::default()
    }
}
