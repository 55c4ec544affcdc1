//! What the documents say is so: their commands run, the output they quote is the real output,
//! their lists are complete.
//!
//! `WINDTUNNEL_UPDATE_DOCS=1 cargo test -p windtunnel --test all readme` writes the real output
//! into the documents.

use crate::support::{Ran, root, windtunnel};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use windtunnel_engine::instance::EngineRules;
use windtunnel_policy::Hook;
use windtunnel_policy::builtin::routing::weighted::SCORERS;
use windtunnel_policy::registry::built_ins;
use windtunnel_results::report::rows;
use windtunnel_results::report::sweep::{self, Clock};

/// A fenced block of a document.
struct Block {
    language: String,
    /// Line of the document, from 0, on which the text begins.
    line: usize,
    text: String,
}

/// Files below `folder` with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The documents that show commands.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![
        root().join("README.md"),
        root().join("CONTRIBUTING.md"),
        root().join("policies/README.md"),
    ];
    documents.extend(files(&root().join("docs"), "md"));
    documents
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.trim().to_owned(),
                    line: number + 1,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    blocks
}

/// The commands of a `sh` block: comments dropped, continued lines joined, texts that follow
/// `<<'EOF'` kept with their command.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut lines = joined.lines();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        let mut command = line.trim().to_owned();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        if command.ends_with(HERE) {
            for line in lines.by_ref() {
                command.push_str(&format!("\n{line}"));
                if line == "EOF" {
                    break;
                }
            }
        }
        commands.push(command);
    }
    commands
}

/// A command ends with this when its input follows, up to a line `EOF`.
const HERE: &str = "<<'EOF'";

/// A folder with what a clone has and the examples need. Commands write here, not into the project.
fn clone_of_examples() -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::copy(&path, &target).expect("a copy");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "policies",
        "docs/examples",
        "examples",
        "model_configs",
        "plugin-api/include",
        "plugins/c-example",
    ] {
        copy(&root().join(name), &folder.path().join(name));
    }
    for name in ["defaults.yaml", "hardware_config.json"] {
        fs::copy(root().join(name), folder.path().join(name)).expect("a copy");
    }
    folder
}

/// Runs a line of a document in `folder`. Of cargo's commands `cargo run` is run, with the command
/// already built, and `cargo build` of a new plugin, whose `target` is where the tests build
/// theirs.
fn run(line: &str, folder: &Path) -> Option<Output> {
    const CARGO_RUN: &str = "cargo run --release -- ";
    const CARGO_BUILD: &str = "cargo build --release --manifest-path ";
    let line = match line.strip_prefix(CARGO_RUN) {
        Some(arguments) => format!("windtunnel {arguments}"),
        None if line.starts_with("windtunnel ") || line.starts_with("cc ") => line.to_owned(),
        None if line.starts_with("cat > ") => line.to_owned(),
        None if line.starts_with(CARGO_BUILD) => {
            let manifest = Path::new(&line[CARGO_BUILD.len()..]);
            let place = folder.join(manifest).with_file_name("target");
            let shared = root().join("target/plugins");
            fs::create_dir_all(&shared).expect("a folder");
            #[cfg(unix)]
            std::os::unix::fs::symlink(shared, place).expect("a link");
            format!("{line} --offline --quiet")
        }
        None => {
            known(line);
            return None;
        }
    };
    let command = Path::new(env!("CARGO_BIN_EXE_windtunnel"));
    let mut path = vec![command.parent().expect("a folder").to_path_buf()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env_remove("WINDTUNNEL_LOG")
        .env_remove("CARGO_TARGET_DIR")
        .env("WINDTUNNEL_CACHE_DIR", folder.join("cache"))
        .output()
        .expect("a shell");
    Some(output)
}

/// Commands that are not run here must exist.
fn known(line: &str) {
    let xtask = fs::read_to_string(root().join("xtask/src/main.rs")).expect("the xtask");
    let fine = match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["cargo", "xtask", task, ..] => xtask.contains(&format!("[\"{task}\"")),
        ["cargo", "install", "--path", folder] => root().join(folder).join("Cargo.toml").is_file(),
        ["cargo", "test", ..] => true,
        // `cargo xtask test` runs them.
        [
            "cargo",
            "run",
            "--release",
            "-p",
            "windtunnel-sim",
            "--example",
            name,
        ] => {
            let examples = root().join("host/sim/examples");
            examples.join(name).with_extension("rs").is_file()
        }
        _ => false,
    };
    assert!(fine, "unknown command: {line}");
}

