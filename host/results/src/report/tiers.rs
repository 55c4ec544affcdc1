//! What moved between the tiers of KV blocks.

use serde_json::{Value, json};
use windtunnel_base::record::{InstanceTotals, TierCounts};

/// Of these instances together; `None` where none has tiers.
fn sum(instances: &[InstanceTotals]) -> Option<TierCounts> {
    let tiers = instances.iter().filter_map(|totals| totals.kv_tiers);
    tiers.reduce(|a, b| TierCounts {
        stored: a.stored + b.stored,
        evicted: a.evicted + b.evicted,
        reloaded: a.reloaded + b.reloaded,
        missed: a.missed + b.missed,
        thrashing: 0.0,
    })
}

/// The same as JSON.
pub(super) fn json(instances: &[InstanceTotals]) -> Option<Value> {
    sum(instances).map(|t| {
        json!({
            "stored_blocks": t.stored,
            "evicted_blocks": t.evicted,
            "reloaded_blocks": t.reloaded,
        })
    })
}

/// The same for people, a line behind a line break; `count` writes a number.
pub(super) fn text(instances: &[InstanceTotals], count: fn(u64) -> String) -> String {
    sum(instances).map_or(String::new(), |t| {
        format!(
            "\nKV tiers:   blocks: {} stored on the CPU, {} evicted there, {} brought back",
            count(t.stored),
            count(t.evicted),
            count(t.reloaded)
        )
    })
}
