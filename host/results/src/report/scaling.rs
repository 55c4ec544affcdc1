//! How many instances there were where pools are scaled, and what that took.

use super::upkeep::HOUR_US;
use serde_json::{Map, Value, json};
use windtunnel_base::record::{NodePoolRecord, PoolScaling, RunRecord, ScalingRecord};

/// Hours of an instance.
fn instance_hours(pool: &PoolScaling) -> f64 {
    pool.instance_us as f64 / HOUR_US
}

/// Hours of its GPUs; `None` = it is unknown how many they are.
fn gpu_hours(pool: &PoolScaling) -> Option<f64> {
    let gpus = pool.gpus_per_instance;
    (gpus > 0).then(|| instance_hours(pool) * f64::from(gpus))
}

/// Those of all pools; `None` if those of one are unknown.
fn all_gpu_hours(scaling: &ScalingRecord) -> Option<f64> {
    scaling.pools.iter().map(gpu_hours).sum()
}

/// Mean number of instances; `None` if no time passed.
fn mean(pool: &PoolScaling, ended_us: i64) -> Option<f64> {
    (ended_us > 0).then(|| pool.instance_us as f64 / ended_us as f64)
}

/// Mean number of nodes; `None` if no time passed.
fn node_mean(pool: &NodePoolRecord, ended_us: i64) -> Option<f64> {
    (ended_us > 0).then(|| pool.node_us as f64 / ended_us as f64)
}

/// What the nodes of a pool cost, US dollars; `None` if the price is not known.
fn node_cost(pool: &NodePoolRecord) -> Option<f64> {
    let hours = pool.node_us as f64 / HOUR_US;
    pool.usd_per_hour.map(|price| price * hours)
}

