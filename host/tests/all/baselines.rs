//! The policies in `policies/` do what their names say, each in a scenario made by hand; and every one of them runs through the command.

use crate::filled::{File, drive, file};
use crate::lab::{Affine, Ask, BY_HAND, Round, ask, fresh, roomy};
use crate::support::{root, windtunnel};
use std::collections::BTreeSet;
use std::fs;
use windtunnel::cluster::{ClusterConfig, Predictor};
use windtunnel::instance::{EngineConfig, EngineRules};
use windtunnel::policy::{Hook, library};
use windtunnel::record::{Outcome, RequestRecord, RunRecord};

fn router(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Routing, name, params)]
}

fn scheduler(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Scheduler, name, params)]
}

fn door(name: &str, params: &[(&str, f64)]) -> [File; 1] {
    [file(Hook::Admission, name, params)]
}

/// `n` roomy instances.
fn cluster(n: u32) -> ClusterConfig {
    fresh(n, roomy(EngineRules::BLIS))
}

/// One instance that runs `seats` requests at a time.
fn narrow(seats: u32) -> ClusterConfig {
    fresh(
        1,
        EngineConfig {
            max_running: seats,
            ..roomy(EngineRules::BLIS)
        },
    )
}

/// The same by the rules of vLLM: a step shows when it ends, and no two overlap.
fn patient(seats: u32) -> ClusterConfig {
    let mut config = narrow(seats);
    config.engine.rules = EngineRules {
        async_scheduling: false,
        ..EngineRules::VLLM
    };
    config
}

/// Where the requests went, in order of arrival.
fn places(record: &RunRecord) -> Vec<u32> {
    let place = |r: &RequestRecord| r.instance.expect("it was sent somewhere");
    record.requests.iter().map(place).collect()
}

fn count(places: &[u32], n: u32) -> Vec<usize> {
    let of = |i| places.iter().filter(|&&p| p == i).count();
    (0..n).map(of).collect()
}

/// Serial numbers in order of completion.
fn finish_order(record: &RunRecord) -> Vec<u64> {
    let done = |r: &RequestRecord| Some((r.completion_us()?, r.serial));
    let mut order: Vec<(i64, u64)> = record.requests.iter().filter_map(done).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, serial)| serial).collect()
}

/// `n` requests that are all about at the same time, `every` microseconds apart.
fn burst(n: i64, every: i64, prompt: u32, output: u32) -> Vec<Ask> {
    (0..n).map(|k| ask(1 + k * every, prompt, output)).collect()
}

fn outcomes(record: &RunRecord, outcome: Outcome) -> usize {
    let is = |r: &&RequestRecord| r.outcome == outcome;
    record.requests.iter().filter(is).count()
}

// Routing.

#[test]
fn a_burst_spreads_where_the_front_end_counts_for_itself() {
    let mut config = cluster(4);
    // Nobody ever sees a snapshot.
    config.snapshot_refresh_us = i64::MAX;
    let asks = burst(12, 0, 100, 50);
    for (name, params) in [
        ("round-robin", &[][..]),
        ("jsq", &[]),
        ("least-loaded", &[]),
        ("least-tokens", &[]),
        ("least-work", &[]),
        ("vllm-dp", &[("rule", 1.0)]),
        ("vllm-dp", &[("rule", 2.0)]),
        ("dynamo-kv", &[]),
        ("preble-e2", &[]),
        ("mooncake-conductor", &[]),
        ("sglang-cache-aware", &[]),
        ("session-affinity", &[]),
    ] {
        let record = drive(config.clone(), BY_HAND, &router(name, params), &asks);
        assert_eq!(count(&places(&record), 4), [3; 4], "{name} {params:?}");
    }
}

#[test]
fn two_choices_repeat_exactly_and_balance_better_than_one() {
    let asks = burst(400, 1, 10, 100);
    let go = |name, seed| {
        let config = ClusterConfig { seed, ..cluster(8) };
        places(&drive(config, BY_HAND, &router(name, &[]), &asks))
    };
    assert_eq!(go("power-of-two", 1), go("power-of-two", 1));
    assert_ne!(go("power-of-two", 1), go("power-of-two", 2));
    assert_eq!(go("random", 1), go("random", 1));
    let spread = |places: &[u32]| {
        let counts = count(places, 8);
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    };
    let (two, one) = (spread(&go("power-of-two", 1)), spread(&go("random", 1)));
    assert!(two <= 6 && two < one, "{two} {one}");
}

