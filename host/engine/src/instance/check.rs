//! The invariants of an instance, for tests after random runs.

use super::api_server::ApiServer;
use super::config::NEVER;
use super::part::{Part, RemoteKv};
use super::state::Instance;

impl Instance {
    /// Checks the invariants that hold between events.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        let held = self.requests.iter().map(|request| &request.blocks);
        let kept = self.kept.values().map(|(blocks, _)| blocks);
        self.kv.check(held.chain(kept))?;
        if let Some(below) = &self.cpu_blocks {
            below.check()?;
        }
        self.check_counts()?;
        self.check_steps()?;
        for request in self.waiting.iter().map(|slot| &self.requests[slot]) {
            let arrived = request.part == Part::Decode(RemoteKv::Here);
            // Where an admission moves blocks, it may have claimed some and failed all the same.
            let may_hold = arrived || self.kv.has_tiers() || self.cpu_blocks.is_some();
            if (!request.blocks.is_empty() && !may_hold) || request.running {
                return Err(format!(
                    "{} waits but holds {} blocks",
                    request.request.id,
                    request.blocks.len()
                ));
            }
        }
        for request in self.running.iter().map(|entry| &self.requests[entry.slot]) {
            let most = request.prompt_tokens() + request.final_output_tokens().max(1);
            // Every chosen step may run ahead with drafts that turn out to be wrong.
            let drafts = self.config.scheduling.speculation.num_speculative_tokens;
            let ahead = drafts * (1 + self.most_in_flight() as u32);
            if !request.running
                || request.computed_tokens > most + ahead
                || request.prefill_target > most
            {
                return Err(format!(
                    "{} runs with {} tokens computed and {} to compute first, of at most {most}",
                    request.request.id, request.computed_tokens, request.prefill_target
                ));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), String> {
        let prompt = |slot| u64::from(self.requests[slot].prompt_tokens());
        if self.waiting.iter().map(prompt).sum::<u64>() != self.queued_prompt_tokens {
            return Err("the prompt tokens of the queue are miscounted".into());
        }
        let there = Part::Decode(RemoteKv::There);
        let to_fetch = self.requests.iter().filter(|r| r.part == there).count();
        if to_fetch != self.to_fetch {
            return Err("the KV caches to be fetched are miscounted".into());
        }
        let at_server = self.api_server.iter().flat_map(ApiServer::requests).count();
        let coming = at_server + self.incoming.len();
        let here = self.waiting_requests() + self.running.len() + coming + self.moving;
        let known = self.requests.iter().count();
        if here != known {
            return Err(format!(
                "{known} requests in slab, {here} waiting, running, moving and incoming"
            ));
        }
        if self.running.len() > self.config.max_num_seqs as usize {
            return Err(format!(
                "{} requests run, at most {} may",
                self.running.len(),
                self.config.max_num_seqs
            ));
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), String> {
        let now = self.clock;
        let asleep = self.step_at.is_none() && self.in_flight.is_empty();
        let idle = self.running.is_empty()
            && self.arrived.is_empty()
            && (self.waiting.is_empty() || self.awaits_kv() || self.adapter_loaded_at() != NEVER);
        // Of ranks that step together the group says when they choose.
        let told = self.open_steps.is_some();
        if asleep && !idle && !self.config.rules.acts_on_events_alone && !told {
            return Err("the engine sleeps although there is work".into());
        }
        // Work conservation: the next step starts when the last one ends, or at once.
        if let Some(at) = self.step_at
            && (at < now || at > now.max(self.busy_until).max(self.core_free_us))
            && at != self.wakes_us
            && !told
        {
            return Err(format!(
                "at {now} the next step is planned for {at}, the last one ends at {}",
                self.busy_until
            ));
        }
        let steps = self.in_flight.len();
        if steps > self.most_in_flight() {
            return Err(format!("{steps} steps are chosen and not processed"));
        }
        let numbers = self.in_flight.iter().map(|step| step.number);
        if !numbers.eq(self.processed_steps()..self.chosen_steps) {
            return Err("the chosen steps are not those that are not processed".into());
        }
        Ok(())
    }
}
