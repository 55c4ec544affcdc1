//! The way of a request: it comes, is decided about, waits, is sent, leaves.

use super::state::{Control, Here, Stage};
use crate::decisions::{Answer, Entry};
use crate::gateway::backends::adapter;
use crate::gateway::message::{Left, Meta, Verdict};
use crate::prompts::text::hash;
use std::cmp::Reverse;
use std::time::Instant;
use tokio::sync::oneshot;
use windtunnel_base::record::RoutingStage;
use windtunnel_base::request::{Request, RequestId, Sym, TokenSeq};
use windtunnel_engine::frontend::{Pending, Routed, Verdict as Admitted};
use windtunnel_plugin_api::{EventKind, Outcome};

/// After so many microseconds it is looked again whether there is a server.
const LOOK_AGAIN_US: i64 = 100_000;
/// How a name that is one too many is called.
const OTHER: &str = "(other)";

impl Control {
    /// The symbol of a name that a client gave.
    fn intern(&mut self, name: &str) -> Sym {
        let room = self.symbols.count() < self.config.limits.names;
        match self.symbols.get(name) {
            Some(sym) => sym,
            None if room => self.symbols.intern(name),
            None => self.symbols.intern(OTHER),
        }
    }

    pub(super) fn arrive(
        &mut self,
        number: u64,
        meta: Meta,
        to: oneshot::Sender<Verdict>,
        now: i64,
    ) {
        self.counts.arrived += 1;
        let named = self
            .prefixes
            .name(hash((&meta.model, &meta.salt)), &meta.prompt, &[]);
        let class = self.intern(&meta.class);
        let tenant = self.intern(&meta.tenant);
        let session = self.intern(&meta.session);
        let adapter = adapter(&meta.model, &mut self.symbols);
        let request = Request {
            max_output_tokens: meta.max_tokens,
            slo_class: class,
            tenant,
            session,
            adapter,
            slo_ttft_us: meta.slo_ttft_us,
            client_priority: meta.priority,
            streaming: meta.streaming,
            ..Request::new(
                RequestId::of_text(&meta.id),
                now,
                named.prompt,
                TokenSeq::default(),
            )
        };
        if let Some(log) = &self.log {
            log.learn(&self.symbols);
        }
        let view = self.front.view(self.serial, &request, &self.symbols);
        self.serial += 1;
        let here = Here {
            pending: Pending { request, view },
            stage: Stage::Admission,
            to: Some(to),
            failed_on: Vec::new(),
            arrival_us: now,
            first_token_us: None,
            blocks: match self.log {
                Some(_) => named.blocks,
                None => Vec::new(),
            },
        };
        self.here.insert(number, here);
        self.decide(number, now);
    }

    /// A request failed where it is, and none of its answer has been seen.
    pub(super) fn reroute(&mut self, number: u64, to: oneshot::Sender<Verdict>, now: i64) {
        let Some(here) = self.here.get_mut(&number) else {
            return;
        };
        if let Stage::On(i) = here.stage {
            here.failed_on.push(i as u32);
            here.stage = Stage::Routing;
            let (request, tokens) = (
                here.pending.request.clone(),
                here.pending.view.prompt_tokens,
            );
            self.backends.left(i, tokens, false);
            self.each_front(|front| front.departed(i, &request));
            self.counts.retries += 1;
        }
        if let Some(here) = self.here.get_mut(&number) {
            here.to = Some(to);
            here.pending.view.attempts = 0;
        }
        self.decide(number, now);
    }

    /// Asks the policies about a request that waits for a verdict.
    fn decide(&mut self, number: u64, now: i64) {
        let Some(mut here) = self.here.remove(&number) else {
            return;
        };
        let started = Instant::now();
        let mut verdict = self.ask(&mut here, now);
        if self.check_fault() {
            // Those that have taken over are asked.
            here.stage = match here.stage {
                Stage::Routing => Stage::Routing,
                _ => Stage::Admission,
            };
            verdict = self.ask(&mut here, now);
        }
        self.measure(started.elapsed());
        match verdict {
            Decided::To(i) => {
                here.stage = Stage::On(i);
                self.dispatch(&here, i, now);
                let told = here.to.take().map(|to| to.send(Verdict::To(i)));
                self.here.insert(number, here);
                if matches!(told, None | Some(Err(_))) {
                    self.left(
                        number,
                        &Left {
                            outcome: "aborted",
                            status: 499,
                            ..Left::default()
                        },
                        now,
                    );
                }
            }
            Decided::Refused(status, reason, message) => {
                self.refuse(here, status, reason, message, now)
            }
            Decided::Later(us) => self.put_off(number, here, us, now),
        }
    }

