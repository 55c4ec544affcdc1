//! Signatures of the Python package: commands as functions, made of the command's own flags, and
//! what policies in Python see.

use serde_json::Value;
use std::fmt::Write as _;
use windtunnel_cli::calls::keywords::{Keyword, Kind, keywords};
use windtunnel_plugin_api::{Field, InstanceView, RequestView, Table};

/// Widest line.
const WIDTH: usize = 120;

const HEAD: &str = "# Made of the command's flags by `cargo xtask docs`; changes here are lost.\n";

/// A function that stands for a command.
struct Function {
    command: &'static str,
    /// What it returns, and the function that makes it.
    gives: &'static str,
    module: &'static str,
    made_by: &'static str,
    /// The first parameter, which may come without its name.
    first: &'static str,
    /// What it does, lines as written.
    about: &'static str,
    /// Settings of a run that no flag has by this name.
    more: &'static [(&'static str, &'static str)],
    /// Groups of keywords whose help is in another function's.
    told_by_run: bool,
}

/// Settings of single runs beside the flags.
const KEPT: &[(&str, &str)] = &[
    (
        "decisions",
        "Record the front end's decisions, for decisions_path, counterfactual_k and summarize_trace",
    ),
    (
        "series",
        "Keep what instances do over time, for the page [default: True, unless summary_only]",
    ),
];

/// `run.py`.
pub fn run() -> String {
    module(&Function {
        command: "run",
        gives: "Results",
        module: "_run",
        made_by: "simulated",
        first: "model",
        about: "Simulates a cluster, as ``windtunnel run`` does.

Policies are names, files, :class:`windtunnel.Lua` texts, or, for admission and routing, functions: ``f(request, cluster)``
returns one of ``cluster.instances`` or its position, or whether the request is admitted. Functions are called for every
decision, a hundred times slower than Lua. ``workload`` may be a table of requests: a DataFrame, an Arrow table, or a
list of dicts. Where time is abstract (``latency_model=\"ticks\"``), keys and columns end in ``_ticks``.

Raises:
    InputError: The command would have ended with exit code 2; or a function that is a policy raised, which is the cause.
",
        more: KEPT,
        told_by_run: false,
    })
}

/// `replay.py`.
pub fn replay() -> String {
    module(&Function {
        command: "replay",
        gives: "Results",
        module: "_run",
        made_by: "simulated",
        first: "trace",
        about: "Simulates a cluster on a recorded trace, as ``windtunnel replay`` does; see :func:`run`.

``trace`` is a file, or a table of requests: a DataFrame, an Arrow table, or a list of dicts.

Raises:
    InputError: The command would have ended with exit code 2.
",
        more: KEPT,
        told_by_run: true,
    })
}

/// `sweep.py`.
pub fn sweep() -> String {
    module(&Function {
        command: "sweep",
        gives: "Sweep",
        module: "_sweep",
        made_by: "swept",
        first: "model",
        about: "Simulates a grid of settings on all cores, as ``windtunnel sweep`` does, with any settings of :func:`run`.

``grid`` has the values of each setting that varies: ``{\"rate\": [10, 20], \"routing_policy\": [\"round-robin\",
windtunnel.Lua(text)]}``. Ctrl-C ends it; with ``out`` the same call goes on where it stopped.

Raises:
    InputError: The command would have ended with exit code 2.
",
        more: &[],
        told_by_run: true,
    })
}

/// `plan.py`.
pub fn plan() -> String {
    module(&Function {
        command: "plan",
        gives: "Plan",
        module: "_plan",
        made_by: "planned",
        first: "model",
        about: "Finds the least cluster for a workload under targets, or the most load that a cluster takes, as ``windtunnel
plan`` does, with any settings of :func:`run`. Ctrl-C ends it; with ``resume`` the same call goes on where it stopped.

Raises:
    InputError: The command would have ended with exit code 2.
",
        more: &[],
        told_by_run: true,
    })
}

