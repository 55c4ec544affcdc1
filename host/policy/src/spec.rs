//! Which policies a run uses, by name and parameters.

use super::bundle::{AdmissionKeys, RoutingKeys};
use super::external::External;
use super::param::Hook;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_base::slo_priority::SloPriorities;

/// Names of the admission policies.
pub const ADMISSION_POLICIES: &[&str] = &[
    "always-admit",
    "token-bucket",
    "reject-all",
    "tier-shed",
    "gaie-legacy",
];
/// Names of the routing policies.
pub const ROUTING_POLICIES: &[&str] = &[
    "round-robin",
    "least-loaded",
    "weighted",
    "prefix-affinity",
    "always-busiest",
];
/// Names of the priority policies.
pub const PRIORITY_POLICIES: &[&str] = &["slo-class", "constant", "slo-based", "inverted-slo"];
/// Names of the schedulers.
pub const SCHEDULERS: &[&str] = &["fcfs", "priority-fcfs", "sjf", "reverse-priority"];
/// Names of the preemption policies.
pub const PREEMPTION_POLICIES: &[&str] = &["fcfs", "priority"];
/// Names of the scorers of weighted routing.
pub const SCORERS: &[&str] = &[
    "precise-prefix-cache",
    "prefix-affinity",
    "no-hit-lru",
    "queue-depth",
    "kv-utilization",
    "load-balance",
    "active-requests",
    "running-requests",
    "load-aware",
    "vllm-dp",
];

/// Names of the policies that are built in for `hook`.
#[must_use]
pub fn built_in(hook: Hook) -> &'static [&'static str] {
    match hook {
        Hook::Admission => ADMISSION_POLICIES,
        Hook::Routing => ROUTING_POLICIES,
        Hook::Priority => PRIORITY_POLICIES,
        Hook::Scheduler => SCHEDULERS,
        Hook::Preemption => PREEMPTION_POLICIES,
    }
}

/// What a built-in policy does, in a sentence; empty for a name that is none.
#[must_use]
pub fn describe(hook: Hook, name: &str) -> &'static str {
    match (hook, name) {
        (Hook::Admission, "always-admit") => "Everybody comes in.",
        (Hook::Admission, "token-bucket") => {
            "Prompt tokens cost tokens of a bucket that refills with time."
        }
        (Hook::Admission, "reject-all") => "Nobody comes in.",
        (Hook::Admission, "tier-shed") => "Under load, only classes of a least priority come in.",
        (Hook::Admission, "gaie-legacy") => "A saturated cluster refuses sheddable classes.",
        (Hook::Routing, "round-robin") => "The instances in turn.",
        (Hook::Routing, "least-loaded") => "The least effective load.",
        (Hook::Routing, "weighted") => "The highest weighted sum of scores; llm-d's defaults.",
        (Hook::Routing, "prefix-affinity") => {
            "Repeated prompts to where they went before, others to the least loaded."
        }
        (Hook::Routing, "always-busiest") => {
            "The most effective load: what a broken balancer would do."
        }
        (Hook::Priority, "slo-class") => "The SLO class alone.",
        (Hook::Priority, "constant") => "Everyone is equal.",
        (Hook::Priority, "slo-based") => {
            "Class and age: a second of waiting makes up for one class step."
        }
        (Hook::Priority, "inverted-slo") => "The negative of slo-based.",
        (Hook::Scheduler, "fcfs") => "First come, first served.",
        (Hook::Scheduler, "priority-fcfs") => "The most urgent first, then by arrival.",
        (Hook::Scheduler, "sjf") => "The shortest prompt first.",
        (Hook::Scheduler, "reverse-priority") => "The least urgent first.",
        (Hook::Preemption, "fcfs") => "The last one admitted.",
        (Hook::Preemption, "priority") => "The least urgent; among equals the latest.",
        _ => "",
    }
}

