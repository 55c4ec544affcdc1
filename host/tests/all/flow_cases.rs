//! Random gateways, and what holds of every run with one.

use crate::cases::Case;
use crate::lab::built_in;
use crate::properties::ensure;
use proptest::prelude::*;
use windtunnel_base::record::{Outcome, RunRecord, TurnedAway};
use windtunnel_engine::frontend::{Detector, FlowControl};
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Choice, Hook};

/// A dispatch policy with either order of tenants.
pub(crate) fn any_dispatch() -> impl Strategy<Value = Choice> {
    let names: Vec<&str> = built_ins(Hook::Dispatch).iter().map(|p| p.name).collect();
    (prop::sample::select(names), 0u32..2)
        .prop_map(|(name, turns)| built_in(Hook::Dispatch, name, &[("turns", turns.into())]))
}

/// A gateway that holds requests.
pub(crate) fn flow_control() -> impl Strategy<Value = FlowControl> {
    let detector = prop_oneof![
        1 => Just(Detector::Never),
        2 => (0.5..4.0f64, 0.1..1.0f64).prop_map(|(queue_depth, kv_utilization)| {
            Detector::Utilization { queue_depth, kv_utilization }
        }),
        4 => (1u32..4).prop_map(|n| Detector::Concurrency { requests: n.into() }),
    ];
    let limit = || prop_oneof![2 => Just(0u64), 1 => 1u64..6];
    let ttl = prop_oneof![2 => Just(0i64), 1 => 1i64..2_000];
    let tick = prop_oneof![1 => Just(1_000i64), 2 => 50i64..500];
    let usage = prop_oneof![2 => Just(1.0), 1 => 0.0..1.0f64];
    let targets = prop_oneof![
        1 => Just(Vec::new()),
        1 => (1i64..5_000).prop_map(|us| vec![("standard".to_owned(), us), ("batch".to_owned(), 700)]),
    ];
    (
        detector,
        limit(),
        limit(),
        any::<bool>(),
        ttl,
        tick,
        usage,
        any::<bool>(),
        targets,
    )
        .prop_map(
            |(
                detector,
                max_depth,
                per_band,
                shedding,
                ttl_us,
                tick_us,
                usage_limit,
                evicts,
                class_targets,
            )| {
                FlowControl {
                    detector,
                    max_depth,
                    per_band,
                    shedding,
                    ttl_us,
                    tick_us,
                    usage_limit,
                    evicts,
                    class_targets,
                }
            },
        )
}

/// What the gateway counted is what the records say, and nobody was there longer than allowed.
pub(crate) fn gateway_counters_agree(
    case: &Case,
    record: &RunRecord,
    of: impl Fn(Option<usize>, &[Outcome]) -> u64,
) -> Result<(), String> {
    let flow = case.config.front.flow_control.clone();
    let totals = record.gateway.clone().unwrap_or_default();
    ensure!(flow.is_some() == record.gateway.is_some(), "a gateway");
    let counts = [
        (totals.all.rejected, of(None, &[Outcome::GatewayFull])),
        (totals.all.shed, of(None, &[Outcome::Shed])),
        (totals.all.expired, of(None, &[Outcome::Expired])),
        (totals.all.evicted, of(None, &[Outcome::Evicted])),
        (totals.held, of(None, &[Outcome::Held])),
    ];
    for (counter, records) in counts {
        ensure!(counter == records, "{counts:?} at the gateway");
    }
    let mut sum = TurnedAway::default();
    for (_, class) in &totals.by_class {
        sum.rejected += class.rejected;
        sum.shed += class.shed;
        sum.expired += class.expired;
        sum.evicted += class.evicted;
    }
    ensure!(sum == totals.all, "{:?} by class", totals.by_class);
    let flow = flow.unwrap_or_default();
    let most = totals.most_held;
    ensure!(
        flow.max_depth == 0 || most <= flow.max_depth,
        "{most} were held"
    );
    for r in &record.requests {
        let id = &r.id;
        let Some(times) = r.gateway.as_deref() else {
            continue;
        };
        ensure!(times.enqueued_us >= r.arrival_us, "{id} at the gateway");
        let left = times.delay_us();
        ensure!(left.is_none_or(|us| us >= 0), "{id} was held for {left:?}");
        let late = left.is_some_and(|us| flow.ttl_us > 0 && us > flow.ttl_us);
        ensure!(!late, "{id} was held for {left:?}");
        ensure!(
            left.is_some() || r.instance.is_none(),
            "{id} never left the gateway, and was on an instance"
        );
    }
    Ok(())
}
