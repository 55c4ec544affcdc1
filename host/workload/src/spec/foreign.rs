//! The configuration of the load generator inference-perf, as a workload spec.
//!
//! Every key of its schema is known: it shapes the traffic, it concerns somebody else (the server,
//! the tokenizer, reports), or it is refused with its place.

mod lengths;
mod schema;

use super::locate::Fault;
use super::types::{
    Arrival, Client, Distribution, GoodputTargets, Lifecycle, Process, Prompts, Window,
    WorkloadSpec,
};
use lengths::{Draw, distribution};
use schema::{Config, Data, Load, Prefix, Stage};
use std::collections::BTreeMap;
use windtunnel_base::input::{self, InputError};

/// Seed of a configuration that gives none; inference-perf takes the time of day.
const SEED: i64 = 42;
/// Seconds between stages that the configuration does not say.
const INTERVAL_S: f64 = 1.0;
/// Kinds of load that are simulated.
const LOADS: [&str; 3] = ["constant", "poisson", "concurrent"];
/// Kinds of data that are simulated.
const DATA: [&str; 3] = ["shared_prefix", "random", "synthetic"];

/// Kinds of data whose prompts are texts: nobody has counted their tokens.
const TEXTS: [&str; 5] = [
    "mock",
    "shareGPT",
    "cnn_dailymail",
    "infinity_instruct",
    "billsum_conversations",
];
/// Kinds of data that replay conversations of their own.
const REPLAYS: [&str; 3] = [
    "otel_trace_replay",
    "conversation_replay",
    "synthetic_agentic",
];

