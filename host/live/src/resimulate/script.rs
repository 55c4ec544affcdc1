//! A decision log as what happens, in the order of time.

use crate::decisions::fields::Named;
use crate::decisions::{Answer, Call, Deployment, Entry};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Span, TokenSeq};
use windtunnel_plugin_api::{InstanceView, RequestView};
use windtunnel_sim::PoliciesSpec;

/// How long before a scrape the simulated server is looked at, too, microseconds: what the log has
/// from there differs by age and not by value.
pub(super) const BEFORE_SCRAPE_US: [i64; 6] = [20_000, 10_000, 5_000, 2_000, 1_000, 500];

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A server is looked at, so long before its scrape.
    Before(u32),
    /// A server is scraped.
    Scrape(u32),
    /// These policies begin.
    Policies(Box<Begin>),
    /// A policy is asked.
    Asked(Box<Asked>),
    /// Time passes for a policy.
    Tick(Call),
    /// A request is gone before its answer is complete.
    Gone(u64),
}

/// Policies that begin.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) policies: Value,
    pub(super) instances: u32,
    pub(super) names: Vec<String>,
}

impl Begin {
    /// What the gateway's configuration said of them.
    pub(super) fn spec(&self) -> Result<PoliciesSpec, InputError> {
        serde_json::from_value(self.policies.clone())
            .map_err(|e| InputError::new(format!("the policies of the log: {e}")))
    }
}

/// A question to a policy, and its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) request: RequestView,
    /// Names in it that are new, by number.
    pub(super) names: BTreeMap<u32, String>,
    /// The servers that were shown, as they were shown.
    pub(super) shown: Vec<InstanceView>,
    pub(super) host: Vec<Value>,
    pub(super) answer: Answer,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(super) struct Became {
    pub(super) id: String,
    pub(super) prompt: TokenSeq,
    pub(super) output_tokens: u32,
    pub(super) completed: bool,
    pub(super) endpoint: Option<String>,
    pub(super) arrival_us: i64,
    pub(super) ttft_us: Option<i64>,
    pub(super) e2e_us: i64,
    pub(super) retries: u32,
}

/// A decision log that was read.
#[derive(Debug, Default)]
pub struct Script {
    /// What the servers are.
    pub(super) deployment: Deployment,
    /// What happens, with its time.
    pub(super) steps: Vec<(i64, Step)>,
    /// What became of requests, by number.
    pub(super) requests: FxHashMap<u64, Became>,
    /// Policies took over from others so often.
    pub(super) taken_over: u64,
    begun: bool,
    now_us: i64,
    views: BTreeMap<u32, InstanceView>,
    shown: Vec<u32>,
    scrapes: BTreeSet<(i64, u32)>,
    /// Streams of blocks, by what they are known by.
    streams: FxHashMap<u64, u32>,
}

