//! The front end: admission and routing with what it knows, and the trace of its decisions.

use super::asked::Asked;
use super::config::ClusterConfig;
use super::signals::{Scrapes, truly};
use crate::frontend::{FrontEndPolicies, Predictor, TraceConfig};
use crate::instance::{EngineConfig, Instance};
use crate::latency::Estimator;
use std::collections::BTreeMap;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::record::{
    Candidate, Decision, InstanceSnapshot, RoutingObservation, RoutingObservations, RunRecord,
};
use windtunnel_base::request::{Request, Sym, Symbols, TokenSeq};
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{
    Admit, ClusterView, Event, Host, InstanceView, Interests, List, PolicyError, RequestView,
    Route, Services,
};

/// A request at the front end.
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) view: RequestView,
}

pub(super) enum Verdict {
    Admitted,
    Delayed(i64),
    Rejected,
}

pub(super) enum Routed {
    To(usize),
    Held(i64),
    Nowhere,
}

/// The two policies of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrontHook {
    Admission,
    Routing,
}

impl FrontHook {
    fn of(self) -> Hook {
        match self {
            Self::Admission => Hook::Admission,
            Self::Routing => Hook::Routing,
        }
    }
}

pub(super) struct FrontEnd {
    policies: FrontEndPolicies,
    estimator: Estimator,
    seed: u64,
    predictor: Option<Predictor>,
    /// Do admission and router read the counters of requests in flight?
    counters: (bool, bool),
    scrapes: Scrapes,
    trace: TraceConfig,
    exact_model_tags: bool,
    model_names: Vec<String>,
    block_size: u32,
    /// By class symbol.
    class_priorities: Vec<Option<i32>>,
    /// By model symbol: does the cluster serve it?
    serves: Vec<Option<bool>>,
    rejected_by_admission: u64,
    rejected_by_routing: u64,
    shed_by_class: BTreeMap<String, u64>,
    decisions: Vec<Decision>,
    observations: RoutingObservations,
    /// Where requests go instead of where the router sends them, by serial number; `u32::MAX` and
    /// beyond the end: as the router says.
    overruling: Vec<u32>,
    fault: Option<RunFault>,
}

/// The value of `sym` in a table that is filled on first use.
fn remembered<T: Copy>(table: &mut Vec<Option<T>>, sym: Sym, make: impl FnOnce() -> T) -> T {
    let at = sym.0 as usize;
    if table.len() <= at {
        table.resize(at + 1, None);
    }
    *table[at].get_or_insert_with(make)
}

impl FrontEnd {
    pub(super) fn new(
        config: &ClusterConfig,
        policies: FrontEndPolicies,
        estimator: Estimator,
    ) -> Self {
        let mut interests = policies.interests();
        // Counterfactuals compare the loads that the router could have seen.
        let counterfactuals =
            config.front.trace.decisions && config.front.trace.counterfactual_k > 0;
        if counterfactuals {
            interests = interests | Interests::SNAPSHOTS;
        }
        let counters = |interests: Interests| interests.has(Interests::COUNTERS);
        let counters = (
            counters(policies.admission.interests()),
            counters(policies.router.interests()) || counterfactuals,
        );
        let EngineConfig {
            block_size, rules, ..
        } = config.pools[0].engine;
        let scrapes = Scrapes::new(
            config.instances(),
            &config.pools[0].engine,
            config.front.snapshot_refresh_us,
            config.front.cache_signal_delay_us,
            interests,
        );
        Self {
            policies,
            estimator,
            seed: config.seed,
            predictor: config.front.predictor,
            counters,
            scrapes,
            trace: config.front.trace,
            exact_model_tags: rules.exact_model_tags,
            model_names: config.front.model_names.clone(),
            block_size,
            class_priorities: Vec::new(),
            serves: Vec::new(),
            rejected_by_admission: 0,
            rejected_by_routing: 0,
            shed_by_class: BTreeMap::new(),
            decisions: Vec::new(),
            observations: RoutingObservations::default(),
            overruling: Vec::new(),
            fault: None,
        }
    }

    /// Does the admission decision at `now` depend on what the instances did until now?
    pub(super) fn admission_looks(&self, now: i64) -> bool {
        self.counters.0 || self.scrapes.looks(now)
    }

