//! `windtunnel leaderboard`: candidates with their scores on all splits, which can be reproduced.

use super::output::check_path;
use super::print::{present, say};
use super::progress::RunsBar;
use super::score::{ScoringArgs, to_anyhow};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_score::leaderboard::{
    Added, Board, Entry, Origin, Verdict, checked_name, entry_folder, entry_name,
};
use windtunnel_score::render::leaderboard::{html, markdown, table};
use windtunnel_score::{Candidate, Progress, Scorer, Split};

/// `windtunnel leaderboard`.
#[derive(Clone, Debug, Subcommand)]
pub enum LeaderboardCommand {
    /// Score candidates on all splits and enter them
    #[command(after_help = "Examples:
  # begin a leaderboard with the reference policies of its suite
  windtunnel leaderboard add --references --suite routing-prefix

  # enter a candidate and say where it comes from
  windtunnel leaderboard add my-router.lua --suite routing-prefix --author me --framework OpenEvolve \\
      --iterations 300 --cost 12.50")]
    Add(AddArgs),
    /// Make the results of entries again and compare them, to the bit
    #[command(after_help = "Examples:
  windtunnel leaderboard verify --suite routing-prefix
  windtunnel leaderboard verify my-router gaie --suite routing-prefix")]
    Verify(VerifyArgs),
    /// Score entries again, after the suite or the engine has changed
    #[command(after_help = "Example:
  windtunnel leaderboard renew --suite routing-prefix")]
    Renew(RenewArgs),
    /// Show the leaderboard: a table, Markdown, or a page
    #[command(after_help = "Examples:
  windtunnel leaderboard render --suite routing-prefix
  windtunnel leaderboard render --suite routing-prefix --html board.html --md board.md")]
    Render(RenderArgs),
}

/// `windtunnel leaderboard add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// Candidates as for "windtunnel score"
    #[arg(value_name = "CANDIDATE", required_unless_present = "references")]
    candidates: Vec<String>,
    /// The reference policies of the suite, too
    #[arg(long)]
    references: bool,
    #[command(flatten)]
    scoring: ScoringArgs,
    #[command(flatten)]
    board: BoardArgs,
    /// Name of the entry; default: that of the file or policy
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace entries of the same names
    #[arg(long)]
    replace: bool,
    /// Who made it
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// What it was made with
    #[arg(long, value_name = "NAME")]
    framework: Option<String>,
    /// Candidates that were tried on the way
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// What it cost, dollars
    #[arg(long, value_name = "DOLLARS")]
    cost: Option<f64>,
    /// Anything else worth knowing
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Where the leaderboard is.
#[derive(Args, Clone, Debug)]
pub struct BoardArgs {
    /// Folder of the leaderboard; default: leaderboard/SUITE
    #[arg(long, value_name = "DIR")]
    board: Option<PathBuf>,
}

