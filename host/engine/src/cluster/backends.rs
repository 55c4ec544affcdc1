//! Simulated instances as the front end sees them.

use super::config::{ClusterConfig, ClusterError};
use super::engines::Engines;
use super::prefix_holders::PrefixHolders;
use crate::adapters::{AdapterCosts, AdapterState};
use crate::frontend::{Backends, Freshness, SeriesConfig};
use crate::instance::{EngineConfig, Instance, InstanceHooks, Part, Slot};
use crate::kv::KvTiers;
use crate::latency::{Estimator, LatencyModel, Slowed};
use crate::ranks::Ranks;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use windtunnel_base::record::{InstanceTotals, KvEvent};
use windtunnel_base::request::{Request, Sym, Symbols, TokenSeq};
use windtunnel_base::rng::salted;
use windtunnel_plugin_api::{InstanceView, Interests, RequestView};

/// What adapters cost, and ranks and loading times of those that are known.
type KnownAdapters = (Arc<AdapterCosts>, Arc<FxHashMap<Sym, (u32, i64)>>);

/// How the instances of a pool are made.
struct Recipe {
    engine: EngineConfig,
    ranks: Ranks,
    latency: Arc<dyn LatencyModel>,
    estimator: Estimator,
    kv_tiers: Option<Arc<KvTiers>>,
    adapters: Option<KnownAdapters>,
    seed: u64,
    lockstep: bool,
    tracks_changes: bool,
    kv_events: bool,
    steps: bool,
    series: Option<SeriesConfig>,
    reports_tokens: bool,
}

impl Recipe {
    /// An idle instance with empty caches; there are policies for each rank.
    fn make(&self, index: u32, hooks: Vec<InstanceHooks>) -> Engines {
        let engines = hooks.into_iter().map(|hooks| self.engine(index, hooks));
        Engines::new(engines.collect(), self.ranks, &self.latency)
    }

    fn engine(&self, index: u32, hooks: InstanceHooks) -> Instance {
        let latency = Arc::clone(&self.latency);
        let mut instance = Instance::new(index, self.engine, latency, hooks, self.seed)
            .with_estimator(self.estimator.clone());
        if let Some(tiers) = &self.kv_tiers {
            instance = instance.with_kv_tiers(tiers);
        }
        if let Some((costs, known)) = &self.adapters {
            instance = instance.with_adapters(Arc::clone(costs), Arc::clone(known));
        }
        if self.lockstep {
            instance = instance.in_lockstep();
        }
        if self.tracks_changes {
            instance.kv_mut().track_changes();
        }
        if self.kv_events {
            instance.kv_mut().track_events();
        }
        if self.steps {
            instance.track_steps();
        }
        if let Some(series) = self.series {
            instance.sample(series.interval_us);
        }
        if self.reports_tokens {
            instance.report_tokens();
        }
        instance
    }
}

/// The instances of all pools.
pub(super) struct SimulatedBackends {
    pub(super) instances: Vec<Engines>,
    /// How those of each pool are made, and the number behind its last one.
    recipes: Vec<(usize, Recipe)>,
    /// Those that cannot be scraped: views of them stay as they are.
    unreachable: Vec<bool>,
    /// Counters of those that were in an instance's place before.
    before: Vec<(usize, InstanceTotals)>,
    /// What never changes of each.
    constants: Vec<InstanceView>,
    /// Which instances did something since the front end asked for them, and whether each did.
    changed: (Vec<u32>, Vec<bool>),
    /// If the front end asks for the prefix caches.
    holders: Option<PrefixHolders>,
    /// The different sizes of their blocks, tokens.
    block_sizes: Vec<u32>,
    /// What happened in the prefix caches, when that is kept: in order for each instance.
    pub(super) kv_events: Vec<KvEvent>,
}