/// Sessions of two rounds that all begin almost at once.
fn sessions(n: i64) -> Vec<Ask> {
    let round = Round {
        think: 100_000,
        prompt: 10,
        output: 5,
    };
    let with_rounds = |a: Ask| Ask {
        rounds: vec![round.clone()],
        ..a
    };
    burst(n, 1, 20, 200).into_iter().map(with_rounds).collect()
}

#[test]
fn bounded_loads_hold_and_sessions_stay() {
    for bound in [1.0, 1.25, 2.0] {
        let files = router("session-affinity", &[("load_bound", bound)]);
        let record = drive(cluster(4), BY_HAND, &files, &sessions(60));
        // All first rounds are in flight together, so the counts are the loads.
        let mut loads = [0u32; 4];
        for r in record.requests.iter().filter(|r| r.round == 0) {
            loads[r.instance.expect("sent") as usize] += 1;
            let most = (bound * f64::from(loads.iter().sum::<u32>()) / 4.0).ceil();
            assert!(
                loads.iter().all(|&l| f64::from(l) <= most),
                "{bound} {loads:?}"
            );
        }
    }
    let record = drive(
        cluster(4),
        BY_HAND,
        &router("session-affinity", &[("load_bound", 100.0)]),
        &sessions(60),
    );
    let home = |round| -> Vec<(u32, Option<u32>)> {
        let of = record.requests.iter().filter(|r| r.round == round);
        let mut homes: Vec<_> = of.map(|r| (r.session.0, r.instance)).collect();
        homes.sort_unstable();
        homes
    };
    assert_eq!(home(0), home(1));
    let used = count(&places(&record), 4);
    assert!(
        used.iter().all(|&n| n >= 10),
        "the ring is fairly even: {used:?}"
    );
}

#[test]
fn llm_d_keeps_prefixes_and_if_asked_sessions_together() {
    let asks: Vec<Ask> = (0..40)
        .map(|k: u32| Ask {
            prefix: (1 + k % 2, 320),
            ..ask(i64::from(k) * 10_000, 16, 5)
        })
        .collect();
    let record = drive(cluster(3), BY_HAND, &router("llm-d", &[]), &asks);
    let places = places(&record);
    for group in 0..2 {
        let used: BTreeSet<u32> = places.iter().skip(group).step_by(2).copied().collect();
        assert_eq!(used.len(), 1, "group {group}: {places:?}");
    }
    let weights = [("session", 10.0), ("prefix", 0.0)];
    let record = drive(
        cluster(3),
        BY_HAND,
        &router("llm-d", &weights),
        &sessions(30),
    );
    let mut rounds: Vec<_> = record
        .requests
        .iter()
        .map(|r| (r.session.0, r.instance))
        .collect();
    rounds.sort_unstable();
    rounds.dedup();
    assert_eq!(rounds.len(), 30, "one instance for each session");
}

/// A shared prefix of 1,600 tokens, seen once before the others come.
fn warm_prefix(others: i64) -> Vec<Ask> {
    let same = |at| Ask {
        prefix: (1, 1600),
        ..ask(at, 16, 50)
    };
    std::iter::once(same(0))
        .chain((0..others).map(|k| same(50_000 + k)))
        .collect()
}

#[test]
fn dynamo_weighs_cached_blocks_against_blocks_in_use() {
    let go = |params: &[(&str, f64)], seed| {
        let config = ClusterConfig { seed, ..cluster(2) };
        places(&drive(
            config,
            BY_HAND,
            &router("dynamo-kv", params),
            &warm_prefix(8),
        ))
    };
    let places = go(&[], 0);
    // 1,616 tokens are 101 blocks. To the holder: 101 - 100 cached; then, with that one on it, 1 + 101 - 100 + 101 against 101.
    assert_eq!(
        places[1], places[0],
        "the cache wins while the holder is idle"
    );
    assert_ne!(
        places[2], places[0],
        "then it has more to do than the prefix is worth"
    );
    let blind = go(&[("overlap_credit", 0.0)], 0);
    assert_eq!(
        count(&blind[1..], 2),
        [4, 4],
        "without credit only load counts"
    );
    let warm = [("temperature", 1.0)];
    assert_eq!(go(&warm, 3), go(&warm, 3));
    assert_ne!(go(&warm, 3), go(&warm, 4));
}