/// `windtunnel leaderboard renew`.
#[derive(Args, Clone, Debug)]
pub struct RenewArgs {
    /// Only these entries
    #[arg(value_name = "ENTRY")]
    entries: Vec<String>,
    #[command(flatten)]
    scoring: ScoringArgs,
    #[command(flatten)]
    board: BoardArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `windtunnel leaderboard verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    what: RenewArgs,
    /// Only the results on this split
    #[arg(long, value_enum)]
    split: Option<Split>,
}

/// `windtunnel leaderboard render`.
#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// Suite: a name ("windtunnel suite list" shows them) or a file
    #[arg(long, default_value = "routing-mixed", value_name = "NAME|FILE.yaml")]
    suite: String,
    /// Folder with the trace files that some scenarios of the suite replay
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    #[command(flatten)]
    board: BoardArgs,
    /// Which score decides about the order
    #[arg(long, value_enum, default_value_t = Split::Holdout)]
    by: Split,
    /// Write a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write Markdown
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn leaderboard(command: &LeaderboardCommand) -> anyhow::Result<()> {
    match command {
        LeaderboardCommand::Add(args) => add(args),
        LeaderboardCommand::Verify(args) => verify(args),
        LeaderboardCommand::Renew(args) => renew(args),
        LeaderboardCommand::Render(args) => render(args),
    }
}

impl BoardArgs {
    fn open(&self, suite: Arc<windtunnel_score::Suite>) -> Board {
        let default = || PathBuf::from("leaderboard").join(&suite.file.name);
        Board {
            folder: self.board.clone().unwrap_or_else(default),
            suite,
        }
    }
}

/// Runs `work` with a progress bar over its reports.
fn with_bar<R>(work: impl FnOnce(&mut (dyn FnMut(u64, u64) + Send)) -> R) -> R {
    let bar = RunsBar::new();
    let result = work(&mut |done, of| {
        bar.show(Progress {
            what: "reports",
            done,
            of,
        });
    });
    bar.done();
    result
}

fn add(args: &AddArgs) -> anyhow::Result<()> {
    check(&args.scoring)?;
    let board = args.board.open(args.scoring.suite(&Split::ALL)?);
    if args.name.is_some() && (args.candidates.len() != 1 || args.references) {
        return Err(InputError::new("--name is for a single candidate").into());
    }
    if let Some(cost) = args.cost.filter(|c| !c.is_finite() || *c < 0.0) {
        return Err(InputError::new(format!("--cost is {cost}; expected 0 or more")).into());
    }
    let origin = Origin {
        author: args.author.clone(),
        framework: args.framework.clone(),
        iterations: args.iterations,
        cost: args.cost,
        note: args.note.clone(),
    };
    let mut entries = Vec::new();
    for text in &args.candidates {
        let name = match &args.name {
            Some(name) => checked_name(name)?,
            None => entry_name(text)?,
        };
        entries.push(Entry::new(&name, Candidate::open(text)?, origin.clone()));
    }
    if args.references {
        for name in board.suite.file.references.keys() {
            let candidate = Candidate::reference(name);
            let origin = Origin {
                framework: Some("reference".into()),
                ..Origin::default()
            };
            entries.push(Entry::new(&entry_name(name)?, candidate, origin));
        }
    }
    for entry in &mut entries {
        if let Some(folder) = entry_folder(&board.folder, &entry.name) {
            if !args.replace {
                let message =
                    "there is an entry of this name; --replace replaces it, --name gives another";
                return Err(InputError::in_file(folder.display(), message).into());
            }
            // Scorings on the holdout are never forgotten.
            if let Ok(old) = Entry::read(&folder) {
                entry.holdout_runs = old.holdout_runs;
            }
        }
    }
    let mut names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(InputError::new(format!("two entries would be called {}", pair[0])).into());
    }
    let scorer = args.scoring.scorer()?;
    let added = with_bar(|done| board.add(&scorer, entries, done)).map_err(to_anyhow)?;
    report(&board, &added)
}

/// Names what was written, prints the leaderboard, and ends with what was not written.
fn report(board: &Board, added: &Added) -> anyhow::Result<()> {
    if added.entries.is_empty() {
        return failed(added);
    }
    let names: Vec<&str> = added.entries.iter().map(|e| e.name.as_str()).collect();
    say(&format!("{}: {}", board.folder.display(), names.join(", ")));
    let rows = board.rows(Split::Holdout)?;
    present(false, &table(&board.suite, &rows, Split::Holdout))?;
    failed(added)
}

/// An error that names the entries that do not work, if there are any.
fn failed(added: &Added) -> anyhow::Result<()> {
    let Some((last, others)) = added.failed.split_last() else {
        return Ok(());
    };
    for other in others {
        say(&format!("error: {other}"));
    }
    Err(last.clone().into())
}

/// Refuses what a leaderboard has nothing of.
fn check(scoring: &ScoringArgs) -> Result<(), InputError> {
    if scoring.train_salt.is_some() {
        let message = "--train-salt has no effect: a leaderboard has the seeds of its suite, so that all entries meet the same";
        return Err(InputError::new(message));
    }
    no_plugins(scoring)
}

fn no_plugins(scoring: &ScoringArgs) -> Result<(), InputError> {
    if scoring.allow_native {
        let message = "--allow-native has no effect: a leaderboard holds no compiled plugins";
        return Err(InputError::new(message));
    }
    Ok(())
}

/// A scorer that uses no cached reports.
fn fresh(scoring: &ScoringArgs) -> anyhow::Result<Scorer> {
    check(scoring)?;
    if scoring.no_cache {
        let message = "--no-cache has no effect: results are always made again here";
        return Err(InputError::new(message).into());
    }
    ScoringArgs {
        no_cache: true,
        ..scoring.clone()
    }
    .scorer()
}

fn verify(VerifyArgs { what: args, split }: &VerifyArgs) -> anyhow::Result<()> {
    let board = args.board.open(args.scoring.suite(&Split::ALL)?);
    let scorer = fresh(&args.scoring)?;
    let verdicts = with_bar(|done| board.verify(&scorer, &args.entries, *split, done));
    let verdicts = verdicts.map_err(to_anyhow)?;
    let text = if args.json {
        serde_json::to_string_pretty(&verdicts)? + "\n"
    } else {
        let line = |v: &Verdict| {
            let same = if v.same { "same     " } else { "DIFFERENT" };
            let notes = v.notes.iter().map(|note| format!("          {note}\n"));
            format!("{same} {}\n{}", v.name, notes.collect::<String>())
        };
        verdicts.iter().map(line).collect()
    };
    present(args.json, &text)?;
    let different = verdicts.iter().filter(|v| !v.same).count();
    if different > 0 {
        let message = format!(
            "{different} of {} entries are not what their candidates give now; \"windtunnel leaderboard renew\" scores them again",
            verdicts.len()
        );
        return Err(InputError::in_file(board.folder.display(), message).into());
    }
    Ok(())
}

fn renew(args: &RenewArgs) -> anyhow::Result<()> {
    let board = args.board.open(args.scoring.suite(&Split::ALL)?);
    let entries = board.entries(&args.entries)?;
    let scorer = fresh(&args.scoring)?;
    let added = with_bar(|done| board.add(&scorer, entries, done)).map_err(to_anyhow)?;
    if args.json {
        let rows = board.rows(Split::Holdout)?;
        present(true, &(serde_json::to_string_pretty(&rows)? + "\n"))?;
        return failed(&added);
    }
    report(&board, &added)
}

fn render(args: &RenderArgs) -> anyhow::Result<()> {
    let suite = windtunnel_score::Suite::open(&args.suite, args.traces.as_deref())?;
    let board = args.board.open(Arc::new(suite));
    for path in [&args.html, &args.md].into_iter().flatten() {
        check_path(path)?;
    }
    let rows = board.rows(args.by)?;
    let mut files = Staging::default();
    if let Some(path) = &args.html {
        files.write(path, |out| {
            out.write_all(html(&board.suite, &rows, args.by).as_bytes())
        })?;
    }
    if let Some(path) = &args.md {
        files.write(path, |out| {
            out.write_all(markdown(&board.suite, &rows, args.by).as_bytes())
        })?;
    }
    files.commit()?;
    if args.json {
        return present(true, &(serde_json::to_string_pretty(&rows)? + "\n"));
    }
    present(false, &table(&board.suite, &rows, args.by))
}
