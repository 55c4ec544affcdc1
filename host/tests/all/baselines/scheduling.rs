//! Schedulers, priorities and preemption.

use super::*;

#[test]
fn predicted_outputs_order_the_queue_and_the_starving_are_promoted() {
    let mut config = narrow(1);
    config.front.predictor = Some(Predictor::EXACT);
    // The first one is running when the others come.
    let outputs = [5, 50, 3, 40, 8, 20, 1, 7, 9, 2];
    let asks: Vec<Arrival> = (0..)
        .zip(outputs)
        .map(|(k, output)| ask(k, 10, output))
        .collect();
    let go = |files: &[File]| finish_order(&drive(config.clone(), BY_HAND, files, &asks));
    let by_length = [0, 6, 9, 2, 7, 4, 8, 5, 3, 1];
    assert_eq!(go(&scheduler("sjf-predicted", &[])), by_length);
    assert_eq!(go(&scheduler("ltr", &[])), by_length);
    // Three go first, then all that wait have been passed over three times and the shortest of them
    // goes.
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
        let one = move |k| Arrival {
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
    let asks: Vec<Arrival> = of("a", 60, 0).chain(of("b", 15, 61)).collect();
    let fair = drive(narrow(4), BY_HAND, &scheduler("vtc", &[]), &asks);
    let unfair = drive(narrow(4), BY_HAND, &scheduler("fcfs", &[]), &asks);
    assert!(served(&unfair, 0) >= 55, "{}", served(&unfair, 0));
    assert!(
        (12..=24).contains(&served(&fair, 0)),
        "{}",
        served(&fair, 0)
    );
    // "b" comes when "a" has long been served: from then on both get the same.
    let late: Vec<Arrival> = of("a", 120, 0).chain(of("b", 20, 40_000)).collect();
    let lifted = drive(narrow(4), BY_HAND, &scheduler("vtc", &[]), &late);
    let after = served(&lifted, 40_000);
    assert!((14..=28).contains(&after), "{after}");
}

#[test]
fn deadlines_first_meets_more_of_them() {
    // Patient ones stand in front of hasty ones.
    let mut asks: Vec<Arrival> = (0..20)
        .map(|k| Arrival {
            timeout: 200_000,
            ..ask(k, 50, 10)
        })
        .collect();
    asks.extend((20..30).map(|k| Arrival {
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

#[test]
fn triage_gives_up_some_and_serves_the_others() {
    // Keys are renewed ten times a second, so on an instance on which a prompt takes that long.
    let slow = Affine {
        per_prefill_token: 10 * BY_HAND.per_prefill_token,
        ..BY_HAND
    };
    let asks: Vec<Arrival> = too_many(300)
        .into_iter()
        .map(|a| Arrival { at: 10 * a.at, ..a })
        .collect();
    let go = |name: &str| {
        let files = scheduler(name, &[("ttft_ms", 6000.0)]);
        drive(patient(1), slow, &files, &asks)
    };
    let good = |record: &RunRecord, class| in_time(&asks, record, class, 6_000_000);
    // Plain EDF is late for everybody from the time on when the queue is as long as the target:
    // after 120 of the 300. Of the 21 s from the first arrival to the last one's deadline, triage
    // wastes little.
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
    let asks: Vec<Arrival> = (0..)
        .zip(classes)
        .map(|(k, class)| Arrival {
            class,
            ..ask(k * 10, 10, 5)
        })
        .collect();
    let order = |step_s| {
        let files = scheduler("priority-aging", &[("step_s", step_s)]);
        finish_order(&drive(narrow(1), BY_HAND, &files, &asks))
    };
    assert_eq!(order(10.0), [0, 2, 4, 1, 3]);
    // Class "background" is 7 steps behind "critical": 10 us of age are worth 10 steps of 1 us, if
    // steps were so short; 1 ms is the least.
    let slow: Vec<Arrival> = asks
        .iter()
        .map(|a| Arrival {
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
