//! Servers as policies see them: what they said last, and what the gateway itself knows.

use super::message::Described;
use super::scrape::Snapshot;
use rustc_hash::{FxHashMap, FxHashSet};
use windtunnel_base::request::{Request, Sym, Symbols, TokenSeq};
use windtunnel_engine::adapters::AdapterState;
use windtunnel_engine::frontend::{Backends, Freshness};
use windtunnel_plugin_api::InstanceView;

/// Tokens of a KV block where neither server nor configuration says it: vLLM's.
const BLOCK_SIZE: u32 = 16;
/// KV blocks that are remembered of a server that does not say how many it has.
const REMEMBERED: usize = 10_000;

/// What is known of the pools, from the deployment that the configuration describes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolFacts {
    /// GPUs of a server.
    pub gpus: u32,
    /// Most requests in a batch.
    pub max_num_seqs: u32,
    /// Most new tokens in a step.
    pub max_step_tokens: u32,
    /// KV blocks.
    pub kv_blocks: u32,
    /// Tokens in each.
    pub block_size: u32,
}

/// A server.
#[derive(Debug)]
struct Server {
    described: Described,
    view: InstanceView,
    snapshot: Option<Snapshot>,
    scraped_us: i64,
    changed: bool,
    adapters: Vec<AdapterState>,
    /// Blocks of prompts that were sent there: the younger ones, and the older ones.
    sent: [FxHashSet<u64>; 2],
    /// Prompt tokens of requests without a first token, and context of those with one.
    waiting_tokens: u64,
    context: u64,
}

/// All servers.
#[derive(Debug, Default)]
pub struct LiveBackends {
    servers: Vec<Server>,
    facts: FxHashMap<String, PoolFacts>,
    block_size: Option<u32>,
    /// Most blocks that are remembered of a server.
    most_blocks: usize,
    /// Whoever asks what has changed is told everything.
    all_changed: bool,
}

impl LiveBackends {
    /// No server yet. `facts` are those of the pools that are described.
    pub fn new(facts: FxHashMap<String, PoolFacts>, block_size: Option<u32>) -> Self {
        Self {
            servers: Vec::new(),
            facts,
            block_size,
            most_blocks: usize::MAX,
            all_changed: false,
        }
    }

    /// From now on at most so many blocks are remembered of each server.
    pub fn limit(&mut self, blocks: usize) {
        self.most_blocks = blocks;
        for server in &mut self.servers {
            if server.sent.iter().any(|half| half.len() > blocks / 2) {
                server.sent = Default::default();
            }
        }
    }

    /// Blocks that are remembered of server `i`.
    pub fn remembered_blocks(&self, i: usize) -> usize {
        let server = self.servers.get(i);
        server.map_or(0, |server| server.sent.iter().map(FxHashSet::len).sum())
    }

    /// There are these servers now: those that are known, and new ones behind them.
    pub fn grow(&mut self, all: &[Described], symbols: &mut Symbols) {
        for described in all.iter().skip(self.servers.len()) {
            let facts = self.facts.get(&described.pool).copied().unwrap_or_default();
            let known = |n: u32, otherwise: u32| if n == 0 { otherwise } else { n };
            let block_size = self
                .block_size
                .unwrap_or(known(facts.block_size, BLOCK_SIZE));
            let view = InstanceView {
                index: self.servers.len() as u32,
                pool: symbols.intern(&described.pool).0,
                gpus: facts.gpus,
                max_batch_size: facts.max_num_seqs,
                max_step_tokens: facts.max_step_tokens,
                kv_total_blocks: facts.kv_blocks,
                block_size,
                ..InstanceView::default()
            };
            self.servers.push(Server {
                described: described.clone(),
                view,
                snapshot: None,
                scraped_us: 0,
                changed: true,
                adapters: Vec::new(),
                sent: Default::default(),
                waiting_tokens: 0,
                context: 0,
            });
        }
    }

    /// Who reads next, and has not read before, reads everything.
    pub fn read_anew(&mut self) {
        self.servers
            .iter_mut()
            .for_each(|server| server.changed = true);
    }

