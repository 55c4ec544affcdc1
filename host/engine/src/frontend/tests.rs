//! The front end before instances that are nothing but numbers.

use super::*;
use crate::adapters::AdapterState;
use crate::latency::{Estimator, LatencyModel, StepAggregates, StepItem, StepLimits};
use crate::rules::Preset;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::RoutingStage;
use windtunnel_base::request::{Request, RequestId, Span, Sym, Symbols, TokenSeq};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_plugin_api::{
    AdapterSignal, Admission, Admit, ClusterView, InstanceView, Interests, PolicyError,
    RequestView, Route, Router,
};

/// Instances that wait for as many requests as their list says, and hold whatever was put into
/// their caches.
#[derive(Default)]
struct Fake {
    /// (requests waiting, cached blocks of any prompt) by instance.
    instances: Vec<(u32, u32)>,
    /// Adapters of every instance.
    adapters: Vec<AdapterState>,
    /// Cached blocks at the last refresh.
    signalled: Vec<u32>,
    /// Requests waiting when it was told last which instances changed.
    told: Vec<Option<u32>>,
}

impl Fake {
    fn of(waiting: &[u32]) -> Self {
        Self {
            instances: waiting.iter().map(|&n| (n, 0)).collect(),
            ..Self::default()
        }
    }
}

impl Backends for Fake {
    fn len(&self) -> usize {
        self.instances.len()
    }
    fn describe(&self, i: usize) -> InstanceView {
        InstanceView {
            index: i as u32,
            block_size: 16,
            pool: 1 + i as u32 / 2,
            ..InstanceView::default()
        }
    }
    fn observe(&mut self, i: usize, now_us: i64, work: bool, view: &mut InstanceView) {
        view.scraped_us = now_us;
        view.queue_depth = self.instances[i].0;
        if work {
            view.queued_prompt_tokens = 100 * u64::from(self.instances[i].0);
        }
    }
    fn adapters(&self, _: usize, adapters: &mut Vec<AdapterState>) {
        adapters.extend(&self.adapters);
    }
    fn take_changed(&mut self, changed: &mut Vec<u32>) {
        self.told.resize(self.instances.len(), None);
        for (i, (told, now)) in self.told.iter_mut().zip(&self.instances).enumerate() {
            if told.replace(now.0) != Some(now.0) {
                changed.push(i as u32);
            }
        }
    }
    fn refresh_cache_signal(&mut self) {
        self.signalled = self.instances.iter().map(|i| i.1).collect();
    }
    fn cached_blocks(&self, i: usize, _prompt: &TokenSeq, freshness: Freshness) -> u32 {
        match freshness {
            Freshness::Now => self.instances[i].1,
            Freshness::LastRefresh => self.signalled.get(i).copied().unwrap_or(0),
        }
    }
}

/// What a router was shown of each instance, with the prefix signals of the request.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    in_flight: Vec<u32>,
    dispatched_tokens: Vec<u64>,
    waiting: Vec<u32>,
    scraped_us: Vec<i64>,
    approximate: Vec<u32>,
    precise: Vec<u32>,
    ttft_us: Vec<f64>,
    /// What all signals say of the request's adapter on the first instance.
    adapter: [u32; 3],
    /// Adapters on it: loaded, running, waiting.
    adapters: [u32; 3],
}

/// Goes where it is told and writes down what it is shown.
struct Told {
    to: Rc<RefCell<usize>>,
    shown: Rc<RefCell<Vec<Shown>>>,
    interests: Interests,
    /// The views of the last decision, and the moment for `changed_since`.
    before: Vec<InstanceView>,
    seen: u64,
}

impl Told {
    /// What the host says at once is what it says of each.
    fn check_at_once(&mut self, cluster: &ClusterView<'_>) {
        let (views, host) = (cluster.instances, &cluster.host);
        for precise in [false, true] {
            let each = (0..views.len() + 2).map(|i| match precise {
                true => host.precise_prefix_blocks(i),
                false => host.approximate_prefix_blocks(i),
            });
            let mut all = vec![9; views.len() + 2];
            host.prefix_blocks(precise, &mut all);
            assert_eq!(all, each.collect::<Vec<_>>());
        }
        let mut changed = vec![0; views.len()];
        let n = host.changed_since(&mut self.seen, &mut changed);
        let changed = &changed[..n.expect("there is room for all")];
        for (i, view) in views.iter().enumerate() {
            let before = self.before.get(i).map(|before| InstanceView {
                scraped_us: view.scraped_us,
                ..*before
            });
            let same = before.as_ref() == Some(view);
            assert!(same || changed.contains(&(i as u32)), "instance {i}");
        }
        self.before = views.iter().copied().collect();
    }
}

