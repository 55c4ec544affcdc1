//! The state of an instance, and what can be read from it.

use super::adapter_slots::AdapterSlots;
use super::adapters::Adapters;
use super::api_server::ApiServer;
use super::batching::BlockedHead;
use super::chosen_step::{ChosenStep, StepPart};
use super::config::{EngineConfig, NEVER};
use super::cpu_blocks::CpuBlocks;
use super::decode_group::{DecodeGroup, GroupChange, MAX_BLOCK_SIZE};
use super::device_memory::MemoryLedger;
use super::engine_request::EngineRequest;
use super::itl_log::ItlLog;
use super::pipeline::Pipeline;
use super::rank_state::{LoadReports, OpenSteps};
use super::sampler::Sampler;
use super::slab::Slab;
use super::slot::{BatchEntry, Slot};
use super::wait_queue::WaitQueue;
use crate::adapters::{AdapterCosts, AdapterState};
use crate::kv::{BlockTable, KvCache, KvTiers};
use crate::latency::{Estimator, LatencyModel};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use windtunnel_base::record::InstanceTotals;
use windtunnel_base::request::Sym;
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Interests, Priority, QueueOrder, Scheduler, Victim,
};

/// When the numbers of the waiting requests were computed last, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastRefresh {
    pub(super) priorities_us: i64,
    pub(super) keys_us: i64,
}

/// The policies inside an instance.
pub struct InstanceHooks {
    /// Priority of a waiting request.
    pub priority: Box<dyn Priority>,
    /// Order of the wait queue.
    pub scheduler: Box<dyn Scheduler>,
    /// Chooses the request to preempt.
    pub victim: Box<dyn Victim>,
    /// Sets the limits of each step.
    pub batching: Box<dyn Batching>,
}

/// Nobody is admitted.
pub(super) const CLOSED: BatchLimits = BatchLimits {
    max_new_tokens: u32::MAX,
    max_prefill_tokens: u32::MAX,
    max_admissions: 0,
    decodes: Decodes::TakePart,
    hold_until_us: NEVER,
};

