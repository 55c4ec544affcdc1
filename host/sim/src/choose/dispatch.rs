//! Which of the requests goes next that a gateway holds: what run and bundle say of it.

use super::{Chooser, ClusterFacts};
use crate::flow_control;
use windtunnel_base::input::InputError;
use windtunnel_policy::builtin::dispatch;
use windtunnel_policy::registry::{built_in, default_policy};
use windtunnel_policy::{Choice, Hook};

impl Chooser<'_> {
    /// The dispatch policy. Under the reference's rules `fifo` is another name for `priority`.
    pub(super) fn dispatch(&mut self, cluster: &ClusterFacts<'_>) -> Result<Choice, InputError> {
        let hook = Hook::Dispatch;
        let chosen = self
            .policies
            .dispatch
            .clone()
            .filter(|name| !name.is_empty());
        let named = self.bundle.section(hook).named().is_some() || self.custom(hook)?.is_some();
        if named && !cluster.flow_control.enabled {
            return Err(InputError::new(
                "a dispatch policy has no effect without `flow_control`",
            ));
        }
        if !cluster.flow_control.enabled {
            return Ok(default_policy(hook).into());
        }
        let turns = flow_control::turns(cluster.flow_control)?;
        let turns = turns.map(|turns| ("turns".to_owned(), f64::from(u8::from(turns))));
        let own = match (&chosen, self.bundle.section(hook).named()) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(name)) => Some(name.to_owned()),
            (None, None) => Some(default_policy(hook).name.to_owned()),
        };
        let built_in = own.filter(|name| built_in(hook, name).is_some());
        let settings = built_in
            .as_deref()
            .map(|name| (name, turns.into_iter().collect()));
        let choice = self.pick(hook, &chosen, settings)?;
        self.given.reject_unless(
            &["fairness_policy"],
            built_in.is_some(),
            "with a dispatch policy that is not built in",
        )?;
        match &choice {
            Choice::BuiltIn { policy, values }
                if cluster.rules.rules().gateway_fifo_by_priority
                    && **policy == dispatch::fifo::POLICY =>
            {
                let values: Vec<_> = values.named().map(|(n, v)| (n.to_owned(), v)).collect();
                Choice::built_in(hook, dispatch::priority::POLICY.name, &values)
            }
            _ => Ok(choice),
        }
    }
}
