//! `run` and `replay`: from flags or a file to a simulation, its progress, its results.

use super::args::{CommonArgs, Format};
use super::confine;
use super::effects::Explicit;
use super::gate;
use super::output::{self, Files};
use super::progress::Bar;
use super::workload_args::{ReplayArgs, RunArgs};
use super::{say, spec, to_stdout};
use windtunnel_base::input::{InputError, Staging, write_whole};
use windtunnel_sim::{BesideXpuSim, RunSpec, settings};

/// `windtunnel run`.
pub fn run(args: &RunArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let run = match &args.spec {
        Some(path) => {
            let beside = ["engine", "load_generator", "warm_up"];
            let names = settings::names().chain(["trace_level"]);
            for name in names.filter(|name| !beside.contains(name)) {
                explicit.reject_unless(&[name], false, "with --spec, whose file says it")?;
            }
            RunSpec::load_with(
                path,
                BesideXpuSim {
                    engine: args.common.engine.scheduling.engine.clone(),
                    load_generator: args.workload.load_generator.map(Into::into),
                    warm_up: args.workload.warm_up,
                },
            )?
        }
        None => spec::of_run(args, explicit, &[])?,
    };
    check_shown(&args.common, explicit)?;
    // What a file says lifts limits; whether this process is confined is for its user to say.
    let trusted = args.spec.is_none() && run.policies.trusted;
    if args.dump_spec {
        if !trusted && confine::has_scripts(&run) {
            confine::confine(&[]);
        }
        run.resolve()?;
        let text = run.to_yaml()?;
        return to_stdout(|out| out.write_all(text.as_bytes()));
    }
    carry_out(&run, trusted, &args.common)
}

/// `windtunnel replay`.
pub fn replay(args: &ReplayArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let run = spec::of_replay(args, explicit)?;
    check_shown(&args.common, explicit)?;
    carry_out(&run, run.policies.trusted, &args.common)
}

/// Refuses power and price where nothing of them is shown.
fn check_shown(common: &CommonArgs, explicit: &Explicit) -> Result<(), InputError> {
    let shown = matches!(common.output.format, Format::Table | Format::Json);
    explicit.reject_unless(
        &["gpu_power", "gpu_price"],
        shown || common.output.json,
        "with --format of a simulator that tells neither energy nor cost",
    )
}

/// Simulates, with a progress bar, and delivers the results. Scripts that are not `trusted` by the
/// command line run in a confined process.
fn carry_out(run: &RunSpec, trusted: bool, common: &CommonArgs) -> anyhow::Result<()> {
    let gate = gate::of_a_run(common.analysis.fail_if.as_deref())?;
    let written = Files::of(&common.output, &common.analysis);
    written.check(run)?;
    let of_a_simulator = match common.output.format {
        Format::Blis => Some("blis"),
        Format::Xpusim => Some("xpusim"),
        Format::Table | Format::Json => None,
    };
    if let (true, Some(format)) = (run.is_in_ticks(), of_a_simulator) {
        let why = "with `latency_model` ticks, whose time is abstract";
        return Err(InputError::new(format!("--format {format} has no effect {why}")).into());
    }
    if !trusted && confine::has_scripts(run) {
        confine::confine(&written.paths());
    }
    let simulation = written.asked_of(run).resolve()?;
    // Not before all input is known to be good: an error comes alone.
    for note in simulation.notes() {
        say(&format!("note: {note}"));
    }
    tracing::info!(
        workload = simulation.workload(),
        model = simulation.model(),
        "simulating"
    );
    let mut files = Staging::default();
    let bar = Bar::new(simulation.size_hint(), common.output.quiet);
    let log = simulation.script_log();
    let result = output::complete(simulation, &written, &mut files, &mut |progress| {
        bar.show(progress);
    });
    bar.done();
    // Of a run that breaks off, most of all.
    if let Some(path) = &written.script_log {
        write_whole(path, |out| out.write_all(log.text().as_bytes()))?;
    }
    let result = result?;
    if let Some((lines, first)) = log.unkept() {
        say(&format!(
            "note: scripts printed {lines} lines, {first} the first; --script-log FILE keeps them"
        ));
    }
    for note in &result.notes {
        say(&format!("note: {note}"));
    }
    output::deliver(&result, &common.output, &written, files)?;
    gate::check_run(&gate, &result.results())
}
