//! Policies of programs that use windtunnel as a library: written in Rust, and compiled into the
//! same program.

use crate::facts::Facts;
use crate::param::Hook;
use std::fmt;
use std::sync::Arc;
use windtunnel_plugin_api::{
    Admission, Batching, Disaggregation, Dispatch, Priority, Router, Scale, Scheduler, Victim,
};

/// A policy that the calling program brings along. It fills the same traits, and sees the same
/// views, as a built-in policy or a plugin.
///
/// It is a function that makes the policy, and not the policy: every run gets one of its own, and
/// of a policy inside an instance every instance does.
#[derive(Clone)]
pub struct Custom {
    name: Arc<str>,
    make: Make,
}

type Maker<P> = Arc<dyn Fn(&Facts) -> Box<P> + Send + Sync>;

/// Makes a policy.
#[derive(Clone)]
pub(crate) enum Make {
    Admission(Maker<dyn Admission>),
    Routing(Maker<dyn Router>),
    Priority(Maker<dyn Priority>),
    Scheduler(Maker<dyn Scheduler>),
    Preemption(Maker<dyn Victim>),
    Disaggregation(Maker<dyn Disaggregation>),
    Batching(Maker<dyn Batching>),
    Dispatch(Maker<dyn Dispatch>),
    Scale(Maker<dyn Scale>),
}

impl Custom {
    /// An admission policy; `name` is said of it in reports and messages.
    #[must_use]
    pub fn admission<P: Admission + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Admission(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A routing policy; `name` is said of it in reports and messages.
    #[must_use]
    pub fn routing<P: Router + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Routing(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A priority policy, made for each instance; `name` is said of it in reports and messages.
    #[must_use]
    pub fn priority<P: Priority + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Priority(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A scheduler, made for each instance; `name` is said of it in reports and messages.
    #[must_use]
    pub fn scheduler<P: Scheduler + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Scheduler(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A preemption policy, made for each instance; `name` is said of it in reports and messages.
    #[must_use]
    pub fn preemption<P: Victim + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Preemption(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A disaggregation policy; `name` is said of it in reports and messages.
    #[must_use]
    pub fn disaggregation<P: Disaggregation + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Disaggregation(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A batching strategy, made for each instance; `name` is said of it in reports and messages.
    #[must_use]
    pub fn batching<P: Batching + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Batching(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A dispatch policy, for a gateway that holds requests; `name` is said of it in reports and
    /// messages.
    #[must_use]
    pub fn dispatch<P: Dispatch + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Dispatch(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    /// A scaling policy, made for each pool that is scaled; `name` is said of it in reports and
    /// messages.
    #[must_use]
    pub fn scale<P: Scale + 'static>(
        name: &str,
        make: impl Fn(&Facts) -> P + Send + Sync + 'static,
    ) -> Self {
        let make = Make::Scale(Arc::new(move |facts| Box::new(make(facts))));
        Self::new(name, make)
    }

    fn new(name: &str, make: Make) -> Self {
        let name = name.into();
        Self { name, make }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hook it fills.
    #[must_use]
    pub fn hook(&self) -> Hook {
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

    pub(crate) fn make(&self) -> &Make {
        &self.make
    }
}

impl PartialEq for Custom {
    /// The same function, not only the same name.
    fn eq(&self, other: &Self) -> bool {
        use Make::{
            Admission, Batching, Disaggregation, Dispatch, Preemption, Priority, Routing, Scale,
            Scheduler,
        };
        match (&self.make, &other.make) {
            (Admission(a), Admission(b)) => Arc::ptr_eq(a, b),
            (Routing(a), Routing(b)) => Arc::ptr_eq(a, b),
            (Priority(a), Priority(b)) => Arc::ptr_eq(a, b),
            (Scheduler(a), Scheduler(b)) => Arc::ptr_eq(a, b),
            (Preemption(a), Preemption(b)) => Arc::ptr_eq(a, b),
            (Disaggregation(a), Disaggregation(b)) => Arc::ptr_eq(a, b),
            (Batching(a), Batching(b)) => Arc::ptr_eq(a, b),
            (Dispatch(a), Dispatch(b)) => Arc::ptr_eq(a, b),
            (Scale(a), Scale(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of the program", self.hook(), self.name)
    }
}
