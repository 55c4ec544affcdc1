//! Instances without a cluster around them, for whoever drives them by a clock of their own.

use super::backends::SimulatedBackends;
use super::config::{ClusterConfig, ClusterError};
use super::queue_limits::Servers;
use crate::frontend::RequestViews;
use crate::instance::{Instance, InstanceEvent, InstanceHooks, Part};
use windtunnel_base::record::Outcome;
use windtunnel_base::request::{Request, Sym, Symbols};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_plugin_api::Interests;

/// The instances of all pools, each by itself: nothing in front of them decides or takes time, and
/// none knows of another. They report every token.
///
/// Whoever has it says what time it is, instance by instance, never earlier than before.
pub struct Standalone {
    backends: SimulatedBackends,
    views: RequestViews,
    servers: Servers,
    /// Requests that each has taken and not finished.
    unfinished: Vec<u64>,
    /// Names in requests.
    symbols: Symbols,
    serial: u64,
}

impl Standalone {
    /// Idle instances at time 0. `hooks` yields the policies inside each; `symbols` are the names
    /// that these have asked about.
    ///
    /// # Errors
    /// When such instances cannot be simulated, or there are fewer hooks than instances.
    pub fn new(
        config: &ClusterConfig,
        hooks: impl IntoIterator<Item = InstanceHooks>,
        mut symbols: Symbols,
        priorities: SloPriorities,
    ) -> Result<Self, ClusterError> {
        config.check()?;
        let names = config.pools.iter().map(|pool| symbols.intern(&pool.name));
        let names: Vec<Sym> = names.collect();
        let mut backends =
            SimulatedBackends::new(config, &names, &mut symbols, Interests::TOKENS, hooks)?;
        backends.report_tokens();
        let limits = config
            .pools
            .iter()
            .flat_map(|pool| std::iter::repeat_n(pool.queue_limits, pool.instances as usize));
        Ok(Self {
            unfinished: vec![0; backends.instances.len()],
            servers: Servers::new(limits.collect()),
            views: RequestViews::new(priorities, None, config.seed),
            backends,
            symbols,
            serial: 0,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.backends.instances.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Instance `i`, to read; of several ranks the first.
    #[must_use]
    pub fn instance(&self, i: usize) -> &Instance {
        &self.backends.instances[i].all()[0]
    }

    /// The symbol of a name in requests, new or old.
    pub fn intern(&mut self, name: &str) -> Sym {
        self.symbols.intern(name)
    }

    /// The name behind it.
    #[must_use]
    pub fn name(&self, sym: Sym) -> &str {
        self.symbols.name(sym)
    }

    /// Hands a request to instance `i`, whose time is `now_us`: returns its number in the events of
    /// that instance.
    ///
    /// # Errors
    /// When the instance's server refuses it, as its limits are reached.
    pub fn add(&mut self, i: usize, request: Request, now_us: i64) -> Result<u64, Outcome> {
        if let Some(why) = self.servers.refuses(i, self.unfinished[i]) {
            return Err(why);
        }
        let serial = self.serial;
        self.serial += 1;
        self.unfinished[i] += 1;
        let view = self.views.view(serial, &request, &self.symbols);
        self.servers.takes(i, serial, view.prompt_tokens);
        self.backends.add(i, request, view, Part::Whole, now_us);
        Ok(serial)
    }

    /// When something happens on instance `i` next, microseconds; [`NEVER`](crate::instance::NEVER)
    /// if nothing is due.
    pub fn next_event_us(&mut self, i: usize) -> i64 {
        self.backends.instances[i].next_event_us()
    }

    /// Lets everything happen on instance `i` that does before `until_us`.
    pub fn advance_to(&mut self, i: usize, until_us: i64, events: &mut Vec<InstanceEvent>) {
        let from = events.len();
        self.backends.instances[i].advance_to(until_us, events);
        self.heard(i, &events[from..]);
    }

    /// Takes a request back from instance `i`, whose time is `now_us`, where it waits or runs; says
    /// whether it did. What is still on its way to the queue cannot be taken back.
    pub fn take_back(
        &mut self,
        i: usize,
        serial: u64,
        now_us: i64,
        events: &mut Vec<InstanceEvent>,
    ) -> bool {
        let from = events.len();
        let found = self.backends.instances[i].evict(serial, now_us, events);
        self.heard(i, &events[from..]);
        found
    }

    /// Instance `i` fails at `now_us`: its requests are gone, and an idle one with an empty cache
    /// is in its place.
    pub fn restart(&mut self, i: usize, now_us: i64, events: &mut Vec<InstanceEvent>) {
        let from = events.len();
        self.backends.instances[i]
            .only()
            .give_back(true, Outcome::Failed, now_us, events);
        self.heard(i, &events[from..]);
        self.backends.renew(i);
        let _ = self.backends.before(i);
    }

    /// From the next step on, steps of instance `i` take `factor` times as long as they should.
    pub fn slow(&mut self, i: usize, factor: f64) {
        self.backends.slow(i, factor);
    }

    fn heard(&mut self, i: usize, events: &[InstanceEvent]) {
        for event in events {
            match event {
                InstanceEvent::FirstToken { view, .. } => self.servers.prefilled(i, view.serial),
                InstanceEvent::Finished(left) => {
                    self.servers.prefilled(i, left.view.serial);
                    self.unfinished[i] -= 1;
                }
                _ => {}
            }
        }
    }
}