#[test]
fn sglang_follows_the_prefix_until_loads_are_out_of_balance() {
    let go = |abs| {
        let files = router("sglang-cache-aware", &[("balance_abs", abs)]);
        places(&drive(cluster(2), BY_HAND, &files, &warm_prefix(20)))
    };
    assert_eq!(count(&go(1000.0), 2), [21, 0]);
    // Five more than the other are too many.
    let places = go(4.0);
    assert_eq!(places[..6], [0; 6]);
    assert_eq!(places[6], 1, "{places:?}");
    // A prompt of which less than the threshold matches goes to the idlest.
    let mut asks = warm_prefix(4);
    asks.push(Ask {
        prefix: (1, 160),
        ..ask(50_010, 1000, 5)
    });
    let record = drive(
        cluster(2),
        BY_HAND,
        &router("sglang-cache-aware", &[]),
        &asks,
    );
    assert_eq!(record.requests[5].instance, Some(1));
}

#[test]
fn preble_exploits_explores_and_rebalances() {
    let group = |k: u32, group| Ask {
        prefix: (group, 1600),
        ..ask(i64::from(k) * 20_000, 16, 5)
    };
    let asks: Vec<Ask> = (0..40).map(|k| group(k, 1 + k % 2)).collect();
    let record = drive(cluster(2), BY_HAND, &router("preble-e2", &[]), &asks);
    let expected: Vec<u32> = (0..40).map(|k| k % 2).collect();
    assert_eq!(places(&record), expected, "each prefix has its instance");
    let hot: Vec<Ask> = (0..120).map(|k| group(k, 1)).collect();
    let places = places(&drive(cluster(2), BY_HAND, &router("preble-e2", &[]), &hot));
    assert_eq!(count(&places[..50], 2), [50, 0]);
    assert!(
        count(&places[50..], 2)[1] > 20,
        "the hot prefix is shared: {places:?}"
    );
}

#[test]
fn mooncake_leaves_the_cache_when_its_queue_is_longer_than_a_prefill() {
    let places = places(&drive(
        cluster(2),
        BY_HAND,
        &router("mooncake-conductor", &[]),
        &warm_prefix(40),
    ));
    assert_eq!(places[..10], [places[0]; 10]);
    let counts = count(&places, 2);
    assert!(counts[1 - places[0] as usize] > 5, "{counts:?}");
}

#[test]
fn least_work_copies_a_prefix_when_the_queue_is_several_times_its_worth() {
    let first_away = |cold| {
        let files = router("least-work", &[("cold", cold), ("request_tokens", 100.0)]);
        let places = places(&drive(cluster(2), BY_HAND, &files, &warm_prefix(80)));
        places[1..].iter().position(|&p| p != places[0])
    };
    // The holder has 16 tokens to prefill, the other 1,616. Each request in flight adds 116 at most, 100 once it has its first token:
    // the holder is worth cold x 1,600 tokens of others' work.
    let (few, many) = (first_away(1.0), first_away(4.0));
    assert!(few.is_some_and(|k| (13..=17).contains(&k)), "{few:?}");
    assert!(many.is_none_or(|k| k > 50), "{many:?}");
}

#[test]
fn predicted_latency_avoids_who_would_miss_the_target() {
    // The first prompt keeps its instance busy for 60 ms; the others need theirs within 5 ms.
    let mut asks = vec![ask(0, 60_000, 1)];
    asks.extend((0..50).map(|k| ask(1_000 + k * 1_000, 100, 1)));
    let config = fresh(
        2,
        EngineConfig {
            max_batched_tokens: 100_000,
            ..roomy(EngineRules::VLLM)
        },
    );
    let files = router("predicted-latency", &[("ttft_ms", 5.0), ("itl_ms", 0.0)]);
    let places = places(&drive(config, BY_HAND, &files, &asks));
    let wrong = places[1..].iter().filter(|&&p| p == places[0]).count();
    // One in a hundred explores.
    assert!(wrong <= 3, "{places:?}");
}

// Scheduling.