impl SimulatedBackends {
    /// Idle instances. `names` are those of the pools, in `symbols`, `interests` those of the front
    /// end's policies, and `hooks` are the policies inside each instance, rank by rank.
    pub(super) fn new(
        config: &ClusterConfig,
        names: &[Sym],
        symbols: &mut Symbols,
        interests: Interests,
        hooks: impl IntoIterator<Item = InstanceHooks>,
    ) -> Result<Self, ClusterError> {
        let mut hooks = hooks.into_iter();
        let (mut instances, mut constants) = (Vec::new(), Vec::new());
        let mut recipes = Vec::new();
        let signal_delayed = config.front.cache_signal_delay_us > 0;
        for (k, (pool, name)) in config.pools.iter().zip(names).enumerate() {
            let estimator = config.estimator(k);
            let engine = EngineConfig {
                horizon_us: config.horizon_us,
                token_events: interests.has(Interests::TOKENS)
                    || pool.queue_limits.prompt_tokens.is_some(),
                ..pool.engine
            };
            let adapters = pool.adapters.as_ref().map(|costs| {
                let known = costs.adapters.iter();
                let known = known.map(|a| (symbols.intern(&a.name), (a.rank, a.load_us)));
                (
                    Arc::clone(costs),
                    Arc::new(known.collect::<FxHashMap<_, _>>()),
                )
            });
            let recipe = Recipe {
                engine,
                ranks: pool.ranks,
                latency: Arc::clone(&pool.latency),
                estimator,
                kv_tiers: pool.kv_tiers.clone(),
                adapters,
                seed: salted(config.seed, config.front.policy_salt),
                lockstep: config.lockstep,
                tracks_changes: signal_delayed && interests.has(Interests::PRECISE_PREFIX),
                kv_events: config.front.trace.kv_events,
                steps: config.front.trace.steps,
                series: config.front.trace.series,
                reports_tokens: false,
            };
            for _ in 0..pool.instances {
                let index = instances.len() as u32;
                let ranks = pool.ranks.count;
                let of_ranks: Vec<_> = hooks.by_ref().take(ranks as usize).collect();
                if of_ranks.len() < ranks as usize {
                    return Err(ClusterError::NoHooks(index));
                }
                let instance = recipe.make(index, of_ranks);
                let [_, _, kv_total_blocks] = instance.kv_blocks();
                instances.push(instance);
                constants.push(InstanceView {
                    index,
                    kv_total_blocks: u32::try_from(kv_total_blocks).unwrap_or(u32::MAX),
                    max_batch_size: engine.max_num_seqs.saturating_mul(ranks),
                    block_size: engine.block_size,
                    max_step_tokens: engine.max_num_batched_tokens.saturating_mul(ranks),
                    pool: name.0,
                    gpus: pool.gpus_per_instance,
                    max_loras: match &pool.adapters {
                        Some(costs) => costs.capacity,
                        None => engine.scheduling.max_loras,
                    },
                    role: pool.role.number(),
                    ..InstanceView::default()
                });
            }
            recipes.push((instances.len(), recipe));
        }
        let n = instances.len();
        let mut block_sizes: Vec<u32> = constants.iter().map(|view| view.block_size).collect();
        block_sizes.sort_unstable();
        block_sizes.dedup();
        Ok(Self {
            recipes,
            before: Vec::new(),
            unreachable: vec![false; n],
            instances,
            constants,
            changed: ((0..n as u32).collect(), vec![true; n]),
            holders: interests
                .has(Interests::PRECISE_PREFIX)
                .then(PrefixHolders::default),
            block_sizes,
            kv_events: Vec::new(),
        })
    }

    /// From now on every token is reported.
    pub(super) fn report_tokens(&mut self) {
        for engines in &mut self.instances {
            engines
                .all_mut()
                .iter_mut()
                .for_each(Instance::report_tokens);
        }
        for (_, recipe) in &mut self.recipes {
            recipe.reports_tokens = true;
        }
    }

    /// Instance `i`, which is about to do something.
    pub(super) fn acting(&mut self, i: usize) -> &mut Engines {
        let (list, marks) = &mut self.changed;
        if !marks[i] {
            marks[i] = true;
            list.push(i as u32);
        }
        &mut self.instances[i]
    }

