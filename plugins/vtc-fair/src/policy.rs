//! The policy itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use windtunnel_plugin_api::{
    Event, EventKind, Interests, KeyRefresh, PolicyError, QueueOrder, QueueView, QueuedView,
    Scheduler, Setup,
};

/// The Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language Models", OSDI
/// 2024 (rules as in the authors' code).
///
/// * Each tenant has a counter, 0 at first. The tenant with the smallest is served next; ties go to
///   the tenant seen first.
/// * A request's prompt is charged when it is taken into the batch, `input_weight` a token, cached
///   or not; every output token when it is there, `output_weight` each. Nothing is paid back.
/// * A tenant that had nobody waiting and gets somebody is lifted to the smallest counter of the
///   others that have, so that time off gives no credit. Nobody else waiting: no lift.
/// * Within a tenant, requests keep their order of arrival.
///
/// The authors' engine never preempts. Here a preempted request keeps what it was charged, and pays
/// only for output beyond that.
///
/// The counters are brought up to date whenever the queue is ordered, by what every running request
/// has more than it was charged for, and when a request completes; so tokens are charged exactly
/// once however many steps pass in between.
#[derive(Debug)]
pub struct VtcFair {
    input_weight: f64,
    output_weight: f64,
    /// Tenants in the order in which they were first seen.
    tenants: Vec<Tenant>,
    /// Index among the tenants by their number in views.
    by_number: HashMap<u32, usize>,
    /// By serial: what was charged for a request that was taken into the batch.
    charged: HashMap<u64, Charged>,
    /// Serials of those that waited when the queue was last ordered.
    waited: HashSet<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    counter: f64,
    /// Has requests in the wait queue.
    waits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Charged {
    output_tokens: u32,
}

impl VtcFair {
    /// From the parameters `input_weight` and `output_weight`.
    ///
    /// # Errors
    /// None.
    pub fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self {
            input_weight: setup.param("input_weight"),
            output_weight: setup.param("output_weight"),
            tenants: Vec::new(),
            by_number: HashMap::new(),
            charged: HashMap::new(),
            waited: HashSet::new(),
        })
    }

    /// Counter of the tenant with this number; `None` before it was seen.
    #[must_use]
    pub fn counter(&self, number: u32) -> Option<f64> {
        let at = self.by_number.get(&number)?;
        Some(self.tenants[*at].counter)
    }

    /// Requests that were charged and have not ended.
    #[must_use]
    pub fn in_ledger(&self) -> usize {
        self.charged.len()
    }

    /// Index of the tenant with this number.
    fn tenant(&mut self, number: u32) -> usize {
        let next = self.tenants.len();
        let at = *self.by_number.entry(number).or_insert(next);
        if at == next {
            self.tenants.push(Tenant::default());
        }
        at
    }

    /// Charges what a request has and was not charged for yet.
    fn charge(&mut self, serial: u64, tenant: u32, prompt_tokens: u32, output_tokens: u32) {
        let tenant = self.tenant(tenant);
        let counter = &mut self.tenants[tenant].counter;
        let charged = self.charged.entry(serial).or_insert_with(|| {
            *counter += self.input_weight * f64::from(prompt_tokens);
            Charged { output_tokens: 0 }
        });
        let more = output_tokens.saturating_sub(charged.output_tokens);
        *counter += self.output_weight * f64::from(more);
        charged.output_tokens += more;
    }

    /// Lifts the tenants that had nobody waiting and have somebody now. `arrived` are the waiting
    /// requests in order of arrival.
    fn lift(&mut self, arrived: &[(i64, u64, u32)]) {
        self.tenants.iter_mut().for_each(|t| t.waits = false);
        // Who waited before and still does holds his tenant's place.
        for &(_, serial, tenant) in arrived {
            if self.waited.contains(&serial) {
                let tenant = self.tenant(tenant);
                self.tenants[tenant].waits = true;
            }
        }
        for &(_, _, tenant) in arrived {
            let tenant = self.tenant(tenant);
            if self.tenants[tenant].waits {
                continue;
            }
            let waiting = self.tenants.iter().filter(|t| t.waits);
            let least = waiting.map(|t| t.counter).min_by(f64::total_cmp);
            let tenant = &mut self.tenants[tenant];
            tenant.counter = tenant.counter.max(least.unwrap_or(tenant.counter));
            tenant.waits = true;
        }
    }
}

impl Scheduler for VtcFair {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::EachStep)
    }

    fn interests(&self) -> Interests {
        Interests::RUNNING | Interests::LIFECYCLE
    }

    /// Behind everybody, until the queue is ordered.
    fn key(&mut self, _queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(f64::from(queue.queue_depth))
    }

    /// Keys are ranks: the head of the tenant with the smallest counter, which is then charged for
    /// its prompt as if it was taken, and so on.
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        for r in queue.running.iter() {
            let request = r.request;
            self.charge(
                request.serial,
                request.tenant,
                request.prompt_tokens,
                r.output_tokens,
            );
        }
        let mut arrived: Vec<(i64, u64, u32)> = queue
            .waiting
            .iter()
            .map(|q| (q.enqueued_us, q.request.serial, q.request.tenant))
            .collect();
        arrived.sort_unstable();
        self.lift(&arrived);
        self.waited = arrived.iter().map(|(_, serial, _)| *serial).collect();

        // The lines of the tenants, each in order of arrival, the last one first.
        let mut lines: Vec<Vec<(u64, usize)>> = vec![Vec::new(); self.tenants.len()];
        for (i, q) in queue.waiting.iter().enumerate() {
            let tenant = self.tenant(q.request.tenant);
            lines[tenant].push((q.request.serial, i));
        }
        // Counters are not negative, so their bits are in the order of their values.
        let mut next = BinaryHeap::new();
        for (tenant, line) in lines.iter_mut().enumerate() {
            line.sort_unstable_by_key(|&(serial, _)| Reverse(serial));
            if !line.is_empty() {
                let counter = self.tenants[tenant].counter;
                next.push(Reverse((counter.to_bits(), tenant)));
            }
        }
        let mut rank = 0;
        while let Some(Reverse((counter, tenant))) = next.pop() {
            let Some((serial, i)) = lines[tenant].pop() else {
                continue;
            };
            keys[i] = f64::from(rank);
            rank += 1;
            // Who comes back after a preemption has paid for his prompt.
            let paid = self.charged.contains_key(&serial);
            let tokens = if paid {
                0
            } else {
                queue.waiting[i].request.prompt_tokens
            };
            let counter = f64::from_bits(counter) + self.input_weight * f64::from(tokens);
            next.push(Reverse((counter.to_bits(), tenant)));
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        if event.what() == Some(EventKind::Complete) {
            // One that left the queue without ever having run owes nothing.
            if event.output_tokens > 0 || self.charged.contains_key(&event.serial) {
                self.charge(
                    event.serial,
                    event.tenant,
                    event.prompt_tokens,
                    event.output_tokens,
                );
            }
            self.charged.remove(&event.serial);
        }
        Ok(())
    }
}
