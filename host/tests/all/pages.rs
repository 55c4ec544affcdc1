//! Pages, time series and timelines of runs: what is in them is what the run's JSON says, and they
//! need nothing but themselves.

use crate::compare::SUITE;
use crate::errors::Folder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;
use std::collections::HashMap;
use std::process::Command;

/// A run with a queue, several instances and targets.
const RUN: &str = "--max-prompts 300 --rate 40 --num-instances 3 --slo-ttft 50ms -q";

fn text(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).expect(name)
}

fn json(folder: &Folder, flags: &str) -> Value {
    serde_json::from_str(&folder.fine(&format!("{flags} --json")).stdout).expect("JSON")
}

/// It loads nothing, and its browser would not let it.
fn needs_nothing(page: &str) {
    for wrong in [
        "http:", "https:", " src=", "@import", "url(", ">NaN", ">inf", "<link",
    ] {
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
}

/// The plots of a page.
fn figures(page: &str) -> Vec<Value> {
    let (_, rest) = page
        .split_once("<script type=\"application/json\" id=\"figures\">")
        .expect("figures");
    let (figures, _) = rest.split_once("</script>").expect("their end");
    serde_json::from_str::<Vec<Value>>(figures).expect("JSON")
}

#[test]
fn the_page_of_a_run_has_the_figures_of_its_json() {
    let folder = Folder::with(&[]);
    let plain = json(&folder, RUN);
    let shown = json(&folder, &format!("{RUN} --html @/page.html"));
    assert_eq!(plain, shown, "it changes no result");
    let page = text(&folder, "page.html");
    needs_nothing(&page);
    for latency in ["ttft", "itl", "tpot", "e2e"] {
        for figure in ["mean", "p50", "p90", "p99", "max"] {
            let value = shown["latency_ms"][latency][figure]
                .as_f64()
                .expect("a number");
            assert!(
                page.contains(&format!("data-value=\"{value}\"")),
                "{latency} {figure}"
            );
        }
    }
    let met = 100.0 * shown["goodput"]["attainment"].as_f64().expect("a number");
    assert!(page.contains(&format!("data-value=\"{met}\"")));
    assert!(page.contains("run --model llama-3.1-8b-instruct --max-prompts 300"));
    let figures = figures(&page);
    // Every plot has its table.
    assert_eq!(figures.len(), page.matches("<figure").count());
    assert_eq!(figures.len(), page.matches("<details>").count());
    // Strips have a row for each instance.
    let heat: Vec<&Value> = figures
        .iter()
        .filter(|f| f["data"][0]["type"] == "heatmap")
        .collect();
    assert_eq!(heat.len(), 2);
    assert_eq!(heat[0]["data"][0]["z"].as_array().map(Vec::len), Some(3));
    let longest = figures[0]["data"][0]["x"]
        .as_array()
        .and_then(|x| x.last()?.as_f64());
    let max = shown["latency_ms"]["ttft"]["max"]
        .as_f64()
        .expect("a number");
    assert!(
        (longest.expect("a point") / max - 1.0).abs() < 1e-4,
        "{longest:?} {max}"
    );
}

#[test]
fn a_page_without_records_has_what_instances_did() {
    let folder = Folder::with(&[]);
    folder.fine(&format!(
        "{} --summary-only --html @/page.html",
        RUN.replace("--slo-ttft 50ms", "")
    ));
    let page = text(&folder, "page.html");
    assert!(page.contains("No request's record was kept"));
    assert!(page.contains("Tokens per second") && !page.contains("TTFT, distribution"));
}

/// Rows of a CSV file by column.
fn columns(csv: &str) -> HashMap<String, Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let head = reader.headers().expect("a head").clone();
    let mut columns: HashMap<String, Vec<String>> = HashMap::new();
    for row in reader.records() {
        let row = row.expect("a row");
        for (name, cell) in head.iter().zip(row.iter()) {
            columns
                .entry(name.to_owned())
                .or_default()
                .push(cell.to_owned());
        }
    }
    columns
}

