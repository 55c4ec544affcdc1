//! Every file in `policies/` that has a twin in Rust decides as the twin does: on random runs, in
//! every record and every decision, and on the reference's cases.

use crate::cases::{Case, case};
use crate::filled::{Compiled, File, file, run, scripted};
use crate::native::session_affinity::SessionAffinity;
use crate::native::vtc_fair::VtcFair;
use crate::oracle;
use crate::support::root;
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::path::Path;
use windtunnel_base::record::{Decision, RunRecord};
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::{PolicyError, QueueView, RequestView, Scheduler, Setup};
use windtunnel_plugin_least_tokens::LeastTokens;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::{
    AdmissionSpec, Builder, Choice, Hook, PREEMPTION_POLICIES, PRIORITY_POLICIES, PolicySpec,
    RoutingSpec, SCHEDULERS, SCORERS, ScorerKind, parse_scorers,
};

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
        "{:#?} {:#?} {decisions:#?} {:?} {:?}",
        record.requests, record.instances, record.shed_by_class, record.fault
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
    let scores = matches!(
        case.policies.routing,
        RoutingSpec::Weighted(_) | RoutingSpec::TwoWeights { .. }
    );
    match first_difference(&said(&rust, scores), &said(&lua, scores)) {
        Some(difference) => Err(TestCaseError::fail(difference)),
        None => Ok(()),
    }
}

/// The admission policy's twin.
fn admission_file(spec: &AdmissionSpec) -> File {
    let (name, params) = match *spec {
        AdmissionSpec::AlwaysAdmit => ("always-admit", vec![]),
        AdmissionSpec::RejectAll => ("reject-all", vec![]),
        AdmissionSpec::TokenBucket {
            capacity,
            refill_rate,
        } => (
            "token-bucket",
            vec![("capacity", capacity), ("refill_rate", refill_rate)],
        ),
        AdmissionSpec::TierShed {
            threshold,
            min_priority,
        } => (
            "tier-shed",
            vec![
                ("threshold", threshold as f64),
                ("min_priority", f64::from(min_priority)),
            ],
        ),
        AdmissionSpec::GaieLegacy {
            queue_depth,
            kv_utilization,
        } => (
            "gaie-saturation",
            vec![("queue_limit", queue_depth), ("kv_limit", kv_utilization)],
        ),
        AdmissionSpec::External(_) => unreachable!("only built-ins have twins"),
    };
    file(Hook::Admission, name, &params)
}

/// The router's twin.
fn routing_file(spec: &RoutingSpec) -> File {
    let (name, params) = match spec {
        RoutingSpec::TwoWeights { cache, load } => {
            ("two-weights", vec![("cache", *cache), ("load", *load)])
        }
        RoutingSpec::Weighted(weights) => {
            let names: Vec<String> = SCORERS.iter().map(|name| name.replace('-', "_")).collect();
            let weight = |name: &&str| {
                let kind = ScorerKind::parse(name).expect("a listed scorer");
                let given = weights.iter().find(|(k, _)| *k == kind);
                given.map_or(0.0, |(_, weight)| *weight)
            };
            let params: Vec<(&str, f64)> = names
                .iter()
                .map(String::as_str)
                .zip(SCORERS.iter().map(weight))
                .collect();
            return file(Hook::Routing, "weighted", &params);
        }
        other => (other.name(), vec![]),
    };
    file(Hook::Routing, name, &params)
}

fn any_admission() -> impl Strategy<Value = AdmissionSpec> {
    prop_oneof![
        1 => Just(AdmissionSpec::AlwaysAdmit),
        1 => Just(AdmissionSpec::RejectAll),
        4 => (10.0..300.0, 100.0..100_000.0).prop_map(|(capacity, refill_rate)| {
            AdmissionSpec::TokenBucket { capacity, refill_rate }
        }),
        4 => (0u64..20, -3i32..5).prop_map(|(threshold, min_priority)| {
            AdmissionSpec::TierShed { threshold, min_priority }
        }),
        4 => (0.5..5.0, 0.1..1.0).prop_map(|(queue_depth, kv_utilization)| {
            AdmissionSpec::GaieLegacy { queue_depth, kv_utilization }
        }),
    ]
}

