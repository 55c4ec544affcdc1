//! `windtunnel doctor`: whether this machine has what the commands need, by trying it.

use super::print::present;
use super::score::cache_folder;
use clap::Args;
use serde::Serialize;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use windtunnel_base::input::{nearest, plain};
use windtunnel_config::{Defaults, KernelTables};
use windtunnel_results::report::table::styled;
use windtunnel_score::{
    Candidate, LastStage, ScoreRequest, Scorer, Settings, Split, Suite, engine, suite_names,
};
use windtunnel_sim::RunSpec;

/// Environment variables that this program reads.
const VARIABLES: [&str; 5] = [
    "WINDTUNNEL_API_KEY",
    "WINDTUNNEL_CACHE_DIR",
    "WINDTUNNEL_HOLDOUT_SALT_FILE",
    "WINDTUNNEL_LOG",
    "WINDTUNNEL_TOKEN",
];
/// The oldest Rust that plugins can be built with.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");
/// A router that needs what every script needs: the engine's bindings, and a choice.
const SCRIPT: &str = "return { score = function(req, inst) return -inst.queue_depth end }";

/// `windtunnel doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Fine,
    /// Some commands do less, or cannot be used.
    Limited,
    /// The program does not work here.
    Broken,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Fine,
            found: found.into(),
            advice: None,
        }
    }

    fn limited(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Limited,
            advice: Some(advice.into()),
            ..Self::fine(name, found)
        }
    }

    fn broken(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Broken,
            ..Self::limited(name, found, advice)
        }
    }
}

/// Looks, and says what it found. An error if something is broken.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<()> {
    let checks = [
        program(),
        machine(),
        data(),
        simulation(),
        sandbox(),
        cache(),
        variables(),
        rust(),
    ];
    if args.json {
        present(true, &(serde_json::to_string_pretty(&checks)? + "\n"))?;
    } else {
        present(false, &text(&checks))?;
    }
    let broken: Vec<&str> = (checks.iter())
        .filter(|check| check.state == State::Broken)
        .map(|check| check.name)
        .collect();
    if !broken.is_empty() {
        anyhow::bail!("does not work here: {}", broken.join(", "));
    }
    Ok(())
}

fn text(checks: &[Check]) -> String {
    let mut table = styled(&["Looked at", "State", "Found"]);
    for check in checks {
        let state = match check.state {
            State::Fine => "fine",
            State::Limited => "limited",
            State::Broken => "BROKEN",
        };
        table.add_row([check.name, state, &check.found]);
    }
    let advice = checks.iter().filter_map(|check| {
        let advice = check.advice.as_ref()?;
        Some(format!("! {}: {advice}\n", check.name))
    });
    format!("{table}\n{}", advice.collect::<String>())
}

fn program() -> Check {
    let found = format!(
        "windtunnel {} for {} {}, engine {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        engine()
    );
    if cfg!(debug_assertions) {
        let advice = "built without optimisation, many times slower; build with --release";
        return Check::limited("program", found, advice);
    }
    Check::fine("program", found)
}

fn machine() -> Check {
    let cores = windtunnel_base::parallel::default_jobs();
    Check::fine(
        "machine",
        format!("{cores} cores for sweeps, plans and scores"),
    )
}

fn data() -> Check {
    let defaults = Defaults::builtin();
    let measured = KernelTables::shipped_gpus().count();
    Check::fine(
        "built in",
        format!(
            "{} models, {} GPUs (measured kernels of {measured}), {} suites",
            defaults.models().count(),
            defaults.hardware.names().count(),
            suite_names().len()
        ),
    )
}

/// Makes a small run.
fn simulation() -> Check {
    let name = "simulation";
    let start = Instant::now();
    let spec = RunSpec::of_model("llama-3.1-8b-instruct");
    let result = spec
        .resolve()
        .and_then(|simulation| simulation.run(&mut |_| ()));
    let took = start.elapsed().as_secs_f64() * 1e3;
    match result {
        Ok(result) => {
            let (done, all) = (result.summary.cluster.completed, result.summary.arrivals);
            let found = format!("{done} of {all} requests of a small run in {took:.0} ms");
            if done == all {
                Check::fine(name, found)
            } else {
                Check::broken(name, found, "please report this")
            }
        }
        Err(error) => Check::broken(name, error.to_string(), "please report this"),
    }
}

