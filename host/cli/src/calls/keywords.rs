//! The flags of a command as keywords of a function: names, types, help. Signatures and stubs of
//! the Python package are made of them, and calls become command lines by them.

use crate::command;
use crate::scheduling_args::setting;
use crate::spelling::FILES;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction};
use serde_json::{Map, Value};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_sim::settings;

/// A flag as a keyword.
#[derive(Clone, Debug)]
pub struct Keyword {
    /// Its name with underscores.
    pub name: String,
    /// Other names that its help shows.
    pub aliases: Vec<String>,
    /// What it takes.
    pub kind: Kind,
    /// It takes several of them.
    pub several: bool,
    /// What it says of itself, in one line.
    pub help: String,
    /// The group that it belongs to.
    pub heading: String,
    /// A call without it is wrong.
    pub required: bool,
    /// It has no dashes on the command line.
    positional: bool,
    /// Several values are one word, with commas between them.
    joined: bool,
}

/// What a flag takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Switch,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// A file or a folder.
    File,
    /// A policy: a name or a file.
    Policy,
    /// One of these words.
    OneOf(Vec<String>),
    /// Anything else, as text.
    Text,
}

/// Flags that say what the command prints, and how: a function returns it.
const OF_A_TERMINAL: [&str; 9] = [
    "log",
    "help",
    "version",
    "json",
    "format",
    "quiet",
    "columns",
    "fail_if",
    "dump_spec",
];

/// The keywords of `command`, in the order of its help.
///
/// Of `run` and `replay` those that are settings of a run, or files that it writes; of commands
/// that carry out many runs, those that they show in their help.
#[must_use]
pub fn keywords(name: &str) -> Vec<Keyword> {
    let whole = command();
    let Some(found) = whole.find_subcommand(name) else {
        return Vec::new();
    };
    let single = ["run", "replay"].contains(&name);
    let wanted = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        let known = settings::key(id).is_some() || FILES.contains(&id);
        !OF_A_TERMINAL.contains(&id)
            && match single {
                true => known,
                false => !arg.is_hide_set() && !["html", "manifest"].contains(&id),
            }
            && (single || name != "plan" || id != "out")
    };
    let mut all: Vec<Keyword> = found.get_arguments().filter(wanted).map(keyword).collect();
    let help: Vec<String> = all.iter().map(|k| by_keywords(&k.help, &all)).collect();
    for (keyword, help) in all.iter_mut().zip(help) {
        keyword.help = help;
    }
    all
}

fn keyword(arg: &Arg) -> Keyword {
    let id = arg.get_id().as_str();
    let help = arg.get_long_help().or(arg.get_help());
    let visible = arg.get_visible_aliases().unwrap_or_default();
    let joined = arg.get_value_delimiter().is_some();
    Keyword {
        name: setting(id).to_owned(),
        aliases: visible.iter().map(|name| name.replace('-', "_")).collect(),
        kind: kind(arg),
        several: joined || matches!(arg.get_action(), ArgAction::Append),
        help: help.map_or(String::new(), ToString::to_string),
        heading: arg.get_help_heading().unwrap_or_default().to_owned(),
        required: arg.is_required_set(),
        positional: arg.is_positional(),
        joined,
    }
}

fn kind(arg: &Arg) -> Kind {
    if !arg.get_action().takes_values() {
        return Kind::Switch;
    }
    let words = arg.get_possible_values();
    if !words.is_empty() {
        let words = words.iter().filter(|word| !word.is_hide_set());
        return Kind::OneOf(words.map(|word| word.get_name().to_owned()).collect());
    }
    let parser: &ValueParser = arg.get_value_parser();
    let takes = |types: &[TypeId]| types.iter().any(|t| parser.type_id() == *t);
    let value_name = arg.get_value_names().and_then(|names| names.first());
    match value_name.map(|name| name.as_str()) {
        Some("POLICY" | "NAME|FILE[:PARAM=VALUE,...]") => Kind::Policy,
        _ if takes(&[TypeId::of::<f64>()]) => Kind::Number,
        _ if takes(&[TypeId::of::<PathBuf>()]) => Kind::File,
        _ if takes(&[
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
        ]) =>
        {
            Kind::Whole
        }
        _ => Kind::Text,
    }
}

/// The command line of a call: the command, then its flags as they would be typed. Of an object
/// each entry is `name=value`; `null` is left out.
///
/// # Errors
/// On a keyword that the command does not have, and a value that no flag can take.
pub fn command_line(
    name: &str,
    keywords: &[Keyword],
    given: &Map<String, Value>,
) -> Result<Vec<OsString>, InputError> {
    let mut words: Vec<OsString> = vec!["windtunnel".into(), name.into()];
    for (key, value) in given {
        let has = |k: &&Keyword| k.name == *key || k.aliases.contains(key);
        let Some(keyword) = keywords.iter().find(has) else {
            let names: Vec<&str> = keywords.iter().map(|k| k.name.as_str()).collect();
            return Err(InputError::new(unknown("setting", key, &names)));
        };
        words.extend(keyword.words(value)?.into_iter().map(OsString::from));
    }
    Ok(words)
}

