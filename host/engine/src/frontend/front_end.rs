//! Admission and routing with what the front end knows.

mod dispatch;
mod scale;

pub use dispatch::AtGateway;

use super::backends::Backends;
use super::config::FrontEndConfig;
use super::estimators::Estimators;
use super::gateway::Detector;
use super::policies::FrontEndPolicies;
use super::request_views::{RequestViews, ServedModels};
use super::services::FrontEndServices;
use super::signals::Signals;
use super::trace::{RoutedRequest, Trace};
use std::collections::BTreeMap;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::record::{Decision, PutOff, RoutingObservations, RoutingStage};
use windtunnel_base::request::{Request, Sym, Symbols, TokenSeq};
use windtunnel_base::rng::{Stream, salted};
use windtunnel_plugin_api::{
    Admit, ClusterView, Event, Host, InstanceView, Interests, List, PolicyError, RequestView,
    Route, Services,
};

/// A request at the front end.
#[derive(Debug)]
pub struct Pending {
    /// The request.
    pub request: Request,
    /// The request as policies see it.
    pub view: RequestView,
}

/// What the admission policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to routing.
    Admitted,
    /// Ask again after so many microseconds.
    Delayed(i64),
    /// It is turned away.
    Rejected,
}

/// What the router decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It goes to the instance of this number.
    To(usize),
    /// Ask again after so many microseconds.
    Held(i64),
    /// No instance serves it.
    Nowhere,
}

/// The policies of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEndHook {
    /// At the door.
    Admission,
    /// Which instance.
    Routing,
}

impl FrontEndHook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Admission, Self::Routing];
}

impl From<FrontEndHook> for Hook {
    fn from(hook: FrontEndHook) -> Self {
        match hook {
            FrontEndHook::Admission => Self::Admission,
            FrontEndHook::Routing => Self::Routing,
        }
    }
}

/// Which instances take requests, which of them prefill for others, which decode, and which encode.
#[derive(Clone, Debug, Default)]
pub struct StageMembers {
    /// Those that take requests at all; `None` = all of them.
    whole: Option<Vec<u32>>,
    prefill: Vec<u32>,
    decode: Vec<u32>,
    encode: Vec<u32>,
    /// Numbers of those that decode, then of the others that prefill: whom the disaggregation
    /// policy sees.
    either: Vec<u32>,
}

impl StageMembers {
    /// Instances that prefill, that decode and that encode, by number.
    #[must_use]
    pub fn new(prefill: Vec<u32>, decode: Vec<u32>, encode: Vec<u32>) -> Self {
        let others = prefill.iter().filter(|i| !decode.contains(i));
        Self {
            whole: None,
            either: decode.iter().chain(others).copied().collect(),
            prefill,
            decode,
            encode,
        }
    }

    /// Numbers of those that take requests at all; `None` = all of them.
    #[must_use]
    pub fn whole(&self) -> Option<&[u32]> {
        self.whole.as_deref()
    }

    /// The same where only these take requests at all.
    #[must_use]
    pub fn of_those(self, whole: Option<Vec<u32>>) -> Self {
        Self { whole, ..self }
    }
}

/// Which instances a policy is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// None.
    Nobody,
    /// Those of a stage.
    Stage(RoutingStage),
    /// Those that decode, and those that prefill.
    Either,
}

/// The instances of a stage; `None` = all.
fn members(stages: Option<&StageMembers>, stage: RoutingStage) -> Option<&[u32]> {
    let members = stages?;
    match stage {
        RoutingStage::Whole => members.whole.as_deref(),
        RoutingStage::Prefill => Some(&members.prefill),
        RoutingStage::Decode => Some(&members.decode),
        RoutingStage::Encode => Some(&members.encode),
    }
}

/// The views of `members`; `None` = all.
fn shown<'a>(
    all: &'a [InstanceView],
    members: Option<&[u32]>,
    scratch: &'a mut Vec<InstanceView>,
) -> &'a [InstanceView] {
    let Some(members) = members else { return all };
    scratch.clear();
    scratch.extend(members.iter().map(|&i| all[i as usize]));
    scratch
}

/// What a front end leaves behind.
#[derive(Clone, Debug, Default)]
pub struct FrontEndRecord {
    /// Refused by the admission policy.
    pub rejected_by_admission: u64,
    /// Refused because no instance serves the model.
    pub rejected_by_routing: u64,
    /// Admission rejections by SLO class name as given (`standard` when empty), sorted.
    pub shed_by_class: Vec<(String, u64)>,
    /// How often policies put a request off.
    pub put_off: PutOff,
    /// Decisions, when traced.
    pub decisions: Vec<Decision>,
    /// What every routing decision was made on, when that was observed.
    pub observations: RoutingObservations,
    /// What a policy did wrong first.
    pub fault: Option<RunFault>,
}

