//! Other policies take over: after a change of the configuration, or from those that failed.

use super::policies::{self, Known, front_end};
use super::state::{Control, Here, Shadow, Stage};
use crate::decisions::Deployment;
use crate::gateway::backends::LiveBackends;
use crate::gateway::config::{Config, ShadowSpec};
use crate::gateway::message::Described;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::{Backends, FrontEnd};
use windtunnel_sim::PoliciesSpec;

impl Control {
    /// How long a decision took; slow policies are replaced.
    pub(super) fn measure(&mut self, took: Duration) {
        self.counts.decided(took);
        let limit = Duration::from_secs_f64(self.config.fallback.decision_ms.max(0.0) / 1e3);
        self.slow_decisions = match took > limit {
            true => self.slow_decisions + 1,
            false => 0,
        };
        if self.slow_decisions >= self.config.fallback.slow_decisions && self.fallen_back.is_none()
        {
            let slow = self.slow_decisions;
            self.fall_back(format!(
                "{slow} decisions in a row took longer than {limit:?}"
            ));
        }
    }

    /// Replaces policies that failed; have they just been?
    pub(super) fn check_fault(&mut self) -> bool {
        if !self.front.has_fault() {
            return false;
        }
        let what = self.front.fault_text().unwrap_or_default();
        self.fall_back(what);
        true
    }

    fn fall_back(&mut self, because: String) {
        tracing::error!(because, "the policy is replaced by a built-in one");
        self.counts.fallbacks += 1;
        let built_in = PoliciesSpec {
            routing: Some(self.config.fallback.routing.clone()),
            ..PoliciesSpec::default()
        };
        match self.front_of(&built_in, &because) {
            Ok(front) => self.take_over(front),
            Err(e) => tracing::error!(error = %e, "the built-in policy cannot be made"),
        }
        self.fallen_back = Some(because);
        self.slow_decisions = 0;
    }

    fn front_of(&mut self, policies: &PoliciesSpec, because: &str) -> Result<FrontEnd, InputError> {
        let count = self.backends.len().max(1) as u32;
        let log = self.log.clone();
        let servers: Vec<Described> = self.backends.described().cloned().collect();
        let logged = log.as_ref();
        let logged = logged.map(|log| {
            (
                log,
                because,
                deployed(&self.config, &servers, &self.backends),
            )
        });
        front_end(
            policies,
            count,
            &self.config,
            &self.known,
            &mut self.symbols,
            logged,
        )
    }

    /// Another front end goes on with the requests that there are.
    fn take_over(&mut self, front: FrontEnd) {
        self.front = front;
        self.backends.read_anew();
        self.look();
        count_here(&mut self.front, &self.here);
        self.set_members(&[]);
        self.set_ticks();
    }

    /// All front ends know of all servers.
    pub(super) fn look(&mut self) {
        let now = self.clock.now_us();
        self.front.look(now, &mut self.backends);
        for shadow in &mut self.shadows {
            let look = |backends: &mut LiveBackends| shadow.front.look(now, backends);
            self.backends.beside(look);
        }
    }

    /// Takes another configuration, or stays with the present one.
    pub(super) fn reload(&mut self, config: Arc<Config>) -> Result<(), InputError> {
        let mut symbols = self.symbols.clone();
        let known = policies::known(&config, &mut symbols)?;
        let count = self.backends.len().max(1) as u32;
        // Whatever is wrong is found before anything is replaced.
        front_end(
            &config.policies,
            count,
            &config,
            &known,
            &mut symbols.clone(),
            None,
        )?;
        let shadows = shadows(&config, count, &known, &mut symbols)?;
        (self.symbols, self.known) = (symbols, known);
        let before = std::mem::replace(&mut self.config, config);
        let policies = self.config.policies.clone();
        match self.front_of(&policies, "reload") {
            Ok(front) => {
                self.shadows = shadows;
                self.fallen_back = None;
                self.take_over(front);
                for shadow in &mut self.shadows {
                    count_here(&mut shadow.front, &self.here);
                }
                self.counts.reloads += 1;
                Ok(())
            }
            Err(e) => {
                self.config = before;
                Err(e)
            }
        }
    }
}

/// What the servers are, for the log.
pub(super) fn deployed(
    config: &Config,
    servers: &[Described],
    backends: &LiveBackends,
) -> Deployment {
    let servers = servers
        .iter()
        .map(|server| (server.name.clone(), server.pool.clone()));
    Deployment {
        model: config.model.clone(),
        pools: config.pools.clone(),
        servers: servers.collect(),
        scrape_us: (config.scrape.interval * 1e6) as u32,
        block_size: backends.common_block_size(),
        seed: config.seed,
    }
}

/// Counts the requests on servers, which the front end does not know of yet.
pub(super) fn count_here(front: &mut FrontEnd, here: &FxHashMap<u64, Here>) {
    for here in here.values() {
        if let Stage::On(i) = here.stage {
            front.dispatched(i, &here.pending.request);
        }
    }
}

pub(super) fn shadows(
    config: &Config,
    instances: u32,
    known: &Known,
    symbols: &mut Symbols,
) -> Result<Vec<Shadow>, InputError> {
    let shadow = |spec: &ShadowSpec| {
        let front = front_end(&spec.policies, instances, config, known, symbols, None)
            .map_err(|e| InputError::new(format!("shadow \"{}\": {e}", spec.name)))?;
        Ok(Shadow {
            name: spec.name.clone(),
            front,
            failed: false,
        })
    };
    config.shadows.iter().map(shadow).collect()
}
