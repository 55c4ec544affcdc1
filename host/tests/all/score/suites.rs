//! Wrong suites and wrong input: the message names the place, and the exit code is 2.

use super::harness::{Scoring, data, score_of};
use crate::support::root;
use serde_json::{Value, json};
use std::path::Path;
use windtunnel_score::{Candidate, Suite, suite_names};

/// A folder with a suite of which one thing was changed, and its workloads.
fn changed(from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["chat.yaml", "batch.yaml"] {
        std::fs::copy(data().join(name), folder.path().join(name)).expect("copied");
    }
    let suite = std::fs::read_to_string(data().join("suite.yaml")).expect("the suite");
    assert!(suite.contains(from), "{from}");
    std::fs::write(
        folder.path().join("suite.yaml"),
        suite.replacen(from, to, 1),
    )
    .expect("written");
    folder
}

#[test]
fn errors_of_suites_name_their_place() {
    let scoring = Scoring::new();
    for (from, to, message) in [
        (
            "requests: 240",
            "requets: 240",
            "@:6:1: unknown key \"requets\"; did you mean \"requests\"?",
        ),
        (
            "{metric: miss_rate,",
            "{metric: mis_rate,",
            "@:25:14: unknown value \"mis_rate\"; did you mean \"miss_rate\"?",
        ),
        (
            "{metric: ttft_mean}",
            "{metric: ttft_mean, wieght: 2}",
            "@:23:",
        ),
        ("requests: 240", "requests: many", "@:6:11: "),
        (
            "id: heavy",
            "id: light",
            "@: scenarios.train: \"light\" is there twice",
        ),
        (
            "id: secret-val",
            "id: light",
            "@: scenarios.val: \"light\" is there twice",
        ),
        (
            "hooks: [admission, routing, scheduler]",
            "hooks: [routng]",
            "@: unknown hook \"routng\"; did you mean \"routing\"?",
        ),
        (
            "requests: 240",
            "requests: 0",
            "@: requests is 0; expected 1 or more",
        ),
        (
            "ttft: \"critical=300ms,1s\"",
            "ttft: \"soon\"",
            "@: scenario light: ",
        ),
        (
            "{routing: {policy: round-robin}}",
            "{routing: {policy: rond-robin}}",
            "@: references.round-robin.",
        ),
        (
            "rate: 30, seed: 11",
            "rate: -1, seed: 11",
            "@: scenario light: the rate is -1; expected requests per second above 0",
        ),
        (
            "workload: batch.yaml, rate: 20",
            "workload: none.yaml, rate: 20",
            "/none.yaml: cannot read: no such file or folder",
        ),
        (
            "workload: batch.yaml, rate: 20",
            "rate: 20",
            "@: scenario long: expected either a workload or a trace",
        ),
        (
            "model: llama-3.1-8b-instruct",
            "model: llama-4.1-8b",
            "scenario light: ",
        ),
        ("hardware: H100", "hardware: H1000", "scenario light: "),
        (
            "instances: 3",
            "instances: 0",
            "scenario light: instances must be at least 1, found 0",
        ),
        (
            "fitted_under: blis",
            "fitted_under: vllm",
            "scenario light: fitted_under is vllm, but its step-time model was fitted under blis rules",
        ),
        ("name: tiny", "name: tiny\nname: tiny", "@:3:1: "),
        (
            "name: tiny",
            "name: ../tiny",
            "@: name is \"../tiny\"; expected letters, digits, \"-\", \"_\" and \".\", with no \".\" at the beginning",
        ),
        ("name: tiny", "name: .tiny", "@: name is \".tiny\"; "),
        ("name: tiny", "name: \"\"", "@: name is \"\"; "),
    ] {
        let folder = changed(from, to);
        let suite = folder.path().join("suite.yaml").display().to_string();
        let scored = scoring.run(&format!("score --suite {suite} least-loaded"));
        assert_eq!(
            (scored.code, scored.stdout.as_str()),
            (Some(2), ""),
            "{to}\n{}",
            scored.stderr
        );
        let said = scored
            .stderr
            .strip_prefix("error: ")
            .expect("an error")
            .replace(&suite, "@");
        assert!(said.contains(message), "{to}\n{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{to}\n{said}");
    }
    let folder = changed("name: tiny", "name: tiny");
    let path = folder.path().join("chat.yaml");
    let chat = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, chat.replacen("rate_fraction", "rate_fracton", 1)).unwrap();
    let suite = folder.path().join("suite.yaml").display().to_string();
    let scored = scoring.run(&format!("score --suite {suite} least-loaded"));
    assert_eq!(scored.code, Some(2));
    assert!(
        scored
            .stderr
            .contains("chat.yaml:9:5: unknown key \"rate_fracton\""),
        "{}",
        scored.stderr
    );
    let sessions = "    reasoning: {multi_turn: {max_rounds: 3, think_time_us: 100, context_growth: accumulate}}\n    closed_loop: true\n";
    std::fs::write(
        &path,
        chat.replacen(
            "    prefix_group: a\n",
            &format!("    prefix_group: a\n{sessions}"),
            1,
        ),
    )
    .unwrap();
    let scored = scoring.run(&format!("score --suite {suite} least-loaded"));
    assert_eq!(scored.code, Some(2), "{}", scored.stdout);
    assert!(
        scored.stderr.contains("scenario light: its sessions wait for answers, so the offered load would hang on the policy"),
        "{}",
        scored.stderr
    );
}

