//! Tenant budgets: a bundle's `tenant_budgets`, in front of whichever admission policy is chosen.

use rustc_hash::FxHashMap;
use windtunnel_base::request::Sym;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, EventKind, Interests, PolicyError, RequestView,
};

/// Rejects sheddable requests of tenants that use more than their share of the cluster's request
/// slots, and leaves all others to another policy.
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
    use crate::builtin::admission::always_admit::AlwaysAdmit;
    use windtunnel_plugin_api::Outcome;

    fn answer(policy: &mut dyn Admission, request: &RequestView, now_us: i64) -> Admit {
        let answer = policy.admit(request, &ClusterView::bare(now_us, &[]));
        answer.expect("built-ins answer")
    }

    #[test]
    fn a_tenant_over_budget_loses_only_its_sheddable_requests() {
        let mut budgets = TenantBudgets::new(Box::new(AlwaysAdmit), vec![(Sym(5), 0.25)], 4);
        let request = |tenant, class_priority| RequestView {
            tenant,
            class_priority,
            ..RequestView::default()
        };
        let event = |budgets: &mut TenantBudgets, kind, outcome| {
            let happened = Event {
                kind: kind as u32,
                outcome: outcome as u32,
                tenant: 5,
                ..Event::default()
            };
            budgets.on_event(&happened).expect("no error");
        };
        event(&mut budgets, EventKind::Dispatch, Outcome::Completed);
        assert_eq!(
            answer(&mut budgets, &request(5, -1), 0),
            Admit::Admit,
            "at its budget"
        );
        event(&mut budgets, EventKind::Dispatch, Outcome::Completed);
        assert_ne!(
            answer(&mut budgets, &request(5, -1), 0),
            Admit::Admit,
            "over it"
        );
        assert_eq!(answer(&mut budgets, &request(5, 3), 0), Admit::Admit);
        assert_eq!(answer(&mut budgets, &request(6, -1), 0), Admit::Admit);
        event(&mut budgets, EventKind::Complete, Outcome::TimedOut);
        assert_eq!(answer(&mut budgets, &request(5, -1), 0), Admit::Admit);
    }
}
