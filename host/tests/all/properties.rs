//! What holds of every run, whatever the workload, the limits, the rules and the policies.

use crate::lab::{self, Affine, Ask, Round, Script};
use crate::support::windtunnel;
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::sync::Arc;
use windtunnel::cluster::{Cluster, ClusterConfig, TraceConfig};
use windtunnel::instance::{EngineConfig, EngineRules};
use windtunnel::latency::LatencyModel;
use windtunnel::policy::{
    ADMISSION_POLICIES, AdmissionSpec, PREEMPTION_POLICIES, PRIORITY_POLICIES, PolicySpec,
    ROUTING_POLICIES, RoutingSpec, SCHEDULERS, SCORERS, ScorerKind,
};
use windtunnel::record::{Outcome, RequestRecord, RunRecord, State};
use windtunnel::request::{Ending, Source};

/// `n` cases, or as many as `PROPTEST_CASES` says.
fn cases(n: u32) -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = n;
    }
    // A failure shrinks to a case small enough to become a test of its own.
    config.failure_persistence = None;
    config
}

/// Everything that defines a run.
#[derive(Clone, Debug)]
struct Case {
    asks: Vec<Ask>,
    config: ClusterConfig,
    latency: Affine,
    policies: PolicySpec,
}

const CLASSES: [&str; 6] = [
    "",
    "critical",
    "standard",
    "batch",
    "sheddable",
    "background",
];

fn an_ask() -> impl Strategy<Value = (i64, Ask)> {
    let gap = prop_oneof![3 => Just(0i64), 2 => 0i64..100, 1 => 0i64..4000];
    let prompt = prop_oneof![1 => Just(0u32), 4 => 1u32..40, 1 => 1u32..200];
    let output = prop_oneof![1 => Just(0u32), 1 => Just(1u32), 4 => 2u32..12, 1 => 2u32..80];
    let prefix = prop_oneof![2 => Just((0u32, 0u32)), 2 => (1u32..3, 0u32..70)];
    let budget = prop_oneof![4 => Just(None), 1 => Just(Some(0u32)), 1 => (0u32..8).prop_map(Some)];
    let timeout = prop_oneof![3 => Just(0i64), 1 => 1i64..8000];
    let round = (prop_oneof![Just(0i64), 0i64..2000], 0u32..20, 0u32..12).prop_map(
        |(think, prompt, output)| Round {
            think,
            prompt,
            output,
        },
    );
    let rounds = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(round, 1..4)];
    let tenant = prop_oneof![Just(""), Just("a"), Just("b")];
    let model = prop_oneof![20 => Just(""), 1 => Just("org/model-a"), 1 => Just("Model-A"), 1 => Just("other")];
    let who = (0usize..CLASSES.len(), tenant, model);
    (gap, prompt, output, prefix, budget, timeout, rounds, who).prop_map(
        |(gap, prompt, output, prefix, budget, timeout, rounds, (class, tenant, model))| {
            let ask = Ask {
                at: 0,
                prompt,
                output,
                prefix,
                budget,
                timeout,
                class: CLASSES[class],
                tenant,
                model,
                rounds,
            };
            (gap, ask)
        },
    )
}

fn asks(most: usize) -> impl Strategy<Value = Vec<Ask>> {
    prop::collection::vec(an_ask(), 1..most).prop_map(|gaps| {
        let mut at = 0;
        gaps.into_iter()
            .map(|(gap, ask)| {
                at += gap;
                Ask { at, ..ask }
            })
            .collect()
    })
}

fn rules() -> impl Strategy<Value = EngineRules> {
    let any_rules = prop::array::uniform10(any::<bool>()).prop_map(|b| EngineRules {
        keep_tokens_on_preemption: b[0],
        one_step_at_a_time: b[1],
        recompute_last_block: b[2],
        find_all_copies: b[3],
        kv_for_last_token: b[4],
        async_scheduling: b[5],
        visible_at_step_end: b[6],
        gaps_are_elapsed_time: b[7],
        first_scheduling_counts: b[8],
        exact_model_tags: b[9],
    });
    prop_oneof![Just(EngineRules::BLIS), Just(EngineRules::VLLM), any_rules]
}

