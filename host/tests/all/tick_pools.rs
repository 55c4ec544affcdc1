//! Abstract time with pools: prefill and decode apart, as TickSim has them and as it has not; and
//! runs side by side.

use crate::errors::Folder;
use crate::support::root;
use crate::ticks::{compare, example, page_data, places_shown, recorded, run_json, write};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use windtunnel_sim::RunSpec;

/// A run in the form of the shipped examples of workers that prefill and workers that decode, with
/// the inputs of a case of TickSim.
fn pools_of(input: &Value) -> Value {
    let or = |name: &str, default: Value| match &input[name] {
        Value::Null => default,
        given => given.clone(),
    };
    let deviation = or("output_len_std", or("std", json!(0)));
    let pool = |role: &str, workers: &Value| {
        json!({
            "name": role,
            "role": role,
            "engine": { "max_num_seqs": workers, "batching_strategy": "in-flight" },
            "latency": {
                "model": "ticks",
                "prefill_time": or("prefill_time", json!(2)),
                "itl": or("itl", json!(1)),
                "total_prefill_chunks": or("total_prefill_chunks", json!(1)),
            },
        })
    };
    json!({
        "pools": [
            pool("prefill", &input["prefill_workers"]),
            pool("decode", &input["decode_workers"]),
        ],
        "disaggregation": { "lockstep": true },
        "workload": {
            "load_generator": "all-at-once",
            "num_requests": input["initial_batch"],
            "output_tokens": {
                "mean": or("target_output_len_tokens", json!(4)),
                "stdev": deviation,
            },
        },
        "seed": or("seed", json!(42)),
        "time_limit": input["time_limit"],
    })
}

/// Runs a case of workers that prefill and workers that decode, in whatever order of the pools.
pub(crate) fn check_pools(folder: &Folder, case: &Value) {
    let name = case["name"].as_str().expect("a name");
    for (plain, reversed) in [(false, false), (true, false), (false, true)] {
        let mut run = pools_of(&case["input"]);
        let pools = run["pools"].as_array_mut().expect("pools");
        if reversed {
            pools.reverse();
        }
        for pool in pools {
            pool["engine"]["plain_steps"] = plain.into();
        }
        let path = write(folder, &run);
        let result = run_json(&["run", "--spec", &path, "--json", "--quiet"]);
        compare(name, &case["expected"], &result);
    }
}

#[test]
fn workers_that_prefill_and_decode_go_in_lockstep_as_recorded() {
    let folder = Folder::with(&[]);
    let page = folder.path().join("page.html");
    let recorded = recorded();
    for case in recorded["pools"].as_array().expect("cases") {
        check_pools(&folder, case);
        let file = write(&folder, &pools_of(&case["input"]));
        let html = page.to_string_lossy();
        run_json(&["run", "--spec", &file, "--html-path", &html, "--json", "-q"]);
        let shown = page_data(&page);
        let shown = shown["instances"].as_array().expect("instances");
        let shown: Vec<String> = shown.iter().flat_map(places_shown).collect();
        let slots = case["slots"].as_array().expect("places");
        assert_eq!(shown.len(), slots.len());
        for (k, (shown, slot)) in shown.iter().zip(slots).enumerate() {
            let slot = slot.as_str().expect("the states of a place");
            assert_eq!(shown[..slot.len()], *slot, "{}, place {k}", case["name"]);
        }
    }
    // The README's "complex" example; its generator's own requests are lost there.
    let complex = example("disagg-complex");
    let result = run_json(&["run", "--spec", &complex, "--json", "--quiet"]);
    for (place, want) in [
        ("/e2e_ticks/mean", 122.3),
        ("/e2e_ticks/median", 118.0),
        ("/ttft_ticks/mean", 26.0),
        ("/itl_ticks/mean", 1.1200564971751412),
        ("/steps", 475.0),
    ] {
        let got = result.pointer(place).and_then(Value::as_f64);
        let off = (got.expect("a figure") - want).abs();
        assert!(off < 1e-9, "{place} is {got:?}, not {want}");
    }
    for (example, case) in ["disagg-basic", "disagg-chunked"].into_iter().zip(0..) {
        let path = root().join(format!("examples/ticksim/{example}.yaml"));
        let made = write(&folder, &pools_of(&recorded["pools"][case]["input"]));
        let run = |path: &Path| RunSpec::load(path).expect("a run");
        assert_eq!(run(&path), run(made.as_ref()));
    }
}

