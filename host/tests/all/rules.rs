//! Each switch of the engine's rules, on and off, with times worked out by hand; and the rules on
//! the command line.
//!
//! Step times are [`BY_HAND`](crate::lab::BY_HAND): 100 us a step, plus 1 us a prefill token, plus
//! 10 us a decode. The switch under test is the only one that differs from the `blis` preset.

use crate::lab::{self, Arrival, BY_HAND, ask, fresh, roomy, run_one};
use crate::support::{Ran, windtunnel};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use windtunnel_base::record::{Outcome, RequestRecord};
use windtunnel_engine::instance::{CoreTime, EngineConfig, EngineRules};
use windtunnel_policy::{Hook, PolicySpec};

/// Off, then on.
fn both(set: impl Fn(&mut EngineRules, bool)) -> [EngineConfig; 2] {
    [false, true].map(|on| {
        let mut rules = EngineRules::BLIS;
        set(&mut rules, on);
        roomy(rules)
    })
}

/// Scheduling delay, TTFT and end-to-end latency.
fn times(r: &RequestRecord) -> (i64, i64, i64) {
    let known = |t: Option<i64>| t.expect("it happened");
    (
        known(r.scheduling_delay_us),
        known(r.ttft_us),
        known(r.e2e_us),
    )
}

/// Two requests of 3 + 7 tokens at time 0, and 4 blocks of 4 tokens.
///
/// 0..106: both prefill 3 tokens, a block each. 106..226: the first decode fills these blocks.
/// 226..706: four decodes of 120 us fill a second block each, and all 4 are in use. At 706 the
/// first request needs a third: the second one is preempted with 6 tokens out, and its second block
/// is recycled. 706..816: the first decodes alone (110 us) and has its 7 tokens.
fn preemption_of_the_second(engine: EngineConfig) -> Vec<RequestRecord> {
    let tight = EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        ..engine
    };
    let records = run_one(tight, &[ask(0, 3, 7), ask(0, 3, 7)]);
    assert_eq!(times(&records[0]), (0, 106, 816));
    assert_eq!([0, 1].map(|k| records[k].preemptions), [0, 1]);
    records
}

#[test]
fn kept_tokens_are_recomputed_and_the_first_token_stands() {
    let [forget, keep] = both(|r, on| r.keep_tokens_on_preemption = on)
        .map(|engine| preemption_of_the_second(engine).remove(1));
    // Forgotten: 816..919 prefills 3 tokens again, 6 decodes of 110 us follow.
    assert_eq!(times(&forget), (816, 919, 919 + 6 * 110));
    assert_eq!(forget.itl_sum_us, 660);
    // Kept: of 3 + 6 tokens the first block is still cached; 816..921 computes 5 and yields the 7th
    // token. Its gap is the duration of its step (the wait is the business of
    // `gaps_are_elapsed_time`): 5 x 120 + 105.
    assert_eq!(times(&keep), (816, 106, 106 + 705));
    assert_eq!(keep.itl_sum_us, 705);
    assert_eq!(keep.mean_itl_us, Some(117.5));
}

#[test]
fn the_wait_of_a_preempted_request_is_a_gap_when_gaps_are_elapsed_time() {
    let engine = both(|r, _| r.keep_tokens_on_preemption = true)[0];
    let [off, on] = [false, true].map(|elapsed| {
        let mut engine = engine;
        engine.rules.gaps_are_elapsed_time = elapsed;
        preemption_of_the_second(engine).remove(1)
    });
    assert_eq!(times(&off).2, 811, "less than what passed");
    // The 7th token comes at 921, 215 us after the 6th at 706.
    assert_eq!((times(&on).2, on.itl_sum_us), (921, 5 * 120 + 215));
}

#[test]
fn the_first_scheduling_counts_or_the_last() {
    let [last, first] = both(|r, on| r.first_scheduling_counts = on)
        .map(|engine| preemption_of_the_second(engine).remove(1));
    assert_eq!(last.scheduling_delay_us, Some(816));
    assert_eq!(first.scheduling_delay_us, Some(0));
    assert_eq!(first.ttft_us, last.ttft_us);
}

