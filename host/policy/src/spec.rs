//! Which policies a run uses.

use super::choice::Choice;
use super::external::External;
use super::lua::canonical;
use super::param::Hook;
use super::registry::default_policy;
use windtunnel_base::slo_priority::SloPriorities;

/// The policies of a run, and what they share.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Admission.
    pub admission: Choice,
    /// Share of the cluster's request slots each tenant may use before its sheddable requests are
    /// rejected, 0..=1. In front of whichever admission policy is chosen.
    pub tenant_budgets: Vec<(String, f64)>,
    /// Routing.
    pub routing: Choice,
    /// Routing to instances that prefill for others; `None` = as of whole requests. Under vLLM's
    /// rules that is a router of its own, under the reference's the same one.
    pub prefill_routing: Option<Choice>,
    /// The same to instances that decode, where some do not.
    pub decode_routing: Option<Choice>,
    /// Priority.
    pub priority: Choice,
    /// Scheduler.
    pub scheduler: Choice,
    /// Preemption victim.
    pub preemption: Choice,
    /// Where prompts are computed, where some instances prefill for others.
    pub disaggregation: Choice,
    /// Batching.
    pub batching: Choice,
    /// Batching in pools that have their own, by position of the pool; elsewhere `batching` counts.
    pub pool_batching: Vec<Option<Choice>>,
    /// Which of the requests goes next that a gateway holds, where there is one.
    pub dispatch: Choice,
    /// How many instances a pool should have, where pools are scaled.
    pub scale: Choice,
    /// The same of pools that have their own, by position of the pool; elsewhere `scale` counts.
    pub pool_scale: Vec<Option<Choice>>,
    /// Priorities of the SLO classes, which requests carry into every hook.
    pub slo_priorities: SloPriorities,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            admission: default_policy(Hook::Admission).into(),
            tenant_budgets: Vec::new(),
            routing: default_policy(Hook::Routing).into(),
            prefill_routing: None,
            decode_routing: None,
            priority: default_policy(Hook::Priority).into(),
            scheduler: default_policy(Hook::Scheduler).into(),
            preemption: default_policy(Hook::Preemption).into(),
            disaggregation: default_policy(Hook::Disaggregation).into(),
            batching: default_policy(Hook::Batching).into(),
            pool_batching: Vec::new(),
            dispatch: default_policy(Hook::Dispatch).into(),
            scale: default_policy(Hook::Scale).into(),
            pool_scale: Vec::new(),
            slo_priorities: SloPriorities::default(),
        }
    }
}

impl PolicySpec {
    /// What fills `hook`.
    #[must_use]
    pub fn get(&self, hook: Hook) -> &Choice {
        match hook {
            Hook::Admission => &self.admission,
            Hook::Routing => &self.routing,
            Hook::Priority => &self.priority,
            Hook::Scheduler => &self.scheduler,
            Hook::Preemption => &self.preemption,
            Hook::Disaggregation => &self.disaggregation,
            Hook::Batching => &self.batching,
            Hook::Dispatch => &self.dispatch,
            Hook::Scale => &self.scale,
        }
    }

    /// Fills `hook` with `choice`; routing at every stage.
    pub fn set(&mut self, hook: Hook, choice: Choice) {
        if hook == Hook::Routing {
            (self.prefill_routing, self.decode_routing) = (None, None);
        }
        *match hook {
            Hook::Admission => &mut self.admission,
            Hook::Routing => &mut self.routing,
            Hook::Priority => &mut self.priority,
            Hook::Scheduler => &mut self.scheduler,
            Hook::Preemption => &mut self.preemption,
            Hook::Disaggregation => &mut self.disaggregation,
            Hook::Batching => &mut self.batching,
            Hook::Dispatch => &mut self.dispatch,
            Hook::Scale => &mut self.scale,
        } = choice;
    }

    /// How the instances of the pool at this position form their batches.
    #[must_use]
    pub fn batching_of(&self, pool: usize) -> &Choice {
        let own = self.pool_batching.get(pool).and_then(Option::as_ref);
        own.unwrap_or(&self.batching)
    }

    /// How many instances the pool at this position should have.
    #[must_use]
    pub fn scale_of(&self, pool: usize) -> &Choice {
        let own = self.pool_scale.get(pool).and_then(Option::as_ref);
        own.unwrap_or(&self.scale)
    }

    /// Takes over what fills `hook` in `other`. With admission go the tenants' budgets and the
    /// classes' priorities. Routing at single stages stays.
    pub fn take(&mut self, hook: Hook, other: &Self) {
        self.set(hook, other.get(hook).clone());
        if hook == Hook::Admission {
            self.tenant_budgets.clone_from(&other.tenant_budgets);
            self.slo_priorities = other.slo_priorities.clone();
        }
    }

    /// A number made of the scripts' texts and parameters, 0 without scripts. A script cannot know
    /// it, as whatever the script says changes it.
    #[must_use]
    pub fn salt(&self) -> u64 {
        let mut hash = blake3::Hasher::new();
        let mut scripts = 0;
        for (hook, external) in self.external() {
            if let External::Script(program) = external {
                scripts += 1;
                let text = canonical(program).unwrap_or_else(|| program.text.clone());
                let parts = format!("{hook} {} {text} {:?}", text.len(), program.params);
                hash.update(parts.as_bytes());
            }
        }
        let digest = hash.finalize();
        let start = digest.as_bytes().first_chunk().expect("32 bytes");
        // 0 stands for none.
        if scripts == 0 {
            0
        } else {
            u64::from_le_bytes(*start).max(1)
        }
    }

    /// The policies that come from files, by hook.
    pub fn external(&self) -> impl Iterator<Item = (Hook, &External)> {
        let all = Hook::ALL.into_iter().map(|hook| (hook, self.get(hook)));
        let stages = [&self.prefill_routing, &self.decode_routing];
        let stages = stages.into_iter().flatten();
        let all = all.chain(stages.map(|choice| (Hook::Routing, choice)));
        let pools = self.pool_batching.iter().flatten();
        let all = all.chain(pools.map(|choice| (Hook::Batching, choice)));
        let scaled = self.pool_scale.iter().flatten();
        let all = all.chain(scaled.map(|choice| (Hook::Scale, choice)));
        all.filter_map(|(hook, choice)| Some((hook, choice.external()?)))
    }
}
