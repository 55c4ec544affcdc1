//! `windtunnel sweep`: rows are runs, whatever the number of threads and however often it was
//! interrupted.

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BASE: &str = "sweep --model llama-3.1-8b-instruct --num-instances 2 --num-requests 40";

fn sweep(folder: &Folder, flags: &str) -> Ran {
    let ran = folder.command(&format!("{BASE} {flags}"));
    assert_eq!(ran.code, 0, "{flags}\n{}", ran.stderr);
    ran
}

/// The one line that a refused sweep says; nothing is written.
fn refused(folder: &Folder, flags: &str) -> String {
    let before = contents(folder);
    let ran = folder.command(&format!("sweep {flags}"));
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (2, ""),
        "{flags}\n{}",
        ran.stderr
    );
    assert_eq!(contents(folder), before, "{flags}");
    let message = ran
        .stderr
        .replace(&folder.path().display().to_string(), "@");
    let message = message.strip_prefix("error: ").expect("an error");
    let message = message.strip_suffix('\n').expect("a line");
    assert!(!message.contains('\n'), "{flags}\n{message}");
    message.to_owned()
}

fn contents(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let names = folder.names().into_iter();
    let read = |name: String| {
        let bytes = fs::read(folder.path().join(&name)).unwrap_or_default();
        (name, bytes)
    };
    names.map(read).collect()
}

fn text(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("a file")
}

/// A row by column.
type Row = BTreeMap<String, String>;

fn rows(folder: &Folder, name: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder.path().join(name)).expect("a file");
    let rows = reader.deserialize::<Row>();
    rows.map(|row| row.expect("a row")).collect()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().expect("a number")
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// Asserts that a row has the numbers of a single run.
fn same(row: &Row, run: &Value) {
    let summed = |keys: [&str; 2]| keys.map(|k| run[k].as_f64().unwrap_or(0.0)).iter().sum();
    let l = &run["latency_ms"];
    let expected: [(&str, f64); 14] = [
        ("arrived", run["arrivals"].as_f64().unwrap()),
        ("completed", run["completed_requests"].as_f64().unwrap()),
        (
            "rejected",
            summed(["rejected_by_admission", "rejected_by_routing"]),
        ),
        ("requests_per_s", run["responses_per_sec"].as_f64().unwrap()),
        (
            "output_tokens_per_s",
            run["tokens_per_sec"].as_f64().unwrap(),
        ),
        ("ttft_p50_ms", l["ttft"]["p50"].as_f64().unwrap()),
        ("ttft_p99_ms", l["ttft"]["p99"].as_f64().unwrap()),
        ("itl_mean_ms", l["itl"]["mean"].as_f64().unwrap()),
        ("tpot_p99_ms", l["tpot"]["p99"].as_f64().unwrap()),
        ("e2e_mean_ms", l["e2e"]["mean"].as_f64().unwrap()),
        ("e2e_p90_ms", l["e2e"]["p90"].as_f64().unwrap()),
        (
            "scheduling_delay_p99_ms",
            l["scheduling_delay"]["p99"].as_f64().unwrap(),
        ),
        (
            "kv_peak_utilization",
            run["kv_peak_utilization"].as_f64().unwrap(),
        ),
        ("cache_hit_rate", run["cache_hit_rate"].as_f64().unwrap()),
    ];
    for (column, value) in expected {
        assert_eq!(number(row, column), value, "{column}");
    }
    for (column, value) in [
        ("slo_attainment", &run["goodput"]["attainment"]),
        ("fitness", &run["fitness"]["score"]),
    ] {
        assert_eq!(row[column].parse().ok(), value.as_f64(), "{column}");
    }
}

