//! Policies written against the plugin contract alone drive a cluster.

use crate::lab::{self, Affine, Arrival, BY_HAND, Script, ask, fresh, roomy};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_engine::cluster::{Cluster, ClusterConfig};
use windtunnel_engine::frontend::FrontEndPolicies;
use windtunnel_engine::instance::{EngineConfig, EngineRules, InstanceHooks};
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, EventKind, InstanceView, Interests, KeyRefresh,
    Outcome as End, PolicyError, QueueOrder, QueueView, QueuedView, RequestView, Route, Router,
    Scheduler,
};
use windtunnel_plugin_least_tokens::LeastTokens;
use windtunnel_policy::PolicySpec;

/// What a policy saw.
#[derive(Debug, Default)]
struct Seen {
    admissions: Vec<(i64, RequestView)>,
    routings: Vec<(i64, RequestView, Vec<InstanceView>)>,
    events: Vec<Event>,
}

type Shared = Arc<Mutex<Seen>>;

/// Routes as another policy does and writes down everything it is shown.
struct Recorder<R> {
    inner: R,
    interests: Interests,
    seen: Shared,
}

impl<R: Router> Router for Recorder<R> {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let views = cluster.instances.iter().copied().collect();
        let mut seen = self.seen.lock().expect("no panic");
        seen.routings.push((cluster.now_us, *request, views));
        self.inner.route(request, cluster)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.seen.lock().expect("no panic").events.push(*event);
        self.inner.on_event(event)
    }
}

/// Answers of its own for each request and try, by serial; everybody else goes in.
pub(crate) struct Door {
    answers: HashMap<u64, Vec<Admit>>,
    seen: Shared,
}

impl Admission for Door {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let mut seen = self.seen.lock().expect("no panic");
        seen.admissions.push((cluster.now_us, *request));
        match self.answers.get_mut(&request.serial) {
            Some(answers) if !answers.is_empty() => Ok(answers.remove(0)),
            _ => Ok(Admit::Admit),
        }
    }
}

/// Always the same answer.
pub(crate) struct Always(pub(crate) Route);

impl Router for Always {
    fn route(
        &mut self,
        _request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        Ok(self.0)
    }
}

pub(crate) fn front(
    admission: impl Admission + 'static,
    router: impl Router + 'static,
) -> FrontEndPolicies {
    FrontEndPolicies {
        admission: Box::new(admission),
        router: Box::new(router),
        stages: None,
        dispatch: None,
        scale: Vec::new(),
        slo_priorities: SloPriorities::default(),
    }
}

pub(crate) fn open_door() -> Door {
    Door {
        answers: HashMap::new(),
        seen: Shared::default(),
    }
}

pub(crate) fn drive(
    config: ClusterConfig,
    latency: Affine,
    front: FrontEndPolicies,
    hooks: Vec<InstanceHooks>,
    asks: &[Arrival],
) -> RunRecord {
    let mut script = Script::new(asks);
    let cluster = Cluster::new(lab::timed(config, latency), front, hooks, &mut script);
    lab::run_checked(cluster.expect("a cluster"))
        .expect("the invariants hold")
        .0
}

pub(crate) fn default_hooks(n: u32) -> Vec<InstanceHooks> {
    lab::hooks(&PolicySpec::default(), n)
}

/// Runs `asks` on one instance of `engine` behind a router that hears everything.
fn overheard(
    engine: EngineConfig,
    asks: &[Arrival],
    interests: Interests,
) -> (RunRecord, Vec<Event>) {
    let seen = Shared::default();
    let router = Recorder {
        inner: Always(Route::To(0)),
        interests,
        seen: Arc::clone(&seen),
    };
    let front = front(open_door(), router);
    let record = drive(fresh(1, engine), BY_HAND, front, default_hooks(1), asks);
    let events = std::mem::take(&mut seen.lock().expect("no panic").events);
    (record, events)
}

