//! A cluster as tests and those who watch it see it.

use super::engines::Engines;
use super::{Cluster, ClusterConfig, Disaggregation, Gateway, Instance, Stage};

impl Cluster<'_> {
    /// What the cluster is made of.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// The engines of all instances, to look at: of each in turn, rank by rank.
    pub fn engines(&self) -> impl Iterator<Item = &Instance> + '_ {
        self.backends.instances.iter().flat_map(Engines::all)
    }

    /// Checks the invariants of the front end and of all instances; for tests.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        if let Some(life) = &self.lifecycle {
            life.check()?;
        }
        let mut live = 0;
        for (i, instance) in self.backends.instances.iter().enumerate() {
            instance.check().map_err(|e| format!("instance {i}: {e}"))?;
            let here = instance.live();
            let counted = self.front.outstanding(i);
            // A split request is counted before it comes.
            if counted != here && self.disaggregation.is_none() {
                return Err(format!(
                    "instance {i} holds (requests, prompt tokens) {here:?}, \
                     the front end counts {counted:?}"
                ));
            }
            live += here.0;
        }
        let stages = self.due.keys().map(|(_, stage)| *stage);
        live += stages.filter(|stage| *stage != Stage::Arrival).count() as u64;
        live += self
            .disaggregation
            .as_ref()
            .map_or(0, Disaggregation::between);
        live += self.gateway.as_ref().map_or(0, Gateway::held);
        let waiting = self.lifecycle.as_ref().map_or(0, |life| life.waiting.len());
        live += waiting as u64;
        let recorded = self.finished + self.records.len() as u64;
        if live + recorded != self.arrived {
            return Err(format!(
                "{} requests arrived, {live} live, {recorded} have records",
                self.arrived,
            ));
        }
        Ok(())
    }
}
