//! Instances that fail, slow down and are replaced.

use crate::autoscale::{check, erratic, scale_pool, settings};
use crate::cases::{case, split};
use crate::errors::Folder;
use crate::lab::{self, Arrival, BY_HAND, ask, built_in, fresh, roomy};
use crate::properties::cases;
use proptest::prelude::*;
use windtunnel_base::record::{Outcome, PoolCounts, RunRecord, ScalingRecord};
use windtunnel_engine::cluster::{ClusterConfig, ClusterEvent, Events, Happening, PoolScaling};
use windtunnel_engine::instance::EngineRules;
use windtunnel_policy::{Hook, PolicySpec};

fn cluster(instances: u32, all: Vec<ClusterEvent>, retries: u32) -> ClusterConfig {
    let mut config = fresh(instances, roomy(EngineRules::VLLM));
    config.events = Events {
        all,
        retries,
        retry_after_us: 500,
    };
    config
}

fn at(at_us: i64, instance: u32, what: Happening) -> ClusterEvent {
    ClusterEvent {
        at_us,
        instances: vec![instance],
        what,
    }
}

const GONE: Happening = Happening::Fail { restart_us: None };

fn run(config: ClusterConfig, routing: &str, asks: &[Arrival]) -> RunRecord {
    let policies = PolicySpec {
        routing: built_in(Hook::Routing, routing, &[]),
        ..PolicySpec::default()
    };
    lab::run(config, BY_HAND, &policies, asks)
}

fn told(record: &RunRecord) -> &ScalingRecord {
    record.scaling.as_ref().expect("something happens")
}

fn outcomes(record: &RunRecord) -> Vec<(Option<u32>, Outcome)> {
    let of = |r: &windtunnel_base::record::RequestRecord| (r.instance, r.outcome);
    record.requests.iter().map(of).collect()
}

#[test]
fn what_a_failed_instance_had_is_lost_or_tried_again() {
    use Outcome::{Completed, Failed};
    // Each takes 2,200; at 1,000 both run.
    let asks = [ask(0, 10, 20), ask(1, 10, 20), ask(1_200, 10, 20)];
    let lost = run(
        cluster(2, vec![at(1_000, 1, GONE)], 0),
        "least-loaded",
        &asks,
    );
    assert_eq!(
        outcomes(&lost),
        [
            (Some(0), Completed),
            (Some(1), Failed),
            (Some(0), Completed)
        ]
    );
    assert_eq!((told(&lost).failures, told(&lost).lost), (1, 1));
    let again = run(
        cluster(2, vec![at(1_000, 1, GONE)], 1),
        "least-loaded",
        &asks,
    );
    assert_eq!(outcomes(&again), [(Some(0), Completed); 3]);
    let retries: Vec<u32> = again.requests.iter().map(|r| r.retries).collect();
    assert_eq!(retries, [0, 1, 0]);
    assert_eq!((told(&again).retried, told(&again).lost), (1, 0));
    // It was sent at 1, lost at 1,000, sent again at 1,500 into a running batch.
    assert!(
        again.requests[1].ttft_us > Some(1_600),
        "{:?}",
        again.requests[1]
    );
    // As often as the client tries, and no more.
    let both = vec![at(1_000, 0, GONE), at(1_000, 1, GONE)];
    let none = run(cluster(2, both, 3), "least-loaded", &asks);
    assert!(
        outcomes(&none)
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Held)
    );
    assert_eq!(told(&none).waiting, 3);
}

#[test]
fn routers_learn_of_it_when_they_look() {
    use Outcome::{Completed, Failed};
    let mut config = cluster(2, vec![at(1_000, 1, GONE)], 0);
    config.front.snapshot_refresh_us = 10_000;
    let times = [2_000, 3_000, 9_999, 10_000, 11_000];
    let asks = times.map(|at| ask(at, 10, 2));
    let record = run(config, "round-robin", &asks);
    assert_eq!(
        outcomes(&record),
        [
            (Some(0), Completed),
            (None, Failed),
            (Some(0), Completed),
            (Some(0), Completed),
            (Some(0), Completed)
        ]
    );
}

