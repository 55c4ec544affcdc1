//! Requests that one instance prefills and another decodes, and what is due next for them.

use super::config::{ClusterConfig, EncodeDecider};
use super::transfers::Transfers;
use crate::frontend::Pending;
use crate::instance::{NEVER, Slot};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::record::{Outcome, RequestRecord, Role, SplitRecord, State, TransferTotals};

/// What happens to split requests apart from what their instances do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// An instance is chosen to prefill.
    Prefill,
    /// It reaches the instance that prefills.
    Compute,
    /// It reaches the instance that decodes, which may fetch its KV cache.
    Decode,
    /// A KV cache is sent off.
    Send,
    /// A KV cache has arrived.
    Arrive,
}

/// A request on its way through two instances.
pub(super) struct Split {
    pub(super) pending: Pending,
    pub(super) decode: usize,
    pub(super) prefill: Option<usize>,
    pub(super) record: SplitRecord,
    /// What the instance that prefilled recorded.
    pub(super) prefilled: Option<RequestRecord>,
    /// Its place on the instance that decodes, once it is there.
    pub(super) slot: Slot,
    /// An instance has it, and will leave a record of it.
    pub(super) on_instance: bool,
}

/// Requests that are split.
pub(super) struct Disaggregation {
    /// The decoding instance fetches KV caches; else they are pushed.
    pub(super) fetches: bool,
    /// KV caches of the prompts of a step are sent together when it ends.
    pub(super) together: bool,
    /// The first output token comes with the prompt, from the instance that computes that.
    pub(super) prefiller_yields_token: bool,
    /// As in the reference simulator, what instances did of a request is told apart, too, and its
    /// first token is the first one of the instance that decodes.
    pub(super) as_reference: bool,
    pub(super) encode: EncodeDecider,
    pub(super) encoders: bool,
    pub(super) splits: FxHashMap<u64, Split>,
    pub(super) due: EventQueue<(i64, Due), u64>,
    /// Requests whose KV cache is kept, and until when at most: the first one first.
    pub(super) kept: VecDeque<(i64, u64)>,
    pub(super) transfers: Transfers,
    /// Instances that send, by the number of the request whose KV cache moves.
    pub(super) senders: FxHashMap<u64, usize>,
    /// Bytes of the KV cache of a token, by the instance that sends it.
    pub(super) bytes_per_token: Vec<f64>,
    /// Parts of requests as the instances saw them, where somebody wants to know.
    pub(super) sub_requests: Vec<RequestRecord>,
}

impl Disaggregation {
    /// Has instance `i` a part in any request that is split?
    pub(super) fn concerns(&self, i: usize) -> bool {
        let mut splits = self.splits.values();
        splits.any(|split| split.decode == i || split.prefill == Some(i))
    }

    /// Of a cluster in which only some instances prefill or decode; `None` for others.
    pub(super) fn of(config: &ClusterConfig) -> Option<Self> {
        config.splits().then(|| {
            let rules = config.pools[0].engine.rules;
            let pools = config.pools.iter();
            let bytes = pools.flat_map(|pool| {
                std::iter::repeat_n(pool.kv_bytes_per_token, pool.instances as usize)
            });
            Self {
                fetches: rules.decoder_fetches_kv,
                together: rules.prompts_move_together,
                prefiller_yields_token: rules.prefiller_yields_token,
                as_reference: !rules.decoder_fetches_kv && !rules.prefiller_yields_token,
                encode: config.transfer.encode,
                encoders: config.pools.iter().any(|pool| pool.role == Role::Encode),
                splits: FxHashMap::default(),
                due: EventQueue::default(),
                kept: VecDeque::new(),
                transfers: Transfers::new(config.transfer, config.instances() as usize),
                senders: FxHashMap::default(),
                bytes_per_token: bytes.collect(),
                sub_requests: Vec::new(),
            }
        })
    }

    /// When something happens next, [`NEVER`] if nothing is due.
    pub(super) fn next_us(&mut self) -> i64 {
        while let Some((_, serial)) = self.kept.front()
            && !self.splits.get(serial).is_some_and(Split::is_kept)
        {
            self.kept.pop_front();
        }
        let due = self.due.peek().map_or(NEVER, |(at_us, _)| *at_us);
        let kept = self.kept.front().map_or(NEVER, |(at_us, _)| *at_us);
        due.min(kept).min(self.transfers.next_end_us())
    }

    /// Split requests that no instance has.
    pub(super) fn between(&self) -> u64 {
        let splits = self.splits.values();
        splits.filter(|split| !split.on_instance).count() as u64
    }

    /// Completes the record of a request that is on an instance when the run ends.
    pub(super) fn complete(&self, record: &mut RequestRecord) {
        let Some(split) = self.splits.get(&record.serial) else {
            return;
        };
        record.output_tokens = split.pending.request.output_tokens();
        record.session = split.pending.request.session;
        record.adapter = split.pending.request.adapter;
        let mut progress = split.record.clone();
        if let Some(prefilled) = &split.prefilled {
            if self.prefiller_yields_token {
                record.ttft_us = record.ttft_us.or(prefilled.ttft_us);
            }
            progress.decode_start_us = record.scheduling_delay_us.map(|us| record.arrival_us + us);
            record.scheduling_delay_us = prefilled.scheduling_delay_us;
            record.cached_tokens = prefilled.cached_tokens;
            record.preemptions += prefilled.preemptions;
        }
        record.split = Some(Box::new(progress));
    }

    /// An instance served a request whole.
    pub(super) fn saw(&mut self, record: &RequestRecord) {
        if self.as_reference && record.split.is_none() {
            self.sub_requests.push(record.clone());
        }
    }

    /// A request on its way.
    pub(super) fn split(&mut self, serial: u64) -> Option<&mut Split> {
        self.splits.get_mut(&serial)
    }

    /// What it leaves behind: records of the requests that no instance has, in their order.
    pub(super) fn finish(
        self,
        records: &mut Vec<RequestRecord>,
    ) -> (TransferTotals, Vec<RequestRecord>) {
        let left = self.splits.into_values().filter(|split| !split.on_instance);
        let mut left: Vec<RequestRecord> = left.map(|split| split.unfinished()).collect();
        left.sort_unstable_by_key(|record| record.serial);
        records.append(&mut left);
        (self.transfers.totals, self.sub_requests)
    }
}

impl Split {
    /// Its KV cache waits where it was computed.
    pub(super) fn is_kept(&self) -> bool {
        self.record.prefill_end_us.is_some() && self.record.transfer_start_us.is_none()
    }

    fn unfinished(self) -> RequestRecord {
        let Pending { request, view } = self.pending;
        RequestRecord {
            split: Some(Box::new(self.record)),
            ..RequestRecord::unserved(view.serial, &request, State::Queued, Outcome::InTransit)
        }
    }
}
