//! What an instance does where memory is counted by the byte: who is admitted, and what is noted.

use super::slot::Slot;
use super::state::Instance;
use windtunnel_base::record::MemoryUse;

impl Instance {
    /// Does a request fit into memory with those admitted to the step at hand? Always where memory
    /// is not counted by the byte.
    pub(super) fn memory_admits(&mut self, slot: Slot) -> bool {
        let request = &self.requests[slot];
        let memory = self.memory.as_mut();
        memory.is_none_or(|memory| memory.admits(request))
    }

    /// The batch of the step at `now` is formed.
    pub(super) fn note_formed(&mut self, now: i64) {
        if let Some(memory) = &mut self.memory {
            memory.formed();
        }
        self.note_memory(now);
    }

    /// Notes how much memory is in use from `now` on.
    pub(super) fn note_memory(&mut self, now: i64) {
        let Some(memory) = &self.memory else { return };
        let now_used = MemoryUse {
            from_us: now,
            bytes: memory.used(),
        };
        let uses = &mut self.totals.memory_uses;
        match uses.last_mut() {
            Some(last) if last.from_us == now => *last = now_used,
            _ => uses.push(now_used),
        }
    }
}