impl Script {
    /// Takes the next line of the log.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let entry: Entry = serde_json::from_str(line).map_err(|e| e.to_string())?;
        match entry {
            Entry::Policies {
                policies,
                deployment,
                names,
                instances,
                ..
            } => {
                if self.begun && deployment.servers.len() >= self.deployment.servers.len() {
                    self.deployment.servers = deployment.servers;
                } else if !self.begun {
                    self.deployment = deployment;
                }
                self.taken_over += u64::from(self.begun);
                self.begun = true;
                self.views.clear();
                self.shown.clear();
                let begin = Begin {
                    policies,
                    instances,
                    names,
                };
                self.push(Step::Policies(Box::new(begin)));
            }
            Entry::Asked {
                call,
                at_us,
                request,
                names,
                shown,
                changes,
                host,
                answer,
            } => {
                self.now_us = at_us;
                self.see(shown, &changes)?;
                if matches!(call, Call::TickAdmission | Call::TickRouter) {
                    self.push(Step::Tick(call));
                    return Ok(());
                }
                self.asked(call, &request, names, host, answer)?;
            }
            Entry::Done {
                serial,
                id,
                endpoint,
                outcome,
                arrival_us,
                ttft_us,
                e2e_us,
                prompt_tokens,
                output_tokens,
                retries,
                hash_ids,
                ..
            } => {
                let completed = outcome == "completed";
                self.now_us = arrival_us + e2e_us;
                let became = Became {
                    id,
                    prompt: self.prompt(serial, prompt_tokens, &hash_ids),
                    output_tokens,
                    completed,
                    endpoint,
                    arrival_us,
                    ttft_us,
                    e2e_us,
                    retries,
                };
                self.requests.insert(serial, became);
                if !completed {
                    self.push(Step::Gone(serial));
                }
            }
            Entry::Told { .. } | Entry::Shadow { .. } => {}
        }
        Ok(())
    }

    /// All lines were taken: scrapes take their places among them.
    pub fn finish(&mut self) {
        let mut all = Vec::with_capacity(self.steps.len() + 7 * self.scrapes.len());
        for (at, server) in std::mem::take(&mut self.scrapes) {
            let before = BEFORE_SCRAPE_US.iter().map(|us| (at - us).max(0));
            all.extend(before.map(|before| (before, Step::Before(server))));
            all.push((at, Step::Scrape(server)));
        }
        all.append(&mut self.steps);
        // What is equally old stays as it is: first what servers say, then what is decided by it.
        all.sort_by_key(|(at, step)| (*at, !matches!(step, Step::Before(_) | Step::Scrape(_))));
        self.steps = all;
    }

    /// Was no request served?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.requests.values().any(|became| became.completed)
    }

    /// What the servers are.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    fn push(&mut self, step: Step) {
        self.steps.push((self.now_us, step));
    }

    fn see(
        &mut self,
        shown: Option<Vec<u32>>,
        changes: &BTreeMap<u32, Map<String, Value>>,
    ) -> Result<(), String> {
        self.shown = shown.unwrap_or(std::mem::take(&mut self.shown));
        for (i, fields) in changes {
            let view = self.views.entry(*i).or_default();
            let before = view.scraped_us;
            view.apply(fields)?;
            if view.scraped_us != before {
                self.scrapes.insert((view.scraped_us, *i));
            }
        }
        let servers = self.deployment.servers.len();
        match self.shown.iter().find(|i| **i as usize >= servers) {
            Some(_) if !self.begun => Err("the log does not begin with its policies".to_owned()),
            Some(i) => Err(format!(
                "server {i} came when the log had begun and no policies began since; such logs are not simulated"
            )),
            None => Ok(()),
        }
    }

    fn asked(
        &mut self,
        call: Call,
        fields: &Map<String, Value>,
        names: BTreeMap<u32, String>,
        host: Vec<Value>,
        answer: Answer,
    ) -> Result<(), String> {
        let mut request = RequestView::default();
        request.apply(fields)?;
        let views = &self.views;
        let view = |i: &u32| views.get(i).copied().unwrap_or_default();
        let asked = Asked {
            call,
            request,
            names,
            shown: self.shown.iter().map(view).collect(),
            host,
            answer,
        };
        self.push(Step::Asked(Box::new(asked)));
        Ok(())
    }

    fn prompt(&mut self, serial: u64, tokens: u32, blocks: &[u64]) -> TokenSeq {
        let size = self.deployment.block_size.max(1);
        let mut prompt = TokenSeq::default();
        for (k, known) in (0..).zip(blocks) {
            let start = k * size;
            let stream = *self.streams.entry(*known).or_insert_with(|| fresh(serial));
            let len = size.min(tokens.saturating_sub(start));
            prompt.push(Span { stream, start, len });
        }
        prompt
    }
}

/// A stream that no other request begins.
pub(super) fn fresh(serial: u64) -> u32 {
    (serial % (1 << 31)) as u32
}