impl Router for Told {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn route(&mut self, _: &RequestView, cluster: &ClusterView<'_>) -> Result<Route, PolicyError> {
        self.check_at_once(cluster);
        let (views, host) = (cluster.instances, &cluster.host);
        let all = 0..views.len();
        self.shown.borrow_mut().push(Shown {
            in_flight: views.iter().map(|v| v.in_flight).collect(),
            dispatched_tokens: views.iter().map(|v| v.dispatched_tokens).collect(),
            waiting: views.iter().map(|v| v.queue_depth).collect(),
            scraped_us: views.iter().map(|v| v.scraped_us).collect(),
            approximate: all
                .clone()
                .map(|i| host.approximate_prefix_blocks(i))
                .collect(),
            precise: all.map(|i| host.precise_prefix_blocks(i)).collect(),
            ttft_us: views.iter().map(|v| host.est_ttft_us(v, 16, 0)).collect(),
            adapter: AdapterSignal::ALL.map(|signal| {
                let mut all = vec![9; views.len() + 1];
                host.adapter_signal(signal, &mut all);
                assert_eq!(all[views.len()], 0, "there is no such instance");
                all[0]
            }),
            adapters: views.iter().next().map_or([0; 3], |view| {
                [
                    view.loaded_lora_adapters,
                    view.running_lora_adapters,
                    view.waiting_lora_adapters,
                ]
            }),
        });
        Ok(Route::To(*self.to.borrow()))
    }
}

struct Open;

impl Admission for Open {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(&mut self, _: &RequestView, _: &ClusterView<'_>) -> Result<Admit, PolicyError> {
        Ok(Admit::Admit)
    }
}

/// So many microseconds a step.
struct Step(i64);

impl LatencyModel for Step {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }

    fn step_us(&self, _: &StepAggregates, _: &mut dyn Iterator<Item = StepItem>) -> i64 {
        self.0
    }
    fn queueing_us(&self, _: u32) -> i64 {
        0
    }
    fn output_token_us(&self) -> i64 {
        0
    }
    fn post_decode_us(&self) -> i64 {
        0
    }
}

/// A front end and the ends of its router.
struct Bench {
    front: FrontEnd,
    symbols: Symbols,
    to: Rc<RefCell<usize>>,
    shown: Rc<RefCell<Vec<Shown>>>,
    serial: u64,
}

impl Bench {
    fn new(config: &FrontEndConfig, interests: Interests) -> Self {
        let (to, shown) = (Rc::default(), Rc::default());
        let policies = FrontEndPolicies {
            admission: Box::new(Open),
            router: Box::new(Told {
                to: Rc::clone(&to),
                shown: Rc::clone(&shown),
                interests,
                before: Vec::new(),
                seen: 0,
            }),
            stages: None,
            dispatch: None,
            scale: Vec::new(),
            slo_priorities: SloPriorities::default(),
        };
        let limits = StepLimits {
            max_tokens: 2048,
            max_prefill_tokens: 0,
        };
        let estimator = |us| Estimator::new(Arc::new(Step(us)), limits);
        let estimators = [(Sym(1), estimator(100)), (Sym(2), estimator(300))];
        let estimators = Estimators::new(estimators);
        Self {
            front: FrontEnd::new(config, 0, false, policies, estimators),
            symbols: Symbols::default(),
            to,
            shown,
            serial: 0,
        }
    }

    /// Routes a request with a prompt of one of two kinds, 32 tokens long, to instance `to`.
    fn route(&mut self, now: i64, kind: u32, to: usize, backends: &mut Fake) -> (Routed, Request) {
        let mut prompt = TokenSeq::default();
        prompt.push(Span {
            stream: kind,
            start: 0,
            len: 32,
        });
        let id = RequestId::Number(self.serial);
        let mut request = Request::new(id, now, prompt, TokenSeq::default());
        request.adapter = Sym(kind);
        let view = self.front.view(self.serial, &request, &self.symbols);
        self.serial += 1;
        *self.to.borrow_mut() = to;
        let pending = Pending { request, view };
        let verdict = self.front.admit(now, &pending, backends, &self.symbols);
        assert_eq!(verdict, Verdict::Admitted);
        let routed = self
            .front
            .route(now, &pending, RoutingStage::Whole, backends, &self.symbols);
        if let Routed::To(i) = routed {
            self.front.dispatched(i, &pending.request);
        }
        (routed, pending.request)
    }