#[test]
fn a_drained_engine_is_busy_until_its_last_step_ends() {
    let [overlap, one] = both(|r, on| r.one_step_at_a_time = on)
        .map(|engine| run_one(engine, &[ask(0, 10, 1), ask(50, 10, 1)]));
    // The first request's step runs 0..110 and drains the batch.
    for records in [&overlap, &one] {
        assert_eq!(times(&records[0]), (0, 110, 110));
    }
    assert_eq!(times(&overlap[1]), (0, 110, 110), "50..160, overlapping");
    assert_eq!(times(&one[1]), (60, 170, 170), "110..220");
}

#[test]
fn a_full_prefix_hit_recomputes_its_last_block() {
    let engines = both(|r, on| r.recompute_last_block = on).map(|engine| EngineConfig {
        block_size: 4,
        ..engine
    });
    let same = |at| Arrival {
        prefix: (1, 8),
        ..ask(at, 0, 2)
    };
    let [free, recomputed] = engines.map(|engine| run_one(engine, &[same(0), same(1000)]));
    // 8 tokens prefill in 108 us, one decode takes 110 us.
    for records in [&free, &recomputed] {
        assert_eq!(times(&records[0]), (0, 108, 218));
    }
    assert_eq!(times(&free[1]), (0, 100, 210), "no tokens to compute");
    assert_eq!(times(&recomputed[1]), (0, 104, 214), "one block of 4");
}

#[test]
fn all_copies_of_a_block_are_findable_or_only_the_newest() {
    // Chunks of 2 tokens: two requests that share 4 tokens both compute the shared block, at the
    // same time. The first ends with its first token; the second grows from 5 to 13 tokens and
    // takes the first one's two blocks, its copy last.
    let shared = |at, output| Arrival {
        prefix: (1, 4),
        ..ask(at, 1, output)
    };
    let asks = [shared(0, 1), shared(0, 9), shared(10_000, 1)];
    let engines = both(|r, on| r.find_all_copies = on).map(|engine| EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        long_prefill_token_threshold: 2,
        ..engine
    });
    let [newest, all] = engines.map(|engine| run_one(engine, &asks).remove(2));
    // Nothing found: 2 + 2 + 1 tokens in three steps. The second's copy found: 1 token.
    assert_eq!(times(&newest), (0, 102 + 102 + 101, 305));
    assert_eq!(times(&all), (0, 101, 101));
}

#[test]
fn the_last_token_takes_kv_space_or_not() {
    // Two blocks. With space for its last token, the first request opens the second block for it;
    // the second request then takes that one for its prompt and recycles the first block, with the
    // first prompt, for its own last token.
    let first = |at, more| Arrival {
        prefix: (1, 4),
        ..ask(at, more, 1)
    };
    let asks = [first(0, 0), ask(1000, 4, 1), first(2000, 1)];
    let engines = both(|r, on| r.kv_for_last_token = on).map(|engine| EngineConfig {
        total_kv_blocks: 2,
        block_size: 4,
        ..engine
    });
    let [without, with] = engines.map(|engine| run_one(engine, &asks));
    for records in [&without, &with] {
        assert_eq!(times(&records[0]), (0, 104, 104));
        assert_eq!(times(&records[1]), (0, 104, 104));
    }
    assert_eq!(
        times(&without[2]),
        (0, 101, 101),
        "the first block is cached"
    );
    assert_eq!(times(&with[2]), (0, 105, 105), "it was recycled");
}

