//! Completions for shells: commands and flags from their definitions; models, GPUs, workloads,
//! suites and policies from what there is. The shell asks this program while you type.

use clap::Command;
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_config::{Defaults, short_name};
use windtunnel_policy::{Hook, registry};
use windtunnel_score::suite_names;

/// Environment variable in which the script of a shell names that shell.
const VARIABLE: &str = "WINDTUNNEL_COMPLETE";
const NAME: &str = "windtunnel";

/// The script that makes a shell ask this program.
pub fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells.completer(&shell.to_string());
    let shell = shell.ok_or_else(|| io::Error::other("a shell that cannot ask programs"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    Ok(script)
}

/// Answers if it is a shell that asks, on stdout; `false` if it is not.
pub fn answered(command: fn() -> Command, arguments: &[OsString]) -> Result<bool, InputError> {
    // Without words there is nothing to complete: that would ask for the script.
    if std::env::var_os(VARIABLE).is_none() || !arguments.iter().any(|word| word == "--") {
        return Ok(false);
    }
    let asked = CompleteEnv::with_factory(move || with_names(command()));
    let here = std::env::current_dir().ok();
    asked
        .var(VARIABLE)
        .try_complete(arguments, here.as_deref())
        .map_err(|error| InputError::new(error.to_string().trim_end().to_owned()))
}

/// The command line, whose values that are names complete.
fn with_names(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| {
        let names = names_of(&name, arg.get_id().as_str());
        match names {
            Some(names) => arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
                names.complete(typed)
            })),
            None => arg,
        }
    });
    command.mut_subcommands(with_names)
}

/// What the values of a flag or a positional name.
#[derive(Clone, Copy)]
enum Names {
    Models,
    Gpus,
    Workloads,
    Suites,
    Hooks,
    Policies(Hook),
    /// Policies of all hooks, in no file.
    AnyPolicy,
    /// What can be scored: mostly routing policies.
    Candidates,
}

/// Values that are names: flags by their names in the program, those of one command with it.
const NAMED: [(&str, Names); 25] = [
    ("model", Names::Models),
    ("models name", Names::Models),
    ("hardware", Names::Gpus),
    ("prefill_hardware", Names::Gpus),
    ("decode_hardware", Names::Gpus),
    ("workload", Names::Workloads),
    ("suite", Names::Suites),
    ("score candidates", Names::Candidates),
    ("compare candidates", Names::Candidates),
    ("explain candidate", Names::Candidates),
    ("add candidates", Names::Candidates),
    ("tune policy", Names::Candidates),
    ("show name", Names::AnyPolicy),
    ("hook", Names::Hooks),
    ("admission_policy", Names::Policies(Hook::Admission)),
    ("routing_policy", Names::Policies(Hook::Routing)),
    ("prefill_routing_policy", Names::Policies(Hook::Routing)),
    ("decode_routing_policy", Names::Policies(Hook::Routing)),
    ("priority_policy", Names::Policies(Hook::Priority)),
    ("scheduler", Names::Policies(Hook::Scheduler)),
    ("preemption_policy", Names::Policies(Hook::Preemption)),
    ("pd_decider", Names::Policies(Hook::Disaggregation)),
    ("batching_strategy", Names::Policies(Hook::Batching)),
    ("dispatch_order", Names::Policies(Hook::Dispatch)),
    ("autoscale", Names::Policies(Hook::Scale)),
];

/// What a value of `command`'s `flag` names.
fn names_of(command: &str, flag: &str) -> Option<Names> {
    let here = format!("{command} {flag}");
    let found = NAMED
        .iter()
        .find(|(name, _)| *name == flag || *name == here);
    found.map(|(_, names)| *names)
}

impl Names {
    /// The names that begin as `typed` does, and files where one can be given.
    fn complete(self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let mut found: Vec<CompletionCandidate> = match typed.to_str() {
            Some(text) => (self.all().into_iter())
                .filter(|name| name.starts_with(text))
                .map(CompletionCandidate::new)
                .collect(),
            None => Vec::new(),
        };
        if let Some(endings) = self.endings() {
            let fits = move |path: &Path| {
                let ending = path.extension().and_then(OsStr::to_str);
                ending.is_some_and(|ending| endings.contains(&ending))
            };
            found.extend(PathCompleter::file().filter(fits).complete(typed));
        }
        found
    }

    /// All names there are.
    fn all(self) -> Vec<String> {
        let defaults = Defaults::builtin();
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        match self {
            // The short ones first, as documents write them.
            Self::Models => {
                let short = defaults.models().map(|model| short_name(model.name));
                let full = defaults.models().map(|model| model.name);
                short.chain(full).map(str::to_owned).collect()
            }
            Self::Gpus => owned(defaults.hardware.names().collect()),
            Self::Workloads => {
                let mut names: Vec<String> = defaults.workloads.keys().cloned().collect();
                names.push("distribution".to_owned());
                names
            }
            Self::Suites => owned(suite_names()),
            Self::Hooks => owned(Hook::ALL.map(Hook::name).to_vec()),
            Self::Policies(hook) => owned(registry::names(hook)),
            Self::AnyPolicy => owned(Hook::ALL.into_iter().flat_map(registry::names).collect()),
            Self::Candidates => owned(registry::names(Hook::Routing)),
        }
    }

    /// Endings of files that can be given in place of a name.
    fn endings(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Models | Self::Gpus | Self::Workloads | Self::Hooks | Self::AnyPolicy => None,
            Self::Suites => Some(&["yaml"]),
            Self::Policies(_) => Some(&["lua", "so", "dylib", "dll"]),
            Self::Candidates => Some(&["lua", "so", "dylib", "dll", "yaml"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag and positional of `command` and below, as `NAMED` spells them.
    fn spelled(command: &Command) -> Vec<String> {
        let own = command.get_arguments().flat_map(|arg| {
            let id = arg.get_id().as_str();
            [id.to_owned(), format!("{} {id}", command.get_name())]
        });
        own.chain(command.get_subcommands().flat_map(spelled))
            .collect()
    }

    #[test]
    fn every_value_that_completes_is_in_the_command_line() {
        let spelled = spelled(&crate::command());
        for (name, names) in NAMED {
            assert!(spelled.iter().any(|other| other == name), "no {name}");
            assert!(!names.all().is_empty(), "{name} names nothing");
        }
    }

    #[test]
    fn the_script_of_every_shell_asks_this_program() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            let script = String::from_utf8(script(*shell).expect("a script")).expect("text");
            assert!(
                script.contains(VARIABLE) && script.contains(NAME),
                "{shell}"
            );
        }
    }
}
