//! XpuSim's configuration file in JSON, as a run.

use crate::spec::{LengthSpec, LoadGeneratorSpec, RunSpec, WorkloadSpec};
use serde::Deserialize;
use serde::de::IgnoredAny;
use windtunnel_base::input::{InputError, parse_yaml, unknown};
use windtunnel_config::pool::{EngineSpec, LatencySpec, ParallelSpec, PoolSpec};

/// The file. What XpuSim reads and makes no use of is ignored here, too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    model: String,
    #[serde(default)]
    workload: Traffic,
    cluster: Machines,
    #[serde(default)]
    parallelism: Parallelism,
    #[serde(default)]
    scheduler: Scheduler,
    #[serde(default = "a_minute")]
    simulation_duration_s: f64,
    random_seed: Option<u64>,
}

fn a_minute() -> f64 {
    60.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Traffic {
    avg_input_length: u32,
    max_input_length: u32,
    avg_output_length: u32,
    max_output_length: u32,
    arrival_rate: f64,
    /// `poisson`, or of ours: `constant`.
    arrival_process: String,
    #[serde(rename = "input_length_std")]
    _input_length_std: IgnoredAny,
    #[serde(rename = "output_length_std")]
    _output_length_std: IgnoredAny,
    #[serde(rename = "batch_size")]
    _batch_size: IgnoredAny,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            avg_input_length: 512,
            max_input_length: 2048,
            avg_output_length: 128,
            max_output_length: 512,
            arrival_rate: 1.0,
            arrival_process: "poisson".to_owned(),
            _input_length_std: IgnoredAny,
            _output_length_std: IgnoredAny,
            _batch_size: IgnoredAny,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machines {
    n_xpus_per_node: u32,
    n_nodes: Option<u32>,
    xpu: String,
    #[serde(default, rename = "interconnect")]
    _interconnect: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parallelism {
    tensor_parallel_size: Option<u32>,
    /// These two say how many accelerators there must be, and nothing else.
    pipeline_parallel_size: Option<u32>,
    data_parallel_size: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scheduler {
    batching_strategy: Option<String>,
    min_batch_size: Option<u32>,
    batching_window_ms: Option<f64>,
    max_batch_size: Option<u32>,
    #[serde(default, rename = "batching_type")]
    _batching_type: IgnoredAny,
    #[serde(default, rename = "token_level_scheduling")]
    _token_level_scheduling: IgnoredAny,
}

/// What such a file has no key for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BesideXpuSim {
    /// The engine's rules.
    pub engine: Option<String>,
    /// How requests come.
    pub load_generator: Option<LoadGeneratorSpec>,
    /// Seconds before what is measured.
    pub warm_up: Option<f64>,
}

impl BesideXpuSim {
    /// Says it in the run of such a file.
    pub(crate) fn add(self, run: &mut RunSpec) {
        for pool in &mut run.pools {
            pool.engine.profile.clone_from(&self.engine);
        }
        let w = &mut run.workload;
        w.load_generator = self.load_generator.or(w.load_generator);
        w.warm_up = self.warm_up;
    }
}

/// Is it such a file, rather than one of ours?
pub(crate) fn is_one(text: &str) -> bool {
    let tree = serde_json::from_str::<serde_json::Value>(text);
    tree.is_ok_and(|tree| tree.get("cluster").is_some())
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
    let in_all = there.saturating_mul(config.cluster.n_nodes.unwrap_or(1));
    let copies = [
        config.parallelism.pipeline_parallel_size,
        config.parallelism.data_parallel_size,
    ];
    let copies = copies.map(|n| n.unwrap_or(1));
    let wanted = copies.iter().fold(tp, |all, n| all.saturating_mul(*n));
    if wanted > in_all {
        let several = match copies {
            [1, 1] => String::new(),
            [pipeline, data] => format!(
                " x pipeline_parallel_size {pipeline} x data_parallel_size {data} = {wanted}"
            ),
        };
        return refuse(format!(
            "tensor_parallel_size is {tp}{several}; expected at most n_xpus_per_node {there}{}",
            if in_all == there {
                String::new()
            } else {
                format!(" x n_nodes = {in_all}")
            }
        ));
    }
    let s = config.scheduler;
    let strategy = match s.batching_strategy.as_deref() {
        None | Some("greedy") => "greedy".to_owned(),
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
    let load_generator = match w.arrival_process.as_str() {
        "poisson" => None,
        "constant" => Some(LoadGeneratorSpec::ConstantRate),
        other => {
            return refuse(unknown("arrival_process", other, &["poisson", "constant"]));
        }
    };
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
            load_generator,
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
        // What it reads and makes no use of.
        let more = TEXT
            .replace(
                "4.0}",
                "4.0, \"input_length_std\": 5, \"arrival_process\": \"constant\"}",
            )
            .replace(
                "\"a100-80gb\"}",
                "\"a100-80gb\", \"n_nodes\": 1, \"interconnect\": {\"x\": 1}}",
            )
            .replace(
                "200.0}",
                "200.0, \"batching_type\": \"static\", \"max_batch_size\": null}",
            );
        let evenly = parse("c.json", &more).unwrap();
        assert_eq!(
            evenly.workload.load_generator,
            Some(LoadGeneratorSpec::ConstantRate)
        );
        assert_eq!(evenly.pools, run.pools);
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
        assert!(error("4.0}", "4.0, \"arrival_process\": \"even\"}").contains("arrival_process"));
        let two = "{\"pipeline_parallel_size\": 2}";
        assert_eq!(
            error("{}", two),
            "c.json: tensor_parallel_size is 1 x pipeline_parallel_size 2 x data_parallel_size 1 = 2; expected at \
             most n_xpus_per_node 1"
        );
        assert_eq!(
            error("{}", "{\"tensor_parallel_size\": 8}"),
            "c.json: tensor_parallel_size is 8; expected at most n_xpus_per_node 1"
        );
    }
}
