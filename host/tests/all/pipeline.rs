//! Pipeline parallelism: steps that go through stages, worked out by hand, in random runs, and with
//! real models; and instances that lie on several nodes.

use crate::cases::{Case, case};
use crate::lab::{Affine, Arrival, BY_HAND, ask, fresh, roomy};
use crate::properties::{audit, cases, ensure};
use crate::support::windtunnel;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use windtunnel_base::record::{Outcome, RunRecord};
use windtunnel_engine::instance::{EngineConfig, EngineRules, Preset};
use windtunnel_engine::latency::{LatencyModel, StageTimes, StepAggregates, StepItem};
use windtunnel_policy::PolicySpec;

/// Stages that each take the same affine time, and the engine's own code beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    pub(crate) stage: Affine,
    pub(crate) stages: usize,
    pub(crate) host_us: i64,
}

impl LatencyModel for Staged {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }
    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        let stages = self.stages as i64;
        (stages * self.stage.step_us(step, items)).max(self.host_us)
    }
    fn stages(&self) -> usize {
        self.stages
    }
    fn stage_times(&self, step: &StepAggregates, times: &mut StageTimes) {
        let us = self.stage.step_us(step, &mut std::iter::empty());
        times.stages_us = vec![us; self.stages];
        times.host_us = self.host_us;
    }
    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        self.stage.queueing_us(prompt_tokens)
    }
    fn output_token_us(&self) -> i64 {
        self.stage.output_token
    }
    fn post_decode_us(&self) -> i64 {
        self.stage.post_decode
    }
}

/// Two stages of [`BY_HAND`] each: 100 us, 1 us a prefill token and 10 us a decode on either.
const TWO: Staged = Staged {
    stage: BY_HAND,
    stages: 2,
    host_us: 0,
};

/// vLLM's rules with or without asynchronous scheduling, and so many tokens per step.
fn engine(async_scheduling: bool, max_num_batched_tokens: u32) -> EngineConfig {
    let rules = EngineRules {
        async_scheduling,
        ..EngineRules::VLLM
    };
    EngineConfig {
        max_num_batched_tokens,
        ..roomy(rules)
    }
}

fn run(engine: EngineConfig, latency: Staged, asks: &[Arrival]) -> RunRecord {
    let mut config = fresh(1, engine);
    config.pools[0].latency = Arc::new(latency);
    let case = Case {
        asks: asks.to_vec(),
        config,
        latencies: vec![latency.stage],
        policies: PolicySpec::default(),
    };
    audit(&case).expect("the invariants hold").record
}

/// TTFT and sum of the gaps of each request.
fn times(record: &RunRecord) -> Vec<(i64, i64)> {
    let known = |t: Option<i64>| t.expect("it has a token");
    let requests = record.requests.iter();
    requests.map(|r| (known(r.ttft_us), r.itl_sum_us)).collect()
}

#[test]
fn a_lone_request_goes_through_one_stage_after_the_other() {
    for async_scheduling in [false, true] {
        let record = run(engine(async_scheduling, 2048), TWO, &[ask(0, 10, 3)]);
        // 10 tokens: 0..110 on the first stage, ..220 on the second. A decode begins when the token
        // before it is sampled: 220..330..440, 440..550..660.
        assert_eq!(times(&record), [(220, 440)]);
        // Each GPU works half of the time: three steps of 110 us.
        assert_eq!(record.instances[0].busy_us, 330);
        assert_eq!(record.instances[0].steps, 3, "empty batches are no steps");
    }
}

#[test]
fn two_batches_fill_two_stages() {
    // Steps of 10 tokens: the prompts go into two batches.
    let asks = [ask(0, 10, 3), ask(0, 10, 3)];
    for async_scheduling in [false, true] {
        let record = run(engine(async_scheduling, 10), TWO, &asks);
        // First: 0..110..220. Second, chosen at once: 110..220 when the first stage is free,
        // 220..330 when the second is. At 220 the first decodes: 220..330, then 330..440 behind
        // the other prompt. So both have a token every 220 us, in turns; in one batch, 240.
        assert_eq!(times(&record), [(220, 440), (330, 440)]);
        assert_eq!(record.instances[0].ended_us, 770);
        // Six steps of 110 us on either stage.
        assert_eq!(record.instances[0].busy_us, 660);
    }
    // In one batch of 20 tokens: 0..120..240, and decodes of 120 us a stage.
    let together = run(engine(false, 2048), TWO, &asks);
    assert_eq!(times(&together), [(240, 480), (240, 480)]);
}