#[test]
fn least_tokens_decides_as_the_records_say_it_should() {
    let asks: Vec<Arrival> = (0..120)
        .map(|k: u32| Arrival {
            timeout: if k % 7 == 3 { 400 } else { 0 },
            ..ask(i64::from(k / 3) * 60, 1 + (k * 37) % 90, 1 + (k * 11) % 13)
        })
        .collect();
    for rules in [EngineRules::BLIS, EngineRules::VLLM] {
        let seen = Shared::default();
        let inner = LeastTokens::new();
        let interests = inner.interests();
        let recorder = Recorder {
            inner,
            interests,
            seen: Arc::clone(&seen),
        };
        let engine = EngineConfig {
            max_num_seqs: 3,
            ..roomy(rules)
        };
        let front = front(open_door(), recorder);
        let record = drive(fresh(3, engine), BY_HAND, front, default_hooks(3), &asks);
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.routings.len(), asks.len());
        let mut used = [0; 3];
        let mut owed_before = 0;
        for (k, (now, view, _)) in seen.routings.iter().enumerate() {
            // A request is owed from its dispatch to the event that ended it. Events of the same
            // time come later, because the front end goes first.
            let ended = |r: &RequestRecord| {
                seen.events.iter().any(|e| {
                    e.serial == r.serial && e.what() == Some(EventKind::Complete) && e.now_us < *now
                })
            };
            let mut owed = [0u64; 3];
            for r in record.requests[..k].iter().filter(|r| !ended(r)) {
                owed[r.instance.expect("dispatched") as usize] += u64::from(r.prompt_tokens);
            }
            let best = (0..3).min_by_key(|&i| owed[i]).expect("three");
            let chosen = record.requests[k].instance;
            assert_eq!(
                (view.serial, chosen),
                (k as u64, Some(best as u32)),
                "{owed:?}"
            );
            used[best] += 1;
            owed_before += owed.iter().sum::<u64>();
        }
        assert!(used.iter().all(|&n| n > 10) && owed_before > 0, "{used:?}");
    }
}

#[test]
fn events_come_in_order_with_the_right_numbers() {
    // Four blocks of four tokens. Two requests of 3 + 7 tokens; the second is preempted at 706 (see
    // the rules' tests). One that can never fit, one whose client gives up, one that the door
    // refuses.
    let engine = EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        max_num_seqs: 2,
        ..roomy(EngineRules::BLIS)
    };
    let asks = [
        ask(0, 3, 7),
        ask(0, 3, 7),
        ask(10, 17, 1),
        Arrival {
            timeout: 30,
            tenant: "t",
            ..ask(20, 5, 5)
        },
        ask(40, 1, 1),
    ];
    let seen = Shared::default();
    let router = Recorder {
        inner: Always(Route::To(0)),
        interests: Interests::ALL,
        seen: Arc::clone(&seen),
    };
    let door = Door {
        answers: HashMap::from([(4, vec![Admit::Reject("no".into())])]),
        seen: Shared::default(),
    };
    let record = drive(
        fresh(1, engine),
        BY_HAND,
        front(door, router),
        default_hooks(1),
        &asks,
    );
    let events = std::mem::take(&mut seen.lock().expect("no panic").events);
    let tenant = record.requests[3].tenant.0;
    let event = |kind, now_us, serial: u64, [output, ttft, e2e]: [i64; 3]| Event {
        kind: kind as u32,
        now_us,
        serial,
        instance: if kind == EventKind::Reject {
            u32::MAX
        } else {
            0
        },
        tenant: if serial == 3 { tenant } else { 0 },
        prompt_tokens: [3, 3, 17, 5, 1][serial as usize],
        output_tokens: output as u32,
        ttft_us: ttft,
        e2e_us: e2e,
        ..Event::default()
    };
    let ended = |outcome, now_us, serial| Event {
        outcome: outcome as u32,
        ..event(Complete, now_us, serial, [0; 3])
    };
    use EventKind::{Complete, Dispatch, FirstToken, Preempt, Reject};
    let expected = [
        event(Dispatch, 0, 0, [0, 0, 0]),
        event(Dispatch, 0, 1, [0, 0, 0]),
        // Under these rules a step shows when it starts.
        event(FirstToken, 0, 0, [1, 106, 0]),
        event(FirstToken, 0, 1, [1, 106, 0]),
        event(Dispatch, 10, 2, [0, 0, 0]),
        ended(End::Dropped, 10, 2),
        event(Dispatch, 20, 3, [0, 0, 0]),
        event(Reject, 40, 4, [0, 0, 0]),
        ended(End::TimedOut, 50, 3),
        // It had as many tokens as the other, less the one of this step.
        event(Preempt, 706, 1, [6, 0, 0]),
        event(Complete, 706, 0, [7, 106, 816]),
        // It forgot its tokens and starts over.
        event(FirstToken, 816, 1, [1, 919, 0]),
        event(Complete, 919 + 5 * 110, 1, [7, 919, 1579]),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_policy_hears_only_what_it_asked_for() {
    let asks = [ask(0, 3, 7), ask(0, 3, 7), ask(10, 17, 1)];
    let engine = EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        ..roomy(EngineRules::VLLM)
    };
    let heard = |interests| overheard(engine, &asks, interests);
    let is_token = |e: &Event| matches!(e.what(), Some(EventKind::FirstToken | EventKind::Preempt));
    let (all, events) = heard(Interests::ALL);
    let (none, nothing) = heard(Interests::NONE);
    assert!(nothing.is_empty(), "{nothing:?}");
    let split = |token| {
        events
            .iter()
            .copied()
            .filter(move |e| is_token(e) == token)
            .collect::<Vec<_>>()
    };
    assert_eq!(heard(Interests::LIFECYCLE).1, split(false));
    assert_eq!(heard(Interests::TOKENS).1, split(true));
    assert!(
        split(true).len() >= 3,
        "two first tokens and a preemption: {events:?}"
    );
    assert_eq!(
        format!("{:?}", all.requests),
        format!("{:?}", none.requests),
        "listening changes nothing"
    );
}

