//! The way of a request through two instances: it is routed twice, prefilled, its KV cache moves,
//! it is decoded.

use super::config::EncodeDecider;
use super::disaggregation::{Disaggregation, Due, Split};
use super::transfers::Cargo;
use super::{Cluster, LEAST_WAIT_US};
use crate::frontend::{Pending, Routed};
use crate::instance::{FinishedRequest, FirstToken, Part, RemoteKv, Slot};
use windtunnel_base::record::{Outcome, RequestRecord, RoutingStage, SplitRecord, State};
use windtunnel_base::request::{FinishReason, Sym, TokenSeq};
use windtunnel_plugin_api::EventKind;

impl Cluster<'_> {
    /// Routes a request in a cluster of which only some instances prefill or decode: the instance
    /// that decodes is chosen first, then it is decided where the prompt is computed.
    pub(super) fn route_split(&mut self, pending: Box<Pending>) {
        let stage = RoutingStage::Decode;
        let symbols = self.source.symbols();
        let routed = self
            .front
            .route(self.clock, &pending, stage, &mut self.backends, symbols);
        let decode = match routed {
            Routed::To(i) => i,
            Routed::Held(us) => return self.again(us, super::Stage::Routing, pending),
            Routed::Nowhere => return self.refuse(&pending, u32::MAX, Outcome::Unroutable),
        };
        let remotely =
            self.front
                .prefills_remotely(self.clock, &pending, decode, &mut self.backends);
        let encode_instance = self.encode(&pending);
        let Some(d) = self.disaggregation.as_mut().filter(|_| remotely) else {
            return self.send_whole(decode, pending);
        };
        let serial = pending.view.serial;
        if d.fetches {
            self.front.dispatched(decode, &pending.request);
            self.gateway_splits(serial);
        }
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        d.due.push((self.clock, Due::Prefill), serial);
        let mut pending = *pending;
        pending.view.attempts = 0;
        let split = Split {
            pending,
            decode,
            prefill: None,
            record: SplitRecord {
                decode_instance: decode as u32,
                encode_instance,
                ..SplitRecord::default()
            },
            prefilled: None,
            slot: 0,
            on_instance: false,
        };
        d.splits.insert(serial, split);
    }

    /// The instance that encodes what of a prompt is no text. As in the reference simulator, that
    /// costs nothing and is only noted.
    fn encode(&mut self, pending: &Pending) -> Option<u32> {
        let d = self.disaggregation.as_ref().filter(|d| d.encoders)?;
        let wanted = match d.encode {
            EncodeDecider::Never => false,
            EncodeDecider::Always => true,
            EncodeDecider::Multimodal => pending.request.detail.as_ref().is_some_and(|detail| {
                detail.image_tokens + detail.audio_tokens + detail.video_tokens > 0
            }),
        };
        let symbols = self.source.symbols();
        let stage = RoutingStage::Encode;
        let mut ask = || {
            self.front
                .route(self.clock, pending, stage, &mut self.backends, symbols)
        };
        match wanted.then(&mut ask)? {
            Routed::To(i) => Some(i as u32),
            Routed::Held(_) | Routed::Nowhere => None,
        }
    }

    /// Runs what is due next for a split request.
    pub(super) fn run_split(&mut self) {
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        if d.due.peek().is_none_or(|(at, _)| *at > self.clock) {
            if let Some((at, serial)) = d.kept.front().copied()
                && at <= self.clock
            {
                return self.forget_kv(serial);
            }
            while let Some((serial, at)) = d.transfers.take_moved(self.clock) {
                d.due.push((at, Due::Arrive), serial);
            }
            return;
        }
        let Some(((_, due), serial)) = d.due.pop() else {
            return;
        };
        match due {
            Due::Prefill => self.route_prefill(serial),
            Due::Compute => self.begin_prefill(serial),
            Due::Decode => self.begin_decode(serial),
            Due::Send if d.together => self.send_together(serial),
            Due::Send => self.send_kv(serial),
            Due::Arrive => self.kv_arrives(serial),
        }
    }

    fn route_prefill(&mut self, serial: u64) {
        let stage = RoutingStage::Prefill;
        let (now, routing_us) = (self.clock, self.config.front.routing_latency_us);
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let fetches = d.fetches;
        let Some(split) = d.split(serial) else { return };
        let symbols = self.source.symbols();
        let routed = self
            .front
            .route(now, &split.pending, stage, &mut self.backends, symbols);
        let prefill = match routed {
            Routed::To(i) => i,
            Routed::Held(us) => {
                split.pending.view.attempts += 1;
                let at = now.saturating_add(us.max(LEAST_WAIT_US));
                let at = at.saturating_add(routing_us);
                d.due.push((at, Due::Prefill), serial);
                return;
            }
            Routed::Nowhere => return self.lose(serial, u32::MAX, Outcome::Unroutable),
        };
        let decode = split.decode;
        if fetches && prefill == decode {
            // Nothing has to move.
            if let Some(split) = d.splits.remove(&serial) {
                self.front.departed(decode, &split.pending.request);
                self.send_whole(decode, Box::new(split.pending));
            }
            return;
        }
        let unfinished = self.front.outstanding(prefill).0;
        if let Some(outcome) = self.servers.refuses(prefill, unfinished) {
            return self.lose(serial, prefill as u32, outcome);
        }
        split.pending.view.attempts = 0;
        split.prefill = Some(prefill);
        split.record.prefill_instance = Some(prefill as u32);
        split.record.prefill_enqueue_us = Some(now);
        if prefill == decode {
            split.pending.request.private_from = u32::MAX;
        }
        let view = split.pending.view;
        self.front.dispatched(prefill, &split.pending.request);
        if let Some(gateway) = &mut self.gateway {
            gateway.arrived(serial);
        }
        self.servers.takes(prefill, serial, view.prompt_tokens);
        let hop_us = self.config.transfer.hop_us;
        if hop_us > 0 {
            d.due
                .push((now.saturating_add(hop_us), Due::Compute), serial);
        }
        self.tell(EventKind::Dispatch, &view, prefill as u32, [0, 0, 0]);
        if hop_us == 0 {
            self.begin_prefill(serial);
        }
    }

    /// A split request reaches the instance that prefills it.
    fn begin_prefill(&mut self, serial: u64) {
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let fetches = d.fetches;
        let Some(split) = d.split(serial) else { return };
        let Some(prefill) = split.prefill else { return };
        split.on_instance = true;
        let view = split.pending.view;
        let mut request = split.pending.request.clone();
        request.output = TokenSeq::default();
        if !fetches {
            (request.session, request.adapter) = (Sym::NONE, Sym::NONE);
        }
        let (part, now) = (Part::Prefill, self.clock);
        self.backends.add(prefill, request, view, part, now);
        self.reschedule(prefill);
    }

    /// A split request ends before an instance prefills it.
    fn lose(&mut self, serial: u64, instance: u32, outcome: Outcome) {
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let fetches = d.fetches;
        if let Some(split) = d.splits.remove(&serial) {
            if fetches {
                self.front.departed(split.decode, &split.pending.request);
            }
            self.refuse(&split.pending, instance, outcome);
        }
    }

    /// Instance `i` has computed the prompt of a split request, or will not.
    pub(super) fn prefill_ended(&mut self, i: usize, departure: FinishedRequest) {
        let lockstep = self.config.lockstep;
        let (serial, now) = (departure.view.serial, self.clock);
        self.front.departed(i, &departure.request);
        self.backends.departed(i, &departure.request);
        self.servers.prefilled(i, serial);
        let pool = self.backends.pool(i);
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let record = RequestRecord {
            pool,
            ..departure.record
        };
        if d.as_reference {
            d.sub_requests.push(record.clone());
        }
        if departure.reason != FinishReason::Completed {
            let fetches = d.fetches;
            let Some(split) = d.splits.remove(&serial) else {
                return;
            };
            if fetches {
                self.front.departed(split.decode, &split.pending.request);
            }
            // The reference simulator forgets the request.
            let instance = record.instance.filter(|_| fetches);
            let whole = RequestRecord::unserved(
                serial,
                &split.pending.request,
                record.state,
                record.outcome,
            );
            let record = RequestRecord {
                instance,
                pool,
                cached_tokens: record.cached_tokens,
                scheduling_delay_us: record.scheduling_delay_us,
                preemptions: record.preemptions,
                split: Some(Box::new(split.record)),
                ..whole
            };
            self.end(
                i,
                FinishedRequest {
                    record,
                    request: split.pending.request,
                    ..departure
                },
            );
            return;
        }
        let Some(split) = d.splits.get_mut(&serial) else {
            return;
        };
        split.record.prefill_end_us = Some(now);
        if d.prefiller_yields_token && !lockstep && split.pending.request.output_tokens() <= 1 {
            return self.answered(
                i,
                FinishedRequest {
                    record,
                    ..departure
                },
            );
        }
        split.prefilled = Some(record);
        let hop_us = self.config.transfer.hop_us;
        let next = match d.fetches && !d.together {
            true => Due::Decode,
            false => Due::Send,
        };
        split.on_instance = false;
        if hop_us > 0 || next == Due::Send {
            d.due.push((now.saturating_add(hop_us), next), serial);
        } else {
            self.begin_decode(serial);
        }
    }

    /// A split request whose prompt is computed reaches the instance that decodes it.
    fn begin_decode(&mut self, serial: u64) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let Some(split) = d.split(serial) else { return };
        split.on_instance = true;
        let (decode, view) = (split.decode, split.pending.view);
        let request = split.pending.request.clone();
        self.tell(EventKind::Dispatch, &view, decode as u32, [0, 0, 0]);
        let part = Part::Decode(RemoteKv::There);
        let slot = self.backends.add(decode, request, view, part, now);
        if let Some(d) = self.disaggregation.as_mut()
            && let Some(split) = d.splits.get_mut(&serial)
        {
            split.slot = slot;
            let until = now.saturating_add(self.config.transfer.kept_us);
            d.kept.push_back((until, serial));
        }
        self.reschedule(decode);
    }

    /// The token that came with the prompt was the only one: nothing is left to decode.
    fn answered(&mut self, i: usize, departure: FinishedRequest) {
        let serial = departure.view.serial;
        let Some(split) = self
            .disaggregation
            .as_mut()
            .and_then(|d| d.splits.remove(&serial))
        else {
            return;
        };
        self.front.departed(split.decode, &split.pending.request);
        self.backends
            .acting(i)
            .only()
            .release_kept(serial, self.clock);
        self.reschedule(i);
        let request = split.pending.request;
        let output_tokens = request.output_tokens();
        let record = RequestRecord {
            output_tokens,
            generated_tokens: output_tokens,
            session: request.session,
            adapter: request.adapter,
            split: Some(Box::new(split.record)),
            ..departure.record
        };
        self.end(
            i,
            FinishedRequest {
                record,
                request,
                output_tokens,
                ..departure
            },
        );
    }

    /// A KV cache was kept for too long: the instance that decodes computes the prompt itself.
    fn forget_kv(&mut self, serial: u64) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        d.kept.pop_front();
        let Some(split) = d.splits.get(&serial) else {
            return;
        };
        let (decode, slot, prefill) = (split.decode, split.slot, split.prefill);
        if let Some(from) = prefill {
            self.backends.acting(from).only().release_kept(serial, now);
            self.reschedule(from);
        }
        self.backends
            .acting(decode)
            .only()
            .kv_lost(slot, serial, now);
        self.reschedule(decode);
    }

    /// The KV cache of a prompt is sent to the instance that decodes, if that has blocks for it.
    fn send_kv(&mut self, serial: u64) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let Some(split) = d.splits.get_mut(&serial) else {
            return;
        };
        split.record.transfer_start_us = Some(now);
        let (decode, view) = (split.decode, split.pending.view);
        let request = &split.pending.request;
        let block_size = self.config.pools[0].engine.block_size;
        let blocks = request.prompt_tokens().div_ceil(block_size);
        let sender = split.prefill.unwrap_or(decode);
        let bytes = f64::from(blocks) * f64::from(block_size) * d.bytes_per_token[sender];
        let cargo = Cargo { bytes, blocks };
        if let Some(slot) = self.backends.reserve_for_kv(decode, request, view) {
            split.slot = slot;
            split.on_instance = true;
            let us = match self.config.lockstep {
                true => d.transfers.start_at_once(),
                false => d.transfers.start_fixed(1, cargo),
            };
            d.due.push((now.saturating_add(us), Due::Arrive), serial);
            return;
        }
        d.transfers.totals.dropped += 1;
        let Some(split) = d.splits.remove(&serial) else {
            return;
        };
        let prefilled = split.prefilled.as_ref();
        let record = RequestRecord {
            instance: Some(decode as u32),
            pool: self.backends.pool(decode),
            scheduling_delay_us: prefilled.and_then(|r| r.scheduling_delay_us),
            ttft_us: prefilled.and_then(|r| r.ttft_us),
            e2e_us: Some(now - split.pending.request.arrival_us),
            cached_tokens: prefilled.and_then(|r| r.cached_tokens),
            split: Some(Box::new(split.record)),
            ..RequestRecord::unserved(
                serial,
                &split.pending.request,
                State::Queued,
                Outcome::Dropped,
            )
        };
        self.records.push(record);
    }

    /// The KV caches of all prompts that were computed in the same step as this one are sent off.
    fn send_together(&mut self, first: u64) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let sender = |d: &Disaggregation, serial: u64| d.splits.get(&serial)?.prefill;
        let from = sender(d, first);
        let (mut serials, mut others) = (vec![first], Vec::new());
        while d.due.peek() == Some(&(now, Due::Send))
            && let Some((_, serial)) = d.due.pop()
        {
            match sender(d, serial) == from {
                true => serials.push(serial),
                false => others.push(serial),
            }
        }
        for serial in others {
            d.due.push((now, Due::Send), serial);
        }
        let mut tokens = 0;
        for serial in &serials {
            let Some(split) = d.splits.get_mut(serial) else {
                continue;
            };
            let request = &split.pending.request;
            tokens += u64::from(request.prompt_tokens()) + u64::from(request.max_output_tokens);
            let (decode, view) = (split.decode, split.pending.view);
            let Some(slot) = self.backends.reserve_for_kv(decode, request, view) else {
                debug_assert!(false, "an instance takes them whatever it has");
                continue;
            };
            split.slot = slot;
            split.on_instance = true;
            split.record.transfer_start_us = Some(now);
            d.senders.extend(from.map(|from| (*serial, from)));
        }
        let block_size = self.config.pools[0].engine.block_size;
        let cargo = Cargo {
            bytes: tokens as f64 * from.map_or(0.0, |from| d.bytes_per_token[from]),
            blocks: tokens.div_ceil(block_size.into()) as u32,
        };
        let us = d.transfers.start_fixed(serials.len() as u64, cargo);
        for serial in serials {
            d.due.push((now.saturating_add(us), Due::Arrive), serial);
        }
    }

    /// Instance `to` has blocks for the KV cache of a prompt, of which it lacks `tokens` tokens.
    pub(super) fn fetch_kv(&mut self, to: usize, serial: u64, slot: Slot, tokens: u32) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let Some(split) = d.splits.get_mut(&serial) else {
            return;
        };
        debug_assert_eq!(split.slot, slot, "the request keeps its place");
        split.record.transfer_start_us = Some(now);
        let from = split.prefill.unwrap_or(to);
        d.senders.insert(serial, from);
        let bytes = f64::from(tokens) * d.bytes_per_token[from];
        let blocks = tokens.div_ceil(self.config.pools[0].engine.block_size);
        let cargo = Cargo { bytes, blocks };
        d.transfers.start(now, serial, cargo, from, to);
    }

    fn kv_arrives(&mut self, serial: u64) {
        let now = self.clock;
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        d.transfers.ended();
        let sender = d.senders.remove(&serial);
        let fetches = d.fetches;
        let yields = d.prefiller_yields_token;
        let split = d.split(serial).map(|split| {
            split.record.transfer_end_us = Some(now);
            let prefilled = split.prefilled.as_ref().filter(|_| yields);
            let first = split
                .record
                .prefill_end_us
                .zip(prefilled.and_then(|r| r.ttft_us));
            let first = first.map(|(at_us, ttft_us)| FirstToken { at_us, ttft_us });
            (split.decode, split.slot, first)
        });
        if let Some(from) = sender {
            self.backends.acting(from).only().release_kept(serial, now);
            self.reschedule(from);
        }
        let Some((decode, slot, first)) = split else {
            return;
        };
        if !fetches && let Some(d) = &self.disaggregation {
            let request = &d.splits[&serial].pending.request;
            self.front.dispatched(decode, request);
        }
        let acting = self.backends.acting(decode).only();
        acting.kv_arrived(slot, serial, now, first, &mut self.reports);
        self.after_instance(decode);
    }

    /// Instance `i` has decoded a split request, or will not.
    pub(super) fn decode_ended(&mut self, i: usize, departure: FinishedRequest) {
        let (serial, now) = (departure.view.serial, self.clock);
        self.front.departed(i, &departure.request);
        self.backends.departed(i, &departure.request);
        let Some(d) = self.disaggregation.as_mut() else {
            return;
        };
        let (fetches, as_reference) = (d.fetches, d.as_reference);
        let prefiller_yields_token = d.prefiller_yields_token;
        let Some(split) = d.splits.remove(&serial) else {
            return;
        };
        if as_reference {
            let pool = self.backends.pool(i);
            d.sub_requests.push(RequestRecord {
                pool,
                ..departure.record.clone()
            });
        }
        // Where it left before its KV cache was asked for, nobody will read that any more.
        if fetches
            && split.record.transfer_start_us.is_none()
            && let Some(from) = split.prefill
        {
            self.backends.acting(from).only().release_kept(serial, now);
            self.reschedule(from);
        }
        let mut departure = departure;
        let arrival = departure.request.arrival_us;
        let (ended, first_gap) = (departure.at_us, departure.first_gap_us);
        let record = &mut departure.record;
        let mut progress = split.record;
        progress.decode_start_us = record.scheduling_delay_us.map(|us| arrival + us);
        if as_reference {
            let delay = record.scheduling_delay_us.unwrap_or(0);
            let decoded = match record.ttft_us {
                None => delay,
                // It was preempted and computed its prompt itself: all counts from its arrival.
                Some(_) => 0,
            };
            record.ttft_us = first_gap.map(|gap| delay + gap).or(record.ttft_us);
            record.e2e_us = match record.e2e_us {
                Some(own) => Some(own + decoded),
                None => Some(ended - arrival),
            };
        }
        if let Some(prefilled) = split.prefilled {
            if as_reference || prefiller_yields_token {
                record.ttft_us = record.ttft_us.or(prefilled.ttft_us);
            }
            record.scheduling_delay_us = prefilled.scheduling_delay_us;
            record.cached_tokens = prefilled.cached_tokens;
            record.preemptions += prefilled.preemptions;
        }
        record.split = Some(Box::new(progress));
        self.end(i, departure);
    }
}