/// Admission and routing.
///
/// It has no clock of its own: every call says when it is. Its caller brings the instances up to
/// date where [`admission_looks`](Self::admission_looks) and
/// [`router_looks`](Self::router_looks) say that a decision depends on it.
pub struct FrontEnd {
    policies: FrontEndPolicies,
    estimators: Estimators,
    /// Of the random numbers that policies draw.
    seed: u64,
    /// Do admission and router read the counters of requests in flight?
    reads_counters: (bool, bool),
    /// Does what the gateway decides depend on them?
    gateway_reads_counters: bool,
    /// How often the dispatch policy was asked.
    dispatches_asked: u64,
    /// Who is admitted comes to a gateway, which says in the trace what becomes of it.
    at_gateway: bool,
    signals: Signals,
    requests: RequestViews,
    models: ServedModels,
    trace: Trace,
    stages: Option<StageMembers>,
    /// Scratch: the views of a stage's instances.
    shown: Vec<InstanceView>,
    rejected_by_admission: u64,
    rejected_by_routing: u64,
    shed_by_class: BTreeMap<String, u64>,
    put_off: PutOff,
    /// Where requests go instead of where the router sends them, by serial number; `u32::MAX` and
    /// beyond the end: as the router says.
    replayed: Vec<u32>,
    fault: Option<RunFault>,
}

impl FrontEnd {
    /// A front end that knows of no instances yet. `seed` is that of the random numbers that
    /// policies draw and of the predictor's errors. With `exact_model_tags` a request must give the
    /// first of the model's names exactly.
    #[must_use]
    pub fn new(
        config: &FrontEndConfig,
        seed: u64,
        exact_model_tags: bool,
        policies: FrontEndPolicies,
        estimators: Estimators,
    ) -> Self {
        let mut interests = policies.interests();
        // Counterfactuals compare the loads that the router could have seen.
        let counterfactuals = config.trace.decisions && config.trace.counterfactual_k > 0;
        if counterfactuals {
            interests = interests | Interests::SNAPSHOTS;
        }
        let detector = config.flow_control.as_ref().map(|flow| flow.detector);
        let detector = detector.map_or(Interests::NONE, Detector::interests);
        interests = interests | detector;
        let counters = |interests: Interests| interests.has(Interests::COUNTERS);
        let priorities = policies.slo_priorities.clone();
        Self {
            reads_counters: (
                counters(policies.admission.interests()),
                counters(policies.routing_interests()) || counterfactuals,
            ),
            gateway_reads_counters: counters(policies.dispatch_interests() | detector),
            dispatches_asked: 0,
            at_gateway: config.flow_control.is_some(),
            signals: Signals::new(config, interests),
            requests: RequestViews::new(priorities, config.predictor.clone(), seed),
            models: ServedModels::new(config.model_names.clone(), exact_model_tags),
            trace: Trace::new(config.trace),
            stages: None,
            shown: Vec::new(),
            policies,
            estimators,
            seed: salted(seed, config.policy_salt),
            rejected_by_admission: 0,
            rejected_by_routing: 0,
            shed_by_class: BTreeMap::new(),
            put_off: PutOff::default(),
            replayed: Vec::new(),
            fault: None,
        }
    }

    /// From now on these are the instances that take requests; all of them, all requests, if this
    /// is never said. Where some only prefill or decode, the policies must have those of the
    /// stages.
    pub fn set_members(&mut self, members: StageMembers) {
        self.stages = Some(members);
    }

    /// Does the admission decision at `now` depend on what the instances did until now?
    #[must_use]
    pub fn admission_looks(&self, now: i64) -> bool {
        self.reads_counters.0 || self.signals.looks(now)
    }

    /// Does the routing decision at `now` depend on what the instances did until now?
    #[must_use]
    pub fn router_looks(&self, now: i64) -> bool {
        self.reads_counters.1 || self.trace.observes() || self.signals.looks(now)
    }

    /// From now on requests go to the instances that `choices` has at their serial numbers;
    /// `u32::MAX`, and what lies beyond its end, is as the router says. The router is asked all the
    /// same, and may hold a request back.
    pub fn replay(&mut self, choices: Vec<u32>) {
        self.replayed = choices;
    }

    /// What policies see of the request with this number in order of arrival.
    pub fn view(&mut self, serial: u64, request: &Request, symbols: &Symbols) -> RequestView {
        self.requests.view(serial, request, symbols)
    }

