//! Making the policies of a run.

use super::builtin::{admission, routing, scheduling, scorers};
use super::external::External;
use super::lua::{Facts, Loader, Meter, Program};
use super::native::Library;
use super::spec::{AdmissionSpec, Choice, PolicySpec, RoutingSpec};
use super::{Hook, built_in};
use std::sync::Arc;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_base::request::{Sym, Symbols};
use windtunnel_plugin_api::{Admission, Priority, Router, Scheduler, Setup, Victim};

/// Gives a name's number.
type Symbol<'a> = &'a mut dyn FnMut(&str) -> u32;

/// Makes the policies of one run. Hooks that are filled by the same file with the same values share
/// its state where they sit in the same place: at the front end, or on the same instance.
pub struct Builder<'a> {
    spec: &'a PolicySpec,
    facts: Facts,
    symbols: &'a mut Symbols,
    scripts: Loader,
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
        };
        Self {
            spec,
            facts,
            symbols,
            scripts: Loader::new(facts),
        }
    }

    /// Reads what the scripts made so far use.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.scripts.meter()
    }

    /// A policy from a file, by whichever of the two makes it.
    fn made_of_file<P: ?Sized>(
        &mut self,
        policy: &External,
        script: impl FnOnce(&mut Loader, &Arc<Program>, Symbol<'_>) -> Result<Box<P>, InputError>,
        plugin: impl FnOnce(&Library, Option<&str>, &mut Setup<'_>) -> Result<Box<P>, InputError>,
    ) -> Result<Box<P>, InputError> {
        let symbols = &mut self.symbols;
        let mut symbol = |name: &str| symbols.intern(name).0;
        match policy {
            External::Script(program) => script(&mut self.scripts, program, &mut symbol),
            External::Plugin(compiled) => {
                let mut setup = Setup {
                    params: &compiled.params,
                    instances: self.facts.instances,
                    slots: self.facts.slots,
                    symbol: &mut symbol,
                };
                plugin(&compiled.library, Some(&compiled.policy), &mut setup)
            }
        }
    }

    /// The admission policy, behind the tenants' budgets if there are any.
    ///
    /// # Errors
    /// When a policy file does not run.
    pub fn admission(&mut self) -> Result<Box<dyn Admission>, InputError> {
        let inner: Box<dyn Admission> = match &self.spec.admission {
            AdmissionSpec::AlwaysAdmit => Box::new(admission::AlwaysAdmit),
            AdmissionSpec::RejectAll => Box::new(admission::RejectAll),
            AdmissionSpec::TokenBucket {
                capacity,
                refill_rate,
            } => Box::new(admission::TokenBucket::new(*capacity, *refill_rate)),
            AdmissionSpec::TierShed {
                threshold,
                min_priority,
            } => Box::new(admission::TierShed {
                threshold: *threshold,
                min_priority: *min_priority,
            }),
            AdmissionSpec::GaieLegacy {
                queue_depth,
                kv_utilization,
            } => Box::new(admission::GaieLegacy {
                queue_depth: *queue_depth,
                kv_utilization: *kv_utilization,
            }),
            AdmissionSpec::External(policy) => self.made_of_file(
                policy,
                |scripts, program, symbol| scripts.admission(program, symbol),
                Library::admission,
            )?,
        };
        if self.spec.tenant_budgets.is_empty() {
            return Ok(inner);
        }
        let budgets: Vec<(Sym, f64)> = self
            .spec
            .tenant_budgets
            .iter()
            .map(|(tenant, share)| (self.symbols.intern(tenant), *share))
            .collect();
        Ok(Box::new(admission::TenantBudgets::new(
            inner,
            budgets,
            self.facts.slots,
        )))
    }

    /// The router.
    ///
    /// # Errors
    /// When a policy file does not run.
    pub fn router(&mut self) -> Result<Box<dyn Router>, InputError> {
        Ok(match &self.spec.routing {
            RoutingSpec::RoundRobin => Box::new(routing::RoundRobin::default()),
            RoutingSpec::LeastLoaded => Box::new(routing::LeastLoaded::default()),
            RoutingSpec::AlwaysBusiest => Box::new(routing::AlwaysBusiest::default()),
            RoutingSpec::PrefixAffinity => Box::new(routing::PrefixAffinity::default()),
            RoutingSpec::Weighted(weights) => Box::new(scorers::Weighted::new(weights)),
            RoutingSpec::TwoWeights { cache, load } => {
                Box::new(routing::TwoWeights::new(*cache, *load))
            }
            RoutingSpec::External(policy) => self.made_of_file(
                policy,
                |scripts, program, symbol| scripts.router(program, symbol),
                Library::router,
            )?,
        })
    }

    /// The priority policy of an instance.
    ///
    /// # Errors
    /// When the name is unknown or a policy file does not run.
    pub fn priority(&mut self, instance: u32) -> Result<Box<dyn Priority>, InputError> {
        let highest = self.facts.highest_priority;
        let name = match &self.spec.priority {
            Choice::Named(name) => name.as_str(),
            Choice::External(policy) => {
                return self.made_of_file(
                    policy,
                    |scripts, program, symbol| scripts.priority(program, instance, symbol),
                    Library::priority,
                );
            }
        };
        Ok(match name {
            "slo-class" => Box::new(scheduling::SloClass { highest }),
            "constant" => Box::new(scheduling::Constant),
            "slo-based" => Box::new(scheduling::SloBased {
                highest,
                direction: 1.0,
            }),
            "inverted-slo" => Box::new(scheduling::SloBased {
                highest,
                direction: -1.0,
            }),
            other => return Err(no_such(Hook::Priority, other)),
        })
    }

    /// The scheduler of an instance.
    ///
    /// # Errors
    /// When the name is unknown or a policy file does not run.
    pub fn scheduler(&mut self, instance: u32) -> Result<Box<dyn Scheduler>, InputError> {
        let name = match &self.spec.scheduler {
            Choice::Named(name) => name.as_str(),
            Choice::External(policy) => {
                return self.made_of_file(
                    policy,
                    |scripts, program, symbol| scripts.scheduler(program, instance, symbol),
                    Library::scheduler,
                );
            }
        };
        Ok(match name {
            "fcfs" => Box::new(scheduling::Fcfs),
            "priority-fcfs" => Box::new(scheduling::PriorityFcfs { direction: 1.0 }),
            "reverse-priority" => Box::new(scheduling::PriorityFcfs { direction: -1.0 }),
            "sjf" => Box::new(scheduling::ShortestPrompt),
            other => return Err(no_such(Hook::Scheduler, other)),
        })
    }

    /// The preemption policy of an instance.
    ///
    /// # Errors
    /// When the name is unknown or a policy file does not run.
    pub fn victim(&mut self, instance: u32) -> Result<Box<dyn Victim>, InputError> {
        let name = match &self.spec.preemption {
            Choice::Named(name) => name.as_str(),
            Choice::External(policy) => {
                return self.made_of_file(
                    policy,
                    |scripts, program, symbol| scripts.victim(program, instance, symbol),
                    Library::victim,
                );
            }
        };
        Ok(match name {
            "fcfs" => Box::new(scheduling::LastAdmitted),
            "priority" => Box::new(scheduling::LeastUrgent),
            other => return Err(no_such(Hook::Preemption, other)),
        })
    }
}

fn no_such(hook: Hook, name: &str) -> InputError {
    InputError::new(unknown(hook.kind(), name, built_in(hook)))
}
