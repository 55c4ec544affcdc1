//! For whom a command is carried out: people at a terminal, or a program that has the simulator in
//! its own process.

use super::command_line::command_line;
use super::confine::confine;
use super::print::say;
use std::panic::resume_unwind;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_sim::plan::Trial;
use windtunnel_sim::{RunResult, Simulation};

/// For whom a command is carried out.
pub struct Caller<'a> {
    /// Takes a line for people; settings stand in backticks.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// Confines this process to writing these files, before it runs scripts that nobody trusts. It
    /// is for a command's own process: there is no way back.
    pub confine: &'a (dyn Fn(&[PathBuf]) + Sync),
    /// Says whether the work should end; it is asked now and then, from several threads.
    pub stops: &'a (dyn Fn() -> bool + Sync),
    /// Carries out the runs of a plan in place of this process: the position of what was chosen,
    /// its size or load, and the seed from 0 on.
    pub elsewhere: Option<&'a Elsewhere<'a>>,
    /// What was called, for pages that say how they were made.
    pub call: String,
}

/// Somebody who carries out the runs of a plan.
pub type Elsewhere<'a> = dyn Fn(usize, u32, u64) -> Result<Trial, InputError> + Sync + 'a;

/// Ends a run whose caller wants no more of it.
struct Stopped;

impl Caller<'static> {
    /// Whoever started this process.
    pub fn of_this_process() -> Self {
        Self {
            say: &say,
            confine: &confine,
            stops: &|| false,
            elsewhere: None,
            call: command_line(),
        }
    }
}

impl Caller<'_> {
    /// Carries out a run. When the caller stops it, the stack is unwound.
    ///
    /// # Errors
    /// As the run's.
    pub fn run(&self, simulation: Simulation) -> Result<RunResult, InputError> {
        simulation.run(&mut |_| {
            if (self.stops)() {
                resume_unwind(Box::new(Stopped));
            }
        })
    }

    /// Refuses to begin when the caller wants no more.
    ///
    /// # Errors
    /// Then.
    pub fn go_on(&self) -> Result<(), InputError> {
        match (self.stops)() {
            true => Err(InputError::new("stopped")),
            false => Ok(()),
        }
    }
}
