//! `windtunnel live`: a gateway in front of real servers, and `windtunnel replay-decisions`.

use super::endings;
use super::output::check_path;
use super::print::{say, to_stdout};
use super::resimulate::both;
use clap::Args;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use windtunnel_base::input::{InputError, plain};
use windtunnel_live::decisions::replay::{Agreement, Pair, Replay, Wanted};
use windtunnel_live::gateway::config::{Config, EndpointSpec};
use windtunnel_live::gateway::{check, fingerprints, pair, serve};
use windtunnel_live::resimulate::Script;
use windtunnel_sim::PoliciesSpec;

/// `windtunnel live`.
#[derive(Args, Clone, Debug)]
pub struct LiveArgs {
    /// Configuration, YAML; may be left out with --endpoint
    #[arg(value_name = "CONFIG", required_unless_present = "endpoint")]
    config: Option<PathBuf>,
    /// A server, as http://127.0.0.1:8000, beside those of the configuration; may be given several
    /// times
    #[arg(long, value_name = "URL")]
    endpoint: Vec<String>,
    /// Where to listen, in place of what the configuration says; port 0 takes a free one [default:
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Admission, in place of what the configuration says: a name, FILE.lua, or FILE.so[:NAME]
    #[arg(long, value_name = "POLICY")]
    admission_policy: Option<String>,
    /// Routing, in place of what the configuration says: a name, FILE.lua, or FILE.so[:NAME]
    #[arg(long, value_name = "POLICY")]
    routing_policy: Option<String>,
    /// A parameter of a policy: name=value, or hook.name=value
    #[arg(long, value_name = "PARAM")]
    policy_param: Vec<String>,
    /// Where decisions are logged, in place of what the configuration says
    #[arg(long, value_name = "FILE")]
    decision_log: Option<PathBuf>,
    /// Check configuration and policies, and end
    #[arg(long)]
    check: bool,
    /// End when standard input does, so that no gateway outlives who started it
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Runs the command: serves until it is told to end.
pub fn live(args: &LiveArgs) -> anyhow::Result<()> {
    let mut config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let more = args.endpoint.iter().map(|url| EndpointSpec {
        url: url.clone(),
        ..EndpointSpec::default()
    });
    config.endpoints.extend(more);
    let policies = &mut config.policies;
    let given = |own: &Option<String>, of: &mut Option<String>| {
        if own.is_some() {
            of.clone_from(own);
        }
    };
    given(&args.admission_policy, &mut policies.admission);
    given(&args.routing_policy, &mut policies.routing);
    policies.params.extend(args.policy_param.iter().cloned());
    config.listen = args.listen.unwrap_or(config.listen);
    if args.decision_log.is_some() {
        config.decision_log.clone_from(&args.decision_log);
    }
    for note in check(&config)? {
        say(&format!("note: {note}"));
    }
    if args.check {
        say("the configuration makes sense");
        return Ok(());
    }
    let log = config.decision_log.as_deref().map(open_log).transpose()?;
    let end = Arc::new(watch::Sender::new(false));
    if args.until_stdin_closes {
        endings::end_with_stdin(&end);
    }
    // What flags change is not in the file, so that is not read again.
    let overridden = !args.endpoint.is_empty()
        || args.listen.is_some()
        || args.admission_policy.is_some()
        || args.routing_policy.is_some()
        || !args.policy_param.is_empty();
    let path = args.config.clone().filter(|_| !overridden);
    let about = json!({ "policies": config.policies });
    let ready = |address: SocketAddr| {
        let mut about = about;
        about["urls"] = json!([format!("http://{address}")]);
        to_stdout(|out| writeln!(out, "{about}")).map_err(std::io::Error::other)
    };
    let signals = Arc::clone(&end);
    let begin = move || endings::end_on_signals(&signals);
    Ok(serve(config, path, log, &end, begin, ready)?)
}

fn open_log(path: &Path) -> Result<Box<dyn Write>, InputError> {
    check_path(path)?;
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|e| InputError::in_file(path.display(), plain(&e)))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// `windtunnel replay-decisions`.
#[derive(Args, Clone, Debug)]
pub struct ReplayDecisionsArgs {
    /// A decision log of `windtunnel live`
    #[arg(value_name = "LOG")]
    file: PathBuf,
    /// Ask the policies of the log as they are in their files now, whether or not these have
    /// changed
    #[arg(long, conflicts_with = "resimulate")]
    as_they_are: bool,
    /// Send the requests of the log through the simulator, with the same policies, scraped when
    /// the log's servers were, and say which decisions differ, why, and how long requests take:
    /// once with every request where it went, once where the simulated policies send it. From 95 %
    /// of equal decisions on the first agrees, below 90 % it does not (exit code 3)
    #[arg(long)]
    resimulate: bool,
    /// What the servers are, as the file of a run says it, where the gateway's configuration did
    /// not
    #[arg(long, value_name = "FILE", requires = "resimulate")]
    spec: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn replay_decisions(args: &ReplayDecisionsArgs) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let wrong = |what: String| InputError::in_file(&name, what);
    let file = File::open(&args.file).map_err(|e| wrong(plain(&e)))?;
    if args.resimulate {
        return simulate(args, BufReader::new(file));
    }
    let mut replay = Replay::new(|wanted| make(wanted, args.as_they_are));
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| wrong(plain(&e)))?;
        replay.take(&line).map_err(wrong)?;
    }
    let agreement = replay.agreement();
    if agreement.begun == 0 {
        return Err(wrong("there are no decisions in it".to_owned()).into());
    }
    if args.json {
        let all = in_json(agreement);
        to_stdout(|out| writeln!(out, "{all}"))?;
    } else {
        let Agreement {
            decisions,
            equal,
            told,
            begun,
            first,
        } = agreement;
        to_stdout(|out| {
            writeln!(
                out,
                "{equal} of {decisions} decisions are the same, after {told} events and {begun} beginnings"
            )?;
            first.as_ref().map_or(Ok(()), |first| {
                writeln!(out, "the first that is not: {first}")
            })
        })?;
    }
    match &agreement.first {
        None => Ok(()),
        Some(_) => Err(super::gate::GateFailed("decisions differ from the log".to_owned()).into()),
    }
}

