//! Every file in `policies/` that has a twin in Rust decides as the twin does: on random runs, in
//! every record and every decision, and on the reference's cases.

use crate::autoscale::{any_scale, scale_first};
use crate::cases::{
    Case, OF_THE_REFERENCE, any_decider, any_of, case, gaie_legacy, split, tier_shed, token_bucket,
    two_weights, weighted,
};
use crate::filled::{Compiled, File, file, run, scripted};
use crate::flow_cases::{any_dispatch, flow_control};
use crate::lab::built_in;
use crate::native::session_affinity::SessionAffinity;
use crate::native::vtc_fair::VtcFair;
use crate::oracle;
use crate::support::{root, windtunnel};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::path::Path;
use windtunnel_base::record::{Decision, RunRecord};
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::{PolicyError, QueueView, RequestView, Scheduler, Setup};
use windtunnel_plugin_least_tokens::LeastTokens;
use windtunnel_policy::builtin::routing::weighted::{SCORERS, parse_scorers};
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::registry::default_policy;
use windtunnel_policy::{Builder, Choice, Hook, PolicySpec, Reference};

/// 200 runs of each, or as many as `PROPTEST_CASES` says.
fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 200;
    }
    config.failure_persistence = None;
    config
}

/// Everything that a run says, but for the words with which routers explain themselves, and scores
/// if only one of the twins gives them.
fn said(record: &RunRecord, scores: bool) -> String {
    let decisions: Vec<String> = record
        .decisions
        .iter()
        .map(|decision| match decision {
            Decision::Routing {
                clock_us,
                id,
                chosen,
                scores: given,
                ..
            } => format!(
                "{clock_us} {id} -> {chosen} {:?}",
                given.as_ref().filter(|_| scores)
            ),
            other => format!("{other:?}"),
        })
        .collect();
    format!(
        "{:#?} {:#?} {decisions:#?} {:?} {:?} {:#?} {:?}",
        record.requests,
        record.instances,
        record.shed_by_class,
        record.gateway,
        record.scaling,
        record.fault
    )
}

/// The first line that differs, with what leads up to it.
fn first_difference(a: &str, b: &str) -> Option<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let at = (0..a.len().max(b.len())).find(|&i| a.get(i) != b.get(i))?;
    let before = a[at.saturating_sub(30)..at.min(a.len())].join("\n");
    Some(format!(
        "{before}\nRust: {:?}\nLua:  {:?}",
        a.get(at),
        b.get(at)
    ))
}

/// Runs both twins.
fn agree(case: &Case, files: &[File], compiled: Compiled) -> Result<(), TestCaseError> {
    let mut case = case.clone();
    case.config.front.trace.decisions = true;
    case.config.front.trace.counterfactual_k = 0;
    let rust = run(&case, compiled).map_err(TestCaseError::fail)?;
    let mut twin = case.clone();
    twin.policies = scripted(&case.policies, files);
    if files.iter().any(|f| f.path.ends_with("tenant-budgets.lua")) {
        twin.policies.tenant_budgets.clear();
    }
    let lua = run(&twin, Compiled::default()).map_err(TestCaseError::fail)?;
    let scores = case.policies.routing.is_built_in("weighted");
    match first_difference(&said(&rust, scores), &said(&lua, scores)) {
        Some(difference) => Err(TestCaseError::fail(difference)),
        None => Ok(()),
    }
}

/// The script that decides as this built-in does, with the same values. Parameters have the same
/// names in both, but for the older form of weighted routing, which is a script of its own.
fn twin(hook: Hook, choice: &Choice) -> File {
    let Choice::BuiltIn { policy, values } = choice else {
        unreachable!("only built-ins have twins");
    };
    // The script has the reference's scorers, and no others.
    let others = &SCORERS[OF_THE_REFERENCE..];
    let in_script = |(name, _): &(&str, f64)| others.iter().all(|s| s.param != *name);
    let params: Vec<(&str, f64)> = values.named().filter(in_script).collect();
    let weight = |name: &str| params.iter().find(|(known, _)| *known == name);
    match (policy.name, weight("cache_weight"), weight("load_weight")) {
        ("gaie-legacy", ..) => file(hook, "gaie-saturation", &params),
        ("weighted", Some((_, cache)), Some((_, load))) => {
            file(hook, "two-weights", &[("cache", *cache), ("load", *load)])
        }
        (name, ..) => file(hook, name, &params),
    }
}

fn any_admission() -> impl Strategy<Value = Choice> {
    let admission = |name| built_in(Hook::Admission, name, &[]);
    prop_oneof![
        1 => Just(admission("always-admit")),
        1 => Just(admission("reject-all")),
        4 => token_bucket(),
        4 => tier_shed(),
        4 => gaie_legacy(0.5..5.0),
    ]
}

