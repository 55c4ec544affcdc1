//! Admission.

use super::*;

#[test]
fn a_bucket_for_each_tenant_keeps_the_flood_apart() {
    let of = |tenant, n: i64, every: i64| {
        (0..n).map(move |k| Arrival {
            tenant,
            ..ask(k * every, 100, 1)
        })
    };
    let asks: Vec<Arrival> = of("flood", 200, 1_000)
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
