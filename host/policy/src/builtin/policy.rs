//! What a built-in policy is: its name, its parameters, and the function that makes it.

use crate::facts::Facts;
use crate::param::{self, Hook, Param};
use std::fmt;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    Admission, Batching, Disaggregation, Dispatch, Priority, Router, Scale, Scheduler, Victim,
};

/// A policy that is built in. Each stands as a constant in a file of its own, and is listed in the
/// table of its hook.
#[derive(Clone, Copy)]
pub struct BuiltIn {
    /// Its name, unique among those of its hook.
    pub name: &'static str,
    /// What it does.
    pub sentence: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// The reference simulator's names for parameters, and the parameters: keys of the hook's
    /// section in a bundle.
    pub bundle_keys: &'static [(&'static str, &'static str)],
    /// Parameters whose default is another one where a bundle names the policy, as in the
    /// reference simulator.
    pub bundle_defaults: &'static [(&'static str, f64)],
    /// It reads the priorities of requests: without such a policy, nothing does.
    pub reads_priorities: bool,
    /// What its values must satisfy together, beyond the range of each.
    pub check: fn(&Values) -> Result<(), String>,
    /// Makes it.
    pub make: Make,
}

/// Makes a policy from the facts of a run and the values of its parameters. Those inside an
/// instance are made once for each instance.
#[derive(Clone, Copy)]
pub enum Make {
    /// An admission policy.
    Admission(fn(&Facts, &Values) -> Box<dyn Admission>),
    /// A routing policy.
    Routing(fn(&Facts, &Values) -> Box<dyn Router>),
    /// A priority policy.
    Priority(fn(&Facts, &Values) -> Box<dyn Priority>),
    /// A scheduler.
    Scheduler(fn(&Facts, &Values) -> Box<dyn Scheduler>),
    /// A preemption policy.
    Preemption(fn(&Facts, &Values) -> Box<dyn Victim>),
    /// A disaggregation policy.
    Disaggregation(fn(&Facts, &Values) -> Box<dyn Disaggregation>),
    /// A batching strategy.
    Batching(fn(&Facts, &Values) -> Box<dyn Batching>),
    /// A dispatch policy.
    Dispatch(fn(&Facts, &Values) -> Box<dyn Dispatch>),
    /// A scaling policy, made once for each pool.
    Scale(fn(&Facts, &Values) -> Box<dyn Scale>),
}

impl BuiltIn {
    /// A policy without parameters, and the start of every other.
    #[must_use]
    pub const fn new(name: &'static str, sentence: &'static str, make: Make) -> Self {
        Self {
            name,
            sentence,
            params: &[],
            bundle_keys: &[],
            bundle_defaults: &[],
            reads_priorities: false,
            check: |_| Ok(()),
            make,
        }
    }

    /// The hook it fills.
    #[must_use]
    pub const fn hook(&self) -> Hook {
        match self.make {
            Make::Admission(_) => Hook::Admission,
            Make::Routing(_) => Hook::Routing,
            Make::Priority(_) => Hook::Priority,
            Make::Scheduler(_) => Hook::Scheduler,
            Make::Preemption(_) => Hook::Preemption,
            Make::Disaggregation(_) => Hook::Disaggregation,
            Make::Batching(_) => Hook::Batching,
            Make::Dispatch(_) => Hook::Dispatch,
            Make::Scale(_) => Hook::Scale,
        }
    }

    /// Values for its parameters: those `given`, of which the last counts, else the defaults.
    ///
    /// # Errors
    /// A value for a parameter that it does not declare, outside its range, or that does not go
    /// together with the others.
    pub fn values(&self, given: &[(String, f64)]) -> Result<Values, InputError> {
        let whose = format!("{} \"{}\"", self.hook().kind(), self.name);
        let mut values = Values::defaults(self.params);
        for (name, value) in given {
            values.set(param::position(&whose, self.params, name)?, *value);
        }
        // What is said of all together names them as people wrote them: it comes first.
        (self.check)(&values).map_err(InputError::new)?;
        for &(index, value) in &values.given {
            let fits = self.params[index].check(value);
            fits.map_err(|message| InputError::new(format!("{whose}: {message}")))?;
        }
        Ok(values)
    }
}

impl PartialEq for BuiltIn {
    fn eq(&self, other: &Self) -> bool {
        (self.hook(), self.name) == (other.hook(), other.name)
    }
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hook(), self.name)
    }
}

/// Values of a built-in's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    params: &'static [Param],
    /// Positions in `params` with the values given for them, in the order in which they were first
    /// given: a sum of floating-point numbers depends on it.
    given: Vec<(usize, f64)>,
}

impl Values {
    /// All defaults.
    #[must_use]
    pub fn defaults(params: &'static [Param]) -> Self {
        Self {
            params,
            given: Vec::new(),
        }
    }

    fn set(&mut self, index: usize, value: f64) {
        match self.given.iter_mut().find(|(known, _)| *known == index) {
            Some((_, old)) => *old = value,
            None => self.given.push((index, value)),
        }
    }

    /// Gives the parameter at this position a value, if it was not given one.
    pub(crate) fn or_value(&mut self, index: usize, value: f64) {
        if self.given.iter().all(|(known, _)| *known != index) {
            self.given.push((index, value));
        }
    }

    /// The value of a parameter, if one was given.
    ///
    /// # Panics
    /// When the policy declares no parameter of that name.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<f64> {
        let index = self.params.iter().position(|param| param.name == name);
        let index = index.expect("a parameter that the policy declares");
        let found = self.given.iter().find(|(known, _)| *known == index);
        found.map(|(_, value)| *value)
    }

    /// The value of a parameter.
    ///
    /// # Panics
    /// When the policy declares no parameter of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        let declared = self.params.iter().find(|param| param.name == name);
        let declared = declared.expect("a parameter that the policy declares");
        self.given(name).unwrap_or(declared.default)
    }

    /// The parameters that were given a value, by name, in the order in which they were given.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let given = self.given.iter();
        given.map(|(index, value)| (self.params[*index].name.as_ref(), *value))
    }
}

/// A table of the policies that fill `hook`. One of another hook does not compile.
pub(super) const fn table<const N: usize>(hook: Hook, policies: [BuiltIn; N]) -> [BuiltIn; N] {
    let mut i = 0;
    while i < N {
        let belongs = policies[i].hook() as u8 == hook as u8;
        assert!(belongs, "the policy fills another hook");
        i += 1;
    }
    policies
}
