//! `windtunnel evolve`: writes directories in which frameworks for evolving programs evolve
//! policies.

mod files;
mod plan;
mod task;

use super::policy::hook;
use super::print::say;
use clap::{Args, Subcommand};
use plan::{Framework, InitPlan};
use std::path::PathBuf;
use windtunnel_base::input::{InputError, write_folder};
use windtunnel_policy::Hook;
use windtunnel_score::Suite;
use windtunnel_score::suite::SuiteSource;

/// `windtunnel evolve`.
#[derive(Clone, Debug, Subcommand)]
pub enum EvolveCommand {
    /// Write a directory that is ready to run: a policy to begin with, the evaluator, settings,
    /// prompts
    #[command(after_help = "Examples:
  windtunnel evolve init openevolve my-run
  windtunnel evolve init gepa my-run --suite routing-mixed --hook routing")]
    Init(InitArgs),
}

/// `windtunnel evolve init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Framework
    #[arg(value_enum)]
    framework: Framework,
    /// Folder to write; a new one, or an empty one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Suite that policies are scored on: a name ("windtunnel suite list" shows them) or a file
    #[arg(long, default_value = "routing-mixed", value_name = "NAME|FILE.yaml")]
    suite: String,
    /// Hook to evolve; may be given several times [default: all that the suite opens]
    #[arg(long = "hook", value_name = "HOOK")]
    hooks: Vec<String>,
}

/// Runs the command.
pub fn evolve(command: &EvolveCommand) -> anyhow::Result<()> {
    match command {
        EvolveCommand::Init(args) => Ok(init(args)?),
    }
}

fn init(args: &InitArgs) -> Result<(), InputError> {
    let plan = InitPlan::of(args)?;
    write_folder(&args.folder, &files::of(args.framework, &plan))?;
    say(&format!(
        "wrote {0}; next: {0}/README.md has the one command that it takes",
        args.folder.display()
    ));
    Ok(())
}

impl InitPlan {
    fn of(args: &InitArgs) -> Result<Self, InputError> {
        let suite = Suite::open(&args.suite, None)?;
        let mut hooks: Vec<Hook> = Vec::new();
        for name in &args.hooks {
            let hook = hook(name)?;
            if !suite.hooks.contains(&hook) {
                let open: Vec<&str> = suite.hooks.iter().map(|h| h.name()).collect();
                return Err(InputError::new(format!(
                    "--hook {hook}: suite {} does not open it; it opens {}",
                    suite.label(),
                    open.join(", ")
                )));
            }
            if hooks.contains(&hook) {
                return Err(InputError::new(format!("--hook {hook} is given twice")));
            }
            hooks.push(hook);
        }
        if hooks.is_empty() {
            hooks.clone_from(&suite.hooks);
        }
        hooks.sort();
        let suite_name = match &suite.source {
            SuiteSource::Shipped(name) => name.clone(),
            SuiteSource::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        };
        Ok(Self {
            suite,
            suite_name,
            hooks,
        })
    }
}