    fn ask(&mut self, here: &mut Here, now: i64) -> Decided {
        let nobody = self.members.iter().all(|i| here.failed_on.contains(i));
        if nobody {
            return match here.failed_on.is_empty() {
                true => Decided::Later(LOOK_AGAIN_US),
                false => {
                    let message = "all servers that could be asked failed";
                    Decided::Refused(502, "no-endpoint-left", message.to_owned())
                }
            };
        }
        if here.stage == Stage::Admission {
            let (front, backends) = (&mut self.front, &mut self.backends);
            let rejected = front.shed();
            match front.admit(now, &here.pending, backends, &self.symbols) {
                Admitted::Admitted => {
                    here.stage = Stage::Routing;
                    here.pending.view.attempts = 0;
                }
                Admitted::Delayed(us) => {
                    here.pending.view.attempts += 1;
                    return Decided::Later(us);
                }
                Admitted::Rejected => {
                    let by_policy = front.shed() > rejected;
                    let message = match by_policy {
                        true => "the admission policy turned the request away",
                        false => "the policy failed",
                    };
                    return Decided::Refused(429, "rejected-by-policy", message.to_owned());
                }
            }
        }
        let but = here.failed_on.clone();
        if !but.is_empty() {
            self.set_members(&but);
        }
        let (front, backends) = (&mut self.front, &mut self.backends);
        let stage = RoutingStage::Whole;
        let routed = front.route(now, &here.pending, stage, backends, &self.symbols);
        let decided = match routed {
            Routed::To(i) => {
                self.ask_shadows(&here.pending, i, now);
                Decided::To(i)
            }
            Routed::Held(us) => {
                here.pending.view.attempts += 1;
                Decided::Later(us)
            }
            Routed::Nowhere => {
                let message = "the policy failed";
                Decided::Refused(503, "policy-failed", message.to_owned())
            }
        };
        if !but.is_empty() {
            self.set_members(&[]);
        }
        decided
    }

    fn ask_shadows(&mut self, pending: &Pending, chosen: usize, now: i64) {
        let Some(log) = &self.log else {
            return;
        };
        let prompt = &pending.request.prompt;
        for shadow in self.shadows.iter_mut().filter(|shadow| !shadow.failed) {
            let front = &mut shadow.front;
            let (answer, choice) = self.backends.beside(|backends| {
                match front.admit(now, pending, backends, &self.symbols) {
                    Admitted::Admitted => {}
                    Admitted::Delayed(us) => return (Answer::Delay(us), None),
                    Admitted::Rejected => return (Answer::Reject(String::new()), None),
                }
                match front.route(now, pending, RoutingStage::Whole, backends, &self.symbols) {
                    Routed::To(i) => (Answer::To(i), Some(i)),
                    Routed::Held(us) => (Answer::Hold(us), None),
                    Routed::Nowhere => (Answer::Failed("it failed".to_owned()), None),
                }
            });
            shadow.failed = shadow.front.has_fault();
            if shadow.failed {
                tracing::warn!(shadow = shadow.name, "failed, and is asked no more");
            }
            let load = |i: usize| self.front.outstanding(i).0 as i64;
            let blocks = |i: usize| i64::from(self.backends.sent_blocks(i, prompt));
            log.write(&Entry::Shadow {
                name: shadow.name.clone(),
                serial: pending.view.serial,
                answer,
                endpoint: choice.map(|i| self.backends.name(i).to_owned()),
                agrees: choice == Some(chosen),
                regret_requests: choice.map(|i| load(chosen) - load(i)),
                regret_blocks: choice.map(|i| blocks(i) - blocks(chosen)),
            });
        }
    }

    fn dispatch(&mut self, here: &Here, i: usize, now: i64) {
        let (request, view) = (&here.pending.request, here.pending.view);
        self.backends.sent(i, request);
        self.each_front(|front| front.dispatched(i, request));
        self.tell(
            EventKind::Dispatch,
            Outcome::Completed,
            &view,
            i,
            [0; 3],
            now,
        );
        self.counts.waited(now - here.arrival_us);
        self.counts.sent(i);
    }

