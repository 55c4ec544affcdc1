//! The scorers of weighted routing. Each gives every instance a number in 0..=1.

use super::columns::Columns;
use super::lora_affinity::Affinity;
use super::memory::Memory;
use crate::param::Param;
use std::borrow::Cow;
use windtunnel_plugin_api::{AdapterSignal, ClusterView, InstanceView, Interests, RequestView};

/// A scorer of weighted routing.
pub struct Scorer {
    /// Its name in a list of scorers.
    pub name: &'static str,
    /// Its weight, a parameter of weighted routing: the name with underscores.
    pub param: &'static str,
    /// Its weight unless another is given.
    pub default_weight: f64,
    /// What it prefers.
    pub doc: &'static str,
    /// What it reads besides the snapshots of the instances.
    pub interests: Interests,
    /// Appends the scores of all candidates to an empty column.
    pub column: fn(&Decision<'_, '_>, &mut Memory, &mut Vec<f64>),
}

impl Scorer {
    /// The parameter that is its weight.
    #[must_use]
    pub const fn weight(&self) -> Param {
        Param::number(self.param, self.default_weight, 0.0, f64::MAX, self.doc)
    }
}

/// Settings of scorers beyond their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Wait queue at which `load-aware` gives 0.
    pub load_aware_queue: f64,
    /// Requests in flight up to which `active-requests` calls an instance idle.
    pub idle_requests: f64,
    /// The highest score that `active-requests` gives one that is not idle, 0..=1.
    pub max_busy_score: f64,
    /// Uncached tokens in flight at which `token-load` gives 0.
    pub token_load_tokens: f64,
    /// Leading tokens of a prompt that prefix scorers look at; 0 = all.
    pub max_prefix_tokens: f64,
    /// `lora-affinity` tells instances that have the adapter from all others, and no more.
    pub adapter_is_there: bool,
    /// Prefix hits that the filter, `no-hit-lru` and `token-load` count: by the instances' cache
    /// events, else by what the front end sent there before; `None` = each by its own default.
    pub precise: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            load_aware_queue: 128.0,
            idle_requests: 0.0,
            max_busy_score: 1.0,
            token_load_tokens: 4_194_304.0,
            max_prefix_tokens: 0.0,
            adapter_is_there: false,
            precise: None,
        }
    }
}

/// A request, and the instances that can get it.
pub struct Decision<'a, 'c> {
    /// The request.
    pub request: &'a RequestView,
    /// The cluster.
    pub cluster: &'a ClusterView<'c>,
    /// What is read of each instance of the cluster.
    pub columns: &'a Columns,
    /// Positions in the cluster's list of the instances that filters have left, ascending.
    pub candidates: &'a [usize],
    /// Settings of the scorers.
    pub settings: &'a Settings,
}

impl Decision<'_, '_> {
    fn instances(&self) -> impl Iterator<Item = &InstanceView> {
        let all = self.cluster.instances;
        self.candidates.iter().filter_map(move |&i| all.get(i))
    }

    /// What a column has for the candidates; without a copy where these are all instances.
    fn of_candidates<'s, T: Copy>(&self, column: &'s [T]) -> Cow<'s, [T]> {
        if self.candidates.len() == column.len() {
            return Cow::Borrowed(column);
        }
        Cow::Owned(self.candidates.iter().map(|&i| column[i]).collect())
    }

    /// Leading cached blocks of the prompt on the instance at position `i`.
    #[must_use]
    pub fn hits(&self, precise: bool, i: usize) -> u32 {
        self.columns.hits(precise)[i]
    }

    /// The share of the prompt's blocks that is cached at position `i`, 0..=1.
    #[must_use]
    pub fn share(&self, precise: bool, i: usize) -> f64 {
        let size = f64::from(self.cluster.instances[i].block_size).max(1.0);
        let most = match self.settings.max_prefix_tokens {
            0.0 => f64::INFINITY,
            tokens => (tokens / size).floor().max(1.0),
        };
        let blocks = f64::from(self.cluster.host.prompt_blocks()).min(most);
        let hits = f64::from(self.hits(precise, i)).min(most);
        if blocks == 0.0 { 0.0 } else { hits / blocks }
    }

    /// Tokens of the prompt that are not cached at position `i`.
    #[must_use]
    pub fn uncached(&self, i: usize) -> u64 {
        let precise = self.settings.precise == Some(true);
        let size = u64::from(self.cluster.instances[i].block_size);
        let cached = u64::from(self.hits(precise, i)) * size;
        u64::from(self.request.prompt_tokens).saturating_sub(cached)
    }
}

