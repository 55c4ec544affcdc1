//! `cargo xtask bench`: what a run costs.

mod costly;
mod measure;
mod rows;

use crate::shared::{build, cargo, run, target};
use anyhow::{Context, bail};
use measure::Run;
use rows::Row;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const HELP: &str =
    "What a run costs: CPU seconds, wall time and peak memory of whole runs, `dist` build.

Usage: cargo xtask bench [OPTIONS]

Options:
  --row NAME       Only this row; may be given again
  --runs N         Runs of each row [default: 7; the row of a minute runs once]
  --instructions   Count instructions under valgrind instead; rows of a minute only by name
  --binary FILE    The command to measure [default: the build of the profile `dist`, made first]
  --json FILE      Save the figures
  --list           Print the rows' commands
  --criterion      Run the benchmarks of the parts instead
  --help           This text";

#[derive(Debug, PartialEq)]
struct Options {
    rows: Vec<String>,
    runs: usize,
    instructions: bool,
    binary: Option<PathBuf>,
    json: Option<PathBuf>,
    list: bool,
    criterion: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            rows: Vec::new(),
            runs: 7,
            instructions: false,
            binary: None,
            json: None,
            list: false,
            criterion: false,
        };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || {
                rest.next()
                    .with_context(|| format!("{flag} needs a value\n\n{HELP}"))
            };
            match flag.as_str() {
                "--row" => options.rows.push(value()?.clone()),
                "--runs" => {
                    let text = value()?;
                    let runs = text.parse().ok().filter(|&n| n > 0);
                    options.runs =
                        runs.with_context(|| format!("--runs is {text}; expected 1 or more"))?;
                }
                "--binary" => options.binary = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                "--instructions" => options.instructions = true,
                "--list" => options.list = true,
                "--criterion" => options.criterion = true,
                other => bail!("unknown option {other}\n\n{HELP}"),
            }
        }
        Ok(options)
    }
}

/// What was found for a row.
enum Found {
    Runs(Vec<Run>),
    Instructions(u64),
}

pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let folder = target().join("bench");
    let rows = chosen(&folder, &options)?;
    if options.list {
        for row in rows {
            println!("{}\n  windtunnel {}", row.name, row.arguments);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.criterion {
        let failed = run(cargo("bench --package windtunnel-benches"))?;
        return Ok(failed.unwrap_or(ExitCode::SUCCESS));
    }
    if options.instructions && !measure::has_valgrind() {
        bail!("--instructions needs valgrind; on Debian or Ubuntu: apt-get install valgrind");
    }
    let program = match &options.binary {
        Some(program) => program.clone(),
        None => {
            let (program, failed) = build("dist")?;
            if let Some(code) = failed {
                return Ok(code);
            }
            program
        }
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (header, data) = rows::prefix_groups();
    fs::write(folder.join("prefix-groups.yaml"), header)?;
    fs::write(folder.join("prefix-groups.csv"), data)?;
    rows::write_scripts(&folder)?;
    costly::write_workloads(&folder)?;

    let results = measure_all(&rows, &options, &program, &folder)?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&results)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All rows.
fn all(folder: &Path) -> Vec<Row> {
    let mut all = rows::targets(folder);
    all.extend(rows::growth());
    let again = costly::under_vllm(&all);
    all.extend(costly::costly(folder).into_iter().chain(again));
    all
}

fn chosen(folder: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let all = all(folder);
    if options.rows.is_empty() {
        return Ok(all
            .into_iter()
            .filter(|row| !(options.instructions && row.long))
            .collect());
    }
    let named = |name: &String| {
        let found = all.iter().find(|row| row.name == *name).cloned();
        found.with_context(|| {
            let names: Vec<&str> = all.iter().map(|row| row.name.as_str()).collect();
            format!("no row {name:?}; there are: {}", names.join("; "))
        })
    };
    options.rows.iter().map(named).collect()
}

/// Measures row by row and prints each as it is done.
fn measure_all(
    rows: &[Row],
    options: &Options,
    program: &Path,
    folder: &Path,
) -> anyhow::Result<Vec<serde_json::Value>> {
    if options.instructions {
        println!("{:<22} {:>16}", "row", "instructions");
    } else {
        println!(
            "{:<22} {:>9} {:>9} {:>9} {:>10} {:>9}",
            "row", "CPU s min", "median", "at most", "wall s min", "peak MB"
        );
    }
    let mut results = Vec::new();
    for row in rows {
        let found = if options.instructions {
            let profile = format!("{}.callgrind", row.name.replace(", ", "-"));
            let count = measure::instructions(program, &row.arguments, &folder.join(profile))?;
            Found::Instructions(count)
        } else {
            let runs = if row.long { 1 } else { options.runs };
            let runs = (0..runs).map(|_| measure::run(program, &row.arguments));
            Found::Runs(runs.collect::<anyhow::Result<_>>()?)
        };
        results.push(show(row, &found));
    }
    Ok(results)
}

/// Prints a row; gives what to save of it.
fn show(row: &Row, found: &Found) -> serde_json::Value {
    let command = format!("windtunnel {}", row.arguments);
    match found {
        Found::Instructions(count) => {
            println!("{:<22} {count:>16}", row.name);
            json!({"row": row.name, "command": command, "instructions": count})
        }
        Found::Runs(runs) => {
            let cpu: Option<Vec<f64>> = runs.iter().map(|r| r.cpu_s).collect();
            let (min, median) = cpu.map_or((None, None), |cpu| {
                let (min, median) = min_and_median(cpu);
                (Some(min), Some(median))
            });
            let (wall, _) = min_and_median(runs.iter().map(|r| r.wall_s).collect());
            let peak = runs.iter().filter_map(|r| r.peak).max();
            let number =
                |x: Option<f64>, digits| x.map_or("-".into(), |x: f64| format!("{x:.digits$}"));
            println!(
                "{:<22} {:>9} {:>9} {:>9} {wall:>10.3} {:>9}",
                row.name,
                number(min, 4),
                number(median, 4),
                number(row.target, 2),
                number(peak.map(|b| b as f64 / 1e6), 1),
            );
            json!({
                "row": row.name, "command": command, "runs": runs.len(), "cpu_s_min": min, "cpu_s_median": median,
                "cpu_s_at_most": row.target, "wall_s_min": wall, "peak_bytes": peak,
            })
        }
    }
}

/// Of at least one value.
fn min_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> anyhow::Result<Options> {
        Options::parse(
            &text
                .split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_read() {
        let read = options("--row one --runs 3 --row two --instructions --json f.json").unwrap();
        assert_eq!(read.rows, ["one", "two"]);
        assert_eq!((read.runs, read.instructions), (3, true));
        assert_eq!(read.json, Some("f.json".into()));
        for wrong in ["--row", "--runs 0", "--runs x", "--fast"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_that_does_not_exist_is_an_error_with_the_names() {
        let read = options("--row thirteen").unwrap();
        let error = chosen(Path::new("x"), &read).unwrap_err().to_string();
        assert!(error.contains("sixty-four"), "{error}");
    }

    #[test]
    fn the_middle_of_an_even_number_is_the_upper_one() {
        assert_eq!(min_and_median(vec![3.0, 1.0, 4.0, 2.0]), (1.0, 3.0));
        assert_eq!(min_and_median(vec![5.0]), (5.0, 5.0));
    }
}