/// Simulates the requests of a log.
fn simulate(args: &ReplayDecisionsArgs, log: impl BufRead) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let mut script = Script::default();
    for (line, at) in log.lines().zip(1..) {
        let line = line.map_err(|e| InputError::in_file(&name, plain(&e)))?;
        let taken = script.take(&line);
        taken.map_err(|e| InputError::in_file(&name, format!("line {at}: {e}")))?;
    }
    script.finish();
    if script.is_empty() {
        return Err(InputError::in_file(&name, "no request in it was served").into());
    }
    let outcome = both(&script, args.spec.as_deref())?;
    if args.json {
        to_stdout(|out| writeln!(out, "{}", outcome.json()))?;
    } else {
        to_stdout(|out| outcome.text(out))?;
    }
    for note in outcome.notes() {
        say(&format!("note: {note}"));
    }
    match outcome.follow.verdict() {
        "disagrees" => {
            Err(super::gate::GateFailed("the simulation decides otherwise".to_owned()).into())
        }
        _ => Ok(()),
    }
}

fn in_json(agreement: &Agreement) -> Value {
    json!({
        "decisions": agreement.decisions,
        "equal": agreement.equal,
        "told": agreement.told,
        "begun": agreement.begun,
        "first_difference": agreement.first.as_ref().map(|first| json!({
            "line": first.line,
            "request": first.serial,
            "call": first.call,
            "logged": first.logged,
            "now": first.now,
            "asked_else": first.asked_else,
        })),
    })
}

/// The policies that a log names, if their files are still what they were.
fn make(wanted: Wanted<'_>, as_they_are: bool) -> Result<Pair, String> {
    let policies: PoliciesSpec =
        serde_json::from_value(wanted.policies.clone()).map_err(|e| e.to_string())?;
    let files: Vec<PathBuf> = wanted.files.keys().map(PathBuf::from).collect();
    let now = fingerprints(&files).map_err(|e| e.to_string())?;
    if let Some((path, _)) = now
        .iter()
        .find(|(path, print)| wanted.files.get(*path) != Some(print))
        && !as_they_are
    {
        return Err(format!(
            "{path} is not what it was when the log was written; --as-they-are asks it all the same"
        ));
    }
    let made = pair(&policies, wanted.instances, wanted.symbols).map_err(|e| e.to_string())?;
    Ok(made.0)
}