    /// Lets somebody read beside the one who is told what has changed.
    pub fn beside<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.all_changed = true;
        let read = read(self);
        self.all_changed = false;
        read
    }

    /// All servers, by number.
    pub fn described(&self) -> impl Iterator<Item = &Described> {
        self.servers.iter().map(|server| &server.described)
    }

    /// The name of server `i`.
    pub fn name(&self, i: usize) -> &str {
        self.servers
            .get(i)
            .map_or("", |server| &server.described.name)
    }

    /// Tokens of a block, the same for all servers.
    pub fn common_block_size(&self) -> u32 {
        let first = self.servers.first();
        first.map_or(self.block_size.unwrap_or(BLOCK_SIZE), |server| {
            server.view.block_size
        })
    }

    /// Server `i` said this at `now_us`.
    pub fn scraped(&mut self, i: usize, snapshot: Snapshot, now_us: i64, symbols: &mut Symbols) {
        let Some(server) = self.servers.get_mut(i) else {
            return;
        };
        if let Some((_, blocks)) = snapshot.kv {
            server.view.kv_total_blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        }
        if let Some((running, waiting, most)) = &snapshot.adapters {
            server.view.max_loras = *most;
            server.adapters.clear();
            for name in running
                .iter()
                .chain(waiting.iter().filter(|name| !running.contains(name)))
            {
                let state = AdapterState::of(symbols.intern(name));
                let runs = running.contains(name);
                server.adapters.push(AdapterState {
                    loaded: runs,
                    running: runs.into(),
                    waiting: waiting.contains(name).into(),
                    ..state
                });
            }
        }
        server.snapshot = Some(snapshot);
        server.scraped_us = now_us;
        server.changed = true;
    }

    /// A request goes to server `i`.
    pub fn sent(&mut self, i: usize, request: &Request) {
        let Some(server) = self.servers.get_mut(i) else {
            return;
        };
        server.waiting_tokens += u64::from(request.prompt_tokens());
        server.changed = true;
        let most = match server.view.kv_total_blocks {
            0 => REMEMBERED,
            blocks => blocks as usize,
        };
        let most = most.min(self.most_blocks / 2).max(1);
        for key in request.prompt.block_keys(server.view.block_size) {
            if server.sent[0].len() >= most {
                server.sent[1] = std::mem::take(&mut server.sent[0]);
            }
            server.sent[0].insert(key);
        }
    }

    /// A request on server `i` has its first token.
    pub fn first_token(&mut self, i: usize, prompt_tokens: u32) {
        if let Some(server) = self.servers.get_mut(i) {
            server.waiting_tokens = server.waiting_tokens.saturating_sub(prompt_tokens.into());
            server.context += u64::from(prompt_tokens);
            server.changed = true;
        }
    }

    /// A request left server `i`, with or without a first token.
    pub fn left(&mut self, i: usize, prompt_tokens: u32, had_first: bool) {
        if let Some(server) = self.servers.get_mut(i) {
            let tokens = match had_first {
                true => &mut server.context,
                false => &mut server.waiting_tokens,
            };
            *tokens = tokens.saturating_sub(prompt_tokens.into());
            server.changed = true;
        }
    }

    /// Leading blocks of a prompt that server `i` was sent before.
    pub fn sent_blocks(&self, i: usize, prompt: &TokenSeq) -> u32 {
        let Some(server) = self.servers.get(i) else {
            return 0;
        };
        let known = |key: &u64| server.sent.iter().any(|half| half.contains(key));
        prompt
            .block_keys(server.view.block_size)
            .take_while(known)
            .count() as u32
    }
}

/// What a server said, as policies see it.
pub fn show(said: &Snapshot, view: &mut InstanceView) {
    view.queue_depth = whole(said.waiting);
    view.batch_size = whole(said.running);
    view.preemptions = whole(said.preemptions);
    view.kv_utilization = said.kv_usage;
    view.kv_used_blocks = whole((said.kv_usage * f64::from(view.kv_total_blocks)).round());
    view.kv_free_blocks = view.kv_total_blocks - view.kv_used_blocks.min(view.kv_total_blocks);
    view.cache_hit_rate = match said.prefix {
        Some((queries, hits)) if queries > 0.0 => (hits / queries).clamp(0.0, 1.0),
        _ => 0.0,
    };
}

fn whole(n: f64) -> u32 {
    // What is no number is none.
    n.clamp(0.0, f64::from(u32::MAX)) as u32
}

impl Backends for LiveBackends {
    fn len(&self) -> usize {
        self.servers.len()
    }

    fn describe(&self, i: usize) -> InstanceView {
        self.servers[i].view
    }

    fn observe(&mut self, i: usize, _now_us: i64, work: bool, view: &mut InstanceView) {
        let server = &self.servers[i];
        view.kv_total_blocks = server.view.kv_total_blocks;
        view.max_loras = server.view.max_loras;
        if let Some(said) = &server.snapshot {
            show(said, view);
        }
        if work {
            // No server tells these; the gateway's own account stands for them.
            view.queued_prompt_tokens = server.waiting_tokens;
            view.running_prefill_tokens = 0;
            view.decodes = view.batch_size;
            view.decode_context_tokens = server.context;
        }
    }

    fn adapters(&self, i: usize, adapters: &mut Vec<AdapterState>) {
        adapters.extend_from_slice(&self.servers[i].adapters);
    }

    fn scraped_us(&self, i: usize, _now_us: i64) -> i64 {
        self.servers[i].scraped_us
    }

    fn take_changed(&mut self, changed: &mut Vec<u32>) {
        if self.all_changed {
            changed.extend(0..self.servers.len() as u32);
            return;
        }
        for (i, server) in self.servers.iter_mut().enumerate() {
            if std::mem::take(&mut server.changed) {
                changed.push(i as u32);
            }
        }
    }

    fn refresh_cache_signal(&mut self) {}

    fn cached_blocks(&self, i: usize, prompt: &TokenSeq, _freshness: Freshness) -> u32 {
        self.sent_blocks(i, prompt)
    }
}

/// The adapter of this name, or none.
pub fn adapter(name: &str, symbols: &mut Symbols) -> Sym {
    match name {
        "" => Sym::NONE,
        name => symbols.intern(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::RequestId;

    fn sent(backends: &mut LiveBackends, streams: std::ops::Range<u32>) {
        for stream in streams {
            let prompt = TokenSeq::of(stream, 64);
            let id = RequestId::Number(stream.into());
            let request = Request::new(id, 0, prompt, TokenSeq::default());
            backends.sent(0, &request);
        }
    }

    #[test]
    fn no_more_blocks_are_remembered_than_may_be() {
        let mut backends = LiveBackends::new(FxHashMap::default(), Some(16));
        let server = Described {
            name: "a".to_owned(),
            pool: String::new(),
        };
        backends.grow(&[server], &mut Symbols::default());
        sent(&mut backends, 0..100);
        assert_eq!(backends.remembered_blocks(0), 400);
        backends.limit(32);
        assert!(backends.remembered_blocks(0) <= 32);
        for stream in 100..1_000 {
            sent(&mut backends, stream..stream + 1);
            let count = backends.remembered_blocks(0);
            assert!(count <= 32, "{count} after {stream}");
        }
        assert_eq!(backends.sent_blocks(0, &TokenSeq::of(999, 64)), 4);
        assert_eq!(backends.sent_blocks(0, &TokenSeq::of(5, 64)), 0);
    }
}
