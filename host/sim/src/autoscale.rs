//! Pools that a policy scales: what is made of what a run and its bundle say of them.

use crate::nodes;
use crate::scale::{no_pool, seconds};
use crate::settings::Given;
use crate::spec::RunSpec;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_base::record::Role;
use windtunnel_config::autoscale::{AutoscaleSpec, INTERVAL_S, STARTUP_S};
use windtunnel_engine::cluster::{Delay, Drain, PoolConfig, PoolScaling, Scaling};
use windtunnel_policy::PolicySpec;
use windtunnel_policy::bundle::Bundle;
use windtunnel_results::report::machines::Machine;

/// The settings that have an effect only where pools are scaled.
const OF_SCALING: [&str; 8] = [
    "autoscale",
    "autoscale_min",
    "autoscale_interval",
    "autoscale_startup",
    "autoscale_startup_stddev",
    "autoscale_drain",
    "autoscale_params",
    "node_pool",
];

/// The run with what its bundle says of scaling; `None` = that says nothing.
///
/// # Errors
/// When the two do not go together.
pub(crate) fn with_bundle(run: &RunSpec, bundle: &Bundle) -> Result<Option<RunSpec>, InputError> {
    if bundle.autoscale == AutoscaleSpec::default() {
        return Ok(None);
    }
    let wrong = |e: serde_json::Error| InputError::new(format!("`autoscale`: {e}"));
    let mut tree = serde_json::to_value(&bundle.autoscale).map_err(wrong)?;
    let own = serde_json::to_value(&run.autoscale).map_err(wrong)?;
    if run.autoscale.policy.is_some() {
        // The parameters belong to the bundle's policy.
        tree["params"] = json!({});
    }
    if let (Some(all), Some(own)) = (tree.as_object_mut(), own.as_object()) {
        all.extend(own.clone());
    }
    Ok(Some(RunSpec {
        autoscale: serde_json::from_value(tree).map_err(wrong)?,
        ..run.clone()
    }))
}

/// How pools are scaled. Those that are get room for all that they may have.
///
/// # Errors
/// A name that nothing has, a figure that cannot be, or a setting that changes nothing.
pub(crate) fn scaling(
    run: &RunSpec,
    given: &Given,
    pools: &mut [PoolConfig],
    machines: &[Machine],
) -> Result<(Scaling, Vec<u32>), InputError> {
    let spec = &run.autoscale;
    if !spec.is_on() {
        given.reject_unless(
            &OF_SCALING,
            false,
            "without `autoscale_max`: no pool may have more instances than it has",
        )?;
        if !spec.pools.is_empty() {
            return Err(InputError::new(
                "`autoscale.pools` has no effect without `max`: no pool may have more instances than it has",
            ));
        }
        return Ok((Scaling::default(), Vec::new()));
    }
    check(run, spec, pools)?;
    let splits = pools.iter().any(|pool| pool.role != Role::Serve);
    let mut scaling = Scaling::default();
    let mut initial = Vec::new();
    for ((k, pool), machine) in pools.iter_mut().enumerate().zip(machines) {
        let counted = run.pools.get(k).and_then(|pool| pool.count);
        let own = spec.of_pool(&pool.name);
        let Some(max) = own.max.filter(|_| scales(pool.role)) else {
            initial.push(pool.instances);
            scaling.pools.push(None);
            continue;
        };
        let of = |e: InputError| match pool.name.as_str() {
            "" => e,
            name => InputError::new(format!("pool \"{name}\": {}", e.message())),
        };
        let price = machine.upkeep.price().unwrap_or(0.0);
        let (scaled, there) = one(&own, counted, max, splits, price).map_err(of)?;
        initial.push(there);
        pool.instances = max;
        scaling.pools.push(Some(scaled));
    }
    scaling.nodes = nodes::of(&spec.node_pools, pools)?;
    Ok((scaling, initial))
}

/// Can pools of this role be scaled?
fn scales(role: Role) -> bool {
    role.prefills() || role.decodes()
}

/// Refuses what does not go with scaling, and pools that there are not.
fn check(run: &RunSpec, spec: &AutoscaleSpec, pools: &[PoolConfig]) -> Result<(), InputError> {
    if run.is_in_ticks() || run.is_as_xpusim() || run.disaggregation.lockstep {
        return Err(InputError::new(
            "`autoscale` goes with times in microseconds and instances that step by themselves: it is not there \
             where time is abstract, nor in XpuSim, nor with `lockstep`",
        ));
    }
    if !run.scale.is_empty() {
        return Err(InputError::new(
            "give `scale` (a schedule) or `autoscale` (a policy), not both",
        ));
    }
    if run.outputs.kv_events {
        return Err(InputError::new(
            "`kv_events` does not go with `autoscale`: no event tells that an instance went with its cache",
        ));
    }
    for (name, own) in &spec.pools {
        let there = pools.iter().filter(|pool| scales(pool.role));
        let names: Vec<&str> = there.map(|pool| pool.name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let message = no_pool(name, &names);
            return Err(InputError::new(format!(
                "`autoscale`: {}",
                message.message()
            )));
        }
        for (key, given) in [
            ("pools", !own.pools.is_empty()),
            ("node_pools", !own.node_pools.is_empty()),
        ] {
            if given {
                return Err(InputError::new(format!(
                    "`autoscale`: pool \"{name}\" has `{key}`, which stand beside it"
                )));
            }
        }
    }
    Ok(())
}

