//! The configuration of inference-perf itself, as a workload spec.

use super::inference_perf;
use super::locate::Fault;
use super::types::{
    Arrival, Client, Distribution, DistributionKind, InferencePerf, Lifecycle, Process,
    SharedPrefix, Stage, Window, WorkloadSpec,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use windtunnel_base::input::{self, InputError};

/// What traffic depends on; what concerns server, tokenizer and reports is somebody else's.
#[derive(Deserialize)]
struct Config {
    load: Load,
    data: Data,
    #[serde(flatten)]
    _other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Load {
    #[serde(rename = "type", default)]
    kind: String,
    stages: Vec<Stage>,
    #[serde(flatten)]
    _other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "type", default)]
    kind: String,
    shared_prefix: Option<Prefix>,
    input_distribution: Option<Lengths>,
    output_distribution: Option<Lengths>,
    #[serde(flatten)]
    _other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    #[serde(alias = "num_groups")]
    num_unique_system_prompts: u32,
    #[serde(alias = "num_prompts_per_group")]
    num_users_per_system_prompt: u32,
    system_prompt_len: u32,
    question_len: u32,
    output_len: u32,
    #[serde(default)]
    enable_multi_turn_chat: bool,
}

#[derive(Deserialize)]
struct Lengths {
    min: f64,
    max: f64,
    mean: f64,
    #[serde(alias = "std")]
    std_dev: f64,
    #[serde(flatten)]
    _other: BTreeMap<String, IgnoredAny>,
}

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

/// Reads a configuration; `name` is what messages call it.
pub(super) fn inference_perf(name: &str, text: &str) -> Result<WorkloadSpec, InputError> {
    let config: Config = input::parse_yaml(name, text)?;
    spec(&config).map_err(|f| f.in_text(name, text))
}

fn spec(config: &Config) -> Result<WorkloadSpec, Fault> {
    let process = match config.load.kind.as_str() {
        "constant" => Process::Constant,
        "poisson" | "" => Process::Poisson,
        other => {
            let message = input::unknown("load", other, &["constant", "poisson"]);
            return Err(Fault::new("load.type", message));
        }
    };
    let arrival = Some(Arrival {
        process,
        cv: None,
        shape: None,
        scale: None,
    });
    let mut clients = match (config.data.kind.as_str(), &config.data.shared_prefix) {
        ("shared_prefix" | "", Some(p)) => {
            let perf = InferencePerf {
                stages: config.load.stages.clone(),
                shared_prefix: Some(SharedPrefix {
                    num_unique_system_prompts: p.num_unique_system_prompts,
                    num_users_per_system_prompt: p.num_users_per_system_prompt,
                    system_prompt_len: p.system_prompt_len,
                    question_len: p.question_len,
                    output_len: p.output_len,
                    enable_multi_turn_chat: p.enable_multi_turn_chat,
                }),
            };
            inference_perf::clients(&perf).map_err(|f| f.under("load"))?
        }
        ("random" | "synthetic", None) => random(config)?,
        (other, _) => {
            let message = input::unknown("data", other, &["shared_prefix", "random", "synthetic"]);
            return Err(Fault::new("data.type", message));
        }
    };
    clients.iter_mut().for_each(|c| c.arrival = arrival);
    Ok(WorkloadSpec {
        version: "2".into(),
        seed: 42,
        clients,
        ..WorkloadSpec::default()
    })
}

/// One client with lengths of its own, and a window per stage.
fn random(config: &Config) -> Result<Vec<Client>, Fault> {
    let mut windows = Vec::new();
    let mut start_us = 0;
    for (k, stage) in config.load.stages.iter().enumerate() {
        let end_us = inference_perf::stage_end(stage, start_us)
            .map_err(|f| f.under(&format!("load.stages[{k}]")))?;
        windows.push(Window {
            start_us,
            end_us,
            trace_rate: Some(stage.rate),
            ..Window::default()
        });
        start_us = end_us;
    }
    let lengths = |l: &Option<Lengths>, key: &str| match l {
        Some(l) => Ok(Some(Distribution {
            kind: DistributionKind::Gaussian,
            params: [
                ("mean", l.mean),
                ("std_dev", l.std_dev),
                ("min", l.min),
                ("max", l.max),
            ]
            .map(|(key, x)| (key.to_owned(), x))
            .into(),
            file: None,
        })),
        None => Err(Fault::new("data", format!("{key} is missing"))),
    };
    Ok(vec![Client {
        id: "inference-perf".into(),
        input_distribution: lengths(&config.data.input_distribution, "input_distribution")?,
        output_distribution: lengths(&config.data.output_distribution, "output_distribution")?,
        lifecycle: Some(Lifecycle { windows }),
        ..Client::default()
    }])
}