#[test]
fn predicted_outputs_order_the_queue_and_the_starving_are_promoted() {
    let config = ClusterConfig {
        predictor: Some(Predictor { sigma: 0.0 }),
        ..narrow(1)
    };
    // The first one is running when the others come.
    let outputs = [5, 50, 3, 40, 8, 20, 1, 7, 9, 2];
    let asks: Vec<Ask> = (0..)
        .zip(outputs)
        .map(|(k, output)| ask(k, 10, output))
        .collect();
    let go = |files: &[File]| finish_order(&drive(config.clone(), BY_HAND, files, &asks));
    let by_length = [0, 6, 9, 2, 7, 4, 8, 5, 3, 1];
    assert_eq!(go(&scheduler("sjf-predicted", &[])), by_length);
    assert_eq!(go(&scheduler("ltr", &[])), by_length);
    // Three go first, then all that wait have been passed over three times and the shortest of them goes.
    let promoted = go(&scheduler("ltr", &[("starve", 3.0)]));
    assert_eq!(promoted, by_length, "equally starving ones go by length");
    let mut trickle = vec![ask(0, 10, 5), ask(1, 10, 50)];
    trickle.extend((0..20).map(|k| ask(2 + k * 200, 10, 2)));
    let place = |starve| {
        let files = scheduler("ltr", &[("starve", starve)]);
        let order = finish_order(&drive(config.clone(), BY_HAND, &files, &trickle));
        order
            .iter()
            .position(|&serial| serial == 1)
            .expect("it ends")
    };
    assert_eq!(place(1000.0), 21);
    assert!(place(5.0) < 10, "{}", place(5.0));
}

#[test]
fn virtual_token_counters_serve_tenants_alike_and_give_no_credit_for_pauses() {
    let of = |tenant, n: i64, from: i64| {
        let one = move |k| Ask {
            tenant,
            ..ask(from + k, 50, 20)
        };
        (0..n).map(one)
    };
    // Completions of tenant "a" between `from` and the last completion of "b".
    let served = |record: &RunRecord, from: i64| {
        let b = record
            .requests
            .iter()
            .rfind(|r| r.tenant != record.requests[0].tenant);
        let tenant = b.expect("two tenants").tenant;
        let done = |r: &RequestRecord| r.completion_us().expect("all complete");
        let last = record
            .requests
            .iter()
            .filter(|r| r.tenant == tenant)
            .map(done)
            .max();
        let during = |r: &&RequestRecord| {
            r.tenant != tenant && done(r) > from && done(r) <= last.expect("some")
        };
        record.requests.iter().filter(during).count()
    };
    let asks: Vec<Ask> = of("a", 60, 0).chain(of("b", 15, 61)).collect();
    let fair = drive(narrow(4), BY_HAND, &scheduler("vtc", &[]), &asks);
    let unfair = drive(narrow(4), BY_HAND, &scheduler("fcfs", &[]), &asks);
    assert!(served(&unfair, 0) >= 55, "{}", served(&unfair, 0));
    assert!(
        (12..=24).contains(&served(&fair, 0)),
        "{}",
        served(&fair, 0)
    );
    // "b" comes when "a" has long been served: from then on both get the same.
    let late: Vec<Ask> = of("a", 120, 0).chain(of("b", 20, 40_000)).collect();
    let lifted = drive(narrow(4), BY_HAND, &scheduler("vtc", &[]), &late);
    let after = served(&lifted, 40_000);
    assert!((14..=28).contains(&after), "{after}");
}

#[test]
fn deadlines_first_meets_more_of_them() {
    // Patient ones stand in front of hasty ones.
    let mut asks: Vec<Ask> = (0..20)
        .map(|k| Ask {
            timeout: 200_000,
            ..ask(k, 50, 10)
        })
        .collect();
    asks.extend((20..30).map(|k| Ask {
        timeout: 13_000,
        ..ask(k, 50, 10)
    }));
    let met = |name| {
        let record = drive(narrow(2), BY_HAND, &scheduler(name, &[]), &asks);
        outcomes(&record, Outcome::Completed)
    };
    assert_eq!(met("edf"), 30);
    assert!(met("fcfs") <= 22, "{}", met("fcfs"));
}

/// Prompts of 10 ms for one seat, twice as many as can be computed in time.
fn too_many(n: i64) -> Vec<Ask> {
    let classes = ["critical", "standard", "sheddable"];
    (0..n)
        .map(|k| Ask {
            class: classes[k as usize % 3],
            ..ask(k * 5_000, 9_900, 1)
        })
        .collect()
}

