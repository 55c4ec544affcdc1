//! From flags and policy bundle to the policies of a run. A flag given explicitly wins over the bundle.

use super::args::{ClusterArgs, EngineArgs};
use super::effects::Explicit;
use crate::input::{InputError, parse_yaml, read_text, unknown};
use crate::instance::Preset;
use crate::policy::bundle::Bundle;
use crate::policy::{
    ADMISSION_POLICIES, AdmissionSpec, PREEMPTION_POLICIES, PRIORITY_POLICIES, PolicySpec,
    ROUTING_POLICIES, RoutingSpec, SCHEDULERS, parse_scorers,
};

/// The policies, and notes for people.
pub struct Chosen {
    pub spec: PolicySpec,
    pub notes: Vec<String>,
}

/// The policy bundle, if there is one, with `patches` applied.
///
/// # Errors
/// When the file cannot be read or is wrong, or a patch makes it so.
pub fn bundle(cluster: &ClusterArgs, patches: &[(String, String)]) -> Result<Bundle, InputError> {
    let Some(path) = &cluster.policy_config else {
        return Ok(Bundle::default());
    };
    let name = path.display().to_string();
    let text = read_text(path)?;
    if patches.is_empty() {
        return Bundle::parse(&name, &text);
    }
    Bundle::parse(&name, &text)?;
    let mut tree: serde_json::Value = parse_yaml(&name, &text)?;
    for (keys, value) in patches {
        let Some(place) = place(&mut tree, keys) else {
            return Err(InputError::in_file(
                &name,
                format!("there is no place for \"{keys}\""),
            ));
        };
        *place = parse_yaml("", value).map_err(|e| {
            InputError::new(format!("the value \"{value}\" is no YAML: {}", e.message()))
        })?;
    }
    // JSON is YAML: the patched tree goes through the same strict door. It has no lines to point at.
    Bundle::parse(&name, &tree.to_string()).map_err(|e| InputError::in_file(&name, e.message()))
}

