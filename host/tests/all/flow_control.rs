//! The gateway that holds requests back: each of its rules with times worked out by hand, under
//! both presets where they differ; its hook.
//!
//! Step times are [`BY_HAND`](crate::lab::BY_HAND): 100 us a step, plus 1 us a prefill token, plus
//! 10 us a decode. A request of 10 + 2 tokens alone takes 110 + 110 us; under `blis` rules it has
//! left the instance when its last step begins, after 110 us.

use crate::filled::{file, scripted};
use crate::lab::{self, Arrival, BY_HAND, ask, built_in, fresh, roomy};
use std::fs;
use windtunnel_base::record::{GatewayTimes, Outcome, RequestRecord, RunRecord, TurnedAway};
use windtunnel_engine::frontend::{Detector, FlowControl};
use windtunnel_engine::instance::EngineRules;
use windtunnel_policy::{Choice, Hook, PolicySpec};

const ONE: Detector = Detector::Concurrency { requests: 1.0 };

fn of(at: i64, class: &'static str, tenant: &'static str) -> Arrival {
    Arrival {
        class,
        tenant,
        ..ask(at, 10, 2)
    }
}

fn plain(at: i64) -> Arrival {
    of(at, "", "")
}

/// One request of an instance at a time.
fn one_at_a_time() -> FlowControl {
    FlowControl {
        detector: ONE,
        ..FlowControl::default()
    }
}

fn order(name: &str, turns: bool) -> Choice {
    built_in(
        Hook::Dispatch,
        name,
        &[("turns", f64::from(u8::from(turns)))],
    )
}

fn run_by(rules: EngineRules, flow: FlowControl, dispatch: Choice, asks: &[Arrival]) -> RunRecord {
    let mut config = fresh(1, roomy(rules));
    config.front.flow_control = Some(flow);
    let policies = PolicySpec {
        dispatch,
        ..PolicySpec::default()
    };
    lab::run(config, BY_HAND, &policies, asks)
}

fn run(rules: EngineRules, flow: FlowControl, asks: &[Arrival]) -> RunRecord {
    run_by(rules, flow, order("priority", false), asks)
}

fn times(r: &RequestRecord) -> GatewayTimes {
    **r.gateway.as_ref().expect("it was at the gateway")
}

/// When each request went on.
fn dispatched(record: &RunRecord) -> Vec<Option<i64>> {
    let all = record.requests.iter();
    all.map(|r| r.gateway.as_deref().and_then(|g| g.dispatched_us))
        .collect()
}

fn outcomes(record: &RunRecord) -> Vec<Outcome> {
    record.requests.iter().map(|r| r.outcome).collect()
}

/// The second request is held while the first one runs.
#[test]
fn a_held_request_goes_at_a_tick_or_when_there_is_room() {
    let asks = [plain(0), plain(50)];
    // The first one has the gateway tick from 1,000 on.
    let blis = run(EngineRules::BLIS, one_at_a_time(), &asks);
    assert_eq!(dispatched(&blis), [Some(0), Some(1_000)]);
    assert_eq!(times(&blis.requests[1]).delay_us(), Some(950));
    // TTFT counts from the arrival: 1,000 + 110 - 50.
    assert_eq!(blis.requests[1].ttft_us, Some(1_060));
    let often = FlowControl {
        tick_us: 90,
        ..one_at_a_time()
    };
    // At 90 the first one is still there, at 180 it has left (at 110).
    let blis = run(EngineRules::BLIS, often, &asks);
    assert_eq!(dispatched(&blis), [Some(0), Some(180)]);
    let vllm = run(EngineRules::VLLM, one_at_a_time(), &asks);
    let left = vllm.requests[0].completion_us();
    assert_eq!(dispatched(&vllm), [Some(0), left]);
}

/// A tick lets one go, under the other rules as many as there is room for.
#[test]
fn ticks_let_one_go_at_a_time() {
    let two = FlowControl {
        detector: Detector::Concurrency { requests: 2.0 },
        ..FlowControl::default()
    };
    // All of 0 come before any of them is routed: under the reference's rules none counts yet.
    let asks = [plain(0), plain(1), plain(2), plain(3)];
    let blis = run(EngineRules::BLIS, two.clone(), &asks);
    assert_eq!(
        dispatched(&blis),
        [Some(0), Some(1), Some(1_000), Some(2_000)]
    );
    let vllm = run(EngineRules::VLLM, two, &asks);
    let ends = [0, 1].map(|k| vllm.requests[k].completion_us());
    assert_eq!(dispatched(&vllm), [Some(0), Some(1), ends[0], ends[1]]);
}