    /// Asks the admission policy.
    pub fn admit(
        &mut self,
        now: i64,
        pending: &Pending,
        backends: &mut impl Backends,
        symbols: &Symbols,
    ) -> Verdict {
        let served = self.models.serves(pending.request.model, symbols);
        if served {
            self.signals.refresh(now, backends);
        }
        let answer = self.ask(
            FrontEndHook::Admission.into(),
            now,
            pending,
            backends,
            match served {
                true => Seen::Stage(RoutingStage::Whole),
                false => Seen::Nobody,
            },
            |policies, request, cluster| policies.admission.admit(request, cluster),
        );
        let reason = match answer {
            Ok(Admit::Admit) => None,
            Ok(Admit::Reject(reason)) => Some(reason),
            Ok(Admit::Delay(us)) => {
                self.put_off.delays += 1;
                return Verdict::Delayed(us);
            }
            Err(_) => return Verdict::Rejected,
        };
        let Some(reason) = reason else {
            if !self.at_gateway {
                self.trace.admitted(now, &pending.request.id, "");
            }
            return Verdict::Admitted;
        };
        self.trace.rejected(now, &pending.request.id, reason);
        self.rejected_by_admission += 1;
        let class = symbols.name(pending.request.slo_class);
        let class = if class.is_empty() { "standard" } else { class };
        *self.shed_by_class.entry(class.to_owned()).or_default() += 1;
        Verdict::Rejected
    }

    /// Asks the router of a stage. The ledgers count the request from when it is
    /// [dispatched](Self::dispatched).
    pub fn route(
        &mut self,
        now: i64,
        pending: &Pending,
        stage: RoutingStage,
        backends: &mut impl Backends,
        symbols: &Symbols,
    ) -> Routed {
        let instances = members(self.stages.as_ref(), stage).map_or(backends.len(), <[u32]>::len);
        if instances == 0 || !self.models.serves(pending.request.model, symbols) {
            self.rejected_by_routing += 1;
            return Routed::Nowhere;
        }
        self.signals.refresh(now, backends);
        let answer = self.ask(
            Hook::Routing,
            now,
            pending,
            backends,
            Seen::Stage(stage),
            |policies, request, cluster| policies.router(stage).route(request, cluster),
        );
        let Ok(answer) = answer else {
            return Routed::Nowhere;
        };
        let chosen = match answer {
            Route::To(chosen) if chosen < instances => chosen,
            Route::To(chosen) => {
                let (id, last) = (pending.request.id.to_string(), instances - 1);
                let what = format!("sent {id} to instance {chosen}; expected 0 to {last}");
                self.fault(RunFault::answered(Hook::Routing, Some(id), what));
                return Routed::Nowhere;
            }
            Route::Hold { retry_after_us } => {
                self.put_off.holds += 1;
                return Routed::Held(retry_after_us);
            }
        };
        let chosen = match self.replayed.get(pending.view.serial as usize) {
            Some(&other) if other != u32::MAX => other as usize,
            _ => chosen,
        };
        let members = members(self.stages.as_ref(), stage);
        let routed = RoutedRequest {
            request: &pending.request,
            view: &pending.view,
            stage,
            shown: members.map_or(self.signals.views(), |_| &self.shown),
            chosen,
        };
        let router = &*self.policies.router(stage);
        self.trace
            .routing(now, routed, router, &self.signals, backends);
        Routed::To(members.map_or(chosen, |members| members[chosen] as usize))
    }

    /// Asks whether another instance prefills this request than `decode`, which was chosen to
    /// decode it. An error is the run's fault, and no.
    pub fn prefills_remotely(
        &mut self,
        now: i64,
        pending: &Pending,
        decode: usize,
        backends: &mut impl Backends,
    ) -> bool {
        let members = members(self.stages.as_ref(), RoutingStage::Decode).unwrap_or_default();
        let Some(position) = members.iter().position(|&i| i as usize == decode) else {
            return false;
        };
        let answer = self.ask(
            Hook::Disaggregation,
            now,
            pending,
            backends,
            Seen::Either,
            |policies, request, cluster| match &mut policies.stages {
                Some(stages) => {
                    let policy = &mut stages.disaggregation;
                    policy.prefills_remotely(request, position, cluster)
                }
                None => Ok(false),
            },
        );
        let remotely = answer.unwrap_or(false);
        if !remotely {
            self.trace.decoder_prefills();
        }
        remotely
    }

    /// A request is on its way to instance `i`: the ledgers count it.
    pub fn dispatched(&mut self, i: usize, request: &Request) {
        self.signals.dispatched(i, request);
    }