/// Cached leading blocks, by the instances' own cache events.
pub const PRECISE_PREFIX_CACHE: Scorer = Scorer {
    name: "precise-prefix-cache",
    param: "precise_prefix_cache",
    default_weight: 2.0,
    doc: "Cached leading blocks by the instances' cache events, min-max over the instances",
    interests: Interests::PRECISE_PREFIX,
    column: |decision, _, column| {
        let hits = decision.of_candidates(decision.columns.hits(true));
        let (min, max) = range(&hits);
        if min == max {
            column.resize(hits.len(), 1.0);
            return;
        }
        let width = f64::from(max - min);
        column.extend(hits.iter().map(|x| f64::from(x - min) / width));
    },
};

/// The share of the prompt's blocks that the front end sent to an instance before.
pub const PREFIX_AFFINITY: Scorer = Scorer {
    name: "prefix-affinity",
    param: "prefix_affinity",
    default_weight: 0.0,
    doc: "Share of the prompt's blocks that the front end sent there before",
    interests: Interests::APPROXIMATE_PREFIX,
    column: |decision, _, column| {
        let all = decision.candidates.iter();
        column.extend(all.map(|&i| decision.share(false, i)));
    },
};

/// The share of the prompt's blocks that an instance holds by its own cache events.
pub const PRECISE_PREFIX_SHARE: Scorer = Scorer {
    name: "precise-prefix-share",
    param: "precise_prefix_share",
    default_weight: 0.0,
    doc: "Share of the prompt's blocks that are cached by the instances' cache events",
    interests: Interests::PRECISE_PREFIX,
    column: |decision, _, column| {
        let all = decision.candidates.iter();
        column.extend(all.map(|&i| decision.share(true, i)));
    },
};

/// Requests that hit no cache go around the cluster, to the instance that got none for longest.
pub const NO_HIT_LRU: Scorer = Scorer {
    name: "no-hit-lru",
    param: "no_hit_lru",
    default_weight: 0.0,
    doc: "Requests that hit nowhere go to the least recently used instance",
    interests: Interests::PRECISE_PREFIX,
    column: |decision, memory, column| {
        let n = decision.candidates.len();
        let cold = &mut memory.cold;
        let precise = decision.settings.precise.unwrap_or(true);
        let mut all = decision.candidates.iter();
        cold.current = all.all(|&i| decision.hits(precise, i) == 0);
        if !cold.current {
            column.resize(n, 0.5);
            return;
        }
        if n == 1 {
            column.push(1.0);
            return;
        }
        let here = |index: &u32| decision.instances().any(|i| i.index == *index);
        if n == decision.cluster.instances.len() {
            cold.order.retain(|index| here(index));
        }
        let order: Vec<u32> = cold.order.iter().copied().filter(here).collect();
        let never_used = n - order.len();
        let mut fresh = 0;
        for instance in decision.instances() {
            let position = order.iter().position(|&index| index == instance.index);
            let rank = match position {
                Some(age) => never_used + age,
                None => {
                    fresh += 1;
                    fresh - 1
                }
            };
            column.push(1.0 - rank as f64 / (n - 1) as f64);
        }
    },
};

/// A short wait queue.
pub const QUEUE_DEPTH: Scorer = Scorer {
    name: "queue-depth",
    param: "queue_depth",
    default_weight: 1.0,
    doc: "Short wait queue, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |decision, _, column| {
        spare(
            column,
            &decision.of_candidates(&decision.columns.queue_depth),
        );
    },
};

/// Free KV blocks.
pub const KV_UTILIZATION: Scorer = Scorer {
    name: "kv-utilization",
    param: "kv_utilization",
    default_weight: 1.0,
    doc: "1 - KV utilisation",
    interests: Interests::SNAPSHOTS,
    column: |decision, _, column| {
        let used = decision.of_candidates(&decision.columns.kv_utilization);
        column.extend(used.iter().map(|used| 1.0 - used));
    },
};

