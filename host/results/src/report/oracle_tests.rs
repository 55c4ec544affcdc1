//! Holds summaries and sections against what the reference made of the same requests.

use super::{ReportInputs, Results, blis};
use crate::metrics::saturation::Detectors;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::record::{
    Decision, InstanceTotals, Outcome, PutOff, RequestRecord, RunRecord, State,
};
use windtunnel_base::request::{RequestId, Sym, Symbols};

/// Features whose runs have parts that a record does not hold yet.
const BEYOND: [&str; 4] = ["flow_control", "pd", "lora", "tiered_kv"];

fn folder() -> PathBuf {
    std::env::var_os("WINDTUNNEL_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle"),
        PathBuf::from,
    )
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// What the trace says of a request: slo_class, tenant, model, session, prefix group.
type Tags = [String; 5];

/// Tags by position and by session.
fn tags(case: &Path) -> (Vec<Tags>, HashMap<String, Tags>) {
    let mut reader = csv::Reader::from_path(case.join("trace.csv")).unwrap();
    let columns = reader.headers().unwrap().clone();
    let at = |name: &str| columns.iter().position(|c| c == name).unwrap();
    let wanted = [
        "slo_class",
        "tenant_id",
        "model",
        "session_id",
        "prefix_group",
    ]
    .map(at);
    let (mut list, mut by_session) = (Vec::new(), HashMap::new());
    for row in reader.records() {
        let row = row.unwrap();
        let tags = wanted.map(|i| row[i].to_owned());
        if !tags[3].is_empty() {
            by_session
                .entry(tags[3].clone())
                .or_insert_with(|| tags.clone());
        }
        list.push(tags);
    }
    (list, by_session)
}

