//! Measured closed loops: so many users, each of which sends its next request when it has its
//! answer.
//!
//! They are rows of a file `index.csv`, beside `cases` or in a folder `benchmaq`: what
//! `vllm bench serve` with a limit of concurrency prints, a line per run.

use super::Options;
use super::compare::kind;
use crate::RunSpec;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text};

/// A run of one closed loop.
#[derive(Clone, Debug, Deserialize)]
pub struct ClosedLoop {
    model: String,
    hardware: String,
    tp: u32,
    dp: u32,
    num_prompts: u64,
    max_concurrency: f64,
    input_mean: f64,
    output_mean: f64,
    request_throughput: f64,
    mean_ttft_ms: f64,
    mean_itl_ms: f64,
    median_itl_ms: f64,
    mean_e2el_ms: f64,
}

/// A figure of a closed loop, as simulated and as measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// In the simulation.
    pub simulated: f64,
    /// On the server.
    pub measured: f64,
}

impl Figure {
    /// Percent of what was measured.
    #[must_use]
    pub fn error(&self) -> f64 {
        100.0 * (self.simulated / self.measured - 1.0)
    }
}

/// The file's place in a folder of ground truth.
const PLACES: [&str; 2] = ["index.csv", "benchmaq/index.csv"];

impl ClosedLoop {
    /// Those of a folder of ground truth; none where there is no file of them.
    ///
    /// # Errors
    /// When the file is there and is no such file.
    pub fn load(root: &Path) -> Result<Vec<Self>, InputError> {
        let files = PLACES.iter().map(|place| root.join(place));
        let Some(file) = files.into_iter().find(|file| file.is_file()) else {
            return Ok(Vec::new());
        };
        let text = read_text(&file)?;
        let refuse =
            |error: csv::Error| InputError::in_file(file.display().to_string(), error.to_string());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader
            .deserialize()
            .map(|row| row.map_err(refuse))
            .collect()
    }

    /// Model, parallelism, prompt tokens and users.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{} TP{} x {}, {:.0} tokens, {} users",
            self.model, self.tp, self.dp, self.input_mean, self.max_concurrency
        )
    }

    /// Model and parallelism.
    #[must_use]
    pub fn deployment(&self) -> String {
        format!("{} TP{} x {}", self.model, self.tp, self.dp)
    }

    /// What it is of, as [`Compared::strata`](super::Compared::strata) tells it.
    #[must_use]
    pub fn strata(&self) -> Vec<(&'static str, String)> {
        let gpu = gpu(&self.hardware).unwrap_or_else(|_| self.hardware.clone());
        vec![
            ("kind", kind(&self.model).to_owned()),
            ("TP", self.tp.to_string()),
            ("model", format!("{} TP{} {gpu}", self.model, self.tp)),
            ("GPU", gpu),
            ("replicas", self.dp.to_string()),
            ("users", format!("{:.0}", self.max_concurrency)),
        ]
    }

    /// Simulates it and compares.
    ///
    /// # Errors
    /// When the deployment cannot be simulated.
    pub fn compare(&self, options: &Options) -> Result<Vec<Figure>, InputError> {
        let result = self.spec(options)?.resolve()?.run(&mut |_| ())?;
        let mut gaps: Vec<(i64, u64)> = Vec::new();
        for instance in &result.record.instances {
            gaps.extend(&instance.gaps);
        }
        gaps.sort_unstable();
        let all: u64 = gaps.iter().map(|(_, n)| n).sum();
        let mut below = 0;
        let median = gaps.iter().find(|(_, n)| {
            below += n;
            2 * below >= all
        });
        let median_itl_ms = median.map_or(f64::NAN, |(us, _)| *us as f64 / 1e3);
        let json = result.json();
        let of = |name: &str| json[name].as_f64().unwrap_or(f64::NAN);
        let figure = |name, simulated, measured| Figure {
            name,
            simulated,
            measured,
        };
        Ok(vec![
            figure("req/s", of("responses_per_sec"), self.request_throughput),
            figure("E2E", of("e2e_mean_ms"), self.mean_e2el_ms),
            figure("TTFT", of("ttft_mean_ms"), self.mean_ttft_ms),
            figure("ITL", of("itl_mean_ms"), self.mean_itl_ms),
            figure("ITL p50", median_itl_ms, self.median_itl_ms),
        ])
    }

    fn spec(&self, options: &Options) -> Result<RunSpec, InputError> {
        let gpu = gpu(&self.hardware)?;
        let (mut spec, pool) = options.run(&self.model, gpu, self.tp, self.dp);
        spec.pools.push(pool);
        let workload = &mut spec.workload;
        workload.concurrency = Some(self.max_concurrency as u32);
        workload.num_requests = Some(self.num_prompts);
        workload.timeout = Some(-1.0);
        workload.prompt_tokens.mean = Some(self.input_mean.round() as u32);
        workload.prompt_tokens.stdev = Some(0);
        workload.output_tokens.mean = Some(self.output_mean.round() as u32);
        workload.output_tokens.stdev = Some(0);
        Ok(spec)
    }
}

/// The GPU by the name of the machines in the file: `runpod_h100sxm`, `vastai_b200`.
fn gpu(hardware: &str) -> Result<String, InputError> {
    let known = ["H100", "H200", "B200", "GB200", "A100", "L40S"];
    let found = known
        .iter()
        .rfind(|gpu| hardware.to_uppercase().contains(**gpu));
    let found = found.ok_or_else(|| {
        InputError::new(format!(
            "hardware \"{hardware}\" names no GPU that is known"
        ))
    })?;
    Ok(if *found == "A100" { "A100-SXM" } else { found }.to_owned())
}