/// On the way to an instance, a request counts only where the rules say so.
#[test]
fn who_is_on_the_way_takes_a_place() {
    let asks = [plain(0), plain(10)];
    let with_latency = |rules| {
        let mut config = fresh(1, roomy(rules));
        config.front.flow_control = Some(one_at_a_time());
        config.front.routing_latency_us = 100;
        let record = lab::run(config, BY_HAND, &PolicySpec::default(), &asks);
        dispatched(&record)
    };
    assert_eq!(with_latency(EngineRules::BLIS), [Some(0), Some(10)]);
    assert!(with_latency(EngineRules::VLLM)[1] > Some(300));
}

#[test]
fn a_full_queue_refuses_or_makes_room() {
    let asks = [
        plain(0),
        of(10, "batch", ""),
        of(20, "critical", ""),
        of(30, "sheddable", ""),
    ];
    let full = FlowControl {
        max_depth: 1,
        ..one_at_a_time()
    };
    use Outcome::{Completed, GatewayFull, Shed};
    let record = run(EngineRules::BLIS, full.clone(), &asks);
    assert_eq!(
        outcomes(&record),
        [Completed, Completed, GatewayFull, GatewayFull]
    );
    let totals = record.gateway.expect("a gateway");
    assert_eq!((totals.all.rejected, totals.most_held), (2, 1));
    let refused = |class: &str| {
        let of_class = totals.by_class.iter().find(|(name, _)| name == class);
        of_class.map(|(_, counts)| counts.rejected)
    };
    assert_eq!(refused("critical"), Some(1));
    // The reference knows no time at the gateway of who was refused there.
    assert_eq!(record.requests[2].gateway, None);
    let shedding = FlowControl {
        shedding: true,
        ..full
    };
    // `batch` makes room for `critical`; that one may not be shed.
    let record = run(EngineRules::BLIS, shedding, &asks);
    assert_eq!(outcomes(&record), [Completed, Shed, Completed, GatewayFull]);
    let shed = times(&record.requests[1]);
    assert_eq!((shed.enqueued_us, shed.dispatched_us), (10, None));
}

#[test]
fn the_least_important_that_came_last_makes_room() {
    let asks = [
        plain(0),
        of(10, "batch", ""),
        of(20, "background", "a"),
        of(30, "background", "b"),
        of(40, "background", "a"),
        of(50, "batch", ""),
    ];
    let flow = FlowControl {
        max_depth: 3,
        shedding: true,
        ..one_at_a_time()
    };
    use Outcome::{Completed, GatewayFull, Shed};
    let record = run(EngineRules::BLIS, flow, &asks);
    // The fourth of a full queue is no more important than the victim; the fifth is.
    assert_eq!(
        outcomes(&record),
        [
            Completed,
            Completed,
            Completed,
            Shed,
            GatewayFull,
            Completed
        ]
    );
}

#[test]
fn each_priority_has_its_own_limit() {
    let asks = [
        plain(0),
        of(10, "batch", ""),
        of(20, "batch", "other"),
        of(30, "critical", ""),
    ];
    let flow = FlowControl {
        per_band: 1,
        ..one_at_a_time()
    };
    use Outcome::{Completed, GatewayFull};
    let record = run(EngineRules::VLLM, flow, &asks);
    assert_eq!(
        outcomes(&record),
        [Completed, Completed, GatewayFull, Completed]
    );
}

#[test]
fn a_request_is_held_no_longer_than_it_may_be() {
    let ttl = |ttl_us| FlowControl {
        ttl_us,
        ..one_at_a_time()
    };
    let asks = [plain(0), plain(50)];
    let record = run(EngineRules::BLIS, ttl(300), &asks);
    assert_eq!(outcomes(&record)[1], Outcome::Expired);
    assert_eq!(record.requests[1].instance, None);
    let totals = record.gateway.expect("a gateway");
    assert_eq!(totals.by_class[0].0, "standard");
    assert_eq!(totals.by_class[0].1.expired, 1);
    // The end of its time comes before a tick of the same moment, at 1,000.
    let record = run(EngineRules::BLIS, ttl(950), &asks);
    assert_eq!(outcomes(&record)[1], Outcome::Expired);
    let record = run(EngineRules::BLIS, ttl(951), &asks);
    assert_eq!(outcomes(&record)[1], Outcome::Completed);
}