fn engine() -> impl Strategy<Value = EngineConfig> {
    let blocks = prop_oneof![2 => 1u64..12, 2 => 12u64..80, 1 => Just(10_000u64)];
    let running = prop_oneof![1 => 1u32..6, 2 => Just(256u32), 1 => Just(u32::MAX)];
    let budget =
        prop_oneof![1 => 1u32..12, 1 => 12u32..256, 2 => Just(2048u32), 1 => Just(u32::MAX)];
    let threshold = prop_oneof![2 => Just(0u32), 1 => 1u32..40];
    let limit = prop_oneof![3 => Just(0u64), 1 => 20u64..150];
    let horizon = prop_oneof![2 => Just(i64::MAX), 1 => 1i64..20_000];
    (
        blocks,
        1u32..33,
        running,
        budget,
        threshold,
        limit,
        horizon,
        rules(),
    )
        .prop_map(
            |(blocks, block_size, max_running, budget, threshold, limit, horizon, rules)| {
                EngineConfig {
                    total_kv_blocks: blocks,
                    block_size,
                    max_running,
                    max_batched_tokens: budget,
                    long_prefill_threshold: threshold,
                    max_model_len: limit,
                    horizon_us: horizon,
                    rules,
                    token_events: false,
                }
            },
        )
}

fn latency() -> impl Strategy<Value = Affine> {
    let small = || prop_oneof![Just(0i64), 0i64..30];
    (
        prop_oneof![Just(0i64), 1i64..200],
        0i64..4,
        small(),
        0i64..3,
        small(),
        0i64..2,
        small(),
        small(),
    )
        .prop_map(
            |(base, prefill, decode, context, queueing, per_token, output_token, post)| Affine {
                base,
                per_prefill_token: prefill,
                per_decode: decode,
                per_context_block: context,
                queueing,
                queueing_per_token: per_token,
                output_token,
                post_decode: post,
            },
        )
}

fn admission() -> impl Strategy<Value = AdmissionSpec> {
    prop_oneof![
        12 => Just(AdmissionSpec::AlwaysAdmit),
        1 => (10.0..300.0, 100.0..100_000.0).prop_map(|(capacity, refill_rate)| {
            AdmissionSpec::TokenBucket { capacity, refill_rate }
        }),
        1 => (0u64..20, -3i32..5).prop_map(|(threshold, min_priority)| {
            AdmissionSpec::TierShed { threshold, min_priority }
        }),
        1 => (1.0..10.0, 0.1..1.0).prop_map(|(queue_depth, kv_utilization)| {
            AdmissionSpec::GaieLegacy { queue_depth, kv_utilization }
        }),
        1 => Just(AdmissionSpec::RejectAll),
    ]
}

fn routing() -> impl Strategy<Value = RoutingSpec> {
    let scorer = |name: &&str| ScorerKind::parse(name).expect("a listed scorer");
    let all: Vec<ScorerKind> = SCORERS.iter().map(scorer).collect();
    let weighted = prop::sample::subsequence(all, 1..5).prop_flat_map(|kinds| {
        let n = kinds.len();
        (Just(kinds), prop::collection::vec(0.1..3.0f64, n))
            .prop_map(|(kinds, weights)| kinds.into_iter().zip(weights).collect())
    });
    prop_oneof![
        1 => Just(RoutingSpec::RoundRobin),
        1 => Just(RoutingSpec::LeastLoaded),
        1 => Just(RoutingSpec::PrefixAffinity),
        1 => Just(RoutingSpec::AlwaysBusiest),
        1 => (0.1..2.0, 0.1..2.0).prop_map(|(cache, load)| RoutingSpec::TwoWeights { cache, load }),
        3 => weighted.prop_map(RoutingSpec::Weighted),
    ]
}

fn policies() -> impl Strategy<Value = PolicySpec> {
    let named = |names: &'static [&'static str]| prop::sample::select(names.to_vec());
    let budgets =
        prop_oneof![3 => Just(Vec::new()), 1 => (0.0..1.0).prop_map(|b| vec![("a".to_owned(), b)])];
    (
        admission(),
        budgets,
        routing(),
        named(PRIORITY_POLICIES),
        named(SCHEDULERS),
        named(PREEMPTION_POLICIES),
    )
        .prop_map(
            |(admission, tenant_budgets, routing, priority, scheduler, preemption)| PolicySpec {
                admission,
                tenant_budgets,
                routing,
                priority: priority.into(),
                scheduler: scheduler.into(),
                preemption: preemption.into(),
                ..PolicySpec::default()
            },
        )
}

