//! `windtunnel workload`: look at workloads, check, convert, merge and make them.

mod tables;

use super::args::refuse_zero;
use super::output::{check_path, export_paths};
use super::print::{present, say, to_stdout};
use super::spec::{part as spec_of_part, time_unit};
use super::workload_args::{
    ComposeArgs, ConvertArgs, GenerateArgs, InputArgs, ShowArgs, Target, ValidateArgs,
    WorkloadCommand,
};
use serde_json::json;
use std::path::Path;
use tables as report;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::request::Request;
use windtunnel_sim::defaults;
use windtunnel_sim::workload::{DEFAULT_SEED, Limits, Opened, SpecChanges, from_spec, part};
use windtunnel_workload::convert::{self, Rounds};
use windtunnel_workload::spec::{self, WorkloadSpec};
use windtunnel_workload::summary::Summarizer;
use windtunnel_workload::unfold::Unfold;
use windtunnel_workload::{Format, OpenOptions, detect, open};

/// Runs one of the subcommands.
pub fn workload(command: &WorkloadCommand) -> anyhow::Result<()> {
    match command {
        WorkloadCommand::Show(args) => show(args),
        WorkloadCommand::Validate(args) => validate(args),
        WorkloadCommand::Convert(args) => convert(args),
        WorkloadCommand::Compose(args) => compose(args),
        WorkloadCommand::Generate(args) => generate(args),
        WorkloadCommand::Schema => {
            let text = format!("{:#}\n", spec::reference::schema());
            to_stdout(|out| out.write_all(text.as_bytes()))
        }
    }
}

/// Opens a workload of any kind.
fn input(path: &Path, args: &InputArgs) -> Result<Opened, InputError> {
    if args.part.map.is_some() || detect(path)? != Format::Spec {
        let limits = Limits {
            max_requests: args.num_requests,
            timeout_s: None,
        };
        let options = OpenOptions {
            output_tokens: args.output_tokens,
            ..part(
                &spec_of_part(&args.part, |_| true),
                limits,
                args.seed.unwrap_or(DEFAULT_SEED),
            )?
        };
        let trace = open(path, args.trace_header.as_deref(), &options)?;
        return Ok(Opened::trace(path, trace, i64::MAX));
    }
    let idle = [
        ("--trace-header", args.trace_header.is_some()),
        ("--trace-from", args.part.trace_from.is_some()),
        ("--trace-to", args.part.trace_to.is_some()),
        ("--trace-sample", args.part.trace_sample != 1.0),
        ("--trace-loops", args.part.trace_loops != 1),
        ("--rate-scale", args.part.rate_scale != 1.0),
        ("--spread-ties", args.part.spread_ties),
        ("--trace-run", args.part.trace_run.is_some()),
        ("--time-unit", args.part.time_unit.is_some()),
        ("--trace-block-size", args.part.trace_block_size.is_some()),
        ("--output-tokens", args.output_tokens.is_some()),
    ];
    if let Some((flag, _)) = idle.iter().find(|(_, given)| *given) {
        let message = format!("{flag} has no effect on a workload spec; it chooses from a trace");
        return Err(InputError::new(message));
    }
    let flags = SpecChanges {
        seed: args.seed,
        num_requests: args.num_requests,
        horizon_us: args.horizon,
        ..SpecChanges::default()
    };
    from_spec(path, flags)
}

fn tell(notes: &[String]) {
    for note in notes {
        say(&format!("note: {note}"));
    }
}

fn summarize(opened: &mut Opened, block: u32) -> windtunnel_workload::summary::Summary {
    let mut summarizer = Summarizer::new(block);
    let horizon_us = opened.horizon_us;
    let mut unfold = Unfold::new(opened.source.as_mut());
    for request in unfold.by_ref().take_while(|r| r.arrival_us < horizon_us) {
        summarizer.add(&request);
    }
    summarizer.summary(unfold.symbols())
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let no_block = args.block_size_in_tokens == 0;
    refuse_zero(&[("--block-size-in-tokens", no_block)])?;
    if let Some(path) = &args.html {
        check_path(path)?;
    }
    let mut opened = input(&args.input.file, &args.input)?;
    tell(&opened.notes);
    let summary = summarize(&mut opened, args.block_size_in_tokens);
    if let Some(path) = &args.html {
        let page = report::html(&opened.description, &summary);
        windtunnel_base::input::write_whole(path, |out| out.write_all(page.as_bytes()))?;
    }
    let text = if args.json {
        let mut json = serde_json::to_value(&summary)?;
        json["workload"] = json!(opened.description);
        format!("{json:#}\n")
    } else {
        report::text(&opened.description, &summary)
    };
    present(args.json, &text)
}