/// Is this text such a configuration?
pub(super) fn is_inference_perf(text: &str) -> bool {
    let has = |key: &str| {
        text.lines().any(|l| {
            l.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    has("load") && has("data")
}

/// Reads a configuration; `name` is what messages call it. Also what a person should know of it.
pub(super) fn inference_perf(
    name: &str,
    text: &str,
) -> Result<(WorkloadSpec, Vec<String>), InputError> {
    let config: Config = input::parse_yaml(name, text)?;
    spec(&config).map_err(|f| f.in_text(name, text))
}

fn spec(config: &Config) -> Result<(WorkloadSpec, Vec<String>), Fault> {
    let (load, data) = (&config.load, &config.data);
    let mut notes = Vec::new();
    load.refuse_strangers()?;
    if load.kind.as_deref() != Some("trace_replay") {
        data.refuse_strangers()?;
    }
    let seed = match (load.base_seed, data.seed()) {
        (Some(a), Some(b)) if a != b => {
            notes.push(format!(
                "load.base_seed {a} is the seed of the lengths, too; data.shared_prefix.seed {b} has no effect"
            ));
            a
        }
        (a, b) => a.or(b).unwrap_or(SEED),
    };
    let draw = Draw { seed };
    let mut client = Client {
        id: "inference-perf".into(),
        streaming: config.streaming(),
        timeout: Some(load.timeout_us()?),
        adapters: load.adapters()?,
        ..Client::default()
    };
    let mut spec = WorkloadSpec {
        version: "2".into(),
        seed,
        ..WorkloadSpec::default()
    };
    let kind = load.kind.as_deref().unwrap_or("constant");
    match kind {
        "constant" | "poisson" => {
            let windows = load.windows(&mut notes)?;
            client.lifecycle = Some(Lifecycle { windows });
            client.arrival = Some(Arrival {
                process: if kind == "poisson" {
                    Process::Poisson
                } else {
                    Process::Constant
                },
                cv: None,
                shape: None,
                scale: None,
            });
        }
        "concurrent" => {
            (client.concurrency, spec.num_requests) = load.users()?;
        }
        "trace_replay" => {
            let file = load.trace.as_ref().or(data.trace.as_ref());
            let file = file.map_or("its trace", |t| t.file.as_str());
            let message = format!(
                "trace_replay sends what a trace says; expected {file} itself as `workload`"
            );
            return Err(Fault::new("load.type", message));
        }
        "trace_session_replay" => {
            let message = format!(
                "trace_session_replay is not simulated; expected one of {}",
                LOADS.join(", ")
            );
            return Err(Fault::new("load.type", message));
        }
        other => {
            let message = input::unknown("load", other, &LOADS);
            return Err(Fault::new("load.type", message));
        }
    }
    data.fill(&mut client, draw).map_err(|f| f.under("data"))?;
    config.tell(&mut notes);
    config.targets(&mut spec.goodput_slo_targets, &mut notes)?;
    spec.clients.push(client);
    Ok((spec, notes))
}

impl Load {
    /// What cannot be simulated.
    fn refuse_strangers(&self) -> Result<(), Fault> {
        if self.sweep.is_some() {
            let message =
                "the rates of a sweep come from probing a server; expected stages with rates";
            return Err(Fault::new("load.sweep", message));
        }
        if self.trace.is_some() && self.kind.as_deref() != Some("trace_replay") {
            let message = "has no effect without the load trace_replay; expected the trace itself as `workload`";
            return Err(Fault::new("load.trace", message));
        }
        if self.stages.is_empty() {
            return Err(Fault::new("load.stages", "expected at least one stage"));
        }
        Ok(())
    }

    /// A window for each stage, with a rest between them.
    fn windows(&self, notes: &mut Vec<String>) -> Result<Vec<Window>, Fault> {
        let rest_s = self.interval.unwrap_or(INTERVAL_S);
        if !(0.0..=1e9).contains(&rest_s) {
            let message = format!("expected seconds of 0 or more, found {rest_s}");
            return Err(Fault::new("load.interval", message));
        }
        let mut windows = Vec::new();
        let mut start_us = 0i64;
        for (k, stage) in self.stages.iter().enumerate() {
            let (window, end_us) = stage
                .window(start_us)
                .map_err(|f| f.under(&format!("load.stages[{k}]")))?;
            windows.push(window);
            start_us = end_us.saturating_add((rest_s * 1e6).round() as i64);
        }
        if windows.len() > 1 {
            notes.push(format!(
                "load.interval: each stage begins {rest_s} s after the one before has lasted its duration; inference-perf \
                 waits for its last answer, too"
            ));
        }
        Ok(windows)
    }

    /// Users of a closed loop, and how many requests they send.
    fn users(&self) -> Result<(u32, u64), Fault> {
        if self.stages.len() > 1 {
            let message = "a stage of the load concurrent begins when the last answer of the one before is there; \
                expected a single stage";
            return Err(Fault::new("load.stages[1]", message));
        }
        let at = |key: &str| format!("load.stages[0].{key}");
        let stage = &self.stages[0];
        for (key, given) in [
            ("rate", stage.rate.is_some()),
            ("duration", stage.duration.is_some()),
        ] {
            if given {
                let message = "has no effect on the load concurrent";
                return Err(Fault::new(at(key), message));
            }
        }
        let number = |key: &str, value: Option<i64>| match value {
            Some(n) if n > 0 => Ok(n.cast_unsigned()),
            Some(n) => Err(Fault::new(
                at(key),
                format!("expected at least 1, found {n}"),
            )),
            None => Err(Fault::new(
                "load.stages[0]",
                format!("{key} is missing; the load concurrent needs it"),
            )),
        };
        let users = number("concurrency_level", stage.concurrency_level)?;
        let users = u32::try_from(users)
            .map_err(|_| Fault::new(at("concurrency_level"), format!("{users} are too many")))?;
        Ok((users, number("num_requests", stage.num_requests)?))
    }

    fn timeout_us(&self) -> Result<i64, Fault> {
        match self.request_timeout {
            Some(s) if !(s > 0.0 && s <= 1e9) => Err(Fault::new(
                "load.request_timeout",
                format!("expected seconds above 0, found {s}"),
            )),
            given => Ok(given.map_or(0, |s| (s * 1e6).round() as i64)),
        }
    }

    fn adapters(&self) -> Result<BTreeMap<String, f64>, Fault> {
        let splits = self.lora_traffic_split.iter().flatten();
        let adapters: BTreeMap<String, f64> = splits.map(|s| (s.name.clone(), s.split)).collect();
        let sum: f64 = adapters.values().sum();
        if !adapters.is_empty() && ((sum - 1.0).abs() > 1e-6 || adapters.values().any(|s| *s < 0.0))
        {
            return Err(Fault::new(
                "load.lora_traffic_split",
                format!("expected splits of 0 or more with the sum 1, found {sum}"),
            ));
        }
        Ok(adapters)
    }
}

impl Stage {
    /// The stage from `start_us` on, and where it ends, microseconds.
    fn window(&self, start_us: i64) -> Result<(Window, i64), Fault> {
        for (key, given) in [
            ("num_requests", self.num_requests.is_some()),
            ("concurrency_level", self.concurrency_level.is_some()),
        ] {
            if given {
                let message = "has no effect on this load; the load concurrent has it";
                return Err(Fault::new(key, message));
            }
        }
        let missing = |key: &str| Fault::new("", format!("{key} is missing"));
        let rate = self.rate.ok_or_else(|| missing("rate"))?;
        if !(rate.is_finite() && rate > 0.0) {
            let message = format!("expected a finite number above 0, found {rate}");
            return Err(Fault::new("rate", message));
        }
        let seconds = self.duration.ok_or_else(|| missing("duration"))?;
        let end_us = seconds.checked_mul(1_000_000).filter(|us| *us > 0);
        let end_us = end_us.and_then(|us| us.checked_add(start_us));
        let end_us = end_us.ok_or_else(|| {
            let message = format!("expected whole seconds above 0, found {seconds}");
            Fault::new("duration", message)
        })?;
        // As many as there are whole ones.
        let requests = (rate * seconds as f64).floor();
        if requests < 1.0 {
            let message = format!("{seconds} s are too short for a request at this rate");
            return Err(Fault::new("duration", message));
        }
        let window = Window {
            start_us,
            end_us,
            trace_rate: Some(requests / seconds as f64),
            ..Window::default()
        };
        Ok((window, end_us))
    }
}

impl Data {
    /// What cannot be simulated, and what would have no effect.
    fn refuse_strangers(&self) -> Result<(), Fault> {
        let kind = self.kind.as_deref().unwrap_or("mock");
        if !DATA.contains(&kind) {
            let valid = DATA.join(", ");
            let message = if TEXTS.contains(&kind) {
                format!(
                    "{kind} has texts, whose lengths in tokens are not known here; expected one of {valid}"
                )
            } else if REPLAYS.contains(&kind) {
                format!("{kind} is not simulated; expected one of {valid}")
            } else {
                input::unknown("data", kind, &DATA)
            };
            return Err(Fault::new("data.type", message));
        }
        let shared = kind == "shared_prefix";
        for (key, given, why) in [
            (
                "path",
                self.path.is_some(),
                "of this type, which reads no file",
            ),
            (
                "input_distribution",
                shared && self.input_distribution.is_some(),
                "on shared_prefix, which has question_len",
            ),
            (
                "output_distribution",
                shared && self.output_distribution.is_some(),
                "on shared_prefix, which has output_len",
            ),
            (
                "shared_prefix",
                !shared && self.shared_prefix.is_some(),
                "on this type; expected the type shared_prefix",
            ),
            (
                "otel_trace_replay",
                self.otel_trace_replay.is_some(),
                "on this type",
            ),
            (
                "conversation_replay",
                self.conversation_replay.is_some(),
                "on this type",
            ),
            (
                "synthetic_agentic",
                self.synthetic_agentic.is_some(),
                "on this type",
            ),
        ] {
            if given {
                return Err(Fault::new(
                    format!("data.{key}"),
                    format!("has no effect {why}"),
                ));
            }
        }
        let media = self
            .shared_prefix
            .as_ref()
            .and_then(|p| p.multimodal.as_ref());
        for (path, given) in [
            ("data.multimodal", self.multimodal.is_some()),
            ("data.shared_prefix.multimodal", media.is_some()),
        ] {
            if given {
                let message =
                    "images, video and audio have no length in tokens here; expected text alone";
                return Err(Fault::new(path, message));
            }
        }
        if let Some(trace) = &self.trace {
            let message = format!(
                "lengths of a trace are not put together with rates of stages; expected {} itself as `workload`",
                trace.file
            );
            return Err(Fault::new("data.trace", message));
        }
        Ok(())
    }

    fn seed(&self) -> Option<i64> {
        self.shared_prefix.as_ref()?.seed
    }

    /// Prompts and answers of the client.
    fn fill(&self, client: &mut Client, draw: Draw) -> Result<(), Fault> {
        if self.kind.as_deref() == Some("shared_prefix") {
            let default = Prefix::default();
            let prefix = self.shared_prefix.as_ref().unwrap_or(&default);
            return prefix
                .fill(client, draw)
                .map_err(|f| f.under("shared_prefix"));
        }
        let lengths = |d: &Option<schema::Lengths>, key: &str| match d {
            Some(d) => distribution(d, key, draw).map(Some),
            None => Err(Fault::new("", format!("{key} is missing"))),
        };
        client.input_distribution = lengths(&self.input_distribution, "input_distribution")?;
        client.output_distribution = lengths(&self.output_distribution, "output_distribution")?;
        Ok(())
    }
}

impl Prefix {
    /// The prompts are made once and sent in turn.
    fn fill(&self, client: &mut Client, draw: Draw) -> Result<(), Fault> {
        let number = |key: &str, value: Option<i64>| {
            let n = value.unwrap_or(10);
            u32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
                Fault::new(
                    key,
                    format!("expected a whole number of at least 1, found {n}"),
                )
            })
        };
        let groups = self.num_unique_system_prompts;
        let per_group = self.num_users_per_system_prompt;
        let length = |value: &Option<schema::Length>,
                      legacy: Option<(&str, &schema::Lengths)>,
                      key: &str,
                      usual: i64|
         -> Result<Distribution, Fault> {
            match (value, legacy) {
                (Some(schema::Length::Drawn(_)), Some((other, _))) => Err(Fault::new(
                    other,
                    format!("{key} is a distribution already; expected one of the two"),
                )),
                (_, Some((other, drawn))) => distribution(drawn, other, draw),
                (Some(schema::Length::Drawn(drawn)), None) => distribution(drawn, key, draw),
                (Some(schema::Length::Fixed(n)), None) => lengths::constant(*n, key),
                (None, None) => lengths::constant(usual, key),
            }
        };
        let question = self.question_distribution.as_ref();
        let question = question.map(|d| ("question_distribution", d));
        let output = self.output_distribution.as_ref();
        let output = output.map(|d| ("output_distribution", d));
        let system = length(&self.system_prompt_len, None, "system_prompt_len", 100)?;
        let conversations = self.enable_multi_turn_chat.unwrap_or(false);
        if conversations && client.concurrency > 0 {
            let message = "is not simulated with the load concurrent; expected constant or poisson";
            return Err(Fault::new("enable_multi_turn_chat", message));
        }
        client.prompts = Some(Prompts {
            groups: number("num_unique_system_prompts", groups)?,
            per_group: number("num_users_per_system_prompt", per_group)?,
            prefix_distribution: (!lengths::is_zero(&system)).then_some(system),
            conversations,
        });
        client.input_distribution = Some(length(&self.question_len, question, "question_len", 50)?);
        client.output_distribution = Some(length(&self.output_len, output, "output_len", 50)?);
        Ok(())
    }
}

impl Config {
    fn streaming(&self) -> bool {
        self.api
            .as_ref()
            .and_then(|api| api.streaming)
            .unwrap_or(false)
    }

    /// Keys that would have changed what is measured.
    fn tell(&self, notes: &mut Vec<String>) {
        let load = &self.load;
        let mut idle = Vec::new();
        if load.num_workers.is_some() && load.worker_max_concurrency.is_some() {
            idle.push(
                "load.worker_max_concurrency (nothing limits how many requests are on their way)",
            );
        }
        if load
            .circuit_breakers
            .as_ref()
            .is_some_and(|b| !b.is_empty())
        {
            idle.push("load.circuit_breakers (a run goes on to its end)");
        }
        let ignores = self.server.as_ref().and_then(|s| s.ignore_eos);
        if ignores == Some(false) {
            idle.push("server.ignore_eos (answers are as long as asked for)");
        }
        if !idle.is_empty() {
            notes.push(format!("without effect here: {}", idle.join(", ")));
        }
    }

    /// Goodput targets of all requests.
    fn targets(
        &self,
        targets: &mut BTreeMap<String, GoodputTargets>,
        notes: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let report = self.report.as_ref();
        let goodput = report.and_then(|r| r.goodput.as_ref());
        let Some(constraints) = goodput.and_then(|g| g.constraints.as_ref()) else {
            return Ok(());
        };
        let mut all = GoodputTargets::default();
        for (key, seconds) in constraints {
            let path = format!("report.goodput.constraints.{key}");
            let ms = seconds * 1e3;
            if !(ms.is_finite() && ms > 0.0) {
                let message = format!("expected seconds above 0, found {seconds}");
                return Err(Fault::new(path, message));
            }
            match key.as_str() {
                "ttft" => all.ttft_ms = ms,
                "tpot" => all.itl_ms = ms,
                "request_latency" => all.e2e_ms = ms,
                "itl" | "ntpot" => notes.push(format!(
                    "{path} has no effect: requests have targets for TTFT, TPOT and their whole time"
                )),
                other => {
                    let known = ["ttft", "tpot", "request_latency", "itl", "ntpot"];
                    return Err(Fault::new(path, input::unknown("target", other, &known)));
                }
            }
        }
        if all != GoodputTargets::default() {
            targets.insert("default".into(), all);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