fn case(most: usize) -> impl Strategy<Value = Case> {
    let delay = || prop_oneof![2 => Just(0i64), 1 => 1i64..3000];
    let trace = prop_oneof![3 => Just(None), 1 => (0usize..4).prop_map(Some)];
    let instances = prop_oneof![2 => Just(1u32), 1 => 2u32..6];
    let tight = prop_oneof![1 => Just(None), 2 => (0u64..8).prop_map(Some)];
    let cluster = (instances, delay(), delay(), delay(), delay(), trace, tight);
    (asks(most), engine(), cluster, latency(), policies()).prop_map(
        |(asks, mut engine, cluster, latency, policies)| {
            let (instances, admission, routing, refresh, cache, trace, tight) = cluster;
            // Mostly the pool is just too small for all of them at once.
            if let Some(spare) = tight {
                engine.total_kv_blocks = largest(&asks, &engine) + spare;
            } else if largest(&asks, &engine) > engine.total_kv_blocks {
                // A request that outgrows the pool is preempted for ever: only a horizon ends that.
                engine.horizon_us = engine.horizon_us.min(10_000);
            }
            let config = ClusterConfig {
                admission_latency_us: admission,
                routing_latency_us: routing,
                snapshot_refresh_us: refresh,
                cache_signal_delay_us: cache,
                trace: TraceConfig {
                    decisions: trace.is_some(),
                    counterfactual_k: trace.unwrap_or(0),
                },
                ..lab::fresh(instances, engine)
            };
            Case {
                asks,
                config,
                latency,
                policies,
            }
        },
    )
}

/// Blocks of the largest request with its last token.
fn largest(asks: &[Ask], engine: &EngineConfig) -> u64 {
    let blocks = |a: &Ask| {
        let rounds = a.rounds.iter().map(|r| r.prompt + r.output).sum::<u32>();
        // An empty prompt gets room for one token more.
        let tokens = a.prefix.1 + a.prompt + a.output + rounds + 1;
        u64::from(tokens.div_ceil(engine.block_size))
    };
    asks.iter().map(blocks).max().unwrap_or(1)
}

struct Outcomes {
    record: RunRecord,
    script: Script,
    kv_used: Vec<u64>,
}

fn simulate(case: &Case) -> Result<Outcomes, String> {
    let Case {
        asks,
        config,
        latency,
        policies,
    } = case;
    let mut script = Script::new(asks);
    let front = lab::front(policies, config, script.symbols_mut());
    let hooks = lab::hooks(policies, config.instances);
    let latency: Arc<dyn LatencyModel> = Arc::new(*latency);
    let cluster = Cluster::new(config.clone(), &latency, front, hooks, &mut script);
    let (record, kv_used) = lab::run_checked(cluster)?;
    Ok(Outcomes {
        record,
        script,
        kv_used,
    })
}

/// Everything a run says, as text.
fn text(record: &RunRecord) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        record.requests, record.instances, record.decisions, record.shed_by_class
    )
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// Conservation of requests: one record for each arrival, and the counters add up.
fn requests_are_conserved(case: &Case, run: &Outcomes) -> Result<(), String> {
    let Outcomes { record, script, .. } = run;
    let horizon = case.config.engine.horizon_us;
    let arrived = script
        .arrivals
        .values()
        .filter(|&&at| at <= horizon)
        .count();
    ensure!(
        record.requests.len() == arrived,
        "{arrived} arrivals, {} records",
        record.requests.len()
    );
    for (k, r) in record.requests.iter().enumerate() {
        ensure!(r.serial == k as u64, "record {k} has serial {}", r.serial);
        ensure!(
            script.arrivals.get(&r.id) == Some(&r.arrival_us),
            "{} arrived at another time",
            r.id
        );
    }
    let of = |i: Option<usize>, outcomes: &[Outcome]| {
        let here = |r: &&RequestRecord| {
            i.is_none_or(|i| r.instance == Some(i as u32)) && outcomes.contains(&r.outcome)
        };
        record.requests.iter().filter(here).count() as u64
    };
    use Outcome::{
        Completed, Dropped, LengthCapped, Queued, Rejected, Running, TimedOut, Unroutable,
    };
    for (i, t) in record.instances.iter().enumerate() {
        let counts = [
            (t.completed, of(Some(i), &[Completed, LengthCapped])),
            (t.length_capped, of(Some(i), &[LengthCapped])),
            (t.timed_out, of(Some(i), &[TimedOut])),
            (t.dropped, of(Some(i), &[Dropped])),
            (t.still_queued, of(Some(i), &[Queued])),
            (t.still_running, of(Some(i), &[Running])),
        ];
        for (counter, records) in counts {
            ensure!(
                counter == records,
                "instance {i}: counters {counts:?} differ from the records"
            );
        }
        let mine = |r: &&RequestRecord| r.instance == Some(i as u32);
        let sum = |f: fn(&RequestRecord) -> u64| record.requests.iter().filter(mine).map(f).sum();
        let tokens: u64 = sum(|r| u64::from(r.generated_tokens));
        ensure!(tokens == t.output_tokens, "output tokens of instance {i}");
        let preemptions: u64 = sum(|r| u64::from(r.preemptions));
        ensure!(preemptions == t.preemptions, "preemptions of instance {i}");
    }
    ensure!(
        record.rejected_by_admission == of(None, &[Rejected]),
        "admission rejections"
    );
    ensure!(
        record.rejected_by_routing == of(None, &[Unroutable]),
        "routing rejections"
    );
    let shed: u64 = record.shed_by_class.iter().map(|(_, n)| n).sum();
    ensure!(shed == record.rejected_by_admission, "rejections by class");
    Ok(())
}

