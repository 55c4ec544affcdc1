//! Routers.

use super::*;

#[test]
fn a_burst_spreads_where_the_front_end_counts_for_itself() {
    let mut config = cluster(4);
    // Nobody ever sees a snapshot.
    config.front.snapshot_refresh_us = i64::MAX;
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
fn sessions(n: i64) -> Vec<Arrival> {
    let round = Round {
        think: 100_000,
        prompt: 10,
        output: 5,
    };
    let with_rounds = |a: Arrival| Arrival {
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
    let asks: Vec<Arrival> = (0..40)
        .map(|k: u32| Arrival {
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
fn warm_prefix(others: i64) -> Vec<Arrival> {
    let same = |at| Arrival {
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
    // 1,616 tokens are 101 blocks. To the holder: 101 - 100 cached; then, with that one on it, 1 +
    // 101 - 100 + 101 against 101.
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
    asks.push(Arrival {
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
    let group = |k: u32, group| Arrival {
        prefix: (group, 1600),
        ..ask(i64::from(k) * 20_000, 16, 5)
    };
    let asks: Vec<Arrival> = (0..40).map(|k| group(k, 1 + k % 2)).collect();
    let record = drive(cluster(2), BY_HAND, &router("preble-e2", &[]), &asks);
    let expected: Vec<u32> = (0..40).map(|k| k % 2).collect();
    assert_eq!(places(&record), expected, "each prefix has its instance");
    let hot: Vec<Arrival> = (0..120).map(|k| group(k, 1)).collect();
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
    // The holder has 16 tokens to prefill, the other 1,616. Each request in flight adds 116 at
    // most, 100 once it has its first token: the holder is worth cold x 1,600 tokens of others'
    // work.
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
            max_num_batched_tokens: 100_000,
            ..roomy(EngineRules::VLLM)
        },
    );
    let files = router("predicted-latency", &[("ttft_ms", 5.0), ("itl_ms", 0.0)]);
    let places = places(&drive(config, BY_HAND, &files, &asks));
    let wrong = places[1..].iter().filter(|&&p| p == places[0]).count();
    // One in a hundred explores.
    assert!(wrong <= 3, "{places:?}");
}
