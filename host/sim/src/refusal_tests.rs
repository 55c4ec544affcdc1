//! Requests that the server of an instance refuses, as vLLM's API server does.

use crate::{RunResult, RunSpec};
use serde_json::{Value, json};
use windtunnel_base::record::Outcome;

/// Three requests at once, one while the first of them are decoded, one when all are done; prompts
/// of 100 tokens, answers of 200.
fn run(limits: Value) -> RunResult {
    let ids = |first: u32, count: u32| {
        let ids: Vec<String> = (first..first + count).map(|id| id.to_string()).collect();
        ids.join(",")
    };
    let rows = ["0", "0", "0", "0.5", "900"];
    let rows = (1u32..).zip(rows).map(|(k, at)| {
        let (prompt, answer) = (ids(1000 * k, 100), ids(1000 * k + 100, 200));
        format!("{at},x,m,\"[{prompt}]\",\"[{answer}]\"\n")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.csv");
    let text = format!("t,id,model,prompt,output\n{}", rows.collect::<String>());
    std::fs::write(&file, text).expect("written");
    let mut settings = json!({
        "model": "llama-3.1-8b-instruct", "rules": "vllm", "workload": "traces",
        "workload_traces_filepath": file,
    });
    for (name, value) in limits.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    let spec = RunSpec::from_settings(settings.as_object().cloned().unwrap_or_default());
    let simulation = spec.expect("a run").resolve().expect("it makes sense");
    simulation.run(&mut |_| ()).expect("it ends")
}

fn outcomes(result: &RunResult) -> Vec<Outcome> {
    let requests = result.record.requests.iter();
    requests.map(|r| r.outcome).collect()
}

#[test]
fn a_server_takes_so_many_requests_and_no_more() {
    use Outcome::{Completed, RequestsQueued};
    let result = run(json!({ "max_num_queued_reqs": 2 }));
    let expected = [
        Completed,
        Completed,
        RequestsQueued,
        RequestsQueued,
        Completed,
    ];
    assert_eq!(outcomes(&result), expected);
    let summary = &result.summary;
    assert_eq!(
        (
            summary.refused_by_queued_reqs,
            summary.refused_by_queued_tokens
        ),
        (2, 0)
    );
    // What was refused was never there.
    assert_eq!(
        (summary.cluster.routed, summary.instances[0].completed),
        (3, 3)
    );
    assert!(outcomes(&run(json!({ "max_num_queued_reqs": 3 })))[2] == Completed);
    assert_eq!(
        outcomes(&run(json!({ "max_num_queued_reqs": 0 }))),
        [RequestsQueued; 5]
    );
}

#[test]
fn prompts_without_a_first_token_keep_others_out() {
    use Outcome::{Completed, TokensQueued};
    // The second one comes in over the limit; the fourth finds the others decoding.
    let result = run(json!({ "max_num_queued_tokens": 150 }));
    let expected = [Completed, Completed, TokensQueued, Completed, Completed];
    assert_eq!(outcomes(&result), expected);
    assert_eq!(result.summary.refused_by_queued_tokens, 1);
    assert_eq!(
        outcomes(&run(json!({ "max_num_queued_tokens": 201 }))),
        [Completed; 5]
    );
}