/// Could a running request have to wait a step for token budget, or behind one that preempted itself?
fn may_skip_steps(case: &Case) -> bool {
    let total: u64 = case
        .asks
        .iter()
        .map(|a| {
            let rounds = a.rounds.iter().map(|r| u64::from(r.prompt + r.output));
            // Every later round repeats the whole session.
            let once = u64::from(a.prefix.1 + a.prompt + a.output) + rounds.sum::<u64>();
            once * (1 + a.rounds.len() as u64)
        })
        .sum();
    total >= u64::from(case.config.engine.max_batched_tokens) || case.policies.preemption != "fcfs"
}

/// Times are in order and sums agree, for one request.
fn times_agree(case: &Case, run: &Outcomes, r: &RequestRecord) -> Result<(), String> {
    let engine = &case.config.engine;
    let (rules, horizon) = (engine.rules, engine.horizon_us);
    let id = &r.id;
    let scheduled = r.scheduling_delay_us.map(|d| r.arrival_us + d);
    ensure!(r.arrival_us <= horizon, "{id} arrived after the horizon");
    ensure!(
        scheduled.is_none_or(|at| at >= r.arrival_us && at <= horizon),
        "{id} scheduled at {scheduled:?}"
    );
    if let (Some(delay), Some(ttft)) = (r.scheduling_delay_us, r.ttft_us) {
        ensure!(ttft > 0, "{id} has a first token after {ttft} us");
        // The last admission may come after the first token of a request that was preempted.
        let first = r.preemptions == 0 || rules.first_scheduling_counts;
        ensure!(
            !first || delay < ttft,
            "{id}: scheduled after {delay}, first token after {ttft}"
        );
    }
    ensure!(
        r.ttft_us.is_none() || r.scheduling_delay_us.is_some(),
        "{id} has a token but was never scheduled"
    );
    let ended = run.script.ended.get(id);
    let finished = matches!(
        r.outcome,
        Outcome::Completed | Outcome::LengthCapped | Outcome::TimedOut | Outcome::Dropped
    );
    ensure!(
        ended.is_some() == finished,
        "{id} {:?} {ended:?}",
        r.outcome
    );
    if let Some(ended) = ended {
        ensure!(ended.at_us >= r.arrival_us, "{id} ended before it began");
        let late = ended.at_us > horizon;
        ensure!(
            !late || (ended.ending == Ending::Completed && !rules.visible_at_step_end),
            "{id} ended at {} after the horizon",
            ended.at_us
        );
    }
    if r.outcome == Outcome::TimedOut {
        let at = ended.map_or(0, |e| e.at_us);
        ensure!(
            r.deadline_us > 0 && at >= r.deadline_us,
            "{id} gave up at {at}, its deadline is {}",
            r.deadline_us
        );
    }
    if r.state != State::Completed {
        ensure!(
            r.e2e_us.is_none() && r.mean_itl_us.is_none() && r.generated_tokens == 0,
            "{id} did not complete but has {r:?}"
        );
        return Ok(());
    }
    let (Some(ttft), Some(e2e), Some(ended)) = (r.ttft_us, r.e2e_us, ended) else {
        return Err(format!("{id} completed without {r:?}"));
    };
    let after_last = if r.output_tokens > 0 {
        case.latency.post_decode
    } else {
        0
    };
    ensure!(
        e2e == ttft + r.itl_sum_us + after_last,
        "{id}: e2e {e2e} is not ttft {ttft} + gaps {} + {after_last}",
        r.itl_sum_us
    );
    if r.outcome == Outcome::Completed {
        ensure!(
            r.generated_tokens == r.output_tokens,
            "{id} generated {} of {} tokens",
            r.generated_tokens,
            r.output_tokens
        );
    } else {
        let limit = engine.max_model_len;
        ensure!(
            limit == u64::from(r.prompt_tokens + r.generated_tokens),
            "{id} was cut at {} + {} tokens",
            r.prompt_tokens,
            r.generated_tokens
        );
    }
    ensure!(
        r.deadline_us == 0 || !rules.visible_at_step_end || ended.at_us <= r.deadline_us,
        "{id} completed at {} after its deadline {}",
        ended.at_us,
        r.deadline_us
    );
    // Where no gap is left out, the latency is the time that passed, plus each token's processing.
    let whole = rules.gaps_are_elapsed_time
        || (!may_skip_steps(case) && (r.preemptions == 0 || !rules.keep_tokens_on_preemption));
    let tokens = i64::from(r.generated_tokens.max(1));
    let passed = ended.at_us - r.arrival_us + tokens * case.latency.output_token + after_last;
    ensure!(
        !whole || e2e == passed,
        "{id}: e2e {e2e}, but {passed} us passed"
    );
    Ok(())
}

