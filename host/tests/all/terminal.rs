//! What comes from files never controls a terminal: control characters and marks of direction in
//! names, messages and paths are written out, wherever they are shown.

use crate::support::{Ran, windtunnel};
use std::path::Path;

const HIDDEN: &str = "\u{1b}[31mRED\u{1b}]0;title\u{7}\r\u{202e}evil\u{9b}2J\u{2066}";

fn clean(ran: &Ran, what: &str) {
    for text in [&ran.stdout, &ran.stderr] {
        let bad =
            |c: char| (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2066}".contains(c);
        assert!(!text.contains(bad), "{what}: {text:?}");
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn errors_of_scripts_are_written_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let escapes = "\\27[31mRED\\27]0;title\\7 \\r\\226\\128\\174 fake: ok\\n\\194\\155";
    let path = folder.path();
    let run = |args: &[&str]| {
        let base = [
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--num-instances",
            "2",
            "--num-requests",
            "5",
            "--rate",
            "20",
            "--quiet",
        ];
        windtunnel(base.iter().chain(args))
    };
    for (name, text) in [
        (
            "call.lua",
            format!("return {{ route = function() error(\"{escapes}\") end }}"),
        ),
        ("load.lua", format!("error(\"{escapes}\")")),
        (
            "table.lua",
            format!("return {{ route = function() error({{ x = \"{escapes}\" }}) end }}"),
        ),
        (
            "reject.lua",
            format!("return {{ admit = function() return false, \"{escapes}\" end }}"),
        ),
        (
            "index.lua",
            format!("return {{ route = function(req) return req[\"{escapes}\"] end }}"),
        ),
        ("syntax.lua", "return { \u{202e} }".to_owned()),
    ] {
        let file = write(path, name, &text);
        let flag = if name == "reject.lua" {
            "--admission-policy"
        } else {
            "--routing-policy"
        };
        clean(&run(&[flag, &file]), name);
        clean(&windtunnel(["policy", "check", &file]), name);
    }
    let file = write(
        path,
        "call.lua",
        "return { route = function() error('\\27[31m') end }",
    );
    let ran = run(&["--routing-policy", &file]);
    assert!(ran.stderr.contains("\\u{1b}[31m"), "{}", ran.stderr);
    assert_eq!(ran.code, 2);
}

#[test]
fn names_and_paths_are_written_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let quoted = "\\e[31mRED\\r\\u202eevil\\u009b2J\\x07\\n";
    let spec = format!(
        "clients: [{{id: \"a{quoted}\", tenant_id: \"t{quoted}\", slo_class: critical, rate_fraction: 1, input_distribution: {{type: constant, params: {{value: 50}}}}, output_distribution: {{type: constant, params: {{value: 5}}}}}}]\naggregate_rate: 20\nnum_requests: 20\n"
    );
    let spec = write(path, "spec.yaml", &spec);
    let base = [
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--num-instances",
        "2",
        "--quiet",
    ];
    let ran = windtunnel(base.iter().chain(&["--workload-spec", &spec]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    clean(&ran, "a run");
    for format in ["--json", "--quiet"] {
        clean(
            &windtunnel(base.iter().chain(&["--workload-spec", &spec, format])),
            format,
        );
    }
    clean(&windtunnel(["workload", "inspect", &spec]), "inspect");
    clean(
        &windtunnel(["workload", "inspect", &spec, "--json"]),
        "inspect --json",
    );
    clean(&windtunnel(["workload", "validate", &spec]), "validate");
    let named = path.join(format!("spec{HIDDEN}.yaml"));
    std::fs::write(&named, "clients: 5\n").expect("written");
    let named = named.display().to_string();
    for args in [
        vec![
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--workload-spec",
            &named,
        ],
        vec!["run", "--model", HIDDEN],
        vec![
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--routing-policy",
            HIDDEN,
        ],
        vec!["workload", "validate", &named],
        vec!["workload", "inspect", &named],
        vec!["policy", "check", &named],
        vec!["policy", "show", HIDDEN],
        vec!["score", &named],
        vec!["suite", "show", HIDDEN],
        vec!["models", HIDDEN],
        vec![HIDDEN],
        vec!["run", HIDDEN],
        vec!["run", "--num-requests", HIDDEN],
    ] {
        let ran = windtunnel(&args);
        // What cannot be scored has a score.
        assert_eq!(ran.code == 0, args[0] == "score", "{args:?}");
        clean(&ran, &format!("{args:?}"));
    }
}

/// The widest line of what is printed on so many columns.
fn widest(columns: &str, args: &[&str]) -> (usize, String) {
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .current_dir(crate::support::root())
        .args(args)
        .env("COLUMNS", columns)
        .output()
        .expect("started");
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    assert_eq!(ran.status.code(), Some(0), "{args:?}");
    // Sentences break by themselves, tables do not.
    let tables = text
        .lines()
        .filter(|line| line.starts_with(['│', '┌', '├', '└', '╞']));
    let widest = tables.map(|line| line.chars().count()).max();
    (widest.expect("a table"), text)
}

#[test]
fn tables_fit_the_terminal_and_say_what_they_leave_out() {
    let run = "run --model llama-3.1-8b-instruct --num-instances 3 --num-requests 12 --rate 20";
    let sweep = "sweep --model llama-3.1-8b-instruct --num-requests 8 --seeds 2 --quiet --grid rate=10,20 \
        --grid routing-policy=round-robin,least-loaded";
    for command in [run, sweep] {
        let args: Vec<&str> = command.split_whitespace().collect();
        let (narrow, text) = widest("70", &args);
        assert!(narrow <= 70, "{text}");
        assert!(
            text.contains("too narrow for: ") && text.contains("(--wide shows all)"),
            "{text}"
        );
        let (wide, text) = widest("70", &[&args[..], &["--wide"]].concat());
        assert!(wide > 70 && !text.contains("too narrow"), "{text}");
        let ran = windtunnel(&args);
        assert!(
            ran.stdout.lines().all(|l| l.chars().count() <= 110),
            "{}",
            ran.stdout
        );
        // No colours where nobody sees them.
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'));
    }
}