/// A scorer of weighted routing; each gives every instance a number in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScorerKind {
    /// Cached leading blocks by the instances' own cache events, min-max over the instances.
    PrecisePrefixCache,
    /// Share of the prompt's blocks that the front end sent there before.
    PrefixAffinity,
    /// Requests that hit nowhere go to the least recently used instance.
    NoHitLru,
    /// Wait-queue length, min-max.
    QueueDepth,
    /// 1 minus KV utilisation.
    KvUtilization,
    /// 1 / (1 + effective load).
    LoadBalance,
    /// Requests in flight, relative to the most.
    ActiveRequests,
    /// Running batch, min-max.
    RunningRequests,
    /// 0.5 for an empty queue, falling to 0 at 128 waiting.
    LoadAware,
    /// 4 x waiting + running, min-max, as vLLM's data-parallel balancer weighs them.
    VllmDp,
}

impl ScorerKind {
    /// The scorer called `name`.
    ///
    /// # Errors
    /// When there is none; the message lists them.
    pub fn parse(name: &str) -> Result<Self, InputError> {
        Ok(match name {
            "precise-prefix-cache" => Self::PrecisePrefixCache,
            "prefix-affinity" => Self::PrefixAffinity,
            "no-hit-lru" => Self::NoHitLru,
            "queue-depth" => Self::QueueDepth,
            "kv-utilization" => Self::KvUtilization,
            "load-balance" => Self::LoadBalance,
            "active-requests" => Self::ActiveRequests,
            "running-requests" => Self::RunningRequests,
            "load-aware" => Self::LoadAware,
            "vllm-dp" => Self::VllmDp,
            _ => return Err(InputError::new(unknown("scorer", name, SCORERS))),
        })
    }
}

/// Parses `name:weight,name:weight`.
///
/// # Errors
/// Unknown or repeated names, weights that are not positive numbers, missing colons.
pub fn parse_scorers(text: &str) -> Result<Vec<(ScorerKind, f64)>, InputError> {
    let mut scorers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((name, weight)) = part.split_once(':') else {
            return Err(InputError::new(format!(
                "scorer \"{part}\" has no weight; expected name:weight, such as queue-depth:1"
            )));
        };
        let weight = weight.trim().parse::<f64>().map_err(|_| {
            InputError::new(format!(
                "weight \"{}\" of scorer \"{name}\" is not a number",
                weight.trim()
            ))
        })?;
        scorers.push((name.trim(), weight));
    }
    check_scorers(scorers)
}

/// Turns names into scorers and checks the weights.
///
/// # Errors
/// As [`parse_scorers`].
pub(super) fn check_scorers<'a>(
    named: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Vec<(ScorerKind, f64)>, InputError> {
    let mut scorers: Vec<(ScorerKind, f64)> = Vec::new();
    for (name, weight) in named {
        let kind = ScorerKind::parse(name)?;
        if !(weight.is_finite() && weight > 0.0) {
            return Err(InputError::new(format!(
                "weight {weight} of scorer \"{name}\" must be a positive finite number"
            )));
        }
        if scorers.iter().any(|(k, _)| *k == kind) {
            return Err(InputError::new(format!("scorer \"{name}\" is named twice")));
        }
        scorers.push((kind, weight));
    }
    if scorers.is_empty() {
        return Err(InputError::new(
            "no scorers given; expected at least one name:weight",
        ));
    }
    Ok(scorers)
}

/// The admission policy.
#[derive(Clone, Debug, PartialEq)]
pub enum AdmissionSpec {
    /// Everybody comes in.
    AlwaysAdmit,
    /// Prompt tokens cost tokens of a bucket.
    TokenBucket {
        /// Tokens the full bucket holds.
        capacity: f64,
        /// Tokens per second.
        refill_rate: f64,
    },
    /// Nobody comes in.
    RejectAll,
    /// Under load, only classes of at least this priority come in.
    TierShed {
        /// Largest effective load of any instance that still counts as no load.
        threshold: u64,
        /// Least priority that comes in under load.
        min_priority: i32,
    },
    /// A saturated cluster refuses sheddable requests.
    GaieLegacy {
        /// Queue depth that counts as saturated.
        queue_depth: f64,
        /// KV utilisation that counts as saturated, 0..=1.
        kv_utilization: f64,
    },
    /// From a file.
    External(External),
}

