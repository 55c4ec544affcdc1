//! The instances of a run by themselves, for servers that pass the time of the machine.

use crate::policies::make_policies;
use crate::simulation::Simulation;
use windtunnel_base::input::InputError;
use windtunnel_engine::cluster::Standalone;
use windtunnel_engine::instance::Preset;

/// Settings of what is in front of instances, or happens to them: where what is written begins so.
const BEFORE_INSTANCES: [&str; 9] = [
    "scale",
    "autoscale.",
    "events",
    "client.",
    "disaggregation.",
    "flow_control.",
    "front.",
    "horizon_us",
    "outputs.",
];

/// Policies that are not inside an instance, by setting.
const OF_THE_FRONT_END: [&str; 7] = [
    "policies.admission",
    "policies.token_bucket",
    "policies.routing",
    "policies.lora_scorer_weight",
    "policies.disaggregation",
    "policies.dispatch",
    "policies.prefill_routing",
];

impl Simulation {
    /// Its instances, each by itself, idle at time 0. What is in front of them in a run is not
    /// there: no admission, no routing, no workload.
    ///
    /// # Errors
    /// When a setting says something of what is not there, the rules are those of a simulator that
    /// has no servers, or a policy cannot be made.
    pub fn standalone(&self) -> Result<Standalone, InputError> {
        let because = "on servers that stand by themselves: a gateway in front of them has it";
        for prefix in BEFORE_INSTANCES.iter().chain(&OF_THE_FRONT_END) {
            let names = crate::settings::below(prefix);
            self.given.reject_unless(&names, false, because)?;
        }
        if self.spec.is_in_ticks() || self.spec.is_as_xpusim() {
            return Err(InputError::new(
                "`latency_model`: servers need steps that take microseconds; ticks and the time of XpuSim are none",
            ));
        }
        if self.deployment.preset() == Preset::Blis {
            return Err(InputError::new(
                "`rules`: servers behave as vLLM does; give `rules` vllm",
            ));
        }
        let mut config = self.deployment.config().clone();
        if config.splits() {
            return Err(InputError::new(
                "`pools`: servers that prefill or decode for others are not emulated; leave `role` out",
            ));
        }
        if config.pools.iter().any(|pool| pool.ranks.count > 1) {
            return Err(InputError::new(
                "`dp`: servers of several data-parallel ranks are not emulated; give each a server of its own",
            ));
        }
        config.seed = self.spec.seed.unwrap_or(42);
        let mut symbols = windtunnel_base::request::Symbols::default();
        let (_, hooks, _) = make_policies(&self.policies, &config, &mut symbols)?;
        let priorities = self.policies.slo_priorities.clone();
        Ok(Standalone::new(&config, hooks, symbols, priorities)?)
    }
}
