//! What holds of every run, whatever the workload, the limits, the rules and the policies.

use crate::cases::{Case, scaled, two_pools};
use crate::flow_cases::gateway_counters_agree;
use crate::lab::{self, Affine, Script};
use crate::support::windtunnel;
use proptest::prelude::*;
use proptest::test_runner::Config;
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord, State};
use windtunnel_base::request::{FinishReason, Source};
use windtunnel_engine::cluster::Cluster;
use windtunnel_engine::instance::{EngineConfig, EngineRules, SchedulingConfig};
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Hook, PolicySpec};

/// `n` cases, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(n: u32) -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = n;
    }
    // Tests of a part of the cases leave the others out.
    config.max_global_rejects = config.max_global_rejects.max(8 * config.cases);
    // A failure shrinks to a case small enough to become a test of its own.
    config.failure_persistence = None;
    config
}

pub(crate) struct Outcomes {
    pub(crate) record: RunRecord,
    pub(crate) script: Script,
    pub(crate) kv_used: Vec<u64>,
}

pub(crate) fn simulate(case: &Case) -> Result<Outcomes, String> {
    simulate_script(case, Script::new(&case.asks))
}

/// The same case by the book: every request touched in every step, every event in order, every
/// block findable.
pub(crate) fn simulate_plainly(case: &Case) -> Result<Outcomes, String> {
    let mut case = case.clone();
    for pool in &mut case.config.pools {
        pool.engine.plain = true;
    }
    simulate_script(&case, Script::new(&case.asks).without_promises())
}

fn simulate_script(case: &Case, mut script: Script) -> Result<Outcomes, String> {
    let Case {
        config, policies, ..
    } = case;
    let (front, hooks) = lab::policies(policies, config, script.symbols_mut());
    let cluster = Cluster::new(config.clone(), front, hooks, &mut script);
    let (record, kv_used) = lab::run_checked(cluster.map_err(|e| e.to_string())?)?;
    Ok(Outcomes {
        record,
        script,
        kv_used,
    })
}

/// Everything a run says, as text.
pub(crate) fn text(record: &RunRecord) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        record.requests,
        record.instances,
        record.decisions,
        record.shed_by_class,
        record.gateway,
        record.scaling
    )
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

pub(crate) use ensure;

/// Conservation of requests: one record for each arrival, and the counters add up.
pub(crate) fn requests_are_conserved(case: &Case, run: &Outcomes) -> Result<(), String> {
    let Outcomes { record, script, .. } = run;
    let horizon = case.config.horizon_us;
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
    gateway_counters_agree(case, record, of)?;
    let shed: u64 = record.shed_by_class.iter().map(|(_, n)| n).sum();
    ensure!(shed == record.rejected_by_admission, "rejections by class");
    Ok(())
}

/// Could a running request have to wait a step for token budget, or behind one that preempted
/// itself?
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
    let budgets = case
        .config
        .pools
        .iter()
        .map(|pool| pool.engine.max_num_batched_tokens);
    total >= budgets.min().unwrap_or(0).into() || case.policies.preemption.name() != "fcfs"
}