impl Keyword {
    /// How the flag is typed with this value.
    fn words(&self, value: &Value) -> Result<Vec<String>, InputError> {
        let flag = self.name.replace('_', "-");
        if self.kind == Kind::Switch {
            return match value {
                Value::Bool(true) => Ok(vec![format!("--{flag}")]),
                Value::Bool(false) if self.has_an_opposite() => Ok(vec![format!("--no-{flag}")]),
                Value::Bool(false) | Value::Null => Ok(Vec::new()),
                other => Err(self.refuse(other, "true or false")),
            };
        }
        let values = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(all) if self.several => {
                all.iter().map(|v| self.text(v)).collect::<Result<_, _>>()?
            }
            Value::Object(all) if self.several => {
                let entry = |(k, v): (&String, &Value)| Ok(format!("{k}={}", self.text(v)?));
                all.iter()
                    .map(entry)
                    .collect::<Result<Vec<_>, InputError>>()?
            }
            one => vec![self.text(one)?],
        };
        let values = match self.joined {
            true => vec![values.join(",")],
            false => values,
        };
        let word = |value: String| match self.positional {
            true => value,
            false => format!("--{flag}={value}"),
        };
        Ok(values.into_iter().map(word).collect())
    }

    fn has_an_opposite(&self) -> bool {
        crate::scheduling_args::SWITCHES.contains(&self.name.as_str())
    }

    fn text(&self, value: &Value) -> Result<String, InputError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(self.refuse(other, self.expected())),
        }
    }

    fn expected(&self) -> &'static str {
        match self.kind {
            Kind::Switch => "true or false",
            Kind::Whole => "a whole number",
            Kind::Number => "a number",
            Kind::File => "a path",
            Kind::Policy | Kind::OneOf(_) | Kind::Text => "a text",
        }
    }

    fn refuse(&self, found: &Value, expected: &str) -> InputError {
        InputError::new(format!(
            "`{}`: found {found}, expected {expected}",
            self.name
        ))
    }
}

/// A message in which flags go by the names of keywords.
#[must_use]
pub fn by_keywords(message: &str, keywords: &[Keyword]) -> String {
    let mut parts = message.split("--");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let (flag, rest) = part.split_at(end.unwrap_or(part.len()));
        let name = flag.replace('-', "_");
        let known = |k: &Keyword| k.name == name || k.aliases.contains(&name);
        match keywords.iter().any(known) {
            true => text.push_str(&name),
            false => {
                text.push_str("--");
                text.push_str(flag);
            }
        }
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn typed(name: &str, given: Value) -> Result<Vec<String>, String> {
        let given = given.as_object().expect("an object").clone();
        let words = command_line(name, &keywords(name), &given).map_err(|e| e.to_string())?;
        let words = words.into_iter().skip(2);
        Ok(words.map(|w| w.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn keywords_are_typed_as_their_flags() {
        let words = typed(
            "sweep",
            json!({
                "grid": { "rate": "1,2" },
                "model": "m",
                "num_requests": 5,
                "async_scheduling": false,
                "trusted": true,
                "summary_only": false,
                "alpha_coeffs": [1.5, 2, -3],
                "policy_param": { "routing.a": 2 },
                "seeds": null,
            }),
        );
        assert_eq!(
            words.unwrap(),
            [
                "--grid=rate=1,2",
                "--model=m",
                "--max-prompts=5",
                "--no-async-scheduling",
                "--trusted",
                "--alpha-coeffs=1.5,2,-3",
                "--policy-param=routing.a=2",
            ]
        );
    }

    #[test]
    fn messages_name_keywords() {
        let keywords = keywords("sweep");
        let said = |message: &str| by_keywords(message, &keywords);
        assert_eq!(said("--max-num-seqs is 0"), "max_num_seqs is 0");
        assert_eq!(
            said("give --seeds N, not --nothing"),
            "give seeds N, not --nothing"
        );
    }

    #[test]
    fn mistakes_name_the_keyword() {
        assert!(
            typed("sweep", json!({ "seed_s": 1 }))
                .unwrap_err()
                .starts_with("unknown setting \"seed_s\"; did you mean")
        );
        assert_eq!(
            typed("plan", json!({ "rate": [1] })).unwrap_err(),
            "`rate`: found [1], expected a number"
        );
        assert_eq!(
            typed("plan", json!({ "max_rate": 1 })).unwrap_err(),
            "`max_rate`: found 1, expected true or false"
        );
    }

    #[test]
    fn types_are_those_of_the_flags() {
        let run = keywords("run");
        let of = |name: &str| run.iter().find(|k| k.name == name).expect("it is one");
        assert_eq!(of("rate").kind, Kind::Number);
        assert_eq!(of("max_prompts").kind, Kind::Whole);
        assert_eq!(of("max_prompts").aliases, ["num_requests"]);
        assert_eq!(of("routing_policy").kind, Kind::Policy);
        assert_eq!(of("results_path").kind, Kind::File);
        assert_eq!(
            of("arrivals").kind,
            Kind::OneOf(vec!["constant".into(), "poisson".into()])
        );
        assert!(of("alpha_coeffs").several && of("event").several);
        assert!(
            !run.iter()
                .any(|k| k.name == "json" || k.name == "no_async_scheduling")
        );
        let plan = keywords("plan");
        assert!(plan.iter().any(|k| k.name == "slo" && k.required));
        assert!(!plan.iter().any(|k| k.name == "results_path"));
    }
}