    fn last(&self) -> Shown {
        self.shown.borrow().last().expect("asked").clone()
    }
}

#[test]
fn instances_come_and_go_between_two_decisions_of_a_router() {
    let mut bench = Bench::new(&FrontEndConfig::default(), Interests::ALL);
    let mut two = Fake::of(&[3, 4]);
    let (routed, first) = bench.route(10, 1, 1, &mut two);
    assert_eq!(routed, Routed::To(1));
    let before = bench.last();
    assert_eq!(before.in_flight, [0, 0]);
    assert_eq!(before.waiting, [3, 4]);
    assert_eq!(before.ttft_us, [100.0, 100.0]);

    // A third one: its ledgers begin at 0, those of the others stay as they are.
    let mut three = Fake::of(&[3, 4, 5]);
    three.instances[2].1 = 2;
    assert_eq!(bench.route(20, 1, 2, &mut three).0, Routed::To(2));
    assert_eq!(
        bench.last(),
        Shown {
            in_flight: vec![0, 1, 0],
            dispatched_tokens: vec![0, 32, 0],
            waiting: vec![3, 4, 5],
            scraped_us: vec![20, 20, 20],
            approximate: vec![0, 2, 0],
            precise: vec![0, 0, 2],
            ttft_us: vec![100.0, 100.0, 300.0],
            adapter: [0; 3],
            adapters: [0; 3],
        }
    );
    assert_eq!(bench.front.outstanding(2), (1, 32));

    // It leaves with what it holds.
    assert_eq!(bench.route(30, 1, 0, &mut two).0, Routed::To(0));
    assert_eq!(bench.last().in_flight, [0, 1]);
    assert_eq!(bench.last().approximate, [0, 2]);
    assert_eq!(bench.front.outstanding(2), (0, 0));
    bench.front.departed(1, &first);
    assert_eq!(bench.front.outstanding(1), (0, 0));

    // One that comes later is another one: nothing is known of it.
    assert_eq!(bench.route(40, 1, 0, &mut three).0, Routed::To(0));
    assert_eq!(bench.last().in_flight, [1, 0, 0]);
    assert_eq!(bench.last().approximate, [2, 2, 0]);
    assert!(!bench.front.has_fault());
}

#[test]
fn an_instance_that_is_not_there_is_a_fault_and_none_at_all_is_a_rejection() {
    let mut bench = Bench::new(&FrontEndConfig::default(), Interests::ALL);
    assert_eq!(
        bench.route(0, 1, 0, &mut Fake::default()).0,
        Routed::Nowhere
    );
    assert!(!bench.front.has_fault());
    assert!(bench.shown.borrow().is_empty(), "the router was not asked");
    let mut three = Fake::of(&[0, 0, 0]);
    assert_eq!(bench.route(1, 1, 2, &mut three).0, Routed::To(2));
    let mut two = Fake::of(&[0, 0]);
    assert_eq!(bench.route(2, 1, 2, &mut two).0, Routed::Nowhere);
    let record = bench.front.into_record();
    assert_eq!(record.rejected_by_routing, 1);
    let fault = record.fault.as_ref().map(RunFault::to_string);
    assert_eq!(
        fault.as_deref(),
        Some("the routing policy sent request_2 to instance 2; expected 0 to 1")
    );
}

#[test]
fn scraped_fields_are_as_old_as_the_interval_and_ledgers_are_fresh() {
    let config = FrontEndConfig {
        snapshot_refresh_us: 50,
        cache_signal_delay_us: 50,
        ..FrontEndConfig::default()
    };
    let mut bench = Bench::new(&config, Interests::ALL);
    let mut fake = Fake::of(&[1, 1]);
    bench.route(60, 1, 0, &mut fake);
    assert_eq!(bench.last().scraped_us, [60, 60]);
    fake.instances = vec![(7, 2), (8, 0)];
    bench.route(100, 1, 0, &mut fake);
    let old = bench.last();
    assert_eq!((old.waiting, old.precise), (vec![1, 1], vec![0, 0]));
    assert_eq!((old.in_flight, old.approximate), (vec![1, 0], vec![2, 0]));
    bench.route(110, 1, 0, &mut fake);
    let new = bench.last();
    assert_eq!((new.waiting, new.precise), (vec![7, 8], vec![2, 0]));
    assert_eq!(new.scraped_us, [110, 110]);
}

