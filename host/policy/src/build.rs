//! Making the policies of a run.

use super::builtin::admission::tenant_budgets::TenantBudgets;
use super::builtin::policy::Make;
use super::choice::Choice;
use super::custom;
use super::external::External;
use super::facts::Facts;
use super::lua::{Program, ScriptEngines, UsageMonitor};
use super::native::Plugin;
use super::param::Hook;
use super::registry::default_policy;
use super::spec::PolicySpec;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Sym, Symbols};
use windtunnel_plugin_api::{
    Admission, Batching, Disaggregation, Dispatch, Priority, Router, Scale, Scheduler, Setup,
    Victim,
};

/// Gives a name's number.
type Symbol<'a> = &'a mut dyn FnMut(&str) -> u32;

/// Makes the policies of one run. Hooks that are filled by the same file with the same values share
/// its state where they sit in the same place: at the front end, or on the same instance.
pub struct Builder<'a> {
    spec: &'a PolicySpec,
    facts: Facts,
    symbols: &'a mut Symbols,
    scripts: ScriptEngines,
}

impl<'a> Builder<'a> {
    /// For a cluster of `instances` that can run `slots` requests at once. `symbols` learns the
    /// names that policies ask about.
    #[must_use]
    pub fn new(spec: &'a PolicySpec, instances: u32, slots: u64, symbols: &'a mut Symbols) -> Self {
        let facts = Facts {
            instances,
            slots,
            highest_priority: spec.slo_priorities.highest(),
            known_names: symbols.count(),
        };
        Self {
            spec,
            facts,
            symbols,
            scripts: ScriptEngines::new(facts),
        }
    }

    /// Reads what the scripts made so far use.
    #[must_use]
    pub fn usage_monitor(&self) -> UsageMonitor {
        self.scripts.usage_monitor()
    }