    /// Asks a policy about a request. An error is noted as the run's fault.
    fn ask<T>(
        &mut self,
        hook: Hook,
        now: i64,
        pending: &Pending,
        backends: &impl Backends,
        seen: Seen,
        ask: impl FnOnce(
            &mut FrontEndPolicies,
            &RequestView,
            &ClusterView<'_>,
        ) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let members = match seen {
            Seen::Nobody => None,
            Seen::Stage(stage) => members(self.stages.as_ref(), stage),
            Seen::Either => self.stages.as_ref().map(|stages| &stages.either[..]),
        };
        let views = match seen {
            Seen::Nobody => &[],
            _ => shown(self.signals.views(), members, &mut self.shown),
        };
        // Two routings of one request draw different numbers.
        let stage = match seen {
            Seen::Stage(RoutingStage::Prefill) => "prefill routing policy",
            Seen::Stage(RoutingStage::Encode) => "encode routing policy",
            _ => hook.kind(),
        };
        let services = FrontEndServices {
            signals: &self.signals,
            backends,
            members,
            prompt: &pending.request.prompt,
            adapter: pending.request.adapter,
            estimators: &self.estimators,
            random: Stream::new(
                self.seed,
                stage,
                pending.view.serial,
                pending.view.attempts.into(),
            ),
        };
        let services: &dyn Services = &services;
        let cluster = ClusterView {
            now_us: now,
            instances: List::new(views),
            host: Host::new(&services),
        };
        ask(&mut self.policies, &pending.view, &cluster).inspect_err(|e| {
            self.fault.get_or_insert_with(|| {
                let request = Some(pending.request.id.to_string());
                RunFault::failed(hook, PolicyCall::Decision, request, e)
            });
        })
    }

    /// Interval between the ticks of a policy, microseconds; 0 = it wants none.
    #[must_use]
    pub fn tick_us(&self, hook: FrontEndHook) -> i64 {
        match hook {
            FrontEndHook::Admission => self.policies.admission.tick_us(),
            FrontEndHook::Routing => self.policies.router.tick_us(),
        }
    }

    /// Tells a policy that time has passed.
    pub fn tick(&mut self, hook: FrontEndHook, now: i64, backends: &mut impl Backends) {
        self.signals.refresh(now, backends);
        let members = members(self.stages.as_ref(), RoutingStage::Whole);
        let views = shown(self.signals.views(), members, &mut self.shown);
        let services = FrontEndServices {
            signals: &self.signals,
            backends: &*backends,
            members,
            prompt: &TokenSeq::default(),
            adapter: Sym::NONE,
            estimators: &self.estimators,
            random: Stream::new(self.seed, "tick", hook as u64, now as u64),
        };
        let services: &dyn Services = &services;
        let cluster = ClusterView {
            now_us: now,
            instances: List::new(views),
            host: Host::new(&services),
        };
        let told = match hook {
            FrontEndHook::Admission => self.policies.admission.on_tick(&cluster),
            FrontEndHook::Routing => self.policies.router.on_tick(&cluster),
        };
        if let Err(e) = told {
            self.fault(RunFault::failed(hook.into(), PolicyCall::Tick, None, &e));
        }
    }

    /// Tells the policies that listen what happened to a request.
    pub fn tell(&mut self, event: &Event) {
        if let Err((hook, e)) = self.policies.tell(event) {
            self.fault(RunFault::failed(hook, PolicyCall::Event, None, &e));
        }
    }

    /// A request left instance `i`, which is still there.
    pub fn departed(&mut self, i: usize, request: &Request) {
        self.signals.departed(i, request);
    }

    /// Requests and prompt tokens that the front end counts on instance `i`.
    #[must_use]
    pub fn outstanding(&self, i: usize) -> (u64, u64) {
        let view = self.signals.views().get(i);
        view.map_or((0, 0), |v| (v.in_flight.into(), v.dispatched_tokens))
    }

    /// Something went wrong; the run cannot go on. The first fault counts.
    pub fn fault(&mut self, fault: RunFault) {
        self.fault.get_or_insert(fault);
    }

    /// Reads the instances as they are at `now`, where that is due; knows of all that there are.
    pub fn look(&mut self, now: i64, backends: &mut impl Backends) {
        self.signals.refresh(now, backends);
    }

    /// Requests that the admission policy has turned away.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.rejected_by_admission
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn fault_text(&self) -> Option<String> {
        self.fault.as_ref().map(ToString::to_string)
    }

    /// Can the run not go on?
    #[must_use]
    pub fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// What it leaves behind.
    #[must_use]
    pub fn into_record(self) -> FrontEndRecord {
        FrontEndRecord {
            rejected_by_admission: self.rejected_by_admission,
            rejected_by_routing: self.rejected_by_routing,
            shed_by_class: self.shed_by_class.into_iter().collect(),
            put_off: self.put_off,
            decisions: self.trace.decisions,
            observations: self.trace.observations,
            fault: self.fault,
        }
    }
}
