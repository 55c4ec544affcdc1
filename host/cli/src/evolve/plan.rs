//! What to write: the framework, the suite and the hooks.

use clap::ValueEnum;
use windtunnel_policy::Hook;
use windtunnel_score::Suite;

/// A framework that evolves programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framework {
    /// OpenEvolve: islands and MAP-Elites
    Openevolve,
    /// GEPA: reflection on scenarios, Pareto frontier
    Gepa,
    /// ShinkaEvolve: sample-efficient evolution
    Shinka,
    /// SkyDiscover: a benchmark that all of its searches run
    Skydiscover,
}

/// What the files of a directory depend on.
pub struct InitPlan {
    /// The suite that policies are scored on.
    pub suite: Suite,
    /// What the suite is called in the files: its name, or its path from the root.
    pub suite_name: String,
    /// The hooks to evolve.
    pub hooks: Vec<Hook>,
}