#[test]
fn another_one_comes_with_an_empty_cache() {
    let what = Happening::Fail {
        restart_us: Some(2_000),
    };
    let shared = |at| Arrival {
        prefix: (1, 64),
        ..ask(at, 10, 2)
    };
    let asks = [0, 2_000, 3_500].map(shared);
    let record = run(
        cluster(1, vec![at(1_000, 0, what)], 0),
        "round-robin",
        &asks,
    );
    let cached: Vec<_> = record.requests.iter().map(|r| r.cached_tokens).collect();
    // The second one waits until 3,000, and finds nothing.
    assert_eq!(cached, [Some(0), Some(0), Some(64)]);
    assert_eq!(record.requests[1].ttft_us, Some(1_000 + 100 + 74));
    let counts: Vec<_> = told(&record)
        .timeline
        .iter()
        .map(|c: &PoolCounts| (c.at_us, c.ready, c.loading))
        .collect();
    assert_eq!(counts, [(0, 1, 0), (1_000, 0, 1), (3_000, 1, 0)]);
}

#[test]
fn steps_take_longer_for_a_time() {
    let slow = Happening::Slow {
        factor: 3.0,
        for_us: 1_000,
    };
    let asks = [ask(0, 10, 2), ask(2_000, 10, 2)];
    let record = run(cluster(1, vec![at(0, 0, slow)], 0), "round-robin", &asks);
    let times: Vec<_> = record
        .requests
        .iter()
        .map(|r| (r.ttft_us, r.e2e_us))
        .collect();
    assert_eq!(times, [(Some(330), Some(660)), (Some(110), Some(220))]);
}

#[test]
fn instances_are_replaced_one_after_the_other() {
    let roll = ClusterEvent {
        at_us: 0,
        instances: vec![0, 1],
        what: Happening::Roll {
            at_once: 1,
            startup_us: 500,
        },
    };
    let asks: Vec<_> = (0..60).map(|k| ask(100_000 * k, 10, 20)).collect();
    let record = run(cluster(2, vec![roll], 0), "round-robin", &asks);
    assert!(
        outcomes(&record)
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Completed)
    );
    let counts: Vec<_> = told(&record)
        .timeline
        .iter()
        .map(|c| (c.at_us, c.ready, c.loading, c.draining))
        .collect();
    // The first one is idle. The look at 2 s finds another one there and lets the second go, which
    // is done with the request of 1.9 s.
    assert_eq!(
        counts,
        [
            (0, 1, 0, 0),
            (1_000_000, 1, 1, 0),
            (1_000_500, 2, 0, 0),
            (2_000_000, 1, 0, 0),
            (3_000_000, 1, 1, 0),
            (3_000_500, 2, 0, 0)
        ]
    );
}