fn succeed(document: &Path, line: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}: `{line}` failed: {}",
        document.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Output lines as quoted, where a line `...` stands for any lines.
fn matches(quoted: &[&str], real: &[&str]) -> bool {
    match quoted.split_first() {
        None => real.is_empty(),
        Some((&"...", rest)) => (0..=real.len()).any(|skip| matches(rest, &real[skip..])),
        Some((line, rest)) => real
            .split_first()
            .is_some_and(|(r, real)| r.trim_end() == line.trim_end() && matches(rest, real)),
    }
}

/// What a command that must fail says.
fn fail(document: &Path, line: &str, output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}: `{line}` did not fail as wrong input does",
        document.display()
    );
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A `console` block, with the real output in place of the quoted one where they differ. The
/// commands of a `console error` block fail.
fn console(document: &Path, text: &str, folder: &Path, fails: bool) -> String {
    let mut renewed = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let command = line
            .strip_prefix("$ ")
            .unwrap_or_else(|| panic!("{}: output without a command: {line}", document.display()));
        let mut quoted = Vec::new();
        while let Some(output) = lines.next_if(|l| !l.starts_with("$ ")) {
            quoted.push(output);
        }
        let output = run(command, folder).expect("a command that can be run");
        let real = if fails {
            fail(document, command, &output)
        } else {
            succeed(document, command, &output)
        };
        renewed.push_str(&format!("{line}\n"));
        if matches(&quoted, &real.lines().collect::<Vec<_>>()) {
            quoted
                .iter()
                .for_each(|l| renewed.push_str(&format!("{l}\n")));
        } else {
            real.lines()
                .for_each(|l| renewed.push_str(&format!("{}\n", l.trim_end())));
        }
    }
    renewed
}

#[test]
fn every_command_of_the_documents_runs_and_quoted_output_is_real() {
    let update = std::env::var_os("WINDTUNNEL_UPDATE_DOCS").is_some();
    let mut ran = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let folder = clone_of_examples();
        // From the last block to the first would keep line numbers, but later commands read earlier
        // commands' files.
        let mut moved = 0_isize;
        for block in blocks(&text) {
            match block.language.as_str() {
                "sh" => {
                    for line in commands(&block.text) {
                        if let Some(output) = run(&line, folder.path()) {
                            succeed(&document, &line, &output);
                            ran += 1;
                        }
                    }
                }
                "console" | "console error" => {
                    let fails = block.language != "console";
                    let renewed = console(&document, &block.text, folder.path(), fails);
                    assert!(
                        update || renewed == block.text,
                        "{} line {}: the real output is\n{renewed}",
                        document.display(),
                        block.line
                    );
                    let old = block.text.lines().count();
                    let start = block.line.checked_add_signed(moved).expect("a line");
                    let new: Vec<String> = renewed.lines().map(str::to_owned).collect();
                    moved += new.len() as isize - old as isize;
                    lines.splice(start..start + old, new);
                    ran += 1;
                }
                _ => {}
            }
        }
        let renewed = lines.join("\n") + "\n";
        if update && renewed != text {
            fs::write(&document, renewed).expect("a writable document");
        }
    }
    assert!(ran >= 20, "only {ran} commands found");
}

/// Replays the example with request classes.
fn replay_classes(more: &[&str]) -> Ran {
    let example = [
        "replay",
        "--trace-header",
        "docs/examples/classes.yaml",
        "--trace-data",
        "docs/examples/classes.csv",
        "--model",
        "llama-3.1-8b-instruct",
    ];
    windtunnel(example.iter().chain(more))
}

