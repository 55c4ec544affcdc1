//! Whose request it is: the tenants of a priority, each with the requests that it has at the
//! gateway.

use crate::builtin::policy::Values;
use crate::param::Param;
use rustc_hash::FxHashMap;
use std::ops::Range;
use windtunnel_plugin_api::{HeldView, List};

/// The parameter that says whose turn it is: the reference's fairness policies.
pub(super) const TURNS: Param = Param::number(
    "turns",
    0.0,
    0.0,
    1.0,
    "1: tenants one after the other; 0: who came first goes first",
)
.whole();

/// The requests of one tenant, of one priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) tenant: u32,
    pub(super) range: Range<usize>,
}

/// The priority of the first of `held`, and the flows of that priority, which stand together.
fn first_priority(held: List<'_, HeldView<'_>>) -> (i32, Vec<Flow>) {
    let priority = held[0].request.class_priority;
    let mut flows: Vec<Flow> = Vec::new();
    let of_priority = held.iter().enumerate();
    for (i, view) in of_priority.take_while(|(_, v)| v.request.class_priority == priority) {
        match flows.last_mut() {
            Some(flow) if flow.tenant == view.flow => flow.range.end = i + 1,
            _ => flows.push(Flow {
                tenant: view.flow,
                range: i..i + 1,
            }),
        }
    }
    (priority, flows)
}

/// Which tenant's turn it is.
#[derive(Debug)]
pub(super) enum Turns {
    /// That of who came first.
    First,
    /// One after the other, by their names; the last one by priority.
    Around(FxHashMap<i32, u32>),
}

impl Turns {
    /// As [`TURNS`] says.
    pub(super) fn of(values: &Values) -> Self {
        match values.get("turns") > 0.0 {
            true => Self::Around(FxHashMap::default()),
            false => Self::First,
        }
    }

    /// Where among `held` (at least one) the flow stands whose turn it is, of those of the highest
    /// priority.
    pub(super) fn next_of_highest(&mut self, held: List<'_, HeldView<'_>>) -> Range<usize> {
        let (priority, flows) = first_priority(held);
        self.next(priority, &flows, held).range.clone()
    }

    /// The flow whose turn it is, of one priority; there is at least one.
    pub(super) fn next<'f>(
        &mut self,
        priority: i32,
        flows: &'f [Flow],
        held: List<'_, HeldView<'_>>,
    ) -> &'f Flow {
        match self {
            Self::First => {
                let first = flows.iter().min_by_key(|flow| {
                    let sequences = flow.range.clone().map(|i| held[i].sequence);
                    sequences.min()
                });
                first.unwrap_or(&flows[0])
            }
            Self::Around(last) => {
                let tenant = last.get(&priority);
                let last_at = flows.iter().position(|flow| Some(&flow.tenant) == tenant);
                let flow = &flows[last_at.map_or(0, |k| (k + 1) % flows.len())];
                last.insert(priority, flow.tenant);
                flow
            }
        }
    }
}
