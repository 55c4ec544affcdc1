//! Help, completions, and what the parser of flags says.

use crate::errors::Folder;

#[test]
fn the_parser_of_flags_suggests_the_nearest() {
    let folder = Folder::with(&[]);
    for (args, parts) in [
        (
            "run --model x --ratee 5",
            &["unexpected argument '--ratee'", "'--rate'"][..],
        ),
        (
            "run --model x --rate five",
            &["invalid value 'five' for '--rate <REQ/S>'"],
        ),
        (
            "run --model x --tp -1",
            &["invalid value '-1' for '--tp <TP>'"],
        ),
        (
            "run --model x --horizon 9223372036854775808",
            &["--horizon", "too large"],
        ),
        ("run --model x --rules bliss", &["'bliss'", "blis"]),
        (
            "run --model x --json --format blis",
            &["'--json' cannot be used with '--format"],
        ),
        ("run", &["--model is not given"]),
        ("replay --model x", &["<TRACE>"]),
        ("rum --model x", &["unrecognized subcommand 'rum'", "'run'"]),
    ] {
        let ran = folder.command(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        assert!(ran.stderr.starts_with("error: "), "{args}\n{}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{args}\n{}", ran.stderr);
        }
    }
    let alone = folder.command("");
    assert_eq!((alone.code, alone.stdout.as_str()), (2, ""));
    assert!(
        alone.stderr.contains("Usage: windtunnel"),
        "{}",
        alone.stderr
    );
}

#[test]
fn help_has_examples_and_fits_a_hundred_columns() {
    let folder = Folder::with(&[]);
    for command in [
        "",
        "run",
        "replay",
        "sweep",
        "queue-growth",
        "models",
        "plugin",
        "plugin new",
        "plugin inspect",
        "workload",
        "workload show",
        "workload validate",
        "workload convert",
        "workload compose",
        "workload generate",
        "fit",
        "verify",
        "observe",
        "calibrate",
        "score",
        "compare",
        "tune",
        "leaderboard",
        "leaderboard add",
        "leaderboard verify",
        "leaderboard renew",
        "leaderboard render",
        "completions",
        "doctor",
        "man",
        "emulate",
        "live",
        "replay-decisions",
    ] {
        for flag in ["--help", "-h"] {
            let ran = folder.command(&format!("{command} {flag}"));
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
            assert!(ran.stdout.contains("\n  windtunnel "), "{command}");
            for line in ran.stdout.lines() {
                assert!(line.chars().count() <= 100, "{command} {flag}: {line}");
            }
        }
    }
}

/// What a shell is told when it asks for the last of these words.
fn completed(words: &[&str]) -> Vec<String> {
    let last = (words.len() - 1).to_string();
    let asked = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .arg("--")
        .args(words)
        .env("WINDTUNNEL_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", last)
        .env("_CLAP_IFS", "\n")
        .output()
        .expect("started");
    assert!(
        asked.status.success() && asked.stderr.is_empty(),
        "{asked:?}"
    );
    let told = String::from_utf8(asked.stdout).expect("UTF-8");
    told.lines().map(str::to_owned).collect()
}