/// Requests of a class that had their first token within `us`; all if `class` is empty.
fn in_time(asks: &[Ask], record: &RunRecord, class: &str, us: i64) -> usize {
    let of_class = asks.iter().zip(&record.requests);
    let good = |r: &RequestRecord| r.ttft_us.is_some_and(|t| t <= us);
    of_class
        .filter(|(a, r)| (class.is_empty() || a.class == class) && good(r))
        .count()
}

#[test]
fn triage_gives_up_some_and_serves_the_others() {
    // Keys are renewed ten times a second, so on an instance on which a prompt takes that long.
    let slow = Affine {
        per_prefill_token: 10 * BY_HAND.per_prefill_token,
        ..BY_HAND
    };
    let asks: Vec<Ask> = too_many(300)
        .into_iter()
        .map(|a| Ask { at: 10 * a.at, ..a })
        .collect();
    let go = |name: &str| {
        let files = scheduler(name, &[("ttft_ms", 6000.0)]);
        drive(patient(1), slow, &files, &asks)
    };
    let good = |record: &RunRecord, class| in_time(&asks, record, class, 6_000_000);
    // Plain EDF is late for everybody from the time on when the queue is as long as the target: after 120 of the 300. Of the 21 s from
    // the first arrival to the last one's deadline, triage wastes little.
    let (plain, edf, sjf) = (go("edf"), go("edf-triage"), go("sjf-triage"));
    assert!(good(&plain, "") <= 125, "{}", good(&plain, ""));
    assert!(good(&edf, "") >= 180, "{}", good(&edf, ""));
    assert!(good(&sjf, "critical") >= 95, "{}", good(&sjf, "critical"));
    assert!(good(&sjf, "sheddable") <= 25, "{}", good(&sjf, "sheddable"));
    for record in [edf, sjf] {
        let served = outcomes(&record, Outcome::Completed);
        assert_eq!(served, 300, "late is not never");
    }
}

#[test]
fn short_prefills_skip_ahead_until_the_long_one_starves() {
    // 10 ms a step: a long prefill is four levels below the short ones.
    let slow = Affine {
        base: 10_000,
        per_prefill_token: 50,
        per_decode: 100,
        ..Affine::default()
    };
    let mut asks = vec![ask(0, 20, 1), ask(1, 2000, 1)];
    asks.extend((0..60).map(|k| ask(2 + k * 10_000, 20, 1)));
    let ttft = |starve_ms| {
        let files = scheduler("mlfq", &[("quantum_ms", 15.0), ("starve_ms", starve_ms)]);
        let record = drive(patient(1), slow, &files, &asks);
        record.requests[1].ttft_us.expect("it is served")
    };
    assert!(ttft(600_000.0) > 650_000, "{}", ttft(600_000.0));
    assert!(ttft(200.0) < 450_000, "{}", ttft(200.0));
}

#[test]
fn age_makes_up_for_class() {
    // The first one holds the seat.
    let classes = [
        "standard",
        "background",
        "critical",
        "background",
        "critical",
    ];
    let asks: Vec<Ask> = (0..)
        .zip(classes)
        .map(|(k, class)| Ask {
            class,
            ..ask(k * 10, 10, 5)
        })
        .collect();
    let order = |step_s| {
        let files = scheduler("priority-aging", &[("step_s", step_s)]);
        finish_order(&drive(narrow(1), BY_HAND, &files, &asks))
    };
    assert_eq!(order(10.0), [0, 2, 4, 1, 3]);
    // Class "background" is 7 steps behind "critical": 10 us of age are worth 10 steps of 1 us, if steps were so short; 1 ms is the least.
    let slow: Vec<Ask> = asks
        .iter()
        .map(|a| Ask {
            at: a.at * 1000,
            output: 1000,
            ..a.clone()
        })
        .collect();
    let files = scheduler("priority-aging", &[("step_s", 0.001)]);
    let record = drive(narrow(1), BY_HAND, &files, &slow);
    assert_eq!(finish_order(&record), [0, 1, 2, 3, 4]);
}

#[test]
fn the_one_with_least_progress_gives_way() {
    let engine = EngineConfig {
        total_kv_blocks: 20,
        ..roomy(EngineRules::VLLM)
    };
    // Together they outgrow the pool; the long one came last.
    let asks = [ask(0, 16, 100), ask(1, 200, 100)];
    let preempted = |name| -> Vec<bool> {
        let files = [file(Hook::Preemption, name, &[])];
        let record = drive(fresh(1, engine), BY_HAND, &files, &asks);
        record.requests.iter().map(|r| r.preemptions > 0).collect()
    };
    assert_eq!(preempted("fcfs"), [false, true]);
    assert_eq!(preempted("least-progress"), [true, false]);
}