fn any_routing() -> impl Strategy<Value = RoutingSpec> {
    let scorer = |name: &&str| ScorerKind::parse(name).expect("a listed scorer");
    let all: Vec<ScorerKind> = SCORERS.iter().map(scorer).collect();
    let weighted = prop::sample::subsequence(all, 1..11).prop_flat_map(|kinds| {
        let n = kinds.len();
        (Just(kinds), prop::collection::vec(0.1..3.0f64, n))
            .prop_map(|(kinds, weights)| kinds.into_iter().zip(weights).collect())
    });
    prop_oneof![
        1 => Just(RoutingSpec::RoundRobin),
        2 => Just(RoutingSpec::LeastLoaded),
        2 => Just(RoutingSpec::PrefixAffinity),
        1 => Just(RoutingSpec::AlwaysBusiest),
        2 => (0.1..2.0, 0.1..2.0).prop_map(|(cache, load)| RoutingSpec::TwoWeights { cache, load }),
        8 => weighted.prop_map(RoutingSpec::Weighted),
        1 => Just(RoutingSpec::Weighted(RoutingSpec::default_scorers())),
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

fn named(names: &'static [&'static str]) -> impl Strategy<Value = Choice> {
    prop::sample::select(names.to_vec()).prop_map(Choice::from)
}

/// The file of the same name.
fn inside(hook: Hook, built_in: &Choice) -> File {
    file(hook, built_in.name(), &[])
}

/// A built-in first come, first served puts a preempted request at the very front; a key puts it
/// where it stood. That is the same place only while the last one admitted is preempted first.
fn keep_fcfs_together(policies: &mut PolicySpec) {
    if policies.scheduler.name() == "fcfs" {
        policies.preemption = "fcfs".into();
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
        let files = [admission_file(&case.policies.admission)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn tenant_budgets_agree(case in case(40), share in prop_oneof![Just(0.0), 0.0..0.2f64]) {
        let mut case = case;
        let engine = &mut case.config.pools[0].engine;
        engine.max_running = engine.max_running.min(64);
        case.policies.admission = AdmissionSpec::AlwaysAdmit;
        case.policies.tenant_budgets = ["a", "b"].map(|t| (t.to_owned(), share)).to_vec();
        let files = [file(Hook::Admission, "tenant-budgets", &[("share", share)])];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn routing_twins_agree(case in wide(60), routing in any_routing()) {
        let mut case = case;
        case.policies.routing = routing;
        let files = [routing_file(&case.policies.routing)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn least_tokens_agrees_with_the_compiled_plugin(case in wide(60)) {
        let mut case = case;
        case.policies.routing = RoutingSpec::RoundRobin;
        let compiled = Compiled { router: Some(Box::new(LeastTokens::new())), ..Compiled::default() };
        agree(&case, &[file(Hook::Routing, "least-tokens", &[])], compiled)?;
    }

    #[test]
    fn session_affinity_agrees_with_the_compiled_plugin(case in wide(60), bound in prop_oneof![Just(1.0), 1.0..2.0f64]) {
        let mut case = case;
        case.policies.routing = RoutingSpec::RoundRobin;
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
    fn priority_twins_agree(case in case(40), priority in named(PRIORITY_POLICIES), scheduler in named(&["priority-fcfs", "reverse-priority"])) {
        let mut case = case;
        (case.policies.priority, case.policies.scheduler) = (priority, scheduler);
        let files = [inside(Hook::Priority, &case.policies.priority)];
        agree(&case, &files, Compiled::default())?;
    }

    /// Number by number: in short runs nobody grows older by a whole class.
    #[test]
    fn priorities_are_the_same_numbers(name in named(PRIORITY_POLICIES), asked in prop::collection::vec((-100i32..=100, 0i64..1 << 40), 1..20)) {
        let rust = PolicySpec { priority: name.clone(), ..PolicySpec::default() };
        let lua = scripted(&rust, &[inside(Hook::Priority, &name)]);
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
    fn scheduler_twins_agree(case in case(40), scheduler in named(SCHEDULERS)) {
        let mut case = case;
        case.policies.scheduler = scheduler;
        keep_fcfs_together(&mut case.policies);
        let files = [inside(Hook::Scheduler, &case.policies.scheduler)];
        agree(&case, &files, Compiled::default())?;
    }

    #[test]
    fn preemption_twins_agree(case in case(40), preemption in named(PREEMPTION_POLICIES)) {
        let mut case = case;
        case.policies.preemption = preemption;
        let files = [inside(Hook::Preemption, &case.policies.preemption)];
        agree(&case, &files, Compiled::default())?;
    }

    /// All five hooks by files at once.
    #[test]
    fn whole_bundles_agree(case in case(40)) {
        let mut case = case;
        case.policies.tenant_budgets.clear();
        keep_fcfs_together(&mut case.policies);
        let p = &case.policies;
        let files = [
            admission_file(&p.admission),
            routing_file(&p.routing),
            inside(Hook::Priority, &p.priority),
            inside(Hook::Scheduler, &p.scheduler),
            inside(Hook::Preemption, &p.preemption),
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
    let number = |text: Option<String>, default| -> f64 {
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let bundle = take("--policy-config").map(|path| Bundle::load(Path::new(&path)));
    let bundle = bundle
        .map(|b| b.expect("a bundle").admission)
        .unwrap_or_default();
    let admission = take("--admission-policy").or(bundle.policy);
    let capacity = number(take("--token-bucket-capacity"), 10_000.0);
    let refill_rate = number(take("--token-bucket-refill-rate"), 1_000.0);
    let admission = match admission.as_deref().unwrap_or("always-admit") {
        "always-admit" => AdmissionSpec::AlwaysAdmit,
        "reject-all" => AdmissionSpec::RejectAll,
        "token-bucket" => AdmissionSpec::TokenBucket {
            capacity,
            refill_rate,
        },
        "tier-shed" => AdmissionSpec::TierShed {
            threshold: 0,
            min_priority: 0,
        },
        "gaie-legacy" => AdmissionSpec::GaieLegacy {
            queue_depth: bundle.gaie_qd_threshold.unwrap_or(5.0),
            kv_utilization: bundle.gaie_kv_threshold.unwrap_or(0.8),
        },
        other => panic!("no twin of {other}"),
    };
    let scorers = take("--routing-scorers");
    let scorers = scorers.map(|text| parse_scorers(&text).expect("scorers"));
    let routing = match take("--routing-policy").as_deref().unwrap_or("round-robin") {
        "round-robin" => RoutingSpec::RoundRobin,
        "least-loaded" => RoutingSpec::LeastLoaded,
        "always-busiest" => RoutingSpec::AlwaysBusiest,
        "weighted" => RoutingSpec::Weighted(scorers.unwrap_or_else(RoutingSpec::default_scorers)),
        other => panic!("no twin of {other}"),
    };
    let mut files = vec![admission_file(&admission), routing_file(&routing)];
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

#[test]
fn the_reference_is_reproduced_by_files_alone() {
    let ran = oracle::sweep(&root().join("host/tests/data/oracle"), &|_| true, &by_files);
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
