//! An instance that is a group of data-parallel ranks, as vLLM has them: engines of which each has
//! a scheduler, a queue and a KV cache of its own, behind the load balancer in the API servers.
//!
//! Ranks of a dense model have nothing to do with each other. Those of a mixture-of-experts model
//! share the experts, and take each step together (`passes`).

mod balancer;
mod coordinator;
mod passes;

pub use balancer::ApiClient;
pub use coordinator::KnownLoad;

use crate::instance::{Instance, InstanceEvent, NEVER, Part, Slot, Work};
use crate::latency::LatencyModel;
use balancer::Balancer;
use coordinator::Report;
use passes::{Before, Passes};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use windtunnel_base::record::{InstanceTotals, RequestRecord};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::RequestView;

/// The data-parallel ranks of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// How many; 1 = the instance is one engine.
    pub count: u32,
    /// Do they share experts, and take each step together?
    pub together: bool,
    /// API servers that choose a rank for each request, at least 1.
    pub api_servers: u32,
}

impl Default for Ranks {
    fn default() -> Self {
        Self {
            count: 1,
            together: false,
            api_servers: 1,
        }
    }
}

impl Ranks {
    /// Are there several?
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.count > 1
    }
}

/// The ranks of an instance, and what chooses among them.
pub struct RankGroup {
    ranks: Vec<Instance>,
    balancer: Balancer,
    /// Rank and API server of every request here, by serial number.
    sent: FxHashMap<u64, (u32, u32)>,
    /// The steps, where they take them together.
    passes: Option<Passes>,
}

impl RankGroup {
    /// A group of these idle instances, whose steps take as long as `latency` says.
    #[must_use]
    pub fn new(ranks: Vec<Instance>, config: Ranks, latency: &Arc<dyn LatencyModel>) -> Self {
        let n = ranks.len();
        let ranks = ranks.into_iter().map(Instance::reporting_load);
        let ranks: Vec<Instance> = match config.together {
            true => ranks.map(Instance::with_open_steps).collect(),
            false => ranks.collect(),
        };
        let passes = config.together.then(|| {
            let engine = ranks[0].config();
            let most = engine.rules.steps_in_flight();
            let tokens = 1 + engine.scheduling.speculation.num_speculative_tokens;
            Passes::new(n, Arc::clone(latency), most, tokens)
        });
        Self {
            balancer: Balancer::new(n, config.api_servers, config.together),
            sent: FxHashMap::default(),
            passes,
            ranks,
        }
    }

    /// The ranks, to look at.
    #[must_use]
    pub fn ranks(&self) -> &[Instance] {
        &self.ranks
    }

    /// The ranks, to set something about them; nothing may happen on them.
    pub fn ranks_mut(&mut self) -> &mut [Instance] {
        &mut self.ranks
    }

    /// Hands the group a request at `now`; all that happens before has happened.
    pub fn add(&mut self, request: Request, view: RequestView, part: Part, now: i64) -> Slot {
        // At rest there may be steps for nothing that nobody had to look at.
        self.run_until(now, &mut Vec::new());
        self.take_reports();
        let (rank, client) = self.balancer.choose(now);
        self.sent.insert(view.serial, (rank as u32, client as u32));
        let before = Before::of(&self.ranks[rank]);
        let slot = self.ranks[rank].add_part(request, view, part, now);
        self.goes_on(rank, before, now);
        slot
    }

    /// When something happens here next, [`NEVER`] if nothing is due. Steps for nothing at the end
    /// of a wave count as nothing.
    pub fn next_event_us(&mut self) -> i64 {
        match self.is_idle() {
            true => NEVER,
            false => self.earliest().1,
        }
    }

    /// The rank on which something happens next, the lowest of equal ones, and when.
    fn earliest(&mut self) -> (usize, i64) {
        let times = self.ranks.iter_mut().map(Instance::next_event_us);
        let earliest = times.enumerate().min_by_key(|(rank, at)| (*at, *rank));
        earliest.unwrap_or((0, NEVER))
    }

