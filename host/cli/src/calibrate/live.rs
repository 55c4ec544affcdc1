//! Observes a live server, simulates what was sent to it, and compares.

use super::args::{CalibrateArgs, Compared};
use super::files::real_request;
use crate::effects::Explicit;
use crate::observe::{AskArgs, Seen, ask, lateness, stage_trace};
use crate::output::export_paths;
use crate::print::say;
use crate::progress::bar_over_runs;
use crate::spec;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, Staging, write_whole};
use windtunnel_base::parallel;
use windtunnel_base::record::{InstanceTotals, RequestRecord};
use windtunnel_base::request::{Request, RequestId, Span, Symbols, TokenSeq};
use windtunnel_live::observe::{Observed, summarize};
use windtunnel_results::calibrate::{
    Calibration, Hits, Network, Options, RealRequest, SimulatedRequest, calibrate,
};
use windtunnel_sim::RunSpec;
use windtunnel_sim::fit::{FitRequest, fit};
use windtunnel_workload::trace_v2::observed::Status;
use windtunnel_workload::{Listed, measured};

/// What a fit to the other loads has changed at the load that was held out.
pub struct HeldOut {
    pub name: String,
    pub file: String,
    pub before: Calibration,
    pub after: Calibration,
}

/// A load that was observed.
struct Load {
    name: String,
    seen: Seen,
    data: PathBuf,
}

/// Observes every load, and compares each with its simulation.
pub fn compare(
    args: &CalibrateArgs,
    url: &str,
    explicit: &Explicit,
) -> anyhow::Result<(Vec<Compared>, Option<HeldOut>)> {
    let common = &args.common;
    if args.fit.is_some() && args.rates.len() < 2 {
        let message = "--fit needs at least two of --rates: the last one is held out";
        return Err(InputError::new(message).into());
    }
    if args.report.is_some() && args.rates.len() > 1 {
        let message = format!(
            "--report is of one comparison, and --rates has {}",
            args.rates.len()
        );
        return Err(InputError::new(message).into());
    }
    let how = args.ask.at_once(args.client_concurrency);
    how.check()?;
    let simulated = RunSpec {
        // It says when the last request is sent; all that are sent are simulated to their end.
        horizon_us: None,
        ..spec::of_common(common, explicit)
    };
    // Wrong settings are found before the server is asked.
    let nobody: Vec<&Observed> = Vec::new();
    simulated.resolve_with(Box::new(again(&nobody)), "nothing")?;
    let sent = RunSpec {
        seed: simulated.seed,
        horizon_us: common.horizon,
        defaults_filepath: simulated.defaults_filepath.clone(),
        ..RunSpec::default()
    };
    let sent = args.load.add_to(sent, explicit)?;
    let folder = tempfile::tempdir()?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| folder.path().join("observed"));
    let rates: Vec<Option<f64>> = match args.rates.is_empty() {
        true => vec![None],
        false => args.rates.iter().map(|rate| Some(*rate)).collect(),
    };
    let mut loads = Vec::new();
    for rate in rates {
        let mut run = sent.clone();
        let mut name = url.to_owned();
        let mut prefix = out.clone();
        if let Some(rate) = rate {
            run.workload.rate = Some(rate);
            name = format!("{rate} requests/s");
            prefix = PathBuf::from(format!("{}-{rate}", out.display()));
        }
        let load = observe_load(args, url, &how, &run, name, &prefix)?;
        loads.push(load);
    }
    let mut all = Vec::new();
    for load in &loads {
        all.push(compare_load(args, &simulated, load)?);
    }
    let held_out = match (&args.fit, loads.split_last(), all.last()) {
        (Some(path), Some((last, others)), Some(before)) => {
            let fitted = fit_loads(args, explicit, &simulated, others, path)?;
            let after = compare_load(args, &fitted, last)?.found;
            Some(HeldOut {
                name: last.name.clone(),
                file: path.display().to_string(),
                before: before.found.clone(),
                after,
            })
        }
        _ => None,
    };
    Ok((all, held_out))
}

fn observe_load(
    args: &CalibrateArgs,
    url: &str,
    how: &AskArgs,
    run: &RunSpec,
    name: String,
    prefix: &Path,
) -> anyhow::Result<Load> {
    let quiet = args.common.output.quiet;
    let seen = ask(url, args.served_model.as_deref(), how, run, quiet)?;
    let summary = summarize(&seen.observation);
    let late = lateness(how, &summary);
    let [header, data] = export_paths(prefix);
    let mut files = Staging::default();
    stage_trace(
        &mut files,
        &header,
        &data,
        &seen,
        late.iter().cloned().collect(),
    )?;
    files.commit()?;
    if let Some(late) = late {
        anyhow::bail!("{name}: {late}");
    }
    if seen.observation.stopped {
        anyhow::bail!("{name}: the observation was stopped");
    }
    say(&format!(
        "{name}: {} of {} requests answered in {:.1} s",
        summary.ok, summary.requests, summary.duration_s
    ));
    Ok(Load { name, seen, data })
}

