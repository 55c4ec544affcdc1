//! XpuSim's configuration file in JSON, as a run.

use crate::spec::{LengthSpec, RunSpec, WorkloadSpec};
use serde::Deserialize;
use windtunnel_base::input::{InputError, parse_yaml, unknown};
use windtunnel_config::pool::{EngineSpec, LatencySpec, ParallelSpec, PoolSpec};

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    model: String,
    workload: Traffic,
    cluster: Machines,
    #[serde(default)]
    parallelism: Parallelism,
    #[serde(default)]
    scheduler: Scheduler,
    simulation_duration_s: f64,
    random_seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Traffic {
    avg_input_length: u32,
    max_input_length: u32,
    avg_output_length: u32,
    max_output_length: u32,
    arrival_rate: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machines {
    n_xpus_per_node: u32,
    xpu: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parallelism {
    tensor_parallel_size: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scheduler {
    batching_strategy: Option<String>,
    min_batch_size: Option<u32>,
    batching_window_ms: Option<f64>,
    max_batch_size: Option<u32>,
}

/// Is it such a file, rather than one of ours?
pub(crate) fn is_one(text: &str) -> bool {
    let tree = serde_json::from_str::<serde_json::Value>(text);
    tree.is_ok_and(|tree| tree.get("simulation_duration_s").is_some())
}

/// Reads it. Its batches are those of our strategies of the same names.
///
/// # Errors
/// When a key or value is wrong; with line and column.
pub(crate) fn parse(name: &str, text: &str) -> Result<RunSpec, InputError> {
    let config: Config = parse_yaml(name, text)?;
    let refuse = |message: String| Err(InputError::in_file(name, message));
    let tp = config.parallelism.tensor_parallel_size.unwrap_or(1);
    let there = config.cluster.n_xpus_per_node;
    if tp > there {
        return refuse(format!(
            "tensor_parallel_size is {tp}; expected at most n_xpus_per_node {there}"
        ));
    }
    let s = config.scheduler;
    let strategy = match s.batching_strategy.as_deref() {
        None | Some("greedy") => {
            if s.min_batch_size.is_some() || s.batching_window_ms.is_some() {
                return refuse(
                    "min_batch_size and batching_window_ms have no effect without batching_strategy \"windowed\""
                        .to_owned(),
                );
            }
            "greedy".to_owned()
        }
        Some("windowed") => format!(
            "windowed:min_batch_size={},window={}ms",
            s.min_batch_size.unwrap_or(1),
            s.batching_window_ms.unwrap_or(10.0)
        ),
        Some(other) => {
            return refuse(unknown("batching_strategy", other, &["greedy", "windowed"]));
        }
    };
    let w = config.workload;
    let length = |mean, max| LengthSpec {
        mean: Some(mean),
        max: Some(max),
        ..LengthSpec::default()
    };
    Ok(RunSpec {
        seed: config.random_seed,
        pools: vec![PoolSpec {
            hardware: Some(config.cluster.xpu),
            parallel: ParallelSpec {
                tensor: Some(tp),
                ..ParallelSpec::default()
            },
            engine: EngineSpec {
                batching_strategy: Some(strategy),
                max_num_seqs: s.max_batch_size,
                ..EngineSpec::default()
            },
            latency: LatencySpec {
                model: Some("xpu-roofline".to_owned()),
                ..LatencySpec::default()
            },
            ..PoolSpec::default()
        }],
        workload: WorkloadSpec {
            name: Some("xpusim".to_owned()),
            rate: Some(w.arrival_rate),
            duration: Some(config.simulation_duration_s),
            prompt_tokens: length(w.avg_input_length, w.max_input_length),
            output_tokens: length(w.avg_output_length, w.max_output_length),
            ..WorkloadSpec::default()
        },
        ..RunSpec::of_model(config.model)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"model": "llama2-7b", "workload": {"avg_input_length": 512, "max_input_length": 512,
        "avg_output_length": 32, "max_output_length": 32, "arrival_rate": 4.0},
        "cluster": {"n_xpus_per_node": 1, "xpu": "a100-80gb"}, "parallelism": {},
        "scheduler": {"batching_strategy": "windowed", "min_batch_size": 4, "batching_window_ms": 200.0},
        "simulation_duration_s": 20.0, "random_seed": 7}"#;

    #[test]
    fn a_configuration_of_xpusim_is_a_run() {
        assert!(is_one(TEXT) && !is_one("{\"model\": \"x\"}") && !is_one("model: x"));
        let run = parse("c.json", TEXT).unwrap();
        let pool = &run.pools[0];
        let strategy = pool.engine.batching_strategy.as_deref();
        assert_eq!(strategy, Some("windowed:min_batch_size=4,window=200ms"));
        assert_eq!((run.seed, run.workload.rate), (Some(7), Some(4.0)));
        assert_eq!(pool.hardware.as_deref(), Some("a100-80gb"));
        run.resolve().unwrap();
    }

    #[test]
    fn what_is_wrong_in_it_is_said() {
        let error = |from: &str, to: &str| {
            assert!(TEXT.contains(from));
            parse("c.json", &TEXT.replacen(from, to, 1))
                .err()
                .unwrap()
                .to_string()
        };
        assert!(error("xpu\"", "xpus\"").contains("did you mean \"xpu\"?"));
        assert!(error("\"windowed\"", "\"window\"").contains("did you mean \"windowed\"?"));
        assert!(error("\"windowed\"", "\"greedy\"").contains("min_batch_size"));
        assert_eq!(
            error("{}", "{\"tensor_parallel_size\": 8}"),
            "c.json: tensor_parallel_size is 8; expected at most n_xpus_per_node 1"
        );
    }
}