#[test]
fn adapters_are_as_old_as_the_last_scrape() {
    let config = FrontEndConfig {
        snapshot_refresh_us: 50,
        ..FrontEndConfig::default()
    };
    let state = |adapter, loaded, running, waiting| AdapterState {
        adapter: Sym(adapter),
        loaded,
        running,
        waiting,
    };
    let mut bench = Bench::new(&config, Interests::ADAPTERS);
    let mut fake = Fake::of(&[1, 1]);
    fake.adapters = vec![
        state(7, true, 0, 2),
        state(2, false, 0, 5),
        state(1, true, 3, 4),
    ];
    let mut asked = |now, kind, fake: &mut Fake| {
        bench.route(now, kind, 0, fake);
        (bench.last().adapter, bench.last().adapters)
    };
    assert_eq!(asked(60, 1, &mut fake), ([1, 3, 4], [2, 1, 2]));
    assert_eq!(asked(61, 2, &mut fake), ([0, 0, 5], [2, 1, 2]));
    // One that nobody knows of, and a request without one.
    assert_eq!(asked(62, 3, &mut fake).0, [0; 3]);
    assert_eq!(asked(63, 0, &mut fake).0, [0; 3]);
    fake.adapters = vec![state(3, true, 1, 0)];
    fake.instances = vec![(2, 0), (2, 0)];
    assert_eq!(asked(100, 1, &mut fake), ([1, 3, 4], [2, 1, 2]));
    assert_eq!(asked(110, 1, &mut fake), ([0; 3], [1, 1, 0]));
    assert_eq!(asked(111, 3, &mut fake).0, [1, 1, 0]);
}

#[test]
fn what_nobody_reads_is_not_looked_at() {
    let mut bench = Bench::new(&FrontEndConfig::default(), Interests::NONE);
    let mut fake = Fake::of(&[3, 4]);
    fake.adapters = vec![AdapterState {
        loaded: true,
        ..AdapterState::of(Sym(1))
    }];
    assert!(!bench.front.admission_looks(10) && !bench.front.router_looks(10));
    bench.route(10, 1, 0, &mut fake);
    bench.route(20, 1, 0, &mut fake);
    let shown = bench.last();
    assert_eq!(shown.scraped_us, [0, 0]);
    assert_eq!(shown.waiting, [0, 0]);
    assert_eq!((shown.approximate, shown.precise), (vec![0, 0], vec![0, 0]));
    assert_eq!((shown.adapter, shown.adapters), ([0; 3], [0; 3]));
    // Counting costs nothing.
    assert_eq!(shown.in_flight, [1, 0]);
}

#[test]
fn replayed_choices_go_before_the_routers_answer() {
    let mut bench = Bench::new(&FrontEndConfig::default(), Interests::COUNTERS);
    bench.front.replay(vec![1, u32::MAX]);
    let mut fake = Fake::of(&[0, 0]);
    assert_eq!(bench.route(0, 1, 0, &mut fake).0, Routed::To(1));
    assert_eq!(bench.route(1, 1, 0, &mut fake).0, Routed::To(0));
    assert_eq!(bench.route(2, 1, 0, &mut fake).0, Routed::To(0));
    assert_eq!(bench.shown.borrow().len(), 3, "the router is asked");
}

#[test]
fn what_routing_was_made_on_is_kept_for_as_many_instances_as_there_were() {
    let config = FrontEndConfig {
        snapshot_refresh_us: 1_000,
        trace: TraceConfig {
            decisions: true,
            counterfactual_k: 2,
            observations: true,
            kv_events: false,
            steps: false,
            series: None,
        },
        ..FrontEndConfig::default()
    };
    let mut bench = Bench::new(&config, Interests::SNAPSHOTS);
    let mut two = Fake::of(&[3, 4]);
    bench.route(10, 1, 1, &mut two);
    let mut three = Fake::of(&[3, 4, 5]);
    bench.route(20, 1, 2, &mut three);
    let record = bench.front.into_record();
    let kept: Vec<Vec<(u32, u32)>> = record
        .observations
        .iter()
        .map(|(_, all)| {
            let queues = all
                .iter()
                .map(|s| (s.seen.queue_depth, s.actual.queue_depth));
            queues.collect()
        })
        .collect();
    assert_eq!(kept, [vec![(0, 3), (0, 4)], vec![(0, 3), (0, 4), (0, 5)]]);
    assert_eq!(record.decisions.len(), 4);
}