    fn put_off(&mut self, number: u64, here: Here, us: i64, now: i64) {
        let expires = here.arrival_us + (self.config.hold.ttl * 1e6) as i64;
        if now >= expires {
            let message = "no server could take the request in time";
            return self.refuse(here, 503, "hold-expired", message.to_owned(), now);
        }
        if self.held >= self.config.hold.requests {
            let message = "too many requests wait already";
            return self.refuse(here, 503, "hold-queue-full", message.to_owned(), now);
        }
        self.held += 1;
        let at = now.saturating_add(us.max(1_000)).min(expires);
        self.again.push(Reverse((at, number)));
        self.here.insert(number, here);
    }

    pub(super) fn ask_again(&mut self, now: i64) {
        while let Some(Reverse((at, number))) = self.again.peek().copied()
            && at <= now
        {
            self.again.pop();
            self.held -= 1;
            self.decide(number, now);
        }
    }

    /// There are servers again: whoever waits for one is asked about.
    pub(super) fn wake_those_without_server(&mut self, now: i64) {
        if self.members.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.again);
        self.again = waiting
            .into_iter()
            .map(|Reverse((at, number))| Reverse((at.min(now + LOOK_AGAIN_US), number)))
            .collect();
    }

    fn refuse(&mut self, here: Here, status: u16, reason: &'static str, message: String, now: i64) {
        self.counts.refused(reason);
        let view = here.pending.view;
        self.tell(EventKind::Reject, Outcome::Completed, &view, 0, [0; 3], now);
        self.log_done(&here, None, reason, status, &Left::default(), now);
        if let Some(to) = here.to {
            let _ = to.send(Verdict::Refused {
                status,
                reason,
                message,
            });
        }
    }

    pub(super) fn first_token(&mut self, number: u64, now: i64) {
        let Some(here) = self.here.get_mut(&number) else {
            return;
        };
        let Stage::On(i) = here.stage else {
            return;
        };
        here.first_token_us = Some(now);
        let (view, ttft) = (here.pending.view, now - here.arrival_us);
        self.backends.first_token(i, view.prompt_tokens);
        self.counts.first_token(ttft);
        self.tell(
            EventKind::FirstToken,
            Outcome::Completed,
            &view,
            i,
            [1, ttft, 0],
            now,
        );
    }

    pub(super) fn left(&mut self, number: u64, left: &Left, now: i64) {
        let Some(here) = self.here.remove(&number) else {
            return;
        };
        let view = here.pending.view;
        let Stage::On(i) = here.stage else {
            // It waited; its place among those is freed.
            let before = self.again.len();
            self.again.retain(|Reverse((_, other))| *other != number);
            self.held -= before - self.again.len();
            self.log_done(&here, None, left.outcome, left.status, left, now);
            return;
        };
        self.backends
            .left(i, view.prompt_tokens, here.first_token_us.is_some());
        let request = here.pending.request.clone();
        self.each_front(|front| front.departed(i, &request));
        let outcome = match left.outcome {
            "completed" => Outcome::Completed,
            "aborted" => Outcome::TimedOut,
            _ => Outcome::Dropped,
        };
        let ttft = here.first_token_us.map_or(0, |at| at - here.arrival_us);
        let e2e = now - here.arrival_us;
        let numbers = [left.output_tokens.into(), ttft, e2e];
        self.tell(EventKind::Complete, outcome, &view, i, numbers, now);
        self.counts.left(i, left.outcome, e2e);
        self.log_done(&here, Some(i), left.outcome, left.status, left, now);
    }

    fn log_done(
        &self,
        here: &Here,
        i: Option<usize>,
        outcome: &str,
        status: u16,
        left: &Left,
        now: i64,
    ) {
        let Some(log) = &self.log else {
            return;
        };
        log.write(&Entry::Done {
            serial: here.pending.view.serial,
            id: here.pending.request.id.to_string(),
            endpoint: i.map(|i| self.backends.name(i).to_owned()),
            outcome: outcome.to_owned(),
            status,
            arrival_us: here.arrival_us,
            ttft_us: here.first_token_us.map(|at| at - here.arrival_us),
            e2e_us: now - here.arrival_us,
            prompt_tokens: here.pending.view.prompt_tokens,
            output_tokens: left.output_tokens,
            cached_tokens: left.cached_tokens,
            retries: here.failed_on.len() as u32,
            hash_ids: here.blocks.clone(),
        });
    }
}

/// What came of asking about a request.
enum Decided {
    To(usize),
    Later(i64),
    Refused(u16, &'static str, String),
}