/// A record of what the rows tell; counters come from the reference's own blocks.
fn record(case: &Path, expected: &Value) -> RunRecord {
    let (list, by_session) = tags(case);
    let mut symbols = Symbols::default();
    let blocks = expected["stdout"]["metrics"].as_array().unwrap();
    let columns: Vec<&str> = expected["requests"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    let aggregate = blocks.last().unwrap();
    let number = |v: &Value| v.as_u64().unwrap_or(0);
    let mut requests = Vec::new();
    for (serial, row) in expected["requests"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let cell = |name: &str| &row[columns.iter().position(|c| *c == name).unwrap()];
        let id = cell("id").as_str().unwrap();
        let position = id
            .strip_prefix("request_")
            .and_then(|n| n.parse::<usize>().ok());
        let session = cell("session_id").as_str().unwrap();
        let none = Tags::default();
        let tags = position
            .and_then(|n| list.get(n))
            .or_else(|| by_session.get(session))
            .unwrap_or(&none);
        let instance = cell("instance")
            .as_str()
            .and_then(|n| n.strip_prefix("instance_"))
            .map(|n| n.parse().unwrap());
        let capped = cell("length_capped") == true;
        let (state, outcome) = match cell("state").as_str().unwrap() {
            "completed" if capped => (State::Completed, Outcome::LengthCapped),
            "completed" => (State::Completed, Outcome::Completed),
            "running" => (State::Running, Outcome::Running),
            "timed_out" => (State::TimedOut, Outcome::TimedOut),
            _ if instance.is_none() => (State::Queued, Outcome::Rejected),
            // The case that drops requests leaves none queued.
            _ if number(&aggregate["dropped_unservable"]) > 0 => (State::Queued, Outcome::Dropped),
            _ => (State::Queued, Outcome::Queued),
        };
        let output_tokens = cell("output_tokens").as_u64().unwrap() as u32;
        requests.push(RequestRecord {
            serial: serial as u64,
            id: position.map_or_else(
                || RequestId::Named(id.into()),
                |n| RequestId::Number(n as u64),
            ),
            arrival_us: cell("arrival_us").as_i64().unwrap(),
            prompt_tokens: cell("input_tokens").as_u64().unwrap() as u32,
            cached_tokens: None,
            output_tokens,
            generated_tokens: if state == State::Completed {
                output_tokens
            } else {
                0
            },
            state,
            outcome,
            instance,
            rank: None,
            pool: Sym::NONE,
            scheduling_delay_us: cell("sched_delay_us").as_i64(),
            ttft_us: cell("ttft_us").as_i64(),
            e2e_us: cell("e2e_us").as_i64(),
            itl_sum_us: 0,
            mean_itl_us: cell("mean_itl_us").as_f64(),
            preemptions: 0,
            retries: 0,
            deadline_us: 0,
            slo_ttft_us: 0,
            slo_class: symbols.intern(&tags[0]),
            tenant: symbols.intern(&tags[1]),
            client: Sym::NONE,
            model: symbols.intern(&tags[2]),
            adapter: Sym::NONE,
            client_priority: 0,
            session: symbols.intern(session),
            round: cell("round_index").as_u64().unwrap() as u32,
            prefix_group: symbols.intern(&tags[4]),
            prefix_tokens: 0,
            streaming: false,
            accepted: None,
            detail: None,
            split: None,
            gateway: None,
        });
    }
    let instances = expected["instances"].as_array().unwrap();
    let instances = instances
        .iter()
        .enumerate()
        .map(|(k, instance)| {
            // With one instance there is only the cluster's block.
            let block = if instances.len() > 1 {
                &blocks[k]
            } else {
                aggregate
            };
            // A rate as exact as any fraction of 2^40 blocks.
            let hits = (instance["cache_hit_rate"].as_f64().unwrap() * (1u64 << 40) as f64) as u64;
            InstanceTotals {
                completed: number(&block["completed_requests"]),
                still_queued: number(&block["still_queued"]),
                still_running: number(&block["still_running"]),
                dropped: number(&block["dropped_unservable"]),
                timed_out: number(&block["timed_out_requests"]),
                length_capped: number(&block["length_capped_requests"]),
                input_tokens: number(&block["total_input_tokens"]),
                output_tokens: number(&block["total_output_tokens"]),
                preemptions: number(&block["preemption_count"]),
                kv_allocation_failures: number(&block["kv_allocation_failures"]),
                blocks_reused: hits,
                blocks_taken: (1 << 40) - hits,
                ended_us: instance["sim_ended_time_us"].as_i64().unwrap(),
                ..InstanceTotals::default()
            }
        })
        .collect();
    let rejected = requests.iter().filter(|r| r.outcome == Outcome::Rejected);
    let mut shed: Vec<(String, u64)> = Vec::new();
    for r in rejected.clone() {
        let name = match symbols.name(r.slo_class) {
            "" => "standard",
            name => name,
        };
        match shed.iter_mut().find(|(n, _)| n == name) {
            Some((_, n)) => *n += 1,
            None => shed.push((name.to_owned(), 1)),
        }
    }
    shed.sort();
    let mut decisions: Vec<Decision> = requests
        .iter()
        .map(|r| Decision::Admission {
            clock_us: r.arrival_us,
            id: r.id.clone(),
            admitted: r.outcome != Outcome::Rejected,
            reason: String::new(),
        })
        .collect();
    for row in expected["decisions"]["rows"]
        .as_array()
        .into_iter()
        .flatten()
    {
        decisions.push(Decision::Routing {
            stage: windtunnel_base::record::RoutingStage::Whole,
            clock_us: row[1].as_i64().unwrap(),
            id: RequestId::Named(row[0].as_str().unwrap().into()),
            chosen: row[2].as_str().unwrap()["instance_".len()..]
                .parse()
                .unwrap(),
            pool: Sym::NONE,
            reason: String::new(),
            among: Vec::new(),
            scores: None,
            candidates: Vec::new(),
            regret: row[3].as_f64().unwrap(),
        });
    }
    RunRecord {
        gateway: None,
        scaling: None,
        rejected_by_admission: rejected.count() as u64,
        rejected_by_routing: 0,
        put_off: PutOff::default(),
        fault: None,
        shed_by_class: shed,
        decisions,
        observations: windtunnel_base::record::RoutingObservations::default(),
        kv_events: Vec::new(),
        transfers: None,
        sub_requests: Vec::new(),
        symbols,
        pools: Vec::new(),
        instances,
        requests,
    }
}

/// Splits what we print like the cases do: blocks, then sections by title.
fn split(text: &str) -> (Vec<Value>, Vec<(String, Vec<String>)>) {
    let (mut blocks, mut sections) = (Vec::new(), Vec::new());
    for part in text.split("=== ").skip(1) {
        let (title, body) = part.split_once(" ===\n").unwrap();
        if title == "Simulation Metrics" {
            blocks.push(serde_json::from_str(body).unwrap());
        } else {
            sections.push((title.to_owned(), body.lines().map(str::to_owned).collect()));
        }
    }
    (blocks, sections)
}

fn check(name: &str, case: &Value, expected: &Value, record: &RunRecord, wrong: &mut Vec<String>) {
    let argv: Vec<&str> = case["argv"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let flag = |name: &str| argv.iter().position(|a| *a == name).map(|i| argv[i + 1]);
    let theirs = expected["stdout"]["metrics"].as_array().unwrap();
    let inputs = ReportInputs {
        scheduler_is_priority_fcfs: flag("--scheduler") == Some("priority-fcfs")
            || expected["resolved"]["scheduler"] == "priority-fcfs",
        detectors: flag("--detectors").map(|d| Detectors::parse("--detectors", d).unwrap()),
        // The cases of long runs keep no decisions.
        trace_summary: argv.contains(&"--summarize-trace")
            && (theirs.last().unwrap()["completed_requests"] == 0
                || !expected["decisions"]["rows"]
                    .as_array()
                    .is_none_or(Vec::is_empty)),
        ..ReportInputs::default()
    };
    let results = Results::new(record, &inputs);
    let text = blis::stdout(&results);
    let (blocks, sections) = split(&text);
    if blocks.len() != theirs.len() {
        wrong.push(format!(
            "{name}: {} blocks, expected {}",
            blocks.len(),
            theirs.len()
        ));
    }
    for (ours, theirs) in blocks.iter().zip(theirs) {
        let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
        if ours.keys().ne(theirs.keys()) {
            wrong.push(format!(
                "{name}: keys {:?}",
                ours.keys().collect::<Vec<_>>()
            ));
        }
        for (key, b) in theirs {
            if key.starts_with("itl_") {
                continue; // the gaps are not in the rows
            }
            let a = &ours[key];
            let same = match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
                _ => a == b,
            };
            if !same {
                wrong.push(format!(
                    "{name}: {key} of {} is {a}, expected {b}",
                    theirs["instance_id"]
                ));
            }
        }
    }
    let theirs = expected["stdout"]["sections"].as_object().unwrap();
    for (title, lines) in theirs {
        let ours = sections
            .iter()
            .find(|(t, _)| t == title)
            .map(|(_, l)| l.clone());
        let lines: Vec<String> = lines
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_str().unwrap().to_owned())
            .collect();
        if title == "Trace Summary" && !inputs.trace_summary {
            continue;
        }
        if ours.as_ref() != Some(&lines) {
            wrong.push(format!("{name}: {title} is {ours:#?}, expected {lines:#?}"));
        }
    }
    for (title, _) in &sections {
        if !theirs.contains_key(title) {
            wrong.push(format!("{name}: unexpected section {title}"));
        }
    }
    check_rows(name, expected, &results, wrong);
}