#[test]
fn a_suite_may_be_anywhere_and_name_files_elsewhere() {
    let scoring = Scoring::new();
    let folder = changed(
        "{routing: {policy: round-robin}}",
        "{routing: {policy: ../own/rr.lua}}",
    );
    let inner = folder.path().join("inner");
    std::fs::create_dir_all(folder.path().join("own")).unwrap();
    std::fs::create_dir(&inner).unwrap();
    let script = "return { route = function(req, insts) return 1 + req.serial % #insts end }";
    std::fs::write(folder.path().join("own/rr.lua"), script).unwrap();
    let suite = std::fs::read_to_string(folder.path().join("suite.yaml")).unwrap();
    std::fs::write(
        inner.join("suite.yaml"),
        suite.replace("workload: ", "workload: ../"),
    )
    .unwrap();
    std::fs::write(inner.join("p.lua"), script).unwrap();
    let mut command = scoring.command("score --suite suite.yaml --json p.lua");
    command.current_dir(&inner);
    let report = scoring.finish(command).report();
    assert_eq!(report["ok"], true);
    assert_eq!(report["vs"]["per_scenario_best"]["light"], "round-robin");
    assert_eq!(score_of(&report), 0.0, "it is as good as its twin");
}

impl Scoring {
    /// Scores the candidates of standard input.
    fn with_input(&self, input: &[u8]) -> super::harness::Scored {
        let mut command = self.command(&format!("score --suite {} -", self.suite()));
        let file = self.cache.path().join("input");
        std::fs::write(&file, input).unwrap();
        command.stdin(std::fs::File::open(&file).unwrap());
        self.finish(command)
    }
}

fn lines(scoring: &Scoring, input: &str) -> super::harness::Scored {
    scoring.with_input(input.as_bytes())
}

#[test]
fn lines_of_candidates_are_answered_in_order() {
    let scoring = Scoring::new();
    let good = "return { route = function(req, insts) return 1 + req.serial % #insts end }";
    let text = |id: &str, candidate: Value| json!({ "id": id, "candidate": candidate }).to_string();
    let many: Vec<String> = (0..60)
        .map(|k| match k % 4 {
            0 => text(&k.to_string(), good.into()),
            1 => text(&k.to_string(), json!({ "routing": good, "scheduler": "return { key = function(req) return -req.prompt_tokens end }" })),
            2 => text(&k.to_string(), "return {".into()),
            _ => text(&k.to_string(), "x".repeat(200_000).into()),
        })
        .collect();
    let reports = lines(&scoring, &(many.join("\n") + "\n\n")).reports();
    assert_eq!(reports.len(), 60);
    for (k, report) in reports.iter().enumerate() {
        assert_eq!(report["candidate"], k.to_string());
        assert_eq!(report["ok"], k % 4 < 2, "{report}");
        assert_eq!(score_of(report), score_of(&reports[k % 4]));
    }
    let one = json!({ "candidate": good, "scenarios": ["long"] }).to_string();
    let reports = lines(&scoring, &one).reports();
    assert_eq!(reports[0]["candidate"], "candidate-1");
    assert_eq!(reports[0]["scenarios"].as_array().map(Vec::len), Some(1));
    assert!(lines(&scoring, "").reports().is_empty());
}