#[test]
fn shells_are_told_flags_and_names() {
    let folder = Folder::with(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = folder.command(&format!("completions {shell}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("WINDTUNNEL_COMPLETE"), "{shell}");
    }
    let run =
        |flag: &'static str, typed: &'static str| completed(&["windtunnel", "run", flag, typed]);
    assert_eq!(
        completed(&["windtunnel", "comp"]),
        ["compare", "completions"]
    );
    for (flag, typed, expected) in [
        ("--routing-policy", "least-l", "least-loaded"),
        ("--model", "llama-3.1-8b", "llama-3.1-8b-instruct"),
        ("--hardware", "H10", "H100"),
        ("--workload", "chat", "chatbot"),
        ("--scheduler", "edf-", "edf-triage"),
    ] {
        let told = run(flag, typed);
        assert!(told.iter().any(|name| name == expected), "{flag}: {told:?}");
        assert!(told.iter().all(|name| name.starts_with(typed)), "{told:?}");
    }
    assert_eq!(
        completed(&["windtunnel", "suite", "show", "routing-m"]),
        ["routing-mixed"]
    );
    // Without the words of a shell it is a command like any other.
    let plain = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(["suite", "list"])
        .env("WINDTUNNEL_COMPLETE", "bash")
        .output()
        .expect("started");
    assert!(String::from_utf8_lossy(&plain.stdout).contains("routing-mixed"));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::with(&[]);
    let ran = folder.command("man @/man1");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let page =
        |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).expect(name);
    assert!(page("windtunnel.1").contains("windtunnel\\-run(1)"));
    let run = page("windtunnel-run.1");
    assert!(
        run.contains("routing\\-policy") && run.contains("Examples"),
        "{run}"
    );
    assert!(page("windtunnel-suite-show.1").contains(".TH"));
    assert!(!folder.path().join("man1/windtunnel-worker.1").exists());
}

#[test]
fn the_doctor_finds_a_machine_that_runs_tests_fit() {
    let folder = Folder::with(&[]);
    let look = |variable: &str| {
        let looked = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
            .args(["doctor", "--json"])
            // Whoever runs the tests may have set variables of ours.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("WINDTUNNEL_CACHE_DIR", folder.path())
            .env(variable, "x")
            .output()
            .expect("started");
        assert!(looked.status.success(), "{looked:?}");
        serde_json::from_slice::<serde_json::Value>(&looked.stdout).expect("JSON")
    };
    let checks = look("WINDTUNNEL_TOKEN");
    let state = |checks: &serde_json::Value, name: &str| {
        let checks = checks.as_array().expect("checks");
        let check = checks.iter().find(|check| check["name"] == name);
        check.expect("a check")["state"].clone()
    };
    for name in ["simulation", "sandbox", "cache", "environment"] {
        assert_eq!(state(&checks, name), "fine", "{checks:#}");
    }
    let misspelt = look("WINDTUNNEL_CACHE_DIRS");
    assert_eq!(state(&misspelt, "environment"), "limited");
    assert!(
        misspelt
            .to_string()
            .contains("did you mean WINDTUNNEL_CACHE_DIR?")
    );
    let shown = folder.command("doctor");
    assert!(
        shown.code == 0 && shown.stdout.contains("a small run"),
        "{}",
        shown.stdout
    );
}

#[test]
fn short_help_has_what_most_need_and_long_help_all_of_it_in_groups() {
    let folder = Folder::with(&[]);
    for command in ["run", "replay", "sweep", "plan"] {
        let shown = |flag: &str| folder.command(&format!("{command} {flag}")).stdout;
        let (short, long) = (shown("-h"), shown("--help"));
        let has = |text: &str, flag: &str| {
            let words = text.lines().map(str::trim_start);
            words
                .filter(|line| line.starts_with('-'))
                .any(|line| line.split([' ', ',']).any(|word| word == flag))
        };
        for basic in [
            "--model",
            "--num-instances",
            "--slo-ttft",
            "--routing-policy",
        ] {
            assert!(has(&short, basic) && has(&long, basic), "{command} {basic}");
        }
        for advanced in ["--lora-config", "--pp", "--kv-cpu-blocks", "--beta-coeffs"] {
            assert!(!has(&short, advanced), "{command} {advanced}");
            assert!(has(&long, advanced), "{command} {advanced}");
        }
        let headings = [
            "Model and hardware:",
            "Serving engine:",
            "Analysis:",
            "Output:",
        ];
        for heading in headings {
            assert!(
                short.contains(heading) && long.contains(heading),
                "{command}"
            );
        }
        let flags = |text: &str| {
            text.lines()
                .filter(|l| l.trim_start().starts_with('-'))
                .count()
        };
        assert!(2 * flags(&short) < flags(&long), "{command}");
        let examples = |text: &str| text.find("\nExamples:").expect("examples");
        assert!(
            examples(&long) > long.find("\nOutput:").expect("a group"),
            "{command}"
        );
    }
}

#[test]
fn a_log_filter_that_makes_no_sense_is_refused() {
    let run = |directives: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
            .arg("models")
            .env("WINDTUNNEL_LOG", directives)
            .output()
            .expect("started")
    };
    let refused = run("===");
    let message = String::from_utf8(refused.stderr).expect("UTF-8");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    let beginning = "error: environment variable WINDTUNNEL_LOG=\"===\": ";
    assert!(message.starts_with(beginning), "{message}");
    assert_eq!(run("windtunnel=debug").status.code(), Some(0));
}
