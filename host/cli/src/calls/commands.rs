//! Commands that carry out many runs, as functions.

use super::keywords::{Keyword, Kind, by_keywords, command_line, keywords};
use crate::command;
use crate::commands::{Cli, Command};
use crate::plan::{self, Planned};
use crate::print::first_paragraph;
use crate::spelling::spelled;
use crate::sweep;
use clap::{ArgMatches, FromArgMatches};
use serde_json::{Map, Value};
use windtunnel_base::input::InputError;
use windtunnel_results::report::columns::Column;
use windtunnel_results::report::sweep as rows;
use windtunnel_sim::plan::Trial;

pub use crate::caller::{Caller, Elsewhere};
pub use crate::sweep::{Share, Swept};

/// A command line that was understood.
pub struct Parsed {
    matches: ArgMatches,
    command: Command,
    keywords: Vec<Keyword>,
}

impl Parsed {
    /// Reads the call of a command, by its keywords.
    ///
    /// # Errors
    /// As the command line's.
    pub fn of(name: &str, given: &Map<String, Value>) -> Result<Self, InputError> {
        let keywords = keywords(name);
        let mut words = command_line(name, &keywords, given)?;
        // Whoever calls a function looks at what it returns.
        words.push("--quiet".into());
        let wrong = |e: clap::Error| InputError::new(by_keywords(&first_paragraph(&e), &keywords));
        let matches = command().try_get_matches_from(words).map_err(wrong)?;
        let command = Cli::from_arg_matches(&matches).map_err(wrong)?.command;
        Ok(Self {
            matches,
            command,
            keywords,
        })
    }

    /// A message with flags by the names of keywords.
    #[must_use]
    pub fn spelled(&self, message: &str) -> String {
        by_keywords(&spelled(message, str::to_owned), &self.keywords)
    }

    /// Carries out a sweep.
    ///
    /// # Errors
    /// As the command.
    pub fn sweep(&self, caller: &Caller<'_>, share: Share) -> anyhow::Result<Swept> {
        match &self.command {
            Command::Sweep(args) => {
                let swept = sweep::swept(args, &self.matches, command(), caller, share)?;
                Ok(swept.once_saved()?)
            }
            _ => Err(InputError::new("expected the command sweep").into()),
        }
    }

    /// Carries out a plan.
    ///
    /// # Errors
    /// As the command.
    pub fn plan(&self, caller: &Caller<'_>) -> anyhow::Result<Planned> {
        match &self.command {
            Command::Plan(args) => {
                let tell = |answer: &plan::Answer<'_>| Planned::of(answer, &caller.call);
                plan::planned(args, &self.matches, command(), caller, tell)
            }
            _ => Err(InputError::new("expected the command plan").into()),
        }
    }

    /// Carries out one run of a plan: the position of what is chosen, its size or load, and the
    /// seed from 0 on.
    ///
    /// # Errors
    /// As the command.
    pub fn trial(
        &self,
        caller: &Caller<'_>,
        choice: usize,
        number: u32,
        seed: u64,
    ) -> anyhow::Result<Trial> {
        match &self.command {
            Command::Plan(args) => {
                let run = |search: &plan::Search<'_>| Ok(search.run(choice, number, seed)?);
                plan::searching(args, &self.matches, command(), caller, run)
            }
            _ => Err(InputError::new("expected the command plan").into()),
        }
    }

    /// The rows of a sweep by column, and the same summed up over the seeds of each point. Types
    /// only depend on what is varied: those of the flags, of counts, of figures.
    #[must_use]
    pub fn tables(&self, swept: &Swept) -> [Vec<(String, Column)>; 2] {
        let of_flag = |name: &String| {
            let name = name.replace('-', "_");
            let known = |k: &&Keyword| k.name == name || k.aliases.contains(&name);
            match self.keywords.iter().find(known).map(|k| &k.kind) {
                Some(Kind::Whole) => rows::Kind::Whole,
                Some(Kind::Number) => rows::Kind::Number,
                _ => rows::Kind::Text,
            }
        };
        let dimensions: Vec<rows::Kind> = swept.names.iter().map(of_flag).collect();
        let keyword = |(at, name): (usize, &String)| match at {
            1.. if at <= dimensions.len() && !name.starts_with("bundle:") => name.replace('-', "_"),
            _ => name.clone(),
        };
        let names: Vec<String> = swept.columns.iter().enumerate().map(keyword).collect();
        [
            rows::typed(&names, &swept.rows, &dimensions),
            rows::by_point(&names, &swept.rows, &dimensions),
        ]
    }
}
