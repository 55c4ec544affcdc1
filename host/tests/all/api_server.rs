//! The API server of an instance: what comes and what leaves shares its processes. Microseconds
//! by hand; step times are [`BY_HAND`](crate::lab::BY_HAND): 100 us a step, plus 1 us a prefill
//! token, plus 10 us a decode.

use crate::lab::{self, Affine, ask, roomy, run_one};
use crate::support::windtunnel;
use serde_json::Value;
use windtunnel_base::record::RequestRecord;
use windtunnel_engine::instance::{ApiServerConfig, EngineConfig, EngineRules};
use windtunnel_policy::PolicySpec;

/// vLLM's rules with such a server; steps are chosen one after the other unless `ahead`.
fn engine(count: u32, times_us: [f64; 3], ahead: bool) -> EngineConfig {
    let mut engine = roomy(EngineRules {
        async_scheduling: ahead,
        ..EngineRules::VLLM
    });
    engine.scheduling.api_server = ApiServerConfig {
        count,
        times_us,
        ..ApiServerConfig::default()
    };
    engine
}

/// TTFT and end-to-end latency.
fn times(r: &RequestRecord) -> (i64, i64) {
    (
        r.ttft_us.expect("a token"),
        r.e2e_us.expect("all of its tokens"),
    )
}

#[test]
fn requests_that_come_at_once_share_a_server_process() {
    // 1,000 us each and 2 us for each of 10 prompt tokens.
    let service = [1000.0, 2.0, 0.0];
    let two = [ask(0, 10, 1), ask(0, 10, 1)];
    // Both are taken in at 2040, and a step of 120 us follows.
    let one = run_one(engine(1, service, false), &two);
    assert_eq!([times(&one[0]).0, times(&one[1]).0], [2160, 2160]);
    // Side by side, at 1020.
    let side = run_one(engine(2, service, false), &two);
    assert_eq!([times(&side[0]).0, times(&side[1]).0], [1140, 1140]);
    // Of the first, 120 us are left at 900; it has half of the process until 1140. The other one
    // has all of it from then on, and is taken in at 2040.
    let later = run_one(engine(1, service, false), &[ask(0, 10, 1), ask(900, 10, 1)]);
    let ttft = [times(&later[0]).0, times(&later[1]).0];
    assert_eq!(ttft, [1140 + 110, 2040 + 110 - 900]);
}

#[test]
fn the_models_own_delay_comes_on_top_and_keeps_nobody_waiting() {
    let latency = Affine {
        queueing: 500,
        ..lab::BY_HAND
    };
    let of = |of_model_us| {
        let mut engine = engine(1, [1000.0, 0.0, 0.0], false);
        engine.scheduling.api_server.of_model_us = of_model_us;
        let two = [ask(0, 10, 1), ask(0, 10, 1)];
        let config = lab::fresh(1, engine);
        let run = lab::run(config, latency, &PolicySpec::default(), &two);
        run.requests.iter().map(|r| times(r).0).collect::<Vec<_>>()
    };
    assert_eq!(of([0.0; 2]), [2620, 2620]);
    // What of it was the server's is replaced.
    assert_eq!(of([300.0, 2.0]), [2300, 2300]);
}

#[test]
fn tokens_go_before_requests() {
    // A request takes 950 us, a token 30.
    let two = [ask(0, 10, 1), ask(900, 10, 1)];
    let records = run_one(engine(1, [950.0, 0.0, 30.0], false), &two);
    // The first is taken in at 1000: 900 us alone, half of 100. So are 50 us of the second, which
    // has 160 at 1110 and 950 at 1140 + 790.
    assert_eq!(times(&records[0]).0, 1110 + 30);
    assert_eq!(times(&records[1]).0, 1930 + 110 + 30 - 900);
}

#[test]
fn tokens_are_late_by_their_own_work_and_fall_behind_where_it_is_more_than_a_step() {
    for ahead in [false, true] {
        // Steps of 110 us end at 110, 220, 330, 440.
        let of = |output_us| run_one(engine(1, [0.0, 0.0, output_us], ahead), &[ask(0, 10, 4)]);
        let quick = &of(30.0)[0];
        assert_eq!((times(quick), quick.itl_sum_us), ((140, 470), 330));
        // 110..310, 310..510, 510..710, 710..910.
        let slow = &of(200.0)[0];
        assert_eq!((times(slow), slow.itl_sum_us), ((310, 910), 600));
    }
    // Three requests on two processes: two messages on the fuller one. Steps end at 130 and 260.
    let three = [ask(0, 10, 2), ask(0, 10, 2), ask(0, 10, 2)];
    for r in run_one(engine(2, [0.0, 0.0, 30.0], false), &three) {
        assert_eq!(times(&r), (190, 320));
    }
}

#[test]
fn a_client_sends_its_next_request_when_it_has_seen_the_last_token() {
    let session = lab::Arrival {
        rounds: vec![lab::Round {
            think: 0,
            prompt: 10,
            output: 1,
        }],
        ..ask(0, 10, 2)
    };
    let records = run_one(engine(1, [0.0, 0.0, 30.0], false), &[session]);
    assert_eq!(records[1].arrival_us, 250, "the second step ends at 220");
}

#[test]
fn a_thousand_requests_at_once_wait_for_the_work_of_all() {
    const BURST: &str = "run --model qwen/qwen3-8b --hardware H100 --tp 1 --latency-model kernel-tables \
                         --workload distribution --rate 1000000 --num-requests 1000 --prompt-tokens 32 \
                         --prompt-tokens-stdev 0 --output-tokens-min 1 --output-tokens 1 --output-tokens-stdev 0 --json";
    let run = |flags: &[&str]| -> f64 {
        let ran = windtunnel(BURST.split_whitespace().chain(flags.iter().copied()));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        report["e2e_p99_ms"].as_f64().expect("a figure")
    };
    let free = run(&["--api-server-us", "0"]);
    let one = run(&["--api-server-us", "20000"]);
    let four = run(&["--api-server-us", "20000", "--api-server-count", "4"]);
    // They are taken in after 20 s of work, or 5 s on four processes; the engine needs as long as
    // before, within a step.
    assert!((one - free - 20_000.0).abs() < 50.0, "{free} {one}");
    assert!((four - free - 5_000.0).abs() < 50.0, "{free} {four}");
}
