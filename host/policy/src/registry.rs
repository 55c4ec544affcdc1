//! Every policy that can be chosen by name: the built-in ones and the shipped scripts.

use super::builtin::policy::BuiltIn;
use super::builtin::{
    admission, batching, disaggregation, dispatch, preemption, priority, routing, scale, scheduler,
};
use super::param::Hook;
use super::{shipped, tuned};
use windtunnel_base::input::{InputError, InputErrorKind};

/// The policies that are built in for `hook`.
#[must_use]
pub fn built_ins(hook: Hook) -> &'static [BuiltIn] {
    match hook {
        Hook::Admission => admission::TABLE,
        Hook::Routing => routing::TABLE,
        Hook::Priority => priority::TABLE,
        Hook::Scheduler => scheduler::TABLE,
        Hook::Preemption => preemption::TABLE,
        Hook::Disaggregation => disaggregation::TABLE,
        Hook::Batching => batching::TABLE,
        Hook::Dispatch => dispatch::TABLE,
        Hook::Scale => scale::TABLE,
    }
}

/// The built-in policy that fills `hook` unless another is chosen.
#[must_use]
pub fn default_policy(hook: Hook) -> &'static BuiltIn {
    &built_ins(hook)[0]
}

/// The built-in policy for `hook` called `name`.
#[must_use]
pub fn built_in(hook: Hook, name: &str) -> Option<&'static BuiltIn> {
    built_ins(hook).iter().find(|policy| policy.name == name)
}

/// The names of all policies that `hook` can be filled with: built-in ones, then scripts.
#[must_use]
pub fn names(hook: Hook) -> Vec<&'static str> {
    let mut names: Vec<&str> = built_ins(hook).iter().map(|policy| policy.name).collect();
    for script in shipped::scripts(hook) {
        if !names.contains(&script.name) {
            names.push(script.name);
        }
    }
    names.extend(tuned::of(hook).map(|tuned| tuned.name));
    names
}

/// What to say of a name that `hook` has no policy of: the hooks that have one, or the nearest
/// name.
#[must_use]
pub fn unknown_policy(hook: Hook, name: &str) -> InputError {
    let having: Vec<&str> = Hook::ALL
        .into_iter()
        .filter(|other| names(*other).contains(&name))
        .map(Hook::name)
        .collect();
    let (kind, valid) = (hook.kind(), names(hook));
    if having.is_empty() {
        return InputError::unknown(kind, name, &valid);
    }
    InputError::new(format!(
        "unknown {kind} \"{name}\": it fills {}; valid: {}",
        having.join(" and "),
        valid.join(", ")
    ))
    .of_kind(InputErrorKind::UnknownName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::policy::{Make, Values};
    use crate::facts::Facts;
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = &'static BuiltIn> {
        Hook::ALL.into_iter().flat_map(built_ins)
    }

    /// Makes it, which panics where it asks for a parameter that it does not declare.
    fn make(policy: &BuiltIn, values: &Values) {
        let facts = Facts {
            instances: 2,
            slots: 8,
            highest_priority: 4,
            known_names: 1,
        };
        match policy.make {
            Make::Admission(make) => drop(make(&facts, values)),
            Make::Routing(make) => drop(make(&facts, values)),
            Make::Priority(make) => drop(make(&facts, values)),
            Make::Scheduler(make) => drop(make(&facts, values)),
            Make::Preemption(make) => drop(make(&facts, values)),
            Make::Disaggregation(make) => drop(make(&facts, values)),
            Make::Batching(make) => drop(make(&facts, values)),
            Make::Dispatch(make) => drop(make(&facts, values)),
            Make::Scale(make) => drop(make(&facts, values)),
        }
    }

    #[test]
    fn every_built_in_can_be_made() {
        for policy in all() {
            let values = policy.values(&[]).expect("its defaults are fine");
            assert_eq!(values, Values::defaults(policy.params), "{policy:?}");
            make(policy, &values);
            for param in policy.params {
                let one = [(param.name.to_string(), param.default)];
                make(policy, &policy.values(&one).expect("its default is fine"));
                assert_eq!(param.check(param.default), Ok(()), "{policy:?}");
            }
        }
    }

    #[test]
    fn every_name_and_key_stands_for_one_thing() {
        for hook in Hook::ALL {
            let names: BTreeSet<&str> = built_ins(hook).iter().map(|p| p.name).collect();
            assert_eq!(names.len(), built_ins(hook).len(), "{hook}");
            let keys = || built_ins(hook).iter().flat_map(|p| p.bundle_keys);
            let unique: BTreeSet<&str> = keys().map(|(key, _)| *key).collect();
            assert_eq!(unique.len(), keys().count(), "{hook}");
        }
        for policy in all() {
            let declared: BTreeSet<&str> = policy.params.iter().map(|p| p.name.as_ref()).collect();
            assert_eq!(declared.len(), policy.params.len(), "{policy:?}");
            let keyed = policy.bundle_keys.iter().map(|(_, param)| param);
            for param in keyed.chain(policy.bundle_defaults.iter().map(|(param, _)| param)) {
                assert!(declared.contains(param), "{policy:?} {param}");
            }
        }
    }
}
