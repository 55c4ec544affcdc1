//! Data-parallel ranks: worked out by hand, against vLLM's own choice of ranks, in random runs, and
//! with real models.

use crate::cases::{Case, case};
use crate::lab::{Affine, Arrival, BY_HAND, ask, fresh, roomy, run};
use crate::properties::{cases, ensure, requests_are_conserved, simulate, simulate_plainly, text};
use crate::support::{root, windtunnel};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::record::{RanStep, RequestRecord, RunRecord};
use windtunnel_engine::instance::{EngineConfig, EngineRules, Preset};
use windtunnel_engine::latency::{LatencyModel, StepAggregates, StepItem};
use windtunnel_engine::ranks::{ApiClient, KnownLoad, Ranks};
use windtunnel_policy::PolicySpec;

/// Ranks that each take an affine time for what they have, and time for the tokens of all.
#[derive(Clone, Copy, Debug)]
struct Sharing {
    own: Affine,
    per_token_of_all: i64,
}

impl LatencyModel for Sharing {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }
    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        self.own.step_us(step, items) + self.per_token_of_all * step.tokens() as i64
    }
    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let own = |rank| self.own.step_us(rank, &mut std::iter::empty());
        let all: u64 = ranks.iter().map(StepAggregates::tokens).sum();
        Some(ranks.iter().map(own).max()? + self.per_token_of_all * all as i64)
    }
    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        self.own.queueing_us(prompt_tokens)
    }
    fn output_token_us(&self) -> i64 {
        self.own.output_token
    }
    fn post_decode_us(&self) -> i64 {
        self.own.post_decode
    }
}

/// [`BY_HAND`] for each rank, and 2 us for each token of all of them.
const BESIDE: Sharing = Sharing {
    own: BY_HAND,
    per_token_of_all: 2,
};

fn rules(async_scheduling: bool) -> EngineRules {
    EngineRules {
        async_scheduling,
        ..EngineRules::VLLM
    }
}

/// One instance of such ranks.
fn group(engine: EngineConfig, ranks: Ranks, latency: Sharing, asks: &[Arrival]) -> Case {
    let mut config = fresh(1, engine);
    config.pools[0].ranks = ranks;
    config.pools[0].latency = match ranks.together {
        true => Arc::new(latency),
        false => Arc::new(latency.own),
    };
    Case {
        asks: asks.to_vec(),
        config,
        latencies: vec![latency.own],
        policies: PolicySpec::default(),
    }
}

fn two(async_scheduling: bool, together: bool, asks: &[Arrival]) -> RunRecord {
    let ranks = Ranks {
        count: 2,
        together,
        api_servers: 1,
    };
    let case = group(roomy(rules(async_scheduling)), ranks, BESIDE, asks);
    simulate(&case).expect("the invariants hold").record
}

/// Rank, TTFT and sum of the gaps of each request.
fn times(record: &RunRecord) -> Vec<(u32, i64, i64)> {
    let requests = record.requests.iter();
    let times = requests.map(|r| (r.rank.unwrap(), r.ttft_us.unwrap(), r.itl_sum_us));
    times.collect()
}

#[test]
fn ranks_of_a_dense_model_have_nothing_to_do_with_each_other() {
    let asks = [ask(0, 10, 3), ask(50, 20, 1)];
    for async_scheduling in [false, true] {
        let record = two(async_scheduling, false, &asks);
        // The second request goes to the rank without one: 50..170. The first: 0..110..220..330.
        assert_eq!(times(&record), [(0, 110, 220), (1, 120, 0)]);
        let totals = &record.instances[0];
        assert_eq!((totals.steps, totals.ended_us), (4, 330));
        // The mean of 330 and 120 us.
        assert_eq!(totals.busy_us, 225);
    }
}