/// How one pool is scaled, and how many instances it starts with; `counted` is what the run says of
/// that, and `gpu_usd_per_hour` the price, 0 if it is unknown.
fn one(
    spec: &AutoscaleSpec,
    counted: Option<u32>,
    max: u32,
    splits: bool,
    gpu_usd_per_hour: f64,
) -> Result<(PoolScaling, u32), InputError> {
    let min = spec.min.unwrap_or(1);
    if max == 0 || min > max {
        return Err(InputError::new(format!(
            "`autoscale_max` is {max}; expected at least 1 and no less than `autoscale_min`, {min}"
        )));
    }
    if min == 0 && splits {
        return Err(InputError::new(
            "`autoscale_min` is 0; expected at least 1 where some instances prefill for others",
        ));
    }
    let there = counted.unwrap_or(min);
    if !(min..=max).contains(&there) {
        return Err(InputError::new(format!(
            "`num_instances` is {there}; expected {min} to {max}, the limits of `autoscale`"
        )));
    }
    let us = |name: &str, value: Option<f64>, default: f64, least: f64| {
        seconds(name, value.unwrap_or(default), least).map(|seconds| seconds * 1e6)
    };
    let name = spec.drain.as_deref().unwrap_or(Drain::default().name());
    let names = Drain::ALL.map(Drain::name);
    let drain = Drain::ALL.into_iter().find(|drain| drain.name() == name);
    let drain = drain.ok_or_else(|| InputError::unknown("`autoscale_drain`", name, &names))?;
    if splits && drain != Drain::Wait {
        return Err(InputError::new(format!(
            "`autoscale_drain` is {name}; expected wait where some instances prefill for others"
        )));
    }
    let startup = Delay {
        mean_us: us("autoscale_startup", spec.startup.mean, STARTUP_S, 0.0)?,
        stddev_us: us("autoscale_startup_stddev", spec.startup.stddev, 0.0, 0.0)?,
    };
    let scaling = PoolScaling {
        interval_us: us("autoscale_interval", spec.interval, INTERVAL_S, 0.001)? as i64,
        min,
        startup,
        drain,
        gpu_usd_per_hour,
    };
    Ok((scaling, there))
}

/// The pools that are scaled: position, how, and the most instances.
fn scaled<'a>(
    scaling: &'a Scaling,
    pools: &'a [PoolConfig],
) -> impl Iterator<Item = (usize, &'a PoolScaling, &'a PoolConfig)> {
    let all = pools.iter().enumerate();
    all.filter_map(|(k, pool)| Some((k, scaling.of(k)?, pool)))
}

/// How pools are scaled, a line for people each.
pub(crate) fn described(
    scaling: &Scaling,
    pools: &[PoolConfig],
    policies: &PolicySpec,
) -> Vec<String> {
    let said = scaled(scaling, pools).map(|(k, own, pool)| {
        let name = match pool.name.as_str() {
            "" => String::new(),
            name => format!("{name} "),
        };
        let Delay { mean_us, stddev_us } = own.startup;
        let spread = match stddev_us > 0.0 {
            true => format!(" (stddev {} s)", stddev_us / 1e6),
            false => String::new(),
        };
        format!(
            "autoscale: {name}{} to {} instances by {} every {} s, startup {} s{spread}, drain {}",
            own.min,
            pool.instances,
            policies.scale_of(k).name(),
            own.interval_us as f64 / 1e6,
            mean_us / 1e6,
            own.drain.name()
        )
    });
    said.chain(nodes::described(&scaling.nodes)).collect()
}

/// The same for programs.
pub(crate) fn setup(scaling: &Scaling, pools: &[PoolConfig], policies: &PolicySpec) -> Value {
    let all = scaled(scaling, pools).map(|(k, own, pool)| {
        let mut setup = json!({
            "policy": policies.scale_of(k).name(),
            "interval_s": own.interval_us as f64 / 1e6,
            "min": own.min,
            "max": pool.instances,
            "startup_s": { "mean": own.startup.mean_us / 1e6, "stddev": own.startup.stddev_us / 1e6 },
            "drain": own.drain.name(),
        });
        if !pool.name.is_empty() {
            setup["pool"] = pool.name.as_str().into();
        }
        setup
    });
    Value::Array(all.collect())
}