fn compare_load(
    args: &CalibrateArgs,
    simulated: &RunSpec,
    load: &Load,
) -> anyhow::Result<Compared> {
    let observed: Vec<&Observed> = load.seen.observation.requests.iter().collect();
    let simulation = simulated.resolve_with(Box::new(again(&observed)), &load.name)?;
    let result = simulation.run(&mut |_| ())?;
    for note in &result.notes {
        say(&format!("note: {note}"));
    }
    let network = Network {
        rtt_us: args.network_rtt_us.unwrap_or(0.0),
        bandwidth_mbps: args.network_bandwidth_mbps,
    };
    let options = Options {
        warm_up: load.seen.warm_up,
        network,
        targets: args.targets(&load.seen.targets)?,
    };
    let real: Vec<RealRequest> = observed.iter().map(|o| real_of(o)).collect();
    let rows: Vec<SimulatedRequest> = result.record.requests.iter().map(row_of).collect();
    let found = calibrate(&real, &rows, &options);
    let found = found.map_err(|what| anyhow::anyhow!("{}: {what}", load.name))?;
    let sum =
        |of: fn(&InstanceTotals) -> u64| -> u64 { result.record.instances.iter().map(of).sum() };
    let (hits, queries) = (sum(|i| i.prefix_hits), sum(|i| i.prefix_queries));
    let observed_kv = load.seen.observation.kv.as_ref().filter(|_| queries > 0);
    Ok(Compared {
        name: load.name.clone(),
        found,
        hits: observed_kv.map(|kv| Hits {
            real: kv.hit_rate(),
            simulated: hits as f64 / queries as f64,
            source: kv.source.to_owned(),
        }),
        network,
    })
}

fn real_of(o: &Observed) -> RealRequest {
    let gaps = o
        .chunks
        .windows(2)
        .map(|pair| pair[1].at_us - pair[0].at_us);
    let gaps: Vec<i64> = gaps.collect();
    let sum: i64 = gaps.iter().sum();
    RealRequest {
        itl_us: (!gaps.is_empty()).then(|| sum as f64 / gaps.len() as f64),
        ..real_request(&o.row)
    }
}

fn row_of(r: &RequestRecord) -> SimulatedRequest {
    SimulatedRequest {
        id: r.id.to_string(),
        arrival_us: Some(r.arrival_us as f64),
        ttft_us: r.ttft_us.map(|us| us as f64),
        e2e_us: r.e2e_us.map(|us| us as f64),
        prompt_tokens: r.prompt_tokens,
        output_tokens: r.generated_tokens,
    }
}

/// Fits to these loads, and gives the run with what was found.
fn fit_loads(
    args: &CalibrateArgs,
    explicit: &Explicit,
    simulated: &RunSpec,
    loads: &[Load],
    path: &Path,
) -> anyhow::Result<RunSpec> {
    let mut runs = Vec::new();
    for load in loads {
        let bytes = std::fs::read(&load.data)?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        for run in measured::read(&load.data)? {
            runs.push((run.replay()?, hash.clone()));
        }
    }
    let mut pool = spec::of_pool(&args.common.model, &args.common.engine, explicit);
    pool.latency.model = Some("kernel-tables".to_owned());
    let request = FitRequest {
        spec: RunSpec {
            rules: spec::rules(args.common.engine.rules),
            pools: vec![pool],
            ..spec::of_model(&args.common.model)
        },
        runs,
        jobs: parallel::default_jobs(),
        made_by: format!("windtunnel {}", env!("CARGO_PKG_VERSION")),
    };
    let bar = bar_over_runs(0, args.common.output.quiet);
    let fitted = fit(&request, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    for note in &fitted.notes {
        say(&format!("note: {note}"));
    }
    let text = fitted.calibration.to_yaml()?;
    write_whole(path, |out| out.write_all(text.as_bytes()))?;
    let mut run = simulated.clone();
    for pool in &mut run.pools {
        pool.latency.model = Some("kernel-tables".to_owned());
        pool.latency.calibration = Some(path.to_owned());
    }
    Ok(run)
}

/// What was sent, once more: every request when it was sent, with the tokens that the server
/// counted.
fn again(observed: &[&Observed]) -> Listed {
    let mut symbols = Symbols::default();
    let streams = observed.iter().flat_map(|o| {
        let sequences = [&o.request.prompt, &o.request.output];
        sequences.into_iter().flat_map(|seq| seq.spans())
    });
    let unused = streams.map(|span| span.stream + 1).max().unwrap_or(0);
    let from_us = observed.iter().map(|o| o.sent_us).min().unwrap_or(0);
    let mut requests: Vec<Request> = Vec::new();
    for (k, o) in observed.iter().enumerate() {
        let row = &o.row;
        let free = unused + k as u32;
        let mut name = |text: &str| symbols.intern(text);
        let mut prompt = TokenSeq::default();
        prompt.extend_from(&o.request.prompt, row.prompt_tokens());
        let more = row.prompt_tokens() - prompt.len();
        prompt.push(Span {
            stream: free,
            start: 0,
            len: more,
        });
        // An answer that never came, or in part, may have been computed all the same.
        let came = match row.status {
            Status::Ok => row.output_tokens,
            _ => o.request.output.len(),
        };
        let mut output = TokenSeq::default();
        // Behind other tokens than the workload's, it is another answer than the workload's.
        if prompt == o.request.prompt {
            output.extend_from(&o.request.output, came);
        }
        output.push(Span {
            stream: free,
            start: more,
            len: came - output.len(),
        });
        let arrival_us = o.sent_us - from_us;
        requests.push(Request {
            private_from: u32::MAX,
            max_output_tokens: came,
            deadline_us: match o.request.deadline_us {
                0 => 0,
                deadline => (deadline - o.request.arrival_us).saturating_add(arrival_us),
            },
            slo_ttft_us: row.slo_ttft_us,
            client: name(&row.client),
            tenant: name(&row.tenant),
            slo_class: name(&row.slo_class),
            client_priority: row.priority,
            model: name(&row.model),
            adapter: name(&row.adapter),
            session: name(&row.session),
            round: row.round,
            prefix_group: name(&row.prefix_group),
            prefix_tokens: row.prefix_tokens,
            streaming: row.streaming,
            ..Request::new(RequestId::Number(k as u64), arrival_us, prompt, output)
        });
    }
    requests.sort_by_key(|r| r.arrival_us);
    Listed::new(requests, symbols)
}