#[test]
fn every_policy_bundle_runs_and_is_described() {
    let list = fs::read_to_string(root().join("policies/README.md")).expect("a document");
    for bundle in files(&root().join("policies"), "yaml") {
        let name = bundle.file_name().expect("a name").display().to_string();
        assert!(list.contains(&name), "{name} is not described");
        let ran = replay_classes(&[
            "--num-instances",
            "2",
            "--max-num-seqs",
            "16",
            "--json",
            "--policy-config",
            bundle.to_str().expect("UTF-8"),
        ]);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{name}: {}",
            ran.stdout
        );
        let result: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert!(result["completed_requests"].as_u64() > Some(100), "{name}");
    }
}

fn reference(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("a document")
}

/// Asserts that a document has every name in code font.
fn lists<'a>(document: &str, names: impl IntoIterator<Item = &'a str>) {
    let text = reference(document);
    for name in names {
        assert!(
            text.contains(&format!("`{name}`")),
            "{document} lacks `{name}`"
        );
    }
}

/// Names of properties, and words that stand for variants, anywhere in a schema.
fn properties(schema: &serde_json::Value, found: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
                found.extend(properties.keys().cloned());
            }
            if let Some(word) = object.get("const").and_then(|w| w.as_str()) {
                found.push(word.to_owned());
            }
            object.values().for_each(|v| properties(v, found));
        }
        serde_json::Value::Array(all) => all.iter().for_each(|v| properties(v, found)),
        _ => {}
    }
}

#[test]
fn the_references_are_complete() {
    for hook in Hook::ALL {
        for policy in built_ins(hook) {
            lists("reference/policies.md", [policy.name]);
            let keys = policy.bundle_keys.iter().map(|(key, _)| *key);
            lists("reference/policies.md", keys);
            let params = policy.params.iter().map(|param| param.name.as_ref());
            lists("reference/policies.md", params);
        }
    }
    let scorers = SCORERS.iter().map(|scorer| scorer.name);
    lists("reference/policies.md", scorers);
    lists("reference/results.md", rows::COLUMNS);
    lists("reference/results.md", rows::SPLIT);
    lists("reference/results.md", rows::GATEWAY);
    lists("reference/results.md", [rows::RETRIES, rows::RANK]);
    for clock in [Clock::Real, Clock::Ticks] {
        let columns = sweep::columns(&[], clock);
        lists("reference/results.md", columns.iter().map(String::as_str));
    }

    let examples = files(&root().join("host/sim/examples"), "rs");
    assert!(examples.len() >= 4, "{examples:?}");
    let examples = examples
        .iter()
        .filter_map(|path| path.file_stem()?.to_str());
    lists("guide/rust-api.md", examples);

    let schema = windtunnel_score::report::schema();
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("a schema");
    let mut words = Vec::new();
    properties(&schema, &mut words);
    assert!(words.len() > 60, "{words:?}");
    lists("reference/score.md", words.iter().map(String::as_str));

    let switches = format!("{:?}", EngineRules::BLIS);
    let switches: Vec<&str> = switches
        .split([' ', ','])
        .filter_map(|word| word.strip_suffix(':'))
        .collect();
    assert_eq!(switches.len(), 26, "{switches:?}");
    lists("concepts/rules.md", switches);

    let ran = replay_classes(&[
        "--fitness-weights",
        "throughput:1",
        "--trace-level",
        "decisions",
        "--summarize-trace",
        "--json",
    ]);
    let result: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    let all = [&result, &result["instances"][0], &result["latency_ms"]].map(keys);
    lists(
        "reference/results.md",
        all.iter().flatten().map(String::as_str),
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = documents();
    for name in [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "plugins/README.md",
        "host/tests/data/oracle/README.md",
    ] {
        documents.push(root().join(name));
    }
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let path = document.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: no file {target}", document.display());
        }
    }
}
