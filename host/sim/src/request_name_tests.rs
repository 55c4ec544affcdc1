//! Names that a trace gives to its requests: they are what records call them, and what vLLM breaks
//! ties by.

use crate::{RunResult, RunSpec};
use serde_json::json;

const IDS: [&str; 4] = ["zeta", "alpha", "mid", "beta"];

/// Requests of one time; the last one is more urgent than the others.
fn run(policy: &str) -> RunResult {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.csv");
    let rows = IDS.map(|id| {
        let priority = if id == "beta" { -1 } else { 5 };
        format!("0,,,\"[1, 2, 3]\",\"[4, 5]\",{id},{priority}\n")
    });
    let text = format!("t,a,b,p,o,request_id,priority\n{}", rows.concat());
    std::fs::write(&path, text).expect("written");
    let all = json!({
        "model": "llama-3.1-8b-instruct", "rules": "vllm", "max_num_running_reqs": 1,
        "scheduling_policy": policy, "workload": "traces",
        "workload_traces_filepath": path.display().to_string(),
    });
    let spec = RunSpec::from_settings(all.as_object().cloned().expect("an object"));
    let simulation = spec.expect("a run").resolve().expect("it makes sense");
    simulation.run(&mut |_| ()).expect("it ends")
}

/// The names in the order in which the requests were served.
fn served(policy: &str) -> Vec<String> {
    let result = run(policy);
    let mut requests: Vec<_> = result.record.requests.iter().collect();
    requests.sort_by_key(|r| r.scheduling_delay_us);
    requests.iter().map(|r| r.id.to_string()).collect()
}

#[test]
fn names_break_ties_of_priority_and_arrival() {
    assert_eq!(served("priority"), ["beta", "alpha", "mid", "zeta"]);
    // First come, first served knows rows alone.
    assert_eq!(served("fcfs"), IDS);
}
