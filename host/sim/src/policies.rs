//! The policies of a cluster, made from what was chosen.

use crate::batching;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_engine::cluster::ClusterConfig;
use windtunnel_engine::frontend::{FrontEndPolicies, StagePolicies};
use windtunnel_engine::instance::InstanceHooks;
use windtunnel_policy::lua::UsageMonitor;
use windtunnel_policy::{Builder, Choice, PolicySpec};

/// Where the routers sit that choose instances to prefill and to decode: apart from each other, so
/// that scripts which remember things do not mix them up.
const PREFILL: u32 = u32::MAX;
const DECODE: u32 = u32::MAX - 1;

/// A router that, by itself, tells where an adapter is from where it is not, and no more.
fn there_or_not(router: Choice) -> Choice {
    router.or_value("adapter_scores", 1.0)
}

/// Makes all policies of a cluster: those of the front end, and the hooks of each of its instances.
/// `symbols` learns the names that policies ask about: those of the cluster's source. The meter
/// reads what their scripts use.
///
/// # Errors
/// When a policy file does not run, or a batching strategy does not go with an engine.
pub fn make_policies(
    spec: &PolicySpec,
    config: &ClusterConfig,
    symbols: &mut Symbols,
) -> Result<(FrontEndPolicies, Vec<InstanceHooks>, UsageMonitor), InputError> {
    let instances = config.instances();
    batching::check(spec, &config.pools)?;
    // Policies may ask about pools while they are loaded.
    for pool in &config.pools {
        symbols.intern(&pool.name);
    }
    let mut spec = spec.clone();
    if config.pools[0].engine.rules.adapters_are_there_or_not {
        spec.routing = there_or_not(spec.routing);
        spec.prefill_routing = spec.prefill_routing.map(there_or_not);
        spec.decode_routing = spec.decode_routing.map(there_or_not);
    }
    let spec = &spec;
    let mut builder = Builder::new(spec, instances, config.slots(), symbols);
    // The reference simulator has one router for all stages of which nothing is said.
    let own = config.pools[0].engine.rules.decoder_fetches_kv;
    let whole = own.then_some(&spec.routing);
    let front = FrontEndPolicies {
        admission: match &config.front.flow_control {
            Some(_) if config.pools[0].engine.rules.gateway_admits_all => {
                builder.admission_of_all()?
            }
            _ => builder.admission()?,
        },
        router: builder.router()?,
        stages: match config.splits() {
            true => Some(StagePolicies {
                disaggregation: builder.disaggregation()?,
                prefill: builder.stage_router(spec.prefill_routing.as_ref().or(whole), PREFILL)?,
                decode: builder.stage_router(spec.decode_routing.as_ref().or(whole), DECODE)?,
            }),
            false => None,
        },
        dispatch: match &config.front.flow_control {
            Some(_) => Some(builder.dispatch()?),
            None => None,
        },
        scale: (0..config.pools.len())
            .map(|k| config.scaling.of(k).map(|_| builder.scale(k)).transpose())
            .collect::<Result<_, _>>()?,
        slo_priorities: spec.slo_priorities.clone(),
    };
    let pools = config.pools.iter().enumerate();
    let pool_of = pools.flat_map(|(k, pool)| (0..pool.instances).map(move |_| k));
    let ranks = |pool: usize| config.pools[pool].ranks.count;
    let engines = (0..instances)
        .zip(pool_of)
        .flat_map(|(i, pool)| (0..ranks(pool)).map(move |_| (i, pool)));
    let hooks = engines.map(|(i, pool)| {
        Ok(InstanceHooks {
            priority: builder.priority(i)?,
            scheduler: builder.scheduler(i)?,
            victim: builder.victim(i)?,
            batching: builder.batching(i, pool)?,
        })
    });
    let hooks = hooks.collect::<Result<_, InputError>>()?;
    let meter = builder.usage_monitor();
    Ok((front, hooks, meter))
}
