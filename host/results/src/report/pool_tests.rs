//! Reports name the pools if the pools have names, and say nothing of them otherwise.

use super::{ReportInputs, Results, decisions, json, rows, table};
use crate::metrics::summary::tests::{done, refused, run};
use windtunnel_base::record::{Decision, PoolRecord, RunRecord};
use windtunnel_base::request::Sym;

/// Three instances: one of pool `h100`, two of pool `a100`, the last of them idle.
fn two_pools() -> RunRecord {
    let requests = vec![done(0, 0, 1000, 3000, 0), done(1, 10, 4000, 9000, 1)];
    let mut record = run([requests, vec![refused(2, 20)]].concat(), 3);
    let pools = [("h100", 1, 1), ("a100", 2, 4)];
    record.pools = pools
        .map(|(name, instances, gpus_per_instance)| PoolRecord {
            name: record.symbols.intern(name),
            role: windtunnel_base::record::Role::Serve,
            instances,
            ranks: 1,
            gpu: name.to_uppercase(),
            gpus_per_instance,
        })
        .into();
    let [h100, a100] = [0, 1].map(|k: usize| record.pools[k].name);
    for (totals, pool) in record.instances.iter_mut().zip([h100, a100, a100]) {
        totals.pool = pool;
    }
    for (request, pool) in record.requests.iter_mut().zip([h100, a100, Sym::NONE]) {
        request.pool = pool;
    }
    record.decisions = vec![Decision::Routing {
        stage: windtunnel_base::record::RoutingStage::Whole,
        clock_us: 12,
        id: record.requests[1].id.clone(),
        chosen: 1,
        pool: a100,
        reason: "round-robin".into(),
        among: Vec::new(),
        scores: None,
        candidates: Vec::new(),
        regret: 0.0,
    }];
    record
}

#[test]
fn json_says_what_each_pool_is_and_which_instances_it_has() {
    let record = two_pools();
    let value = json::value(&Results::new(&record, &ReportInputs::default()));
    let pools: Vec<&str> = value["instances"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| i["pool"].as_str().expect("a name"))
        .collect();
    assert_eq!(pools, ["h100", "a100", "a100"]);
    let a100 = &value["pools"]["a100"];
    assert_eq!(
        (&a100["instances"], &a100["gpu"], &a100["gpus_per_instance"]),
        (&2.into(), &"A100".into(), &4.into())
    );
    assert_eq!(a100["completed_requests"], 1);
    assert_eq!(a100["ttft_ms"]["mean"], 4.0);
    assert_eq!(value["pools"]["h100"]["e2e_ms"]["p50"], 3.0);

    let lone = json::value(&Results::new(&run(vec![], 2), &ReportInputs::default()));
    assert_eq!(lone.get("pools"), None);
    assert_eq!(lone["instances"][0].get("pool"), None);
}

#[test]
fn rows_have_a_column_for_the_pool_behind_the_instance() {
    let record = two_pools();
    let text = |format| {
        let mut out = Vec::new();
        rows::write(&record, format, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    };
    let cells = |line: &str| {
        line.split(',')
            .skip(3)
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let csv: Vec<String> = text(rows::Format::Csv).lines().map(cells).collect();
    assert_eq!(
        csv,
        ["instance pool", "instance_0 h100", "instance_1 a100", " "]
    );
    let json: serde_json::Value = serde_json::from_str(&text(rows::Format::Json)).expect("JSON");
    assert_eq!(json[1]["pool"], "a100");
    assert_eq!(json[2]["pool"], serde_json::Value::Null);
    let columns = rows::columns(&record);
    let (names, pools) = (columns[3].0, &columns[4]);
    assert_eq!((names, pools.0), ("instance", rows::POOL));
    let expected = [Some("h100"), Some("a100"), None].map(|name| name.map(str::to_owned));
    assert_eq!(pools.1, rows::Column::Text(expected.into()));
    assert_eq!(columns.len(), rows::COLUMNS.len() + 1);
}

#[test]
fn a_decision_names_the_pool_of_the_chosen_instance() {
    let mut out = Vec::new();
    decisions::write_jsonl(&two_pools(), &mut out).expect("written");
    insta::assert_snapshot!(String::from_utf8(out).expect("text"), @r#"{"kind":"routing","clock_us":12,"request_id":"request_1","instance":"instance_1","pool":"a100","reason":"round-robin","scores":null,"candidates":[],"regret":0.0}"#);
}

#[test]
fn tables_show_the_pool_of_each_instance_and_compare_the_pools() {
    let record = two_pools();
    let text = table::text(&Results::new(&record, &ReportInputs::default()));
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    let from = text.find("┌────────────┬──────┬").expect("the instances");
    insta::assert_snapshot!(text[from..], @r"
    ┌────────────┬──────┬──────────┬───────┬─────────────┬─────────┬──────────┬───────────┬───────┐
    │ Instance   ┆ Pool ┆ Requests ┆ Share ┆ TTFT p99 ms ┆ KV peak ┆ Hit rate ┆ Preempted ┆ Queue │
    ╞════════════╪══════╪══════════╪═══════╪═════════════╪═════════╪══════════╪═══════════╪═══════╡
    │ instance_0 ┆ h100 ┆        1 ┆ 50.0% ┆        1.00 ┆    0.0% ┆        - ┆         0 ┆     - │
    │ instance_1 ┆ a100 ┆        1 ┆ 50.0% ┆        4.00 ┆    0.0% ┆        - ┆         0 ┆     - │
    │ instance_2 ┆ a100 ┆        0 ┆  0.0% ┆           - ┆    0.0% ┆        - ┆         0 ┆     - │
    └────────────┴──────┴──────────┴───────┴─────────────┴─────────┴──────────┴───────────┴───────┘

    By pool (latencies in ms)
    ┌──────┬─────────┬───────────┬───────────────┬───────────┬──────────┬──────────┬─────────┐
    │ Pool ┆ Arrived ┆ Completed ┆ Output tokens ┆ TTFT mean ┆ TTFT p99 ┆ E2E mean ┆ E2E p99 │
    ╞══════╪═════════╪═══════════╪═══════════════╪═══════════╪══════════╪══════════╪═════════╡
    │ a100 ┆       1 ┆         1 ┆             3 ┆      4.00 ┆     4.00 ┆     9.00 ┆    9.00 │
    │ h100 ┆       1 ┆         1 ┆             3 ┆      1.00 ┆     1.00 ┆     3.00 ┆    3.00 │
    └──────┴─────────┴───────────┴───────────────┴───────────┴──────────┴──────────┴─────────┘
    ");
}