/// Has a script scored on one scenario, in a process of its own in the sandbox.
fn sandbox() -> Check {
    let name = "sandbox";
    let advice = "score, compare, tune, explain and evolve need processes of their own; \
                  run, replay, sweep and plan do not";
    let scored = || -> anyhow::Result<_> {
        let suite = Suite::open("routing-mixed", None)?;
        let candidate = Candidate::of_text("doctor.lua", SCRIPT.to_owned());
        let request = ScoreRequest {
            last_stage: LastStage::Smoke,
            split: Split::Train,
            ..ScoreRequest::new(candidate, Arc::new(suite))
        };
        let scorer = Scorer::new(Settings::for_this_host()?);
        Ok(scorer.score(&request, &|_| ())?)
    };
    let start = Instant::now();
    match scored() {
        Ok(report) => match report.errors.first().filter(|_| !report.ok) {
            Some(problem) => Check::broken(name, &problem.message, advice),
            None => Check::fine(
                name,
                format!(
                    "a script was scored in a process of its own in {:.1} s",
                    start.elapsed().as_secs_f64()
                ),
            ),
        },
        Err(error) => Check::broken(name, format!("{error:#}"), advice),
    }
}

/// Writes a file where reports are kept.
fn cache() -> Check {
    let name = "cache";
    let Some(folder) = cache_folder() else {
        let advice = "reports are made anew each time; set WINDTUNNEL_CACHE_DIR or HOME";
        return Check::limited(name, "no folder", advice);
    };
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        let mut file = tempfile::tempfile_in(&folder)?;
        file.write_all(b"windtunnel")
    });
    match written {
        Ok(()) => Check::fine(name, folder.display().to_string()),
        Err(error) => Check::limited(
            name,
            format!("{}: {}", folder.display(), plain(&error)),
            "reports are made anew each time; WINDTUNNEL_CACHE_DIR names another folder",
        ),
    }
}

/// Variables that are called like ours and are read by nobody.
fn variables() -> Check {
    let name = "environment";
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut ours: Vec<String> = set.filter(|name| name.starts_with("WINDTUNNEL_")).collect();
    ours.sort();
    let unread = ours.iter().find(|name| !VARIABLES.contains(&name.as_str()));
    let found = if ours.is_empty() {
        "no variable of this program is set".to_owned()
    } else {
        ours.join(", ")
    };
    match unread {
        Some(unread) => {
            let meant = nearest(unread, VARIABLES);
            let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            Check::limited(name, found, format!("nothing reads {unread}{meant}"))
        }
        None => Check::fine(name, found),
    }
}

/// The compiler for plugins; scripts need none.
fn rust() -> Check {
    let name = "Rust";
    let advice =
        format!("only compiled plugins need it, {RUST} or newer; scripts need no compiler");
    let asked = Command::new("rustc").arg("--version").output();
    let said = match asked {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => return Check::limited(name, "not on the path", advice),
    };
    let said = said.trim();
    let version = said.split_whitespace().nth(1).and_then(release);
    if version >= release(RUST) {
        Check::fine(name, said)
    } else {
        Check::limited(name, said, advice)
    }
}

/// The first two numbers of a version: `1.91.1-nightly` is 1.91.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_rust_compare_by_number() {
        assert_eq!(release("1.100.0-nightly"), Some((1, 100)));
        assert!(release("1.100.0") > release("1.91"));
        assert_eq!(release("nightly"), None);
    }

    #[test]
    fn what_is_limited_is_said_with_what_to_do() {
        let checks = [
            Check::fine("one", "all of it"),
            Check::limited("two", "half of it", "get the other half"),
        ];
        let text = text(&checks);
        assert!(
            text.contains("all of it") && text.contains("limited"),
            "{text}"
        );
        assert!(text.ends_with("! two: get the other half\n"), "{text}");
    }
}
