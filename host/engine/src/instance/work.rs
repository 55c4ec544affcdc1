//! How much work an instance has.

use super::engine_request::EngineRequest;
use super::slot::Slot;
use super::state::Instance;

/// Work on an instance, tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Prompt tokens of the waiting requests.
    pub queued_prompt_tokens: u64,
    /// Prompt tokens of the running batch that are still to be prefilled.
    pub running_prefill_tokens: u64,
    /// Running requests that decode.
    pub decodes: u32,
    /// Their context, tokens in all.
    pub decode_context_tokens: u64,
}

impl Instance {
    /// The work here, as a scrape reads it.
    #[must_use]
    pub fn work(&self) -> Work {
        // What the running step computes is not computed yet.
        let mut work = Work {
            queued_prompt_tokens: self.queued_prompt_tokens,
            running_prefill_tokens: self.in_flight.iter().map(|step| step.prefill_tokens).sum(),
            ..Work::default()
        };
        let ends = match self.config.scheduling.speculation.is_on() {
            true => EngineRequest::surely_ends,
            false => EngineRequest::is_scheduled_through,
        };
        let mut add = |slot: Slot| {
            let request = &self.requests[slot];
            if request.in_prefill() {
                work.running_prefill_tokens +=
                    u64::from(request.prefill_target - request.computed_tokens);
            } else if !ends(request) {
                work.decodes += 1;
                work.decode_context_tokens += u64::from(request.computed_tokens);
            }
        };
        if self.grouped {
            self.prefilling.iter().for_each(|&slot| add(slot));
            work.decodes += self.group.count as u32;
            work.decode_context_tokens += self.group.context;
        } else {
            self.running.iter().for_each(|entry| add(entry.slot));
        }
        work
    }
}
