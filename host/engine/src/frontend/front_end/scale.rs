//! What the front end asks of the policies that scale pools.

use super::FrontEnd;
use crate::frontend::backends::Backends;
use crate::frontend::services::FrontEndServices;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::request::{Sym, TokenSeq};
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{ClusterView, Host, InstanceView, List, ScaleView, Services};

impl FrontEnd {
    /// Asks the policy of pool `k` at `now` how many instances it should have. `views` are those of
    /// its instances that take requests, `ready` their numbers. `None` if it failed or is none.
    pub fn replicas(
        &mut self,
        k: usize,
        now: i64,
        pool: &ScaleView,
        views: &[InstanceView],
        ready: &[u32],
        backends: &impl Backends,
    ) -> Option<u32> {
        let policy = self.policies.scale.get_mut(k)?.as_mut()?;
        let services = FrontEndServices {
            signals: &self.signals,
            backends,
            members: Some(ready),
            prompt: &TokenSeq::default(),
            adapter: Sym::NONE,
            estimators: &self.estimators,
            random: Stream::new(self.seed, "scaling policy", k as u64, now as u64),
        };
        let services: &dyn Services = &services;
        let cluster = ClusterView {
            now_us: now,
            instances: List::new(views),
            host: Host::new(&services),
        };
        match policy.replicas(pool, &cluster) {
            Ok(instances) => Some(instances),
            Err(e) => {
                let call = PolicyCall::Decision;
                self.fault(RunFault::failed(Hook::Scale, call, None, &e));
                None
            }
        }
    }

    /// Another instance is in the place of instance `i`: nothing was sent to it yet.
    pub fn replaced(&mut self, i: usize, backends: &impl Backends) {
        self.signals.replaced(i, backends);
    }
}