/// What became of requests that found no instance, or one that failed.
pub(super) fn ends(record: &RunRecord) -> [(u64, &'static str); 2] {
    let scaling = record.scaling.as_ref();
    let (waiting, lost) = scaling.map_or((0, 0), |s| (s.waiting, s.lost));
    [
        (waiting, "waiting for an instance"),
        (lost, "lost on instances that failed"),
    ]
}

/// A line for people for each pool, and one for all that it took, with numbers as their tables
/// write them; each begins with a line break.
pub(super) fn lines(
    record: &RunRecord,
    digits: fn(f64) -> String,
    count: fn(u64) -> String,
) -> String {
    let Some(scaling) = &record.scaling else {
        return String::new();
    };
    let mut lines = vec![String::new()];
    for pool in &scaling.pools {
        let name = record.pools.get(pool.pool as usize);
        let name = name.map_or("", |pool| record.symbols.name(pool.name));
        let name = match name {
            "" => String::new(),
            name => format!("{name}: "),
        };
        let mean = mean(pool, scaling.ended_us).map_or("-".to_owned(), digits);
        let by_policy = match pool.by_policy {
            true => format!(
                "; {} scale-ups, {} scale-downs",
                count(pool.ups),
                count(pool.downs)
            ),
            false => String::new(),
        };
        lines.push(format!(
            "{} {name}mean {mean}, most {} instances{by_policy}",
            match pool.by_policy {
                true => "Autoscale: ",
                false => "Instances: ",
            },
            count(pool.most.into()),
        ));
    }
    let mut took = Vec::new();
    took.extend(all_gpu_hours(scaling).map(|hours| format!("{} GPU-hours", digits(hours))));
    for (n, what) in [
        (scaling.failures, "instances failed"),
        (scaling.retried, "requests tried again"),
        (scaling.held, "requests found no instance"),
        (scaling.taken_back, "were sent again"),
    ] {
        if n > 0 {
            took.push(format!("{} {what}", count(n)));
        }
    }
    if !took.is_empty() {
        lines.push(format!("            {}", took.join(", ")));
    }
    for pool in &scaling.nodes {
        let cost = node_cost(pool).map_or(String::new(), |usd| format!(", {} USD", digits(usd)));
        lines.push(format!(
            "Nodes:      {}: mean {}, most {} of {} GPUs; {} asked for, {} given back\n            {} node-hours{cost}",
            pool.name,
            node_mean(pool, scaling.ended_us).map_or("-".to_owned(), digits),
            count(pool.most.into()),
            count(pool.gpus_per_node.into()),
            count(pool.provisioned),
            count(pool.returned),
            digits(pool.node_us as f64 / HOUR_US),
        ));
    }
    if scaling.pending > 0 {
        let still = match scaling.still_pending {
            0 => String::new(),
            n => format!(", {} still at the end", count(n)),
        };
        lines.push(format!(
            "Pending:    {} starts waited for a node, {} s in the mean{still}",
            count(scaling.pending),
            digits(scaling.pending_us as f64 / 1e6 / scaling.pending as f64),
        ));
    }
    lines.join("\n")
}

/// For programs.
pub(super) fn value(record: &RunRecord) -> Option<Value> {
    let scaling = record.scaling.as_ref()?;
    let name = |k: u32| {
        let pool = record.pools.get(k as usize);
        pool.map_or("", |pool| record.symbols.name(pool.name))
    };
    let named = |k: u32| {
        let mut value = Map::new();
        if !name(k).is_empty() {
            value.insert("pool".to_owned(), name(k).into());
        }
        value
    };
    let pools = scaling.pools.iter().map(|pool| {
        let mut value = named(pool.pool);
        let own = json!({
            "mean_instances": mean(pool, scaling.ended_us),
            "max_instances": pool.most,
            "scale_ups": pool.ups,
            "scale_downs": pool.downs,
            "instances_started": pool.started,
            "instances_stopped": pool.stopped,
            "instance_hours": instance_hours(pool),
            "gpu_hours": gpu_hours(pool),
        });
        if let Value::Object(own) = own {
            value.extend(own);
        }
        Value::Object(value)
    });
    let with_nodes = !scaling.nodes.is_empty();
    let timeline = scaling.timeline.iter().map(|counts| {
        let mut value = Map::new();
        value.insert("at_us".to_owned(), counts.at_us.into());
        value.extend(named(counts.pool));
        for (key, n) in [
            ("ready", counts.ready),
            ("loading", counts.loading),
            ("draining", counts.draining),
        ]
        .into_iter()
        .chain(with_nodes.then_some(("pending", counts.pending)))
        {
            value.insert(key.to_owned(), n.into());
        }
        Value::Object(value)
    });
    let (pools, timeline): (Vec<Value>, Vec<Value>) = (pools.collect(), timeline.collect());
    let mut value = json!({
        "gpu_hours": all_gpu_hours(scaling),
        "requests_held": scaling.held,
        "most_held": scaling.most_held,
        "requests_sent_again": scaling.taken_back,
        "failures": scaling.failures,
        "requests_retried": scaling.retried,
        "requests_lost": scaling.lost,
        "pools": pools,
        "timeline": timeline,
    });
    if with_nodes {
        value["nodes"] = scaling
            .nodes
            .iter()
            .map(|pool| nodes(pool, scaling.ended_us))
            .collect();
        value["starts_pending"] = scaling.pending.into();
        value["pending_s"] = (scaling.pending_us as f64 / 1e6).into();
        value["still_pending"] = scaling.still_pending.into();
    }
    Some(value)
}

/// A pool of nodes for programs.
fn nodes(pool: &NodePoolRecord, ended_us: i64) -> Value {
    let hours = pool.node_us as f64 / HOUR_US;
    json!({
        "name": pool.name,
        "gpus_per_node": pool.gpus_per_node,
        "mean_nodes": node_mean(pool, ended_us),
        "max_nodes": pool.most,
        "nodes_provisioned": pool.provisioned,
        "nodes_returned": pool.returned,
        "node_hours": hours,
        "gpu_hours": hours * f64::from(pool.gpus_per_node),
        "cost_usd": node_cost(pool),
    })
}