#[test]
fn time_series_add_up_to_the_run_on_both_paths_and_in_every_format() {
    let folder = Folder::with(&[]);
    let run = json(
        &folder,
        &format!("{RUN} --time-series @/a.csv --time-series-interval 0.5"),
    );
    json(
        &folder,
        &format!("{RUN} --time-series @/b.csv --time-series-interval 0.5 --plain-steps"),
    );
    assert_eq!(json(&folder, RUN), run, "it changes no result");
    let fast = columns(&text(&folder, "a.csv"));
    let plain = columns(&text(&folder, "b.csv"));
    for (name, cells) in &fast {
        for (a, b) in cells.iter().zip(&plain[name]) {
            let same = match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= 1e-6 * a.abs().max(1.0),
                _ => a == b,
            };
            assert!(same, "{name}: {a} {b}");
        }
        assert_eq!(cells.len(), plain[name].len(), "{name}");
    }
    let numbers = |name: &str| -> Vec<f64> {
        fast[name]
            .iter()
            .map(|cell| cell.parse().expect("a number"))
            .collect()
    };
    let (from, to) = (numbers("start_us"), numbers("end_us"));
    let sum = |name: &str| -> f64 {
        let values = numbers(name).into_iter().enumerate();
        values
            .map(|(k, value)| value * (to[k] - from[k]) / 1e6)
            .sum()
    };
    let near = |a: f64, b: &Value| {
        let b = b.as_f64().expect("a number");
        assert!((a - b).abs() <= 1e-6 * b, "{a} {b}");
    };
    near(sum("output_tokens_per_s"), &run["total_output_tokens"]);
    near(sum("steps_per_s"), &run["steps"]);
    let blocks: f64 = run["instances"]
        .as_array()
        .expect("instances")
        .iter()
        .map(|i| i["kv_block_us"].as_f64().expect("a number"))
        .sum();
    near(sum("kv_blocks") * 1e6, &blocks.into());
    let rows = fast["queue"].len();
    assert_eq!(
        fast["instance"][..3],
        ["instance_0", "instance_1", "instance_2"]
    );
    for name in ["c.json", "c.jsonl", "c.parquet"] {
        folder.fine(&format!(
            "{RUN} --time-series @/{name} --time-series-interval 0.5"
        ));
    }
    let of_json: Vec<Value> = serde_json::from_str(&text(&folder, "c.json")).expect("JSON");
    assert_eq!(
        (of_json.len(), text(&folder, "c.jsonl").lines().count()),
        (rows, rows)
    );
    let file = std::fs::File::open(folder.path().join("c.parquet")).expect("a file");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let batch: Vec<f64> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row").get_double(4).expect("the batch"))
        .collect();
    let of_csv = numbers("batch");
    assert_eq!(batch, of_csv);
}

#[test]
fn rows_of_requests_are_the_same_in_every_format() {
    let folder = Folder::with(&[]);
    for name in ["r.csv", "r.jsonl", "r.parquet"] {
        folder.fine(&format!("{RUN} --results-path @/{name}"));
    }
    folder.fine(
        &format!("{RUN} --summary-only --results-path @/s.jsonl").replace("--slo-ttft 50ms", ""),
    );
    let csv = columns(&text(&folder, "r.csv"));
    let lines = text(&folder, "r.jsonl");
    assert_eq!(lines, text(&folder, "s.jsonl"));
    let ttft: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["ttft_us"].to_string())
        .collect();
    assert_eq!(ttft, csv["ttft_us"]);
    let file = std::fs::File::open(folder.path().join("r.parquet")).expect("a file");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let schema = reader.metadata().file_metadata().schema_descr();
    let at = (0..schema.num_columns()).find(|k| schema.column(*k).name() == "ttft_us");
    let at = at.expect("the column");
    let of_parquet: Vec<String> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| {
            row.expect("a row")
                .get_long(at)
                .expect("a time")
                .to_string()
        })
        .collect();
    assert_eq!(of_parquet, ttft);
}