/// Where a path of keys leads; sections that are missing are made, items of lists must be there.
fn place<'a>(tree: &'a mut serde_json::Value, keys: &str) -> Option<&'a mut serde_json::Value> {
    use serde_json::Value;
    keys.split('.').try_fold(tree, |at, key| {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        match at {
            Value::Object(map) => Some(map.entry(key).or_insert(Value::Null)),
            Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

/// Works out the policies of a run under the given rules.
pub fn choose(
    cluster: &ClusterArgs,
    engine: &EngineArgs,
    bundle: &Bundle,
    explicit: &Explicit,
    rules: Preset,
) -> Result<Chosen, InputError> {
    let mut notes = Vec::new();
    let spec = PolicySpec {
        admission: admission(cluster, bundle, explicit)?,
        tenant_budgets: bundle
            .tenant_budgets
            .iter()
            .map(|(t, share)| (t.clone(), *share))
            .collect(),
        routing: routing(cluster, bundle, explicit)?,
        priority: priority(engine, bundle, rules, &mut notes)?,
        scheduler: name(
            &engine.scheduler,
            &bundle.scheduler,
            "scheduler",
            "fcfs",
            SCHEDULERS,
        )?,
        preemption: name(
            &engine.preemption_policy,
            &bundle.preemption.policy,
            "preemption policy",
            "fcfs",
            PREEMPTION_POLICIES,
        )?,
        slo_priorities: bundle.slo_priorities()?,
    };
    let priorities_read = spec.scheduler.contains("priority") || spec.preemption == "priority";
    explicit.need(
        &["priority_policy"],
        priorities_read,
        "because nothing reads priorities; choose --scheduler priority-fcfs or reverse-priority, or --preemption-policy priority",
    )?;
    Ok(Chosen { spec, notes })
}

/// The flag, else the bundle's value, else the default; checked against the valid names.
fn name(
    flag: &Option<String>,
    bundled: &Option<String>,
    kind: &str,
    default: &str,
    valid: &[&str],
) -> Result<String, InputError> {
    let bundled = bundled.as_ref().filter(|name| !name.is_empty());
    let name = flag.as_ref().or(bundled).map_or(default, String::as_str);
    if valid.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(InputError::new(unknown(kind, name, valid)))
    }
}

fn priority(
    engine: &EngineArgs,
    bundle: &Bundle,
    rules: Preset,
    notes: &mut Vec<String>,
) -> Result<String, InputError> {
    let chosen = name(
        &engine.priority_policy,
        &bundle.priority.policy,
        "priority policy",
        "slo-class",
        PRIORITY_POLICIES,
    )?;
    if rules == Preset::Blis && engine.priority_policy.is_none() && chosen == "constant" {
        notes.push(
            "the bundle's priority policy \"constant\" means slo-class under blis rules, as in the reference; \
             give --priority-policy constant to make all requests equal"
                .into(),
        );
        return Ok("slo-class".into());
    }
    Ok(chosen)
}

fn admission(
    cluster: &ClusterArgs,
    bundle: &Bundle,
    explicit: &Explicit,
) -> Result<AdmissionSpec, InputError> {
    let keys = &bundle.admission;
    let policy = name(
        &cluster.admission_policy,
        &keys.policy,
        "admission policy",
        "always-admit",
        ADMISSION_POLICIES,
    )?;
    explicit.need(
        &["token_bucket_capacity", "token_bucket_refill_rate"],
        policy == "token-bucket",
        &format!(
            "with admission policy \"{policy}\"; it belongs to --admission-policy token-bucket"
        ),
    )?;
    let positive = |flag: &str, value: f64| {
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(InputError::new(format!(
                "{flag} must be a positive number, found {value}"
            )))
        }
    };
    Ok(match policy.as_str() {
        "token-bucket" => AdmissionSpec::TokenBucket {
            capacity: positive(
                "--token-bucket-capacity",
                cluster
                    .token_bucket_capacity
                    .or(keys.token_bucket_capacity)
                    .unwrap_or(10_000.0),
            )?,
            refill_rate: positive(
                "--token-bucket-refill-rate",
                cluster
                    .token_bucket_refill_rate
                    .or(keys.token_bucket_refill_rate)
                    .unwrap_or(1_000.0),
            )?,
        },
        "reject-all" => AdmissionSpec::RejectAll,
        "tier-shed" => AdmissionSpec::TierShed {
            threshold: keys.tier_shed_threshold.unwrap_or(0).unsigned_abs(),
            // The reference's default depends on where the policy was named.
            min_priority: keys.tier_shed_min_priority.unwrap_or(
                if keys.policy.as_deref() == Some("tier-shed") {
                    3
                } else {
                    0
                },
            ),
        },
        "gaie-legacy" => AdmissionSpec::GaieLegacy {
            queue_depth: keys.gaie_qd_threshold.unwrap_or(5.0),
            kv_utilization: keys.gaie_kv_threshold.unwrap_or(0.8),
        },
        _ => AdmissionSpec::AlwaysAdmit,
    })
}

fn routing(
    cluster: &ClusterArgs,
    bundle: &Bundle,
    explicit: &Explicit,
) -> Result<RoutingSpec, InputError> {
    let keys = &bundle.routing;
    let policy = name(
        &cluster.routing_policy,
        &keys.policy,
        "routing policy",
        "round-robin",
        ROUTING_POLICIES,
    )?;
    explicit.need(
        &[
            "routing_scorers",
            "routing_cache_weight",
            "routing_load_weight",
        ],
        policy == "weighted",
        &format!("with routing policy \"{policy}\"; it belongs to --routing-policy weighted"),
    )?;
    let two_weight_flags =
        cluster.routing_cache_weight.is_some() || cluster.routing_load_weight.is_some();
    if two_weight_flags && cluster.routing_scorers.is_some() {
        return Err(InputError::new(
            "give --routing-scorers or --routing-cache-weight and --routing-load-weight, not both",
        ));
    }
    Ok(match policy.as_str() {
        "least-loaded" => RoutingSpec::LeastLoaded,
        "prefix-affinity" => RoutingSpec::PrefixAffinity,
        "always-busiest" => RoutingSpec::AlwaysBusiest,
        "weighted" => match &cluster.routing_scorers {
            Some(text) => RoutingSpec::Weighted(parse_scorers(text)?),
            None if !two_weight_flags && !keys.scorers.is_empty() => {
                RoutingSpec::Weighted(bundle.scorers()?)
            }
            None if two_weight_flags
                || keys.cache_weight.is_some()
                || keys.load_weight.is_some() =>
            {
                two_weights(
                    cluster
                        .routing_cache_weight
                        .or(keys.cache_weight)
                        .unwrap_or(0.6),
                    cluster
                        .routing_load_weight
                        .or(keys.load_weight)
                        .unwrap_or(0.4),
                )?
            }
            None => RoutingSpec::Weighted(RoutingSpec::default_scorers()),
        },
        _ => RoutingSpec::RoundRobin,
    })
}

fn two_weights(cache: f64, load: f64) -> Result<RoutingSpec, InputError> {
    let fine = |w: f64| w.is_finite() && w >= 0.0;
    if !fine(cache) || !fine(load) || cache + load <= 0.0 {
        return Err(InputError::new(format!(
            "--routing-cache-weight {cache} and --routing-load-weight {load} must be numbers of 0 or more, not both 0"
        )));
    }
    Ok(RoutingSpec::TwoWeights { cache, load })
}