/// Two priorities: the lower one may go up to half of the places.
#[test]
fn lower_priorities_leave_places_free() {
    let flow = |usage_limit| FlowControl {
        detector: Detector::Concurrency { requests: 2.0 },
        usage_limit,
        ..FlowControl::default()
    };
    let asks = [
        of(0, "critical", ""),
        of(10, "batch", ""),
        of(20, "critical", ""),
    ];
    let record = run(EngineRules::BLIS, flow(0.5), &asks);
    assert_eq!(dispatched(&record), [Some(0), Some(1_000), Some(20)]);
    let record = run(EngineRules::BLIS, flow(0.51), &asks);
    assert_eq!(dispatched(&record), [Some(0), Some(10), Some(1_000)]);
}

/// Three priorities, of which one is there no more: it has its place among the ceilings still.
#[test]
fn a_priority_that_once_came_stays() {
    let flow = FlowControl {
        detector: Detector::Concurrency { requests: 2.0 },
        usage_limit: 0.4,
        ..FlowControl::default()
    };
    // Ceilings 1, 0.7, 0.4; at 30 the second request still runs: 0.5 of the places.
    let asks = [
        of(0, "background", ""),
        of(5_000, "critical", ""),
        of(5_030, "batch", ""),
    ];
    let record = run(EngineRules::BLIS, flow, &asks);
    assert_eq!(dispatched(&record), [Some(0), Some(5_000), Some(5_030)]);
}

#[test]
fn sheddable_requests_are_taken_back_for_others() {
    let long = Arrival {
        output: 100,
        ..of(0, "sheddable", "")
    };
    let evicts = FlowControl {
        evicts: true,
        ..one_at_a_time()
    };
    let asks = [long.clone(), of(500, "critical", "")];
    for (rules, next) in [(EngineRules::BLIS, 1_000), (EngineRules::VLLM, 500)] {
        let record = run(rules, evicts.clone(), &asks);
        assert_eq!(outcomes(&record), [Outcome::Evicted, Outcome::Completed]);
        assert_eq!(dispatched(&record), [Some(0), Some(next)]);
        let back = &record.requests[0];
        assert_eq!((back.instance, back.e2e_us), (Some(0), None));
        assert_eq!(back.ttft_us, Some(110), "what its client has seen stands");
        assert_eq!(record.instances[0].completed, 1);
    }
    // Not for a request that could be shed itself.
    let asks = [long, of(500, "batch", "")];
    let record = run(EngineRules::BLIS, evicts, &asks);
    assert_eq!(outcomes(&record), [Outcome::Completed; 2]);
}

#[test]
fn the_least_important_that_was_sent_last_is_taken_back() {
    let long = |at, class| Arrival {
        output: 200,
        ..of(at, class, "")
    };
    let flow = FlowControl {
        detector: Detector::Concurrency { requests: 3.0 },
        evicts: true,
        ..FlowControl::default()
    };
    let asks = [
        long(0, "background"),
        long(10, "background"),
        long(20, "batch"),
        of(500, "standard", ""),
    ];
    let record = run(EngineRules::BLIS, flow, &asks);
    use Outcome::{Completed, Evicted};
    assert_eq!(
        outcomes(&record),
        [Completed, Evicted, Completed, Completed]
    );
    let totals = record.gateway.expect("a gateway");
    let one = TurnedAway {
        evicted: 1,
        ..TurnedAway::default()
    };
    assert_eq!(totals.by_class, [("background".to_owned(), one)]);
}

/// Of five held requests, which goes at which tick.
fn order_of(dispatch: Choice) -> Vec<usize> {
    let asks = [
        plain(0),
        of(10, "standard", "b"),
        of(20, "standard", "b"),
        of(30, "critical", "c"),
        of(40, "standard", ""),
        of(50, "standard", "c"),
    ];
    let record = run_by(EngineRules::BLIS, one_at_a_time(), dispatch, &asks);
    let mut order: Vec<usize> = (1..asks.len()).collect();
    order.sort_by_key(|&k| dispatched(&record)[k]);
    assert_eq!(dispatched(&record)[order[4]], Some(5_000));
    order
}