#[test]
fn ranks_that_share_experts_begin_and_end_a_step_together() {
    let asks = [ask(0, 10, 3), ask(50, 20, 1), ask(450, 10, 1)];
    let record = two(false, true, &asks);
    // Step 1: 10 prompt tokens here, 110 us, one token for nothing there, 110 us, and 11 tokens in
    // all, 22 us: 0..132. At the first step all ask each other for requests, so that the second
    // request, which is there from 50 on, is chosen at 132.
    // Step 2: a decode here, 110 us, 20 prompt tokens there, 120 us, 21 tokens: 132..294.
    // Step 3: a decode here, one token for nothing there, 4 us: 294..408.
    // Then both go on with one token each: 408..522, 522..636. The third request comes at 450, and
    // the engines have given their GPUs the step until 636. They choose the next when the one
    // until 522 has ended; 110 us and 11 tokens: 636..768. It goes to the second rank: when step 2
    // was reported, at 132, the coordinator published the loads of step 1, a request on the first
    // rank, and it does so again 100 ms later.
    assert_eq!(times(&record), [(0, 132, 276), (1, 244, 0), (1, 318, 0)]);
    let totals = &record.instances[0];
    assert_eq!(totals.steps, 5, "steps for nothing do not count");
    // GPUs of both worked on each of the six, 132 + 162 + 114 + 114 + 114 + 132.
    assert_eq!(totals.busy_us, 768);
}

#[test]
fn with_asynchronous_scheduling_an_idle_rank_is_two_steps_ahead() {
    let asks = [ask(0, 10, 3), ask(50, 20, 1)];
    let record = two(true, true, &asks);
    // Step 1: 0..132, as before. The first rank chooses the second step at 0, the other one has
    // given its GPUs steps 1, 2 and 3 for nothing. Step 2 and 3: a decode and a token, 114 us each:
    // 132..246..360. The second request, there from 50 on, is seen when step 3 is under way on
    // both, at 132, and goes into step 4: 20 prompt tokens here, a token there, 162 us: 360..522.
    assert_eq!(times(&record), [(0, 132, 228), (1, 472, 0)]);
}

#[test]
fn an_engine_that_asks_the_others_waits_for_them() {
    // 17 tokens of output: steps 1 to 17 compute. Round 16 asks whether there are requests, there
    // are, and so all go on to round 32. The next request meets them at rest.
    let asks = [ask(0, 10, 17), ask(100_000, 10, 1)];
    for async_scheduling in [false, true] {
        let record = two(async_scheduling, true, &asks);
        // 132 us, then 16 decodes of 114 us; at rest a prompt takes 132 us. It is on the other
        // rank, which is the first that the API server looks at now.
        assert_eq!(times(&record), [(0, 132, 1824), (1, 132, 0)]);
    }
}

/// Every choice of ranks that vLLM's own load balancer made in random histories
/// (`xtask/vllm_oracle/ranks.py`).
#[test]
fn ranks_are_chosen_as_vllm_does() {
    let path = root().join("host/tests/data/vllm-ranks.jsonl");
    let lines = std::fs::read_to_string(path).expect("the table is there");
    let mut chosen = 0;
    for line in lines.lines() {
        let history: Value = serde_json::from_str(line).expect("JSON");
        let number = |key: &str| history[key].as_u64().expect("a number") as u32;
        let ranks = number("ranks") as usize;
        let mut client = ApiClient::new(number("index"), number("servers"), ranks);
        for event in history["events"].as_array().expect("events") {
            if let Some(loads) = event["hears"].as_array() {
                let loads = loads.iter().map(|load| KnownLoad {
                    waiting: load[0].as_u64().expect("requests"),
                    running: load[1].as_u64().expect("requests"),
                    kv_usage: load[2].as_f64().expect("a share"),
                });
                client.hear(&loads.collect::<Vec<_>>());
            } else if let Some(rank) = event["finished"].as_u64() {
                client.finished(rank as usize);
            } else {
                let rank = event["chooses"].as_u64().expect("a rank");
                assert_eq!(client.choose() as u64, rank, "choice {chosen} in {line}");
                chosen += 1;
            }
        }
    }
    assert!(chosen > 1_000, "{chosen} choices");
}

/// A random run on ranks; what is not simulated with them is left out.
fn ranked(together: impl Strategy<Value = bool>) -> impl Strategy<Value = Case> {
    let ranks = (2u32..5, together, 1u32..4);
    let parts = (case(12), ranks, any::<bool>(), 0i64..3);
    parts.prop_map(
        |(mut case, (count, together, api_servers), async_scheduling, per_token_of_all)| {
            let pool = &mut case.config.pools[0];
            pool.engine.rules = rules(async_scheduling);
            pool.ranks = Ranks {
                count,
                together,
                api_servers,
            };
            if together {
                pool.latency = Arc::new(Sharing {
                    own: case.latencies[0],
                    per_token_of_all,
                });
            }
            case
        },
    )
}

