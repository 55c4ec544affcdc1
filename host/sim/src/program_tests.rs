//! Policies and requests that the calling program brings along.

use crate::{PoolSpec, Resolver, RulesSpec, RunSpec, Simulation, WorkloadSpec};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, RequestId, Source, Symbols, TokenSeq};
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, KeyRefresh, PolicyError, Priority, QueueOrder, QueueView,
    QueuedView, RequestView, Route, Router, Scheduler,
};
use windtunnel_policy::Custom;

/// Always the last instance.
struct Last;

impl Router for Last {
    fn route(&mut self, _: &RequestView, cluster: &ClusterView<'_>) -> Result<Route, PolicyError> {
        Ok(Route::To(cluster.instances.len() - 1))
    }
}

struct Equal;

impl Priority for Equal {
    fn priority(&mut self, _: &RequestView, _: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(0.0)
    }
}

/// Last come, first served; counts how often it is asked.
struct Latest(Arc<AtomicU64>);

impl Scheduler for Latest {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }

    fn key(&mut self, queued: &QueuedView<'_>, _: &QueueView<'_>) -> Result<f64, PolicyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(-(queued.enqueued_us as f64))
    }
}

/// Admits all requests and notes the targets that it is told.
struct Spy(Arc<Mutex<Vec<i64>>>);

impl Admission for Spy {
    fn admit(&mut self, request: &RequestView, _: &ClusterView<'_>) -> Result<Admit, PolicyError> {
        self.0.lock().unwrap().push(request.slo_ttft_us);
        Ok(Admit::Admit)
    }
}

/// What is told and judged of two requests, of class `critical` with an own target of 7 ms and of
/// class `batch` with one of 9 ms: both told targets, and the requests that are judged.
fn told_and_judged(spec: &RunSpec) -> (Vec<i64>, u64) {
    struct Two(Vec<Request>, Symbols);

    impl Source for Two {
        fn next_request(&mut self) -> Option<Request> {
            self.0.pop()
        }
        fn symbols(&self) -> &Symbols {
            &self.1
        }
        fn symbols_mut(&mut self) -> &mut Symbols {
            &mut self.1
        }
    }

    let mut symbols = Symbols::default();
    let mut request = |k: u32, class: &str, slo_ttft_us| {
        let (prompt, output) = (TokenSeq::of(2 * k, 100), TokenSeq::of(2 * k + 1, 10));
        let id = RequestId::Number(k.into());
        Request {
            slo_class: symbols.intern(class),
            slo_ttft_us,
            ..Request::new(id, i64::from(k), prompt, output)
        }
    };
    let requests = vec![request(1, "batch", 9000), request(0, "critical", 7000)];
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let spy = [Custom::admission("spy", move |_| Spy(Arc::clone(&notes)))];
    let source = Box::new(Two(requests, symbols));
    let simulation = with(&spy).resolve_with(spec, source, "two requests");
    let result = simulation.unwrap().run(&mut |_| ()).unwrap();
    let judged = result.results().goodput.map_or(0, |g| g.arrivals);
    let told = told.lock().unwrap().clone();
    (told, judged)
}

#[test]
fn a_policy_is_told_the_targets_that_the_run_is_judged_by() {
    let mut spec = spec();
    spec.workload = WorkloadSpec::default();
    assert_eq!(told_and_judged(&spec), (vec![7000, 9000], 2), "their own");
    spec.outputs.slo_ttft = Some("critical=5ms".into());
    assert_eq!(told_and_judged(&spec), (vec![5000, 9000], 2));
    spec.outputs.slo_ttft = Some("critical=5ms,2ms".into());
    assert_eq!(told_and_judged(&spec), (vec![5000, 2000], 2));
    // The reference simulator judges by targets of classes alone.
    spec.outputs.slo_ttft = Some("critical=5ms".into());
    spec.rules = RulesSpec::Blis;
    assert_eq!(told_and_judged(&spec), (vec![5000, 9000], 1));
}

fn spec() -> RunSpec {
    let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
    spec.pools.push(PoolSpec::default());
    spec.pools[0].count = Some(3);
    spec.workload.num_requests = Some(12);
    spec
}

fn with<'a>(policies: &'a [Custom]) -> Resolver<'a> {
    Resolver {
        policies,
        ..Resolver::default()
    }
}

fn refused(resolved: Result<Simulation, InputError>) -> String {
    resolved.err().expect("refused").to_string()
}

#[test]
fn policies_of_the_program_fill_their_hooks_and_are_named_in_reports() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let policies = [
        Custom::routing("last", |_| Last),
        Custom::scheduler("latest", move |_| Latest(Arc::clone(&counter))),
    ];
    let simulation = with(&policies).resolve(&spec()).expect("resolved");
    let result = simulation.run(&mut |_| ()).expect("a result");
    let routed = result.summary.instances.iter().map(|i| i.routed);
    assert_eq!(routed.collect::<Vec<_>>(), [0, 0, 12]);
    assert_eq!(asked.load(Ordering::Relaxed), 12);
    assert_eq!(result.inputs.setup["routing_policy"], "last");
    assert_eq!(result.inputs.setup["scheduler"], "latest");
}

#[test]
fn the_program_and_the_spec_cannot_both_fill_a_hook() {
    let last = Custom::routing("last", |_| Last);
    let mut named = spec();
    named.policies.routing = Some("random".to_owned());
    assert_eq!(
        refused(with(std::slice::from_ref(&last)).resolve(&named)),
        "`routing_policy` has no effect because the program fills routing with \"last\""
    );
    assert_eq!(
        refused(with(&[last.clone(), last]).resolve(&spec())),
        "the program fills routing with both \"last\" and \"last\""
    );
}

#[test]
fn a_priority_policy_of_the_program_needs_a_reader_as_any_other_does() {
    let equal = [Custom::priority("equal", |_| Equal)];
    assert!(refused(with(&equal).resolve(&spec())).contains("nothing reads priorities"));
    let mut read = spec();
    read.policies.scheduler = Some("priority-fcfs".to_owned());
    assert!(with(&equal).resolve(&read).is_ok());
}

#[test]
fn requests_of_the_program_leave_nothing_to_say_of_a_workload() {
    struct One(Option<Request>, Symbols);

    impl Source for One {
        fn next_request(&mut self) -> Option<Request> {
            self.0.take()
        }
        fn symbols(&self) -> &Symbols {
            &self.1
        }
        fn symbols_mut(&mut self) -> &mut Symbols {
            &mut self.1
        }
    }

    let one = || {
        let (prompt, output) = (TokenSeq::of(0, 100), TokenSeq::of(1, 10));
        let request = Request::new(RequestId::Number(0), 5, prompt, output);
        Box::new(One(Some(request), Symbols::default()))
    };
    let mut spec = spec();
    assert_eq!(
        refused(spec.resolve_with(one(), "one request")),
        "`max_prompts` has no effect because the program sends the requests: one request"
    );
    spec.workload = WorkloadSpec::default();
    let simulation = spec.resolve_with(one(), "one request").expect("resolved");
    assert_eq!(simulation.workload(), "one request");
    let result = simulation.run(&mut |_| ()).expect("a result");
    assert_eq!(result.record.requests[0].arrival_us, 5);
    assert_eq!(result.summary.cluster.output_tokens, 10);
}