#[test]
fn asynchronous_scheduling_admits_one_step_later() {
    let [off, on] = asynchronous().map(|engine| {
        // Arrivals while the first step runs, exactly when it ends, and when the engine is idle.
        run_one(
            engine,
            &[
                ask(0, 10, 9),
                ask(50, 10, 1),
                ask(5000, 10, 2),
                ask(5110, 10, 1),
            ],
        )
    });
    // 0..110 prefill of 10; 110..230 one decode and a prefill of 10.
    assert_eq!(times(&off[1]), (60, 180, 180));
    // The batch of 110..220 was chosen at 0; the next one, 220..340, chosen at 110, takes the
    // newcomer.
    assert_eq!(times(&on[1]), (60, 290, 290));
    for records in [&off, &on] {
        assert_eq!(times(&records[2]).0, 0, "an idle engine starts at once");
    }
    // The step 5000..5110 ends when the last one arrives: 5110..5230 takes it, or, chosen at 5000,
    // does not. The next one, 5220..5330, is chosen then and does; the request before has all its
    // tokens scheduled.
    assert_eq!(times(&off[3]), (0, 120, 120));
    assert_eq!(times(&on[3]), (0, 220, 220));
}

#[test]
fn asynchronous_scheduling_does_not_hold_back_those_who_waited_before() {
    // Shortest prompt first. One request waits from 20 while the first step runs 0..109; the next
    // one, 109..219, was chosen at 0. At 109 the step 219..337 is chosen, which decodes one and
    // prefills 8 for the one that waited; the shorter request that arrives at 150 comes too late
    // for it.
    let policies = PolicySpec {
        scheduler: lab::built_in(Hook::Scheduler, "sjf", &[]),
        ..PolicySpec::default()
    };
    let [_, engine] = asynchronous();
    let asks = [ask(0, 9, 9), ask(20, 8, 1), ask(150, 7, 1)];
    let records = lab::run(fresh(1, engine), BY_HAND, &policies, &asks).requests;
    assert_eq!(times(&records[1]), (109 - 20, 337 - 20, 337 - 20));
    // Chosen at 219, 337..454.
    assert_eq!(times(&records[2]), (219 - 150, 454 - 150, 454 - 150));
}

#[test]
fn a_request_keeps_its_seat_until_its_last_token_is_out() {
    // One seat. The first request's only step runs 0..110; where steps are chosen ahead, nothing
    // can be chosen at 0 for the time from 110 on.
    let [off, on] = asynchronous().map(|engine| {
        let one_seat = EngineConfig {
            max_num_seqs: 1,
            ..engine
        };
        run_one(one_seat, &[ask(0, 10, 2), ask(0, 10, 1)])
    });
    for records in [&off, &on] {
        assert_eq!(times(&records[0]), (0, 110, 220));
        assert_eq!(times(&records[1]), (220, 330, 330));
    }
}

#[test]
fn what_was_running_when_it_was_preempted_is_still_delivered() {
    // As in `preemption_of_the_second`. Chosen ahead, the third block is needed at 586 already: the
    // second request has 5 tokens and loses its place while 586..706 yields the 6th. It counts: of
    // 3 + 6 tokens the first block is cached, and 816..921 computes 5 and yields the 7th.
    for engine in asynchronous() {
        let tight = EngineConfig {
            total_kv_blocks: 4,
            block_size: 4,
            ..engine
        };
        let records = run_one(tight, &[ask(0, 3, 7), ask(0, 3, 7)]);
        assert_eq!([0, 1].map(|k| records[k].preemptions), [0, 1]);
        assert_eq!(times(&records[0]), (0, 106, 816));
        assert_eq!(times(&records[1]), (0, 106, 921));
        assert_eq!(records[1].itl_sum_us, 921 - 106);
    }
}

