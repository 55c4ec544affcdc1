//! `run` and `replay`: from flags or a file to a simulation, its progress, its results.

use super::args::CommonArgs;
use super::effects::Explicit;
use super::progress::Bar;
use super::workload_args::{ReplayArgs, RunArgs};
use super::{output, say, spec, to_stdout};
use windtunnel_base::input::{InputError, Staging};
use windtunnel_sim::{Resolver, RunSpec, settings};

/// `windtunnel run`.
pub fn run(args: &RunArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let run = match &args.spec {
        Some(path) => {
            for name in settings::names().chain(["trace_level"]) {
                explicit.reject_unless(&[name], false, "with --spec, whose file says it")?;
            }
            RunSpec::load(path)?
        }
        None => spec::of_run(args, explicit, &[])?,
    };
    if args.dump_spec {
        run.resolve()?;
        let text = run.to_yaml()?;
        return to_stdout(|out| out.write_all(text.as_bytes()));
    }
    carry_out(&run, &args.common, explicit)
}

/// `windtunnel replay`.
pub fn replay(args: &ReplayArgs, explicit: &Explicit) -> anyhow::Result<()> {
    carry_out(&spec::of_replay(args, explicit)?, &args.common, explicit)
}

/// Simulates, with a progress bar, and delivers the results.
fn carry_out(run: &RunSpec, common: &CommonArgs, explicit: &Explicit) -> anyhow::Result<()> {
    check_outputs(run, common, explicit)?;
    let simulation = Resolver::default().resolve(run)?;
    // Not before all input is known to be good: an error comes alone.
    for note in simulation.notes() {
        say(&format!("note: {note}"));
    }
    tracing::info!(
        workload = simulation.workload(),
        model = simulation.spec().model,
        "simulating"
    );
    let mut files = Staging::default();
    let bar = Bar::new(simulation.size_hint(), common.output.quiet);
    let finished = output::complete(simulation, &common.output, &mut files, &mut |progress| {
        bar.show(progress);
    })?;
    bar.done();
    output::deliver(&finished, common, files)
}

/// Refuses files that would stay empty, or whose paths cannot work.
pub fn check_outputs(
    run: &RunSpec,
    common: &CommonArgs,
    explicit: &Explicit,
) -> Result<(), InputError> {
    explicit.reject_unless(
        &["decisions_path"],
        run.outputs.decisions,
        "without --trace-level decisions",
    )?;
    explicit.reject_unless(
        &["saturation_report"],
        run.outputs.detectors.is_some(),
        "without --detectors",
    )?;
    explicit.reject_unless(
        &["metrics_path", "trace_output"],
        !run.outputs.summary_only,
        "with --summary-only, which keeps no request's record",
    )?;
    output::check_paths(&common.output, &common.analysis, &run.files())
}
