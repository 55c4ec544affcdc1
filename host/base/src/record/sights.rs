//! What routing looked like: what the router could see at each of its decisions, and how the
//! instances truly stood.

use windtunnel_plugin_api::{InstanceView, RequestView};

/// One routing decision.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When.
    pub clock_us: i64,
    /// The request, as the router saw it.
    pub request: RequestView,
    /// Where it was sent.
    pub chosen: u32,
    /// Whole KV blocks of its prompt.
    pub prompt_blocks: u32,
    /// The router's scores by instance, if it scores.
    pub scores: Option<Vec<f64>>,
}

/// An instance at a routing decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// As the router saw it: fields that it does not read are 0.
    pub seen: InstanceView,
    /// As it was at this very moment.
    pub truly: InstanceView,
    /// Leading blocks of the request's prompt in its prefix cache at this very moment.
    pub cached_blocks: u32,
    /// The same by the delayed signal; 0 for a router that does not read it.
    pub signalled_blocks: u32,
}

/// All routing decisions of a run, in their order.
#[derive(Clone, Debug, Default)]
pub struct Sights {
    sights: Vec<Sight>,
    /// As many as there are instances for each decision.
    standings: Vec<Standing>,
}

impl Sights {
    /// Adds a decision with the standing of every instance.
    pub fn push(&mut self, sight: Sight, standings: impl IntoIterator<Item = Standing>) {
        self.sights.push(sight);
        self.standings.extend(standings);
    }

    /// The decisions, each with the standings of all instances.
    pub fn iter(&self) -> impl Iterator<Item = (&Sight, &[Standing])> {
        let instances = self.standings.len() / self.sights.len().max(1);
        self.sights
            .iter()
            .zip(self.standings.chunks(instances.max(1)))
    }

    /// The last decision.
    #[must_use]
    pub fn last(&self) -> Option<(&Sight, &[Standing])> {
        let instances = self.standings.len() / self.sights.len().max(1);
        let from = self.standings.len() - instances;
        Some((self.sights.last()?, &self.standings[from..]))
    }
}
