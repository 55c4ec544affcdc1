//! Measured runs of real servers, simulated and compared: how true the step times are.
//!
//! A folder of ground truth holds `cases/SET/EXPERIMENT/stage*.json`: model, GPU, limits, workload
//! and what was measured; `stageall` is the whole run, the others its load stages. `raw/` has the
//! requests of some runs, and `split.json` names the cases in which the server was saturated.

mod cases;
mod closed_loops;
mod compare;
mod traffic;

pub use cases::{Case, Experiment, GroundTruth};
pub use closed_loops::{ClosedLoop, Figure};
pub use compare::{Compared, Figures, METRICS, Metric, Peer, Summary, summarize};

use crate::{PoolSpec, RulesSpec, RunSpec};
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Outcome;
use windtunnel_config::ModelArch;

/// How the experiments are simulated.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Step-time model, as `latency.model` of a pool has it.
    pub latency_model: Option<String>,
    /// Rules; those of the step-time model by default.
    pub rules: RulesSpec,
    /// Models, coefficients and hardware in place of the built-in ones.
    pub defaults_filepath: Option<PathBuf>,
    /// File of measured kernels in place of the built-in ones.
    pub kernel_tables: Option<PathBuf>,
    /// Moves the random numbers of what was not recorded.
    pub seed: u64,
}

impl Options {
    /// A run of `dp` replicas of `tp` GPUs each, and its one pool.
    fn run(&self, model: &str, gpu: String, tp: u32, dp: u32) -> (RunSpec, PoolSpec) {
        let model = known_model(model);
        let is_moe = ModelArch::builtin(&model).is_some_and(|arch| arch.is_moe());
        let mut spec = RunSpec::of_model(model);
        spec.rules = self.rules;
        spec.defaults_filepath.clone_from(&self.defaults_filepath);
        let mut pool = PoolSpec {
            hardware: Some(gpu),
            ..PoolSpec::default()
        };
        pool.parallel.tensor = Some(tp);
        if dp > 1 && !is_moe && self.rules == RulesSpec::Blis {
            // That simulator knows no replicas of a dense model within an instance.
            pool.count = Some(dp);
            spec.policies.routing = Some("round-robin".to_owned());
        } else if dp > 1 {
            pool.parallel.data = Some(dp);
            // These rules alone know them all.
            if !is_moe {
                spec.rules = RulesSpec::Vllm;
            }
        }
        pool.latency.model.clone_from(&self.latency_model);
        pool.latency.kernel_tables.clone_from(&self.kernel_tables);
        (spec, pool)
    }
}

impl Experiment {
    /// Simulates the run and compares each of its stages; a run without stages is one.
    ///
    /// # Errors
    /// When a file of its requests cannot be read, or the deployment cannot be simulated.
    pub fn compare(&self, options: &Options) -> Result<Vec<Compared>, InputError> {
        let rows = traffic::rows(self, options.seed)?;
        let stages: Vec<usize> = rows.iter().map(|row| row.stage).collect();
        let spec = self.spec(options);
        let source = traffic::Traffic::new(self, rows);
        let simulation = spec.resolve_with(Box::new(source), self.name())?;
        let result = simulation.run(&mut |_| ())?;
        let mut requests: Vec<_> = result.record.requests.iter().collect();
        requests.sort_by_key(|r| r.serial);
        let mut compared = Vec::new();
        for case in self.stages() {
            let mut figures = compare::Sample::default();
            for (request, stage) in requests.iter().zip(&stages) {
                if !case.is_stage(*stage) {
                    continue;
                }
                figures.sent += 1;
                figures.first_us = figures.first_us.min(request.arrival_us);
                if let (Outcome::Completed, Some(ttft), Some(e2e)) =
                    (request.outcome, request.ttft_us, request.e2e_us)
                {
                    figures.add(request.arrival_us, ttft, e2e, request.generated_tokens);
                }
            }
            compared.push(Compared::new(self, case, figures)?);
        }
        Ok(compared)
    }

    fn spec(&self, options: &Options) -> RunSpec {
        let case = self.whole();
        let gpu = case.gpu.clone();
        let (mut spec, mut pool) = options.run(&case.model, gpu, case.tp, case.dp);
        let engine = &case.engine;
        pool.engine.max_num_seqs = Some(engine.max_num_seqs);
        pool.engine.max_num_batched_tokens = Some(engine.max_num_batched_tokens);
        pool.engine.block_size = engine.block_size;
        pool.engine.max_model_len = engine.max_model_len;
        pool.engine.total_kv_blocks = engine.kv_blocks_gpu;
        if engine.kv_blocks_gpu.is_none() {
            pool.engine.gpu_memory_utilization = engine.gpu_memory_utilization;
        }
        spec.pools.push(pool);
        spec
    }
}

/// The model's name, or that of one of the same shape where only that is known.
fn known_model(name: &str) -> String {
    let name = name.to_lowercase();
    let known = |name: &String| ModelArch::builtin(name).is_some();
    let alike = [
        name.clone(),
        format!("{name}-instruct"),
        name.replace("-instruct", ""),
        name.replace("-instruct-2507", ""),
    ];
    alike.into_iter().find(known).unwrap_or(name)
}
