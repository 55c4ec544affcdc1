//! `windtunnel policy`: what there is, what it says, whether a file is fine, and a file to start
//! from.

mod templates;

use super::confine::confine;
use super::print::{present, say, to_stdout};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{InputError, LARGEST_SCRIPT, Staging, hint};
use windtunnel_policy::builtin::policy::BuiltIn;
use windtunnel_policy::builtin::{preemption, scheduler};
use windtunnel_policy::lua::{Finding, Program, declarations, hooks_filled, lint};
use windtunnel_policy::registry::{built_in, built_ins, names, unknown_policy};
use windtunnel_policy::{Choice, External, Hook, Param, PolicySpec};
use windtunnel_policy::{shipped, tuned};
use windtunnel_results::report::table::styled;
use windtunnel_score::smoke::{self, SmokeRun};

/// `windtunnel policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the policies that can be chosen by name
    #[command(after_help = "Examples:
  windtunnel policy list
  windtunnel policy list --hook scheduler --json")]
    List(ListArgs),
    /// Print a policy: the file of a script, the description of a built-in
    #[command(after_help = "Examples:
  windtunnel policy show vtc
  windtunnel policy show fcfs --hook preemption")]
    Show(ShowArgs),
    /// Check policy files: syntax, names, state that grows, loops that never end, and a first
    /// run
    #[command(after_help = "Examples:
  windtunnel policy check my.lua
  windtunnel policy check policies/routing/*.lua --json")]
    Check(CheckArgs),
    /// Write a policy file to start from
    #[command(after_help = "Examples:
  windtunnel policy new my.lua
  windtunnel policy new my-scheduler.lua --hook scheduler")]
    New(NewArgs),
}

/// `windtunnel policy list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only policies of this hook: admission, routing, priority, scheduler, preemption,
    /// disaggregation, batching or dispatch
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `windtunnel policy show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Name of the policy
    name: String,
    /// Its hook, where several have a policy of that name
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
}

/// `windtunnel policy check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Policy files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `windtunnel policy new`.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// File to write: NAME.lua
    file: PathBuf,
    /// Hook that it fills: admission, routing, priority, scheduler, preemption, disaggregation or
    /// batching
    #[arg(long, default_value = "routing", value_name = "HOOK")]
    hook: String,
}

/// Does what is asked.
pub fn policy(command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::List(args) => list(args),
        PolicyCommand::Show(args) => show(args),
        PolicyCommand::Check(args) => check(args),
        PolicyCommand::New(args) => Ok(new(args)?),
    }
}

/// The hook called `name`.
///
/// # Errors
/// When there is none.
pub fn hook(name: &str) -> Result<Hook, InputError> {
    let names = Hook::ALL.map(Hook::name);
    Hook::parse(name).ok_or_else(|| InputError::unknown("hook", name, &names))
}

/// A policy with a name.
struct Named {
    hook: &'static str,
    name: &'static str,
    kind: &'static str,
    what: String,
    params: Vec<Param>,
}

/// What the head of a script says: its first sentence.
fn summary(text: &str) -> String {
    let comment: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("--"))
        .map(str::trim)
        .take_while(|line| !line.is_empty() && !line.starts_with('@'))
        .collect();
    let comment = comment.join(" ");
    let end = comment.find(". ").map_or(comment.len(), |at| at + 1);
    comment[..end].to_owned()
}

/// The parameters of a built-in policy that are listed: those of batching. The reference tells of
/// the others.
fn shown_params(policy: &BuiltIn) -> Vec<Param> {
    match policy.hook() {
        Hook::Batching => policy.params.to_vec(),
        _ => Vec::new(),
    }
}

fn all(only: Option<Hook>) -> Result<Vec<Named>, InputError> {
    let mut all = Vec::new();
    for hook in Hook::ALL
        .into_iter()
        .filter(|h| only.is_none_or(|o| o == *h))
    {
        all.extend(built_ins(hook).iter().map(|policy| Named {
            hook: hook.name(),
            name: policy.name,
            kind: "built-in",
            what: policy.sentence.to_owned(),
            params: shown_params(policy),
        }));
        for script in shipped::scripts(hook).filter(|s| built_in(hook, s.name).is_none()) {
            all.push(Named {
                hook: hook.name(),
                name: script.name,
                kind: "script",
                what: summary(script.text),
                params: declarations(&script.path(), script.text)?,
            });
        }
        all.extend(tuned::of(hook).map(|tuned| Named {
            hook: hook.name(),
            name: tuned.name,
            kind: "tuned",
            what: tuned.sentence(),
            params: Vec::new(),
        }));
    }
    Ok(all)
}

/// The policies of a hook, or all: what `list --json` prints under `policies`.
///
/// # Errors
/// When there is no such hook.
pub fn listed(of: Option<&str>) -> Result<Value, InputError> {
    let policies = all(of.map(hook).transpose()?)?;
    Ok(policies.iter().map(as_json).collect())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let text = if args.json {
        format!(
            "{:#}\n",
            json!({ "policies": listed(args.hook.as_deref())? })
        )
    } else {
        let policies = all(args.hook.as_deref().map(hook).transpose()?)?;
        let mut table = styled(&["Hook", "Policy", "Kind", "What it does", "Parameters"]);
        for p in &policies {
            let params: Vec<&str> = p.params.iter().map(|p| p.name.as_ref()).collect();
            table.add_row([p.hook, p.name, p.kind, &p.what, &params.join(", ")]);
        }
        format!("{table}\n\"windtunnel policy show NAME\" prints one.\n")
    };
    present(args.json, &text)
}

fn as_json(policy: &Named) -> Value {
    json!({
        "hook": policy.hook,
        "name": policy.name,
        "kind": policy.kind,
        "what": policy.what,
        "params": params_json(&policy.params),
    })
}

fn params_json(params: &[Param]) -> Vec<Value> {
    let one = |p: &Param| {
        json!({
            "name": p.name,
            "default": p.default,
            "least": p.least.is_finite().then_some(p.least),
            "most": p.most.is_finite().then_some(p.most),
            "whole": p.whole,
            "log": p.log,
            "what": p.doc,
        })
    };
    params.iter().map(one).collect()
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let only = args.hook.as_deref().map(hook).transpose()?;
    let hooks: Vec<Hook> = Hook::ALL
        .into_iter()
        .filter(|h| only.is_none_or(|o| o == *h))
        .collect();
    let having: Vec<Hook> = hooks
        .iter()
        .copied()
        .filter(|h| names(*h).contains(&args.name.as_str()))
        .collect();
    let text = match having[..] {
        [] => match only.is_none().then(|| reference(&args.name)).flatten() {
            Some(bundle) => bundle,
            None => return Err(nowhere(&args.name, only).into()),
        },
        [hook] => shown(hook, &args.name),
        _ => {
            let hooks: Vec<&str> = having.iter().map(|h| h.name()).collect();
            return Err(InputError::new(format!(
                "several hooks have a policy \"{}\": {}; choose one with --hook",
                args.name,
                hooks.join(", ")
            ))
            .into());
        }
    };
    to_stdout(|out| out.write_all(text.as_bytes()))
}

/// A reference policy of a suite that fills several hooks, as a bundle.
fn reference(name: &str) -> Option<String> {
    let (suite, bundle) = windtunnel_score::shipped_reference(name)?;
    Some(format!(
        "# Reference policy of suite {suite}. Write it to a file and give that to --policy-config.\n{bundle}\n"
    ))
}

/// There is no policy of this name, or not for this hook.
fn nowhere(name: &str, hook: Option<Hook>) -> InputError {
    if let Some(hook) = hook {
        return unknown_policy(hook, name);
    }
    // Nobody reads fifty names on a line.
    let all = Hook::ALL.into_iter().flat_map(names);
    let hint = hint(" ", name, all);
    InputError::new(format!(
        "unknown policy \"{name}\";{hint} \"windtunnel policy list\" lists all of them"
    ))
}

fn shown(hook: Hook, name: &str) -> String {
    if let Some(tuned) = tuned::find(hook, name) {
        let (sentence, bundle) = (tuned.sentence(), tuned.bundle());
        return format!("# Tuned {}: {sentence} As a bundle:\n{bundle}", hook.kind());
    }
    let source = shipped::find(hook, name).map_or("", |script| script.text);
    let Some(policy) = built_in(hook, name) else {
        return source.to_owned();
    };
    let twin = if source.is_empty() {
        ""
    } else {
        "-- The same as a script:\n\n"
    };
    format!(
        "-- Built-in {}: {}\n{twin}{source}",
        hook.kind(),
        policy.sentence
    )
}

/// What was found in one file.
struct Checked {
    name: String,
    hooks: Vec<Hook>,
    params: Vec<Param>,
    findings: Vec<Finding>,
    /// An error that has no place of its own, or says it itself.
    error: Option<String>,
    smoke_runs: Vec<SmokeRun>,
}

impl Checked {
    fn ok(&self) -> bool {
        self.error.is_none() && !self.findings.iter().any(|f| f.error)
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    confine(&[]);
    let mut all = Vec::new();
    for file in &args.files {
        all.push(check_file(file)?);
    }
    let text = if args.json {
        let shown: Vec<Value> = all.iter().map(checked_json).collect();
        format!("{:#}\n", json!({ "files": shown }))
    } else {
        all.iter().map(report).collect()
    };
    present(args.json, &text)?;
    let bad = all.iter().filter(|c| !c.ok()).count();
    if bad == 0 {
        return Ok(());
    }
    Err(InputError::new(format!(
        "{bad} of {} files cannot be used as they are",
        all.len()
    ))
    .into())
}

fn check_file(file: &Path) -> Result<Checked, InputError> {
    let name = file.display().to_string();
    let text = windtunnel_base::input::read_text_up_to(file, LARGEST_SCRIPT)?;
    let mut checked = Checked {
        name: name.clone(),
        hooks: Vec::new(),
        params: Vec::new(),
        findings: Vec::new(),
        error: None,
        smoke_runs: Vec::new(),
    };
    let program = match Program::new(&name, text, &[], false) {
        Ok(program) => Arc::new(program),
        Err(e) => {
            checked.error = Some(e.to_string());
            return Ok(checked);
        }
    };
    checked.params.clone_from(&program.declared);
    match lint(&program) {
        Ok(findings) => checked.findings = findings,
        Err(f) => {
            let error = InputError::at(&name, f.line as u64, f.column as u64, f.message);
            checked.error = Some(error.to_string());
        }
    }
    if checked.error.is_none() {
        match loaded(&program) {
            Ok(hooks) => checked.hooks = hooks,
            Err(e) => checked.error = Some(e.to_string()),
        }
    }
    if checked.ok() {
        match smoke::run_all(&filled(&program, &checked.hooks), &checked.hooks) {
            Ok(runs) => {
                let fault = runs
                    .iter()
                    .find_map(|run| run.fault.as_ref().map(|e| (run.name, e)));
                checked.error = fault.map(|(name, e)| format!("in the run \"{name}\": {e}"));
                checked.smoke_runs = runs;
            }
            Err(e) => checked.error = Some(e.to_string()),
        }
    }
    Ok(checked)
}

/// The hooks that a program fills.
fn loaded(program: &Arc<Program>) -> Result<Vec<Hook>, InputError> {
    let hooks = hooks_filled(program)?;
    if hooks.is_empty() {
        return Err(InputError::in_file(
            &program.name,
            "fills no hook: its table has none of admit, route, score, route_columns, priority, key, order, victim, disaggregate, batch, next_held, replicas",
        ));
    }
    Ok(hooks)
}

/// The program in all hooks that it fills.
fn filled(program: &Arc<Program>, hooks: &[Hook]) -> PolicySpec {
    let mut spec = PolicySpec {
        preemption: (&preemption::fcfs::POLICY).into(),
        scheduler: (&scheduler::priority_fcfs::POLICY).into(),
        ..PolicySpec::default()
    };
    for hook in hooks {
        spec.set(
            *hook,
            Choice::External(External::Script(Arc::clone(program))),
        );
    }
    spec
}

fn report(checked: &Checked) -> String {
    let mut text = String::new();
    for f in &checked.findings {
        let kind = if f.error { "error" } else { "warning" };
        text += &format!(
            "{}:{}:{}: {kind}: {}\n",
            checked.name, f.line, f.column, f.message
        );
    }
    if let Some(error) = &checked.error {
        text += &format!("{}: error: {error}\n", checked.name);
    }
    if checked.ok() {
        let hooks: Vec<&str> = checked.hooks.iter().map(|h| h.name()).collect();
        let requests: usize = checked.smoke_runs.iter().map(|run| run.requests).sum();
        let completed: usize = checked.smoke_runs.iter().map(|run| run.completed).sum();
        text += &format!(
            "{}: fills {}; ran on {} clusters with {requests} requests, {completed} of them served\n",
            checked.name,
            hooks.join(", "),
            checked.smoke_runs.len(),
        );
    }
    text
}

fn checked_json(checked: &Checked) -> Value {
    let finding = |f: &Finding| {
        json!({
            "line": f.line,
            "column": f.column,
            "severity": if f.error { "error" } else { "warning" },
            "message": f.message,
        })
    };
    let smoke_run = |run: &SmokeRun| {
        json!({
            "name": run.name,
            "requests": run.requests,
            "completed": run.completed,
            "preemptions": run.preemptions,
            "fault": run.fault.as_ref().map(ToString::to_string),
        })
    };
    json!({
        "file": checked.name,
        "ok": checked.ok(),
        "hooks": checked.hooks.iter().map(|h| h.name()).collect::<Vec<_>>(),
        "params": params_json(&checked.params),
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
        "error": checked.error,
        "flights": checked.smoke_runs.iter().map(smoke_run).collect::<Vec<_>>(),
    })
}

fn new(args: &NewArgs) -> Result<(), InputError> {
    let hook = hook(&args.hook)?;
    let shown = args.file.display().to_string();
    if args
        .file
        .extension()
        .is_none_or(|e| e != "lua" && e != "luau")
    {
        return Err(InputError::in_file(
            &shown,
            "expected a name that ends in .lua",
        ));
    }
    if args.file.exists() {
        return Err(InputError::in_file(
            &shown,
            "is there already; choose another name",
        ));
    }
    let mut files = Staging::default();
    files.write(&args.file, |out| {
        out.write_all(templates::template(hook).as_bytes())
    })?;
    files.commit()?;
    let flag = match hook {
        Hook::Admission => "--admission-policy",
        Hook::Routing => "--routing-policy",
        Hook::Priority => "--priority-policy",
        Hook::Scheduler => "--scheduler",
        Hook::Preemption => "--preemption-policy",
        Hook::Disaggregation => "--prefill-instances 1 --decode-instances 3 --pd-decider",
        Hook::Batching => "--rules vllm --batching-strategy",
        Hook::Dispatch => "--flow-control --saturation-detector concurrency --dispatch-order",
        Hook::Scale => "--autoscale-max 8 --autoscale",
    };
    say(&format!(
        "wrote {shown}; next:\n  windtunnel policy check {shown}\n  windtunnel run --model llama-3.1-8b-instruct --num-instances 4 --rate 40 {flag} {}",
        if shown.contains('/') {
            shown.clone()
        } else {
            format!("./{shown}")
        }
    ));
    Ok(())
}
