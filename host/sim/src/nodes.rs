//! Nodes that instances run on: what is made of what a run says of them.

use crate::scale::seconds;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_config::autoscale::NodePoolSpec;
use windtunnel_engine::cluster::{Delay, NodePool, PoolConfig};

/// Seconds from asking for a node until it is there, where nothing is said.
const PROVISIONING_S: f64 = 120.0;
/// Seconds after which a node without instances goes back, where nothing is said.
const IDLE_S: f64 = 600.0;
/// Far beyond any cluster.
const MOST_NODES: u32 = 100_000;

/// The pools of nodes, for the instances of `pools`.
///
/// # Errors
/// A GPU that no pool runs on, instances that no node has room for, or a figure that cannot be.
pub(crate) fn of(
    specs: &[NodePoolSpec],
    pools: &[PoolConfig],
) -> Result<Vec<NodePool>, InputError> {
    let mut all: Vec<NodePool> = Vec::new();
    for spec in specs {
        if spec.name.is_empty() || all.iter().any(|other| other.name == spec.name) {
            return Err(InputError::new(format!(
                "`node_pool`: the name \"{}\" is empty or there twice; expected another one for each",
                spec.name
            )));
        }
        let wrong = |e: InputError| {
            InputError::new(format!("`node_pool` \"{}\": {}", spec.name, e.message()))
        };
        all.push(one(spec, pools).map_err(wrong)?);
    }
    if all.is_empty() {
        return Ok(all);
    }
    for pool in pools {
        let whose = match pool.name.as_str() {
            "" => "instances take".to_owned(),
            name => format!("instances of pool \"{name}\" take"),
        };
        let of_gpu = all.iter().filter(|nodes| nodes.gpu == pool.gpu);
        let most = of_gpu.map(|nodes| nodes.gpus_per_node).max();
        let n = pool.gpus_per_instance;
        match most {
            None => {
                return Err(InputError::new(format!(
                    "{whose} {n} {}, and no `node_pool` has nodes with that GPU",
                    pool.gpu
                )));
            }
            Some(most) if most < n => {
                return Err(InputError::new(format!(
                    "{whose} {n} {} on one node, and the largest nodes of `node_pool` have {most}",
                    pool.gpu
                )));
            }
            Some(_) => {}
        }
    }
    Ok(all)
}

fn one(spec: &NodePoolSpec, pools: &[PoolConfig]) -> Result<NodePool, InputError> {
    let same = |pool: &&PoolConfig| pool.gpu.eq_ignore_ascii_case(&spec.gpu);
    let Some(pool) = pools.iter().find(same) else {
        let mut names: Vec<&str> = pools.iter().map(|pool| pool.gpu.as_str()).collect();
        names.dedup();
        return Err(InputError::unknown("GPU of the pools", &spec.gpu, &names));
    };
    let initial = spec.initial.or(spec.min).unwrap_or(0);
    let min = spec.min.unwrap_or(initial);
    if spec.gpus_per_node == 0 {
        return Err(InputError::new("gpus_per_node is 0; expected at least 1"));
    }
    if spec.max == 0 || spec.max > MOST_NODES || !(min..=spec.max).contains(&initial) {
        return Err(InputError::new(format!(
            "min is {min}, initial {initial}, max {}; expected them in this order, max from 1 to {MOST_NODES}",
            spec.max
        )));
    }
    let us = |name: &str, value: Option<f64>, default: f64, least: f64| {
        seconds(name, value.unwrap_or(default), least).map(|seconds| seconds * 1e6)
    };
    let delay = spec.provisioning_delay;
    if let Some(cost) = spec.cost_per_hour.filter(|c| !(0.0..=1e6).contains(c)) {
        return Err(InputError::new(format!(
            "cost_per_hour is {cost}; expected 0 to 1000000 US dollars"
        )));
    }
    Ok(NodePool {
        name: spec.name.clone(),
        gpu: pool.gpu.clone(),
        gpus_per_node: spec.gpus_per_node,
        initial,
        min,
        max: spec.max,
        provisioning: Delay {
            mean_us: us("provisioning_delay.mean", delay.mean, PROVISIONING_S, 0.0)?,
            stddev_us: us("provisioning_delay.stddev", delay.stddev, 0.0, 0.0)?,
        },
        idle_us: us("idle_after", spec.idle_after, IDLE_S, 1.0)? as i64,
        usd_per_hour: spec.cost_per_hour,
    })
}

/// Pools of nodes as a program gives them: as the file has them, or as texts.
///
/// # Errors
/// When a text is none.
pub(crate) fn of_texts(value: Value) -> Result<Value, InputError> {
    let one = |value: Value| match value {
        Value::String(text) => {
            let spec = text.parse::<NodePoolSpec>();
            let spec = spec.map_err(|e| {
                InputError::new(format!("`node_pool` is \"{text}\": {}", e.message()))
            })?;
            Ok(json!(spec))
        }
        value => Ok(value),
    };
    match value {
        Value::Array(all) => all.into_iter().map(one).collect(),
        Value::String(_) => Ok(json!([one(value)?])),
        value => Ok(value),
    }
}

/// A line for people each.
pub(crate) fn described(nodes: &[NodePool]) -> impl Iterator<Item = String> + '_ {
    nodes.iter().map(|pool| {
        format!(
            "nodes: {} to {} {} of {} {}, provisioned in {} s, back after {} s without instances",
            pool.min,
            pool.max,
            pool.name,
            pool.gpus_per_node,
            pool.gpu,
            pool.provisioning.mean_us / 1e6,
            pool.idle_us as f64 / 1e6
        )
    })
}