impl AdmissionSpec {
    /// What was chosen, with the settings of a bundle.
    #[must_use]
    pub fn of(choice: Choice, keys: &AdmissionKeys) -> Self {
        let name = match choice {
            Choice::External(policy) => return Self::External(policy),
            Choice::Named(name) => name,
        };
        // The reference's default depends on where the policy was named.
        let bundled = keys.policy.as_deref() == Some("tier-shed");
        match name.as_str() {
            "token-bucket" => Self::TokenBucket {
                capacity: keys.token_bucket_capacity.unwrap_or(10_000.0),
                refill_rate: keys.token_bucket_refill_rate.unwrap_or(1_000.0),
            },
            "reject-all" => Self::RejectAll,
            "tier-shed" => Self::TierShed {
                threshold: keys.tier_shed_threshold.unwrap_or(0).unsigned_abs(),
                min_priority: keys
                    .tier_shed_min_priority
                    .unwrap_or(if bundled { 3 } else { 0 }),
            },
            "gaie-legacy" => Self::GaieLegacy {
                queue_depth: keys.gaie_qd_threshold.unwrap_or(5.0),
                kv_utilization: keys.gaie_kv_threshold.unwrap_or(0.8),
            },
            _ => Self::AlwaysAdmit,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::AlwaysAdmit => "always-admit",
            Self::TokenBucket { .. } => "token-bucket",
            Self::RejectAll => "reject-all",
            Self::TierShed { .. } => "tier-shed",
            Self::GaieLegacy { .. } => "gaie-legacy",
            Self::External(policy) => policy.name(),
        }
    }
}

/// The routing policy.
#[derive(Clone, Debug, PartialEq)]
pub enum RoutingSpec {
    /// In turn.
    RoundRobin,
    /// Least effective load.
    LeastLoaded,
    /// Highest weighted sum of scores.
    Weighted(Vec<(ScorerKind, f64)>),
    /// The two-weight form: free KV blocks and queue depth.
    TwoWeights {
        /// Weight of free KV blocks relative to the most.
        cache: f64,
        /// Weight of 1 / (1 + queue depth).
        load: f64,
    },
    /// Whole-prompt repeats go where the prompt went before, others to the least loaded.
    PrefixAffinity,
    /// Most effective load: the bad example.
    AlwaysBusiest,
    /// From a file.
    External(External),
}

impl RoutingSpec {
    /// What was chosen, with the settings of a bundle.
    ///
    /// # Errors
    /// Wrong scorers or weights.
    pub fn of(choice: Choice, keys: &RoutingKeys) -> Result<Self, InputError> {
        let name = match choice {
            Choice::External(policy) => return Ok(Self::External(policy)),
            Choice::Named(name) => name,
        };
        Ok(match name.as_str() {
            "least-loaded" => Self::LeastLoaded,
            "prefix-affinity" => Self::PrefixAffinity,
            "always-busiest" => Self::AlwaysBusiest,
            "weighted" if !keys.scorers.is_empty() => Self::Weighted(keys.scorers()?),
            "weighted" if keys.cache_weight.is_some() || keys.load_weight.is_some() => {
                Self::two_weights(
                    keys.cache_weight.unwrap_or(0.6),
                    keys.load_weight.unwrap_or(0.4),
                )?
            }
            "weighted" => Self::Weighted(Self::default_scorers()),
            _ => Self::RoundRobin,
        })
    }

    fn two_weights(cache: f64, load: f64) -> Result<Self, InputError> {
        let fine = |w: f64| w.is_finite() && w >= 0.0;
        if !fine(cache) || !fine(load) || cache + load <= 0.0 {
            return Err(InputError::new(format!(
                "the cache weight {cache} and the load weight {load} must be numbers of 0 or more, not both 0"
            )));
        }
        Ok(Self::TwoWeights { cache, load })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastLoaded => "least-loaded",
            Self::Weighted(_) | Self::TwoWeights { .. } => "weighted",
            Self::PrefixAffinity => "prefix-affinity",
            Self::AlwaysBusiest => "always-busiest",
            Self::External(policy) => policy.name(),
        }
    }

    /// The scorers of weighted routing unless others are given: llm-d's defaults.
    #[must_use]
    pub fn default_scorers() -> Vec<(ScorerKind, f64)> {
        vec![
            (ScorerKind::PrecisePrefixCache, 2.0),
            (ScorerKind::QueueDepth, 1.0),
            (ScorerKind::KvUtilization, 1.0),
        ]
    }
}

