//! How the pools of a run form their batches.

use super::{Chooser, ClusterFacts};
use crate::batching::{self, Named};
use crate::{scheduling, ticks, xpusim};
use windtunnel_base::input::InputError;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::{Choice, Hook};

impl Chooser<'_> {
    /// How batches are formed: in all pools, and in those that say it themselves.
    pub(super) fn batching(
        &mut self,
        cluster: &ClusterFacts<'_>,
    ) -> Result<(Choice, Vec<Option<Choice>>), InputError> {
        let hook = Hook::Batching;
        let time_us = match (cluster.in_ticks, cluster.as_xpusim) {
            (true, _) => ticks::time_us,
            (_, true) => xpusim::time_us,
            _ => scheduling::time_us,
        };
        // The program's own excludes them.
        self.custom(hook)?;
        let named = cluster.pools.iter().map(|pool| Named::of(&pool.engine));
        let named = named.collect::<Result<Vec<_>, InputError>>()?;
        let mut load = |named: &Named| {
            let mut wrong = None;
            let choice = self.load_with(hook, &named.reference, &mut |declared| {
                let mut values = named.values(declared, time_us).unwrap_or_else(|e| {
                    wrong = Some(e);
                    Vec::new()
                });
                if cluster.as_xpusim {
                    xpusim::add_default_times(&mut values, declared);
                }
                values
            });
            match wrong {
                Some(e) => Err(e),
                None => choice,
            }
            .map_err(batching::in_setting)
        };
        if let Some((Some(first), rest)) = named.split_first()
            && rest.iter().all(|other| other.as_ref() == Some(first))
        {
            return Ok((load(first)?, Vec::new()));
        }
        let pools = named
            .iter()
            .map(|named| named.as_ref().map(&mut load).transpose());
        let pools = pools.collect::<Result<Vec<_>, InputError>>()?;
        let of_all = self.pick(hook, &None, None)?;
        if cluster.rules == Preset::Blis && !batching::is_continuous(&of_all) {
            return Err(InputError::new(format!(
                "batching strategy {} does not go with blis rules, as that simulator has no such setting; it belongs \
                 to `rules` vllm",
                of_all.name()
            )));
        }
        let any = pools.iter().any(Option::is_some);
        Ok((of_all, if any { pools } else { Vec::new() }))
    }
}