#[test]
fn each_row_is_the_single_run() {
    let folder = Folder::with(&[]);
    let shared = "--prefix-tokens 64 --slo-ttft 25ms --fitness-weights throughput:1 --routing-policy weighted";
    sweep(
        &folder,
        &format!(
            "{shared} --seed 7 --seeds 2 --out @/s.csv --grid rate=20,200 --grid max-num-seqs=4,64 \
             --grid routing-scorers=queue-depth:1;precise-prefix-cache:2,queue-depth:1"
        ),
    );
    let rows = rows(&folder, "s.csv");
    assert_eq!(rows.len(), 16);
    for row in rows {
        let run = folder.run(&format!(
            "--json --num-instances 2 --num-requests 40 {shared} --seed {} --rate {} --max-num-seqs {} --routing-scorers {}",
            row["seed"], row["rate"], row["max-num-seqs"], row["routing-scorers"]
        ));
        same(&row, &json(&run));
    }
}

#[test]
fn models_switches_bundle_keys_and_traces_can_vary() {
    let folder = Folder::with(&[(
        "b.yaml",
        "scheduler: fcfs\nrouting:\n  policy: weighted\n  scorers:\n    - name: queue-depth\n      weight: 1\n    - name: precise-prefix-cache\n      weight: 1\n",
    )]);
    let quiet = |flags: &str| json(&folder.command(&format!("sweep --json {flags}")));
    let models = quiet(
        "--grid model=llama-3.1-8b-instruct,qwen3-14b --hardware H100 --tp 1 --num-requests 5",
    );
    assert_eq!(models.as_array().map(Vec::len), Some(2));
    assert_ne!(models[0]["ttft_mean_ms"], models[1]["ttft_mean_ms"]);

    let base = "--model llama-3.1-8b-instruct --num-instances 2 --num-requests 60 --rate 300 --prefix-tokens 512 --max-num-seqs 4";
    let keys = quiet(&format!(
        "{base} --policy-config @/b.yaml --grid bundle:scheduler=fcfs,sjf --grid bundle:routing.scorers.1.weight=1,8"
    ));
    let bundle = |scheduler: &str, weight: u32| {
        let text = text(&folder, "b.yaml").replace("fcfs", scheduler);
        let (head, tail) = text.rsplit_once("weight: 1").expect("a weight");
        folder.write(
            "one.yaml",
            format!("{head}weight: {weight}{tail}").as_bytes(),
        );
        let run = json(&folder.command(&format!("run --json {base} --policy-config @/one.yaml")));
        run["latency_ms"]["e2e"]["mean"].clone()
    };
    let points = [("fcfs", 1), ("fcfs", 8), ("sjf", 1), ("sjf", 8)];
    for (k, (scheduler, weight)) in points.into_iter().enumerate() {
        assert_eq!(
            keys[k]["e2e_mean_ms"],
            bundle(scheduler, weight),
            "{scheduler} {weight}"
        );
        assert_eq!(keys[k]["bundle:scheduler"], scheduler);
        assert_eq!(keys[k]["bundle:routing.scorers.1.weight"], weight);
    }

    let switch = quiet(&format!("{base} --grid summary-only=true,false"));
    assert_eq!(switch[0]["e2e_p99_ms"], switch[1]["e2e_p99_ms"]);
    assert_eq!(switch[0]["summary-only"], "true");

    let traces = quiet(
        "--model llama-3.1-8b-instruct --grid workload=docs/examples/azure.csv,distribution --rate 30 --seeds 2",
    );
    let run = json(&folder.run("--json --workload docs/examples/azure.csv"));
    assert_eq!(traces[0]["e2e_mean_ms"], run["latency_ms"]["e2e"]["mean"]);
    assert_eq!(traces[3]["seed"], 43);
}

#[test]
fn a_shared_flag_may_be_idle_in_some_runs_but_not_in_all() {
    let folder = Folder::with(&[]);
    sweep(
        &folder,
        "--token-bucket-capacity 900 --grid admission-policy=always-admit,token-bucket",
    );
    let message = refused(
        &folder,
        "--model qwen3-14b --token-bucket-capacity 900 --grid admission-policy=always-admit,reject-all",
    );
    assert_eq!(
        message,
        "--token-bucket-capacity has no effect with admission policy \"always-admit\"; it belongs to --admission-policy token-bucket"
    );
}

