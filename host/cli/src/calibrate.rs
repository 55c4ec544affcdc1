//! `windtunnel calibrate`: holds simulations against what was observed of live servers.

mod args;
mod files;
mod live;

pub use args::CalibrateArgs;

use super::args::CommonArgs;
use super::effects::Explicit;
use super::observe::{AskArgs, LoadArgs};
use super::output::check_path;
use super::print::{present, say};
use args::Compared;
use clap::{Args, Command};
use files::{Real, Simulated, hits_of};
use serde_json::{Value, json};
use std::path::PathBuf;
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_results::calibrate::{
    Calibration, Network, Options, Ranks, Tolerances, calibrate as compare, rank, ranks_text,
    report, text,
};

/// Flags of runs that have an effect without a server.
const WITHOUT_URL: [&str; 5] = ["json", "slo_ttft", "slo_itl", "slo_e2e", "warmup_requests"];
/// Flags of runs that have none with one.
const WITHOUT_EFFECT: [&str; 24] = [
    "format",
    "metrics_path",
    "kv_events_path",
    "step_log",
    "script_log",
    "html",
    "time_series",
    "time_series_interval",
    "timeline",
    "trace_output",
    "summary_only",
    "decisions_path",
    "trace_level",
    "counterfactual_k",
    "summarize_trace",
    "detectors",
    "saturation_config",
    "saturation_report",
    "saturation_final_window",
    "fitness_weights",
    "results_path",
    "time_limit",
    "gpu_power",
    "gpu_price",
];

/// Runs the command.
pub fn calibrate(args: &CalibrateArgs, explicit: &Explicit) -> anyhow::Result<()> {
    args.check(explicit)?;
    let (compared, fitted) = match &args.url {
        Some(url) => live::compare(args, url, explicit)?,
        None => (args.of_files(explicit)?, None),
    };
    for run in &compared {
        let requests = run.found.requests;
        if 10 * requests.token_mismatches > requests.matched_pairs {
            say(&format!(
                "WARNING: {}: {} of {} requests have other numbers of tokens in the simulation: are they the same requests?",
                run.name, requests.token_mismatches, requests.matched_pairs
            ));
        }
    }
    let runs: Vec<(String, Calibration)> = compared
        .iter()
        .map(|c| (c.name.clone(), c.found.clone()))
        .collect();
    let ranks = rank(&runs);
    if let Some(path) = &args.report {
        let [only] = compared.as_slice() else {
            let message = format!(
                "--report is of one comparison, and there are {}",
                compared.len()
            );
            return Err(InputError::new(message).into());
        };
        let report = report(
            &only.found,
            only.hits.as_ref(),
            args.tolerances(),
            only.network,
        );
        write_whole(path, |out| writeln!(out, "{report:#}"))?;
    }
    let text = match args.common.output.json {
        true => format!(
            "{:#}\n",
            args.as_json(&compared, ranks.as_ref(), fitted.as_ref())?
        ),
        false => as_text(&compared, ranks.as_ref(), fitted.as_ref()),
    };
    present(args.common.output.json, &text)
}

