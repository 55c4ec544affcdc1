//! What reports say that was simulated: lines for people, and the same for programs.

use crate::autoscale;
use crate::batching::{Times, is_continuous};
use crate::events;
use crate::flow_control;
use crate::pool_setup::pool_setup;
use crate::scale;
use crate::simulation::Simulation;
use crate::ticks;
use crate::xpusim::clock_units;
use serde_json::{Value, json};
use windtunnel_engine::cluster::PoolConfig;
use windtunnel_engine::latency::{LatencyModelKind, Resolved};
use windtunnel_results::report::machines::gpus;

impl Simulation {
    pub(crate) fn header(&self) -> Vec<String> {
        if self.spec.is_in_ticks() {
            let config = self.deployment.config();
            return ticks::header(&self.spec, config, self.workload(), &self.policies);
        }
        let preset = self.deployment.preset();
        let config = self.deployment.config();
        let pools = config.pools.iter().zip(config.initial());
        let all = pools.zip(self.deployment.resolved());
        let several = self.deployment.resolved().len() > 1;
        let pools: Vec<String> = all
            .enumerate()
            .map(|(k, ((pool, instances), r))| {
                let version = r.vllm_version.as_deref();
                let version = match r.latency_kind {
                    LatencyModelKind::Ticks => String::new(),
                    LatencyModelKind::Profile => " (measured)".to_owned(),
                    LatencyModelKind::KernelTables => match self.calibration(k) {
                        None => " (measured kernels)".to_owned(),
                        Some(file) => format!(" (measured kernels, calibrated by {file})"),
                    },
                    LatencyModelKind::Roofline => " (computed, a lower bound)".to_owned(),
                    LatencyModelKind::TrainedPhysics | LatencyModelKind::XpuRoofline => {
                        " (computed)".to_owned()
                    }
                    LatencyModelKind::Blackbox => {
                        version.map_or(String::new(), |v| format!(" ({v})"))
                    }
                };
                let name = if several {
                    format!("{}: ", pool.name)
                } else {
                    String::new()
                };
                let batching = self.policies.batching_of(k);
                let batching = match is_continuous(batching) {
                    true => String::new(),
                    false => format!(", batching {}", batching.name()),
                };
                format!(
                    "{name}{instances} x {}, latency model {}{version}{batching}",
                    of_instance(pool, r),
                    r.latency_kind
                )
            })
            .collect();
        let served = match self.deployment.resolved().first() {
            Some(r) => format!("{} on {}, rules {preset}", r.canonical, pools.join("; ")),
            None => format!(
                "{} instances, rules {preset}",
                self.deployment.config().instances()
            ),
        };
        let mut lines = vec![served];
        lines.extend(scale::described(&self.spec));
        lines.extend(autoscale::described(
            &config.scaling,
            &config.pools,
            &self.policies,
        ));
        lines.extend(events::described(&self.spec));
        lines.push(format!("workload: {}", self.workload.description));
        lines.push(format!(
            "policies: admission {}, routing {}, scheduler {}, priority {}, preemption {}",
            self.policies.admission.name(),
            self.policies.routing.name(),
            self.policies.scheduler.name(),
            self.policies.priority.name(),
            self.policies.preemption.name()
        ));
        if let Some(gateway) = &config.front.flow_control {
            lines.push(flow_control::described(gateway, &self.policies));
        }
        lines
    }

    /// The file that pool `k` is calibrated by.
    fn calibration(&self, k: usize) -> Option<String> {
        let latency = &self.spec.pools.get(k)?.latency;
        let file = latency.calibration.as_ref()?;
        Some(file.display().to_string())
    }

    /// The parameters of the policies that declare any, by hook.
    fn policy_params(&self) -> Value {
        let by_hook = self.policies.external().map(|(hook, policy)| {
            let values = policy.params().iter().map(|(n, v)| (n.clone(), json!(v)));
            (hook.name().to_owned(), Value::Object(values.collect()))
        });
        Value::Object(by_hook.collect())
    }