fn gaps_agree(run: &Outcomes) -> Result<(), String> {
    for (i, totals) in run.record.instances.iter().enumerate() {
        let mine = |r: &&RequestRecord| r.instance == Some(i as u32) && r.state == State::Completed;
        let (mut weight, mut sum) = (0u64, 0i64);
        for r in run.record.requests.iter().filter(mine) {
            weight += u64::from(r.generated_tokens.saturating_sub(1));
            sum += r.itl_sum_us;
        }
        let found: u64 = totals.gaps.iter().map(|(_, n)| n).sum();
        ensure!(found == weight, "instance {i}: {found} gaps, not {weight}");
        let found: i64 = totals.gaps.iter().map(|&(gap, n)| gap * n as i64).sum();
        ensure!(found == sum, "instance {i}: gaps of {found} us, not {sum}");
        ensure!(
            totals.gaps.windows(2).all(|w| w[0].0 < w[1].0),
            "instance {i}: gaps are not ascending"
        );
    }
    Ok(())
}

fn audit(case: &Case) -> Result<Outcomes, String> {
    let run = simulate(case)?;
    requests_are_conserved(case, &run)?;
    for r in &run.record.requests {
        times_agree(case, &run, r)?;
    }
    gaps_agree(&run)?;
    let horizon = case.config.engine.horizon_us;
    for (i, totals) in run.record.instances.iter().enumerate() {
        ensure!(
            totals.ended_us <= horizon,
            "instance {i} passed the horizon"
        );
        ensure!(
            totals.kv_peak_blocks <= totals.kv_total_blocks,
            "instance {i} used more blocks than it has"
        );
    }
    if horizon == i64::MAX {
        ensure!(
            run.kv_used.iter().all(|&used| used == 0),
            "blocks {:?} are held after the last request",
            run.kv_used
        );
        let unfinished = run.record.requests.iter().find(|r| {
            matches!(
                r.outcome,
                Outcome::Queued | Outcome::Running | Outcome::InTransit
            )
        });
        ensure!(unfinished.is_none(), "left behind: {unfinished:?}");
    }
    Ok(run)
}

