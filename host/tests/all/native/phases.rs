//! The hooks of contract 1.1, batching and disaggregation: in the process, in a Rust plugin, in C,
//! and as scripts.

use super::built;
use super::two_phases::{BusyDecode, StepTime};
use crate::autoscale::scaled_cluster;
use crate::cases::split;
use crate::lab::{self, Arrival, BY_HAND, ask, roomy};
use crate::support::root;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::path::PathBuf;
use windtunnel_base::record::RunRecord;
use windtunnel_engine::cluster::ClusterConfig;
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_plugin_api::Setup;
use windtunnel_policy::{Choice, Custom, Facts, Hook, PolicyLoader, PolicySpec, Reference};

/// A policy from a file, with these parameters.
fn from_file(hook: Hook, reference: &Reference, params: &[(&str, f64)]) -> Choice {
    let given = params.iter().map(|(k, v)| ((*k).to_owned(), *v));
    let given: Vec<(String, f64)> = given.collect();
    let loaded = PolicyLoader::new(false).load(hook, reference, &mut |_| given.clone());
    loaded.expect("it loads")
}

fn plugin(hook: Hook, params: &[(&str, f64)]) -> Choice {
    let library = built::of_the_workspace("two-phases");
    from_file(hook, &Reference::Plugin(library, None), params)
}

