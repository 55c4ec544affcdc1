//! Admission policies.

use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, EventKind, Interests, PolicyError, RequestView,
};

use windtunnel_base::request::Sym;

/// Everybody comes in.
pub struct AlwaysAdmit;

impl Admission for AlwaysAdmit {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        _request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        Ok(Admit::Admit)
    }
}

/// Nobody comes in.
pub struct RejectAll;

impl Admission for RejectAll {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        _request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        Ok(Admit::Reject("reject-all".into()))
    }
}

/// Every prompt token costs one token of a bucket that starts full and refills with time.
pub struct TokenBucket {
    capacity: f64,
    refill_rate: f64,
    tokens: f64,
    last_us: i64,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens that refills at `refill_rate` tokens per second.
    #[must_use]
    pub fn new(capacity: f64, refill_rate: f64) -> Self {
        Self {
            capacity,
            refill_rate,
            tokens: capacity,
            last_us: 0,
        }
    }
}

impl Admission for TokenBucket {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let elapsed = cluster.now_us - self.last_us;
        if elapsed > 0 {
            self.tokens = self
                .capacity
                .min(self.tokens + elapsed as f64 * self.refill_rate / 1e6);
            self.last_us = cluster.now_us;
        }
        let cost = f64::from(request.prompt_tokens);
        if self.tokens >= cost {
            self.tokens -= cost;
            Ok(Admit::Admit)
        } else {
            Ok(Admit::Reject("insufficient tokens".into()))
        }
    }
}

/// Under load, lets in only classes of at least `min_priority`.
pub struct TierShed {
    /// Largest effective load of any instance that still counts as no load.
    pub threshold: u64,
    /// Least priority that comes in under load.
    pub min_priority: i32,
}

impl Admission for TierShed {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let load = cluster
            .instances
            .iter()
            .map(|i| i.effective_load())
            .max()
            .unwrap_or(0);
        if load <= self.threshold || request.class_priority >= self.min_priority {
            return Ok(Admit::Admit);
        }
        let Self { min_priority, .. } = self;
        Ok(Admit::Reject(format!(
            "tier-shed: priority={} < min={min_priority} load={load}",
            request.class_priority
        )))
    }
}

/// Refuses sheddable requests (negative priority) while the cluster is saturated: the mean over the
/// instances of `max(queue depth / limit, KV utilisation / limit)` is 1 or more.
pub struct GaieLegacy {
    /// Queue depth that counts as saturated.
    pub queue_depth: f64,
    /// KV utilisation that counts as saturated, 0..=1.
    pub kv_utilization: f64,
}

impl Admission for GaieLegacy {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        if request.class_priority >= 0 {
            return Ok(Admit::Admit);
        }
        let saturation = if cluster.instances.is_empty() {
            1.0
        } else {
            let sum: f64 = cluster
                .instances
                .iter()
                .map(|i| {
                    (f64::from(i.queue_depth) / self.queue_depth)
                        .max(i.kv_utilization / self.kv_utilization)
                })
                .sum();
            sum / cluster.instances.len() as f64
        };
        if saturation < 1.0 {
            Ok(Admit::Admit)
        } else {
            Ok(Admit::Reject(format!(
                "gaie-saturated: saturation={saturation:.2}"
            )))
        }
    }
}

/// Refuses sheddable requests of tenants that use more than their share of the cluster's request
/// slots; asks another policy about all others.
pub struct TenantBudgets {
    inner: Box<dyn Admission>,
    /// Requests in flight that a tenant may have, by tenant.
    allowed: FxHashMap<u32, f64>,
    in_flight: FxHashMap<u32, u64>,
}

impl TenantBudgets {
    /// Budgets are shares (0..=1) of `slots` requests.
    #[must_use]
    pub fn new(inner: Box<dyn Admission>, budgets: Vec<(Sym, f64)>, slots: u64) -> Self {
        let slots = slots.max(1) as f64;
        let allowed = budgets
            .into_iter()
            .map(|(tenant, share)| (tenant.0, share * slots))
            .collect();
        Self {
            inner,
            allowed,
            in_flight: FxHashMap::default(),
        }
    }
}