fn any_routing() -> impl Strategy<Value = Choice> {
    let routing = |name| built_in(Hook::Routing, name, &[]);
    prop_oneof![
        1 => Just(routing("round-robin")),
        2 => Just(routing("least-loaded")),
        2 => Just(routing("prefix-affinity")),
        1 => Just(routing("always-busiest")),
        4 => Just(routing("lora-affinity")),
        2 => two_weights(),
        8 => weighted(1..11, OF_THE_REFERENCE),
        1 => Just(routing("weighted")),
    ]
}

/// Cases with at least two instances.
fn wide(most: usize) -> impl Strategy<Value = Case> {
    (case(most), 2u32..6).prop_map(|(mut case, n)| {
        let pool = &mut case.config.pools[0];
        pool.instances = pool.instances.max(n);
        case
    })
}

/// A built-in first come, first served puts a preempted request at the very front; a key puts it
/// where it stood. That is the same place only while the last one admitted is preempted first.
fn keep_fcfs_together(policies: &mut PolicySpec) {
    if policies.scheduler.name() == "fcfs" {
        policies.preemption = built_in(Hook::Preemption, "fcfs", &[]);
    }
}

/// Requests whose adapter has no place are passed over. A preempted one then returns in front of
/// them under `fcfs`, and behind them where a file gives keys.
fn without_adapters(case: &mut Case) {
    for pool in &mut case.config.pools {
        pool.engine.scheduling.max_loras = 0;
    }
}

