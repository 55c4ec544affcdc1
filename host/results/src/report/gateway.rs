//! What a gateway did that holds requests back.

use crate::metrics::stats::Spread;
use crate::metrics::summary::GatewaySummary;
use serde_json::{Value, json};
use windtunnel_base::record::TurnedAway;

/// What became of the requests that it did not let go, or took back.
pub(super) fn ends(gateway: Option<&GatewaySummary>) -> [(u64, &'static str); 5] {
    let (gone, held) = gateway.map_or_else(Default::default, |g| (g.totals.all, g.totals.held));
    [
        (gone.rejected, "rejected by the gateway"),
        (gone.shed, "shed by the gateway"),
        (gone.expired, "expired at the gateway"),
        (gone.evicted, "evicted by the gateway"),
        (held, "held by the gateway"),
    ]
}

/// A line for people, with numbers as their tables write them.
pub(super) fn line(
    g: &GatewaySummary,
    digits: fn(f64) -> String,
    count: fn(u64) -> String,
) -> String {
    let ms = |of: fn(&Spread) -> f64| match g.dispatched {
        0 => "-".to_owned(),
        _ => digits(of(&g.delay_ms)),
    };
    format!(
        "Gateway:    {} let go after mean {}, p50 {}, p99 {} ms; at most {} held",
        count(g.dispatched),
        ms(|d| d.mean),
        ms(|d| d.p50),
        ms(|d| d.p99),
        count(g.totals.most_held),
    )
}

/// For programs.
pub(super) fn value(g: &GatewaySummary) -> Value {
    let counts = |c: &TurnedAway| {
        json!({
            "rejected": c.rejected,
            "shed": c.shed,
            "expired": c.expired,
            "evicted": c.evicted,
        })
    };
    let mut value = counts(&g.totals.all);
    value["held"] = g.totals.held.into();
    value["most_held"] = g.totals.most_held.into();
    value["dispatched"] = g.dispatched.into();
    value["queue_delay_ms"] = json!(g.delay_ms);
    let by_class = g.totals.by_class.iter();
    let by_class = by_class.map(|(class, c)| (class.clone(), counts(c)));
    value["by_class"] = Value::Object(by_class.collect());
    value
}