    pub(crate) fn setup(&self) -> Value {
        if self.spec.is_in_ticks() {
            return ticks::setup(
                &self.spec,
                self.deployment.config(),
                &self.policies,
                self.workload(),
            );
        }
        let resolved = self.deployment.resolved();
        let Some(first) = resolved.first() else {
            return Value::Null;
        };
        let config = self.deployment.config();
        let times = Times::Microseconds(clock_units(&self.spec));
        let mut pools = config
            .pools
            .iter()
            .zip(resolved)
            .enumerate()
            .map(|(k, (pool, r))| {
                let mut setup = pool_setup(pool, r, self.policies.batching_of(k), times);
                if let Some(file) = self.calibration(k) {
                    setup["calibration"] = file.into();
                }
                setup
            });
        let mut setup = json!({
            "windtunnel_version": env!("CARGO_PKG_VERSION"),
            "model": first.canonical,
        });
        let rest = json!({
            "admission_policy": self.policies.admission.name(),
            "routing_policy": self.policies.routing.name(),
            "scheduler": self.policies.scheduler.name(),
            "priority_policy": self.policies.priority.name(),
            "preemption_policy": self.policies.preemption.name(),
            "policy_params": self.policy_params(),
            "output_predictor": self.spec.front.output_predictor,
            "estimate_error": self.spec.front.estimate_error,
            "snapshot_refresh_interval_us": config.front.snapshot_refresh_us,
            "cache_signal_delay_us": config.front.cache_signal_delay_us,
            "workload": self.workload.description,
            "seed": self.spec.seed(),
            "horizon_us": Some(self.workload.horizon_us).filter(|us| *us != i64::MAX),
            "gpus": gpus(self.deployment.machines()),
            "notes": resolved.iter().flat_map(|r| &r.notes).chain(&self.pool_notes).collect::<Vec<_>>(),
        });
        let gateway = config.front.flow_control.as_ref();
        let gateway = gateway.map(|gateway| flow_control::setup(gateway, &self.policies));
        if let Some(gateway) = gateway {
            setup["flow_control"] = gateway;
        }
        let preset = self.deployment.preset().to_string();
        if config.pools.len() == 1 {
            let pool = pools.next().unwrap_or_default();
            add(&mut setup, pool);
        } else {
            setup["num_instances"] = config.instances().into();
            setup["pools"] = pools.collect();
        }
        setup["rules"] = preset.into();
        if !self.spec.scale.is_empty() {
            setup["scale"] = json!(self.spec.scale);
        }
        if config.scaling.is_on() {
            setup["autoscale"] = autoscale::setup(&config.scaling, &config.pools, &self.policies);
        }
        if !self.spec.events.is_empty() {
            setup["events"] = json!(self.spec.events);
            setup["client"] = json!(self.spec.client);
        }
        add(&mut setup, rest);
        setup
    }
}

/// Adds the keys of `more` behind those of `setup`.
fn add(setup: &mut Value, more: Value) {
    if let (Some(setup), Value::Object(more)) = (setup.as_object_mut(), more) {
        setup.extend(more);
    }
}
/// The GPUs of an instance: how many split a layer, stages behind them, and nodes if several.
fn of_instance(pool: &PoolConfig, r: &Resolved) -> String {
    let mut parts = Vec::new();
    let mut text = format!("{} {}", r.tp, r.gpu);
    if pool.ranks.are_several() {
        text = format!("{} x {} {}", r.dp, r.tp, r.gpu);
        parts.push(format!("{} data-parallel ranks", r.dp));
    }
    if r.pp > 1 {
        text = format!("{} x {} {}", r.tp, r.pp, r.gpu);
        parts.push(format!("{} stages", r.pp));
    }
    let nodes = r.spread.map_or(1, |spread| spread.nodes());
    if nodes > 1 {
        parts.push(format!("{nodes} nodes"));
    }
    if !parts.is_empty() {
        text.push_str(&format!(" ({})", parts.join(", ")));
    }
    text
}