    /// Is there nothing to do?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.ranks.iter().all(Instance::is_idle)
    }

    /// Runs the next event, and with it steps before `until` that only decode.
    pub fn run_next(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        let (rank, now) = self.earliest();
        if now == NEVER {
            return;
        }
        let (from, before) = (events.len(), Before::of(&self.ranks[rank]));
        self.ranks[rank].run_next(until, events);
        self.goes_on(rank, before, now);
        self.note(rank, &mut events[from..]);
    }

    /// Runs everything that happens before `until`.
    pub fn advance_to(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        if self.passes.is_some() {
            // Steps for nothing behind the last request wait until somebody comes.
            while self.next_event_us() < until {
                self.run_next(until, events);
            }
            return;
        }
        for rank in 0..self.ranks.len() {
            let from = events.len();
            self.ranks[rank].advance_to(until, events);
            self.note(rank, &mut events[from..]);
        }
    }

    fn run_until(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        while self.earliest().1 < until {
            self.run_next(until, events);
        }
    }

    /// Something happened on a rank at `now`.
    fn goes_on(&mut self, rank: usize, before: Before, now: i64) {
        let Some(passes) = &mut self.passes else {
            return;
        };
        // Reported within the round that the rank was at.
        let step = passes.stamp(rank);
        let loads = self.ranks[rank].take_loads();
        self.balancer.hear(loads.map(|load| Report {
            at_us: load.at_us,
            load: Some((rank, load)),
            step,
        }));
        passes.happened(rank, before, &mut self.ranks, now);
    }

    /// Ranks that go on by themselves have reported what happened on them, each in order.
    fn take_reports(&mut self) {
        if self.passes.is_some() {
            return;
        }
        let mut reports = Vec::new();
        for (rank, instance) in self.ranks.iter_mut().enumerate() {
            reports.extend(instance.take_loads().map(|load| Report {
                at_us: load.at_us,
                load: Some((rank, load)),
                step: (0, 0),
            }));
        }
        reports.sort_by_key(|report| report.at_us);
        self.balancer.hear(reports);
    }

    /// Notes what came of requests on a rank, and which rank it was.
    fn note(&mut self, rank: usize, events: &mut [InstanceEvent]) {
        for event in events {
            if let InstanceEvent::Finished(finished) = event {
                finished.record.rank = Some(rank as u32);
                if let Some((_, client)) = self.sent.remove(&finished.record.serial) {
                    self.balancer.finished(rank, client as usize);
                }
            }
        }
    }

    /// Takes a whole request back at `now`, if it waits or runs here; says whether it did.
    pub fn evict(&mut self, serial: u64, now: i64, events: &mut Vec<InstanceEvent>) -> bool {
        let Some((rank, _)) = self.sent.get(&serial).copied() else {
            return false;
        };
        let rank = rank as usize;
        let (from, before) = (events.len(), Before::of(&self.ranks[rank]));
        let found = self.ranks[rank].evict(serial, now, events);
        self.goes_on(rank, before, now);
        self.note(rank, &mut events[from..]);
        found
    }

    /// The work on all ranks.
    #[must_use]
    pub fn work(&self) -> Work {
        let all = self.ranks.iter().map(Instance::work);
        all.fold(Work::default(), |sum, work| Work {
            queued_prompt_tokens: sum.queued_prompt_tokens + work.queued_prompt_tokens,
            running_prefill_tokens: sum.running_prefill_tokens + work.running_prefill_tokens,
            decodes: sum.decodes + work.decodes,
            decode_context_tokens: sum.decode_context_tokens + work.decode_context_tokens,
        })
    }

    /// Share of the prompt tokens looked up so far that were in a prefix cache; `None` without
    /// lookups.
    #[must_use]
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        let lookups = self.ranks.iter().map(Instance::prefix_lookups);
        let (queries, hits) = lookups.fold((0, 0), |sum, (q, h)| (sum.0 + q, sum.1 + h));
        (queries > 0).then(|| hits as f64 / queries as f64)
    }

    /// Ends the run: returns the counters, and adds a record of every request still here.
    pub fn finish(&mut self, unfinished: &mut Vec<RequestRecord>) -> InstanceTotals {
        let n = self.ranks.len() as i64;
        let mut all: Option<InstanceTotals> = None;
        for (rank, instance) in self.ranks.iter_mut().enumerate() {
            let from = unfinished.len();
            let mut totals = instance.finish(unfinished);
            for record in &mut unfinished[from..] {
                record.rank = Some(rank as u32);
            }
            if let Some(passes) = &self.passes {
                totals.busy_us += passes.idle_us(rank);
            }
            all = Some(match all {
                Some(others) => others.beside(totals),
                None => totals,
            });
        }
        let totals = all.unwrap_or_default();
        InstanceTotals {
            // All have as many GPUs: their mean is that of the instance.
            busy_us: totals.busy_us / n,
            ..totals
        }
    }

    /// Checks the invariants that hold between events.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        let mut here = 0;
        for (k, rank) in self.ranks.iter().enumerate() {
            rank.check().map_err(|e| format!("rank {k}: {e}"))?;
            here += rank.live().0;
        }
        if here != self.sent.len() as u64 {
            return Err(format!(
                "{here} requests on the ranks, {} were sent there",
                self.sent.len()
            ));
        }
        match &self.passes {
            Some(passes) => passes.check(&self.ranks),
            None => Ok(()),
        }
    }
}
