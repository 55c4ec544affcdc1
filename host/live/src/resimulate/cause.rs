//! Why a simulated policy answers otherwise than the one of the log.

use super::probe::Seen;
use super::script::Asked;
use crate::decisions::Answer;
use crate::decisions::fields::Named;
use crate::decisions::memory::Memory;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use windtunnel_plugin_api::{ClusterView, Host, InstanceView, List, RequestView, Router, Services};

/// Why answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A signal of the simulation is another one.
    Value,
    /// So is one of a scrape, but the simulated server showed the logged value shortly before.
    Age,
    /// Other tokens of the prompt are believed to be cached.
    Prefix,
    /// The policy has no preference between the two servers, or draws one.
    Tie,
    /// Nothing that the policy was told differs: it remembers something else.
    Memory,
}

impl Kind {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Age => "age",
            Self::Prefix => "prefix",
            Self::Tie => "tie",
            Self::Memory => "memory",
        }
    }
}

/// What made the difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Of which kind it is.
    pub kind: Kind,
    /// The signal: a field of a server, or what the host was asked; empty where there is none.
    pub signal: String,
    /// The server of which it says something.
    pub server: Option<u32>,
    /// Its value in the log.
    pub logged: Value,
    /// Its value in the simulation.
    pub simulated: Value,
    /// Does the answer turn with this signal alone, or with it among others? Else it is the first
    /// of those that differ: a policy that remembers cannot be asked that.
    pub is_decisive: bool,
}

/// Fields that decide nothing by themselves.
const BESIDE: [&str; 2] = ["index", "scraped_us"];
/// What a server is: that differs where the simulation is of other servers, and is not named where
/// it cannot be shown to decide.
const LASTING: [&str; 8] = [
    "block_size",
    "gpus",
    "kv_total_blocks",
    "max_batch_size",
    "max_loras",
    "max_step_tokens",
    "pool",
    "role",
];
/// The gateway's own account, which is never old.
const OWN_ACCOUNT: [&str; 5] = [
    "in_flight",
    "dispatched_tokens",
    "queued_prompt_tokens",
    "running_prefill_tokens",
    "decode_context_tokens",
];

/// What a policy is told about a request.
#[derive(Clone)]
struct Told {
    views: Vec<InstanceView>,
    host: Vec<Value>,
}

/// A part of what it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Field(String),
    Prefixes,
    Else(String),
}

fn question(pair: &Value) -> &str {
    pair.pointer("/0/0").and_then(Value::as_str).unwrap_or("")
}

impl Part {
    fn of_question(question: &str) -> Self {
        match question {
            "precise" | "approximate" | "prefix" => Self::Prefixes,
            other => Self::Else(other.to_owned()),
        }
    }

    /// `to` with this part from `from`.
    fn put(&self, to: &Told, from: &Told) -> Told {
        let mut told = to.clone();
        match self {
            Self::Field(name) => {
                for (view, other) in told.views.iter_mut().zip(&from.views) {
                    // Both are of one type: a field of one is a field of the other.
                    if let Some(value) = other.differences(view).get(name) {
                        let _ = view.set(name, value);
                    }
                }
            }
            part => {
                told.host
                    .retain(|pair| Self::of_question(question(pair)) != *part);
                let theirs = from.host.iter();
                let theirs = theirs.filter(|pair| Self::of_question(question(pair)) == *part);
                told.host.extend(theirs.cloned());
            }
        }
        told
    }
}

/// Finds causes. `shown_before` says what server `i` showed shortly before its last scrape.
pub(super) struct Judge<'a> {
    /// The policy, as it was when it had decided nothing.
    pub(super) router: Option<Box<dyn Router>>,
    pub(super) asked: &'a Asked,
    pub(super) request: RequestView,
    pub(super) seen: &'a Seen,
    pub(super) shown_before: &'a dyn Fn(u32) -> Vec<InstanceView>,
}

