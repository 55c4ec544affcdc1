//! Every request of every oracle case equals the reference's result, through the command line.
//!
//! A small stratified subset lives in `tests/data/oracle` and always runs. The whole set runs when
//! it is found beside the project or where `WINDTUNNEL_ORACLE` points.

use crate::support::{Ran, read_json, root, windtunnel};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const FAMILIES: [&str; 2] = ["blis", "blackbox"];
/// Relative tolerance of floats.
const TOLERANCE: f64 = 1e-9;

#[test]
fn the_cases_in_the_project_are_reproduced() {
    let ran = sweep(&root().join("host/tests/data/oracle"), &|_| true, &as_given);
    assert!(ran >= 20, "only {ran} cases lie in the project");
}

#[test]
fn all_cases_beside_the_project_are_reproduced() {
    let folder = beside();
    if folder.is_dir() {
        sweep(&folder, &|_| true, &as_given);
    } else {
        println!(
            "oracle: 0 cases ran beside the project: no folder {}",
            folder.display()
        );
    }
}

/// Where the whole set is, if it is there.
pub(crate) fn beside() -> PathBuf {
    std::env::var_os("WINDTUNNEL_ORACLE")
        .map_or_else(|| root().join("../shared/oracle"), PathBuf::from)
}

/// Changes a case's arguments for our command line; files that it needs go into the folder.
pub(crate) type Rewrite<'a> = &'a (dyn Fn(Vec<String>, &Path) -> Vec<String> + Sync);

fn as_given(argv: Vec<String>, _folder: &Path) -> Vec<String> {
    argv
}

/// Runs all cases below `folder` whose features are `wanted`, with rewritten arguments, and returns
/// how many.
pub(crate) fn sweep(
    folder: &Path,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    rewrite: Rewrite<'_>,
) -> usize {
    let mut cases: Vec<PathBuf> = FAMILIES
        .iter()
        .filter_map(|family| fs::read_dir(folder.join(family)).ok())
        .flatten()
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("case.json").is_file())
        .collect();
    cases.sort();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::<String, Vec<Result<(), String>>>::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let description = read_json(&case.join("case.json"));
                    let feature = description["feature"]
                        .as_str()
                        .expect("a feature")
                        .to_owned();
                    if wanted(&feature) {
                        let outcome = check(case, &description, rewrite).map_err(|e| {
                            format!("{}: {e}", case.file_name().unwrap_or_default().display())
                        });
                        outcomes
                            .lock()
                            .expect("no panic")
                            .entry(feature)
                            .or_default()
                            .push(outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no panic");
    let mut failures = String::new();
    let mut total = 0;
    for (feature, results) in &outcomes {
        let bad: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        println!(
            "oracle: {feature}: {} cases ran, {} differ",
            results.len(),
            bad.len()
        );
        for error in bad {
            let _ = writeln!(failures, "{feature}/{error}");
        }
        total += results.len();
    }
    println!("oracle: {total} cases ran below {}", folder.display());
    assert!(failures.is_empty(), "\n{failures}");
    total
}

/// The reference's arguments for our command line.
fn arguments(case: &Path, description: &Value) -> Vec<String> {
    let argv = description["argv"].as_array().expect("argv");
    argv.iter()
        .map(|a| {
            a.as_str()
                .expect("text")
                .replace("{CASE}", &case.display().to_string())
        })
        .collect()
}

fn check(case: &Path, description: &Value, rewrite: Rewrite<'_>) -> Result<(), String> {
    let independent = description["independent_of_go_rng"].as_bool() == Some(true);
    let first_index = case.join("expected_first.json");
    let expected = match (independent, first_index.is_file()) {
        (false, true) => read_json(&first_index),
        _ => read_json(&case.join("expected.json")),
    };
    let out = tempfile::tempdir().expect("a folder");
    let (results, decisions) = (
        out.path().join("results.json"),
        out.path().join("decisions.jsonl"),
    );
    let arguments = rewrite(arguments(case, description), out.path());
    let mut argv = arguments.clone();
    argv.extend(["--rules", "blis", "--format", "blis", "--results-path"].map(String::from));
    argv.push(results.display().to_string());
    let traced = argv.iter().any(|a| a == "--trace-level");
    if traced {
        argv.push("--decisions-path".into());
        argv.push(decisions.display().to_string());
    }
    let Ran {
        code,
        stdout,
        stderr,
    } = windtunnel(&argv);
    if expected["exit_code"] != 0 {
        // The reference refuses it; so do we, with the exit code of wrong input.
        return if code == 2 && stderr.contains("GiB") {
            Ok(())
        } else {
            Err(format!("exit {code}: {stderr}"))
        };
    }
    if code != 0 {
        return Err(format!("exit {code}: {stderr}"));
    }
    let splits = description["feature"] == "pd";
    requests(&expected["requests"], &read_json(&results), splits)?;
    if splits {
        ways(&expected["pd_parents"], &read_json(&results))?;
    }
    blocks(&expected["stdout"]["metrics"], &stdout)?;
    // Priority inversions are counted under the built-in priority-fcfs only; a file that decides
    // the same is not known by that name.
    let mute = arguments.iter().any(|a| a.ends_with("priority-fcfs.lua"));
    let mute = if mute { "Anomaly Counters" } else { "" };
    sections(&expected["stdout"]["sections"], &stdout, mute)?;
    instances(&expected["instances"], arguments, out.path())?;
    // The largest cases keep no routing log.
    if traced && expected["decisions"]["rows"].is_array() {
        routing(
            &expected["decisions"],
            &fs::read_to_string(&decisions).map_err(|e| e.to_string())?,
        )?;
    }
    Ok(())
}

fn same(expected: &Value, found: &Value) -> bool {
    match (expected.as_f64(), found.as_f64()) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => expected == found,
    }
}