#[test]
fn the_queue_of_batches_is_full_while_a_step_runs() {
    // The second request comes while the first one's prompt is on the first stage.
    let asks = [ask(0, 10, 3), ask(50, 10, 1)];
    // Two batches: the prompt, and an empty one that the engine chose when it found nothing else.
    // So it waits for the first one's end, 220, and goes with its decode: 10 tokens and a decode
    // take 120 us a stage, 220..340..460. The last decode: 460..570..680.
    let sync = run(engine(false, 2048), TWO, &asks);
    assert_eq!(times(&sync), [(220, 460), (410, 0)]);
    assert_eq!(sync.requests[1].scheduling_delay_us, Some(170));
    // Asynchronously three: the prompt, an empty one, as a request decodes in every second step,
    // and the decode, 220..330..440. The step after that one is the other prompt's: 330..440 behind
    // the decode, 440..550. The last decode has to wait for neither: 440..550..660.
    let early = run(engine(true, 2048), TWO, &asks);
    assert_eq!(times(&early), [(220, 440), (500, 0)]);
    assert_eq!(early.requests[1].scheduling_delay_us, Some(170));
}

#[test]
fn chunks_of_one_prompt_follow_each_other_through_the_stages() {
    // 20 tokens in steps of 10: the second chunk is on the first stage while the first one is on
    // the second. 0..110..220, 110..220..330.
    for async_scheduling in [false, true] {
        let record = run(engine(async_scheduling, 10), TWO, &[ask(0, 20, 1)]);
        assert_eq!(times(&record), [(330, 0)]);
    }
}

#[test]
fn the_engines_own_code_is_that_of_a_batch_and_not_of_a_stage() {
    // 300 us of it: a lone step ends when it has done, in place of 220.
    let slow = Staged {
        host_us: 300,
        ..TWO
    };
    let record = run(engine(false, 2048), slow, &[ask(0, 10, 3)]);
    assert_eq!(times(&record), [(300, 600)]);
    // Of two batches the second waits for it, too: 110 when its first stage begins, then 300..600.
    let two = run(engine(false, 10), slow, &[ask(0, 10, 1), ask(0, 10, 1)]);
    assert_eq!(times(&two), [(300, 0), (600, 0)]);
}

/// A random run on instances of some stages.
fn staged(most: usize) -> impl Strategy<Value = (Case, Vec<Staged>)> {
    let parts = (case(most), 2usize..6, any::<bool>(), 0i64..300);
    parts.prop_map(|(mut case, stages, async_scheduling, host_us)| {
        let pool = &mut case.config.pools[0];
        pool.engine.rules = EngineRules {
            async_scheduling,
            ..EngineRules::VLLM
        };
        let latency = Staged {
            stage: case.latencies[0],
            stages,
            host_us,
        };
        pool.latency = Arc::new(latency);
        (case, vec![latency])
    })
}