#[test]
fn a_view_is_empty_where_no_interest_was_declared() {
    let seen = Shared::default();
    let router = Recorder {
        inner: Always(Route::To(0)),
        interests: Interests::NONE,
        seen: Arc::clone(&seen),
    };
    let asks = [ask(0, 30, 50), ask(200, 30, 50)];
    let engine = roomy(EngineRules::BLIS);
    let front = front(open_door(), router);
    let _ = drive(fresh(1, engine), BY_HAND, front, default_hooks(1), &asks);
    let expected = InstanceView {
        in_flight: 1,
        dispatched_tokens: 30,
        kv_total_blocks: engine.total_kv_blocks as u32,
        max_batch_size: 256,
        block_size: 16,
        max_step_tokens: engine.max_num_batched_tokens,
        ..InstanceView::default()
    };
    let seen = seen.lock().expect("no panic");
    assert_eq!(
        seen.routings[1].2,
        [expected],
        "only what never changes and what is always fresh"
    );
}

#[test]
fn a_delayed_request_is_asked_again_and_its_clock_runs_from_its_arrival() {
    let door = Door {
        answers: HashMap::from([(
            0,
            vec![Admit::Delay(1500), Admit::Delay(-7), Admit::Delay(299)],
        )]),
        seen: Shared::default(),
    };
    let seen = Arc::clone(&door.seen);
    let front = front(door, Always(Route::To(0)));
    let engine = roomy(EngineRules::BLIS);
    let record = drive(
        fresh(1, engine),
        BY_HAND,
        front,
        default_hooks(1),
        &[ask(100, 10, 1)],
    );
    let asked: Vec<i64> = seen
        .lock()
        .expect("no panic")
        .admissions
        .iter()
        .map(|a| a.0)
        .collect();
    // A delay is at least 1,000 us.
    assert_eq!(asked, [100, 1600, 2600, 3600]);
    assert_eq!(record.put_off.delays, 3);
    let r = &record.requests[0];
    assert_eq!(
        (r.arrival_us, r.scheduling_delay_us, r.ttft_us),
        (100, Some(3500), Some(3610))
    );
}

/// Holds everybody until a time, in small steps.
struct HoldUntil(i64);

impl Router for HoldUntil {
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        if cluster.now_us < self.0 {
            Ok(Route::Hold {
                retry_after_us: 1300,
            })
        } else {
            Ok(Route::To(1))
        }
    }
}