/// Requests and blocks are conserved.
fn conserved(case: &Case) -> Result<RunRecord, String> {
    let run = simulate(case)?;
    requests_are_conserved(case, &run)?;
    let count = case.config.pools[0].ranks.count;
    for r in &run.record.requests {
        ensure!(
            r.rank.is_some() == r.instance.is_some() && r.rank.is_none_or(|rank| rank < count),
            "{} was on rank {:?} of {count}",
            r.id,
            r.rank
        );
    }
    for totals in &run.record.instances {
        ensure!(
            totals.kv_peak_blocks <= totals.kv_total_blocks
                && totals.ended_us <= case.config.horizon_us,
            "an instance has {} of {} blocks and ends at {}",
            totals.kv_peak_blocks,
            totals.kv_total_blocks,
            totals.ended_us
        );
    }
    if case.config.horizon_us == i64::MAX {
        ensure!(
            run.kv_used.iter().all(|&used| used == 0),
            "blocks {:?} are held after the last request",
            run.kv_used
        );
    }
    Ok(run.record)
}

/// Steps that begin together end together, none begins before the one before has ended, and each
/// is at least as long as what it computes on any rank takes alone.
fn steps_are_together(steps: &[RanStep], own: &Affine) -> Result<(), String> {
    let mut ends = BTreeMap::new();
    for step in steps {
        let end = step.start_us + step.step_us;
        let known = *ends.entry(step.start_us).or_insert(end);
        ensure!(known == end, "steps from {} end apart", step.start_us);
        let mut work = StepAggregates::default();
        for share in &step.shares {
            work.add(StepItem {
                new_tokens: share.new_tokens,
                context: share.context,
                prompt_tokens: 0,
                is_prefill: share.is_prefill,
            });
        }
        let alone = own.step_us(&work, &mut std::iter::empty());
        ensure!(step.step_us >= alone, "{step:?} takes {alone} us alone");
    }
    let mut last = 0;
    for (start, end) in ends {
        ensure!(start >= last, "a step begins at {start}, before {last}");
        last = end;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn requests_on_ranks_are_conserved(case in ranked(any::<bool>())) {
        if let Err(why) = conserved(&case) {
            return Err(TestCaseError::fail(why));
        }
    }

    /// In any order of events, on the fast path and on the plain one.
    #[test]
    fn ranks_on_the_fast_path_are_those_on_the_plain_one(case in ranked(any::<bool>())) {
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
    }

    #[test]
    fn ranks_that_share_experts_step_together(case in ranked(Just(true))) {
        let mut case = case;
        case.config.front.trace.steps = true;
        let record = conserved(&case).map_err(TestCaseError::fail)?;
        for totals in &record.instances {
            let done = totals.logged_steps.iter().filter(|s| s.start_us + s.step_us < i64::MAX);
            let done: Vec<RanStep> = done.cloned().collect();
            // Each rank has two that nobody has said of when they run, at most.
            let open = totals.logged_steps.len() - done.len();
            prop_assert!(open <= 2 * case.config.pools[0].ranks.count as usize);
            let checked = steps_are_together(&done, &case.latencies[0]);
            checked.map_err(TestCaseError::fail)?;
        }
    }

    /// Each of several ranks that share nothing does with its requests what an instance does that
    /// has these alone.
    #[test]
    fn a_rank_by_itself_is_an_instance(
        gaps in prop::collection::vec((0i64..400, 1u32..60, 1u32..20), 1..20),
        count in 2u32..4,
        async_scheduling in any::<bool>(),
        blocks in 8u64..40,
    ) {
        let mut at = 0;
        let asks = gaps.into_iter().map(|(gap, prompt, output)| {
            at += gap;
            ask(at, prompt, output)
        });
        let asks: Vec<Arrival> = asks.collect();
        let engine = EngineConfig {
            total_kv_blocks: blocks,
            max_num_seqs: 4,
            ..roomy(rules(async_scheduling))
        };
        let ranks = Ranks { count, together: false, api_servers: 1 };
        let case = group(engine, ranks, BESIDE, &asks);
        let together = conserved(&case).map_err(TestCaseError::fail)?;
        for rank in 0..count {
            let mine = together.requests.iter().filter(|r| r.rank == Some(rank));
            let mine: Vec<&RequestRecord> = mine.collect();
            let own = mine.iter().map(|r| asks[r.serial as usize].clone());
            let own: Vec<Arrival> = own.collect();
            let alone = run(fresh(1, engine), BY_HAND, &PolicySpec::default(), &own);
            let told = |r: &RequestRecord| (r.outcome, r.ttft_us, r.e2e_us, r.preemptions);
            let mine: Vec<_> = mine.into_iter().map(told).collect();
            let alone: Vec<_> = alone.requests.iter().map(told).collect();
            prop_assert_eq!(mine, alone);
        }
    }
}

fn stdout(flags: &str) -> String {
    let ran = windtunnel(flags.split_whitespace());
    assert_eq!(ran.code, 0, "{flags}\n{}", ran.stderr);
    ran.stdout
}

const MOE: &str = "run --model qwen3-30b-a3b --hardware H100 --tp 1 --rate 20 --num-requests 60";

#[test]
fn the_command_has_ranks_under_vllm_rules() {
    let json: Value = serde_json::from_str(&stdout(&format!("{MOE} --dp 2 --json"))).expect("JSON");
    let ranks = &json["setup"]["data_parallel_ranks"];
    assert_eq!(
        (&ranks["count"], &ranks["step_together"]),
        (&2.into(), &true.into())
    );
    let total = json["setup"]["total_kv_blocks"].as_u64();
    assert_eq!(ranks["kv_blocks_per_rank"].as_u64().map(|n| 2 * n), total);
    let dense =
        "run --model llama-3.1-8b-instruct --hardware H100 --tp 1 --rate 20 --num-requests 60";
    let json: Value =
        serde_json::from_str(&stdout(&format!("{dense} --dp 4 --json"))).expect("JSON");
    let ranks = &json["setup"]["data_parallel_ranks"];
    assert_eq!(
        (&ranks["count"], &ranks["step_together"]),
        (&4.into(), &false.into())
    );
    assert_eq!(json["setup"]["gpus_per_instance"], 4);
}

#[test]
fn what_ranks_are_not_simulated_with_is_named() {
    let dense = "run --model llama-3.1-8b-instruct --hardware H100 --tp 1";
    let refused = |flags: &str| {
        let ran = windtunnel(flags.split_whitespace());
        assert_eq!(ran.code, 2, "{flags}\n{}{}", ran.stdout, ran.stderr);
        ran.stderr.lines().next().unwrap_or_default().to_owned()
    };
    let not_with = "data-parallel ranks with a queue each are not simulated with ";
    for (flags, with) in [
        ("--pp 2", "a pipeline of stages (--pp)"),
        (
            "--autoscale hpa-concurrency --autoscale-max 3",
            "scaling policies",
        ),
        (
            "--num-instances 2 --event 5:fail:1",
            "failures and other events of instances",
        ),
        (
            "--prefill-instances 1 --decode-instances 1",
            "instances that only prefill or only decode",
        ),
    ] {
        let message = refused(&format!("{MOE} --dp 2 {flags}"));
        assert!(message.starts_with("error: --dp 2"), "{flags}: {message}");
        assert!(
            message.ends_with(&format!("{not_with}{with}")),
            "{flags}: {message}"
        );
    }
    for (flags, message) in [
        (
            format!("{dense} --dp 2 --rules blis"),
            "error: data parallelism of 2 within an instance is for mixture-of-experts models; this one is dense",
        ),
        (
            format!("{dense} --dp 2 --latency-model roofline"),
            "error: --dp 2: data parallelism of a dense model is known under vllm rules alone; give --rules vllm",
        ),
        (
            format!("{MOE} --dp 2 --engine vllm-0.19"),
            "error: --dp 2 with --engine vllm-0.19: how it chooses ranks is not simulated; expected vllm-0.32",
        ),
        (
            format!("{MOE} --dp 2 --api-server-count 3"),
            "error: --api-server-count 3 with --dp 2: expected a multiple of --dp; each rank has a share of these processes",
        ),
        (
            format!("{dense} --dp 2000"),
            "error: --dp must be from 1 to 1000, found 2000",
        ),
    ] {
        assert_eq!(refused(&flags), message, "{flags}");
    }
}