/// A policy inside the instances.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Built in.
    Named(String),
    /// From a file.
    External(External),
}

impl Choice {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::External(policy) => policy.name(),
        }
    }
}

impl From<&str> for Choice {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

/// All policies of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Admission.
    pub admission: AdmissionSpec,
    /// Share of the cluster's request slots each tenant may use before its sheddable requests are
    /// refused, 0..=1.
    pub tenant_budgets: Vec<(String, f64)>,
    /// Routing.
    pub routing: RoutingSpec,
    /// Priority.
    pub priority: Choice,
    /// Scheduler.
    pub scheduler: Choice,
    /// Preemption victim.
    pub preemption: Choice,
    /// Priorities of the SLO classes.
    pub slo_priorities: SloPriorities,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            admission: AdmissionSpec::AlwaysAdmit,
            tenant_budgets: Vec::new(),
            routing: RoutingSpec::RoundRobin,
            priority: "slo-class".into(),
            scheduler: "fcfs".into(),
            preemption: "fcfs".into(),
            slo_priorities: SloPriorities::default(),
        }
    }
}

impl PolicySpec {
    /// Fills a hook with what was chosen, built-ins with their default settings.
    ///
    /// # Errors
    /// Never for names that [`Opener::open`](super::Opener::open) gave.
    pub fn choose(&mut self, hook: Hook, choice: Choice) -> Result<(), InputError> {
        match hook {
            Hook::Admission => {
                self.admission = AdmissionSpec::of(choice, &AdmissionKeys::default())
            }
            Hook::Routing => self.routing = RoutingSpec::of(choice, &RoutingKeys::default())?,
            Hook::Priority => self.priority = choice,
            Hook::Scheduler => self.scheduler = choice,
            Hook::Preemption => self.preemption = choice,
        }
        Ok(())
    }

    /// Takes over what fills `hook` in `other`.
    pub fn take(&mut self, hook: Hook, other: &Self) {
        match hook {
            Hook::Admission => {
                self.admission = other.admission.clone();
                self.tenant_budgets.clone_from(&other.tenant_budgets);
                self.slo_priorities = other.slo_priorities.clone();
            }
            Hook::Routing => self.routing = other.routing.clone(),
            Hook::Priority => self.priority = other.priority.clone(),
            Hook::Scheduler => self.scheduler = other.scheduler.clone(),
            Hook::Preemption => self.preemption = other.preemption.clone(),
        }
    }

    /// Fills a hook from a file.
    pub fn fill(&mut self, hook: Hook, policy: External) {
        match hook {
            Hook::Admission => self.admission = AdmissionSpec::External(policy),
            Hook::Routing => self.routing = RoutingSpec::External(policy),
            Hook::Priority => self.priority = Choice::External(policy),
            Hook::Scheduler => self.scheduler = Choice::External(policy),
            Hook::Preemption => self.preemption = Choice::External(policy),
        }
    }

    /// The policies that come from files, by hook.
    pub fn external(&self) -> impl Iterator<Item = (Hook, &External)> {
        let admission = match &self.admission {
            AdmissionSpec::External(policy) => Some(policy),
            _ => None,
        };
        let routing = match &self.routing {
            RoutingSpec::External(policy) => Some(policy),
            _ => None,
        };
        let inside = [
            (Hook::Priority, &self.priority),
            (Hook::Scheduler, &self.scheduler),
            (Hook::Preemption, &self.preemption),
        ];
        let inside = inside
            .into_iter()
            .filter_map(|(hook, choice)| match choice {
                Choice::External(policy) => Some((hook, policy)),
                Choice::Named(_) => None,
            });
        let front = [(Hook::Admission, admission), (Hook::Routing, routing)];
        front
            .into_iter()
            .filter_map(|(hook, policy)| Some((hook, policy?)))
            .chain(inside)
    }
}