#[test]
fn a_held_request_waits_at_the_front_end() {
    let seen = Shared::default();
    let router = Recorder {
        inner: HoldUntil(4000),
        interests: Interests::ALL,
        seen: Arc::clone(&seen),
    };
    let mut engine = roomy(EngineRules::BLIS);
    let asks = [ask(100, 10, 1)];
    let record = drive(
        fresh(2, engine),
        BY_HAND,
        front(open_door(), router),
        default_hooks(2),
        &asks,
    );
    let seen = seen.lock().expect("no panic");
    let asked: Vec<i64> = seen.routings.iter().map(|r| r.0).collect();
    assert_eq!(asked, [100, 1400, 2700, 4000]);
    let dispatched = seen.events.first().map(|e| (e.what(), e.now_us));
    assert_eq!(
        dispatched,
        Some((Some(EventKind::Dispatch), 4000)),
        "not before"
    );
    let r = &record.requests[0];
    assert_eq!(
        (r.instance, r.scheduling_delay_us, r.ttft_us),
        (Some(1), Some(3900), Some(4010))
    );

    engine.horizon_us = 50_000;
    let forever = front(open_door(), HoldUntil(i64::MAX));
    let record = drive(fresh(2, engine), BY_HAND, forever, default_hooks(2), &asks);
    assert_eq!(record.requests[0].outcome, Outcome::InTransit);
    assert_eq!(record.requests[0].instance, None);
}

/// The oracle boundary: nothing that a policy is shown depends on how much a request will generate.
#[test]
fn views_do_not_depend_on_output_lengths() {
    let shown = |outputs: [u32; 6]| {
        let asks: Vec<Arrival> = (0..6)
            .map(|k| Arrival {
                prefix: (1, 16),
                class: "batch",
                tenant: "t",
                budget: Some(100),
                ..ask(0, 5 + k as u32, outputs[k])
            })
            .collect();
        let seen = Shared::default();
        let door = Door {
            answers: HashMap::new(),
            seen: Arc::clone(&seen),
        };
        let router = Recorder {
            inner: Always(Route::To(0)),
            interests: Interests::ALL,
            seen: Arc::clone(&seen),
        };
        let queued = Arc::new(Mutex::new(Vec::new()));
        let mut hooks = default_hooks(1);
        hooks[0].scheduler = Box::new(Spy(Arc::clone(&queued)));
        let engine = EngineConfig {
            max_num_seqs: 1,
            ..roomy(EngineRules::BLIS)
        };
        let _ = drive(fresh(1, engine), BY_HAND, front(door, router), hooks, &asks);
        let seen = seen.lock().expect("no panic");
        let queued = queued.lock().expect("no panic").clone();
        (seen.admissions.clone(), seen.routings.clone(), queued)
    };
    let short = shown([1; 6]);
    assert_eq!(short, shown([50, 1, 99, 2, 0, 7]));
    assert_eq!([short.0.len(), short.1.len(), short.2.len()], [6; 3]);
    // The whole of a view, so that a field added later is thought about: none may come from the
    // output's length.
    let RequestView {
        serial: _,
        arrival_us: _,
        deadline_us: _,
        slo_ttft_us: _,
        prompt_key: _,
        prompt_tokens: _,
        slo_class: _,
        class_priority: _,
        tenant: _,
        session: _,
        round: _,
        prefix_group: _,
        prefix_tokens: _,
        model: _,
        // From the predictor alone, of which there is none here.
        predicted_output_tokens: 0,
        attempts: _,
        reserved: _,
        adapter: _,
        client_priority: _,
    } = short.0[0].1
    else {
        panic!("a prediction without a predictor")
    };
}

/// A scheduler that writes down what it is shown when requests enter the queue.
struct Spy(Arc<Mutex<Vec<(RequestView, i64, f64)>>>);

impl Scheduler for Spy {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }
    fn key(&mut self, queued: &QueuedView<'_>, _queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let shown = (*queued.request, queued.enqueued_us, queued.priority);
        self.0.lock().expect("no panic").push(shown);
        Ok(0.0)
    }
}

/// A nonsensical answer gets no plausible score: the run ends and says whose answer it was.
#[test]
fn an_index_out_of_range_ends_the_run_and_names_the_policy() {
    let front = front(open_door(), Always(Route::To(99)));
    let engine = roomy(EngineRules::BLIS);
    let asks = [ask(0, 10, 1), ask(5, 10, 1)];
    let record = drive(fresh(3, engine), BY_HAND, front, default_hooks(3), &asks);
    let fault = "the routing policy sent request_0 to instance 99; expected 0 to 2";
    assert_eq!(record.fault.map(|f| f.to_string()).as_deref(), Some(fault));
    assert_eq!(record.requests.len(), 1, "nothing happens after it");
}
