//! The list of command lines.
//!
//! A row is a line: a name, a space, and a command line without `windtunnel`. Words are separated
//! by spaces; nothing is quoted. `{out}` is an empty folder for what is written, `{data}` a copy of
//! `xtask/parity/data`, `{tmp}` a folder of which nothing is compared. Several commands of one row,
//! ` && ` between them, share those folders. ` < FILE` gives a command its standard input. `cc ...`
//! calls the C compiler. `$name = words` defines what the word `$name` stands for below. A line
//! that begins with a space continues the one before it; `#` begins a line that is no row.

use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Commands that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What it is called, `group/name`.
    pub name: String,
    /// What to do, one after the other.
    pub steps: Vec<Step>,
}

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Its arguments.
    pub words: Vec<String>,
    /// The file that is its standard input.
    pub input: Option<String>,
}

impl Row {
    /// Is this its name, or its group's?
    pub(crate) fn is_in(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The command line, for people.
    pub(crate) fn line(&self) -> String {
        let step = |step: &Step| {
            let input = step.input.as_ref();
            let input = input.map_or(String::new(), |file| format!(" < {file}"));
            let command = if step.is_compiler() {
                ""
            } else {
                "windtunnel "
            };
            format!("{command}{}{input}", step.words.join(" "))
        };
        let steps: Vec<String> = self.steps.iter().map(step).collect();
        steps.join(" && ")
    }
}

impl Step {
    /// Does it call the C compiler, instead of the command that is checked?
    pub(crate) fn is_compiler(&self) -> bool {
        self.words.first().is_some_and(|word| word == "cc")
    }
}

/// Reads the list.
///
/// # Errors
/// When a row has no command, two rows share a name, a line continues nothing, or a `$name` stands
/// for nothing.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut lines: Vec<String> = Vec::new();
    for (k, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let last = lines.last_mut();
            let last = last.with_context(|| format!("line {} continues nothing", k + 1))?;
            *last += " ";
            *last += line.trim();
        } else {
            lines.push(line.trim().to_owned());
        }
    }
    let mut meanings = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut rows = Vec::new();
    for line in lines {
        let line = spelled_out(&line, &meanings)?;
        if let Some((name, words)) = line.split_once(" = ").filter(|_| line.starts_with('$')) {
            meanings.insert(name.to_owned(), words.to_owned());
            continue;
        }
        let (name, command) = line
            .split_once(' ')
            .with_context(|| format!("\"{line}\" has no command"))?;
        if !names.insert(name.to_owned()) {
            bail!("two rows are called {name}");
        }
        let steps = command.trim().split(" && ").map(step);
        rows.push(Row {
            name: name.to_owned(),
            steps: steps.collect::<anyhow::Result<_>>()?,
        });
    }
    Ok(rows)
}

/// The line with what each `$name` but the first word stands for.
fn spelled_out(line: &str, meanings: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut words = Vec::new();
    for (k, word) in line.split_whitespace().enumerate() {
        words.push(match meanings.get(word) {
            Some(meaning) => meaning,
            None if k > 0 && word.starts_with('$') => bail!("{word} stands for nothing: {line}"),
            None => word,
        });
    }
    Ok(words.join(" "))
}

fn step(text: &str) -> anyhow::Result<Step> {
    let (command, input) = match text.split_once(" < ") {
        Some((command, file)) => (command, Some(file.trim().to_owned())),
        None => (text, None),
    };
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() || words.iter().any(|word| word == "&&" || word == "<") {
        bail!("\"{text}\" is no command");
    }
    Ok(Step { words, input })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_steps_and_input() {
        let text = "# a remark\nrun/a run --model x\n\nscore/b score - < {data}/in\n  && models\n";
        let rows = parse(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].line(), "windtunnel run --model x");
        assert_eq!(rows[1].steps.len(), 2);
        assert_eq!(rows[1].steps[0].words, ["score", "-"]);
        assert_eq!(rows[1].steps[0].input.as_deref(), Some("{data}/in"));
        assert_eq!(rows[1].steps[1].words, ["models"]);
        assert!(parse("c cc -o x").unwrap()[0].steps[0].is_compiler());
    }

    #[test]
    fn names_stand_for_words() {
        let rows = parse("$m = --model x\n$few = $m\n  --num-requests 3\na run $few -q\n").unwrap();
        assert_eq!(
            rows[0].line(),
            "windtunnel run --model x --num-requests 3 -q"
        );
    }

    #[test]
    fn mistakes_in_the_list_are_errors() {
        for wrong in ["name", " run", "a run\na models", "a run && ", "a run $m"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_of_the_project_is_sound_and_covers_every_command() {
        let rows = parse(include_str!("../../parity/commands.txt")).unwrap();
        assert!(rows.len() >= 60, "{}", rows.len());
        let commands = [
            "run",
            "replay",
            "sweep",
            "models",
            "policy",
            "plugin",
            "workload",
            "score",
            "explain",
            "compare",
            "tune",
            "leaderboard",
            "suite",
            "evolve",
            "score-server",
            "completions",
        ];
        for command in commands {
            let uses = |step: &Step| step.words[0] == command;
            let found = rows.iter().filter(|row| row.steps.iter().any(uses));
            assert!(found.count() > 0, "no row of {command}");
        }
    }
}
