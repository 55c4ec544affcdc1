//! The requests of a decision log before simulated servers.
//!
//! The gateway's own account and front end stand before instances of the engine in place of
//! servers. These are scraped when the servers of the log were, so that what policies see is as old
//! as it was then, and policies are asked what the log's were asked.

mod cause;
mod explain;
mod outcome;
mod probe;
mod script;
mod servers;
mod world;

pub use cause::{Cause, Kind};
pub use outcome::{Compared, Comparison, Example, Mode, Times};
pub use script::Script;

use crate::gateway::config::Config;
use script::Step;
use servers::Servers;
use windtunnel_base::input::InputError;
use windtunnel_engine::cluster::Standalone;
use world::World;

/// Simulates the requests of a log. `engine` has an instance for each server of the log,
/// `instances` says which; `config` says their model and pools.
///
/// # Errors
/// When policies, model or pools make no sense, or a policy fails.
pub fn resimulate(
    script: &Script,
    engine: Standalone,
    instances: Vec<usize>,
    config: Config,
    mode: Mode,
) -> Result<Comparison, InputError> {
    let first = script.steps.iter().find_map(|(_, step)| match step {
        Step::Policies(begin) => Some(begin),
        _ => None,
    });
    let Some(begin) = first else {
        return Err(InputError::new("the log does not begin with its policies"));
    };
    let mut world = World::new(script, Servers::new(engine, instances), config, mode, begin)?;
    for (at, step) in &script.steps {
        world.pass(*at)?;
        world.step(*at, step)?;
    }
    world.finish()
}