fn figures_can_be(case: &Case, record: &RunRecord) -> Result<(), String> {
    for (i, totals) in record.instances.iter().enumerate() {
        let there = totals.ended_us;
        ensure!(
            totals.busy_us <= there,
            "instance {i}: GPUs work {} of {there} us",
            totals.busy_us
        );
        let most = i128::from(totals.kv_total_blocks) * i128::from(there);
        ensure!(
            totals.kv_block_time <= most,
            "instance {i}: {} block us of {most}",
            totals.kv_block_time
        );
    }
    let host = case.config.horizon_us == i64::MAX;
    let left = record
        .requests
        .iter()
        .find(|r| r.outcome == Outcome::Running);
    ensure!(!host || left.is_none(), "{left:?} never ends");
    Ok(())
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn pipelines_conserve_requests_blocks_and_time((case, _) in staged(30)) {
        let run = audit(&case).map_err(TestCaseError::fail)?;
        figures_can_be(&case, &run.record).map_err(TestCaseError::fail)?;
    }

    /// No token of a request is sampled before the one before it has gone through all stages.
    #[test]
    fn a_token_takes_all_stages((case, latencies) in staged(12)) {
        let run = audit(&case).map_err(TestCaseError::fail)?;
        let least = latencies[0].stages as i64 * latencies[0].stage.base.max(1);
        for r in run.record.requests.iter().filter(|r| r.generated_tokens > 0) {
            let tokens = i64::from(r.generated_tokens);
            let e2e = r.e2e_us.unwrap_or(i64::MAX);
            prop_assert!(e2e >= tokens * least, "{}: {tokens} tokens in {e2e} us", r.id);
        }
    }
}

