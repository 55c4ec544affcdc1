//! What holds of every run in which some instances prefill and others decode.

use crate::cases::{Case, split};
use crate::lab::built_in;
use crate::properties::{Outcomes, cases, ensure, simulate, simulate_plainly, text};
use proptest::prelude::*;
use windtunnel_base::record::Outcome;
use windtunnel_engine::cluster::PoolConfig;
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Choice, Hook};

/// Every request has a record, nothing is held or left when all is done, and what happens to a
/// split request happens in order.
fn splits_are_conserved(case: &Case, run: &Outcomes) -> Result<(), String> {
    let horizon = case.config.horizon_us;
    let script = &run.script;
    let arrived = script.arrivals.values().filter(|at| **at <= horizon);
    let (arrived, records) = (arrived.count(), run.record.requests.len());
    ensure!(records == arrived, "{arrived} arrivals, {records} records");
    let rules = case.config.pools[0].engine.rules;
    let (fetches, yields) = (rules.decoder_fetches_kv, rules.prefiller_yields_token);
    for (k, r) in run.record.requests.iter().enumerate() {
        ensure!(r.serial == k as u64, "record {k} has serial {}", r.serial);
        let Some(split) = &r.split else { continue };
        let times = [
            split.prefill_enqueue_us,
            split.prefill_end_us,
            split.transfer_start_us,
            split.transfer_end_us,
        ];
        let known = times.into_iter().flatten();
        ensure!(
            known.clone().is_sorted() && known.clone().all(|at| at >= r.arrival_us),
            "{} went its way at {times:?}",
            r.id
        );
        ensure!(
            times
                .windows(2)
                .all(|pair| pair[1].is_none() || pair[0].is_some()),
            "{} left something out: {times:?}",
            r.id
        );
        if !fetches {
            continue;
        }
        let first = r.ttft_us.map(|ttft| r.arrival_us + ttft);
        ensure!(
            // One that nobody fetched in time was computed where it was decoded.
            yields
                || split.transfer_start_us.is_none()
                || first.is_none_or(|at| split.transfer_end_us.is_some_and(|end| at > end)),
            "{} has a token at {first:?}, its KV cache arrived at {:?}",
            r.id,
            split.transfer_end_us
        );
        if let (Some(e2e), Some(ended)) = (r.e2e_us, script.ended.get(&r.id)) {
            let (_, latency) = case.instance(r.instance);
            let after_last = if r.output_tokens > 0 {
                latency.post_decode
            } else {
                0
            };
            let tokens = i64::from(r.generated_tokens.max(1));
            let first = match split.prefill_instance.filter(|_| yields) {
                // Its only token was there before it ended.
                Some(_) if tokens == 1 => continue,
                prefiller => case.instance(prefiller.or(r.instance)).1.output_token,
            };
            let tokens_us = first + (tokens - 1) * latency.output_token;
            let passed = ended.at_us - r.arrival_us + tokens_us + after_last;
            ensure!(e2e == passed, "{}: e2e {e2e}, but {passed} us passed", r.id);
        }
    }
    let prefills: u64 = run.record.instances.iter().map(|t| t.prefills).sum();
    let splits = run.record.requests.iter().filter_map(|r| r.split.as_ref());
    let ended = splits.filter(|s| s.prefill_end_us.is_some()).count() as u64;
    ensure!(
        prefills == ended,
        "{prefills} prefills, {ended} in the records"
    );
    if horizon == i64::MAX {
        ensure!(
            run.kv_used.iter().all(|&used| used == 0),
            "blocks {:?} are held after the last request",
            run.kv_used
        );
        let left = run.record.requests.iter().find(|r| {
            matches!(
                r.outcome,
                Outcome::Queued | Outcome::Running | Outcome::InTransit
            )
        });
        ensure!(left.is_none(), "left behind: {left:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn split_requests_run_as_fast_as_plainly_and_are_conserved(case in split(30)) {
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        splits_are_conserved(&case, &fast).map_err(TestCaseError::fail)?;
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
        prop_assert_eq!(&fast.kv_used, &plain.kv_used);
    }
}

/// Any built-in strategy.
fn batching() -> impl Strategy<Value = Choice> {
    let all = built_ins(Hook::Batching).iter();
    let all = all.map(|policy| match policy.name {
        "windowed" => {
            let values = [("min_batch_size", 3.0), ("window_us", 400.0)];
            built_in(Hook::Batching, policy.name, &values)
        }
        name => built_in(Hook::Batching, name, &[]),
    });
    prop::sample::select(all.collect::<Vec<Choice>>())
}

proptest! {
    #![proptest_config(cases(1500))]

    /// However the instances form their batches.
    #[test]
    fn split_requests_are_conserved_under_any_batching_strategy(
        case in split(30),
        batching in batching(),
    ) {
        let mut case = case;
        let awaits_output = |pool: &PoolConfig| pool.engine.rules.visible_at_step_end;
        prop_assume!(case.config.pools.iter().all(awaits_output));
        case.policies.batching = batching;
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&fast.record.fault, &None);
        splits_are_conserved(&case, &fast).map_err(TestCaseError::fail)?;
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
        prop_assert_eq!(&fast.kv_used, &plain.kv_used);
    }
}