#[test]
fn mistakes_are_found_before_the_first_run() {
    let folder = Folder::with(&[
        ("b.yaml", "scheduler: fcfs\n"),
        ("data.csv", "run,rate\n"),
        ("other.csv", "a,b\n1,2\n"),
    ]);
    fs::create_dir(folder.path().join("dir.csv")).expect("a folder");
    let model = "--model llama-3.1-8b-instruct";
    let cases = [
        (
            "--grid rate=1,2",
            "give --model MODEL, or vary it: --grid model=A,B",
        ),
        (
            "M --grid raet=1",
            "--grid: unknown flag of `run` \"raet\"; did you mean \"rate\"? `windtunnel run --help` lists them",
        ),
        ("M --grid rate", "--grid rate: expected KEY=VALUE,VALUE,..."),
        ("M --grid rate=", "--grid rate=: a value is empty"),
        (
            "M --grid rate=1,1",
            "--grid rate: the value 1 is given twice",
        ),
        (
            "M --grid rate=1 --grid rate=2",
            "--grid rate is given twice",
        ),
        (
            "M --grid max-num-seqs=1 --grid max-num-running-reqs=2",
            "--grid max-num-running-reqs is given twice",
        ),
        (
            "M --rate 1 --grid rate=2",
            "--rate is given and swept; drop one of the two",
        ),
        ("M --grid seed=1", "--grid seed: give --seeds N instead"),
        (
            "M --grid summary-only=yes",
            "--grid summary-only: a switch takes true and false",
        ),
        ("M --grid json=true", "--json has no effect as a dimension"),
        (
            "M --grid rate=1,five",
            "rate=five: invalid value 'five' for '--rate <REQ/S>': expected a number, such as 0.5, 10k or 1e6",
        ),
        (
            "M --grid rules=blis,bliss",
            "rules=bliss: invalid value 'bliss' for '--rules <RULES>' [possible values: auto, vllm, blis]",
        ),
        (
            "M --grid rate=1 --grid scheduler=fcfs,sfj",
            "rate=1, scheduler=sfj: unknown scheduler \"sfj\"; did you mean \"sjf\"? valid: fcfs, priority-fcfs, sjf, reverse-priority, edf, edf-triage, ltr, mlfq, priority-aging, sjf-predicted, sjf-triage, vtc",
        ),
        (
            "M --grid routing-policy=round-robin,weighted --grid routing-scorers=queue-depth:1;load-balance:1",
            "routing-policy=round-robin, routing-scorers=queue-depth:1: --routing-scorers has no effect with routing policy \
             \"round-robin\"; it belongs to --routing-policy weighted",
        ),
        (
            "M --grid bundle:scheduler=sjf",
            "--grid bundle:scheduler: there is no --policy-config to vary",
        ),
        (
            "M --policy-config @/b.yaml --grid bundle:scheduler.x=1",
            "bundle:scheduler.x=1: @/b.yaml: there is no place for \"scheduler.x\"",
        ),
        (
            "M --policy-config @/b.yaml --grid bundle:schedler=sjf",
            "bundle:schedler=sjf: @/b.yaml: unknown key \"schedler\"; did you mean \"scheduler\"? valid: admission, \
             routing, prefill_routing, decode_routing, priority, scheduler, preemption, disaggregation, batching, dispatch, scale, flow_control, autoscale, \
             tenant_budgets, pools",
        ),
        (
            "M --policy-config @/b.yaml --scheduler sjf --grid bundle:scheduler=sjf,fcfs",
            "--grid bundle:scheduler has no effect: a flag overrides it, or the chosen policy does not read it",
        ),
        (
            "M --grid rate=1 --seeds 0",
            "--seeds must be at least 1, found 0",
        ),
        (
            "M --grid rate=1 --jobs 0",
            "--jobs must be at least 1, found 0",
        ),
        (
            "M --grid rate=1,2 --seeds 500001",
            "the sweep would have more than 1000000 runs",
        ),
        (
            "M --grid rate=1 --seed 18446744073709551615",
            "there are no 1 seeds from --seed 18446744073709551615 on",
        ),
        (
            "M --grid rate=1 --results-path @/r.csv",
            "--results-path has no effect in a sweep, whose runs would all write there",
        ),
        (
            "M --grid rate=1 --detectors all",
            "--detectors has no effect in a sweep, whose rows do not show it",
        ),
        (
            "M --grid rate=1 --format json",
            "--format has no effect in a sweep; it prints a table, or JSON with --json",
        ),
        (
            "M --grid rate=1 --out @/s.txt",
            "@/s.txt: the file's name must end in .csv",
        ),
        (
            "M --grid rate=1 --out @/none/s.csv",
            "@/none/s.csv: there is no folder @/none",
        ),
        (
            "M --grid rate=1 --out @/dir.csv",
            "@/dir.csv: it is a folder; expected a file name",
        ),
        (
            "M --grid rate=1 --out @/other.csv",
            "@/other.csv: its columns are not those of this sweep; give --fresh to start over, or another --out",
        ),
        (
            "M --grid workload=docs/examples/azure.csv --fresh --out docs/examples/azure.csv",
            "docs/examples/azure.csv: it would be overwritten, but the runs read it",
        ),
    ];
    for (flags, message) in cases {
        assert_eq!(
            refused(&folder, &flags.replacen('M', model, 1)),
            message,
            "{flags}"
        );
    }
    let fresh = folder.command(&format!("sweep {model} --grid rate=1 --fresh"));
    assert!(
        fresh.code == 2 && fresh.stderr.contains("--out <FILE>"),
        "{}",
        fresh.stderr
    );
}

