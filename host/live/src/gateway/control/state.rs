//! What the deciding thread knows.

use super::page::Counts;
use super::policies::Known;
use crate::clock::Clock;
use crate::decisions::record::DecisionLog;
use crate::gateway::backends::LiveBackends;
use crate::gateway::config::Config;
use crate::gateway::message::Verdict;
use crate::prompts::Prefixes;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use tokio::sync::oneshot;
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::{FrontEnd, Pending};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Admission is to decide, for the first time or again.
    Admission,
    /// The router is.
    Routing,
    /// It is on a server.
    On(usize),
}

/// A request that has not left.
pub struct Here {
    pub pending: Pending,
    pub stage: Stage,
    /// Whoever waits for a verdict.
    pub to: Option<oneshot::Sender<Verdict>>,
    /// Servers on which it failed.
    pub failed_on: Vec<u32>,
    pub arrival_us: i64,
    pub first_token_us: Option<i64>,
    /// What the blocks of its prompt are known by.
    pub blocks: Vec<u64>,
}

/// A policy that decides for show.
pub struct Shadow {
    pub name: String,
    pub front: FrontEnd,
    /// What it decided last is no news.
    pub failed: bool,
}

/// All that decisions depend on.
pub struct Control {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub symbols: Symbols,
    pub known: Known,
    pub front: FrontEnd,
    /// Built-in policies have taken over, and why.
    pub fallen_back: Option<String>,
    pub shadows: Vec<Shadow>,
    pub backends: LiveBackends,
    pub members: Vec<u32>,
    pub prefixes: Prefixes,
    pub here: FxHashMap<u64, Here>,
    /// Requests that are put off: when they are asked about again.
    pub again: BinaryHeap<Reverse<(i64, u64)>>,
    pub held: usize,
    pub slow_decisions: u32,
    pub serial: u64,
    pub ticks: [(i64, i64); 2],
    pub log: Option<DecisionLog>,
    pub counts: Counts,
}