#[test]
fn the_cores_own_time_is_hidden_behind_steps_that_are_chosen_ahead() {
    // 10 prompt tokens and 3 output tokens: steps of 110, 110 and 110 us. To choose one takes 20 us
    // and 1 us a request, to process its output 7 us.
    let core = CoreTime {
        schedule_us: [20.0, 1.0],
        update_us: [7.0, 0.0],
    };
    let [off, on] = asynchronous().map(|mut engine| {
        engine.scheduling.core = core;
        run_one(engine, &[ask(0, 10, 3)]).remove(0)
    });
    // 21..131, its token at 138; 159..269, at 276; 297..407, at 414.
    assert_eq!((times(&off), off.itl_sum_us), ((0, 138, 414), 276));
    // The second step is chosen 21..42 and follows at once, 131..241; the third is chosen 138..159
    // and runs 241..351.
    assert_eq!((times(&on), on.itl_sum_us), ((0, 138, 358), 220));
    // A core that is slower than the steps sets the pace: chosen 0..200 and 200..400, the first
    // step runs 200..310 and its token is out at 407; the third is chosen 407..607.
    let [_, mut engine] = asynchronous();
    engine.scheduling.core = CoreTime {
        schedule_us: [200.0, 0.0],
        ..core
    };
    let slow = run_one(engine, &[ask(0, 10, 3)]).remove(0);
    assert_eq!(times(&slow), (0, 407, 724));
}

/// Steps chosen one after the other, then ahead.
fn asynchronous() -> [EngineConfig; 2] {
    both(|r, on| {
        r.keep_tokens_on_preemption = true;
        r.gaps_are_elapsed_time = true;
        r.first_scheduling_counts = true;
        r.visible_at_step_end = true;
        r.async_scheduling = on;
    })
}

#[test]
fn a_step_is_seen_when_it_starts_or_when_it_ends() {
    let policies = PolicySpec {
        routing: lab::built_in(Hook::Routing, "least-loaded", &[]),
        ..PolicySpec::default()
    };
    let gives_up = Arrival {
        timeout: 60,
        ..ask(0, 10, 1)
    };
    let [start, end] = both(|r, on| r.visible_at_step_end = on).map(|engine| {
        lab::run(
            fresh(2, engine),
            BY_HAND,
            &policies,
            &[gives_up.clone(), ask(50, 10, 1)],
        )
        .requests
    });
    // The first request's only step runs 0..110, past its deadline at 60.
    assert_eq!(start[0].outcome, Outcome::Completed);
    assert_eq!(times(&start[0]), (0, 110, 110));
    assert_eq!(end[0].outcome, Outcome::TimedOut);
    assert_eq!(
        (end[0].scheduling_delay_us, end[0].ttft_us),
        (Some(0), None)
    );
    // At 50 the router sees the first instance empty, or one request in flight and running.
    assert_eq!((start[1].instance, end[1].instance), (Some(0), Some(1)));
}

#[test]
fn a_gap_is_the_steps_duration_or_the_time_that_passed() {
    // One token a step. Empty prompts cost nothing: both get their first token at 100. The first
    // decodes 100..210 and 210..320 while the second waits; it decodes 320..430 and 430..540.
    let [step, elapsed] = both(|r, on| r.gaps_are_elapsed_time = on).map(|engine| {
        let narrow = EngineConfig {
            max_num_batched_tokens: 1,
            ..engine
        };
        run_one(narrow, &[ask(0, 0, 3), ask(0, 0, 3)])
    });
    for records in [&step, &elapsed] {
        assert_eq!(times(&records[0]), (0, 100, 320));
    }
    assert_eq!(
        times(&step[1]),
        (0, 100, 320),
        "110 + 110: the wait is lost"
    );
    assert_eq!(times(&elapsed[1]), (0, 100, 540), "330 + 110");
    assert_eq!(elapsed[1].mean_itl_us, Some(220.0));
}

#[test]
fn model_tags_are_exact_or_any_name_of_the_model() {
    let tags = [
        "",
        "org/model-a",
        "Org/Model-A",
        "model-a",
        "Model-A",
        "model-b",
    ];
    let asks: Vec<Arrival> = tags
        .iter()
        .map(|&model| Arrival {
            model,
            ..ask(0, 1, 1)
        })
        .collect();
    let [lenient, exact] = both(|r, on| r.exact_model_tags = on).map(|engine| {
        let served = |r: &RequestRecord| r.outcome == Outcome::Completed;
        run_one(engine, &asks)
            .iter()
            .map(served)
            .collect::<Vec<_>>()
    });
    assert_eq!(lenient, [true, true, true, true, true, false]);
    assert_eq!(exact, [true, true, false, false, false, false]);
}