// Admission.

#[test]
fn a_bucket_for_each_tenant_keeps_the_flood_apart() {
    let of = |tenant, n: i64, every: i64| {
        (0..n).map(move |k| Ask {
            tenant,
            ..ask(k * every, 100, 1)
        })
    };
    let asks: Vec<Ask> = of("flood", 200, 1_000)
        .chain(of("drip", 10, 20_000))
        .collect();
    let refused = |name| {
        let params = [("capacity", 1_000.0), ("refill_rate", 10_000.0)];
        let record = drive(cluster(1), BY_HAND, &door(name, &params), &asks);
        let drip = record.symbols.get("drip");
        let mut refused = [0, 0];
        for r in record
            .requests
            .iter()
            .filter(|r| r.outcome == Outcome::Rejected)
        {
            refused[usize::from(Some(r.tenant) == drip)] += 1;
        }
        refused
    };
    let [flood, drip] = refused("token-bucket-tenant");
    assert!(flood > 100 && drip == 0, "{flood} {drip}");
    let [_, drip] = refused("token-bucket");
    assert!(drip > 0, "one bucket for all refuses the small one too");
}

/// Requests that were in the cluster together, at most.
fn most_at_once(record: &RunRecord, from: usize) -> usize {
    let inside: Vec<(i64, i64)> = record.requests[from..]
        .iter()
        .filter_map(|r| Some((r.arrival_us, r.completion_us()?)))
        .collect();
    let at = |t: i64| inside.iter().filter(|(a, c)| *a <= t && t < *c).count();
    inside.iter().map(|(a, _)| at(*a)).max().unwrap_or(0)
}

#[test]
fn early_rejection_refuses_whom_it_could_not_serve_in_time() {
    // Twice as many prompts as can be computed.
    let asks = burst(200, 500, 1000, 2);
    for predictive in [0.0, 1.0] {
        let params = [
            ("ttft_ms", 8.0),
            ("itl_ms", 1000.0),
            ("predictive", predictive),
        ];
        let late = |files: &[File]| {
            let record = drive(patient(256), BY_HAND, files, &asks);
            let refused = outcomes(&record, Outcome::Rejected);
            let late = |r: &&RequestRecord| r.ttft_us.is_some_and(|t| t > 11_000);
            (refused, record.requests.iter().filter(late).count())
        };
        let (none, many) = late(&door("always-admit", &[]));
        assert!(none == 0 && many > 100, "{many}");
        let (refused, few) = late(&door("early-rejection", &params));
        assert!(refused > 50 && few == 0, "{refused} {few}");
        let light = drive(
            patient(256),
            BY_HAND,
            &door("early-rejection", &params),
            &burst(50, 5_000, 1000, 2),
        );
        assert_eq!(outcomes(&light, Outcome::Rejected), 0);
    }
    // Decodes beyond the target for the time between tokens: 50 of them take 600 us a step.
    let params = [("ttft_ms", 1000.0), ("itl_ms", 0.4), ("predictive", 1.0)];
    let record = drive(
        patient(256),
        BY_HAND,
        &door("early-rejection", &params),
        &burst(50, 0, 10, 100),
    );
    assert_eq!(
        most_at_once(&record, 0),
        30,
        "100 us + 10 us for each of 30"
    );
}

#[test]
fn headroom_is_kept_for_the_important_classes() {
    let asks = too_many(60);
    let params = [("ttft_ms", 100.0)];
    let go =
        |name, params: &[(&str, f64)]| drive(patient(256), BY_HAND, &door(name, params), &asks);
    let refused = go("class-headroom", &params);
    let of_class = |class| in_time(&asks, &refused, class, 130_000);
    assert_eq!(of_class("critical"), 20, "served in time");
    assert!(
        (5..20).contains(&of_class("standard")),
        "{}",
        of_class("standard")
    );
    assert!(of_class("sheddable") <= 2, "{}", of_class("sheddable"));
    let all = go("always-admit", &[]);
    assert!(
        in_time(&asks, &all, "critical", 130_000) < 15,
        "everybody is late"
    );
    let light = drive(
        patient(256),
        BY_HAND,
        &door("class-headroom", &params),
        &burst(20, 20_000, 900, 1),
    );
    assert_eq!(outcomes(&light, Outcome::Rejected), 0);
}