#[test]
fn errors_of_lines_name_their_place_and_the_other_lines_are_scored() {
    let scoring = Scoring::new();
    let text = "return { route = function(req, insts) return 1 end }";
    let good = json!({ "candidate": text }).to_string();
    let scenarios = |list: &str| format!("{{\"candidate\": \"x\", \"scenarios\": [{list}]}}");
    for (line, message) in [
        ("not json", "standard input:2:2: expected ident"),
        ("{\"candidate\": 5}", "standard input:2:"),
        (
            "{\"candidte\": \"x\"}",
            "standard input:2:11: unknown field `candidte`",
        ),
        ("{\"candidate\": {\"router\": \"x\"}}", "standard input:2:"),
        (
            &scenarios("\"ligt\""),
            "standard input:2:1: unknown scenario of tiny@1 train \"ligt\"; did you mean \"light\"?",
        ),
        (&scenarios(""), "scenarios: the list is empty"),
        (
            &scenarios("\"light\", \"heavy\", \"light\""),
            "the scenario \"light\" is named twice",
        ),
    ] {
        let scored = lines(&scoring, &format!("{good}\n{line}\n{good}\n"));
        assert_eq!(scored.code, Some(2), "{line}");
        assert!(
            scored.stderr.starts_with("error: ") && scored.stderr.contains(message),
            "{}",
            scored.stderr
        );
        let reports: Vec<Value> = scored
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a report"))
            .collect();
        let [first, wrong, last] = &reports[..] else {
            panic!("a report for each line: {}", scored.stdout);
        };
        assert!(first["ok"] == true && last["ok"] == true, "{line}");
        assert_eq!(first["score"], last["score"]);
        assert_eq!((&wrong["ok"], score_of(wrong)), (&false.into(), -100.0));
        let error = &wrong["errors"][0];
        assert_eq!(
            (&error["file"], &error["line"]),
            (&"standard input".into(), &2.into())
        );
        assert!(
            error["message"].as_str().expect("a text").contains(message),
            "{error}"
        );
    }
    let mut bytes = good.clone().into_bytes();
    bytes.extend(b"\n\"\xff\"\n");
    let scored = scoring.with_input(&bytes);
    assert!(
        scored
            .stderr
            .contains("standard input:2:2: a byte that is no UTF-8"),
        "{}",
        scored.stderr
    );
    assert_eq!(scored.stdout.lines().count(), 2);
}

#[test]
fn flags_without_effect_are_refused() {
    let scoring = Scoring::new();
    for (flags, message) in [
        ("--stage smoke --seeds 2", "--seeds does nothing here"),
        ("--stage quick --seeds auto", "--seeds does nothing here"),
        (
            "--stage smoke --scenario light",
            "--scenario does nothing here",
        ),
        (
            "--stage quick --incumbent 3",
            "--incumbent does nothing here",
        ),
        (
            "--stage full --incumbent 3",
            "--incumbent does nothing here",
        ),
        ("--split val --incumbent 3", "--incumbent does nothing here"),
        ("--incumbent nan", "--incumbent is NaN; expected a number"),
        (
            "--scenario light --scenario light",
            "\"light\" is named twice",
        ),
    ] {
        let scored = scoring.score(&format!("{flags} least-loaded"));
        assert_eq!((scored.code, &*scored.stdout), (Some(2), ""), "{flags}");
        assert!(
            scored.stderr.contains(message),
            "{flags}: {}",
            scored.stderr
        );
    }
}

#[test]
fn a_reference_is_not_taken_for_the_policy_that_has_its_name() {
    let digest = |candidate: Candidate| candidate.digest().expect("it has one");
    let policy = Candidate::open("least-loaded").expect("a policy");
    assert_ne!(digest(policy), digest(Candidate::reference("least-loaded")));
}