/// Little effective load.
pub const LOAD_BALANCE: Scorer = Scorer {
    name: "load-balance",
    param: "load_balance",
    default_weight: 0.0,
    doc: "1 / (1 + effective load)",
    interests: Interests::COUNTERS,
    column: |decision, _, column| {
        let score = |i: &InstanceView| 1.0 / (1.0 + i.effective_load() as f64);
        column.extend(decision.instances().map(score));
    },
};

/// Few requests in flight.
pub const ACTIVE_REQUESTS: Scorer = Scorer {
    name: "active-requests",
    param: "active_requests",
    default_weight: 0.0,
    doc: "Few requests in flight, relative to the most",
    interests: Interests::COUNTERS,
    column: |decision, _, column| {
        let max = decision.instances().map(|i| i.in_flight).max().unwrap_or(0);
        let Settings {
            idle_requests,
            max_busy_score,
            ..
        } = *decision.settings;
        column.extend(decision.instances().map(|i| {
            if f64::from(i.in_flight) <= idle_requests {
                1.0
            } else {
                f64::from(max - i.in_flight) / f64::from(max) * max_busy_score
            }
        }));
    },
};

/// A small running batch.
pub const RUNNING_REQUESTS: Scorer = Scorer {
    name: "running-requests",
    param: "running_requests",
    default_weight: 0.0,
    doc: "Small running batch, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |decision, _, column| {
        spare(
            column,
            &decision.of_candidates(&decision.columns.batch_size),
        );
    },
};

/// An empty wait queue, without regard to the other instances.
pub const LOAD_AWARE: Scorer = Scorer {
    name: "load-aware",
    param: "load_aware",
    default_weight: 0.0,
    doc: "0.5 for an empty wait queue, falling to 0 at 128 waiting",
    interests: Interests::SNAPSHOTS,
    column: |decision, _, column| {
        let most = decision.settings.load_aware_queue;
        column.extend(decision.instances().map(|i| {
            if i.queue_depth == 0 {
                0.5
            } else {
                0.5 * (1.0 - f64::from(i.queue_depth).min(most) / most)
            }
        }));
    },
};

/// Few tokens that wait for their prefill, those of the request at hand included.
pub const TOKEN_LOAD: Scorer = Scorer {
    name: "token-load",
    param: "token_load",
    default_weight: 0.0,
    doc: "Few uncached tokens in flight, those of the request included, relative to token_load_tokens",
    interests: LEDGER,
    column: |decision, memory, column| {
        let most = decision.settings.token_load_tokens;
        column.extend(decision.candidates.iter().map(|&i| {
            let index = decision.cluster.instances[i].index;
            let tokens = memory.ledger.tokens(index) + decision.uncached(i);
            1.0 - (tokens as f64).min(most) / most
        }));
    },
};

/// The instance that the request's session was sent to before.
pub const SESSION_AFFINITY: Scorer = Scorer {
    name: "session-affinity",
    param: "session_affinity",
    default_weight: 0.0,
    doc: "1 for the instance that the session was sent to before, else 0",
    interests: Interests::NONE,
    column: |decision, memory, column| {
        let home = memory.sessions.get(&decision.request.session).copied();
        column.extend(decision.instances().map(|i| {
            let stays = home == Some(i.index);
            f64::from(u8::from(stays))
        }));
    },
};

/// Where requests with the adapter run, as far as vLLM publishes it.
pub const LORA_AFFINITY: Scorer = Scorer {
    name: "lora-affinity",
    param: "lora_affinity",
    default_weight: 0.0,
    doc: "1 where a running request has the LoRA adapter, 0.8 where there is a place for one more, 0.6 where a waiting request has it, else 0",
    interests: Interests::ADAPTERS,
    column: |decision, _, column| {
        let instances = decision.cluster.instances;
        let ask = |signal| {
            let mut requests = vec![0; instances.len()];
            decision.cluster.host.adapter_signal(signal, &mut requests);
            requests
        };
        if decision.settings.adapter_is_there {
            let loaded = ask(AdapterSignal::Loaded);
            let is_there = |&i: &usize| f64::from(u8::from(loaded[i] > 0));
            let from = column.len();
            column.extend(decision.candidates.iter().map(is_there));
            let alike = column[from..].iter().all(|score| *score == column[from]);
            if alike || decision.request.adapter == 0 {
                column[from..].fill(1.0);
            }
            return;
        }
        let (running, waiting) = (ask(AdapterSignal::Running), ask(AdapterSignal::Waiting));
        column.extend(
            decision
                .candidates
                .iter()
                .map(|&i| Affinity::of(running[i] > 0, waiting[i], &instances[i]).score()),
        );
    },
};

