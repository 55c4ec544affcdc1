//! Instances that come and go while a run goes on.

use crate::cases::resize;
use crate::errors::Folder;
use crate::lab::{self, BY_HAND, ask, fresh, roomy, run};
use crate::support::windtunnel;
use proptest::prelude::*;
use serde_json::Value;
use windtunnel_base::record::Outcome;
use windtunnel_engine::cluster::ClusterConfig;
use windtunnel_engine::instance::EngineRules;
use windtunnel_policy::{Hook, PolicySpec};

fn routed_by(name: &str) -> PolicySpec {
    PolicySpec {
        routing: lab::built_in(Hook::Routing, name, &[]),
        ..PolicySpec::default()
    }
}

/// `instances` at the start, and these changes.
fn cluster(instances: u32, changes: &[(i64, usize, u32)]) -> ClusterConfig {
    let mut config = fresh(instances, roomy(EngineRules::VLLM));
    resize(&mut config, changes.to_vec());
    config
}

#[test]
fn who_comes_is_sent_requests_and_who_goes_finishes_its_own() {
    let config = cluster(1, &[(1_000, 0, 3), (2_000, 0, 1), (3_000, 0, 2)]);
    assert_eq!(config.pools[0].instances, 4);
    // Each takes longer than the run's changes are apart.
    let asks: Vec<_> = (0..40).map(|k| ask(k * 100, 10, 30)).collect();
    let record = run(config, BY_HAND, &routed_by("round-robin"), &asks);
    let by_instance: Vec<Option<u32>> = record.requests.iter().map(|r| r.instance).collect();
    let at = |from: usize, to: usize| -> Vec<u32> {
        let mut seen: Vec<u32> = by_instance[from..to].iter().flatten().copied().collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(at(0, 10), [0]);
    assert_eq!(at(10, 20), [0, 1, 2]);
    assert_eq!(at(20, 30), [0]);
    // Who went does not come back: the next one is new.
    assert_eq!(at(30, 40), [0, 3]);
    let completed = |r: &&_| matches!(r, Outcome::Completed);
    let outcomes: Vec<Outcome> = record.requests.iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes.iter().filter(completed).count(), 40);
    let last_of_2 = record.requests.iter().filter(|r| r.instance == Some(2));
    let last_of_2 = last_of_2.filter_map(|r| r.completion_us()).max();
    assert!(last_of_2 > Some(2_000), "{last_of_2:?}");
}

proptest! {
    #![proptest_config(crate::properties::cases(300))]

    #[test]
    fn nobody_is_sent_anything_while_it_is_not_there(
        instances in 1u32..4,
        changes in prop::collection::vec((0i64..4000, Just(0usize), 1u32..5), 1..6),
        gaps in prop::collection::vec(0i64..300, 1..40),
        routing in prop::sample::select(vec!["round-robin", "least-loaded", "prefix-affinity", "weighted"]),
    ) {
        let config = cluster(instances, &changes);
        let resizes = config.schedule.resizes.clone();
        let mut at = 0;
        let asks = gaps.iter().map(|gap| {
            at += gap;
            ask(at, 10, 20)
        });
        let asks: Vec<_> = asks.collect();
        let mut policies = routed_by("round-robin");
        policies.routing = match routing {
            "weighted" => lab::built_in(Hook::Routing, routing, &[("cache_weight", 0.5), ("load_weight", 0.5)]),
            name => lab::built_in(Hook::Routing, name, &[]),
        };
        let record = run(config, BY_HAND, &policies, &asks);
        for request in &record.requests {
            let (mut there, mut next): (Vec<u32>, u32) = ((0..instances).collect(), instances);
            for resize in resizes.iter().filter(|r| r.at_us <= request.arrival_us) {
                there.truncate(resize.instances as usize);
                while there.len() < resize.instances as usize {
                    there.push(next);
                    next += 1;
                }
            }
            let instance = request.instance.expect("it was sent somewhere");
            prop_assert!(there.contains(&instance), "{instance} at {}, not in {there:?}", request.arrival_us);
            prop_assert_eq!(request.outcome, Outcome::Completed);
        }
    }
}

const RUN: &str = "run --model llama-3.1-8b-instruct --rate 40 --num-requests 200 --json --quiet";

fn json(folder: &Folder, arguments: &str) -> Value {
    let ran = folder.command(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn pools_change_by_flag_and_by_file() {
    let folder = Folder::with(&[]);
    let by_flag = json(
        &folder,
        &format!("{RUN} --num-instances 2 --scale 1:4 --scale 3.5:1"),
    );
    assert_eq!(by_flag["completed_requests"], 200);
    assert_eq!(by_flag["instances"].as_array().map(Vec::len), Some(4));
    let dumped = folder.command(&format!(
        "{} --num-instances 2 --scale 1:4 --scale 3.5:1 --dump-spec",
        RUN.replace(" --json --quiet", "")
    ));
    assert!(
        dumped
            .stdout
            .contains("scale:\n- at: 1.0\n  instances: 4\n")
    );
    folder.write("run.yaml", dumped.stdout.as_bytes());
    let by_file = json(&folder, "run --spec @/run.yaml --json --quiet");
    assert_eq!(by_flag, by_file);
    for pools in ["decode:3", "prefill:2"] {
        let split = json(
            &folder,
            &format!("{RUN} --prefill-instances 1 --decode-instances 1 --scale 2:{pools}"),
        );
        assert_eq!(split["completed_requests"], 200, "{pools}");
    }
    let ran = windtunnel(
        RUN.replace(" --json", "")
            .split(' ')
            .chain(["--scale", "2:3"]),
    );
    let header = "instances: 3 from 2 s on\n";
    assert!(ran.stdout.contains(header), "{}", ran.stdout);
}

#[test]
fn changes_that_are_none_or_cannot_be_are_refused() {
    let folder = Folder::with(&[]);
    let split = "--prefill-instances 1 --decode-instances 1";
    for (arguments, message) in [
        ("--scale 3", "expected AT:N or AT:POOL:N, as 30:decode:4"),
        (
            "--scale x:4",
            "\"x\" is no number; expected AT:N or AT:POOL:N",
        ),
        (
            "--scale=-1:4",
            "`at` is -1; expected 0 to 1000000000 seconds",
        ),
        (
            "--scale 3:1",
            "--scale has no effect at 3 s: the pool has 1 instances before",
        ),
        (
            "--scale 3:2 --scale 3:4",
            "--scale gives the pool two numbers of instances at 3 s",
        ),
        (
            "--scale 3:0",
            "--scale leaves no instance to prefill from 3 s on; expected at least one",
        ),
        (
            "--scale 3:gpu:2",
            "the only pool has no name, so that none is \"gpu\"",
        ),
        (
            "--horizon 2000000 --scale 3:2",
            "--scale has no effect at 3 s, when the run is over",
        ),
    ] {
        let ran = folder.command(&format!("{RUN} {arguments}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments}");
        assert!(ran.stderr.contains(message), "{arguments}\n{}", ran.stderr);
    }
    for (arguments, message) in [
        (
            "--scale 3:decod:4",
            "unknown pool \"decod\"; did you mean \"decode\"?",
        ),
        ("--scale 3:4", "say which `pool`: prefill, decode"),
        (
            "--scale 3:decode:0",
            "--scale leaves no instance to decode from 3 s on; expected at least one",
        ),
    ] {
        let ran = folder.command(&format!("{RUN} {split} {arguments}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments}");
        assert!(ran.stderr.contains(message), "{arguments}\n{}", ran.stderr);
    }
}
