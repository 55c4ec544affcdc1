//! `windtunnel tune`: searches the parameters of a policy.

use super::args::refuse_zero;
use super::output::check_path;
use super::print::{present, say};
use super::progress::SearchBar;
use super::score::{ScoringArgs, to_anyhow};
use clap::Args;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_policy::lua::with_defaults;
use windtunnel_score::render::tune::{progress, text};
use windtunnel_score::tune::{
    Method, TuneProgress, TuneRequest, TuneResult, Values, as_script, script, tune as search,
};
use windtunnel_score::{Candidate, Split};

/// `windtunnel tune`.
#[derive(Args, Clone, Debug)]
pub struct TuneArgs {
    /// Policy name, FILE.lua, bundle FILE.yaml or folder, as for "windtunnel score"
    #[arg(value_name = "POLICY")]
    policy: String,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Points to try
    #[arg(long, default_value_t = 160, value_name = "N")]
    budget: usize,
    /// Seed of the search
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How points are proposed: cma-es sees how parameters depend on each other, tpe looks at each
    /// for itself
    #[arg(long, value_enum, default_value_t = Method::CmaEs)]
    method: Method,
    /// Compare the result with the present values on the holdout, too
    #[arg(long)]
    holdout: bool,
    /// Write the script with its new defaults, or the values as JSON
    #[arg(long, value_name = "FILE.lua|FILE.json")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--out` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Script,
    Json,
}

/// Runs the command.
pub fn tune(args: &TuneArgs) -> anyhow::Result<()> {
    refuse_zero(&[("--budget", args.budget == 0)])?;
    let splits: &[Split] = if args.holdout {
        &[Split::Train, Split::Holdout]
    } else {
        &[Split::Train]
    };
    let suite = args.scoring.suite(splits)?;
    let candidate = as_script(Candidate::open(&args.policy)?, &suite.hooks);
    let out = match &args.out {
        Some(path) => Some((path, form(path, &candidate)?)),
        None => None,
    };
    let request = TuneRequest {
        candidate,
        suite,
        budget: args.budget,
        seed: args.seed,
        method: args.method,
        holdout: args.holdout,
    };
    let scorer = args.scoring.scorer()?;
    let bar = SearchBar::new(args.budget);
    let mut on_progress = |p: &TuneProgress| bar.show(p, |p| say(&progress(p)));
    let tuned = search(&scorer, &request, &mut on_progress, &|p| bar.show_runs(p));
    let tuned = tuned.map_err(to_anyhow);
    bar.done();
    let tuned = tuned?;
    if let Some((path, form)) = out {
        write(path, form, &request.candidate, &tuned)?;
    }
    if args.json {
        return present(true, &(serde_json::to_string_pretty(&tuned)? + "\n"));
    }
    let usage = usage(&tuned, args.out.as_deref(), &args.scoring.suite);
    present(false, &format!("{}{usage}", text(&tuned)))
}

/// What goes into the file. Checks that it can be written, before the search.
fn form(path: &Path, candidate: &Candidate) -> Result<Form, InputError> {
    check_path(path)?;
    let refuse = |why: String| Err(InputError::in_file(path.display(), why));
    let form = match path.extension().and_then(|e| e.to_str()) {
        Some("lua" | "luau") => Form::Script,
        Some("json") => Form::Json,
        _ => return refuse("expected a name that ends in .lua or .json".into()),
    };
    if form == Form::Script && script(candidate).is_none() {
        return refuse(format!(
            "{} is not one script; write the values to a .json",
            candidate.name
        ));
    }
    Ok(form)
}

fn write(
    path: &Path,
    form: Form,
    candidate: &Candidate,
    tuned: &TuneResult,
) -> Result<(), InputError> {
    write_whole(path, |out| match (form, script(candidate)) {
        (Form::Script, Some(text)) => {
            let values: Vec<(String, f64)> = tuned.params.clone().into_iter().collect();
            out.write_all(with_defaults(text, &values).as_bytes())
        }
        _ => {
            serde_json::to_writer_pretty(&mut *out, &tuned.params)?;
            writeln!(out)
        }
    })
}

/// How to go on.
fn usage(tuned: &TuneResult, out: Option<&Path>, suite: &str) -> String {
    if !tuned.improved {
        return "Nothing better than the present values was found; a larger --budget or another --seed may.\n".into();
    }
    match out {
        Some(path) if path.extension().is_some_and(|e| e == "json") => format!(
            "Values in {}. Take them to a run: {}\n",
            path.display(),
            flags(&tuned.params)
        ),
        Some(path) => format!(
            "Script in {0}. Its score: windtunnel score {0} --suite {suite}\n",
            path.display()
        ),
        None => format!(
            "Keep it with --out FILE.lua, or take it to a run: {}\n",
            flags(&tuned.params)
        ),
    }
}

fn flags(values: &Values) -> String {
    let one = |(name, value): (&String, &f64)| format!("--policy-param {name}={value}");
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}