#[test]
fn the_number_of_jobs_and_the_order_of_flags_change_nothing() {
    let folder = Folder::with(&[]);
    let grid =
        "--grid rate=20,90,400 --grid routing-policy=round-robin,least-loaded,weighted --seeds 2";
    let one = sweep(
        &folder,
        &format!("--log error {grid} --jobs 1 --rules blis --out @/a.csv"),
    );
    let four = folder.command(&format!(
        "--log warn sweep --rules=blis --out=@/b.csv -q --jobs=4 {grid} --max-prompts=40 --num-instances 2 \
         --model llama-3.1-8b-instruct"
    ));
    assert_eq!(one.stdout, four.stdout);
    assert_eq!(text(&folder, "a.csv"), text(&folder, "b.csv"));
    assert_eq!(folder.names(), ["a.csv", "b.csv"]);
}

#[test]
fn a_larger_grid_adds_to_the_rows_and_another_is_refused() {
    let folder = Folder::with(&[]);
    sweep(&folder, "--grid rate=20,40 --out @/s.csv");
    let first = text(&folder, "s.csv");
    let again = sweep(&folder, "--grid rate=20,40 --out @/s.csv");
    assert_eq!(again.stderr, "2 of 2 runs are done already\n");
    assert_eq!(text(&folder, "s.csv"), first);

    let larger = sweep(&folder, "--grid rate=40,30,20 --seeds 2 --out @/s.csv");
    assert_eq!(larger.stderr, "2 of 6 runs are done already\n");
    sweep(&folder, "--grid rate=40,30,20 --seeds 2 --out @/new.csv");
    assert_eq!(text(&folder, "s.csv"), text(&folder, "new.csv"));

    let model = "--model llama-3.1-8b-instruct --num-instances 2 --num-requests 40";
    for (flags, n) in [
        ("--grid rate=20,40", 4),
        ("--dp 1 --grid rate=40,30,20 --seeds 2", 6),
    ] {
        assert_eq!(
            refused(&folder, &format!("{model} {flags} --out @/s.csv")),
            format!(
                "@/s.csv: it holds runs that this sweep does not have ({n} of 6); give --fresh to start over, or another --out"
            )
        );
    }
    sweep(&folder, "--grid rate=20,40 --out @/s.csv --fresh");
    assert_eq!(text(&folder, "s.csv"), first);
}

