//! The policies in `policies/` do what their names say, each in a scenario made by hand; and every
//! one of them runs through the command.

mod admission;
mod routing;
mod scheduling;

use crate::filled::{File, drive, file};
use crate::lab::{Affine, Arrival, BY_HAND, Round, ask, fresh, roomy};
use crate::support::{root, windtunnel};
use std::collections::BTreeSet;
use std::fs;
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_engine::cluster::ClusterConfig;
use windtunnel_engine::frontend::Predictor;
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_policy::{Hook, shipped};

fn router(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Routing, name, params)]
}

fn scheduler(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Scheduler, name, params)]
}

fn door(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Admission, name, params)]
}

/// `n` roomy instances.
fn cluster(n: u32) -> ClusterConfig {
    fresh(n, roomy(EngineRules::BLIS))
}

/// One instance that runs `seats` requests at a time.
fn narrow(seats: u32) -> ClusterConfig {
    fresh(
        1,
        EngineConfig {
            max_num_seqs: seats,
            ..roomy(EngineRules::BLIS)
        },
    )
}

/// The same by the rules of vLLM: a step shows when it ends, and no two overlap.
fn patient(seats: u32) -> ClusterConfig {
    let mut config = narrow(seats);
    config.pools[0].engine.rules = EngineRules {
        async_scheduling: false,
        ..EngineRules::VLLM
    };
    config
}

/// Where the requests went, in order of arrival.
fn places(record: &RunRecord) -> Vec<u32> {
    let place = |r: &RequestRecord| r.instance.expect("it was sent somewhere");
    record.requests.iter().map(place).collect()
}

fn count(places: &[u32], n: u32) -> Vec<usize> {
    let of = |i| places.iter().filter(|&&p| p == i).count();
    (0..n).map(of).collect()
}

/// Serial numbers in order of completion.
fn finish_order(record: &RunRecord) -> Vec<u64> {
    let done = |r: &RequestRecord| Some((r.completion_us()?, r.serial));
    let mut order: Vec<(i64, u64)> = record.requests.iter().filter_map(done).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, serial)| serial).collect()
}

/// `n` requests that are all about at the same time, `every` microseconds apart.
fn burst(n: i64, every: i64, prompt: u32, output: u32) -> Vec<Arrival> {
    (0..n).map(|k| ask(1 + k * every, prompt, output)).collect()
}

/// Prompts of 10 ms for one seat, twice as many as can be computed in time.
fn too_many(n: i64) -> Vec<Arrival> {
    let classes = ["critical", "standard", "sheddable"];
    (0..n)
        .map(|k| Arrival {
            class: classes[k as usize % 3],
            ..ask(k * 5_000, 9_900, 1)
        })
        .collect()
}

/// Requests of a class that had their first token within `us`; all if `class` is empty.
fn in_time(asks: &[Arrival], record: &RunRecord, class: &str, us: i64) -> usize {
    let of_class = asks.iter().zip(&record.requests);
    let good = |r: &RequestRecord| r.ttft_us.is_some_and(|t| t <= us);
    of_class
        .filter(|(a, r)| (class.is_empty() || a.class == class) && good(r))
        .count()
}

fn outcomes(record: &RunRecord, outcome: Outcome) -> usize {
    let is = |r: &&RequestRecord| r.outcome == outcome;
    record.requests.iter().filter(is).count()
}

/// Every file in `policies/`, by hook.
fn all_files() -> Vec<(Hook, String)> {
    let mut files = Vec::new();
    for hook in Hook::ALL {
        let folder = root().join("policies").join(hook.name());
        for entry in fs::read_dir(&folder).expect("a folder for each hook") {
            let name = entry.expect("readable").file_name();
            let name = name.to_str().expect("UTF-8").to_owned();
            files.push((
                hook,
                name.strip_suffix(".lua").expect("scripts only").to_owned(),
            ));
        }
    }
    files.sort();
    files
}

/// Each is one readable page that says where its rule comes from, is listed, and comes with the
/// command.
#[test]
fn every_file_is_a_page_with_its_source_and_can_be_named() {
    let list = fs::read_to_string(root().join("policies/README.md")).expect("a document");
    let (before, _) = list.split_once("## Bundles").expect("two parts");
    let files = all_files();
    for (hook, name) in &files {
        let shipped =
            shipped::find(*hook, name).unwrap_or_else(|| panic!("{hook} {name} is not shipped"));
        let header: String = shipped
            .text
            .lines()
            .take_while(|l| l.starts_with("--"))
            .collect();
        assert!(
            header.contains("Rule: ") && header.contains("Source: "),
            "{hook} {name}"
        );
        assert!(shipped.text.lines().count() <= 150, "{hook} {name}");
        let (_, section) = before
            .split_once(&format!("### {hook}\n"))
            .expect("a section");
        let section = section.split("###").next().unwrap_or_default();
        assert!(
            section.contains(&format!("| `{name}` |")),
            "{hook} {name} is not described"
        );
    }
    assert_eq!(shipped::ALL.len(), files.len());
}

#[test]
fn every_file_runs_through_the_command() {
    let files = all_files();
    assert!(files.len() >= 40, "{} files", files.len());
    for (trace, requests) in [("classes", 400), ("chat", 120)] {
        for (hook, name) in &files {
            let flag = match hook {
                Hook::Scheduler => "--scheduler".to_owned(),
                Hook::Disaggregation => {
                    "--rules vllm --prefill-instances 1 --decode-instances 2 --pd-decider"
                        .to_owned()
                }
                Hook::Batching => "--rules vllm --batching-strategy".to_owned(),
                Hook::Dispatch => {
                    "--flow-control --saturation-detector concurrency --max-concurrency 6 --dispatch-order"
                        .to_owned()
                }
                Hook::Scale => "--autoscale-max 4 --autoscale".to_owned(),
                hook => format!("--{hook}-policy"),
            };
            let mut line = format!(
                "replay --trace-header docs/examples/{trace}.yaml --trace-data docs/examples/{trace}.csv --model llama-3.1-8b-instruct \
                 --num-instances 3 --max-num-seqs 16 --json {flag} policies/{hook}/{name}.lua"
            );
            if *hook == Hook::Priority {
                line += " --scheduler priority-fcfs";
            }
            let ran = windtunnel(line.split_whitespace());
            assert_eq!(ran.code, 0, "{line}\n{}", ran.stderr);
            let result: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
            let completed = result["completed_requests"].as_u64().expect("a number");
            match (hook, name.as_str()) {
                (_, "reject-all") => assert_eq!(completed, 0),
                (Hook::Admission, _) => assert!(completed > 0, "{line}"),
                _ => assert_eq!(completed, requests, "{line}"),
            }
        }
    }
}
