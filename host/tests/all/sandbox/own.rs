//! Processes that run scripts themselves: what they give up, and that their output is the same.

use super::*;
use std::fs;
use windtunnel_base::input::write_whole;

const CHILD: &str = "WINDTUNNEL_TEST_CONFINED";
const SCRIPT: &str = "return { score = function(req, inst) return -inst.in_flight end }\n";

/// Runs in a process of its own, started by the test below.
#[cfg(target_os = "linux")]
#[test]
fn confined_child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let at = |name: &str| Path::new(&folder).join(name);
    let missing = windtunnel_score::sandbox::confine_own(&[at("out/results.csv")]);
    assert!(missing.is_empty(), "{missing:?}");
    // Its outputs, threads, and reading are left.
    write_whole(&at("out/results.csv"), |w| w.write_all(b"1")).expect("an output");
    write_whole(&at("out/results.csv"), |w| w.write_all(b"2")).expect("again");
    let joined = std::thread::spawn(|| 7).join();
    assert_eq!(joined.expect("a thread"), 7);
    assert_eq!(
        fs::read_to_string(at("precious")).expect("readable"),
        "precious"
    );
    assert!(fs::read_dir("/").expect("a folder").count() > 0);
    // Everything else is not.
    assert!(write_whole(&at("precious"), |w| w.write_all(b"x")).is_err());
    assert!(fs::write(at("precious"), "x").is_err());
    assert!(fs::write(at("new"), "x").is_err());
    assert!(fs::remove_file(at("precious")).is_err());
    assert!(fs::rename(at("precious"), at("out/stolen")).is_err());
    assert!(fs::create_dir(at("out/folder")).is_err());
    assert!(std::os::unix::fs::symlink("/etc", at("out/link")).is_err());
    assert!(fs::hard_link(at("precious"), at("out/link")).is_err());
    let setuid = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    assert!(fs::set_permissions(at("out/results.csv"), setuid).is_err());
    assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
    assert!(std::os::unix::net::UnixStream::pair().is_err());
    assert!(Command::new("/bin/true").status().is_err());
    // Nor what the system keeps for a process in files, be it its own.
    assert!(fs::write("/proc/self/oom_score_adj", "1000").is_err());
    println!("confined as it should be");
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_runs_scripts_writes_its_outputs_and_nothing_else() {
    let folder = Folder::with(&[("precious", "precious")]);
    fs::create_dir(folder.path().join("out")).expect("a folder");
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "sandbox::own::confined_child", "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("confined as it should be"),
        "{said}{errors}"
    );
    assert_eq!(folder.names(), ["out", "precious"]);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
    assert_eq!(
        (read("precious"), read("out/results.csv")),
        ("precious".into(), "2".into())
    );
}

/// Number of filters of system calls that a command's process has while it runs.
#[cfg(target_os = "linux")]
fn filters_of(args: &str) -> u32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command
        .args(args.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let mut most = 0;
    while child.try_wait().expect("asked").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("Seccomp_filters:"));
        most = most.max(line.and_then(|n| n.trim().parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

#[cfg(target_os = "linux")]
#[test]
fn commands_confine_themselves_before_a_script_from_a_file_and_not_otherwise() {
    let folder = Folder::with(&[
        ("p.lua", SCRIPT),
        ("b.yaml", "routing: {policy: ./p.lua}\n"),
    ]);
    let here = folder.path().display();
    let run = format!(
        "model: llama-3.1-8b-instruct\npools: [{{count: 2}}]\nworkload: {{rate: 5.0, num_requests: 20000}}\npolicies: {{routing: {here}/p.lua, trusted: true}}\n"
    );
    folder.write("run.yaml", run.as_bytes());
    let some = "--model llama-3.1-8b-instruct --num-instances 2 --num-requests 20000 --quiet";
    // A container has some of its own.
    let outside = filters_of(&format!("run {some} --routing-policy least-loaded"));
    // A look from outside can come too late for a short command.
    let confined = |args: &str| (0..5).any(|_| filters_of(args) > outside);
    for args in [
        format!("run {some} --routing-policy {here}/p.lua"),
        format!("run {some} --policy-config {here}/b.yaml"),
        format!("sweep {some} --routing-policy {here}/p.lua --grid rate=1,2 --out {here}/s.csv"),
        format!("policy check {here}/p.lua"),
        // That a file trusts its script is not for the file to say.
        format!("run --spec {here}/run.yaml --quiet"),
    ] {
        assert!(confined(&args), "{args}");
    }
    assert!(!confined(&format!(
        "run {some} --routing-policy {here}/p.lua --trusted"
    )));
}

#[test]
fn outputs_of_a_confined_run_are_those_of_a_trusted_one() {
    let folder = Folder::with(&[("p.lua", SCRIPT)]);
    let outputs = "--results-path @/N.csv --metrics-path @/N.json --trace-output @/N-trace --trace-level decisions --decisions-path @/N.jsonl";
    let run = |name: &str, more: &str| {
        let outputs = outputs.replace("@/N", &format!("@/{name}"));
        folder.command(&format!(
            "run --model llama-3.1-8b-instruct --num-instances 3 --num-requests 200 --rate 20 --quiet --routing-policy @/p.lua {outputs} {more}"
        ))
    };
    let (confined, trusted) = (run("a", ""), run("b", "--trusted"));
    assert_eq!(
        (confined.code, trusted.code),
        (0, 0),
        "{}{}",
        confined.stderr,
        trusted.stderr
    );
    let plain = |text: &str| text.replace("trusted", "").replace("@/b", "@/a");
    assert_eq!(plain(&confined.stdout), plain(&trusted.stdout));
    for ending in [".csv", ".json", "-trace.yaml", "-trace.csv", ".jsonl"] {
        let read =
            |name: &str| fs::read(folder.path().join(format!("{name}{ending}"))).expect(ending);
        assert!(read("a") == read("b"), "{ending}");
    }
    // An output that is there keeps its permissions, one that is a link leads where it did.
    use std::os::unix::fs::{PermissionsExt, symlink};
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("elsewhere")).expect("a folder");
    symlink("elsewhere/c.csv", at("c.csv")).expect("a link");
    fs::write(at("elsewhere/c.csv"), "").expect("written");
    fs::set_permissions(at("elsewhere/c.csv"), fs::Permissions::from_mode(0o604)).expect("set");
    let again = run("c", "");
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(
        fs::symlink_metadata(at("c.csv"))
            .expect("there")
            .is_symlink()
    );
    assert!(fs::read(at("c.csv")).expect("there") == fs::read(at("a.csv")).expect("there"));
    let mode = fs::metadata(at("elsewhere/c.csv"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o604);
}