    /// A policy from a file, made by a script engine or by a plugin.
    fn make_external<P: ?Sized>(
        &mut self,
        policy: &External,
        script: impl FnOnce(&mut ScriptEngines, &Arc<Program>, Symbol<'_>) -> Result<Box<P>, InputError>,
        plugin: impl FnOnce(&Plugin, Option<&str>, &mut Setup<'_>) -> Result<Box<P>, InputError>,
    ) -> Result<Box<P>, InputError> {
        let symbols = &mut self.symbols;
        let mut symbol = |name: &str| symbols.intern(name).0;
        match policy {
            External::Script(program) => script(&mut self.scripts, program, &mut symbol),
            External::Plugin(chosen) => {
                let mut setup = Setup {
                    params: &chosen.params,
                    instances: self.facts.instances,
                    slots: self.facts.slots,
                    symbol: &mut symbol,
                };
                plugin(&chosen.plugin, Some(&chosen.policy), &mut setup)
            }
        }
    }

    /// The admission policy, behind the tenants' budgets if there are any.
    ///
    /// # Errors
    /// When a policy file does not run, or the hook is filled with a policy of another.
    pub fn admission(&mut self) -> Result<Box<dyn Admission>, InputError> {
        let spec = self.spec;
        let chosen = match &spec.admission {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Admission(make) => make(&self.facts, values),
                _ => return Err(misplaced(Hook::Admission, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Admission(make) => make(&self.facts),
                _ => return Err(misplaced(Hook::Admission, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.admission(program, symbol),
                Plugin::admission,
            )?,
        };
        Ok(self.behind_budgets(chosen))
    }

    /// An admission policy that lets all in, behind the tenants' budgets if there are any.
    ///
    /// # Errors
    /// Never, as it is built in.
    pub fn admission_of_all(&mut self) -> Result<Box<dyn Admission>, InputError> {
        let policy = default_policy(Hook::Admission);
        let all = match policy.make {
            Make::Admission(make) => make(&self.facts, &policy.values(&[])?),
            _ => return Err(misplaced(Hook::Admission, policy.name, policy.hook())),
        };
        Ok(self.behind_budgets(all))
    }

    fn behind_budgets(&mut self, chosen: Box<dyn Admission>) -> Box<dyn Admission> {
        let spec = self.spec;
        if spec.tenant_budgets.is_empty() {
            return chosen;
        }
        let budgets: Vec<(Sym, f64)> = spec
            .tenant_budgets
            .iter()
            .map(|(tenant, share)| (self.symbols.intern(tenant), *share))
            .collect();
        let slots = self.facts.slots;
        Box::new(TenantBudgets::new(chosen, budgets, slots))
    }

    /// The router.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn router(&mut self) -> Result<Box<dyn Router>, InputError> {
        self.router_of(&self.spec.routing, None)
    }

    /// A router of its own for one stage of requests. `place` tells it from those at other places:
    /// scripts share nothing with them.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn stage_router(
        &mut self,
        choice: Option<&Choice>,
        place: u32,
    ) -> Result<Option<Box<dyn Router>>, InputError> {
        choice
            .map(|choice| self.router_of(choice, Some(place)))
            .transpose()
    }

    fn router_of(
        &mut self,
        choice: &Choice,
        place: Option<u32>,
    ) -> Result<Box<dyn Router>, InputError> {
        match choice {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Routing(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(Hook::Routing, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Routing(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(Hook::Routing, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.router(program, place, symbol),
                Plugin::router,
            ),
        }
    }

    /// The disaggregation policy.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn disaggregation(&mut self) -> Result<Box<dyn Disaggregation>, InputError> {
        let hook = Hook::Disaggregation;
        match &self.spec.disaggregation {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Disaggregation(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(hook, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Disaggregation(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(hook, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.disaggregation(program, symbol),
                Plugin::disaggregation,
            ),
        }
    }

    /// The dispatch policy.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn dispatch(&mut self) -> Result<Box<dyn Dispatch>, InputError> {
        let hook = Hook::Dispatch;
        match &self.spec.dispatch {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Dispatch(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(hook, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Dispatch(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(hook, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.dispatch(program, symbol),
                Plugin::dispatch,
            ),
        }
    }

    /// The scaling policy of the pool at this position. Scripts of several pools share nothing.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn scale(&mut self, pool: usize) -> Result<Box<dyn Scale>, InputError> {
        let hook = Hook::Scale;
        match self.spec.scale_of(pool) {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Scale(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(hook, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Scale(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(hook, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.scale(program, pool, symbol),
                Plugin::scale,
            ),
        }
    }

    /// The priority policy of an instance.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn priority(&mut self, instance: u32) -> Result<Box<dyn Priority>, InputError> {
        match &self.spec.priority {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Priority(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(Hook::Priority, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Priority(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(Hook::Priority, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.priority(program, instance, symbol),
                Plugin::priority,
            ),
        }
    }

    /// The scheduler of an instance.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn scheduler(&mut self, instance: u32) -> Result<Box<dyn Scheduler>, InputError> {
        match &self.spec.scheduler {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Scheduler(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(Hook::Scheduler, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Scheduler(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(Hook::Scheduler, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.scheduler(program, instance, symbol),
                Plugin::scheduler,
            ),
        }
    }

    /// The batching strategy of an instance in the pool at this position.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn batching(
        &mut self,
        instance: u32,
        pool: usize,
    ) -> Result<Box<dyn Batching>, InputError> {
        match self.spec.batching_of(pool) {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Batching(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(Hook::Batching, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Batching(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(Hook::Batching, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.batching(program, instance, symbol),
                Plugin::batching,
            ),
        }
    }

    /// The preemption policy of an instance.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn victim(&mut self, instance: u32) -> Result<Box<dyn Victim>, InputError> {
        match &self.spec.preemption {
            Choice::BuiltIn { policy, values } => match policy.make {
                Make::Preemption(make) => Ok(make(&self.facts, values)),
                _ => Err(misplaced(Hook::Preemption, policy.name, policy.hook())),
            },
            Choice::Custom(policy) => match policy.make() {
                custom::Make::Preemption(make) => Ok(make(&self.facts)),
                _ => Err(misplaced(Hook::Preemption, policy.name(), policy.hook())),
            },
            Choice::External(policy) => self.make_external(
                policy,
                |scripts, program, symbol| scripts.victim(program, instance, symbol),
                Plugin::victim,
            ),
        }
    }
}

/// A hook was filled with a policy of another.
fn misplaced(hook: Hook, policy: &str, of: Hook) -> InputError {
    InputError::new(format!(
        "{hook} cannot be filled with \"{policy}\": it is a {}",
        of.kind()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::{routing, scheduler};

    #[test]
    fn a_policy_of_another_hook_cannot_be_made() {
        let mut spec = PolicySpec::default();
        spec.set(Hook::Admission, (&routing::weighted::POLICY).into());
        spec.set(Hook::Preemption, (&scheduler::fcfs::POLICY).into());
        let mut symbols = Symbols::default();
        let mut builder = Builder::new(&spec, 1, 1, &mut symbols);
        let error = |made: Option<InputError>| made.expect("an error").to_string();
        assert_eq!(
            error(builder.admission().err()),
            "admission cannot be filled with \"weighted\": it is a routing policy"
        );
        assert_eq!(
            error(builder.victim(0).err()),
            "preemption cannot be filled with \"fcfs\": it is a scheduler"
        );
        assert!(builder.router().is_ok());
    }
}
