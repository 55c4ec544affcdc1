//! Which rank a request goes to: vLLM's internal load balancer, which is in its API servers.

use super::coordinator::{Coordinator, KnownLoad, Report};

/// From this share of the KV blocks in use on, waiting requests count for more.
const KV_PRESSURE_FROM: f64 = 0.5;
/// So many times more where all blocks are in use, times two.
const KV_PRESSURE: f64 = 6.0;

/// What an API server knows of the ranks.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// API servers in all, which do not know of each other's requests.
    clients: u64,
    /// The loads that were published last, and its own requests since then.
    known: Vec<KnownLoad>,
    /// Its own requests that are not finished, by rank.
    in_flight: Vec<u64>,
    /// The rank that it looks at first.
    first: usize,
}

impl ApiClient {
    /// Server `index` of `clients`, which knows of no request on any of so many ranks.
    #[must_use]
    pub fn new(index: u32, clients: u32, ranks: usize) -> Self {
        Self {
            clients: clients.into(),
            known: vec![KnownLoad::default(); ranks],
            in_flight: vec![0; ranks],
            first: ranks * index as usize / clients as usize,
        }
    }

    /// It hears of the ranks' loads.
    pub fn hear(&mut self, loads: &[KnownLoad]) {
        self.known.clear();
        self.known.extend_from_slice(loads);
    }

    /// The rank that its next request goes to: the one with the least load, the first of those from
    /// the one on that it looks at first.
    pub fn choose(&mut self) -> usize {
        let ranks = self.known.len();
        let (mut chosen, mut least) = (0, f64::INFINITY);
        for k in 0..ranks {
            let rank = (self.first + k) % ranks;
            let score = self.score(rank);
            if score < least {
                (chosen, least) = (rank, score);
            }
        }
        self.known[chosen].waiting += self.clients;
        self.in_flight[chosen] += 1;
        self.first = (self.first + 1) % ranks;
        chosen
    }

    /// One of its requests on this rank is finished.
    pub fn finished(&mut self, rank: usize) {
        self.in_flight[rank] -= 1;
    }

    /// The load as it counts: what was published, at least as many requests as its own times the
    /// number of servers, and more for those that wait for KV blocks.
    fn score(&self, rank: usize) -> f64 {
        let KnownLoad {
            waiting,
            running,
            kv_usage,
        } = self.known[rank];
        let own = self.clients * self.in_flight[rank];
        let mut score = own.max(waiting + running) as f64;
        if waiting > 0 {
            score += waiting as f64 * KV_PRESSURE * (kv_usage - KV_PRESSURE_FROM).max(0.0);
        }
        score
    }
}

/// The API servers of an instance. Requests come to them in turn.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    clients: Vec<ApiClient>,
    /// The server that the next request comes to.
    next: usize,
    coordinator: Coordinator,
}

impl Balancer {
    pub(super) fn new(ranks: usize, clients: u32, together: bool) -> Self {
        let all = (0..clients).map(|index| ApiClient::new(index, clients, ranks));
        Self {
            clients: all.collect(),
            next: 0,
            coordinator: Coordinator::new(ranks, together),
        }
    }

    /// Messages of the ranks.
    pub(super) fn hear(&mut self, reports: impl IntoIterator<Item = Report>) {
        self.coordinator.hear(reports);
    }

    /// The rank of the request that comes at `now`, and the server that sends it there. All
    /// messages until then are there.
    pub(super) fn choose(&mut self, now: i64) -> (usize, usize) {
        if let Some(loads) = self.coordinator.publishes_until(now) {
            self.clients
                .iter_mut()
                .for_each(|client| client.hear(&loads));
        }
        let client = self.next;
        self.next = (self.next + 1) % self.clients.len();
        (self.clients[client].choose(), client)
    }

    /// A request that `client` sent to `rank` is finished.
    pub(super) fn finished(&mut self, rank: usize, client: usize) {
        self.clients[client].finished(rank);
    }
}