impl Admission for TenantBudgets {
    fn interests(&self) -> Interests {
        self.inner.interests() | Interests::LIFECYCLE
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let used = self.in_flight.get(&request.tenant).copied().unwrap_or(0);
        let over = request.tenant != 0
            && self
                .allowed
                .get(&request.tenant)
                .is_some_and(|&allowed| used as f64 > allowed);
        if over && request.class_priority < 0 {
            return Ok(Admit::Reject("tenant-budget-shed".into()));
        }
        self.inner.admit(request, cluster)
    }

    fn tick_us(&self) -> i64 {
        self.inner.tick_us()
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.inner.on_tick(cluster)
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        match event.what() {
            Some(EventKind::Dispatch) => *self.in_flight.entry(event.tenant).or_default() += 1,
            Some(EventKind::Complete) => {
                if let Some(n) = self.in_flight.get_mut(&event.tenant) {
                    *n = n.saturating_sub(1);
                }
            }
            Some(EventKind::FirstToken | EventKind::Preempt | EventKind::Reject) | None => {}
        }
        let heard = event
            .what()
            .is_some_and(|kind| self.inner.interests().hears(kind));
        if heard {
            self.inner.on_event(event)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::Outcome;

    fn answer(policy: &mut dyn Admission, request: &RequestView, now_us: i64) -> Admit {
        let answer = policy.admit(request, &ClusterView::bare(now_us, &[]));
        answer.expect("built-ins answer")
    }

    #[test]
    fn the_bucket_starts_full_and_charges_nothing_for_a_refusal() {
        let mut bucket = TokenBucket::new(100.0, 10.0);
        let ask = |tokens| RequestView {
            prompt_tokens: tokens,
            ..RequestView::default()
        };
        assert_eq!(answer(&mut bucket, &ask(90), 0), Admit::Admit);
        assert_ne!(answer(&mut bucket, &ask(20), 0), Admit::Admit);
        assert_ne!(answer(&mut bucket, &ask(20), 999_999), Admit::Admit);
        assert_eq!(answer(&mut bucket, &ask(20), 1_000_000), Admit::Admit);
        assert_ne!(
            answer(&mut bucket, &ask(101), i64::MAX / 2),
            Admit::Admit,
            "more than the bucket ever holds"
        );
    }

    #[test]
    fn a_tenant_over_budget_loses_only_its_sheddable_requests() {
        let mut budgets = TenantBudgets::new(Box::new(AlwaysAdmit), vec![(Sym(5), 0.25)], 4);
        let ask = |tenant, class_priority| RequestView {
            tenant,
            class_priority,
            ..RequestView::default()
        };
        let tell = |budgets: &mut TenantBudgets, kind, outcome| {
            let event = Event {
                kind: kind as u32,
                outcome: outcome as u32,
                tenant: 5,
                ..Event::default()
            };
            budgets.on_event(&event).expect("no error");
        };
        tell(&mut budgets, EventKind::Dispatch, Outcome::Completed);
        assert_eq!(
            answer(&mut budgets, &ask(5, -1), 0),
            Admit::Admit,
            "at its budget"
        );
        tell(&mut budgets, EventKind::Dispatch, Outcome::Completed);
        assert_ne!(
            answer(&mut budgets, &ask(5, -1), 0),
            Admit::Admit,
            "over it"
        );
        assert_eq!(answer(&mut budgets, &ask(5, 3), 0), Admit::Admit);
        assert_eq!(answer(&mut budgets, &ask(6, -1), 0), Admit::Admit);
        tell(&mut budgets, EventKind::Complete, Outcome::TimedOut);
        assert_eq!(answer(&mut budgets, &ask(5, -1), 0), Admit::Admit);
    }
}