/// One serving engine.
pub struct Instance {
    pub(super) index: u32,
    pub(super) config: EngineConfig,
    pub(super) latency: Arc<dyn LatencyModel>,
    pub(super) estimator: Estimator,
    /// Seed of the random numbers that policies draw.
    pub(super) seed: u64,
    pub(super) hooks: InstanceHooks,
    pub(super) scheduler_interests: Interests,
    pub(super) batching_interests: Interests,
    /// The limits of the step that was asked for last.
    pub(super) step_limits: BatchLimits,
    pub(super) queue_order: QueueOrder,
    pub(super) last_refresh: LastRefresh,
    /// A policy failed: nothing happens here any more.
    pub(super) failed: bool,
    /// Prompt tokens of the waiting requests.
    pub(super) queued_prompt_tokens: u64,
    pub(super) kv: KvCache,
    /// Where memory is counted by the byte.
    pub(super) memory: Option<MemoryLedger>,
    /// Steps are kept.
    pub(super) keeps_steps: bool,
    pub(super) requests: Slab<EngineRequest>,
    pub(super) waiting: WaitQueue,
    /// The running batch in order of admission.
    pub(super) running: Vec<BatchEntry>,
    /// Admissions so far.
    pub(super) admissions: u64,
    /// Running decodes are members of `group`, and `prefilling` lists the others.
    pub(super) grouped: bool,
    pub(super) group: DecodeGroup,
    /// While grouped: running requests in prefill, in batch order.
    pub(super) prefilling: Vec<Slot>,
    /// The cluster says when a step begins.
    pub(super) in_lockstep: bool,
    /// Of its load, where it is one of several ranks.
    pub(super) load_reports: Option<LoadReports>,
    /// Steps whose time others say, where ranks take them together.
    pub(super) open_steps: Option<OpenSteps>,
    /// Steps chosen so far.
    pub(super) chosen_steps: u64,
    /// Chosen steps whose output is not processed yet, the running one first.
    pub(super) in_flight: VecDeque<ChosenStep>,
    /// The stages through which they go, where there are several.
    pub(super) pipeline: Option<Pipeline>,
    pub(super) adapters: Adapters,
    /// Blocks on the CPU, where there are any.
    pub(super) cpu_blocks: Option<CpuBlocks>,
    /// Where it takes time.
    pub(super) api_server: Option<ApiServer>,
    /// Requests whose KV cache is to be fetched.
    pub(super) to_fetch: usize,
    /// Requests that hold blocks for a KV cache that is on its way.
    pub(super) moving: usize,
    /// Requests whose KV cache was fetched and is here, the first to arrive first. They hold
    /// blocks, so they are admitted before those of the wait queue.
    pub(super) arrived: VecDeque<Slot>,
    /// Blocks of requests that have left, by serial number, which another instance still has to
    /// read; and how many of them are full blocks of known tokens.
    pub(super) kept: FxHashMap<u64, (BlockTable, u32)>,
    pub(super) blocked_head: Option<BlockedHead>,
    /// Received, not yet in the wait queue: (time, order, request).
    pub(super) incoming: BinaryHeap<Reverse<(i64, u64, Slot)>>,
    /// Client deadlines: (time, order, request, its stamp). Entries of finished requests are
    /// dropped lazily.
    pub(super) timeouts: BinaryHeap<Reverse<(i64, u64, Slot, u64)>>,
    /// Events scheduled so far; orders those of equal time.
    pub(super) scheduled_events: u64,
    /// The next step is chosen then.
    pub(super) step_at: Option<i64>,
    /// The batching policy lets the waiting requests wait until then, while nothing runs;
    /// [`NEVER`] if it does not.
    pub(super) wakes_us: i64,
    /// The last choice was empty, while a step ran; and when the output of that one was processed.
    pub(super) chose_nothing: bool,
    pub(super) empty_output_us: i64,
    /// The engine core is busy with what it did last until then.
    pub(super) core_free_us: i64,
    /// End of the last step that was chosen, and the fraction of a microsecond by which it would be
    /// later, where the rules keep that.
    pub(super) busy_until: i64,
    pub(super) busy_fraction: f64,
    /// When the output of the last step that is processed was out.
    pub(super) last_output_us: i64,
    /// Time of the last event.
    pub(super) clock: i64,
    /// Latest end of a step that completed a request; the clock reaches it.
    pub(super) last_completion: i64,
    pub(super) itl_log: ItlLog,
    pub(super) totals: InstanceTotals,
    /// Are steps kept with the requests in them?
    pub(super) tracks_steps: bool,
    /// What it did over time, where that is kept.
    pub(super) sampler: Option<Box<Sampler>>,
    /// Is every token reported?
    pub(super) reports_tokens: bool,
    /// Scratch lists, kept for their memory.
    pub(super) keys: Vec<f64>,
    pub(super) changes: Vec<(BatchEntry, GroupChange)>,
    pub(super) spare_parts: Vec<StepPart>,
}