fn events(instances: u32) -> impl Strategy<Value = Events> {
    let what = prop_oneof![
        3 => prop::option::of(0i64..3_000).prop_map(|restart_us| Happening::Fail { restart_us }),
        2 => (0.2..4.0f64, 1i64..4_000).prop_map(|(factor, for_us)| Happening::Slow { factor, for_us }),
        1 => (1u32..3, 0i64..2_000).prop_map(|(at_once, startup_us)| Happening::Roll { at_once, startup_us }),
    ];
    let one = (0i64..6_000, 0..instances, what).prop_map(move |(at_us, i, what)| ClusterEvent {
        at_us,
        instances: match what {
            Happening::Roll { .. } => (0..instances).collect(),
            _ => vec![i],
        },
        what,
    });
    (prop::collection::vec(one, 1..6), 0u32..3, 0i64..1_500).prop_map(
        |(mut all, retries, retry_after_us)| {
            all.sort_by_key(|event| event.at_us);
            Events {
                all,
                retries,
                retry_after_us,
            }
        },
    )
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn whatever_happens_every_request_ends_once_and_both_paths_agree(
        case in case(30),
        events in events(3),
        scaled in prop::option::of(settings()),
    ) {
        let mut case = case;
        case.config.pools[0].instances = 3;
        case.config.events = events;
        if let Some((scaling, salt, initial)) = scaled {
            let scaling = PoolScaling { min: scaling.min.min(3), ..scaling };
            scale_pool(&mut case.config, 0, initial.min(3), scaling);
            case.policies.scale = erratic(salt);
        }
        check(&case)?;
    }

    #[test]
    fn split_requests_may_meet_slow_instances(
        case in split(20),
        slow in prop::collection::vec((0i64..6_000, any::<u32>(), 0.2..4.0f64, 1i64..4_000), 1..4),
    ) {
        let mut case = case;
        prop_assume!(case.config.schedule.resizes.is_empty() && !case.config.lockstep);
        let n = case.config.instances();
        let mut all: Vec<_> = slow
            .into_iter()
            .map(|(at_us, i, factor, for_us)| at(at_us, i % n, Happening::Slow { factor, for_us }))
            .collect();
        all.sort_by_key(|event| event.at_us);
        case.config.events.all = all;
        check(&case)?;
    }
}

const RUN: &str =
    "run --model llama-3.1-8b-instruct --rate 20 --num-requests 400 --num-instances 2 --quiet";

#[test]
fn events_are_said_by_flag_and_by_file() {
    let folder = Folder::with(&[]);
    let flags = "--event 5:fail:1:10 --event 8:slow:0:2.5:4 --retries 2 --retry-after 0.5";
    let rows = |arguments: &str| {
        let ran = folder.command(&format!("{arguments} --results-path @/rows.csv"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments}");
        let rows = std::fs::read_to_string(folder.path().join("rows.csv"));
        (ran.stdout, rows.expect("rows"))
    };
    let (by_flag, of_flag) = rows(&format!("{RUN} {flags}"));
    assert!(
        by_flag.contains("events: fail 1 at 5 s, slow 0 at 8 s\n"),
        "{by_flag}"
    );
    assert!(by_flag.contains("1 instances failed"), "{by_flag}");
    assert!(
        of_flag
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(",retries"))
    );
    assert!(of_flag.lines().any(|line| line.ends_with(",1")));
    let dumped = folder.command(&format!(
        "{} {flags} --dump-spec",
        RUN.replace(" --quiet", "")
    ));
    folder.write("run.yaml", dumped.stdout.as_bytes());
    let (by_file, of_file) = rows("run --spec @/run.yaml --quiet");
    assert_eq!((by_flag, of_flag), (by_file, of_file));
}

#[test]
fn events_that_cannot_be_are_refused() {
    let folder = Folder::with(&[]);
    for (arguments, message) in [
        ("--event 5:fail", "expected AT:fail:K[:RESTART]"),
        (
            "--event 5:fial:0",
            "unknown event \"fial\"; did you mean \"fail\"?",
        ),
        (
            "--event 5:fail:2",
            "there is no instance 2; expected 0 to 1",
        ),
        ("--event 5:slow:0:0:4", "factor is 0; expected 0.001 to"),
        (
            "--event 5:fail:gpu/0",
            "the only pool has no name, so that none is \"gpu\"",
        ),
        (
            "--retries 2",
            "--retries has no effect where no instance fails (--event)",
        ),
        (
            "--event 5:fail:0 --retry-after 2",
            "--retry-after has no effect without --retries",
        ),
        (
            "--event 5:roll:1 --scale 3:1",
            "--event does not go with --scale",
        ),
    ] {
        let ran = folder.command(&format!("{RUN} {arguments}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments}");
        assert!(ran.stderr.contains(message), "{arguments}\n{}", ran.stderr);
    }
}