fn module(function: &Function) -> String {
    let Function {
        command,
        gives,
        module,
        made_by,
        ..
    } = function;
    let all = keywords(command);
    let signature = signature(function, &all);
    let used = |word: &str| signature.contains(word);
    let listed = |words: &[&'static str]| -> Vec<&'static str> {
        words.iter().copied().filter(|word| used(word)).collect()
    };
    let types = listed(&["FrontPolicy", "Frame", "Grid", "Policy", "StrPath"]);
    let mut text =
        format!("{HEAD}\"\"\"``{command}``: the command of this name as a function.\"\"\"\n\n");
    text.push_str("from __future__ import annotations\n\n");
    let abcs = listed(&["Mapping", "Sequence"]);
    let _ = writeln!(text, "from collections.abc import {}", abcs.join(", "));
    text.push_str("from typing import Literal\n\n");
    text.push_str("from windtunnel._call import names_are_checked\n");
    let _ = writeln!(text, "from windtunnel.{module} import {gives}, {made_by}");
    let _ = writeln!(
        text,
        "from windtunnel._types import {}\n\n",
        types.join(", ")
    );
    text.push_str("@names_are_checked\n");
    text.push_str(&signature);
    text.push_str(&documentation(function, &all));
    let _ = match *made_by {
        "simulated" => writeln!(text, "    return {made_by}(\"{command}\", locals())"),
        _ => writeln!(text, "    return {made_by}(locals())"),
    };
    text
}

fn signature(function: &Function, all: &[Keyword]) -> String {
    let mut text = format!("def {}(\n", function.command);
    let mut heading = "";
    let (first, others): (Vec<&Keyword>, Vec<&Keyword>) =
        all.iter().partition(|k| k.name == function.first);
    for keyword in first {
        let _ = writeln!(text, "{}", parameter(function, &keyword.name, keyword));
    }
    text.push_str("    *,\n");
    let (needed, free): (Vec<&Keyword>, Vec<&Keyword>) =
        others.into_iter().partition(|k| k.required);
    for keyword in needed.into_iter().chain(free) {
        if keyword.heading != heading {
            heading = &keyword.heading;
            let _ = writeln!(text, "    # {heading}");
        }
        let _ = writeln!(text, "{}", parameter(function, &keyword.name, keyword));
        for alias in &keyword.aliases {
            let _ = writeln!(text, "{}", parameter(function, alias, keyword));
        }
    }
    for (name, _) in function.more {
        let _ = writeln!(text, "    {name}: bool | None = None,");
    }
    let _ = writeln!(text, ") -> {}:", function.gives);
    text
}

fn parameter(function: &Function, name: &str, keyword: &Keyword) -> String {
    let of = annotation(function, keyword);
    match keyword.required || (function.command, name) == ("replay", "trace") {
        true => format!("    {name}: {of},"),
        false => format!("    {name}: {of} | None = None,"),
    }
}

fn annotation(function: &Function, keyword: &Keyword) -> String {
    let single = ["run", "replay"].contains(&function.command);
    match keyword.name.as_str() {
        "grid" => return "Grid".to_owned(),
        "policy_param" => return "Mapping[str, float] | Sequence[str]".to_owned(),
        "workload" | "trace" => return "StrPath | Frame".to_owned(),
        "admission_policy" | "routing_policy" if single => return "FrontPolicy".to_owned(),
        _ => {}
    }
    let one = match &keyword.kind {
        Kind::Switch => "bool".to_owned(),
        Kind::Whole => "int".to_owned(),
        Kind::Number => "float".to_owned(),
        Kind::File => "StrPath".to_owned(),
        Kind::Policy => "Policy".to_owned(),
        Kind::Text => "str".to_owned(),
        Kind::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("Literal[{}]", words.join(", "))
        }
    };
    match keyword.several {
        true => format!("Sequence[{one}]"),
        false => one,
    }
}

fn documentation(function: &Function, all: &[Keyword]) -> String {
    let mut text = String::from("    \"\"\"");
    let (about, raises) = function
        .about
        .split_once("\n\nRaises:\n")
        .unwrap_or((function.about, ""));
    for (k, line) in about.lines().enumerate() {
        let indent = if k == 0 || line.is_empty() {
            ""
        } else {
            "    "
        };
        let _ = writeln!(text, "{indent}{line}");
    }
    text.push_str("\n    Args:\n");
    let of_run: Vec<String> = keywords("run").into_iter().map(|k| k.name).collect();
    for keyword in all {
        let elsewhere = function.told_by_run && of_run.contains(&keyword.name);
        let own = ["model", "num_requests", "timeout", "think_time_ms"];
        if elsewhere && !(own.contains(&keyword.name.as_str()) && keyword.name == "model") {
            continue;
        }
        text.push_str(&explained(&keyword.name, &keyword.help));
        for alias in &keyword.aliases {
            text.push_str(&explained(alias, &format!("The same as {}", keyword.name)));
        }
    }
    for (name, help) in function.more {
        if !function.told_by_run {
            text.push_str(&explained(name, help));
        }
    }
    if function.told_by_run {
        text.push_str("\n    All others are settings of :func:`windtunnel.run`.\n");
    }
    text.push_str("\n    Raises:\n");
    for line in raises.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push_str("    \"\"\"\n");
    text
}

/// An argument with its help, over as many lines as it takes.
fn explained(name: &str, help: &str) -> String {
    let help = help.replace('\\', "\\\\").replace("\"\"\"", "'''");
    let mut lines = vec![format!("        {name}:")];
    for word in help.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        match last.chars().count() + 1 + word.chars().count() <= WIDTH {
            true => {
                last.push(' ');
                last.push_str(word);
            }
            false => lines.push(format!("            {word}")),
        }
    }
    let mut text = lines.join("\n");
    if !text.ends_with(['.', ']', '?', ')']) {
        text.push('.');
    }
    text.push('\n');
    text
}

