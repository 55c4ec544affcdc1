//! Requests that the gateway holds: by priority, then by tenant.

use crate::frontend::Pending;
use std::collections::{BTreeMap, VecDeque};
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::HeldView;

/// The flow of requests without a tenant.
const DEFAULT_TENANT: &str = "default";

/// A request that the gateway holds.
#[derive(Debug)]
pub struct Held {
    /// The request.
    pub pending: Box<Pending>,
    /// Its number in the order of coming, from 1.
    pub sequence: u64,
    /// When it came, microseconds.
    pub enqueued_us: i64,
    /// When its target passes, microseconds; 0 = it has none.
    pub due_us: i64,
}

/// Where a request is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAt {
    /// Its priority.
    pub priority: i32,
    /// Its tenant, or the name of those that have none.
    pub tenant: Box<str>,
    /// Its number in the order of coming.
    pub sequence: u64,
}

/// What became of a request that came to the queue.
#[derive(Debug)]
pub enum Enqueued {
    /// It is held there.
    At(HeldAt),
    /// It is held, and this one had to make room.
    InPlaceOf(HeldAt, Held),
    /// There was no room.
    Full(Box<Pending>),
}

/// Requests of one priority.
#[derive(Debug)]
struct Band {
    priority: i32,
    len: u64,
    /// By tenant, each in the order of coming; none is empty.
    flows: BTreeMap<Box<str>, VecDeque<Held>>,
}

/// The queue of a gateway.
#[derive(Debug, Default)]
pub struct GatewayQueue {
    /// The highest priority first. A priority that a request once had stays.
    bands: Vec<Band>,
    len: u64,
    most: u64,
    /// Requests that came.
    came: u64,
}

impl GatewayQueue {
    /// Requests in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most requests that were in it at once.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Does it hold a request that may not be shed?
    #[must_use]
    pub fn holds_important(&self) -> bool {
        self.bands.iter().any(|b| b.priority >= 0 && b.len > 0)
    }

    /// A request comes at `now`, to be dispatched by `due_us` (0 = whenever). `limits` are those of
    /// all requests, and of those of one priority (0 = none); with `shedding` a sheddable one makes
    /// room for a more important one where only the first limit is reached.
    pub fn enqueue(
        &mut self,
        pending: Box<Pending>,
        now: i64,
        due_us: i64,
        limits: [u64; 2],
        shedding: bool,
        symbols: &Symbols,
    ) -> Enqueued {
        self.came += 1;
        let priority = pending.view.class_priority;
        let at = self.bands.partition_point(|b| b.priority > priority);
        if self.bands.get(at).is_none_or(|b| b.priority != priority) {
            let band = Band {
                priority,
                len: 0,
                flows: BTreeMap::new(),
            };
            self.bands.insert(at, band);
        }
        let [all, per_band] = limits;
        if per_band > 0 && self.bands[at].len >= per_band {
            return Enqueued::Full(pending);
        }
        let mut gone = None;
        if all > 0 && self.len >= all {
            let victim = shedding.then(|| self.least_important()).flatten();
            gone = victim
                .filter(|victim| priority > victim.priority)
                .and_then(|victim| self.take(&victim));
            if gone.is_none() {
                return Enqueued::Full(pending);
            }
        }
        let tenant = match symbols.name(pending.request.tenant) {
            "" => DEFAULT_TENANT,
            name => name,
        };
        let place = HeldAt {
            priority,
            tenant: tenant.into(),
            sequence: self.came,
        };
        let band = &mut self.bands[at];
        band.len += 1;
        let flow = band.flows.entry(place.tenant.clone()).or_default();
        flow.push_back(Held {
            pending,
            sequence: self.came,
            enqueued_us: now,
            due_us,
        });
        self.len += 1;
        self.most = self.most.max(self.len);
        match gone {
            Some(gone) => Enqueued::InPlaceOf(place, gone),
            None => Enqueued::At(place),
        }
    }

    /// The sheddable request of the lowest priority that came last.
    fn least_important(&self) -> Option<HeldAt> {
        let mut sheddable = self.bands.iter().rev().filter(|b| b.priority < 0);
        let band = sheddable.find(|b| b.len > 0)?;
        let last = band.flows.iter().filter_map(|(tenant, flow)| {
            let last = flow.back()?.sequence;
            Some((last, tenant))
        });
        let (sequence, tenant) = last.max()?;
        Some(HeldAt {
            priority: band.priority,
            tenant: tenant.clone(),
            sequence,
        })
    }

    /// Takes the request at this place, if it is still there.
    pub fn take(&mut self, place: &HeldAt) -> Option<Held> {
        let at = self
            .bands
            .iter()
            .position(|b| b.priority == place.priority)?;
        let band = &mut self.bands[at];
        let flow = band.flows.get_mut(&place.tenant)?;
        let k = flow
            .binary_search_by_key(&place.sequence, |held| held.sequence)
            .ok()?;
        let held = flow.remove(k)?;
        if flow.is_empty() {
            band.flows.remove(&place.tenant);
        }
        band.len -= 1;
        self.len -= 1;
        Some(held)
    }

    /// The priorities of which requests may go at this `saturation`, the highest first.
    fn open(&self, saturation: f64, usage_limit: f64) -> impl Iterator<Item = &Band> {
        let last = self.bands.len().saturating_sub(1) as f64;
        let ceilings = (0..self.bands.len()).map(move |i| match i {
            0 => 1.0,
            i => 1.0 - i as f64 * (1.0 - usage_limit) / last,
        });
        let bands = self.bands.iter().zip(ceilings);
        bands
            .take_while(move |(_, ceiling)| saturation < *ceiling)
            .map(|(band, _)| band)
    }

    /// Calls `each` with the requests that may go at this `saturation`, and their places, in the
    /// order of [`GatewayView::held`](windtunnel_plugin_api::GatewayView::held). Not `all`: only
    /// the first of each flow.
    pub fn for_each_open<'q>(
        &'q self,
        saturation: f64,
        usage_limit: f64,
        all: bool,
        mut each: impl FnMut(HeldView<'q>, (i32, &'q str)),
    ) {
        let flows = self.open(saturation, usage_limit).flat_map(|band| {
            let flows = band.flows.iter();
            flows.map(|(tenant, flow)| (band.priority, tenant, flow))
        });
        for (priority, tenant, flow) in flows {
            let many = if all { flow.len() } else { 1 };
            for held in flow.iter().take(many) {
                let view = HeldView {
                    enqueued_us: held.enqueued_us,
                    due_us: held.due_us,
                    sequence: held.sequence,
                    flow: match &**tenant {
                        DEFAULT_TENANT => 0,
                        _ => held.pending.view.tenant,
                    },
                    ..HeldView::of(&held.pending.view)
                };
                each(view, (priority, tenant));
            }
        }
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> impl Iterator<Item = Held> {
        self.len = 0;
        let bands = std::mem::take(&mut self.bands).into_iter();
        bands.flat_map(|band| band.flows.into_values().flatten())
    }
}