impl Instance {
    /// An idle instance at time 0.
    #[must_use]
    pub fn new(
        index: u32,
        config: EngineConfig,
        latency: Arc<dyn LatencyModel>,
        hooks: InstanceHooks,
        seed: u64,
    ) -> Self {
        let queue_order = hooks.scheduler.order();
        let mut config = config;
        let phases = config.block_size.min(MAX_BLOCK_SIZE);
        let group = DecodeGroup::new(phases, latency.reads_lengths());
        config.plain |= config.block_size > MAX_BLOCK_SIZE;
        // The fast path knows no drafts.
        config.plain |= config.scheduling.speculation.is_on();
        config.plain |= config.rules.needs_plain_steps();
        // Of a pipeline's steps several run at once.
        let pipeline = Pipeline::new(latency.stages());
        config.plain |= pipeline.is_some();
        // What is computed is looked at after every step.
        config.plain |= config.scheduling.cpu_offload.is_some();
        // The fast path takes many steps of which nobody hears.
        let batching_interests = hooks.batching.interests();
        config.plain |= batching_interests.has(Interests::STEPS);
        let mut instance = Self {
            index,
            kv: KvCache::new(
                config.total_kv_blocks,
                config.block_size,
                &config.rules,
                config.scheduling.enable_prefix_caching,
            ),
            memory: config.scheduling.memory.map(MemoryLedger::new),
            keeps_steps: latency.tick_us().is_some() || config.scheduling.memory.is_some(),
            estimator: Estimator::new(Arc::clone(&latency), config.step_limits()),
            seed,
            scheduler_interests: hooks.scheduler.interests(),
            config,
            latency,
            hooks,
            batching_interests,
            step_limits: CLOSED,
            queue_order,
            last_refresh: LastRefresh::default(),
            failed: false,
            queued_prompt_tokens: 0,
            requests: Slab::default(),
            waiting: WaitQueue::new(queue_order),
            running: Vec::new(),
            admissions: 0,
            grouped: false,
            group,
            prefilling: Vec::new(),
            in_lockstep: false,
            load_reports: None,
            open_steps: None,
            chosen_steps: 0,
            in_flight: VecDeque::new(),
            pipeline,
            adapters: Adapters::new(config.scheduling.max_loras),
            cpu_blocks: config.scheduling.cpu_offload.map(CpuBlocks::new),
            api_server: ApiServer::new(config.scheduling.api_server)
                .filter(|_| config.rules.has_api_server()),
            to_fetch: 0,
            moving: 0,
            arrived: VecDeque::new(),
            kept: FxHashMap::default(),
            blocked_head: None,
            incoming: BinaryHeap::new(),
            timeouts: BinaryHeap::new(),
            scheduled_events: 0,
            step_at: None,
            wakes_us: NEVER,
            chose_nothing: false,
            empty_output_us: NEVER,
            core_free_us: 0,
            busy_until: 0,
            busy_fraction: 0.0,
            last_output_us: 0,
            clock: 0,
            last_completion: 0,
            itl_log: ItlLog::new(config.scheduling.gap_resolution),
            totals: InstanceTotals::default(),
            tracks_steps: false,
            sampler: None,
            reports_tokens: false,
            keys: Vec::new(),
            changes: Vec::new(),
            spare_parts: Vec::new(),
        };
        instance.note_memory(0);
        instance
    }

    /// The same instance, whose policies are told other durations than its step-time model has.
    #[must_use]
    pub fn with_estimator(mut self, estimator: Estimator) -> Self {
        self.estimator = estimator;
        self
    }

    /// The same instance, idle, with tiers below its KV blocks, as the reference has them.
    #[must_use]
    pub fn with_kv_tiers(mut self, tiers: &KvTiers) -> Self {
        let config = &self.config;
        let (total, size) = (config.total_kv_blocks, config.block_size);
        self.kv = KvCache::with_tiers(total, size, &config.rules, tiers);
        // What requests hold is looked at after every step.
        self.config.plain = true;
        self
    }

    /// The same instance, idle, whose adapters are loaded for the requests that wait for them and
    /// cost this; `known` has their ranks and loading times.
    #[must_use]
    pub fn with_adapters(
        mut self,
        costs: Arc<AdapterCosts>,
        known: Arc<FxHashMap<Sym, (u32, i64)>>,
    ) -> Self {
        self.adapters.slots = Some(AdapterSlots::new(costs, known));
        self
    }

    /// From now on every token is reported to whoever drives it; it must be idle.
    pub fn report_tokens(&mut self) {
        self.reports_tokens = true;
        // The fast path takes many steps of which nobody hears.
        self.config.plain = true;
    }

    /// Counters so far. Those that only the end of a run knows are 0.
    #[must_use]
    pub fn counters(&self) -> &InstanceTotals {
        &self.totals
    }

    /// From the next step on, its steps take as long as this says.
    pub fn set_latency(&mut self, latency: Arc<dyn LatencyModel>) {
        self.latency = latency;
    }

    /// The policies inside, when it is not there any more.
    #[must_use]
    pub fn into_hooks(self) -> InstanceHooks {
        self.hooks
    }

    /// Its limits and rules.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Prompt tokens looked up in the prefix cache so far, and those of them that were there.
    #[must_use]
    pub fn prefix_lookups(&self) -> (u64, u64) {
        (self.totals.prefix_queries, self.totals.prefix_hits)
    }

