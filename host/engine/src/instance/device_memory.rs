//! Memory of an accelerator, byte by byte, where requests are admitted by what they may come to
//! need instead of by KV blocks.

use super::engine_request::EngineRequest;
use crate::latency::DeviceMemory;

/// A batch that is being formed. All its requests are as long as the longest.
#[derive(Clone, Copy, Debug, Default)]
struct Forming {
    requests: u64,
    /// Tokens that its requests may come to have, of prompts and outputs.
    worst_case_tokens: u64,
    /// Most new tokens of a request.
    new_tokens: u64,
    /// Most tokens of a request with those before.
    tokens: u64,
}

/// What takes memory now.
#[derive(Clone, Debug)]
pub(super) struct MemoryLedger {
    figures: DeviceMemory,
    /// Tokens whose KV cache is there. Those of a prompt count when all of it is computed, those of
    /// an output when they are sampled.
    resident_tokens: u64,
    /// Activations of the last batch, as it was formed: bytes.
    activations: f64,
    forming: Forming,
}

impl MemoryLedger {
    pub(super) fn new(figures: DeviceMemory) -> Self {
        Self {
            figures,
            resident_tokens: 0,
            activations: 0.0,
            forming: Forming::default(),
        }
    }

    /// Takes a request into the batch that is being formed, if the batch fits beside what is
    /// there, whatever its requests come to need. A decode's own KV cache is there already and
    /// counts twice.
    pub(super) fn admits(&mut self, request: &EngineRequest) -> bool {
        let prompt = u64::from(request.prompt_tokens());
        let new_tokens = match request.in_prefill() {
            true => prompt,
            false => 1,
        };
        let next = Forming {
            requests: self.forming.requests + 1,
            worst_case_tokens: self.forming.worst_case_tokens
                + prompt
                + u64::from(request.request.max_output_tokens),
            new_tokens: self.forming.new_tokens.max(new_tokens),
            tokens: self.forming.tokens.max(resident(request).max(prompt)),
        };
        let kv = (self.resident_tokens + next.worst_case_tokens) as f64 * self.figures.kv_per_token;
        let activations = self.activations_of(next.requests * next.new_tokens);
        let fits = kv + activations <= self.figures.available;
        if fits {
            self.forming = next;
        }
        fits
    }

    fn activations_of(&self, tokens: u64) -> f64 {
        tokens as f64 * self.figures.activations_per_token
    }

    /// The batch is formed.
    pub(super) fn formed(&mut self) {
        let Forming {
            requests, tokens, ..
        } = std::mem::take(&mut self.forming);
        if requests > 0 {
            self.activations = self.activations_of(requests * tokens);
        }
    }

    /// A step has sampled a token of a request: its first one stands for the whole prompt.
    pub(super) fn sampled(&mut self, request: &EngineRequest) {
        self.resident_tokens += match request.emitted {
            1 => u64::from(request.prompt_tokens()),
            _ => 1,
        };
    }

    /// So many tokens have come: from elsewhere, or of decodes that have sampled before.
    pub(super) fn arrived(&mut self, tokens: u64) {
        self.resident_tokens += tokens;
    }

    /// So many tokens are there no more.
    pub(super) fn left(&mut self, tokens: u64) {
        self.resident_tokens -= tokens;
    }

    pub(super) fn used(&self) -> f64 {
        let kv = self.resident_tokens as f64 * self.figures.kv_per_token;
        self.figures.weights + kv + self.activations
    }
}

/// Tokens of a request whose KV cache is there.
pub(super) fn resident(request: &EngineRequest) -> u64 {
    match u64::from(request.emitted) {
        0 => 0,
        emitted => u64::from(request.prompt_tokens()) + emitted - 1,
    }
}