#[test]
fn concurrency_limits_shrink_under_load_and_leave_light_load_alone() {
    let few = [("initial", 8.0), ("least", 1.0), ("most", 16.0)];
    let aimd = [&few[..], &[("timeout_ms", 1.0)]].concat();
    // Each takes 2.2 ms alone and there are two seats.
    let overload = burst(400, 300, 100, 20);
    let light = burst(50, 5_000, 100, 20);
    for (name, params) in [("aimd", &aimd[..]), ("gradient-limit", &few[..])] {
        let record = drive(narrow(2), BY_HAND, &door(name, params), &overload);
        assert!(outcomes(&record, Outcome::Rejected) > 100, "{name}");
        assert!(most_at_once(&record, 0) <= 16, "{name}");
        let record = drive(narrow(2), BY_HAND, &door(name, params), &light);
        assert_eq!(outcomes(&record, Outcome::Rejected), 0, "{name}");
    }
    let record = drive(narrow(2), BY_HAND, &door("aimd", &aimd), &overload);
    let settled = most_at_once(&record, 200);
    assert!(
        settled <= 6,
        "no more than can start within a millisecond: {settled}"
    );
}

// The command.

/// Every file in `policies/`, by hook.
fn all_files() -> Vec<(Hook, String)> {
    let mut files = Vec::new();
    for hook in Hook::ALL {
        let folder = root().join("policies").join(hook.name());
        for entry in fs::read_dir(&folder).expect("a folder for each hook") {
            let name = entry.expect("readable").file_name();
            let name = name.to_str().expect("UTF-8").to_owned();
            files.push((
                hook,
                name.strip_suffix(".lua").expect("scripts only").to_owned(),
            ));
        }
    }
    files.sort();
    files
}

/// Each is one readable page that says where its rule comes from, is listed, and comes with the command.
#[test]
fn every_file_is_a_page_with_its_source_and_can_be_named() {
    let list = fs::read_to_string(root().join("policies/README.md")).expect("a document");
    let (before, _) = list.split_once("## Bundles").expect("two parts");
    let files = all_files();
    for (hook, name) in &files {
        let shipped =
            library::find(*hook, name).unwrap_or_else(|| panic!("{hook} {name} is not shipped"));
        let header: String = shipped
            .text
            .lines()
            .take_while(|l| l.starts_with("--"))
            .collect();
        assert!(
            header.contains("Rule: ") && header.contains("Source: "),
            "{hook} {name}"
        );
        assert!(shipped.text.lines().count() <= 150, "{hook} {name}");
        let (_, section) = before
            .split_once(&format!("### {hook}\n"))
            .expect("a section");
        let section = section.split("###").next().unwrap_or_default();
        assert!(
            section.contains(&format!("| `{name}` |")),
            "{hook} {name} is not described"
        );
    }
    assert_eq!(library::ALL.len(), files.len());
}

#[test]
fn every_file_runs_through_the_command() {
    let files = all_files();
    assert!(files.len() >= 40, "{} files", files.len());
    for (trace, requests) in [("classes", 400), ("chat", 120)] {
        for (hook, name) in &files {
            let flag = match hook {
                Hook::Scheduler => "--scheduler".to_owned(),
                hook => format!("--{hook}-policy"),
            };
            let mut line = format!(
                "replay --trace-header docs/examples/{trace}.yaml --trace-data docs/examples/{trace}.csv --model llama-3.1-8b-instruct \
                 --num-instances 3 --max-num-seqs 16 --json {flag} policies/{hook}/{name}.lua"
            );
            if *hook == Hook::Priority {
                line += " --scheduler priority-fcfs";
            }
            let ran = windtunnel(line.split_whitespace());
            assert_eq!(ran.code, 0, "{line}\n{}", ran.stderr);
            let result: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
            let completed = result["completed_requests"].as_u64().expect("a number");
            match (hook, name.as_str()) {
                (_, "reject-all") => assert_eq!(completed, 0),
                (Hook::Admission, _) => assert!(completed > 0, "{line}"),
                _ => assert_eq!(completed, requests, "{line}"),
            }
        }
    }
}
