//! What the gateway counts, as a page of metrics.

use crate::gateway::backends::LiveBackends;
use crate::prometheus::{Histogram, Page, escaped};
use std::collections::BTreeMap;
use std::time::Duration;
use windtunnel_engine::frontend::{Backends, FrontEnd};

const DECISION: [f64; 12] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.5,
];
const WAIT: [f64; 12] = [
    1e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const FIRST_TOKEN: [f64; 16] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0,
];
const REQUEST: [f64; 13] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
];

/// What happened so far.
#[derive(Debug)]
pub struct Counts {
    pub arrived: u64,
    pub retries: u64,
    pub fallbacks: u64,
    pub reloads: u64,
    refused: BTreeMap<&'static str, u64>,
    /// By server and outcome.
    left: BTreeMap<(usize, &'static str), u64>,
    sent: Vec<u64>,
    decision: Histogram,
    wait: Histogram,
    first_token: Histogram,
    e2e: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            arrived: 0,
            retries: 0,
            fallbacks: 0,
            reloads: 0,
            refused: BTreeMap::new(),
            left: BTreeMap::new(),
            sent: Vec::new(),
            decision: Histogram::new(&DECISION),
            wait: Histogram::new(&WAIT),
            first_token: Histogram::new(&FIRST_TOKEN),
            e2e: Histogram::new(&REQUEST),
        }
    }
}

impl Counts {
    pub fn decided(&mut self, took: Duration) {
        self.decision.add(took.as_secs_f64());
    }

    pub fn waited(&mut self, us: i64) {
        self.wait.add(us as f64 / 1e6);
    }

    pub fn sent(&mut self, i: usize) {
        if self.sent.len() <= i {
            self.sent.resize(i + 1, 0);
        }
        self.sent[i] += 1;
    }

    pub fn first_token(&mut self, us: i64) {
        self.first_token.add(us as f64 / 1e6);
    }

    pub fn refused(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }

    pub fn left(&mut self, i: usize, outcome: &'static str, e2e_us: i64) {
        *self.left.entry((i, outcome)).or_default() += 1;
        if outcome == "completed" {
            self.e2e.add(e2e_us as f64 / 1e6);
        }
    }

    /// The page. `names` are those that are remembered, by kind.
    pub fn page(
        &self,
        backends: &LiveBackends,
        front: &FrontEnd,
        held: usize,
        fallen_back: bool,
        names: [(&str, usize); 2],
    ) -> String {
        let mut page = Page::new("job=\"windtunnel\"".to_owned());
        let name = |i: usize| format!(",endpoint=\"{}\"", escaped(backends.name(i)));
        page.counter(
            "windtunnel_requests_total",
            "Requests that came.",
            self.arrived as f64,
        );
        page.counter(
            "windtunnel_retries_total",
            "Requests sent again.",
            self.retries as f64,
        );
        page.counter(
            "windtunnel_policy_fallbacks_total",
            "Policies replaced as they failed or were slow.",
            self.fallbacks as f64,
        );
        page.counter(
            "windtunnel_reloads_total",
            "Configurations taken.",
            self.reloads as f64,
        );
        page.gauge(
            "windtunnel_policy_fallback",
            "1 while a built-in policy stands in.",
            f64::from(u8::from(fallen_back)),
        );
        page.gauge(
            "windtunnel_held_requests",
            "Requests that wait here.",
            held as f64,
        );
        let refused = self.refused.iter();
        let refused: Vec<(&str, f64)> = refused.map(|(reason, n)| (*reason, *n as f64)).collect();
        page.by(
            "windtunnel_refused_total",
            "counter",
            "Requests refused.",
            "reason",
            &refused,
        );
        page.by(
            "windtunnel_names",
            "gauge",
            "Names that are remembered: of blocks of prompts, and those that clients gave.",
            "kind",
            &names.map(|(kind, n)| (kind, n as f64)),
        );
        let all = 0..backends.len();
        let blocks = |i: usize| (name(i), backends.remembered_blocks(i) as f64);
        let blocks: Vec<_> = all.clone().map(blocks).collect();
        page.metric(
            "windtunnel_endpoint_index_blocks",
            "gauge",
            "KV blocks of prompts that a server was sent and that are remembered.",
            &blocks,
        );
        let sent = |i: usize| (name(i), self.sent.get(i).copied().unwrap_or(0) as f64);
        let sent: Vec<_> = all.clone().map(sent).collect();
        page.metric(
            "windtunnel_endpoint_requests_total",
            "counter",
            "Requests sent to a server.",
            &sent,
        );
        let there: Vec<_> = all
            .map(|i| (name(i), front.outstanding(i).0 as f64))
            .collect();
        page.metric(
            "windtunnel_endpoint_requests",
            "gauge",
            "Requests on a server.",
            &there,
        );
        let left = self.left.iter();
        let left: Vec<_> = left
            .map(|((i, outcome), n)| (format!("{},outcome=\"{outcome}\"", name(*i)), *n as f64))
            .collect();
        page.metric(
            "windtunnel_endpoint_left_total",
            "counter",
            "Requests that left a server.",
            &left,
        );
        for (name, help, histogram) in [
            ("decision_seconds", "Time of a decision.", &self.decision),
            (
                "wait_seconds",
                "Time from arrival until a request is sent.",
                &self.wait,
            ),
            (
                "time_to_first_token_seconds",
                "Time from arrival to the first token.",
                &self.first_token,
            ),
            (
                "e2e_request_latency_seconds",
                "Time of a whole request.",
                &self.e2e,
            ),
        ] {
            page.histogram(&format!("windtunnel_{name}"), help, histogram);
        }
        page.into_text()
    }
}