const COLUMNS: &str = "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,\
input_tokens,output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,\
server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,error_message,\
finish_reason";

/// Replays requests (arrival, prefix group and tokens, more prompt tokens, output tokens); the
/// results, and what was printed.
fn replay(requests: &[(i64, &str, u32, u32, u32)], flags: &[&str]) -> (Vec<Value>, Ran) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (header, data, results) = (path("t.yaml"), path("t.csv"), path("r.json"));
    let mut csv = format!("{COLUMNS}\n");
    for (k, (at, group, prefix, prompt, output)) in requests.iter().enumerate() {
        let _ = writeln!(
            csv,
            "{k},,,,,0,{group},{prefix},false,{prompt},{output},0,0,0,0,0,,0,0,{at},{at},0,0,0,ok,,"
        );
    }
    fs::write(&data, csv).expect("written");
    let head = "trace_version: 3\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n";
    fs::write(&header, head).expect("written");
    let files = ["replay", "--trace-header", &header, "--trace-data", &data];
    let output = ["--results-path", &results, "--horizon", "1000000000"];
    let ran = windtunnel(files.iter().chain(&output).chain(flags));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = fs::read_to_string(&results).expect("results");
    let rows = serde_json::from_str(&text).expect("JSON rows");
    (rows, ran)
}

fn numbers(row: &Value) -> (i64, i64, f64) {
    (
        row["ttft_us"].as_i64().expect("TTFT"),
        row["e2e_us"].as_i64().expect("E2E"),
        row["mean_itl_us"].as_f64().expect("mean ITL"),
    )
}

/// Measured on the reference: H100, default scheduler, shipped coefficients; 512 + 4 tokens at 0,
/// 3000 + 20 tokens at 1 s.
#[test]
fn the_measured_vectors_of_the_reference_are_reproduced() {
    type Times = (i64, i64, f64);
    let vectors: [(&str, &str, &str, Times, Times); 7] = [
        (
            "qwen3-14b",
            "1",
            "trained-physics",
            (29899, 67441, 12255.0),
            (53572, 291_711, 12_492.736_842_105_263),
        ),
        (
            "qwen3-14b",
            "2",
            "roofline",
            (11214, 19890, 2892.0),
            (69174, 125_281, 2953.0),
        ),
        (
            "llama-3.1-8b-instruct",
            "1",
            "trained-physics",
            (23573, 45105, 6_918.333_333_333_333),
            (36646, 172_486, 7_108.578_947_368_421),
        ),
        (
            "mixtral-8x7b-v0.1",
            "4",
            "trained-physics",
            (26804, 59549, 10656.0),
            (40482, 244_627, 10_703.578_947_368_422),
        ),
        (
            "mixtral-8x7b-v0.1",
            "4",
            "roofline",
            (5131, 9112, 1327.0),
            (31177, 56846, 1351.0),
        ),
        (
            "llama-4-scout-17b-16e-instruct-fp8-dynamic",
            "4",
            "trained-physics",
            (35092, 93257, 19_129.333_333_333_332),
            (56351, 421_947, 19201.0),
        ),
        (
            "qwen3-30b-a3b",
            "2",
            "trained-physics",
            (29490, 71364, 13699.0),
            (44559, 306_282, 13734.0),
        ),
    ];
    let requests = [(0, "", 0, 512, 4), (1_000_000, "", 0, 3000, 20)];
    for (model, tp, latency, first, second) in vectors {
        let flags = [
            "--model",
            model,
            "--hardware",
            "H100",
            "--tp",
            tp,
            "--latency-model",
            latency,
            "--rules",
            "blis",
        ];
        let (rows, _) = replay(&requests, &flags);
        assert_eq!(numbers(&rows[0]), first, "{model} {latency}");
        assert_eq!(numbers(&rows[1]), second, "{model} {latency}");
    }
}