fn validate(args: &ValidateArgs) -> anyhow::Result<()> {
    let mut lines = String::new();
    for path in &args.files {
        let line = if detect(path)? == Format::Spec {
            for (flag, given) in [
                ("--time-unit", args.time_unit.is_some()),
                ("--trace-block-size", args.trace_block_size.is_some()),
            ] {
                if given {
                    let message = format!(
                        "{flag} has no effect on the workload spec {}",
                        path.display()
                    );
                    return Err(InputError::new(message).into());
                }
            }
            let opened = spec::read(path, spec::Changes::default())?;
            tell(opened.notes());
            format!(
                "{}: a good workload spec, {} clients\n",
                path.display(),
                opened.clients()
            )
        } else {
            let options = OpenOptions {
                strict: true,
                time_unit: args.time_unit.map(time_unit),
                block_size: args.trace_block_size,
                ..OpenOptions::default()
            };
            let trace = open(path, None, &options)?;
            tell(trace.notes());
            let requests = windtunnel_base::request::Source::size_hint(&trace);
            let requests = requests.map_or(String::new(), |n| format!(", {n} requests"));
            format!("{}: good ({}){requests}\n", path.display(), trace.format())
        };
        lines.push_str(&line);
    }
    present(false, &lines)
}

fn convert(args: &ConvertArgs) -> anyhow::Result<()> {
    let path = &args.input.file;
    if args.to == Target::Spec && detect(path)? == Format::Spec {
        let opened = spec::read(path, spec::Changes::default())?;
        tell(opened.notes());
        let text = Vec::from(convert::spec_text(&opened.expanded())?);
        return deliver(args, &text);
    }
    if args.to == Target::TraceV2 && args.out.is_none() {
        let message =
            "a TraceV2 trace is two files: give --out PREFIX for PREFIX.yaml and PREFIX.csv";
        return Err(InputError::new(message).into());
    }
    let mut opened = input(path, &args.input)?;
    tell(&opened.notes);
    let horizon_us = opened.horizon_us;
    let mut unfold = Unfold::new(opened.source.as_mut());
    let before_end = |r: &Request| r.arrival_us < horizon_us;
    match (args.to, &args.out) {
        (Target::TraceV2, Some(prefix)) => {
            let mut rounds = Rounds::default();
            let mut summarizer = Summarizer::new(16);
            for request in unfold.by_ref().take_while(before_end) {
                summarizer.add(&request);
                rounds.add(request);
            }
            let symbols = unfold.symbols();
            if rounds.loses_sharing() {
                say(&format!(
                    "note: prompts share tokens that no TraceV2 trace can tell; an infinite cache would hold {:.1}% of them here",
                    100.0 * summarizer.summary(symbols).infinite_cache_hit_rate
                ));
            }
            let [header, data] = export_paths(prefix);
            let mut files = Staging::default();
            rounds.write(&mut files, &header, &data, symbols)?;
            files.commit()?;
            Ok(())
        }
        (Target::Spec, _) => {
            let requests: Vec<Request> = unfold.by_ref().take_while(before_end).collect();
            let fitted = convert::fitted(&requests)?;
            deliver(args, convert::spec_text(&fitted)?.as_bytes())
        }
        (target, _) => {
            let mut text = Vec::new();
            let requests = unfold.by_ref().take_while(before_end);
            match target {
                Target::Mooncake => convert::mooncake(requests, &mut text),
                _ => convert::azure(requests, &mut text),
            }?;
            deliver(args, &text)
        }
    }
}

fn deliver(args: &ConvertArgs, text: &[u8]) -> anyhow::Result<()> {
    match &args.out {
        Some(path) => Ok(windtunnel_base::input::write_whole(path, |out| {
            out.write_all(text)
        })?),
        None => to_stdout(|out| out.write_all(text)),
    }
}

fn compose(args: &ComposeArgs) -> anyhow::Result<()> {
    let mut parts: Vec<(String, WorkloadSpec)> = Vec::new();
    for path in &args.files {
        let opened = spec::read(path, spec::Changes::default())?;
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        parts.push((name, opened.spec));
    }
    let (spec, notes) = spec::compose::compose(parts)?;
    tell(&notes);
    let folder = args
        .files
        .first()
        .map_or(Path::new("."), |p| windtunnel_base::input::folder_of(p));
    spec::open(spec.clone(), folder).map_err(InputError::from)?;
    let text = convert::spec_text(&spec)?;
    to_stdout(|out| out.write_all(text.as_bytes()))
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    if !(args.rate.is_finite() && args.rate > 0.0) {
        let message = format!(
            "--rate is {}; expected a finite number above 0, in requests per second",
            args.rate
        );
        return Err(InputError::new(message).into());
    }
    let defaults = defaults(args.defaults_filepath.as_deref())?;
    let spec = match spec::scenarios::scenario(&args.name, args.rate) {
        Some(spec) => spec,
        None => {
            let preset = defaults.preset(&args.name).map_err(|e| {
                InputError::new(format!(
                    "{e}; scenarios: {}",
                    spec::scenarios::NAMES.join(", ")
                ))
            })?;
            let of = |l: windtunnel_config::LengthPreset| {
                [
                    f64::from(l.mean),
                    f64::from(l.stdev),
                    l.min.into(),
                    l.max.into(),
                ]
            };
            spec::scenarios::preset(
                &args.name,
                args.rate,
                preset.prefix,
                of(preset.prompt),
                of(preset.output),
            )
        }
    };
    let spec = WorkloadSpec {
        seed: args.seed,
        num_requests: args.num_requests,
        ..spec
    };
    spec::open(spec.clone(), Path::new(".")).map_err(InputError::from)?;
    let text = convert::spec_text(&spec)?;
    to_stdout(|out| out.write_all(text.as_bytes()))
}
