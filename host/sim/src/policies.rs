//! The policies of a cluster, made from what the user chose.

use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::FrontEndPolicies;
use windtunnel_engine::instance::InstanceHooks;
use windtunnel_policy::lua::Meter;
use windtunnel_policy::{Builder, PolicySpec};

/// Makes all policies of a cluster: those of the front end, and the hooks of each of its
/// `instances`, which run up to `max_running` requests at once. `symbols` learns the names that
/// policies ask about: those of the cluster's source.
///
/// # Errors
/// When a name is unknown or a policy file does not run.
pub fn policies(
    spec: &PolicySpec,
    instances: u32,
    max_running: u32,
    symbols: &mut Symbols,
) -> Result<(FrontEndPolicies, Vec<InstanceHooks>), InputError> {
    let (front, hooks, _) = metered_policies(spec, instances, max_running, symbols)?;
    Ok((front, hooks))
}

/// Makes all policies as [`policies`] does, and what reads what their scripts use.
///
/// # Errors
/// As [`policies`].
pub fn metered_policies(
    spec: &PolicySpec,
    instances: u32,
    max_running: u32,
    symbols: &mut Symbols,
) -> Result<(FrontEndPolicies, Vec<InstanceHooks>, Meter), InputError> {
    let slots = u64::from(instances) * u64::from(max_running);
    let mut builder = Builder::new(spec, instances, slots, symbols);
    let front = FrontEndPolicies {
        admission: builder.admission()?,
        router: builder.router()?,
        slo_priorities: spec.slo_priorities.clone(),
    };
    let hooks = (0..instances).map(|i| {
        Ok(InstanceHooks {
            priority: builder.priority(i)?,
            scheduler: builder.scheduler(i)?,
            victim: builder.victim(i)?,
        })
    });
    let hooks = hooks.collect::<Result<_, InputError>>()?;
    let meter = builder.meter();
    Ok((front, hooks, meter))
}