#[test]
fn wrong_endings_and_flags_without_effect_are_refused() {
    let folder = Folder::with(&[]);
    for (flags, message) in [
        (
            "--time-series @/a.txt",
            "@/a.txt: the file's name must end in .csv, .json, .jsonl or .parquet",
        ),
        (
            "--time-series-interval 2",
            "--time-series-interval has no effect without --time-series",
        ),
        (
            "--time-series @/a.csv --time-series-interval 0",
            "--time-series-interval must be from 0.000001 to 1000000000 seconds, found 0",
        ),
        (
            "--timeline @/a.json --summary-only",
            "--timeline has no effect with --summary-only, which keeps no request's record",
        ),
        (
            "--results-path @/a.parquet --summary-only",
            "@/a.parquet: with --summary-only rows are written one by one: expected .csv, .json or .jsonl",
        ),
    ] {
        assert_eq!(folder.refused(flags), message);
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_timeline_is_a_trace_that_viewers_open() {
    let folder = Folder::with(&[]);
    let flags = "--max-prompts 200 --rate 60 --num-instances 2 --total-kv-blocks 250 \
                 --max-model-len 3000 -q";
    let plain = json(&folder, flags);
    let run = json(&folder, &format!("{flags} --timeline @/t.json"));
    assert_eq!(plain, run, "it changes no result");
    let trace: Value = serde_json::from_str(&text(&folder, "t.json")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut last = 0.0;
    let mut open: HashMap<(String, String), Vec<String>> = HashMap::new();
    let mut counts: HashMap<String, u64> = HashMap::new();
    for event in events {
        let word = |key: &str| {
            event[key]
                .as_str()
                .unwrap_or_else(|| panic!("{key}: {event}"))
                .to_owned()
        };
        let ts = event["ts"].as_f64().expect("a time");
        assert!(event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        let (ph, name) = (word("ph"), word("name"));
        if ph != "M" {
            assert!(ts >= last, "{event}");
            last = ts;
        }
        *counts
            .entry(format!("{ph} {}", event["cat"].as_str().unwrap_or(&name)))
            .or_default() += 1;
        match ph.as_str() {
            "X" => assert!(event["dur"].as_f64().expect("a duration") > 0.0, "{event}"),
            "C" => assert!(event["args"]["value"].is_number(), "{event}"),
            "i" => assert!(["t", "p", "g"].contains(&word("s").as_str()), "{event}"),
            "M" => assert!(event["args"]["name"].is_string(), "{event}"),
            "b" | "e" => {
                let stack = open
                    .entry((word("cat"), event["id"].to_string()))
                    .or_default();
                if ph == "b" {
                    stack.push(name);
                } else {
                    assert_eq!(stack.pop(), Some(name), "the innermost ends first");
                }
            }
            other => panic!("{other}: {event}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "all that began ended");
    assert_eq!(open.len(), 200);
    assert_eq!(counts["X step"], run["steps"].as_u64().expect("a number"));
    assert_eq!(counts["i decision"], 200);
    let preempted = run["preemption_count"].as_u64().expect("a number");
    assert!(preempted > 0, "the run is too easy");
    // One who is preempted before it has computed anything, or finds all of it again, shows none.
    let shown = counts.get("i preemption").copied().unwrap_or(0);
    assert!((1..=preempted).contains(&shown), "{shown} of {preempted}");
    for counter in ["wait queue", "batch", "KV blocks"] {
        assert!(counts.contains_key(&format!("C {counter}")), "{counter}");
    }
}

#[test]
fn the_page_of_a_sweep_has_its_rows() {
    let folder = Folder::with(&[]);
    let ran = folder.command(
        "sweep --model llama-3.1-8b-instruct --max-prompts 60 --slo-ttft 30ms --grid rate=20,80 \
         --grid routing-policy=round-robin,least-loaded --num-instances 2 --seeds 2 --html @/page.html --json -q",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let page = text(&folder, "page.html");
    needs_nothing(&page);
    assert!(page.contains("4 points, 8 runs, up to 2 seeds each"));
    let of = |row: &&Value| {
        row["rate"].to_string().contains("20") && row["routing-policy"] == "round-robin"
    };
    let ttft: Vec<f64> = rows
        .iter()
        .filter(of)
        .map(|r| r["ttft_p99_ms"].as_f64().expect("a number"))
        .collect();
    assert_eq!(ttft.len(), 2);
    let mean = (ttft[0] + ttft[1]) / 2.0;
    assert!(page.contains(&format!("data-value=\"{mean}\"")), "{mean}");
    // Two lines, each with a band.
    let first = &figures(&page)[0]["data"];
    assert_eq!(first.as_array().map(Vec::len), Some(6));
}

#[test]
fn the_page_of_a_sweep_lays_distributions_over_each_other() {
    let folder = Folder::with(&[]);
    let flags = "--max-prompts 60 --rate 80 --num-instances 2 -q";
    let sweep = format!(
        "sweep --model llama-3.1-8b-instruct {flags} --grid routing-policy=round-robin,least-loaded \
         --seeds 2 --out @/rows.csv --html @/sweep.html"
    );
    let titled = |page: &str, title: &str| {
        let mut all = figures(page).into_iter();
        let found = all.find(|f| f.to_string().contains(title));
        found.expect(title)["data"].clone()
    };
    let curve = |page: &str, k: usize| titled(page, "TTFT, ms")[k].clone();
    for resumed in [false, true] {
        let ran = folder.command(&sweep);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let page = text(&folder, "sweep.html");
        assert!(
            page.contains("Distributions of the first seed"),
            "{resumed}"
        );
        for (k, policy) in ["round-robin", "least-loaded"].into_iter().enumerate() {
            folder.fine(&format!(
                "{flags} --routing-policy {policy} --html @/run.html"
            ));
            let (of_sweep, of_run) = (curve(&page, k), curve(&text(&folder, "run.html"), 0));
            assert_eq!(of_sweep["x"], of_run["x"], "{policy}");
            assert!(of_sweep["name"].to_string().contains(policy), "{of_sweep}");
        }
    }
}

/// A plan with several answers, and some that are not enough.
const PLAN: &str = "plan --model llama-3.1-8b-instruct --workload chatbot --rate 60 --num-requests 600 \
                    --grid hardware=H100,A100-SXM --tp 1 --grid max-num-seqs=1,256 --max-gpus 16 --seeds 1 \
                    --slo ttft.p99<300ms,tpot.p95<30ms -q";

#[test]
fn the_page_of_a_plan_has_its_answers_and_what_is_not_among_them() {
    let folder = Folder::with(&[]);
    let ran = folder.command(&format!("{PLAN} --json --html @/plan.html"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let plan: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let page = text(&folder, "plan.html");
    needs_nothing(&page);
    let answers = plan["answers"].as_array().expect("answers");
    let others = plan["others"].as_array().expect("others");
    assert!(answers.len() > 1 && !others.is_empty(), "{plan:#}");
    for answer in answers {
        for figure in ["usd_per_million_good_tokens", "good_tokens_per_s_per_gpu"] {
            let value = answer[figure].as_f64().expect("a figure");
            assert!(
                page.contains(&format!("data-value=\"{value}\"")),
                "{figure} {value}"
            );
        }
    }
    for other in others {
        assert!(
            page.contains(other["choice"].as_str().expect("a name")),
            "{other}"
        );
    }
    assert!(page.contains("vllm serve") && page.contains("windtunnel run"));
    assert_eq!(figures(&page).len(), page.matches("<figure").count());
}

#[test]
fn pages_of_scores_and_comparisons_have_their_figures_and_sources() {
    let folder = Folder::with(&[]);
    let script = "host/tests/data/contest/all-to-one.lua";
    let ran = folder.command(&format!(
        "compare round-robin {script} --suite {SUITE} --html @/c.html --json"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let outcome: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let page = text(&folder, "c.html");
    needs_nothing(&page);
    let total = outcome["candidates"][1]["total"]["difference"]
        .as_f64()
        .expect("a number");
    assert!(page.contains(&format!("data-value=\"{total}\"")), "{total}");
    assert!(page.contains("Sources of the policies"));
    let source = std::fs::read_to_string(crate::support::root().join(script)).expect("the script");
    let line = source
        .lines()
        .find(|l| l.contains("return"))
        .expect("a line");
    assert!(page.contains(line.trim()), "{line}");
    let refused = folder.command(&format!("score - --suite {SUITE} --html @/s.html"));
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--html does nothing here"),
        "{}",
        refused.stderr
    );
}

/// A program that shows pages, if there is one: what the variable names, or a usual name.
#[test]
fn the_page_of_an_explanation_has_its_requests() {
    let folder = Folder::with(&[]);
    let line = format!("explain least-loaded --suite {SUITE} --no-cache --requests 2 --json");
    let ran = folder.command(&format!("{line} --html @/explain.html"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let explained: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let page = text(&folder, "explain.html");
    needs_nothing(&page);
    let log = explained["log"].as_array().expect("decisions");
    assert_eq!(log.len(), 2, "{explained:#}");
    for logged in log {
        let id = logged["request"]["id"].as_str().expect("a name");
        assert!(page.contains(&format!("{id} (")), "{id}");
    }
    assert_eq!(figures(&page).len(), page.matches("<figure").count());
}

fn browser() -> Option<String> {
    let named = std::env::var("WINDTUNNEL_CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    named.into_iter().chain(usual).find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|out| out.status.success())
    })
}

#[test]
fn a_browser_draws_pages_without_errors_and_within_a_phones_width() {
    let Some(browser) = browser() else {
        println!("skipped: there is no Chromium; WINDTUNNEL_CHROMIUM may name one");
        return;
    };
    let folder = Folder::with(&[]);
    folder.fine(&format!("{RUN} --html @/run.html"));
    folder.command(
        "sweep --model llama-3.1-8b-instruct --max-prompts 60 --grid rate=20,80 --seeds 2 --html @/sweep.html -q",
    );
    folder.command(&format!("{PLAN} --html @/plan.html"));
    for name in ["run.html", "sweep.html", "plan.html"] {
        let page = text(&folder, name);
        let plots = figures(&page).len();
        // The page, which tells its frame what became of it.
        let listen = "<script>const errors = []; addEventListener('error', (e) => errors.push(e.message)); \
                      addEventListener('unhandledrejection', (e) => errors.push(String(e.reason))); \
                      addEventListener('securitypolicyviolation', (e) => errors.push(e.blockedURI));</script>";
        let tell = "<script>setInterval(() => { const root = document.documentElement; \
                    if (root.dataset.drawn || errors.length) parent.postMessage(`drawn ${root.dataset.drawn}, \
                    ${root.scrollWidth - root.clientWidth} too wide, errors: ${errors.join('; ')}.`, '*'); }, 50);</script>";
        let page = page.replace("</title>", &format!("</title>{listen}"));
        let page = page.replace("</body>", &format!("{tell}</body>"));
        folder.write("told.html", page.as_bytes());
        let frame = "<!doctype html><body><iframe src=\"told.html\" style=\"width: 390px; height: 800px; border: 0\">\
                     </iframe><script>onmessage = (e) => { document.body.dataset.told = e.data; };</script>";
        folder.write("frame.html", frame.as_bytes());
        let address = format!("file://{}", folder.path().join("frame.html").display());
        let profile = format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        );
        let shown = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--virtual-time-budget=60000", &profile, &address])
            .output()
            .expect("it starts");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let expected = format!("data-told=\"drawn {plots}, 0 too wide, errors: .\"");
        assert!(shown.contains(&expected), "{name}: {shown}");
    }
}