#[test]
fn a_run_is_known_by_the_bytes_it_read() {
    let trace = fs::read_to_string(crate::support::root().join("docs/examples/azure.csv")).unwrap();
    let folder = Folder::with(&[("t.csv", &trace)]);
    let flags =
        "--model llama-3.1-8b-instruct --workload @/t.csv --grid scheduler=fcfs,sjf --out @/s.csv";
    assert_eq!(folder.command(&format!("sweep {flags}")).code, 0);
    assert_eq!(folder.command(&format!("sweep {flags}")).code, 0);
    let shorter: String = trace.lines().take(20).map(|l| format!("{l}\n")).collect();
    folder.write("t.csv", shorter.as_bytes());
    let message = refused(&folder, flags);
    assert!(
        message.contains("runs that this sweep does not have (2 of 2)"),
        "{message}"
    );
}

#[test]
fn a_torn_row_is_done_again() {
    let folder = Folder::with(&[]);
    let flags = "--grid rate=20,40,60 --fitness-weights throughput:1 --out @/s.csv";
    sweep(&folder, flags);
    let whole = text(&folder, "s.csv");
    let (head, _) = whole.trim_end().rsplit_once('\n').expect("rows");
    // The last line may lack its end, a part of a number, or all but a part of the name.
    for torn in [
        &whole[..whole.len() - 1],
        &whole[..whole.len() - 4],
        &whole[..head.len() + 5],
    ] {
        fs::remove_file(folder.path().join("s.csv")).expect("removed");
        folder.write("s.csv.part", torn.as_bytes());
        assert_eq!(
            sweep(&folder, flags).stderr,
            "2 of 3 runs are done already\n"
        );
        assert_eq!(text(&folder, "s.csv"), whole);
        assert_eq!(folder.names(), ["s.csv"]);
    }
    // Not even the header is whole.
    fs::remove_file(folder.path().join("s.csv")).expect("removed");
    folder.write("s.csv.part", b"run,ra");
    assert_eq!(sweep(&folder, flags).stderr, "");
    assert_eq!(text(&folder, "s.csv"), whole);
}

