//! Which policies scale the pools of a run.

use super::{Chooser, ClusterFacts};
use windtunnel_base::input::InputError;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_policy::registry::default_policy;
use windtunnel_policy::{Choice, Hook, Reference};

impl Chooser<'_> {
    /// The policy of all pools that are scaled, and those of pools that have their own.
    pub(super) fn scale(
        &mut self,
        cluster: &ClusterFacts<'_>,
    ) -> Result<(Choice, Vec<Option<Choice>>), InputError> {
        let hook = Hook::Scale;
        let spec = cluster.autoscale;
        let custom = self.custom(hook)?.is_some();
        let named = custom || self.bundle.section(hook).named().is_some();
        if !spec.is_on() {
            return match named || spec.policy.is_some() {
                true => Err(InputError::new(
                    "a scaling policy has no effect without `autoscale_max`",
                )),
                false => Ok((default_policy(hook).into(), Vec::new())),
            };
        }
        let of_all = match self.own(spec)? {
            Some(choice) if !custom => Some(choice),
            _ if named => Some(self.pick(hook, &None, None)?),
            other => other,
        };
        let mut pools = Vec::new();
        for name in cluster.pool_names {
            let own = spec.pools.get(name.as_str()).filter(|_| !custom);
            pools.push(match own {
                Some(own) => self.own(own)?,
                None => None,
            });
        }
        let nobody = |k: usize, name: &String| {
            let scaled = spec.of_pool(name).max.is_some();
            scaled && of_all.is_none() && pools[k].is_none()
        };
        let lacks = cluster.pool_names.iter().enumerate();
        if let Some((_, name)) = lacks.into_iter().find(|(k, name)| nobody(*k, name)) {
            let pool = match name.as_str() {
                "" => "the pool".to_owned(),
                name => format!("pool \"{name}\""),
            };
            return Err(InputError::new(format!(
                "no policy says how many instances {pool} should have; give `autoscale`"
            )));
        }
        if !pools.iter().any(Option::is_some) {
            pools.clear();
        }
        Ok((of_all.unwrap_or_else(|| default_policy(hook).into()), pools))
    }

    /// The policy that a block names.
    fn own(&mut self, spec: &AutoscaleSpec) -> Result<Option<Choice>, InputError> {
        let Some(name) = &spec.policy else {
            return match spec.params.is_empty() {
                true => Ok(None),
                false => Err(InputError::new(
                    "`autoscale_params` belong to the policy that stands beside them as `policy`, and there is none",
                )),
            };
        };
        let params = spec.params.iter().map(|(n, v)| (n.clone(), *v)).collect();
        let loaded = self.load(Hook::Scale, &Reference::parse(name), params);
        loaded.map(Some)
    }
}
