//! Other policies take over: after a change of the configuration, or from those that failed.

use super::policies::{self, Known, front_end};
use super::state::{Control, Here, Shadow, Stage};
use crate::gateway::backends::LiveBackends;
use crate::gateway::config::{Config, ShadowSpec};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::FrontEnd;
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
        let log = self.log.as_ref().map(|log| (log, because.as_str()));
        let (config, known) = (&self.config, &self.known);
        match front_end(
            &built_in,
            config,
            known,
            &self.backends,
            &mut self.symbols,
            log,
        ) {
            Ok(front) => self.take_over(front),
            Err(e) => tracing::error!(error = %e, "the built-in policy cannot be made"),
        }
        self.fallen_back = Some(because);
        self.slow_decisions = 0;
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
        let servers = &self.backends;
        let shadows = shadows(&config, &known, servers, &mut symbols)?;
        let log = self.log.as_ref().map(|log| (log, "reload"));
        let front = front_end(
            &config.policies,
            &config,
            &known,
            servers,
            &mut symbols,
            log,
        )?;
        (self.symbols, self.known, self.config) = (symbols, known, config);
        self.shadows = shadows;
        self.backends.limit(self.config.limits.index_blocks);
        self.prefixes.limit(self.config.limits.prefix_names);
        self.fallen_back = None;
        self.take_over(front);
        for shadow in &mut self.shadows {
            count_here(&mut shadow.front, &self.here);
        }
        self.counts.reloads += 1;
        Ok(())
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
    known: &Known,
    servers: &LiveBackends,
    symbols: &mut Symbols,
) -> Result<Vec<Shadow>, InputError> {
    let shadow = |spec: &ShadowSpec| {
        let front = front_end(&spec.policies, config, known, servers, symbols, None)
            .map_err(|e| InputError::new(format!("shadow \"{}\": {e}", spec.name)))?;
        Ok(Shadow {
            name: spec.name.clone(),
            front,
            failed: false,
        })
    };
    config.shadows.iter().map(shadow).collect()
}