/// Waiting requests count four times, as vLLM's data-parallel balancer weighs them.
pub const VLLM_DP: Scorer = Scorer {
    name: "vllm-dp",
    param: "vllm_dp",
    default_weight: 0.0,
    doc: "4 x waiting + running, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |decision, _, column| {
        let waiting = decision.of_candidates(&decision.columns.queue_depth);
        let running = decision.of_candidates(&decision.columns.batch_size);
        let both = waiting.iter().zip(running.iter());
        let load = both.map(|(&waiting, &running)| 4 * u64::from(waiting) + u64::from(running));
        let load: Vec<u64> = load.collect();
        spare(column, &load);
    },
};

/// What the ledger of uncached tokens needs to hear and to ask, beside the kind of prefix hits.
pub(super) const LEDGER: Interests =
    Interests(Interests::LIFECYCLE.0 | Interests::TOKENS.0 | Interests::SNAPSHOTS.0);

/// The least and the greatest; both 0 without any.
fn range<T: Ord + Copy + Default>(values: &[T]) -> (T, T) {
    let least = values.iter().copied().min().unwrap_or_default();
    (least, values.iter().copied().max().unwrap_or_default())
}

/// `(max - x) / (max - min)`, 1 everywhere when all are equal.
fn spare<T: Ord + Copy + Default + Into<u64>>(column: &mut Vec<f64>, values: &[T]) {
    let (min, max) = range(values);
    if min == max {
        column.resize(values.len(), 1.0);
        return;
    }
    let (min, max): (u64, u64) = (min.into(), max.into());
    let width = (max - min) as f64;
    column.extend(values.iter().map(|&x| (max - x.into()) as f64 / width));
}

/// Position of the first highest score.
pub(super) fn first_highest(scores: &[f64]) -> usize {
    let mut best = (0, -1.0);
    for (i, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (i, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(scorer: &Scorer, instances: &[InstanceView]) -> Vec<f64> {
        let mut column = Vec::new();
        let cluster = ClusterView::bare(0, instances);
        let candidates: Vec<usize> = (0..instances.len()).collect();
        let mut columns = Columns::default();
        columns.refresh(&cluster, Interests::ALL);
        let decision = Decision {
            request: &RequestView::default(),
            cluster: &cluster,
            columns: &columns,
            candidates: &candidates,
            settings: &Settings::default(),
        };
        (scorer.column)(&decision, &mut Memory::default(), &mut column);
        column
    }

    fn instances(set: impl Fn(&mut InstanceView, u32)) -> Vec<InstanceView> {
        let instance = |index| {
            let mut view = InstanceView {
                index,
                ..InstanceView::default()
            };
            set(&mut view, index);
            view
        };
        (0..3).map(instance).collect()
    }

    #[test]
    fn scorers_give_their_formulas() {
        let queues = instances(|v, i| v.queue_depth = 2 * i);
        assert_eq!(column(&QUEUE_DEPTH, &queues), [1.0, 0.5, 0.0]);
        assert_eq!(
            column(&LOAD_AWARE, &queues),
            [0.5, 0.5 * (1.0 - 2.0 / 128.0), 0.5 * (1.0 - 4.0 / 128.0)]
        );
        assert_eq!(column(&LOAD_BALANCE, &queues), [1.0, 1.0 / 3.0, 1.0 / 5.0]);
        let in_flight = instances(|v, i| v.in_flight = i + 1);
        assert_eq!(
            column(&ACTIVE_REQUESTS, &in_flight),
            [2.0 / 3.0, 1.0 / 3.0, 0.0]
        );
        let idle = instances(|_, _| ());
        assert_eq!(column(&ACTIVE_REQUESTS, &idle), [1.0; 3]);
        assert_eq!(column(&PRECISE_PREFIX_CACHE, &idle), [1.0; 3]);
        assert_eq!(column(&PREFIX_AFFINITY, &idle), [0.0; 3]);
    }
}
