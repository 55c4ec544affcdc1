//! The policies that a run names, before any of them is loaded.

use super::bundle;
use crate::batching::Named;
use crate::spec::RunSpec;
use windtunnel_policy::Reference;

impl RunSpec {
    /// The policies that the run and its bundle name. `None` when the bundle is no file that can be
    /// read twice. A bundle that is wrong names none: no policy of such a run is loaded.
    #[must_use]
    pub fn named_policies(&self) -> Option<Vec<Reference>> {
        let policies = &self.policies;
        if policies.config.as_ref().is_some_and(|path| !path.is_file()) {
            return None;
        }
        let bundle = bundle(policies).unwrap_or_default();
        let own = [
            &policies.admission,
            &policies.routing,
            &policies.prefill_routing,
            &policies.decode_routing,
            &policies.scheduler,
            &policies.priority,
            &policies.preemption,
            &policies.disaggregation,
            &policies.dispatch,
            &self.autoscale.policy,
        ];
        let blocks = self
            .autoscale
            .pools
            .values()
            .chain(bundle.autoscale.pools.values());
        let scaled = blocks.map(|pool| &pool.policy);
        let own = own
            .into_iter()
            .chain(scaled)
            .chain([&bundle.autoscale.policy]);
        let own = own.flatten().map(String::as_str);
        let of_bundle = bundle.named().map(|(_, name)| name);
        let named = own.chain(of_bundle).map(Reference::parse);
        let pools = self.pools.iter().chain(&bundle.pools);
        // One that cannot be read is none, as the run will say.
        let batching = pools.filter_map(|pool| Named::of(&pool.engine).ok().flatten());
        Some(named.chain(batching.map(|named| named.reference)).collect())
    }
}