impl CalibrateArgs {
    fn check(&self, explicit: &Explicit) -> Result<(), InputError> {
        if self.url.is_none() {
            let flags = Command::new("run");
            let flags =
                CommonArgs::augment_args(LoadArgs::augment_args(AskArgs::augment_args(flags)));
            let flags = flags.get_arguments().map(|arg| arg.get_id().as_str());
            let flags: Vec<&str> = flags.filter(|id| !WITHOUT_URL.contains(id)).collect();
            explicit.reject_unless(&flags, false, "without --url: nothing is sent or simulated")?;
        } else {
            explicit.reject_unless(&WITHOUT_EFFECT, false, "here: it only compares latencies")?;
            let of_files = ["itl_data", "sim_metrics", "trace_header"];
            explicit.reject_unless(&of_files, false, "with --url, which observes by itself")?;
        }
        for (flag, value) in [
            ("--network-rtt-us", self.network_rtt_us.unwrap_or(0.0)),
            ("--network-bandwidth-mbps", self.network_bandwidth_mbps),
            ("--hit-rate-tolerance-pp", self.hit_rate_tolerance_pp),
            ("--ttft-mape-threshold", self.ttft_mape_threshold),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let message = format!("{flag} must be 0 or more, found {value}");
                return Err(InputError::new(message));
            }
        }
        for path in [&self.report, &self.fit].into_iter().flatten() {
            check_path(path)?;
        }
        Ok(())
    }

    fn tolerances(&self) -> Tolerances {
        Tolerances {
            ttft_mape: self.ttft_mape_threshold,
            hit_rate_pp: self.hit_rate_tolerance_pp,
        }
    }

    fn options(&self, explicit: &Explicit, real: &Real) -> Result<Options, InputError> {
        let warm_up = explicit.has("warmup_requests");
        Ok(Options {
            warm_up: match warm_up {
                true => self.ask.warmup_requests,
                false => real.warm_up,
            },
            network: Network {
                rtt_us: self.network_rtt_us.unwrap_or(real.rtt_us),
                bandwidth_mbps: self.network_bandwidth_mbps,
            },
            targets: self.targets(&real.targets)?,
        })
    }

    /// The pairs of files that are compared, with the header where it is named.
    fn pairs(&self) -> Result<Vec<(PathBuf, Option<PathBuf>, PathBuf)>, InputError> {
        let real = self.real.as_ref().or(self.trace_data.as_ref());
        let simulated = self.simulated.as_ref().or(self.sim_results.as_ref());
        if let Some((real, simulated)) = real.zip(simulated) {
            return Ok(vec![(
                real.clone(),
                self.trace_header.clone(),
                simulated.clone(),
            )]);
        }
        if self.pair.is_empty() {
            let message =
                "there is nothing to compare: expected REAL SIM, --pair REAL=SIM or --url URL";
            return Err(InputError::new(message));
        }
        let pairs = self.pair.iter().map(|pair| match pair.split_once('=') {
            Some((real, simulated)) if !real.is_empty() && !simulated.is_empty() => {
                Ok((real.into(), None, simulated.into()))
            }
            _ => Err(InputError::new(format!(
                "--pair: expected REAL=SIM, found {pair:?}"
            ))),
        });
        pairs.collect()
    }

    fn of_files(&self, explicit: &Explicit) -> Result<Vec<Compared>, InputError> {
        let mut all = Vec::new();
        for (real_path, header, simulated_path) in self.pairs()? {
            let mut real = Real::read(&real_path, header.as_deref())?;
            if let Some(path) = &self.itl_data {
                real.add_gaps(path)?;
            }
            let Simulated { requests, notes } = Simulated::read(&simulated_path)?;
            for note in real.notes.iter().chain(&notes) {
                say(&format!("note: {note}"));
            }
            let options = self.options(explicit, &real)?;
            let found = compare(&real.requests, &requests, &options);
            let found =
                found.map_err(|what| InputError::in_file(simulated_path.display(), what))?;
            let hits = match &self.sim_metrics {
                Some(path) => Some(hits_of(&real, path)?),
                None => None,
            };
            all.push(Compared {
                name: real_path.display().to_string(),
                found,
                hits,
                network: options.network,
            });
        }
        Ok(all)
    }

    fn as_json(
        &self,
        compared: &[Compared],
        ranks: Option<&Ranks>,
        fitted: Option<&live::HeldOut>,
    ) -> anyhow::Result<Value> {
        let mut runs = Vec::new();
        for run in compared {
            let mut of_run = json!({"name": run.name});
            if let (Some(of_run), Value::Object(found)) =
                (of_run.as_object_mut(), serde_json::to_value(&run.found)?)
            {
                of_run.extend(found);
                of_run.insert(
                    "hit_rate".into(),
                    run.hits.as_ref().map_or(
                        Value::Null,
                        |h| json!({"real": h.real, "simulated": h.simulated, "source": h.source}),
                    ),
                );
            }
            runs.push(of_run);
        }
        let mut all = json!({
            "runs": runs,
            "ranks": ranks,
            "interval": "95 %, bootstrap over runs of neighbouring requests",
        });
        if let (Some(all), Some(fitted)) = (all.as_object_mut(), fitted) {
            let held_out = json!({
                "run": fitted.name,
                "calibration": fitted.file,
                "before": fitted.before,
                "after": fitted.after,
            });
            all.insert("fit".into(), held_out);
        }
        Ok(all)
    }
}

fn as_text(compared: &[Compared], ranks: Option<&Ranks>, fitted: Option<&live::HeldOut>) -> String {
    let mut all = String::new();
    for run in compared {
        all += &format!("{}: {}", run.name, text(&run.found));
        if let Some(hits) = &run.hits {
            all += &format!(
                "hit rate: {:.1} % observed, {:.1} % simulated\n",
                hits.real * 1e2,
                hits.simulated * 1e2
            );
        }
        all.push('\n');
    }
    if let Some(ranks) = ranks {
        all += &ranks_text(ranks);
    }
    if let Some(fitted) = fitted {
        all += &format!(
            "\nfitted to the other loads, {}: {}",
            fitted.name,
            text(&fitted.after)
        );
        for name in ["ttft", "tpot", "e2e"] {
            let mape = |c: &Calibration| Some(c.metrics.get(name)?.mape? * 1e2);
            if let (Some(before), Some(after)) = (mape(&fitted.before), mape(&fitted.after)) {
                all += &format!("MAPE of {name}, held out: {before:.1} % -> {after:.1} %\n");
            }
        }
    }
    all
}