/// A policy of a plugin, with these parameters.
fn made<T>(
    params: &[(&str, f64)],
    new: impl FnOnce(&mut Setup<'_>) -> Result<T, PolicyError>,
) -> T {
    let params: Vec<(String, f64)> = params.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    let mut setup = Setup {
        params: &params,
        instances: 1,
        slots: 1,
        symbol: &mut |_| 0,
    };
    new(&mut setup).expect("it can be made")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn admission_twins_agree(case in case(40), admission in any_admission()) {
        let mut case = case;
        case.policies.tenant_budgets.clear();
        case.policies.admission = admission;
        let files = [twin(Hook::Admission, &case.policies.admission)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn tenant_budgets_agree(case in case(40), share in prop_oneof![Just(0.0), 0.0..0.2f64]) {
        let mut case = case;
        let engine = &mut case.config.pools[0].engine;
        engine.max_num_seqs = engine.max_num_seqs.min(64);
        // Under the reference's rules a gateway asks no admission policy, and no script.
        case.config.front.flow_control = None;
        case.policies.admission = built_in(Hook::Admission, "always-admit", &[]);
        case.policies.tenant_budgets = ["a", "b"].map(|t| (t.to_owned(), share)).to_vec();
        let files = [file(Hook::Admission, "tenant-budgets", &[("share", share)])];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn routing_twins_agree(case in wide(60), routing in any_routing()) {
        let mut case = case;
        case.policies.routing = routing;
        let files = [twin(Hook::Routing, &case.policies.routing)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn least_tokens_agrees_with_the_compiled_plugin(case in wide(60)) {
        let mut case = case;
        case.policies.routing = built_in(Hook::Routing, "round-robin", &[]);
        let compiled = Compiled { router: Some(Box::new(LeastTokens::new())), ..Compiled::default() };
        agree(&case, &[file(Hook::Routing, "least-tokens", &[])], compiled)?;
    }

    #[test]
    fn session_affinity_agrees_with_the_compiled_plugin(case in wide(60), bound in prop_oneof![Just(1.0), 1.0..2.0f64]) {
        let mut case = case;
        case.policies.routing = built_in(Hook::Routing, "round-robin", &[]);
        let params = [("load_bound", bound), ("points", 50.0)];
        let compiled = Compiled {
            router: Some(Box::new(made(&params, SessionAffinity::new))),
            ..Compiled::default()
        };
        agree(&case, &[file(Hook::Routing, "session-affinity", &params)], compiled)?;
    }

    #[test]
    fn vtc_agrees_with_the_compiled_plugin(case in case(40)) {
        let scheduler = || -> Box<dyn Scheduler> {
            Box::new(made(&[("input_weight", 1.0), ("output_weight", 2.0)], VtcFair::new))
        };
        let compiled = Compiled { scheduler: Some(scheduler), ..Compiled::default() };
        agree(&case, &[file(Hook::Scheduler, "vtc", &[])], compiled)?;
    }

    #[test]
    fn priority_twins_agree(case in case(40), priority in any_of(Hook::Priority), scheduler in prop::sample::select(vec!["priority-fcfs", "reverse-priority"])) {
        let mut case = case;
        case.policies.priority = priority;
        case.policies.scheduler = built_in(Hook::Scheduler, scheduler, &[]);
        let files = [twin(Hook::Priority, &case.policies.priority)];
        agree(&case, &files, Compiled::default())?;
    }

    /// Number by number: in short runs nobody grows older by a whole class.
    #[test]
    fn priorities_are_the_same_numbers(priority in any_of(Hook::Priority), asked in prop::collection::vec((-100i32..=100, 0i64..1 << 40), 1..20)) {
        let file = twin(Hook::Priority, &priority);
        let rust = PolicySpec { priority, ..PolicySpec::default() };
        let lua = scripted(&rust, &[file]);
        let numbers = |spec: &PolicySpec| -> Vec<u64> {
            let mut symbols = Symbols::default();
            let mut policy = Builder::new(spec, 1, 1, &mut symbols).priority(0).expect("it loads");
            let mut of = |&(class_priority, arrival_us): &(i32, i64)| {
                let request = RequestView { class_priority, arrival_us, ..RequestView::default() };
                let number = policy.priority(&request, &QueueView::bare(arrival_us + 5, &[], &[]));
                number.expect("a number").to_bits()
            };
            asked.iter().map(&mut of).collect()
        };
        prop_assert_eq!(numbers(&rust), numbers(&lua));
    }

    #[test]
    fn scheduler_twins_agree(case in case(40), scheduler in any_of(Hook::Scheduler)) {
        let mut case = case;
        case.policies.scheduler = scheduler;
        keep_fcfs_together(&mut case.policies);
        without_adapters(&mut case);
        let files = [twin(Hook::Scheduler, &case.policies.scheduler)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn preemption_twins_agree(case in case(40), preemption in any_of(Hook::Preemption)) {
        let mut case = case;
        case.policies.preemption = preemption;
        let files = [twin(Hook::Preemption, &case.policies.preemption)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn disaggregation_twins_agree(case in split(30), decider in any_decider(), age_us in 0i64..2_000) {
        let mut case = case;
        case.policies.disaggregation = decider;
        case.config.front.snapshot_refresh_us = age_us;
        let files = [twin(Hook::Disaggregation, &case.policies.disaggregation)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn dispatch_twins_agree(case in case(40), flow in flow_control(), dispatch in any_dispatch()) {
        let mut case = case;
        case.config.front.flow_control = Some(flow);
        case.policies.dispatch = dispatch;
        let files = [twin(Hook::Dispatch, &case.policies.dispatch)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn scale_twins_agree(case in case(40), interval_us in 200i64..2_000, scale in any_scale()) {
        let mut case = case;
        scale_first(&mut case, interval_us);
        case.policies.scale = scale;
        let files = [twin(Hook::Scale, &case.policies.scale)];
        agree(&case, &files, Compiled::default())?;
    }

    /// All five hooks by files at once.
    #[test]
    fn whole_bundles_agree(case in case(40), routing in any_routing()) {
        let mut case = case;
        case.policies.tenant_budgets.clear();
        case.policies.routing = routing;
        keep_fcfs_together(&mut case.policies);
        without_adapters(&mut case);
        let p = &case.policies;
        let files = [
            twin(Hook::Admission, &p.admission),
            twin(Hook::Routing, &p.routing),
            twin(Hook::Priority, &p.priority),
            twin(Hook::Scheduler, &p.scheduler),
            twin(Hook::Preemption, &p.preemption),
        ];
        agree(&case, &files, Compiled::default())?;
    }
}

/// The arguments with every policy named by its file.
fn by_files(mut argv: Vec<String>, _folder: &Path) -> Vec<String> {
    let mut take = |flag: &str| -> Option<String> {
        let at = argv.iter().position(|a| a == flag)?;
        argv.remove(at);
        Some(argv.remove(at))
    };
    let bundle = take("--policy-config").map(|path| Bundle::load(Path::new(&path)));
    let bundle = bundle.map(|b| b.expect("a bundle")).unwrap_or_default();
    let admission = take("--admission-policy").or(bundle.admission.policy.clone());
    let flags = [
        ("token-bucket", "capacity", "--token-bucket-capacity"),
        ("token-bucket", "refill_rate", "--token-bucket-refill-rate"),
    ];
    let flags = flags.map(|(of, name, flag)| {
        let value = take(flag)?.parse::<f64>().expect("a number");
        (admission.as_deref() == Some(of)).then(|| (name.to_owned(), value))
    });
    let choice = |hook, name: Option<String>, by_flags: Vec<(String, f64)>| {
        let name = name.unwrap_or_else(|| default_policy(hook).name.to_owned());
        let reference = Reference::Name(name.clone());
        let bundled = bundle.section(hook).values_for(hook, &reference);
        let mut values = bundled.expect("values");
        values.extend(by_flags);
        Choice::built_in(hook, &name, &values).expect("a built-in policy")
    };
    let admission = choice(
        Hook::Admission,
        admission,
        flags.into_iter().flatten().collect(),
    );
    let scorers = take("--routing-scorers");
    let scorers = scorers.map(|text| parse_scorers(&text).expect("scorers"));
    let routing = take("--routing-policy");
    let routing = choice(Hook::Routing, routing, scorers.unwrap_or_default());
    let mut files = vec![
        twin(Hook::Admission, &admission),
        twin(Hook::Routing, &routing),
    ];
    let preemption = take("--preemption-policy").unwrap_or("fcfs".into());
    let scheduler = take("--scheduler").unwrap_or("fcfs".into());
    if scheduler == "priority-fcfs" || preemption == "priority" {
        let priority = take("--priority-policy").unwrap_or("slo-class".into());
        files.push(file(Hook::Priority, &priority, &[]));
    }
    // As a key, first come, first served is the built-in one only as long as the last one admitted
    // is preempted.
    if scheduler != "fcfs" || preemption == "fcfs" {
        files.push(file(Hook::Scheduler, &scheduler, &[]));
    }
    files.push(file(Hook::Preemption, &preemption, &[]));
    for File { hook, path, params } in files {
        argv.push(match hook {
            Hook::Scheduler => "--scheduler".to_owned(),
            hook => format!("--{hook}-policy"),
        });
        argv.push(path);
        for (name, value) in params {
            argv.push("--policy-param".into());
            argv.push(format!("{hook}.{name}={value}"));
        }
    }
    argv
}

/// Flags, keys of a bundle and parameters by name set the same.
#[test]
fn parameters_of_built_ins_have_one_meaning() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        format!("--policy-config {}", path.display())
    };
    let bucket = "--admission-policy token-bucket";
    let weighted = "--routing-policy weighted";
    for same in [
        [
            format!("{bucket} --token-bucket-capacity 900"),
            format!("{bucket} --policy-param capacity=900"),
            bundle(
                "key.yaml",
                "admission: {policy: token-bucket, token_bucket_capacity: 900}\n",
            ),
            bundle(
                "param.yaml",
                "admission: {policy: token-bucket, params: {capacity: 900}}\n",
            ),
        ],
        [
            format!(
                "{weighted} --routing-scorers precise-prefix-cache:2,queue-depth:7,kv-utilization:1"
            ),
            format!("{weighted} --policy-param queue_depth=7"),
            format!("{weighted} --policy-param routing.queue_depth=7"),
            bundle(
                "weight.yaml",
                "routing: {policy: weighted, params: {queue_depth: 7}}\n",
            ),
        ],
        [
            format!("{weighted} --routing-cache-weight 3"),
            format!("{weighted} --policy-param cache_weight=3"),
            format!("{weighted} --policy-param cache_weight=3 --policy-param load_weight=0.4"),
            bundle(
                "form.yaml",
                "routing: {policy: weighted, cache_weight: 3}\n",
            ),
        ],
    ] {
        let run = |how: &String| {
            let line = format!(
                "replay --trace-header docs/examples/classes.yaml --trace-data docs/examples/classes.csv \
                 --model llama-3.1-8b-instruct --num-instances 3 --max-num-seqs 16 --json {how}"
            );
            let ran = windtunnel(line.split_whitespace());
            assert_eq!(ran.code, 0, "{how}: {}", ran.stderr);
            let result: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
            result["e2e_mean_ms"].to_string() + &result["completed_requests"].to_string()
        };
        let first = run(&same[0]);
        for other in &same[1..] {
            assert_eq!(run(other), first, "{other}");
        }
    }
}

#[test]
fn the_reference_is_reproduced_by_files_alone() {
    // `weighted.lua` has no scorer for adapters: `lora-affinity.lua` routes by them.
    let known = |feature: &str| feature != "lora";
    let ran = oracle::sweep(&root().join("host/tests/data/oracle"), &known, &by_files);
    assert!(ran >= 20, "only {ran} cases lie in the project");
    let folder = oracle::beside();
    if folder.is_dir() {
        let features = [
            "routing",
            "scorers",
            "admission",
            "scheduler",
            "preemption",
            "snapshot",
        ];
        oracle::sweep(&folder, &|feature| features.contains(&feature), &by_files);
    }
}