impl Judge<'_> {
    /// Why the simulated router answers otherwise.
    pub(super) fn cause(mut self) -> Cause {
        let logged = Told {
            views: self.asked.shown.clone(),
            host: self.asked.host.clone(),
        };
        let simulated = Told {
            views: self.seen.views.clone(),
            host: self.seen.host.clone(),
        };
        let parts = differing(&logged, &simulated);
        if let Some(part) = self.decisive(&parts, &logged, &simulated) {
            return Cause {
                is_decisive: true,
                ..self.describe(&part, &logged, &simulated)
            };
        }
        let lasts = |part: &Part| match part {
            Part::Field(name) => LASTING.contains(&name.as_str()),
            _ => false,
        };
        let parts: BTreeSet<Part> = parts.into_iter().filter(|part| !lasts(part)).collect();
        if self.is_tie() || parts.is_empty() {
            let kind = match self.is_tie() {
                true => Kind::Tie,
                false => Kind::Memory,
            };
            return Cause {
                kind,
                signal: String::new(),
                server: None,
                logged: Value::Null,
                simulated: Value::Null,
                is_decisive: false,
            };
        }
        let in_flight = Part::Field("in_flight".to_owned());
        let first = match parts.contains(&in_flight) {
            true => Some(in_flight),
            false => parts.iter().next().cloned(),
        };
        let part = first.unwrap_or(Part::Prefixes);
        self.describe(&part, &logged, &simulated)
    }

    /// The part of what was told that turns the answer, where a policy that remembers nothing
    /// answers as both did.
    fn decisive(
        &mut self,
        parts: &BTreeSet<Part>,
        logged: &Told,
        simulated: &Told,
    ) -> Option<Part> {
        let (theirs, ours) = (&self.asked.answer.clone(), &self.seen.answer.clone());
        // Who answers so in any order remembers nothing.
        for (told, answer) in [
            (logged, theirs),
            (simulated, ours),
            (simulated, ours),
            (logged, theirs),
        ] {
            if self.ask(told).as_ref() != Some(answer) {
                return None;
            }
        }
        let mut all = parts.iter();
        let turns =
            all.find(|part| self.ask(&part.put(simulated, logged)).as_ref() == Some(theirs));
        if let Some(part) = turns {
            return Some(part.clone());
        }
        // Several together: the first without which the log's answer would be another one.
        let mut all = parts.iter();
        let turns =
            all.find(|part| self.ask(&part.put(logged, simulated)).as_ref() != Some(theirs));
        turns.cloned()
    }

    fn ask(&mut self, told: &Told) -> Option<Answer> {
        let memory = Memory::in_any_order(&told.host);
        let services: &dyn Services = &memory;
        let cluster = ClusterView {
            now_us: self.seen.now_us,
            instances: List::new(&told.views),
            host: Host::new(&services),
        };
        let router = self.router.as_mut()?;
        let answer = Answer::of_router(&router.route(&self.request, &cluster));
        (!memory.did_not_know()).then_some(answer)
    }

    fn is_tie(&self) -> bool {
        let drawn = self.seen.host.iter().any(|pair| question(pair) == "random");
        let equal = match (&self.seen.scores, &self.asked.answer, &self.seen.answer) {
            (Some(scores), Answer::To(a), Answer::To(b)) => {
                scores.get(*a).is_some() && scores.get(*a) == scores.get(*b)
            }
            _ => false,
        };
        drawn || equal
    }

    fn describe(&self, part: &Part, logged: &Told, simulated: &Told) -> Cause {
        match part {
            Part::Field(name) => {
                let both = logged.views.iter().zip(&simulated.views);
                let differ = both.filter(|(a, b)| a.differences(b).contains_key(name));
                let differ: Vec<_> = differ.collect();
                let old = differ.iter().all(|(a, b)| {
                    let before = (self.shown_before)(b.index);
                    before
                        .iter()
                        .any(|view| !a.differences(view).contains_key(name))
                });
                let kind = match old && !OWN_ACCOUNT.contains(&name.as_str()) {
                    true => Kind::Age,
                    false => Kind::Value,
                };
                let first = differ.first();
                let value = |of: &InstanceView, than: &InstanceView| {
                    of.differences(than).remove(name).unwrap_or(Value::Null)
                };
                Cause {
                    kind,
                    signal: name.clone(),
                    server: first.map(|(_, b)| b.index),
                    logged: first.map_or(Value::Null, |(a, b)| value(a, b)),
                    simulated: first.map_or(Value::Null, |(a, b)| value(b, a)),
                    is_decisive: false,
                }
            }
            Part::Prefixes => self.describe_answers(Kind::Prefix, part, logged, simulated),
            Part::Else(_) => self.describe_answers(Kind::Value, part, logged, simulated),
        }
    }

    fn describe_answers(&self, kind: Kind, part: &Part, logged: &Told, simulated: &Told) -> Cause {
        let of = |told: &Told| {
            let those = told.host.iter();
            let those = those.filter(|pair| Part::of_question(question(pair)) == *part);
            those.cloned().collect::<Vec<_>>()
        };
        let (theirs, ours) = (of(logged), of(simulated));
        let other = |pair: &&Value| !ours.contains(pair);
        let pair = theirs.iter().find(other).cloned().unwrap_or_default();
        let asked = pair.get(0).cloned().unwrap_or_default();
        let answer = ours.iter().find(|pair| pair.get(0) == Some(&asked));
        let position = match question(&pair) {
            "precise" | "approximate" => pair.pointer("/0/1").and_then(Value::as_u64),
            _ => None,
        };
        let view = position.and_then(|i| simulated.views.get(i as usize));
        let signal = match part {
            Part::Prefixes => "cached blocks".to_owned(),
            _ => question(&pair).to_owned(),
        };
        Cause {
            kind,
            signal,
            server: view.map(|view| view.index),
            logged: pair.get(1).cloned().unwrap_or_default(),
            simulated: answer
                .and_then(|pair| pair.get(1).cloned())
                .unwrap_or(json!(null)),
            is_decisive: false,
        }
    }
}

fn differing(logged: &Told, simulated: &Told) -> BTreeSet<Part> {
    let mut parts = BTreeSet::new();
    for (a, b) in logged.views.iter().zip(&simulated.views) {
        let fields = a.differences(b);
        let names = fields
            .keys()
            .filter(|name| !BESIDE.contains(&name.as_str()));
        parts.extend(names.map(|name| Part::Field(name.clone())));
    }
    let answers = |told: &Told| told.host.clone();
    let (theirs, ours) = (answers(logged), answers(simulated));
    for (all, others) in [(&theirs, &ours), (&ours, &theirs)] {
        for pair in all.iter().filter(|pair| !others.contains(pair)) {
            match question(pair) {
                "changed" | "random" => {}
                asked => {
                    parts.insert(Part::of_question(asked));
                }
            }
        }
    }
    parts
}