    /// Does the routing decision at `now` depend on what the instances did until now?
    pub(super) fn router_looks(&self, now: i64) -> bool {
        self.counters.1 || self.trace.observations || self.scrapes.looks(now)
    }

    /// From now on requests go where `choices` says, by serial number.
    pub(super) fn overrule(&mut self, choices: Vec<u32>) {
        self.overruling = choices;
    }

    /// What policies see of a request.
    pub(super) fn view(
        &mut self,
        serial: u64,
        request: &Request,
        symbols: &Symbols,
    ) -> RequestView {
        let priorities = &self.policies.slo_priorities;
        let class_priority = remembered(&mut self.class_priorities, request.slo_class, || {
            priorities.of(symbols.name(request.slo_class))
        });
        let length = request.prompt_tokens();
        RequestView {
            serial,
            arrival_us: request.arrival_us,
            deadline_us: request.deadline_us,
            slo_ttft_us: request.slo_ttft_us,
            prompt_key: prompt_key(&request.prompt),
            prompt_tokens: length,
            slo_class: request.slo_class.0,
            class_priority,
            tenant: request.tenant.0,
            session: request.session.0,
            round: request.round,
            prefix_group: request.prefix_group.0,
            prefix_tokens: request.prefix_tokens,
            model: request.model.0,
            predicted_output_tokens: self.predictor.map_or(0, |p| p.predict(self.seed, request)),
            ..RequestView::default()
        }
    }

    fn serves(&mut self, model: Sym, symbols: &Symbols) -> bool {
        let (names, exact) = (&self.model_names, self.exact_model_tags);
        remembered(&mut self.serves, model, || {
            let tag = symbols.name(model);
            let asked = names.first().map_or(String::new(), |n| n.to_lowercase());
            tag.is_empty()
                || if exact {
                    tag == asked
                } else {
                    names.iter().any(|n| n.eq_ignore_ascii_case(tag))
                }
        })
    }

    pub(super) fn admit(
        &mut self,
        now: i64,
        pending: &Pending,
        instances: &mut [Instance],
        symbols: &Symbols,
    ) -> Verdict {
        let served = self.serves(pending.request.model, symbols);
        if served {
            self.scrapes.refresh(now, instances);
        }
        let answer = self.ask(
            FrontHook::Admission,
            now,
            pending,
            instances,
            served,
            |policies, request, cluster| policies.admission.admit(request, cluster),
        );
        let answer = match answer {
            Ok(Admit::Delay(us)) => return Verdict::Delayed(us),
            Ok(answer) => answer,
            Err(_) => return Verdict::Rejected,
        };
        let reason = match answer {
            Admit::Reject(reason) => Some(reason),
            Admit::Admit | Admit::Delay(_) => None,
        };
        let admitted = reason.is_none();
        if self.trace.decisions {
            let id = pending.request.id.clone();
            let reason = reason.unwrap_or_default();
            self.decisions.push(Decision::Admission {
                clock_us: now,
                id,
                admitted,
                reason,
            });
        }
        if admitted {
            return Verdict::Admitted;
        }
        self.rejected_by_admission += 1;
        let class = symbols.name(pending.request.slo_class);
        let class = if class.is_empty() { "standard" } else { class };
        *self.shed_by_class.entry(class.to_owned()).or_default() += 1;
        Verdict::Rejected
    }