#[test]
fn shipped_suites_have_a_certificate_that_they_pass() {
    for name in suite_names() {
        let path = root().join(format!("suites/certificates/{name}.json"));
        let text =
            std::fs::read_to_string(&path).expect("suites/certificates has one for each suite");
        let certificate: Value = serde_json::from_str(&text).expect("JSON");
        let suite = Suite::open(name, None).expect("a suite");
        assert_eq!(
            certificate["digest"],
            suite.digest(),
            "{name} has changed: windtunnel suite certify {name} --json > suites/certificates/{name}.json"
        );
        assert_eq!(certificate["passes"], true, "{name}");
    }
}

#[test]
fn certificates_name_the_criteria_that_suites_fail() {
    let scoring = Scoring::new();
    let suite = scoring.suite();
    let run = |flags: &str| scoring.run(&format!("suite certify {suite} {flags}"));
    let scored = run("--split train --json");
    assert_eq!(scored.code, Some(2));
    let certificate: Value = serde_json::from_str(&scored.stdout).expect("JSON");
    assert_eq!(certificate["passes"], false);
    let scenarios = certificate["scenarios"].as_array().expect("a list");
    assert_eq!(scenarios.len(), 3);
    let number = |s: &Value, key: &str| s[key].as_f64().expect("a number");
    for s in scenarios {
        // Two seeds a scoring, four scorings.
        assert_eq!(s["seeds"], 8);
        let costs = s["costs"].as_object().expect("costs");
        assert_eq!(costs.len(), 3);
        let most = costs.values().filter_map(Value::as_f64).fold(0.0, f64::max);
        assert!((most - number(s, "spread")).abs() < 1e-9, "{s}");
        assert_eq!(costs[s["best"].as_str().expect("a name")], 0.0);
        assert!((-1.0..=1.0).contains(&number(s, "stability")), "{s}");
    }
    for s in scenarios {
        let failures = s["failures"].to_string();
        let load = number(s, "load");
        for (short, says) in [
            (number(s, "spread") < 5.0, "spread below 5"),
            (number(s, "stability") < 0.9, "ranks agree less than 0.9"),
            (number(s, "headroom") < 3.0, "headroom below 3"),
            (!(0.6..=2.0).contains(&load), "load outside 0.6 to 2"),
        ] {
            assert_eq!(failures.contains(says), short, "{says}: {s}");
        }
    }
    let load = |id: &str| number(scenarios.iter().find(|s| s["id"] == id).expect(id), "load");
    assert!(
        load("heavy") > load("light"),
        "heavy has four times the requests"
    );
    let one = run("--split val --seeds 1 --json");
    let one: Value = serde_json::from_str(&one.stdout).expect("JSON");
    assert!(
        one["scenarios"][0]["stability"].is_null(),
        "one seed agrees with nothing"
    );
    let failures = one["scenarios"][0]["failures"].to_string();
    assert!(failures.contains("ranks were not compared"), "{failures}");
    let scored = run("--split train --seeds 3");
    assert!(scored.stderr.contains("do not pass"), "{}", scored.stderr);
    assert!(scored.stdout.contains("┆ heavy "), "{}", scored.stdout);
}

#[test]
fn wrong_arguments_are_refused() {
    let scoring = Scoring::new();
    for (flags, message) in [
        ("round-robn", "\"round-robn\" is no policy, file or folder"),
        (
            "--scenario ligt round-robin",
            "unknown scenario of tiny@1 train \"ligt\"; did you mean \"light\"?",
        ),
        (
            "--seeds 0 round-robin",
            "--seeds is \"0\"; expected auto, or 1 to 1000",
        ),
        ("--jobs 0 round-robin", "--jobs must be at least 1, found 0"),
        (
            "- round-robin",
            "- takes all candidates from standard input; drop the others",
        ),
    ] {
        let scored = scoring.score(flags);
        assert_eq!(
            (scored.code, scored.stdout.as_str()),
            (Some(2), ""),
            "{flags}"
        );
        assert!(scored.stderr.contains(message), "{}", scored.stderr);
    }
    let scored = scoring.run(&format!(
        "score --suite {} round-robin",
        Path::new("tini").display()
    ));
    assert!(
        scored.stderr.contains("unknown suite \"tini\""),
        "{}",
        scored.stderr
    );
}