/// The ways of split requests, time by time.
fn ways(expected: &Value, found: &Value) -> Result<(), String> {
    const COLUMNS: [(&str, &str); 5] = [
        ("prefill_instance", "prefill_instance"),
        ("decode_instance", "instance"),
        ("prefill_complete_us", "prefill_end_us"),
        ("transfer_start_us", "transfer_start_us"),
        ("transfer_complete_us", "transfer_end_us"),
    ];
    let rows = found.as_array().expect("rows");
    for theirs in expected.as_array().expect("parents") {
        let ours = rows.iter().find(|row| row["request_id"] == theirs["id"]);
        let ours = ours.ok_or_else(|| format!("{} has no row", theirs["id"]))?;
        for (their_key, key) in COLUMNS {
            let (a, b) = (&theirs[their_key], &ours[key]);
            // What never happened is 0 there.
            if !(same(a, b) || b.is_null() && *a == 0) {
                return Err(format!("{} {key}: expected {a}, found {b}", theirs["id"]));
            }
        }
    }
    Ok(())
}

/// Every request, column by column. Of split requests the reference loses state and instance.
fn requests(expected: &Value, found: &Value, splits: bool) -> Result<(), String> {
    const COLUMNS: [(&str, &str); 13] = [
        ("state", "state"),
        ("instance", "instance"),
        ("arrival_us", "arrival_us"),
        ("input_tokens", "prompt_tokens"),
        ("output_tokens", "output_tokens"),
        ("session_id", "session"),
        ("sched_delay_us", "scheduling_delay_us"),
        ("ttft_us", "ttft_us"),
        ("e2e_us", "e2e_us"),
        ("completion_us", "completion_us"),
        ("mean_itl_us", "mean_itl_us"),
        ("gateway_enqueue_us", "gateway_enqueue_us"),
        ("gateway_dispatch_us", "gateway_dispatch_us"),
    ];
    let columns: Vec<&str> = expected["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let found: BTreeMap<&str, &Value> = found
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| (r["request_id"].as_str().expect("an id"), r))
        .collect();
    let rows = expected["rows"].as_array().expect("rows");
    let mut wrong = 0;
    let mut first = String::new();
    for row in rows {
        let id = row[0].as_str().expect("an id");
        let ours = found.get(id);
        let lost = |key: &str| {
            let split = ours.is_some_and(|o| !o["prefill_instance"].is_null());
            splits && split && matches!(key, "state" | "instance")
        };
        // Cases of other features were reduced to what they exercise.
        let there = |theirs: &str| columns.contains(&theirs) || !theirs.starts_with("gateway");
        let known = COLUMNS
            .iter()
            .filter(|(theirs, key)| !lost(key) && there(theirs));
        let differs = known.clone().find(|(theirs, key)| {
            let at = columns
                .iter()
                .position(|c| c == theirs)
                .expect("the column");
            // An absent name is empty there and null here; so is the mean of no gaps, and a time at
            // the gateway that never was, which are 0 there.
            let zero_for_none = *key == "mean_itl_us" || key.starts_with("gateway");
            let nothing = row[at] == "" || zero_for_none && row[at].as_f64() == Some(0.0);
            let empty = nothing && ours.is_some_and(|o| o[*key].is_null() || o[*key] == "");
            !empty && !ours.is_some_and(|o| same(&row[at], &o[*key]))
        });
        if let Some((theirs, key)) = differs {
            wrong += 1;
            if first.is_empty() {
                let at = columns
                    .iter()
                    .position(|c| c == theirs)
                    .expect("the column");
                let ours = ours.map_or("absent".to_owned(), |o| o[*key].to_string());
                first = format!("{id} {key}: expected {}, found {ours}", row[at]);
            }
        }
    }
    if found.len() != rows.len() && wrong == 0 {
        return Err(format!("{} requests, expected {}", found.len(), rows.len()));
    }
    if wrong > 0 {
        Err(format!(
            "{wrong} of {} requests differ, first {first}",
            rows.len()
        ))
    } else {
        Ok(())
    }
}