    pub(super) fn route(
        &mut self,
        now: i64,
        pending: &Pending,
        instances: &mut [Instance],
        symbols: &Symbols,
    ) -> Routed {
        if !self.serves(pending.request.model, symbols) {
            self.rejected_by_routing += 1;
            return Routed::Nowhere;
        }
        self.scrapes.refresh(now, instances);
        let answer = self.ask(
            FrontHook::Routing,
            now,
            pending,
            instances,
            true,
            |policies, request, cluster| policies.router.route(request, cluster),
        );
        let Ok(answer) = answer else {
            return Routed::Nowhere;
        };
        let chosen = match answer {
            Route::To(chosen) if chosen < instances.len() => chosen,
            Route::To(chosen) => {
                let last = instances.len() - 1;
                let id = pending.request.id.to_string();
                let what = format!("sent {id} to instance {chosen}; expected 0 to {last}");
                self.fault(RunFault::answered(Hook::Routing, Some(id), what));
                return Routed::Nowhere;
            }
            Route::Hold { retry_after_us } => return Routed::Held(retry_after_us),
        };
        let chosen = match self.overruling.get(pending.view.serial as usize) {
            Some(&other) if other != u32::MAX => other as usize,
            _ => chosen,
        };
        if self.trace.observations {
            self.watch(now, pending, chosen, instances);
        }
        if self.trace.decisions {
            self.trace_route(now, pending, chosen);
        }
        if let Some(lru) = self.scrapes.sent_prefixes.get_mut(chosen) {
            lru.record(pending.request.prompt.block_keys(self.block_size));
        }
        let view = self.scrapes.view_mut(chosen);
        view.in_flight += 1;
        view.dispatched_tokens += u64::from(pending.view.prompt_tokens);
        Routed::To(chosen)
    }

    /// Asks a policy about a request. With `seen` false it sees no instances. An error is noted as
    /// the run's fault.
    fn ask<T>(
        &mut self,
        hook: FrontHook,
        now: i64,
        pending: &Pending,
        instances: &[Instance],
        seen: bool,
        ask: impl FnOnce(
            &mut FrontEndPolicies,
            &RequestView,
            &ClusterView<'_>,
        ) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let asked = Asked {
            scrapes: &self.scrapes,
            instances,
            prompt: &pending.request.prompt,
            estimator: &self.estimator,
            random: Stream::new(
                self.seed,
                hook.of().kind(),
                pending.view.serial,
                pending.view.attempts.into(),
            ),
        };
        let services: &dyn Services = &asked;
        let views = if seen { self.scrapes.views() } else { &[] };
        let cluster = ClusterView {
            now_us: now,
            instances: List::new(views),
            host: Host::new(&services),
        };
        ask(&mut self.policies, &pending.view, &cluster).inspect_err(|e| {
            self.fault.get_or_insert_with(|| {
                let request = Some(pending.request.id.to_string());
                RunFault::failed(hook.of(), PolicyCall::Decision, request, e)
            });
        })
    }

    /// Interval between the ticks of a policy, microseconds; 0 = it wants none.
    pub(super) fn tick_us(&self, hook: FrontHook) -> i64 {
        match hook {
            FrontHook::Admission => self.policies.admission.tick_us(),
            FrontHook::Routing => self.policies.router.tick_us(),
        }
    }

    /// Tells a policy that time has passed.
    pub(super) fn tick(&mut self, hook: FrontHook, now: i64, instances: &mut [Instance]) {
        self.scrapes.refresh(now, instances);
        let asked = Asked {
            scrapes: &self.scrapes,
            instances,
            prompt: &TokenSeq::default(),
            estimator: &self.estimator,
            random: Stream::new(self.seed, "tick", hook as u64, now as u64),
        };
        let services: &dyn Services = &asked;
        let cluster = ClusterView {
            now_us: now,
            instances: List::new(self.scrapes.views()),
            host: Host::new(&services),
        };
        let told = match hook {
            FrontHook::Admission => self.policies.admission.on_tick(&cluster),
            FrontHook::Routing => self.policies.router.on_tick(&cluster),
        };
        self.note(hook, PolicyCall::Tick, told);
    }

    /// Notes the error of a policy as the run's fault.
    fn note(&mut self, hook: FrontHook, call: PolicyCall, told: Result<(), PolicyError>) {
        if let Err(e) = told {
            self.fault(RunFault::failed(hook.of(), call, None, &e));
        }
    }

    /// A request left instance `i`.
    pub(super) fn departed(&mut self, i: usize, request: &Request) {
        let view = self.scrapes.view_mut(i);
        view.in_flight -= 1;
        view.dispatched_tokens -= u64::from(request.prompt_tokens());
    }