/// What a policy of the calling program is made with.
fn with<T>(params: &[(&str, f64)], facts: &Facts, make: impl FnOnce(&mut Setup<'_>) -> T) -> T {
    let params: Vec<_> = params.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    make(&mut Setup {
        params: &params,
        instances: facts.instances,
        slots: facts.slots,
        symbol: &mut |_| 0,
    })
}

fn batched(batching: Choice) -> PolicySpec {
    PolicySpec {
        batching,
        ..PolicySpec::default()
    }
}

/// Many requests over places and memory that are too few.
fn crowded() -> (ClusterConfig, Vec<Arrival>) {
    let engine = EngineConfig {
        total_kv_blocks: 60,
        block_size: 4,
        max_num_seqs: 5,
        max_num_batched_tokens: 90,
        ..roomy(EngineRules::VLLM)
    };
    let asks = (0..120).map(|k: u32| ask(i64::from(k) * 170, 1 + k * 29 % 60, 1 + k * 13 % 40));
    (lab::fresh(2, engine), asks.collect())
}

fn said(record: &RunRecord) -> String {
    assert_eq!(record.fault, None);
    format!("{:?} {:?}", record.requests, record.instances)
}

#[test]
fn a_batching_strategy_decides_alike_in_the_process_in_a_plugin_and_as_a_script() {
    let params = [("step_ms", 1.0), ("least", 3.0)];
    let own = Custom::batching("step-time", move |facts| {
        with(&params, facts, StepTime::new).expect("made")
    });
    let script = root().join("policies/batching/step-time.lua");
    let script = from_file(Hook::Batching, &Reference::Script(script), &params);
    // Another start of the search finds another number of tokens.
    let short = [("step_ms", 1.0), ("least", 1.0)];
    let (config, asks) = crowded();
    let slow = lab::Affine {
        per_prefill_token: 30,
        ..BY_HAND
    };
    let run = |spec: &PolicySpec| lab::run(config.clone(), slow, spec, &asks);
    let in_process = said(&run(&batched(own.into())));
    assert_eq!(
        in_process,
        said(&run(&batched(plugin(Hook::Batching, &params))))
    );
    assert_eq!(in_process, said(&run(&batched(script))));
    assert_ne!(in_process, said(&run(&PolicySpec::default())));
    assert_ne!(
        in_process,
        said(&run(&batched(plugin(Hook::Batching, &short))))
    );
}

/// The library made of the C fixture, if there is a compiler.
fn c() -> Option<PathBuf> {
    let source = root().join("host/tests/data/native/phases.c");
    built::c(
        "phases",
        &source,
        &["-DFAIL_AT_US=77777", "-DODD_PROMPT=41", "-DODD_OUTPUT=9"],
    )
}

#[test]
fn a_batching_strategy_in_c_decides_as_a_script_does_and_fails_in_its_own_words() {
    let Some(library) = c() else { return };
    let in_c = from_file(Hook::Batching, &Reference::Plugin(library, None), &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("even.lua");
    let text = "return { batch = function(step, head, queue)
        local limits = { decodes_wait = true }
        if queue.batch_size > 0 then limits.max_admissions = if step.step % 2 == 0 then 1 else 0 end
        return limits
    end }";
    std::fs::write(&path, text).expect("written");
    let script = from_file(Hook::Batching, &Reference::Script(path), &[]);
    let (config, asks) = crowded();
    let run = |spec: &PolicySpec, asks: &[Arrival]| lab::run(config.clone(), BY_HAND, spec, asks);
    let spec = batched(in_c);
    assert_eq!(
        said(&run(&spec, &asks)),
        said(&run(&batched(script), &asks))
    );
    let late = [ask(0, 10, 3), ask(77_777, 10, 3)];
    let fault = run(&spec, &late).fault.expect("a fault").to_string();
    assert!(
        fault.starts_with("the batching strategy failed at step "),
        "{fault}"
    );
    assert!(fault.ends_with(" came too late"), "{fault}");
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(12)
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_disaggregation_policy_decides_alike_in_the_process_and_in_a_plugin(
        case in split(30),
        tokens in (0u32..60).prop_map(f64::from),
        late_ms in 0.0..20.0,
        refreshed in any::<bool>(),
    ) {
        let mut case = case;
        case.config.front.snapshot_refresh_us = if refreshed { 0 } else { 500 };
        let params = [("tokens", tokens), ("late_ms", late_ms)];
        let own = Custom::disaggregation("busy-decode", move |facts| {
            with(&params, facts, BusyDecode::new).expect("made")
        });
        let run = |choice: Choice| {
            let mut case = case.clone();
            case.policies.disaggregation = choice;
            crate::filled::run(&case, crate::filled::Compiled::default())
        };
        let (a, b) = (run(own.into()), run(plugin(Hook::Disaggregation, &params)));
        prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
        prop_assert!(a.is_ok());
    }
}

#[test]
fn a_disaggregation_policy_in_c_decides_and_its_odd_answers_are_refused() {
    let Some(library) = c() else { return };
    let in_c = from_file(Hook::Disaggregation, &Reference::Plugin(library, None), &[]);
    let mut policies = crate::disaggregation::in_turn();
    policies.disaggregation = in_c;
    let run = |asks: &[Arrival]| {
        let config = crate::disaggregation::cluster(1, 1, crate::disaggregation::IN_TURN);
        lab::run(config, BY_HAND, &policies, asks)
    };
    let record = run(&[ask(0, 40, 2), ask(10_000, 43, 2)]);
    assert_eq!(record.fault, None);
    let split: Vec<bool> = record.requests.iter().map(|r| r.split.is_some()).collect();
    assert_eq!(split, [false, true]);
    // It hears of completions: after one of 2 tokens, 42 are no longer too long.
    let record = run(&[ask(0, 42, 2), ask(100_000, 42, 2), ask(200_000, 45, 2)]);
    assert_eq!(record.fault, None);
    let split: Vec<bool> = record.requests.iter().map(|r| r.split.is_some()).collect();
    assert_eq!(split, [true, false, true]);
    let fault = run(&[ask(0, 10, 9)]).fault.expect("a fault").to_string();
    assert!(fault.contains("an output of 9 tokens"), "{fault}");
    let fault = run(&[ask(0, 41, 2)]).fault.expect("a fault").to_string();
    assert!(
        fault.contains("prefills_remotely answered 7; expected 0 or 1"),
        "{fault}"
    );
}

#[test]
fn a_scaling_policy_in_c_decides_as_a_script_does_and_fails_in_its_own_words() {
    let source = root().join("host/tests/data/native/scale.c");
    let Some(library) = built::c("scale", &source, &["-DFAILS_AT=25"]) else {
        return;
    };
    let in_c = from_file(Hook::Scale, &Reference::Plugin(library, None), &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pairs.lua");
    let text = "return { replicas = function(pool, cluster)
        return (pool.in_flight + pool.held + 1) // 2 + cluster.n // 3
    end }";
    std::fs::write(&path, text).expect("written");
    let script = from_file(Hook::Scale, &Reference::Script(path), &[]);
    let run = |scale: Choice, asks: &[Arrival]| {
        let spec = PolicySpec {
            scale,
            ..PolicySpec::default()
        };
        lab::run(scaled_cluster(), BY_HAND, &spec, asks)
    };
    let mut asks: Vec<Arrival> = (0..60).map(|k| ask(130 * k, 10, 20)).collect();
    asks.push(ask(30_000, 10, 20));
    let [in_c_run, script_run] = [in_c.clone(), script].map(|scale| run(scale, &asks));
    let scaling = in_c_run.scaling.as_ref().expect("it is scaled");
    assert!(
        scaling.pools[0].ups > 1 && scaling.pools[0].downs > 0,
        "{scaling:?}"
    );
    assert_eq!(in_c_run.scaling, script_run.scaling);
    assert_eq!(said(&in_c_run), said(&script_run));
    let mut many: Vec<Arrival> = (0..25).map(|_| ask(0, 10, 1)).collect();
    many.push(ask(5_000, 10, 1));
    let fault = run(in_c, &many).fault.expect("it fails").to_string();
    assert!(
        fault.contains("the scaling policy failed: 25 are enough"),
        "{fault}"
    );
}
