//! Short help: `-h` shows what most need, `--help` all of it.

use clap::Command;
use std::collections::BTreeSet;

/// The commands that have the flags of `run`, or many of them.
const WITH_FLAGS_OF_RUN: [&str; 8] = [
    "run",
    "replay",
    "sweep",
    "plan",
    "observe",
    "calibrate",
    "fit",
    "emulate",
];

/// Those of them that the short help shows.
const BASIC: [&str; 30] = [
    "model",
    "hardware",
    "tp",
    "latency_model",
    "rules",
    "max_num_running_reqs",
    "max_num_scheduled_tokens",
    "scheduler",
    "num_instances",
    "routing_policy",
    "admission_policy",
    "policy_config",
    "policy_param",
    "workload",
    "workload_spec",
    "concurrency",
    "rate",
    "burstiness",
    "max_prompts",
    "prompt_tokens",
    "output_tokens",
    "rate_scale",
    "slo_ttft",
    "slo_itl",
    "slo_e2e",
    "fail_if",
    "json",
    "html",
    "results_path",
    "seed",
];

/// Leaves the other flags of `run` out of the short help of each command that has them.
pub fn with_short_help(mut cli: Command) -> Command {
    let flags = super::sweep::flags_of_run();
    let of_run: BTreeSet<&str> = flags.iter().map(|arg| arg.get_id().as_str()).collect();
    for name in WITH_FLAGS_OF_RUN {
        cli = cli.mut_subcommand(name, |command| {
            command.mut_args(|arg| {
                let id = arg.get_id().as_str();
                let advanced = of_run.contains(id) && !BASIC.contains(&id);
                if advanced {
                    arg.hide_short_help(true)
                } else {
                    arg
                }
            })
        });
    }
    cli
}