    /// Puts another instance, whose cache is empty, in the place of instance `i`, which has no
    /// requests. It has the policies of the one before.
    pub(super) fn renew(&mut self, i: usize) {
        let Some((_, recipe)) = self.recipes.iter().find(|(end, _)| i < *end) else {
            return;
        };
        let mut old = self.instances.remove(i);
        let totals = old.finish(&mut Vec::new());
        let hooks = old.into_hooks().into_iter().collect();
        let new = recipe.make(i as u32, hooks);
        self.instances.insert(i, new);
        let totals = match self.before(i) {
            Some(before) => before.then(totals),
            None => totals,
        };
        self.before.push((i, totals));
        self.acting(i);
    }

    /// Can instance `i` be scraped?
    pub(super) fn unreachable(&mut self, i: usize, unreachable: bool) {
        self.unreachable[i] = unreachable;
        self.acting(i);
    }

    /// From the next step on, steps of instance `i` take `factor` times as long as they should.
    pub(super) fn slow(&mut self, i: usize, factor: f64) {
        let Some((_, recipe)) = self.recipes.iter().find(|(end, _)| i < *end) else {
            return;
        };
        let own = Arc::clone(&recipe.latency);
        let latency = match factor == 1.0 {
            true => own,
            false => Arc::new(Slowed { own, factor }),
        };
        self.instances[i].only().set_latency(latency);
    }

    /// Takes out the counters of those that were in the place of instance `i` before.
    pub(super) fn before(&mut self, i: usize) -> Option<InstanceTotals> {
        let at = self.before.iter().position(|(of, _)| *of == i)?;
        Some(self.before.swap_remove(at).1)
    }

    /// Hands a request, or a part of one, to instance `i` at `now`.
    pub(super) fn add(
        &mut self,
        i: usize,
        mut request: Request,
        view: RequestView,
        part: Part,
        now: i64,
    ) -> Slot {
        self.note_sent(i, &mut request);
        self.acting(i).add(request, view, part, now)
    }

    /// Hands it a request whose KV cache is on its way, if it has blocks for that.
    pub(super) fn reserve_for_kv(
        &mut self,
        i: usize,
        request: &Request,
        view: RequestView,
    ) -> Option<Slot> {
        let acting = self.acting(i).only();
        let slot = acting.reserve_for_kv(request.clone(), view)?;
        self.note_sent(i, &mut request.clone());
        Some(slot)
    }

    /// Remembers which prompts instance `i` may come to have in its prefix cache.
    fn note_sent(&mut self, i: usize, request: &mut Request) {
        let engines = self.instances[i].all();
        if engines.iter().any(|engine| engine.kv().tracks_events()) {
            // Whoever reads the events knows of every block.
            request.private_from = u32::MAX;
        }
        let instances = &self.instances;
        if let Some(holders) = &mut self.holders {
            let cached = |i: u32, key| {
                let engines = instances[i as usize].all();
                engines.iter().any(|engine| engine.kv().shows(key))
            };
            let size = self.constants[i].block_size;
            holders.sent(i as u32, request, size, cached);
        }
    }

    /// A request left instance `i`.
    pub(super) fn departed(&mut self, i: usize, request: &Request) {
        if let Some(holders) = &mut self.holders {
            holders.left(request, self.constants[i].block_size);
        }
    }

    /// What happened in the prefix caches, by time and instance.
    pub(super) fn take_kv_events(&mut self) -> Vec<KvEvent> {
        let mut events = std::mem::take(&mut self.kv_events);
        events.sort_by_key(|event| (event.time_us, event.instance));
        events
    }

