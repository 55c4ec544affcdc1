//! Admission policies.

use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, EventKind, Interests, RequestView,
};

use crate::request::Sym;

/// Everybody comes in.
pub struct AlwaysAdmit;

impl Admission for AlwaysAdmit {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(&mut self, _request: &RequestView, _cluster: &ClusterView<'_>) -> Admit {
        Admit::Admit
    }
}

/// Nobody comes in.
pub struct RejectAll;

impl Admission for RejectAll {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(&mut self, _request: &RequestView, _cluster: &ClusterView<'_>) -> Admit {
        Admit::Reject("reject-all".into())
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
    fn admit(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Admit {
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
            Admit::Admit
        } else {
            Admit::Reject("insufficient tokens".into())
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
        Interests::SNAPSHOTS
    }
    fn admit(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Admit {
        let load = cluster
            .instances
            .iter()
            .map(|i| i.effective_load())
            .max()
            .unwrap_or(0);
        if load <= self.threshold || request.class_priority >= self.min_priority {
            return Admit::Admit;
        }
        let Self { min_priority, .. } = self;
        Admit::Reject(format!(
            "tier-shed: priority={} < min={min_priority} load={load}",
            request.class_priority
        ))
    }
}

/// Refuses sheddable requests (negative priority) while the cluster is saturated: the mean over the instances of
/// `max(queue depth / limit, KV utilisation / limit)` is 1 or more.
pub struct GaieLegacy {
    /// Queue depth that counts as saturated.
    pub queue_depth: f64,
    /// KV utilisation that counts as saturated, 0..=1.
    pub kv_utilization: f64,
}

impl Admission for GaieLegacy {
    fn interests(&self) -> Interests {
        Interests {
            counters: false,
            ..Interests::SNAPSHOTS
        }
    }
    fn admit(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Admit {
        if request.class_priority >= 0 {
            return Admit::Admit;
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
            Admit::Admit
        } else {
            Admit::Reject(format!("gaie-saturated: saturation={saturation:.2}"))
        }
    }
}

/// Refuses sheddable requests of tenants that use more than their share of the cluster's request slots; asks another
/// policy about all others.
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
        Interests {
            lifecycle_events: true,
            ..self.inner.interests()
        }
    }

    fn admit(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Admit {
        let used = self.in_flight.get(&request.tenant).copied().unwrap_or(0);
        let over = request.tenant != 0
            && self
                .allowed
                .get(&request.tenant)
                .is_some_and(|&allowed| used as f64 > allowed);
        if over && request.class_priority < 0 {
            return Admit::Reject("tenant-budget-shed".into());
        }
        self.inner.admit(request, cluster)
    }

    fn on_event(&mut self, event: &Event) {
        match event.kind {
            EventKind::Dispatch => *self.in_flight.entry(event.tenant).or_default() += 1,
            EventKind::Complete | EventKind::TimedOut | EventKind::Dropped => {
                if let Some(n) = self.in_flight.get_mut(&event.tenant) {
                    *n = n.saturating_sub(1);
                }
            }
            EventKind::FirstToken | EventKind::Preempt | EventKind::Reject => {}
        }
        if self.inner.interests().lifecycle_events {
            self.inner.on_event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::{InstanceView, NoSignals};

    fn at(now_us: i64, instances: &[InstanceView]) -> ClusterView<'_> {
        ClusterView {
            now_us,
            instances,
            signals: &NoSignals,
        }
    }

    #[test]
    fn the_bucket_starts_full_and_charges_nothing_for_a_refusal() {
        let mut bucket = TokenBucket::new(100.0, 10.0);
        let ask = |tokens| RequestView {
            prompt_tokens: tokens,
            ..RequestView::default()
        };
        assert_eq!(bucket.admit(&ask(90), &at(0, &[])), Admit::Admit);
        assert_ne!(bucket.admit(&ask(20), &at(0, &[])), Admit::Admit);
        assert_ne!(bucket.admit(&ask(20), &at(999_999, &[])), Admit::Admit);
        assert_eq!(bucket.admit(&ask(20), &at(1_000_000, &[])), Admit::Admit);
        assert_ne!(
            bucket.admit(&ask(101), &at(i64::MAX / 2, &[])),
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
        let event = |kind| Event {
            kind,
            now_us: 0,
            serial: 0,
            instance: 0,
            tenant: 5,
            prompt_tokens: 0,
            output_tokens: 0,
            ttft_us: 0,
            e2e_us: 0,
        };
        budgets.on_event(&event(EventKind::Dispatch));
        assert_eq!(
            budgets.admit(&ask(5, -1), &at(0, &[])),
            Admit::Admit,
            "at its budget"
        );
        budgets.on_event(&event(EventKind::Dispatch));
        assert_ne!(
            budgets.admit(&ask(5, -1), &at(0, &[])),
            Admit::Admit,
            "over it"
        );
        assert_eq!(budgets.admit(&ask(5, 3), &at(0, &[])), Admit::Admit);
        assert_eq!(budgets.admit(&ask(6, -1), &at(0, &[])), Admit::Admit);
        budgets.on_event(&event(EventKind::TimedOut));
        assert_eq!(budgets.admit(&ask(5, -1), &at(0, &[])), Admit::Admit);
    }
}