#[test]
fn a_sweep_is_in_ticks() {
    let folder = Folder::with(&[]);
    let base = "sweep --load-generator all-at-once --num-requests 30 --output-tokens 10 \
                --output-tokens-stdev 5 --time-limit 60 --max-num-seqs 4";
    let strategies = "--grid batching-strategy=static,in-flight";
    let ran = folder.command(&format!(
        "{base} --latency-model ticks {strategies} --seeds 2 --out @/s.csv"
    ));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let last = "4 runs; times in ticks, means; queue at the end";
    for shown in ["Requests/1k", "TTFT", "in-flight", last] {
        assert!(ran.stdout.contains(shown), "{shown}\n{}", ran.stdout);
    }
    let text = fs::read_to_string(folder.path().join("s.csv")).expect("rows");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let columns = rows.headers().expect("columns").clone();
    let expected = ["run", "batching-strategy", "seed", "arrived", "completed"];
    assert_eq!(columns.iter().take(5).collect::<Vec<_>>(), expected);
    let single = run_json(&[
        "run",
        "--latency-model",
        "ticks",
        "--load-generator",
        "all-at-once",
        "--num-requests",
        "30",
        "--output-tokens",
        "10",
        "--output-tokens-stdev",
        "5",
        "--time-limit",
        "60",
        "--max-num-seqs",
        "4",
        "--batching-strategy",
        "in-flight",
        "--json",
        "--quiet",
    ]);
    let row = rows
        .records()
        .nth(2)
        .expect("the third run")
        .expect("a row");
    let figure = |name: &str| {
        let at = columns.iter().position(|column| column == name);
        row[at.expect("a column")].parse::<f64>().ok()
    };
    assert_eq!(
        figure("ttft_mean_ticks"),
        single["ttft_ticks"]["mean"].as_f64()
    );
    assert_eq!(figure("steps"), single["steps"].as_f64());
    // More seeds go on from the file.
    let more = folder.command(&format!(
        "{base} --latency-model ticks {strategies} --seeds 3 --out @/s.csv"
    ));
    assert_eq!(
        (more.code, more.stderr.as_str()),
        (0, "4 of 6 runs are done already\n")
    );
    let ran = folder.command(&format!(
        "{base} --model llama-3.1-8b-instruct --grid latency-model=ticks,roofline"
    ));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("ticks; one table cannot compare them"),
        "{}",
        ran.stderr
    );
}

#[test]
fn prefixes_transfers_and_hops_cost_what_they_say() {
    let chunks = 4.0;
    let run = |more: &str| {
        let arguments = format!(
            "run --latency-model ticks --prefill-time 4 --total-prefill-chunks 4 --load-generator \
             constant-rate --rate 0.02 --num-requests 5 --json --quiet {more}"
        );
        run_json(&arguments.split_whitespace().collect::<Vec<_>>())
    };
    let mean = |result: &Value, of: &str| result[of]["mean"].as_f64().expect("a mean");
    // Four chunks of a tick, then two tokens of one.
    let three = "--output-tokens 3";
    let whole = run(three);
    assert_eq!(
        (mean(&whole, "ttft_ticks"), mean(&whole, "e2e_ticks")),
        (chunks, 6.0)
    );
    // The last four of five prompts have three chunks less to compute.
    let hits = run("--output-tokens 3 --prefix-tokens 3 --enable-prefix-caching");
    assert_eq!(mean(&hits, "ttft_ticks"), (chunks + 4.0) / 5.0);
    let split = "--prefill-instances 1 --decode-instances 1 --output-tokens";
    let moved = run(&format!("{split} 3"));
    assert_eq!(
        (mean(&moved, "ttft_ticks"), mean(&moved, "e2e_ticks")),
        (chunks, 6.0)
    );
    let hops = run(&format!("{split} 3 --pd-hop-latency 0.5"));
    assert_eq!(
        (mean(&hops, "ttft_ticks"), mean(&hops, "e2e_ticks")),
        (4.5, 7.0)
    );
    // Half a prompt per tick; four chunks are two ranges.
    let dear = run(&format!(
        "{split} 3 --pd-transfer-bandwidth 0.5 --pd-transfer-base-latency 0.25 \
         --pd-transfer-descriptor-time 0.125 --pd-transfer-descriptor-blocks 2"
    ));
    assert_eq!(mean(&dear, "ttft_ticks"), chunks);
    assert!((mean(&dear, "e2e_ticks") - (6.0 + 2.0 + 0.25 + 2.0 * 0.125)).abs() < 1e-9);
    // One token is all: nothing moves.
    let one = run(&format!("{split} 1 --pd-transfer-bandwidth 0.5"));
    assert_eq!(mean(&one, "e2e_ticks"), chunks);
}