    /// Leading blocks in the cache of instance `i`, which is asked whatever was sent there; of
    /// several ranks in that which has the most.
    fn look_up(&self, i: usize, prompt: &TokenSeq, freshness: Freshness) -> u32 {
        let caches = self.instances[i].all().iter().map(Instance::kv);
        let blocks = caches.map(|kv| match freshness {
            Freshness::Now => kv.cached_blocks_now(prompt),
            Freshness::LastRefresh => kv.cached_blocks_at_refresh(prompt),
        });
        blocks.max().unwrap_or(0)
    }

    /// The pool of instance `i`.
    pub(super) fn pool(&self, i: usize) -> Sym {
        Sym(self.constants[i].pool)
    }
}

impl Backends for SimulatedBackends {
    fn len(&self) -> usize {
        self.instances.len()
    }

    fn describe(&self, i: usize) -> InstanceView {
        self.constants[i]
    }

    fn observe(&mut self, i: usize, now_us: i64, work: bool, view: &mut InstanceView) {
        if self.unreachable[i] {
            return;
        }
        let instance = &self.instances[i];
        view.scraped_us = now_us;
        view.queue_depth = instance.queue_depth();
        view.batch_size = instance.batch_size();
        let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let [used, free, total] = instance.kv_blocks();
        view.kv_used_blocks = blocks(used);
        view.kv_free_blocks = blocks(free);
        view.preemptions = instance.preemptions();
        view.kv_utilization = if total == 0 {
            0.0
        } else {
            used as f64 / total as f64
        };
        view.cache_hit_rate = instance.prefix_hit_rate().unwrap_or(0.0);
        view.incoming_kv_caches = instance.incoming_kv_caches();
        (view.kept_kv_caches, view.kept_kv_blocks) = instance.kept_kv();
        if work {
            let work = instance.work();
            view.queued_prompt_tokens = work.queued_prompt_tokens;
            view.running_prefill_tokens = work.running_prefill_tokens;
            view.decodes = work.decodes;
            view.decode_context_tokens = work.decode_context_tokens;
        }
    }

    fn adapters(&self, i: usize, adapters: &mut Vec<AdapterState>) {
        if let [only] = self.instances[i].all() {
            adapters.extend(only.adapters());
            return;
        }
        let from = adapters.len();
        for state in self.instances[i].all().iter().flat_map(Instance::adapters) {
            let mut known = adapters[from..].iter_mut();
            match known.find(|known| known.adapter == state.adapter) {
                Some(known) => known.merge(&state),
                None => adapters.push(state),
            }
        }
    }

    fn refresh_cache_signal(&mut self) {
        for engine in self.instances.iter_mut().flat_map(Engines::all_mut) {
            engine.kv_mut().refresh_signal();
        }
    }

    fn take_changed(&mut self, changed: &mut Vec<u32>) {
        let (list, marks) = &mut self.changed;
        list.iter().for_each(|&i| marks[i as usize] = false);
        changed.append(list);
    }

    fn cached_blocks(&self, i: usize, prompt: &TokenSeq, freshness: Freshness) -> u32 {
        if let Some(holders) = &self.holders {
            let last = self.constants[i].block_size.saturating_sub(1);
            let first = prompt.token_key(last).and_then(|key| holders.of(key));
            if first.is_none_or(|instances| !instances.has(i as u32)) {
                return 0;
            }
        }
        self.look_up(i, prompt, freshness)
    }

    fn cached_blocks_on_all(&self, prompt: &TokenSeq, freshness: Freshness, out: &mut [u32]) {
        out.fill(0);
        let Some(holders) = &self.holders else {
            for (i, blocks) in out.iter_mut().enumerate().take(self.instances.len()) {
                *blocks = self.look_up(i, prompt, freshness);
            }
            return;
        };
        // A first block of one size is none of another: it ends elsewhere.
        for size in &self.block_sizes {
            let first = prompt.token_key(size.saturating_sub(1));
            let instances = first.and_then(|key| holders.of(key));
            for i in instances.into_iter().flat_map(|all| all.iter()) {
                if let Some(blocks) = out.get_mut(i as usize) {
                    *blocks = self.look_up(i as usize, prompt, freshness);
                }
            }
        }
    }
}