proptest! {
    #![proptest_config(cases(12_000))]

    #[test]
    fn every_run_conserves_requests_blocks_and_time(case in case(40)) {
        audit(&case).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn the_same_run_twice_gives_the_same_record(case in case(40)) {
        let [a, b] = [simulate(&case), simulate(&case)]
            .map(|run| run.map(|r| text(&r.record)).map_err(TestCaseError::fail));
        prop_assert_eq!(a?, b?);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn results_do_not_depend_on_the_number_of_threads(cases in prop::collection::vec(case(25), 8)) {
        let on = |threads: usize| -> Result<Vec<String>, TestCaseError> {
            let parts: Vec<&[Case]> = cases.chunks(cases.len().div_ceil(threads)).collect();
            std::thread::scope(|scope| {
                let workers: Vec<_> = parts
                    .iter()
                    .map(|part| scope.spawn(|| part.iter().map(simulate).collect::<Vec<_>>()))
                    .collect();
                workers
                    .into_iter()
                    .flat_map(|w| w.join().expect("no panic"))
                    .map(|r| r.map(|r| text(&r.record)).map_err(TestCaseError::fail))
                    .collect()
            })
        };
        prop_assert_eq!(on(1)?, on(4)?);
    }
}

#[test]
fn the_strategies_name_every_policy() {
    assert_eq!(ADMISSION_POLICIES.len(), 5, "admission() draws five");
    assert_eq!(
        ROUTING_POLICIES.len(),
        5,
        "routing() draws five, weighted in two forms"
    );
}

/// The properties above are worth what their cases reach.
#[test]
fn the_cases_reach_every_outcome() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeMap;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, u64>::new();
    for _ in 0..600 {
        let case = case(40).new_tree(&mut runner).expect("a case").current();
        let run = simulate(&case).expect("the invariants hold");
        for r in &run.record.requests {
            let outcome = match r.outcome {
                Outcome::Completed => "completed",
                Outcome::LengthCapped => "length-capped",
                Outcome::TimedOut if r.ttft_us.is_some() => "timed out while decoding",
                Outcome::TimedOut => "timed out before its first token",
                Outcome::Dropped => "dropped",
                Outcome::Rejected => "rejected",
                Outcome::Unroutable => "unroutable",
                Outcome::Running => "running",
                Outcome::Queued => "queued",
                Outcome::InTransit => "in transit",
            };
            *seen.entry(outcome).or_default() += 1;
            let keeps = case.config.engine.rules.keep_tokens_on_preemption;
            let mut count = |what, is: bool| *seen.entry(what).or_default() += u64::from(is);
            let done = r.state == State::Completed;
            count("completed follow-up", done && r.round > 0);
            count(
                "completed after preemption, tokens kept",
                done && keeps && r.preemptions > 0,
            );
            count(
                "completed after preemption, tokens forgotten",
                done && !keeps && r.preemptions > 0,
            );
        }
        let mut count = |what, n| *seen.entry(what).or_default() += n;
        for t in &run.record.instances {
            count("cache hits", t.cache_hits);
            count("preemptions", t.preemptions);
            count("last tokens without room", t.kv_allocation_failures);
        }
    }
    println!("{seen:#?}");
    let rare: Vec<_> = seen.iter().filter(|(_, n)| **n < 10).collect();
    assert!(rare.is_empty() && seen.len() == 16, "{rare:?} of {seen:?}");
}

/// Limits at the edge of their types: every sum still fits (overflow checks are on in tests).
#[test]
fn the_largest_limits_do_not_overflow() {
    let largest = EngineConfig {
        total_kv_blocks: u64::MAX,
        block_size: u32::MAX,
        max_running: u32::MAX,
        max_batched_tokens: u32::MAX,
        long_prefill_threshold: u32::MAX,
        max_model_len: u64::MAX,
        horizon_us: i64::MAX,
        rules: EngineRules::BLIS,
        token_events: false,
    };
    let long = i32::MAX as u32 - 100;
    let asks = [
        lab::ask(0, long, 3),
        lab::ask(0, long, 2),
        lab::ask(0, long, 0),
        lab::ask(1, 0, 3),
    ];
    for rules in [EngineRules::BLIS, EngineRules::VLLM] {
        for block_size in [u32::MAX, 1 << 20] {
            let engine = EngineConfig {
                rules,
                block_size,
                ..largest
            };
            let records = lab::run_one(engine, &asks);
            assert!(records.iter().all(|r| r.outcome == Outcome::Completed));
        }
    }
}

/// Step times beyond all clocks: the run ends, nothing wraps.
#[test]
fn step_times_without_end_do_not_overflow() {
    for base in [i64::MAX / 2, i64::MAX / 2 + 10_000] {
        for rules in [EngineRules::BLIS, EngineRules::VLLM] {
            let latency = Affine {
                base,
                ..Affine::default()
            };
            let config = lab::fresh(1, lab::roomy(rules));
            let asks = [lab::ask(5, 10, 4), lab::ask(6, 10, 4)];
            let record = lab::run(config, latency, &PolicySpec::default(), &asks);
            assert_eq!(record.requests.len(), 2);
        }
    }
}

/// The largest coefficients that are accepted, through the command, whose arithmetic is checked in tests.
#[test]
fn the_largest_coefficients_do_not_overflow() {
    for (alpha, beta, code) in [
        ("0,0,1e12", "1,0,0", 0),
        ("1e12,1e12,1e12", "1e12,1e12,1e12", 0),
        ("0,0,1.1e12", "1,0,0", 2),
        ("0,0,1", "1e300,0,0", 2),
    ] {
        let model =
            "run --model llama-3.1-8b-instruct --hardware H100 --tp 1 --latency-model blackbox";
        let flags = [
            "--num-requests",
            "9",
            "--alpha-coeffs",
            alpha,
            "--beta-coeffs",
            beta,
        ];
        let ran = windtunnel(model.split(' ').chain(flags));
        assert_eq!(ran.code, code, "{alpha} {beta}: {}", ran.stderr);
    }
}

/// Rows of a results file, without the columns that only a session or a name of the trace would change.
fn rows(path: &std::path::Path, skip: &[&str]) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).expect("a results file");
    let kept: Vec<usize> = (0..)
        .zip(reader.headers().expect("a header"))
        .filter(|(_, name)| !skip.contains(name))
        .map(|(i, _)| i)
        .collect();
    let row = |r: csv::Result<csv::StringRecord>| {
        let r = r.expect("a row");
        kept.iter().map(|&i| r[i].to_owned()).collect()
    };
    reader.records().map(row).collect()
}