/// The metrics file's first rows and their number.
fn check_rows(name: &str, expected: &Value, results: &Results<'_>, wrong: &mut Vec<String>) {
    let mut file = Vec::new();
    blis::metrics_file(results, &mut file).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let theirs = &expected["metrics_file_requests"];
    let rows = file["requests"].as_array().unwrap();
    if rows.len() as u64 != theirs["num"].as_u64().unwrap() {
        wrong.push(format!(
            "{name}: {} rows, expected {}",
            rows.len(),
            theirs["num"]
        ));
    }
    for theirs in theirs["sample"].as_array().unwrap() {
        let ours = rows.iter().find(|r| r["requestID"] == theirs["requestID"]);
        let Some(ours) = ours.and_then(Value::as_object) else {
            wrong.push(format!("{name}: no row {}", theirs["requestID"]));
            continue;
        };
        let theirs = theirs.as_object().unwrap();
        let same = ours.keys().eq(theirs.keys())
            && ours
                .iter()
                .zip(theirs)
                .all(|((_, a), (_, b))| match (a.as_f64(), b.as_f64()) {
                    // The JSON reader of this test may be off in the last bit.
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-15 * b.abs(),
                    _ => a == b,
                });
        if !same {
            wrong.push(format!("{name}: row {ours:?}, expected {theirs:?}"));
        }
    }
}

#[test]
fn summaries_and_sections_agree_with_the_reference() {
    let root = folder();
    let (mut cases, mut wrong) = (0, Vec::new());
    for family in ["blis", "blackbox"] {
        let Ok(entries) = fs::read_dir(root.join(family)) else {
            continue;
        };
        let mut folders: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        folders.sort();
        for folder in folders {
            let (Some(case), Some(expected)) = (
                read(&folder.join("case.json")),
                read(&folder.join("expected.json")),
            ) else {
                continue;
            };
            let feature = case["feature"].as_str().unwrap_or("");
            if BEYOND.contains(&feature) || expected["requests"].is_null() {
                continue;
            }
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            check(
                &name,
                &case,
                &expected,
                &record(&folder, &expected),
                &mut wrong,
            );
            cases += 1;
        }
    }
    if cases == 0 {
        let mut err = std::io::stderr();
        std::io::Write::write_all(
            &mut err,
            b"skipped: no oracle cases (set WINDTUNNEL_ORACLE)\n",
        )
        .unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", cases, wrong.join("\n"));
}