const QWEN: [&str; 8] = [
    "--model",
    "qwen3-14b",
    "--hardware",
    "H100",
    "--tp",
    "1",
    "--latency-model",
    "trained-physics",
];

/// Measured on the reference: four identical prompts of 64 tokens, 20 output tokens, a second
/// apart.
#[test]
fn a_full_prefix_hit_costs_what_was_measured_on_the_reference() {
    let same = |at| (at, "shared", 64, 0, 20);
    let requests = [same(0), same(1_000_000), same(2_000_000), same(3_000_000)];
    let with = |rules: &str| replay(&requests, &[&QWEN[..], &["--rules", rules]].concat()).0;
    let times: Vec<(i64, i64)> = with("blis")
        .iter()
        .map(|row| (numbers(row).0, numbers(row).1 - numbers(row).0))
        .collect();
    assert_eq!(times[0], (28030, 232_827));
    // Queueing, an empty step of 1 us, the token's processing.
    assert_eq!(times[1..], [(15563 + 1 + 45, 232_827); 3]);
    let vllm = with("vllm");
    assert_eq!(numbers(&vllm[0]).0, 28030);
    let hit = numbers(&vllm[1]).0;
    assert!(
        15609 < hit && hit < 28030,
        "the last block is recomputed: {hit}"
    );
    assert!(vllm[2..].iter().all(|row| numbers(row).0 == hit));
}

/// Enough requests at once that some are preempted.
fn under_pressure(flags: &[&str]) -> (Vec<Value>, Ran) {
    let requests = [(0, "", 0, 100, 200); 6];
    replay(&requests, &[&["--total-kv-blocks", "60"], flags].concat())
}

fn preemptions(rows: &[Value]) -> u64 {
    rows.iter()
        .map(|r| r["preemptions"].as_u64().expect("a count"))
        .sum()
}

#[test]
fn auto_rules_are_those_the_latency_model_was_fitted_under() {
    let blackbox = [
        "--model",
        "llama-3.1-8b-instruct",
        "--hardware",
        "H100",
        "--tp",
        "1",
        "--latency-model",
        "blackbox",
    ];
    let mut roofline = QWEN;
    roofline[7] = "roofline";
    for model in [blackbox, roofline, QWEN] {
        let with = |rules: &[&str]| under_pressure(&[&model[..], rules].concat());
        let (auto, said) = with(&[]);
        assert_eq!(auto, with(&["--rules", "auto"]).0);
        // Given, they mean BLIS's computed step times, too; those of measured servers are the same.
        let given = with(&["--rules", "blis"]).0;
        assert_eq!(auto == given, model == blackbox);
        let all = said.stdout + &said.stderr;
        assert!(all.contains("rules blis"), "{all}");
    }
}

#[test]
fn the_two_presets_differ_when_kv_is_tight_and_the_output_says_which_ran() {
    let with = |rules: &str| under_pressure(&[&QWEN[..], &["--json", "--rules", rules]].concat());
    let [(blis, said_blis), (vllm, said_vllm)] = ["blis", "vllm"].map(with);
    assert!(preemptions(&blis) > 0 && preemptions(&vllm) > 0);
    assert_ne!(blis, vllm);
    // A preempted request's first token stands under vLLM's rules: all come from the first steps.
    let latest = |rows: &[Value]| rows.iter().map(|r| numbers(r).0).max();
    assert!(latest(&vllm) < latest(&blis));
    for (said, rules) in [(said_blis, "blis"), (said_vllm, "vllm")] {
        let json: Value = serde_json::from_str(&said.stdout).expect("one JSON document");
        assert!(
            json.to_string().contains(&format!("\"rules\":\"{rules}\"")),
            "{json}"
        );
    }
}