    /// Requests waiting, also for their KV cache that is on its way.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        match self.config.rules.decoder_fetches_kv {
            true => self.waiting_requests() + self.moving,
            false => self.waiting.len(),
        }
    }

    /// Requests that wait to be admitted.
    pub(super) fn waiting_requests(&self) -> usize {
        self.waiting.len() + self.arrived.len()
    }

    /// Requests running.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.running.len()
    }

    /// Preemptions so far.
    #[must_use]
    pub fn preemptions(&self) -> u64 {
        self.totals.preemptions
    }

    /// Share of the prompt tokens looked up so far that were in the prefix cache.
    #[must_use]
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        self.totals.prefix_hit_rate()
    }

    /// The LoRA adapters on the GPU and of the requests here, each once, in no order.
    pub fn adapters(&self) -> impl Iterator<Item = AdapterState> {
        self.adapters.states()
    }

    /// The KV cache, to read.
    #[must_use]
    pub fn kv(&self) -> &KvCache {
        &self.kv
    }

    /// The KV cache, to refresh its delayed signal.
    pub fn kv_mut(&mut self) -> &mut KvCache {
        &mut self.kv
    }

    /// Requests here, on their way to the queue included, and their prompt tokens.
    #[must_use]
    pub fn live(&self) -> (u64, u64) {
        self.requests.iter().fold((0, 0), |(n, tokens), request| {
            (n + 1, tokens + u64::from(request.prompt_tokens()))
        })
    }

    /// When something happens here next, [`NEVER`] if nothing is due.
    pub fn next_event_us(&mut self) -> i64 {
        if self.failed {
            return NEVER;
        }
        while let Some(Reverse((_, _, slot, stamp))) = self.timeouts.peek()
            && self
                .requests
                .get(*slot)
                .is_none_or(|request| request.stamp != *stamp)
        {
            self.timeouts.pop();
        }
        let incoming = self.incoming.peek().map_or(NEVER, |Reverse(e)| e.0);
        let timeout = self.timeouts.peek().map_or(NEVER, |Reverse(e)| e.0);
        let output = self.output_at().unwrap_or(NEVER);
        let step = match self.in_lockstep {
            // The cluster looks between two events; the end of a window is one.
            true => self.wakes_us,
            false => self.step_at.unwrap_or(NEVER),
        };
        let taken_in = self.taken_in_at();
        let adapter = self.adapter_loaded_at();
        let others = taken_in.min(adapter).min(self.loaded_at());
        incoming.min(timeout).min(step).min(output).min(others)
    }

    /// Is there nothing to do? KV caches may be on their way here.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let none = self.running.is_empty() && self.in_flight.is_empty();
        let coming = !self.incoming.is_empty() || self.taken_in_at() != NEVER;
        none && self.waiting_requests() == 0 && !coming && self.loaded_at() == NEVER
    }

    /// Does a step run?
    #[must_use]
    pub fn runs_a_step(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Steps whose output is processed.
    #[must_use]
    pub fn processed_steps(&self) -> u64 {
        self.itl_log.next_step()
    }

    /// When the server has taken in a request next.
    pub(super) fn taken_in_at(&self) -> i64 {
        self.api_server.as_ref().map_or(NEVER, ApiServer::next_us)
    }

    /// When the adapter that is being loaded is here.
    pub(super) fn adapter_loaded_at(&self) -> i64 {
        let slots = self.adapters.slots.as_ref();
        slots.and_then(AdapterSlots::loaded_at).unwrap_or(NEVER)
    }

    /// When blocks from the CPU are here next.
    pub(super) fn loaded_at(&self) -> i64 {
        let below = self.cpu_blocks.as_ref();
        below.and_then(CpuBlocks::next_us).unwrap_or(NEVER)
    }

    /// When the output of the running step is processed.
    pub(super) fn output_at(&self) -> Option<i64> {
        let step = self.in_flight.front()?;
        let update_us = match step.requests {
            // There is nothing to process of a step without requests.
            0 => 0,
            requests => self.config.scheduling.core.update(requests),
        };
        Some(step.end_us.max(self.core_free_us).saturating_add(update_us))
    }

    /// The output of a step counts when it ends; else from its start on.
    pub(super) fn awaits_output(&self) -> bool {
        self.config.rules.visible_at_step_end
    }
}
