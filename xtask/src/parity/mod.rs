//! `cargo xtask parity`: does the command still print and write what it did?
//!
//! A list of command lines (`xtask/parity/commands.txt`) is run, and everything that comes out is
//! compared: with recorded digests, or with what another binary gives. It guards changes that must
//! not change a figure.

mod compare;
mod digests;
mod list;
mod normal;
mod run;

use crate::shared::{build, root, target};
use anyhow::{Context, bail};
use digests::Digests;
use list::Row;
use run::{Folders, Part};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const HELP: &str = "Compares all output of a list of command lines with what was recorded, or with that of another binary.

Usage: cargo xtask parity [OPTIONS]

Options:
  --binary FILE    The command to check [default: the release build, which is made first]
  --against FILE   Compare with this binary instead of the recorded digests, and show the lines that differ
  --record         Record the digests; rows that two runs do not agree on are refused
  --only NAME      Only the row NAME, or the rows NAME/...; may be given again
  --root FOLDER    Working folder of the commands [default: the workspace]
  --list           Print the rows
  --help           This text

The rows are in xtask/parity/commands.txt, their digests in xtask/parity/digests.txt.";

const COMMANDS: &str = "xtask/parity/commands.txt";
const DIGESTS: &str = "xtask/parity/digests.txt";
const DATA: &str = "xtask/parity/data";

#[derive(Debug, Default, PartialEq)]
struct Options {
    binary: Option<PathBuf>,
    against: Option<PathBuf>,
    record: bool,
    only: Vec<String>,
    root: Option<PathBuf>,
    list: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || {
                rest.next()
                    .with_context(|| format!("{flag} needs a value\n\n{HELP}"))
            };
            match flag.as_str() {
                "--binary" => options.binary = Some(value()?.into()),
                "--against" => options.against = Some(value()?.into()),
                "--only" => options.only.push(value()?.clone()),
                "--root" => options.root = Some(value()?.into()),
                "--record" => options.record = true,
                "--list" => options.list = true,
                other => bail!("unknown option {other}\n\n{HELP}"),
            }
        }
        if options.record && options.against.is_some() {
            bail!("--record keeps what one binary does: drop --against");
        }
        Ok(options)
    }

    /// The rows that are asked for.
    fn chosen(&self, rows: Vec<Row>) -> anyhow::Result<Vec<Row>> {
        for name in &self.only {
            if !rows.iter().any(|row| row.is_in(name)) {
                bail!("no row \"{name}\" in {COMMANDS}; --list prints them");
            }
        }
        let wanted =
            |row: &Row| self.only.is_empty() || self.only.iter().any(|name| row.is_in(name));
        Ok(rows.into_iter().filter(wanted).collect())
    }
}

