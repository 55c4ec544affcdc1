//! A planned workload: clients that are ready to generate requests.

use crate::sample::{Gaps, Lengths};
use std::sync::Arc;

/// What all clients of a group have in common.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) tenant: String,
    pub(super) slo_class: String,
    pub(super) model: String,
    pub(super) adapter: String,
    pub(super) prefix_tokens: u32,
    pub(super) streaming: bool,
    /// 0 = never gives up.
    pub(super) timeout_us: i64,
    pub(super) slo_ttft_us: i64,
    pub(super) wire: Wire,
    pub(super) prompt: Prompt,
    pub(super) output: Lengths,
    /// Percent of the output that is reasoning.
    pub(super) reasoning: Option<Lengths>,
    pub(super) session: Option<SessionKind>,
    /// Adapters by the share of all that is not above them.
    pub(super) adapters: Vec<(String, f64)>,
    pub(super) deal: Option<Deal>,
}

/// A fixed set of prompts that requests take in turn.
#[derive(Clone, Debug)]
pub(super) struct Deal {
    pub(super) groups: u32,
    pub(super) per_group: u32,
    /// Tokens that all prompts of a group begin with.
    pub(super) prefix: Option<Lengths>,
    pub(super) conversations: bool,
}

impl Deal {
    /// Prompts in all.
    pub(super) fn prompts(&self) -> u32 {
        self.groups * self.per_group
    }
}

/// A client ready to generate.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) kind: Arc<Kind>,
    pub(super) id: String,
    pub(super) prefix_group: String,
    /// What its random streams are keyed by.
    pub(super) key: u64,
    pub(super) traffic: Traffic,
}

/// The way to the gateway and back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wire {
    pub(super) half_rtt_us: f64,
    pub(super) us_per_token: f64,
}

impl Wire {
    /// Half a round trip and the transfer of some tokens, microseconds.
    pub(super) fn us(&self, tokens: u32) -> i64 {
        (self.half_rtt_us + self.us_per_token * f64::from(tokens)).round() as i64
    }
}

/// Prompt lengths.
#[derive(Clone, Debug)]
pub(super) enum Prompt {
    Text(Lengths),
    Multimodal(Box<Modalities>),
}

/// Lengths by modality.
#[derive(Clone, Debug)]
pub(super) struct Modalities {
    pub(super) text: Option<Lengths>,
    /// Images, audio and video: (how many, how long each).
    pub(super) others: [Option<(Lengths, Lengths)>; 3],
}

/// Sessions of several rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionKind {
    pub(super) rounds: u32,
    pub(super) think_us: i64,
    pub(super) accumulate: bool,
    pub(super) once: bool,
    /// Rounds wait for the answers before them.
    pub(super) closed_loop: bool,
}

/// When a client sends.
#[derive(Clone, Debug)]
pub(super) enum Traffic {
    /// One process, of which only what falls into the windows is sent; without windows all.
    Steady {
        gaps: Gaps,
        windows: Arc<[(i64, i64)]>,
    },
    /// A number of requests in every window.
    Windows(Arc<[Counted]>),
    /// Users that wait for their answers.
    Users { users: u32, think_us: i64 },
}

/// A window that sends a number of requests.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    /// Requests, with a fraction that is the probability of one more.
    pub(super) expected: f64,
    pub(super) gaps: Gaps,
    /// Lengths instead of the client's.
    pub(super) prompt: Option<Arc<Prompt>>,
    pub(super) output: Option<Arc<Lengths>>,
    pub(super) reasoning: Option<Arc<Lengths>>,
}

/// The whole spec.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) clients: Vec<Planned>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}