/// A run of the command as JSON.
fn command(line: &str) -> Value {
    let ran = windtunnel(line.split_whitespace());
    assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn refusal(line: &str) -> String {
    let ran = windtunnel(line.split_whitespace());
    assert_eq!(ran.code, 2, "{line}: {}{}", ran.stdout, ran.stderr);
    ran.stderr
}

const ONE: &str = "run --quiet --json --num-requests 1 --prompt-tokens 2000 --prompt-tokens-stdev 0 \
                   --output-tokens 20 --output-tokens-stdev 0 --rules vllm";

/// Step-time models that know layers, and a model that each of them prices on so many GPUs.
const BY_LAYER: [(&str, &str); 4] = [
    (
        "kernel-tables",
        "--model llama-3.1-70b-instruct --hardware H100",
    ),
    (
        "trained-physics",
        "--model llama-3.1-70b-instruct --hardware H100",
    ),
    ("roofline", "--model llama-3.1-70b-instruct --hardware H100"),
    ("xpu-roofline", "--model llama2-70b --hardware h100-80gb"),
];

fn latency(run: &Value, what: &str) -> f64 {
    let mean = run["latency_ms"][what]["mean"].as_f64();
    mean.unwrap_or_else(|| panic!("{what} of {run}"))
}

/// The same GPUs for each layer, one after the other, are never faster than one GPU for all layers,
/// and send activations besides; the engine's own code may hide that.
#[test]
fn stages_make_no_lone_request_faster() {
    for (model, flags) in BY_LAYER {
        let of = |more: &str| {
            let line = format!("{ONE} {flags} --tp 4 --latency-model {model} {more}");
            let run = command(&line);
            (latency(&run, "ttft"), latency(&run, "tpot"))
        };
        let (ttft, tpot) = of("");
        let mut before = (ttft, tpot);
        for pp in [2, 4] {
            let now = of(&format!("--pp {pp}"));
            assert!(
                now.0 > before.0 * 0.999,
                "{model} pp {pp}: TTFT {now:?}, {before:?}"
            );
            assert!(
                now.1 > before.1 * 0.999,
                "{model} pp {pp}: TPOT {now:?}, {before:?}"
            );
            // Nor is it much slower: each layer is still computed once.
            assert!(
                now.0 < 1.5 * ttft && now.1 < 1.5 * tpot,
                "{model} pp {pp}: {now:?}"
            );
            before = now;
        }
    }
}

/// Under load p stages do at most p times as much, and not much less.
#[test]
fn stages_serve_more_at_once() {
    for (model, flags) in BY_LAYER {
        let of = |pp: u32| {
            let run = command(&format!(
                "run --quiet --json --num-requests 400 --rate 1000 --prompt-tokens 1500 --output-tokens 60 --rules \
                 vllm --max-num-scheduled-tokens 2048 {flags} --tp 4 --latency-model {model} --pp {pp}"
            ));
            run["tokens_per_sec"].as_f64().expect("tokens per second")
        };
        let (one, two) = (of(1), of(2));
        let times = two / one;
        assert!(
            (1.2..=2.05).contains(&times),
            "{model}: {times} times as much"
        );
    }
}

#[test]
fn the_fullest_stage_decides_how_many_kv_blocks_there_are() {
    let of = |pp: u32| {
        command(&format!(
            "models llama-3.1-70b-instruct --hardware H100 --tp 4 --pp {pp} --json"
        ))
    };
    let (one, two, three) = (of(1), of(2), of(3));
    assert_eq!(two["pipeline_parallelism"], 2);
    assert_eq!(two["layers_per_stage"], serde_json::json!([40, 40]));
    assert_eq!(three["layers_per_stage"], serde_json::json!([27, 27, 26]));
    let number = |of: &Value, key: &str| of[key].as_f64().expect("a number");
    let blocks = |of: &Value| number(of, "total_kv_blocks");
    // A stage has half of the weights and half of a token's KV: the room beside the weights grows
    // from 80 - 35 to 80 - 18 GB, and a token needs half of it.
    let times = blocks(&two) / blocks(&one);
    assert!((2.0..6.0).contains(&times), "{times} times as many");
    let on_gpu = |of: &Value| number(&of["counted"]["weights"], "bytes_per_gpu");
    let share = on_gpu(&two) / on_gpu(&one);
    assert!((0.5..0.52).contains(&share), "{share} of the weights");
    // A model that one GPU cannot hold fits on two stages, and a larger one does not.
    let alone = refusal("run --model qwen3-32b --hardware A100-40 --tp 1 --num-requests 1");
    assert!(alone.contains("does not fit"), "{alone}");
    let link = "--intra-node-bandwidth 300";
    command(&format!(
        "run --quiet --json --model qwen3-32b --hardware A100-40 --tp 1 --pp 2 --num-requests 1 {link}"
    ));
    let two = refusal(&format!(
        "run --model llama-3.1-70b-instruct --hardware A100-40 --tp 1 --pp 2 {link}"
    ));
    assert!(two.contains("of 2 of the pipeline does not fit"), "{two}");
}

#[test]
fn the_report_says_what_an_instance_lies_on() {
    let two = command(&format!(
        "{ONE} --model llama-3.1-70b-instruct --hardware H100 --tp 8 --pp 2"
    ));
    let pool = &two["setup"];
    for (key, value) in [
        ("pipeline_parallelism", 2.0),
        ("gpus_per_instance", 16.0),
        ("nodes_per_instance", 2.0),
        ("inter_node_gb_s_per_gpu", 50.0),
        ("inter_node_us", 4.0),
    ] {
        assert_eq!(pool[key].as_f64(), Some(value), "{key} of {pool}");
    }
    // Twice the GPUs cost twice as much in the same time.
    let one = command(&format!(
        "{ONE} --model llama-3.1-70b-instruct --hardware H100 --tp 8"
    ));
    assert_eq!(one["setup"]["pipeline_parallelism"], Value::Null);
    let hours = |run: &Value| run["cost"]["gpu_hours"].as_f64().expect("GPU-hours");
    let times = hours(&two) / hours(&one);
    assert!(times > 1.9, "{times} times the GPU-hours");
    assert_eq!(
        two["cost"]["usd_per_gpu_hour"],
        one["cost"]["usd_per_gpu_hour"]
    );
}

/// What GPUs send each other is never faster over nodes than within one.
#[test]
fn links_between_nodes_cost_time() {
    for (model, flags) in BY_LAYER {
        let of = |more: &str| {
            let run = command(&format!("{ONE} {flags} --latency-model {model} {more}"));
            latency(&run, "ttft")
        };
        let within = of("--tp 8");
        let two = "--tp 8 --gpus-per-node 4";
        let over = of(two);
        assert!(
            over > within,
            "{model}: {over} ms over nodes, {within} within one"
        );
        let faster = of(&format!(
            "{two} --inter-node-bandwidth 400 --inter-node-latency 1"
        ));
        assert!(
            faster < over,
            "{model}: {faster} ms over faster links, {over} ms"
        );
        let stages = of("--tp 4 --pp 2");
        let over = of("--tp 4 --pp 2 --gpus-per-node 4");
        assert!(
            over > stages,
            "{model}: {over} ms between nodes, {stages} within one"
        );
    }
}

#[test]
fn what_a_pipeline_cannot_be_is_refused() {
    let model = "run --num-requests 1 --model llama-3.1-8b-instruct --hardware H100 --tp 1";
    for (flags, said) in [
        ("--pp 0", "--pp must be at least 1, found 0"),
        (
            "--pp 33",
            "--pp is 33, but meta-llama/llama-3.1-8b-instruct has 32 layers",
        ),
        (
            "--pp 2 --rules blis",
            "under --rules blis there is no pipeline parallelism",
        ),
        (
            "--pp 2 --latency-model blackbox",
            "latency model blackbox knows whole steps and not what a stage of a pipeline takes; kernel-tables, \
             trained-physics, roofline and xpu-roofline do",
        ),
        (
            "--pp 2 --num-speculative-tokens 2 --speculative-method eagle --acceptance-rate 0.5",
            "--num-speculative-tokens with --pp 2",
        ),
        (
            "--pp 2 --engine vllm-0.19 --async-scheduling",
            "vllm-0.19 has no asynchronous scheduling with pipeline parallelism",
        ),
        (
            "--gpus-per-node 4",
            "--gpus-per-node has no effect with 1 GPUs per instance",
        ),
        (
            "--pp 2 --inter-node-latency 3",
            "--inter-node-latency has no effect with 2 GPUs",
        ),
        (
            "--intra-node-bandwidth 300",
            "--intra-node-bandwidth has no effect where no stage",
        ),
        (
            "--pp 2 --gpus-per-node 1 --intra-node-bandwidth 300",
            "--intra-node-bandwidth has no effect where no stage",
        ),
        (
            "--latency-model blackbox --gpus-per-node 4",
            "--gpus-per-node has no effect with latency model blackbox",
        ),
        (
            "--rules blis --latency-model roofline --gpus-per-node 4",
            "--gpus-per-node has no effect under blis rules",
        ),
        (
            "--pp 2 --hardware A100-40 --tp 1",
            "nobody knows what the link between two GPUs A100-40 of a node carries",
        ),
    ] {
        let model = match flags.contains("--hardware") {
            true => "run --num-requests 1 --model llama-3.1-8b-instruct --latency-model roofline",
            false => model,
        };
        let told = refusal(&format!("{model} {flags}"));
        assert!(told.contains(said), "{flags}: {told}");
    }
}

#[test]
fn a_pipeline_is_a_pool_a_file_and_a_point_of_a_sweep() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.yaml");
    let text = "model: llama-3.1-8b-instruct\npools:\n  - {name: deep, hardware: H100, parallel: {tensor: 1, pipeline: 4}}\n  \
                - {name: flat, hardware: H100, parallel: {tensor: 1}}\nworkload: {num_requests: 6}\n";
    std::fs::write(&path, text).expect("a file");
    let run = command(&format!("run --quiet --json --spec {}", path.display()));
    let pools = &run["setup"]["pools"];
    assert_eq!(pools[0]["pipeline_parallelism"], 4);
    assert_eq!(pools[0]["gpus_per_instance"], 4);
    assert_eq!(pools[1]["pipeline_parallelism"], Value::Null);
    // What has an effect in one pool alone may not be said of the other.
    let wrong = text.replace(
        "parallel: {tensor: 1}",
        "parallel: {tensor: 1, intra_node_bandwidth: 9}",
    );
    std::fs::write(&path, wrong).expect("a file");
    let told = refusal(&format!("run --quiet --json --spec {}", path.display()));
    assert!(told.contains("has no effect where no stage"), "{told}");

    let ran = windtunnel(
        "sweep --quiet --model llama-3.1-8b-instruct --hardware H100 --tp 1 --num-requests 5 --grid pp=1,2 --json"
            .split(' '),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("\"pp\""), "{}", ran.stdout);
}