#[test]
fn orders_go_by_priority_tenant_and_arrival() {
    assert_eq!(order_of(order("fifo", false)), [1, 2, 3, 4, 5]);
    assert_eq!(order_of(order("priority", false)), [3, 1, 2, 4, 5]);
    // By their names: b, c, "default" for the request that has none. When c has none left it is no
    // longer known who comes behind it: the first of all does.
    assert_eq!(order_of(order("priority", true)), [3, 1, 5, 2, 4]);
    // Turns whatever the priority: the first request of all had no tenant, so b is next, and c.
    assert_eq!(order_of(order("fifo", true)), [1, 3, 4, 2, 5]);
}

#[test]
fn deadlines_order_the_requests_of_a_tenant() {
    let flow = FlowControl {
        class_targets: vec![("standard".into(), 400), ("unheard".into(), 5_000)],
        ..one_at_a_time()
    };
    // All of priority 3: no target; due 5,020; due 430.
    let asks = [
        plain(0),
        plain(10),
        of(20, "unheard", ""),
        of(30, "standard", ""),
    ];
    let dispatch = order("slo-deadline", false);
    let record = run_by(EngineRules::BLIS, flow, dispatch, &asks);
    assert_eq!(
        dispatched(&record),
        [Some(0), Some(3_000), Some(2_000), Some(1_000)]
    );
}

#[test]
fn a_gateway_that_lets_nothing_go_ends_the_run() {
    let asks = [of(0, "critical", ""), of(10, "batch", "")];
    for rules in [EngineRules::BLIS, EngineRules::VLLM] {
        let closed = FlowControl {
            usage_limit: 0.0,
            ..FlowControl::default()
        };
        let record = run(rules, closed, &asks);
        assert_eq!(outcomes(&record), [Outcome::Completed, Outcome::Held]);
        let totals = record.gateway.expect("a gateway");
        assert!(totals.stuck && totals.held == 1);
    }
}

#[test]
fn a_script_says_who_goes_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let run_script = |text: &str, asks: &[Arrival]| {
        let path = folder.path().join("p.lua");
        fs::write(&path, text).expect("written");
        let mut script = file(Hook::Dispatch, "fifo", &[]);
        script.path = path.display().to_string();
        let policies = scripted(&PolicySpec::default(), &[script]);
        let mut config = fresh(1, roomy(EngineRules::VLLM));
        config.front.flow_control = Some(one_at_a_time());
        lab::run(config, BY_HAND, &policies, asks)
    };
    let asks = [plain(0), plain(10), plain(20), plain(30)];
    // Last come, first served.
    let last = run_script(
        "return { next_held = function(held) return #held end }",
        &asks,
    );
    let went = dispatched(&last);
    assert!(went[3] < went[2] && went[2] < went[1], "{went:?}");
    // What it sees of the gateway and of the instances.
    let seen = run_script(
        "return { next_held = function(held, gateway, cluster)
            local req = held[1]
            assert(gateway.depth >= #held and gateway.saturation < 1 and gateway.on_the_way == 0)
            assert(cluster.n == 1 and cluster.instances[1].in_flight == 0)
            assert(req.enqueued_us <= cluster.now_us and req.due_us == 0 and req.prompt_tokens == 10)
            return 1
        end }",
        &asks,
    );
    assert_eq!(seen.fault, None);
    assert_eq!(outcomes(&seen), [Outcome::Completed; 4]);
    // Nobody goes: the run ends.
    let none = run_script("return { next_held = function() end }", &asks);
    assert_eq!(outcomes(&none), [Outcome::Held; 4]);
    let fault = |text: &str| run_script(text, &asks).fault.expect("a fault").to_string();
    let wrong = fault("return { next_held = function(held) return #held + 1 end }");
    assert!(
        wrong.contains("next_held returned 2; expected a position from 1 to 1, or nil"),
        "{wrong}"
    );
    let wrong = fault("return { next_held = function(held) return true end }");
    assert!(wrong.contains("next_held returned true"), "{wrong}");
}