/// Times are in order and sums agree, for one request.
fn times_agree(case: &Case, run: &Outcomes, r: &RequestRecord) -> Result<(), String> {
    let (engine, latency) = case.instance(r.instance);
    let (rules, horizon) = (engine.rules, case.config.horizon_us);
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
    // What a server still has to send comes after the end of the request's last step.
    let sent_later = rules.has_api_server() && !engine.scheduling.api_server.is_free();
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
            !late
                || (ended.reason == FinishReason::Completed
                    && (!rules.visible_at_step_end || sent_later)),
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
    if r.state != State::Completed || r.outcome == Outcome::Evicted {
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
        latency.post_decode
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
        r.deadline_us == 0
            || !rules.visible_at_step_end
            || sent_later
            || ended.at_us <= r.deadline_us,
        "{id} completed at {} after its deadline {}",
        ended.at_us,
        r.deadline_us
    );
    // Where no gap is left out, the latency is the time that passed, plus each token's processing.
    let whole = rules.gaps_are_elapsed_time
        || (!may_skip_steps(case) && (r.preemptions == 0 || !rules.keep_tokens_on_preemption));
    let tokens = i64::from(r.generated_tokens.max(1));
    let passed = ended.at_us - r.arrival_us + tokens * latency.output_token + after_last;
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

pub(crate) fn audit(case: &Case) -> Result<Outcomes, String> {
    let run = simulate(case)?;
    requests_are_conserved(case, &run)?;
    for r in &run.record.requests {
        times_agree(case, &run, r)?;
    }
    gaps_agree(&run)?;
    let horizon = case.config.horizon_us;
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

    /// The fast path gives what the plain path gives, in every field of every request, instance and
    /// decision.
    #[test]
    fn the_fast_path_equals_the_plain_path(case in scaled(24)) {
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
        prop_assert_eq!(fast.kv_used, plain.kv_used);
    }

    #[test]
    fn every_run_conserves_requests_blocks_and_time(case in scaled(40)) {
        audit(&case).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn two_pools_run_as_fast_as_plainly_and_conserve_everything(case in two_pools(30)) {
        let fast = audit(&case).map_err(TestCaseError::fail)?;
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
        prop_assert_eq!(&fast.kv_used, &plain.kv_used);
        let sizes: Vec<u32> = case.config.pools.iter().map(|pool| pool.instances).collect();
        for r in &fast.record.requests {
            let pool = r.instance.map_or("", |i| if i < sizes[0] { "first" } else { "second" });
            prop_assert_eq!(fast.record.symbols.name(r.pool), pool);
        }
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn the_same_run_twice_gives_the_same_record(case in scaled(40)) {
        let [a, b] = [simulate(&case), simulate(&case)]
            .map(|run| run.map(|r| text(&r.record)).map_err(TestCaseError::fail));
        prop_assert_eq!(a?, b?);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn results_do_not_depend_on_the_number_of_threads(cases in prop::collection::vec(scaled(25), 8)) {
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
    assert_eq!(
        built_ins(Hook::Admission).len(),
        5,
        "admission() draws five"
    );
    assert_eq!(
        built_ins(Hook::Routing).len(),
        6,
        "routing() draws six, weighted in two forms"
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
        let case = scaled(40).new_tree(&mut runner).expect("a case").current();
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
                Outcome::RequestsQueued | Outcome::TokensQueued => "refused by a server",
                Outcome::GatewayFull => "refused by the gateway",
                Outcome::Shed => "shed",
                Outcome::Expired => "expired",
                Outcome::Evicted => "evicted",
                Outcome::Held => "held",
                Outcome::Failed => "failed",
                Outcome::Running => "running",
                Outcome::Queued => "queued",
                Outcome::InTransit => "in transit",
            };
            *seen.entry(outcome).or_default() += 1;
            let keeps = case.instance(r.instance).0.rules.keep_tokens_on_preemption;
            let mut count = |what, is: bool| *seen.entry(what).or_default() += u64::from(is);
            let done = r.e2e_us.is_some();
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
            count("cache hits", t.prefix_hits);
            count("preemptions", t.preemptions);
            count("last tokens without room", t.kv_allocation_failures);
        }
    }
    println!("{seen:#?}");
    let rare: Vec<_> = seen.iter().filter(|(_, n)| **n < 10).collect();
    assert!(rare.is_empty() && seen.len() == 21, "{rare:?} of {seen:?}");
}

/// Limits at the edge of their types: every sum still fits (overflow checks are on in tests).
#[test]
fn the_largest_limits_do_not_overflow() {
    let largest = EngineConfig {
        total_kv_blocks: u64::MAX,
        block_size: u32::MAX,
        max_num_seqs: u32::MAX,
        max_num_batched_tokens: u32::MAX,
        long_prefill_token_threshold: u32::MAX,
        max_model_len: u64::MAX,
        horizon_us: i64::MAX,
        rules: EngineRules::BLIS,
        token_events: false,
        scheduling: SchedulingConfig::default(),
        plain: false,
    };
    let long = i32::MAX as u32 - 100;
    let asks = [
        lab::ask(0, long, 3),
        lab::ask(0, long, 2),
        lab::ask(0, long, 0),
        lab::ask(1, 1, 3),
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

/// The largest coefficients that are accepted, through the command, whose arithmetic is checked in
/// tests.
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
