//! The policies of a gateway, made from what its configuration says.

use crate::decisions::record::{DecisionLog, Recorded, VERSION};
use crate::decisions::replay::Pair;
use crate::decisions::{Deployment as Deployed, Entry};
use crate::gateway::backends::{LiveBackends, PoolFacts};
use crate::gateway::config::Config;
use crate::gateway::policy_files::{files, fingerprints};
use rustc_hash::FxHashMap;
use serde_json::json;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_engine::frontend::{
    Backends, Estimators, FrontEnd, FrontEndConfig, FrontEndPolicies,
};
use windtunnel_plugin_api::Interests;
use windtunnel_policy::Builder;
use windtunnel_sim::{Deployment, PoliciesSpec, RulesSpec, RunSpec, policies_of_a_gateway};

/// Requests that a server runs at once where nobody says it: vLLM's default on most GPUs.
const SLOTS: u64 = 256;

/// What is known of the deployment that the configuration describes.
pub struct Known {
    /// Estimates of durations, by pool.
    pub estimators: Estimators,
    /// Limits of servers, by pool.
    pub facts: FxHashMap<String, PoolFacts>,
    /// Is there a model, whose durations can be estimated?
    pub has_model: bool,
}

/// Works out what is known of the servers.
///
/// # Errors
/// When the model or a pool makes no sense.
pub fn known(config: &Config, symbols: &mut Symbols) -> Result<Known, InputError> {
    let Some(model) = &config.model else {
        return Ok(Known {
            estimators: Estimators::default(),
            facts: FxHashMap::default(),
            has_model: false,
        });
    };
    let deployment = Deployment::resolve(&RunSpec {
        model: model.clone(),
        pools: config.pools.clone(),
        rules: RulesSpec::Vllm,
        ..RunSpec::default()
    })?;
    let pools = &deployment.config().pools;
    let estimators = pools.iter().enumerate().map(|(k, pool)| {
        let name = symbols.intern(&pool.name);
        (name, deployment.config().estimator(k))
    });
    let facts = pools.iter().map(|pool| {
        let facts = PoolFacts {
            gpus: pool.gpus_per_instance,
            max_num_seqs: pool.engine.max_num_seqs,
            max_step_tokens: pool.engine.max_num_batched_tokens,
            kv_blocks: u32::try_from(pool.engine.total_kv_blocks).unwrap_or(u32::MAX),
            block_size: pool.engine.block_size,
        };
        (pool.name.clone(), facts)
    });
    Ok(Known {
        estimators: Estimators::new(estimators.collect::<Vec<_>>()),
        facts: facts.collect(),
        has_model: true,
    })
}

/// Makes admission and router for so many servers, and the priorities of classes.
///
/// # Errors
/// When the policies are wrong, or need what no gateway has.
pub fn pair(
    policies: &PoliciesSpec,
    instances: u32,
    symbols: &mut Symbols,
) -> Result<(Pair, SloPriorities), InputError> {
    let spec = policies_of_a_gateway(policies, instances)?;
    let slots = u64::from(instances) * SLOTS;
    let mut builder = Builder::new(&spec, instances, slots, symbols);
    let pair = (builder.admission()?, builder.router()?);
    Ok((pair, spec.slo_priorities.clone()))
}

/// Refuses policies that ask for durations that nobody knows.
fn check_estimates(policies: &PoliciesSpec, has_model: bool) -> Result<(), InputError> {
    for file in files(policies) {
        let text = match file.extension().and_then(|e| e.to_str()) {
            Some("lua" | "luau") => std::fs::read_to_string(&file).unwrap_or_default(),
            _ => continue,
        };
        if !has_model && text.contains("est_") {
            return Err(InputError::in_file(
                file.display(),
                "the policy asks for estimates of durations (est_...), which need the key model of the configuration, and pools for its hardware",
            ));
        }
    }
    Ok(())
}

/// A front end of these policies before `servers`, whose decisions go to the log, with the reason
/// for which it begins.
///
/// # Errors
/// When the policies are wrong, or need what no gateway has.
pub fn front_end(
    policies: &PoliciesSpec,
    config: &Config,
    known: &Known,
    servers: &LiveBackends,
    symbols: &mut Symbols,
    log: Option<(&DecisionLog, &str)>,
) -> Result<FrontEnd, InputError> {
    check_estimates(policies, known.has_model)?;
    let files = fingerprints(&files(policies))?;
    let instances = servers.len().max(1) as u32;
    let known_before = symbols.count();
    let ((mut admission, mut router), slo_priorities) = pair(policies, instances, symbols)?;
    if let Some((log, because)) = log {
        log.begin(symbols, known_before, |names| Entry::Policies {
            version: VERSION,
            policies: json!(policies),
            files,
            instances,
            deployment: deployed(config, servers),
            names,
            because: because.to_owned(),
        });
        admission = Box::new(Recorded::new(admission, log.clone()));
        router = Box::new(Recorded::new(router, log.clone()));
    }
    Ok(front_end_of(
        (admission, router),
        slo_priorities,
        config,
        known,
    ))
}

/// A front end of policies that are made.
pub fn front_end_of(
    (admission, router): Pair,
    slo_priorities: SloPriorities,
    config: &Config,
    known: &Known,
) -> FrontEnd {
    let all = FrontEndPolicies {
        admission,
        router,
        stages: None,
        dispatch: None,
        scale: Vec::new(),
        slo_priorities,
    };
    let settings = FrontEndConfig::default();
    let estimators = known.estimators.clone();
    FrontEnd::new(&settings, config.seed, false, all, estimators)
}

/// What the servers are, for the log.
fn deployed(config: &Config, servers: &LiveBackends) -> Deployed {
    let names = servers.described();
    Deployed {
        model: config.model.clone(),
        pools: config.pools.clone(),
        servers: names
            .map(|server| (server.name.clone(), server.pool.clone()))
            .collect(),
        scrape_us: (config.scrape.interval * 1e6) as u32,
        block_size: servers.common_block_size(),
        seed: config.seed,
    }
}

/// What of these policies is answered in another way than in a simulation: a note for people.
pub fn notes(policies: &PoliciesSpec, symbols: &mut Symbols) -> Result<Vec<String>, InputError> {
    let ((admission, router), _) = pair(policies, 1, &mut symbols.clone())?;
    let interests = admission.interests() | router.interests();
    let mut notes = Vec::new();
    if interests.has(Interests::PRECISE_PREFIX) {
        notes.push(
            "precise prefix hits are those of prompts that went through this gateway: servers are not asked".to_owned(),
        );
    }
    if interests.has(Interests::WORK) {
        notes.push(
            "queued prompt tokens and context of decodes are the gateway's own account: servers do not tell them".to_owned(),
        );
    }
    Ok(notes)
}