#[test]
fn a_killed_sweep_goes_on_where_it_stopped() {
    let folder = Folder::with(&[]);
    let flags =
        "--grid rate=20,30,40,50,60,70,80,90 --seeds 250 --plain-steps --jobs 2 --out @/s.csv";
    let line = format!("{BASE} {flags}").replace('@', &folder.path().display().to_string());
    let mut running = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let part = folder.path().join("s.csv.part");
    let rows_in = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    let start = Instant::now();
    while rows_in(&part) < 5 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // While it runs, nobody else writes there.
    let model = "--model llama-3.1-8b-instruct --num-instances 2 --num-requests 40";
    let second = folder.command(&format!("sweep {model} {flags}"));
    running.kill().expect("killed");
    running.wait().expect("ended");
    let message = &second.stderr;
    assert!(
        message.contains("s.csv.part: another sweep is writing it"),
        "{message}"
    );
    let resumed = sweep(&folder, flags).stderr;
    assert!(
        resumed.contains("of 2000 runs are done already"),
        "{resumed}"
    );
    sweep(&folder, &flags.replace("s.csv", "whole.csv"));
    assert_eq!(text(&folder, "s.csv"), text(&folder, "whole.csv"));
    assert_eq!(folder.names(), ["s.csv", "whole.csv"]);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let folder = Folder::with(&[]);
    let line = format!(
        "{BASE} --grid rate=20,40 --out {}/s.csv",
        folder.path().display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(rows(&folder, "s.csv").len(), 2);
}

#[test]
fn the_table_sums_up_the_seeds_and_marks_the_best() {
    let folder = Folder::with(&[]);
    let one = sweep(
        &folder,
        "--arrivals constant --slo-ttft 24ms --grid rate=20,400,4000",
    );
    insta::assert_snapshot!(one.stdout, @r"
    ┌──────┬────────────┬──────────┬──────────┬───────┬─────────┬─────────┐
    │ rate ┆ Requests/s ┆ TTFT p50 ┆ TTFT p99 ┆  TPOT ┆ E2E p99 ┆ SLO met │
    ╞══════╪════════════╪══════════╪══════════╪═══════╪═════════╪═════════╡
    │ 20   ┆      6.24  ┆    22.8* ┆    33.8* ┆ 4.74* ┆   5153* ┆  55.0%* │
    │ 400  ┆      7.07  ┆    65.0  ┆     113  ┆ 5.47  ┆   5220  ┆  15.0%  │
    │ 4000 ┆      7.09* ┆     158  ┆     175  ┆ 4.91  ┆   5260  ┆   5.0%  │
    └──────┴────────────┴──────────┴──────────┴───────┴─────────┴─────────┘
    3 runs; latencies in ms; requests/s over the whole run, drain included
    * best: the highest rates and shares, the lowest of all others
    all on 4 x H100, TP 2, latency model kernel-tables
    ");
    let several = sweep(
        &folder,
        "--arrivals constant --prefix-tokens 64 --routing-policy weighted --grid rate=20,400 \
         --grid routing-scorers=queue-depth:1;precise-prefix-cache:2,queue-depth:1,kv-utilization:1 --seeds 3",
    );
    insta::assert_snapshot!(several.stdout, @r"
    ┌──────┬─────────────────────────┬─────────────┬────────────┬────────────┬─────────────┐
    │ rate ┆ routing-scorers         ┆  Requests/s ┆   TTFT p99 ┆    E2E p99 ┆    Hit rate │
    ╞══════╪═════════════════════════╪═════════════╪════════════╪════════════╪═════════════╡
    │ 20   ┆ queue-depth:1           ┆ 6.24 ±0.32  ┆ 32.4 ±0.6  ┆ 5064 ±401  ┆ 10.7% ±0.2  │
    │ 20   ┆ precise-prefix-cache:2, ┆ 6.24 ±0.32  ┆ 32.4 ±0.6  ┆ 5064 ±401  ┆ 10.7% ±0.2  │
    │      ┆ queue-depth:1,          ┆             ┆            ┆            ┆             │
    │      ┆ kv-utilization:1        ┆             ┆            ┆            ┆             │
    │ 400  ┆ queue-depth:1           ┆ 7.80 ±1.04* ┆   192 ±59* ┆ 4981 ±568* ┆ 10.4% ±0.2  │
    │ 400  ┆ precise-prefix-cache:2, ┆ 7.34 ±0.67  ┆    261 ±5  ┆ 5276 ±372  ┆ 10.7% ±0.2* │
    │      ┆ queue-depth:1,          ┆             ┆            ┆            ┆             │
    │      ┆ kv-utilization:1        ┆             ┆            ┆            ┆             │
    └──────┴─────────────────────────┴─────────────┴────────────┴────────────┴─────────────┘
    12 runs; latencies in ms; requests/s over the whole run, drain included
    mean ±standard deviation of 3 seeds
    * best for its rate: the highest rates and shares, the lowest of all others
    all on 4 x H100, TP 2, latency model kernel-tables
    too narrow for: TTFT p50, TPOT (--wide shows all)
    ");
    let none = sweep(
        &folder,
        "--arrivals constant --grid admission-policy=reject-all,always-admit --rate 400",
    );
    insta::assert_snapshot!(none.stdout, @r"
    ┌──────────────────┬────────────┬──────────┬──────────┬───────┬─────────┬────────────┐
    │ admission-policy ┆ Requests/s ┆ TTFT p50 ┆ TTFT p99 ┆  TPOT ┆ E2E p99 ┆ Not served │
    ╞══════════════════╪════════════╪══════════╪══════════╪═══════╪═════════╪════════════╡
    │ reject-all       ┆         0  ┆       -  ┆       -  ┆    -  ┆      -  ┆        40  │
    │ always-admit     ┆      7.07* ┆    65.0  ┆     113  ┆ 5.47  ┆   5220  ┆         0* │
    └──────────────────┴────────────┴──────────┴──────────┴───────┴─────────┴────────────┘
    2 runs; latencies in ms; requests/s over the whole run, drain included
    * best: the highest rates and shares, the lowest of all others
    all on 4 x H100, TP 2, latency model kernel-tables
    ");
}