/// `_scenarios.py`.
///
/// # Panics
/// When the report's schema has no scenarios.
pub fn scenarios() -> String {
    let schema = windtunnel_score::report::schema();
    let schema: Value = serde_json::from_str(&schema).expect("a schema is JSON");
    let mut columns = Vec::new();
    let properties = schema["$defs"]["ScenarioReport"]["properties"].as_object();
    for (name, of) in properties.expect("the report tells of scenarios") {
        // A list, and a dict with a suite's own keys.
        if !["instances", "objectives"].contains(&name.as_str()) {
            flattened(&schema, name, of, &mut columns);
        }
    }
    let mut text = format!(
        "{}\"\"\"Columns of a report's scenarios, and what they hold.\"\"\"\n\nSCENARIOS = {{\n",
        HEAD.replace("the command's flags", "the report's schema")
    );
    for (name, kind) in columns {
        let _ = writeln!(text, "    \"{name}\": \"{kind}\",");
    }
    text.push_str("}\n");
    text
}

/// The columns of a property: of an object those of its own, named behind it with a dot.
fn flattened(schema: &Value, name: &str, of: &Value, columns: &mut Vec<(String, &'static str)>) {
    let reference = of.get("$ref").or_else(|| of["anyOf"][0].get("$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let key = reference.rsplit('/').next().unwrap_or_default();
        let properties = schema["$defs"][key]["properties"].as_object();
        for (own, of) in properties.into_iter().flatten() {
            flattened(schema, &format!("{name}.{own}"), of, columns);
        }
        return;
    }
    let one = of["type"].as_str().or_else(|| of["type"][0].as_str());
    match one {
        Some("array") => {
            columns.push((format!("{name}_low"), "number"));
            columns.push((format!("{name}_high"), "number"));
        }
        Some("integer") => columns.push((name.to_owned(), "whole")),
        Some("number") => columns.push((name.to_owned(), "number")),
        _ => columns.push((name.to_owned(), "text")),
    }
}

/// `_views.py`.
pub fn views() -> String {
    let mut text = format!(
        "{}\"\"\"What a function that is a policy sees, for annotations.\n\n\
         Times are microseconds of simulated time. Numbers that name something (tenant, session, class) are opaque:\n\
         equal for equal names, 0 for none.\n\"\"\"\n\n\
         from __future__ import annotations\n\n\
         from typing import Protocol\n",
        HEAD.replace("the command's flags", "the views of policies")
    );
    class::<RequestView>(&mut text, "Request", &[]);
    class::<InstanceView>(
        &mut text,
        "Instance",
        &[
            ("position", "Position in ``cluster.instances``."),
            (
                "prefix_blocks",
                "Leading prompt blocks of the request that its prefix cache holds.",
            ),
        ],
    );
    text.push_str(
        "\n\nclass Cluster(Protocol):\n    \"\"\"The cluster at the moment of a decision.\"\"\"\n\n    \
         @property\n    def now_us(self) -> int:\n        \"\"\"Now.\"\"\"\n\n    \
         @property\n    def instances(self) -> list[Instance]:\n        \
         \"\"\"The instances that can be chosen.\"\"\"\n",
    );
    text
}

fn class<T: Table>(text: &mut String, name: &str, own: &[(&str, &str)]) {
    let about: Vec<&str> = T::DOC.iter().map(|line| line.trim()).collect();
    let about = about.join(" ");
    let about = about.split("  ").next().unwrap_or_default();
    let first = about.split(". ").next().unwrap_or_default();
    let first = first.trim_end_matches('.');
    let _ = write!(
        text,
        "\n\nclass {name}(Protocol):\n    \"\"\"{first}.\"\"\"\n"
    );
    for (name, help) in own {
        let _ = write!(
            text,
            "\n    @property\n    def {name}(self) -> int:\n        \"\"\"{help}\"\"\"\n"
        );
    }
    for field in T::FIELDS.iter().filter(|field| field.name != "reserved") {
        property::<T>(text, field);
    }
}

fn property<T: Table>(text: &mut String, field: &Field<T::Get>) {
    let kind = match field.kind {
        windtunnel_plugin_api::Kind::F64 => "float",
        _ => "int",
    };
    let lines: Vec<&str> = field.doc.iter().map(|line| line.trim()).collect();
    let help = lines.join(" ").replace(" Since 1.1.", "");
    let unit = match field.unit {
        "" | "position" => String::new(),
        unit => format!(" [{unit}]"),
    };
    let help = format!("{}{unit}", help.trim_end_matches('.'));
    let mut shown = String::from("        \"\"\"");
    let mut width = shown.len();
    for (k, word) in help.split_whitespace().enumerate() {
        if k > 0 && width + word.len() + 5 > WIDTH {
            shown.push_str("\n        ");
            width = 8;
        } else if k > 0 {
            shown.push(' ');
            width += 1;
        }
        shown.push_str(word);
        width += word.len();
    }
    let _ = write!(
        text,
        "\n    @property\n    def {}(self) -> {kind}:\n{shown}.\"\"\"\n",
        field.name
    );
}