/// The metric blocks: one per instance if there are several, then the cluster's.
fn blocks(expected: &Value, stdout: &str) -> Result<(), String> {
    let found: Vec<Value> = stdout
        .split("=== Simulation Metrics ===\n")
        .skip(1)
        .map(|text| {
            serde_json::Deserializer::from_str(text)
                .into_iter()
                .next()
                .expect("a block")
                .expect("JSON")
        })
        .collect();
    let expected = expected.as_array().expect("metric blocks");
    if found.len() != expected.len() {
        return Err(format!(
            "{} metric blocks, expected {}",
            found.len(),
            expected.len()
        ));
    }
    for (theirs, ours) in expected.iter().zip(&found) {
        let (theirs, ours) = (
            theirs.as_object().expect("an object"),
            ours.as_object().expect("an object"),
        );
        if let Some((key, value)) = theirs
            .iter()
            .find(|(key, value)| !ours.get(*key).is_some_and(|o| same(value, o)))
        {
            let ours = ours.get(key).map_or("absent".to_owned(), Value::to_string);
            return Err(format!(
                "{} {key}: expected {value}, found {ours}",
                theirs["instance_id"]
            ));
        }
        if let Some(key) = ours.keys().find(|key| !theirs.contains_key(*key)) {
            return Err(format!(
                "{} has {key}, which the reference has not",
                theirs["instance_id"]
            ));
        }
    }
    Ok(())
}

/// What each instance did: steps, KV blocks over time, preemptions. Our own JSON has these. The
/// reference's hit rate is in its metrics file: the plain mean over the instances.
fn instances(expected: &Value, mut argv: Vec<String>, out: &Path) -> Result<(), String> {
    const KEYS: [(&str, &str); 5] = [
        ("num_steps", "steps"),
        ("peak_kv_blocks_used", "kv_peak_blocks"),
        ("kv_blocks_used_integral", "kv_block_us"),
        ("preemptions", "preemption_count"),
        ("completed", "completed_requests"),
    ];
    let Some(expected) = expected.as_array() else {
        return Ok(());
    };
    let metrics = out.join("metrics.json");
    argv.extend(["--rules", "blis", "--json", "--metrics-path"].map(String::from));
    argv.push(metrics.display().to_string());
    let ran = windtunnel(&argv);
    let found: Value = serde_json::from_str(&ran.stdout).map_err(|e| format!("--json: {e}"))?;
    for (theirs, ours) in expected
        .iter()
        .zip(found["instances"].as_array().expect("instances"))
    {
        if let Some((key, our_key)) = KEYS.iter().find(|(a, b)| !same(&theirs[*a], &ours[*b])) {
            return Err(format!(
                "{} {key}: expected {}, found {}",
                theirs["id"], theirs[*key], ours[*our_key]
            ));
        }
    }
    let rates = expected.iter().filter_map(|i| i["cache_hit_rate"].as_f64());
    let mean = Value::from(rates.sum::<f64>() / expected.len() as f64);
    let ours = &read_json(&metrics)["cache_hit_rate"];
    if !same(&mean, ours) {
        return Err(format!("cache_hit_rate: expected {mean}, found {ours}"));
    }
    Ok(())
}

/// The text sections, to the letter, but for the one called `mute`.
fn sections(expected: &Value, stdout: &str, mute: &str) -> Result<(), String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut title = None;
    for line in stdout.lines() {
        if let Some(name) = line
            .strip_prefix("=== ")
            .and_then(|l| l.strip_suffix(" ==="))
        {
            title = (name != "Simulation Metrics").then_some(name);
        } else if let Some(title) = title {
            found.entry(title).or_default().push(line);
        }
    }
    found.remove(mute);
    for (title, lines) in expected.as_object().expect("sections") {
        if title == mute {
            continue;
        }
        let lines: Vec<&str> = lines
            .as_array()
            .expect("lines")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let ours = found.remove(title.as_str()).unwrap_or_default();
        if let Some(at) = (0..lines.len().max(ours.len())).find(|&i| lines.get(i) != ours.get(i)) {
            return Err(format!(
                "section {title}: expected {:?}, found {:?}",
                lines.get(at),
                ours.get(at)
            ));
        }
    }
    found.keys().next().map_or(Ok(()), |title| {
        Err(format!("section {title} is not in the reference"))
    })
}

/// The routing log: when, whom, where, with which scores and regret.
fn routing(expected: &Value, found: &str) -> Result<(), String> {
    let ours: Vec<Value> = found
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("a line of JSON"))
        .filter(|d| d["kind"] == "routing" && d["stage"].is_null())
        .collect();
    let theirs = expected["rows"].as_array().expect("rows");
    if theirs.len() != ours.len() {
        return Err(format!(
            "{} routing decisions, expected {}",
            ours.len(),
            theirs.len()
        ));
    }
    for (row, ours) in theirs.iter().zip(&ours) {
        let [id, clock, chosen, regret, scores] = [0, 1, 2, 3, 4].map(|i| &row[i]);
        let fine = ours["request_id"] == *id
            && ours["clock_us"] == *clock
            && ours["instance"] == *chosen
            && same(regret, &ours["regret"])
            && match scores.as_object() {
                None => ours["scores"].is_null(),
                Some(all) => all
                    .iter()
                    .all(|(instance, score)| same(score, &ours["scores"][instance])),
            };
        if !fine {
            return Err(format!("routing: expected {row}, found {ours}"));
        }
    }
    Ok(())
}
