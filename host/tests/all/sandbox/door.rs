//! Files that are none, and files that others name.

use super::*;
use std::os::unix::fs::symlink;

const SCRIPT: &str = "return { score = function(req, inst) return -inst.in_flight end }\n";

fn pipe(folder: &Folder, name: &str) {
    let made = Command::new("mkfifo")
        .arg(folder.path().join(name))
        .status();
    assert!(made.expect("mkfifo runs").success());
}

#[test]
fn a_named_pipe_is_refused_wherever_a_file_is_expected() {
    let folder = Folder::with(&[("b.yaml", "routing: {policy: ./f.lua}\n")]);
    for name in ["f.lua", "f.so", "f.yaml", "f.csv", "config.json"] {
        pipe(&folder, name);
    }
    let run = "run --model llama-3.1-8b-instruct --num-requests 3";
    for args in [
        format!("{run} --policy-config @/f.yaml"),
        format!("{run} --policy-config @/b.yaml"),
        format!("{run} --routing-policy @/f.lua"),
        format!("{run} --routing-policy @/f.so"),
        format!("{run} --workload-spec @/f.yaml"),
        format!("{run} --workload @/f.csv"),
        format!("{run} --model-config-folder @"),
        "run --spec @/f.yaml".into(),
        "replay @/f.csv --model llama-3.1-8b-instruct".into(),
        "policy check @/f.lua".into(),
        "plugin inspect @/f.so".into(),
        "score @/f.lua".into(),
        "score llm-d --suite @/f.yaml".into(),
    ] {
        let ran = folder.command(&args);
        assert_eq!(ran.code, 2, "{args}: {}{}", ran.stdout, ran.stderr);
        let told = [
            "it is a named pipe",
            "it is a pipe or a device",
            "no such file",
            "not found",
        ];
        assert!(
            told.iter().any(|t| ran.stderr.contains(t)),
            "{args}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_sweep_writes_through_no_link_of_its_own_name() {
    let folder = Folder::with(&[("precious", "precious")]);
    symlink("precious", folder.path().join("s.csv.part")).expect("a link");
    pipe(&folder, "p.csv");
    for out in ["s.csv", "p.csv"] {
        let ran = folder.command(&format!(
            "sweep --model llama-3.1-8b-instruct --num-requests 3 --grid rate=1,2 --quiet --out @/{out}"
        ));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("no regular file"), "{}", ran.stderr);
    }
    let text = std::fs::read_to_string(folder.path().join("precious"));
    assert_eq!(text.expect("there"), "precious");
}

#[test]
fn what_the_caller_has_opened_is_read() {
    let program = env!("CARGO_BIN_EXE_windtunnel");
    let command = format!(
        "echo 'routing: {{policy: least-loaded}}' | {program} run --model llama-3.1-8b-instruct --num-requests 3 --num-instances 2 --quiet --policy-config /dev/stdin"
    );
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn files_of_a_candidate_lie_in_its_folder() {
    let scoring = Scoring::new();
    let folder = Folder::with(&[("secret", "root:x:0:0\n"), ("outside.lua", SCRIPT)]);
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("c")).expect("a folder");
    folder.write("c/good.lua", SCRIPT.as_bytes());
    symlink("../secret", at("c/secret.lua")).expect("a link");
    symlink("good.lua", at("c/link.lua")).expect("a link");
    pipe(&folder, "c/pipe.lua");
    let outside = at("outside.lua").display().to_string();
    for (policy, told) in [
        ("./good.lua", None),
        ("./link.lua", None),
        ("../c/good.lua", None),
        ("./secret.lua", Some("it lies outside the folder")),
        ("../outside.lua", Some("it lies outside the folder")),
        (outside.as_str(), Some("it lies outside the folder")),
        ("./pipe.lua", Some("it is a named pipe")),
    ] {
        folder.write(
            "c/b.yaml",
            format!("routing: {{policy: {policy}}}\n").as_bytes(),
        );
        let report = scoring.report(&at("c/b.yaml"), "--no-cache");
        let Some(told) = told else {
            assert_eq!(report["ok"], true, "{policy}: {}", report["errors"]);
            continue;
        };
        assert_eq!(report["ok"], false, "{policy}");
        let error = &report["errors"][0];
        assert_eq!(error["kind"], "policy");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(told), "{policy}: {message}");
        assert!(!report.to_string().contains("root:x"), "{policy}");
    }
    // A folder of candidates, too; a file that the command line names may be a link.
    std::fs::create_dir(at("all")).expect("a folder");
    symlink("../secret", at("all/a.lua")).expect("a link");
    let scored = scoring.score(&format!("--no-cache {}", at("all").display()));
    assert_eq!(scored.code, Some(2));
    assert!(
        scored.stderr.contains("it lies outside the folder"),
        "{}",
        scored.stderr
    );
    symlink("../outside.lua", at("all/b.lua")).expect("a link");
    let report = scoring.report(&at("all/b.lua"), "--no-cache");
    assert_eq!(report["ok"], true);
}