    /// Requests and prompt tokens that the front end believes to be on instance `i`.
    pub(super) fn outstanding(&self, i: usize) -> (u64, u64) {
        let view = &self.scrapes.views()[i];
        (u64::from(view.in_flight), view.dispatched_tokens)
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let Some(kind) = event.what() else { return };
        if self.policies.admission.interests().hears(kind) {
            let told = self.policies.admission.on_event(event);
            self.note(FrontHook::Admission, PolicyCall::Event, told);
        }
        if self.policies.router.interests().hears(kind) {
            let told = self.policies.router.on_event(event);
            self.note(FrontHook::Routing, PolicyCall::Event, told);
        }
    }

    fn trace_route(&mut self, now: i64, pending: &Pending, chosen: usize) {
        let scores = self.policies.router.scores().map(<[f64]>::to_vec);
        let views = self.scrapes.views();
        let score = |i: usize| {
            scores
                .as_ref()
                .map_or_else(|| 0.0 - views[i].effective_load() as f64, |s| s[i])
        };
        let mut ranked: Vec<Candidate> = Vec::new();
        let mut regret = 0.0;
        if self.trace.counterfactual_k > 0 {
            ranked = (0..views.len())
                .map(|i| candidate(&views[i], score(i)))
                .collect();
            ranked.sort_by(|a, b| {
                b.score
                    .total_cmp(&a.score)
                    .then_with(|| name(a).cmp(&name(b)))
            });
            regret = (ranked[0].score - score(chosen)).max(0.0);
            ranked.truncate(self.trace.counterfactual_k);
        }
        self.decisions.push(Decision::Routing {
            clock_us: now,
            id: pending.request.id.clone(),
            chosen: views[chosen].index,
            reason: self.policies.router.reason(),
            scores,
            candidates: ranked,
            regret,
        });
    }

    /// Keeps what a routing decision looked like.
    fn watch(&mut self, now: i64, pending: &Pending, chosen: usize, instances: &[Instance]) {
        let prompt = &pending.request.prompt;
        let snapshot = |(i, seen): (usize, &InstanceView)| InstanceSnapshot {
            seen: *seen,
            actual: truly(seen, &instances[i], now),
            cached_blocks: instances[i]
                .kv()
                .cached_blocks_now(prompt.block_keys(self.block_size)),
            signalled_blocks: self.scrapes.precise_prefix_blocks(prompt, i, instances),
        };
        let observation = RoutingObservation {
            clock_us: now,
            request: pending.view,
            chosen: chosen as u32,
            prompt_blocks: prompt.len() / self.block_size,
            scores: self.policies.router.scores().map(<[f64]>::to_vec),
        };
        let views = self.scrapes.views().iter();
        self.observations
            .push(observation, views.enumerate().map(snapshot));
    }

    /// A policy gave an answer that makes no sense. The first one counts.
    pub(super) fn fault(&mut self, what: RunFault) {
        self.fault.get_or_insert(what);
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// Its part of the run's record.
    pub(super) fn into_results(self) -> RunRecord {
        RunRecord {
            requests: Vec::new(),
            instances: Vec::new(),
            rejected_by_admission: self.rejected_by_admission,
            rejected_by_routing: self.rejected_by_routing,
            shed_by_class: self.shed_by_class.into_iter().collect(),
            decisions: self.decisions,
            observations: self.observations,
            fault: self.fault,
            symbols: Symbols::default(),
        }
    }
}

/// The streams are rooted, so the last token stands for the whole prompt. Prompts below two million
/// tokens get keys below 2^53, which scripts can hold exactly.
fn prompt_key(prompt: &TokenSeq) -> u64 {
    let last = prompt.len().checked_sub(1);
    let Some(key) = last.and_then(|last| prompt.token_key(last)) else {
        return u64::MAX;
    };
    let (stream, offset) = (key >> 32, key & 0xffff_ffff);
    if offset < 1 << 21 {
        stream << 21 | offset
    } else {
        1 << 63 | key
    }
}

fn candidate(view: &InstanceView, score: f64) -> Candidate {
    Candidate {
        instance: view.index,
        score,
        queue_depth: view.queue_depth,
        batch_size: view.batch_size,
        in_flight: view.in_flight,
        kv_utilization: view.kv_utilization,
        kv_free_blocks: view.kv_free_blocks,
    }
}

/// Instances rank by name among equals, as text: `instance_10` before `instance_2`.
fn name(candidate: &Candidate) -> String {
    candidate.instance.to_string()
}