/// Where the files of a suite really are is elsewhere.
#[cfg(unix)]
#[test]
fn files_behind_links_can_be_read() {
    let scoring = Scoring::new();
    let there = changed("name: tiny", "name: tiny");
    let here = tempfile::tempdir().expect("a folder");
    for name in ["suite.yaml", "chat.yaml", "batch.yaml"] {
        let (from, to) = (there.path().join(name), here.path().join(name));
        std::os::unix::fs::symlink(from, to).expect("a link");
    }
    let suite = here.path().join("suite.yaml").display().to_string();
    let scored = scoring.run(&format!(
        "score --suite {suite} --json --scenario light round-robin"
    ));
    assert_eq!(scored.report()["ok"], true);
}

#[test]
fn files_that_workloads_name_are_part_of_a_suite() {
    let scoring = Scoring::new();
    let folder = changed("name: tiny", "name: tiny");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let weights = elsewhere.path().join("weights.csv");
    let workload = folder.path().join("chat.yaml");
    let text = std::fs::read_to_string(&workload).expect("there");
    let lognormal = "{type: lognormal, params: {mu: 4.5, sigma: 0.8, min: 8, max: 800}}";
    assert!(text.contains(lognormal));
    let empirical = format!("{{type: empirical, file: \"{}\"}}", weights.display());
    std::fs::write(&workload, text.replace(lognormal, &empirical)).expect("written");
    let suite = folder.path().join("suite.yaml").display().to_string();
    let key = |text: &str| {
        std::fs::write(&weights, text).expect("written");
        let args = format!("score --suite {suite} --json --scenario light round-robin");
        let report = scoring.run(&args).report();
        (
            report["key"]["suite"].clone(),
            report["key"]["runs"].clone(),
        )
    };
    let (short, long) = (key("64,1\n"), key("640,1\n"));
    assert_ne!(short.0, long.0, "another digest");
    assert_ne!(short.1, long.1, "and not what the cache has of the old one");
    assert_eq!(key("64,1\n"), short);
}

#[test]
fn unknown_parameters_are_refused_with_the_nearest_name() {
    let scoring = Scoring::new();
    let text = "--@param weight = 1, 0..10  A weight.\nreturn { score = function(req, inst) return -cfg.weight * inst.in_flight end }";
    let line = |candidate: Value, params: Value| {
        json!({ "candidate": candidate, "params": params, "scenarios": ["light"] }).to_string()
    };
    let told = |candidate: Value, params: Value| {
        let report = lines(&scoring, &line(candidate, params))
            .reports()
            .remove(0);
        (
            report["ok"].clone(),
            report["errors"][0]["kind"].clone(),
            report["errors"][0]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    for (candidate, params, message) in [
        (
            text.into(),
            json!({ "wieght": 2 }),
            "unknown parameter \"wieght\"; did you mean \"weight\"? valid: weight",
        ),
        (
            text.into(),
            json!({ "admission.weight": 2 }),
            "unknown parameter \"admission.weight\"; did you mean \"routing.weight\"? valid: routing.weight",
        ),
        (
            json!({ "routing": text }),
            json!({ "routing.weihgt": 2 }),
            "did you mean \"routing.weight\"?",
        ),
        (
            "return { route = function() return 1 end }".into(),
            json!({ "weight": 2 }),
            "\"weight\": no policy of this candidate declares parameters",
        ),
    ] {
        let (ok, kind, said) = told(candidate, params);
        assert_eq!((ok, kind), (false.into(), "policy".into()), "{said}");
        assert!(said.contains(message), "{said}");
    }
    for params in [json!({ "weight": 2 }), json!({ "routing.weight": 2 })] {
        assert_eq!(told(text.into(), params.clone()).0, true, "{params}");
        assert_eq!(told(json!({ "routing": text }), params).0, true);
    }
}

#[test]
fn a_class_that_no_scenario_has_is_noted() {
    let scoring = Scoring::new();
    let folder = changed("critical=300ms,1s", "critcal=300ms,1s");
    let suite = folder.path().join("suite.yaml").display().to_string();
    let scored = scoring.run(&format!("score --suite {suite} least-loaded"));
    let note = "note: slo.ttft of tiny@1 names the class \"critcal\", which no request of its \
        scenarios has; did you mean \"critical\"? (their classes: ";
    assert!(scored.stderr.contains(note), "{}", scored.stderr);
}
