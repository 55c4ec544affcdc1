//! What a run says of batching, and what becomes of it.

use crate::{PoolSpec, RulesSpec, RunSpec, Simulation};
use serde_json::{Value, json};
use windtunnel_policy::{Choice, Hook};

/// A run of which these settings are given.
fn resolved(settings: &Value) -> Result<Simulation, String> {
    let mut all = json!({ "model": "llama-3.1-8b-instruct", "rules": "vllm" });
    for (name, value) in settings.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    let run = RunSpec::from_settings(all.as_object().cloned().unwrap_or_default());
    let simulation = run.expect("settings").resolve();
    simulation.map_err(|e| e.to_string())
}

/// What becomes of these settings: the policy, and whether its engine is asynchronous.
fn told(settings: &Value) -> (Choice, bool) {
    let simulation = resolved(settings).expect("a run");
    let engine = simulation.deployment().config().pools[0].engine;
    let choice = simulation.policies().batching.clone();
    (choice, engine.rules.async_scheduling)
}

fn built_in(name: &str, values: &[(&str, f64)]) -> Choice {
    let values: Vec<_> = values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    Choice::built_in(Hook::Batching, name, &values).expect("a built-in")
}

#[test]
fn a_run_names_its_strategy_and_contradictions_are_refused() {
    let values = [("min_batch_size", 4.0), ("window_us", 200_000.0)];
    let windowed = (built_in("windowed", &values), false);
    let given = json!({ "batching_strategy": "windowed:min_batch_size=4,window=0.2s" });
    assert_eq!(told(&given), windowed);
    let given = json!({
        "batching_strategy": "windowed:window=0.2s", "policy_param": ["batching.min_batch_size=4"]
    });
    let (Choice::BuiltIn { values, .. }, false) = told(&given) else {
        panic!("a built-in strategy");
    };
    assert_eq!(
        (values.get("min_batch_size"), values.get("window_us")),
        (4.0, 200_000.0)
    );
    let continuous = (built_in("continuous", &[]), true);
    assert_eq!(
        told(&json!({ "batching_strategy": "continuous" })),
        continuous
    );
    assert_eq!(told(&json!({})), continuous);
    let refused = |settings: Value| resolved(&settings).err().expect("refused");
    assert_eq!(
        refused(json!({ "batching_strategy": "windowed:window=20" })),
        "`batching_strategy`: batching strategy windowed: window is \"20\"; expected a time with its unit, \
         20ms or 0.5s"
    );
    assert_eq!(
        refused(json!({ "batching_strategy": "static", "async_scheduling": true })),
        "`async_scheduling` does not go with `batching_strategy` static: it forms a batch when it knows what \
         the step before left of the last one"
    );
    assert_eq!(
        refused(json!({
            "batching_strategy": "greedy", "num_speculative_tokens": 2, "speculative_method": "ngram"
        })),
        "`num_speculative_tokens` does not go with `batching_strategy` greedy: drafts are known to continuous \
         batching alone"
    );
    assert_eq!(
        refused(json!({
            "batching_strategy": "chunked-context:chunk=64", "long_prefill_token_threshold": 32
        })),
        "`long_prefill_token_threshold` does not go with `batching_strategy` chunked-context: its `chunk` says \
         how much of a prompt is computed in a step"
    );
}

/// Files, by setting and by bundle.
#[test]
fn a_run_names_a_file_or_a_bundle_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let few = put(
        "few.lua",
        "--@param most = 2, 1..9 int  Admissions\n--@param rest_us = 5, 0..1e9 int  Pause\n\
         return { batch = function(step) return { max_admissions = cfg.most, hold_until_us = cfg.rest_us } end }\n",
    );
    let external = |settings: &Value| match told(settings) {
        (Choice::External(policy), asynchronous) => (policy.params().to_vec(), asynchronous),
        (other, _) => panic!("{other:?}"),
    };
    let values = |most, rest| vec![("most".to_owned(), most), ("rest_us".to_owned(), rest)];
    assert_eq!(
        external(&json!({ "batching_strategy": few })),
        (values(2.0, 5.0), false)
    );
    let text = format!("{few}:most=3,rest=2ms");
    assert_eq!(
        external(&json!({ "batching_strategy": text, "async_scheduling": true })),
        (values(3.0, 2_000.0), true)
    );
    // A bundle says nothing about the engine.
    let bundle = put("b.yaml", "batching: {policy: few.lua, params: {most: 4}}\n");
    let of_bundle = json!({ "policy_config": bundle });
    assert_eq!(external(&of_bundle), (values(4.0, 5.0), true));
    let mut both = of_bundle.clone();
    both["batching_strategy"] = "static".into();
    assert_eq!(told(&both), (built_in("static", &[]), false));
    for (setting, value) in [("rules", "blis"), ("speculative_method", "ngram")] {
        let mut odd = of_bundle.clone();
        odd[setting] = value.into();
        if setting == "speculative_method" {
            (odd["num_speculative_tokens"], odd["acceptance_rate"]) = (2.into(), 0.5.into());
        }
        let refused = resolved(&odd).err().expect("refused");
        assert!(
            refused.contains("few.lua does not go with "),
            "{setting}: {refused}"
        );
    }
    assert!(
        resolved(&json!({ "batching_strategy": "few.lua" })).is_err_and(|e| e.contains("few.lua"))
    );
}

/// Each pool by its own strategy, or by that of all.
#[test]
fn pools_have_strategies_of_their_own() {
    let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
    spec.rules = RulesSpec::Vllm;
    let pool = |name: &str, strategy: Option<&str>| {
        let mut pool = PoolSpec {
            name: name.to_owned(),
            ..PoolSpec::default()
        };
        pool.engine.batching_strategy = strategy.map(str::to_owned);
        pool
    };
    spec.pools = vec![
        pool("a", Some("static")),
        pool("b", None),
        pool("c", Some("greedy")),
    ];
    let policies = spec.resolve().expect("a run").policies().clone();
    let names = [0, 1, 2].map(|k| policies.batching_of(k).name().to_owned());
    assert_eq!(names, ["static", "continuous", "greedy"]);
    spec.pools[1].engine.batching_strategy = Some("nosuch".to_owned());
    let error = spec.resolve().err().expect("an unknown name").to_string();
    assert!(
        error.starts_with("`batching_strategy`: unknown batching strategy \"nosuch\""),
        "{error}"
    );
}