/// Runs a workload, replays its export, and compares request by request and in the aggregate.
fn replayed_as_exported(workload: &[&str], engine: &[&str], shows: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let (exported, a, b) = (text("P"), text("a.csv"), text("b.csv"));
    let (header, data) = (text("P.yaml"), text("P.csv"));
    let model = [
        "--model",
        "llama-3.1-8b-instruct",
        "--hardware",
        "H100",
        "--tp",
        "1",
        "--format",
        "blis",
    ];
    let run = ["run", "--trace-output", &exported, "--results-path", &a];
    let replay = [
        "replay",
        "--trace-header",
        &header,
        "--trace-data",
        &data,
        "--results-path",
        &b,
    ];
    let [first, second] = [[&run, workload].concat(), replay.to_vec()].map(|args| {
        let ran = windtunnel(args.iter().chain(&model).chain(engine));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    });
    let results = std::fs::read_to_string(&a).expect("results");
    assert!(
        results.contains(shows),
        "{workload:?} {engine:?} without {shows}"
    );
    // The trace does not carry the names of the requests.
    let [first_rows, second_rows] =
        ["a.csv", "b.csv"].map(|name| rows(&path(name), &["request_id"]));
    assert!(first_rows.len() > 5);
    for (k, (one, two)) in first_rows.iter().zip(&second_rows).enumerate() {
        assert_eq!(one, two, "request {k} of {workload:?}");
    }
    assert_eq!(first_rows.len(), second_rows.len());
    assert_eq!(first, second, "aggregates of {workload:?}");
}

#[test]
fn a_replayed_export_reproduces_the_run() {
    let plain = ["--num-requests", "60", "--rate", "20"];
    let prefix = [
        "--num-requests",
        "60",
        "--rate",
        "40",
        "--prefix-tokens",
        "100",
        "--prompt-tokens",
        "50",
        "--output-tokens",
        "60",
    ];
    let impatient = ["--num-requests", "60", "--rate", "40", "--timeout", "1"];
    let preset = [
        "--workload",
        "chatbot",
        "--num-requests",
        "40",
        "--rate",
        "10",
    ];
    let tight = ["--total-kv-blocks", "600", "--horizon", "100000000"];
    let cluster = [
        "--num-instances",
        "3",
        "--routing-policy",
        "least-loaded",
        "--rules",
        "vllm",
    ];
    let until = ["--rules", "blis", "--horizon", "100000000"];
    // Each shows what its workload is for.
    replayed_as_exported(&plain, &until, "completed");
    replayed_as_exported(&plain, &tight, "completed");
    replayed_as_exported(&prefix, &until, "shared,100");
    replayed_as_exported(&prefix, &cluster, "instance_2");
    replayed_as_exported(&impatient, &tight, "timed_out");
    replayed_as_exported(&impatient, &cluster, "timed_out");
    replayed_as_exported(&preset, &cluster, "instance_1");
}