pub(crate) fn parity(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let path = root().join(COMMANDS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {COMMANDS}"))?;
    let rows = options.chosen(list::parse(&text).context(COMMANDS)?)?;
    if options.list {
        for row in rows {
            println!("{}\n  {}", row.name, row.line());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (binary, failed) = binary(&options)?;
    if let Some(code) = failed {
        return Ok(code);
    }
    let work = Work {
        binary,
        root: absolute(options.root.as_deref().unwrap_or(&root()))?,
        folders: Folders::new(&root().join(DATA))?,
    };
    let start = Instant::now();
    let wrong = if options.record {
        work.record(&rows, options.only.is_empty())?
    } else if let Some(other) = &options.against {
        let other = work.with(absolute(other)?);
        report(&rows, &work.compare(&rows, &other)?)
    } else {
        work.check(&rows)?
    };
    println!(
        "parity: {} rows, {wrong} {}, {:.1} s",
        rows.len(),
        if options.record { "refused" } else { "differ" },
        start.elapsed().as_secs_f64()
    );
    Ok(ExitCode::from(u8::from(wrong > 0)))
}

/// The command to check; without one the release build.
fn binary(options: &Options) -> anyhow::Result<(PathBuf, Option<ExitCode>)> {
    if let Some(given) = &options.binary {
        return Ok((absolute(given)?, None));
    }
    build("release")
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

/// Runs rows with one binary.
struct Work {
    binary: PathBuf,
    root: PathBuf,
    folders: Folders,
}

impl Work {
    /// The same with another binary.
    fn with(&self, binary: PathBuf) -> Self {
        Self {
            binary,
            root: self.root.clone(),
            folders: self.folders.clone(),
        }
    }

    fn run(&self, row: &Row) -> anyhow::Result<Vec<Part>> {
        let parts = run::run(&self.binary, &self.root, &self.folders, row);
        parts.with_context(|| format!("row {}", row.name))
    }

    /// What differs between this binary (found) and another (expected), row by row.
    fn compare(&self, rows: &[Row], other: &Self) -> anyhow::Result<Vec<Option<String>>> {
        each(rows, |row| {
            let (expected, found) = (other.run(row)?, self.run(row)?);
            Ok(compare::difference(&expected, &found))
        })
    }

    /// Compares with the recorded digests; gives how many rows differ. What was found instead is
    /// kept for a look at it.
    fn check(&self, rows: &[Row]) -> anyhow::Result<usize> {
        let recorded = Digests::read(&root().join(DIGESTS))?;
        let kept = target().join("parity");
        let differences = each(rows, |row| {
            let parts = self.run(row)?;
            let differs = recorded.difference(&row.name, &parts);
            if differs.is_some() {
                keep(&kept.join(row.name.replace('/', "-")), &parts)?;
            }
            Ok(differs)
        })?;
        let wrong = report(rows, &differences);
        if wrong > 0 {
            println!(
                "What was found is in {}; --against OTHER_BINARY shows the lines.",
                kept.display()
            );
        }
        Ok(wrong)
    }

    /// Runs every row twice and keeps the digests of those that agree; gives how many do not.
    fn record(&self, rows: &[Row], all: bool) -> anyhow::Result<usize> {
        let found = Mutex::new(Vec::new());
        let differences = each(rows, |row| {
            let (first, second) = (self.run(row)?, self.run(row)?);
            let differs = compare::difference(&first, &second)
                .map(|lines| format!("two runs differ\n{lines}"));
            let differs = differs.or_else(|| unexpected_exit(row, &first));
            let mut found = found.lock().expect("no panic");
            found.push((row.name.clone(), digests::of(&first)));
            Ok(differs)
        })?;
        let wrong = report(rows, &differences);
        if wrong == 0 {
            let path = root().join(DIGESTS);
            let mut digests = if all {
                Digests::default()
            } else {
                Digests::read(&path)?
            };
            for (row, parts) in found.into_inner().expect("no panic") {
                digests.set(row, parts);
            }
            fs::write(&path, digests.text()).with_context(|| format!("cannot write {DIGESTS}"))?;
        }
        Ok(wrong)
    }
}

/// A row that does not end as its name says is a mistake in the list: rows `error/...` leave with
/// 2, the others succeed.
fn unexpected_exit(row: &Row, parts: &[Part]) -> Option<String> {
    let expected = match row.name.split('/').next() {
        Some("error") => "2",
        _ => "0",
    };
    let last = parts.iter().rfind(|part| part.name.starts_with("exit"))?;
    let found = String::from_utf8_lossy(&last.bytes);
    (found != expected).then(|| {
        let error = parts.iter().rfind(|part| part.name.starts_with("stderr"));
        let error = error.map_or(String::new(), |part| {
            String::from_utf8_lossy(&part.bytes).into_owned()
        });
        format!("exit code {found}, expected {expected}\n{error}")
    })
}

/// Writes what a row gave.
fn keep(folder: &Path, parts: &[Part]) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for part in parts {
        fs::write(folder.join(part.name.replace(['/', ' '], "-")), &part.bytes)?;
    }
    Ok(())
}

/// Prints the rows that differ; gives their number.
fn report(rows: &[Row], differences: &[Option<String>]) -> usize {
    let mut wrong = 0;
    for (row, difference) in rows.iter().zip(differences) {
        if let Some(difference) = difference {
            wrong += 1;
            println!("DIFFERS {}: {}\n{difference}", row.name, row.line());
        }
    }
    wrong
}

/// Does a thing for each row, several at a time; the results keep the rows' order.
fn each<T: Send>(
    rows: &[Row],
    work: impl Fn(&Row) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, anyhow::Result<T>)>> = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(rows.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(row) = rows.get(at) else {
                        return;
                    };
                    let result = work(row);
                    done.lock().expect("no panic").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        list::parse(&format!("{name} models\n"))
            .expect("a row")
            .remove(0)
    }

    #[test]
    fn rows_are_chosen_by_name_and_by_group() {
        let rows = || vec![row("run/json"), row("run/blis"), row("runs/x")];
        let names = |only: &[&str]| {
            let options = Options {
                only: only.iter().map(|s| (*s).to_owned()).collect(),
                ..Options::default()
            };
            let chosen = options.chosen(rows())?;
            anyhow::Ok(
                chosen
                    .into_iter()
                    .map(|row| row.name)
                    .collect::<Vec<String>>(),
            )
        };
        assert_eq!(names(&[]).unwrap().len(), 3);
        assert_eq!(names(&["run"]).unwrap(), ["run/json", "run/blis"]);
        assert_eq!(names(&["runs/x", "run/blis"]).unwrap().len(), 2);
        assert!(names(&["ru"]).is_err());
    }

    #[test]
    fn results_keep_the_order_of_the_rows() {
        let rows: Vec<Row> = (0..50).map(|k| row(&format!("row/{k}"))).collect();
        let names = each(&rows, |row| Ok(row.name.clone())).unwrap();
        assert!(names.iter().zip(&rows).all(|(name, row)| *name == row.name));
        let failed = each(&rows, |row| {
            if row.name == "row/7" {
                bail!("seven")
            }
            Ok(())
        });
        assert_eq!(failed.unwrap_err().to_string(), "seven");
    }

    #[test]
    fn exit_codes_follow_from_the_name() {
        let exit = |code: &str| {
            vec![
                Part::new("exit".into(), code.into()),
                Part::new("stderr".into(), b"why".to_vec()),
            ]
        };
        assert_eq!(unexpected_exit(&row("run/a"), &exit("0")), None);
        assert_eq!(unexpected_exit(&row("error/a"), &exit("2")), None);
        let found = unexpected_exit(&row("error/a"), &exit("1")).expect("wrong");
        assert!(found.contains("exit code 1, expected 2\nwhy"), "{found}");
    }

    #[test]
    fn every_row_of_the_list_is_recorded_and_no_other() {
        let rows = list::parse(include_str!("../../parity/commands.txt")).unwrap();
        let mut listed: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        listed.sort_unstable();
        let recorded = Digests::read(&root().join(DIGESTS)).unwrap();
        assert_eq!(recorded.rows().collect::<Vec<&str>>(), listed);
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            Options::parse(&words)
        };
        let options = parse("--binary b --against a --only run --root r").unwrap();
        assert_eq!(options.binary, Some("b".into()));
        assert_eq!(options.only, ["run"]);
        assert!(parse("--record --against a").is_err());
        assert!(parse("--binary").is_err());
        assert!(parse("--fast").is_err());
    }
}
