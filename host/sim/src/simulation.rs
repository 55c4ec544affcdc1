//! From a run's spec to a simulation, and from there to its result.

use crate::analysis::{Analysis, infinite_cache_hit_rate};
use crate::autoscale;
use crate::batching;
use crate::choose::{Chosen, ClusterFacts, bundle, choose};
use crate::deployment::{Deployment, Play, defaults};
use crate::disaggregation;
use crate::flow_control;
use crate::names::{Mentions, Seen};
use crate::profile;
use crate::released;
use crate::scheduling::check_drafts;
use crate::settings::{Given, of_pools, of_workload};
use crate::spec::{RulesSpec, RunSpec};
use crate::targets::{TargetTeller, Untargeted, told_of_all};
use crate::ticks;
use crate::tiers;
use crate::workload::{ByRules, Opened, Traces, horizon, measured_us, open_workload};
use crate::xpusim;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_base::record::{Recorder, RequestRecord, RunRecord};
use windtunnel_base::request::{Source, Symbols, Tapped};
use windtunnel_config::KernelFit;
use windtunnel_config::pool::PoolSpec;
use windtunnel_engine::cluster::Progress;
use windtunnel_policy::lua::ScriptLog;
use windtunnel_policy::{Custom, PolicySpec};
use windtunnel_results::metrics::digest::Digest;
use windtunnel_results::metrics::slo::SloTargets;
use windtunnel_results::metrics::summary::RunSummary;
use windtunnel_results::report::{self, GeneratorInputs, ReportInputs, Results, json};
use windtunnel_workload::{InfiniteCache, Listed};

/// A run that is known to make sense, ready to be carried out.
///
/// [`RunSpec::resolve`] makes it. Before the run it tells what was decided for it; the run uses it
/// up.
///
/// ```
/// use windtunnel_sim::RunSpec;
///
/// let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
/// spec.workload.num_requests = Some(20);
/// let simulation = spec.resolve()?;
/// assert_eq!(simulation.model(), "meta-llama/llama-3.1-8b-instruct");
/// assert_eq!(simulation.size_hint(), Some(20));
/// assert_eq!(simulation.deployment().config().instances(), 1);
///
/// let result = simulation.run(&mut |progress| assert!(progress.finished <= progress.arrived))?;
/// assert_eq!(result.summary.arrivals, 20);
/// # Ok::<(), windtunnel_sim::InputError>(())
/// ```
///
/// What would change nothing is refused, by the setting's name:
///
/// ```
/// # use windtunnel_sim::RunSpec;
/// let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
/// spec.policies.routing_scorers = Some("queue-depth:1".to_owned());
/// let error = spec.resolve().err().expect("nothing reads scorers");
/// assert!(error.to_string().starts_with("`routing_scorers` has no effect"));
/// ```
pub struct Simulation {
    pub(crate) spec: RunSpec,
    pub(crate) given: Given,
    pub(crate) deployment: Deployment,
    pub(crate) policies: PolicySpec,
    /// What was chosen unlike for its pools.
    pub(crate) pool_notes: Vec<String>,
    pub(crate) policy_notes: Vec<String>,
    pub(crate) script_log: ScriptLog,
    pub(crate) mentions: Mentions,
    pub(crate) analysis: Analysis,
    pub(crate) workload: Opened,
}

/// A run that is over.
///
/// ```
/// use windtunnel_sim::RunSpec;
///
/// let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
/// spec.workload.num_requests = Some(20);
/// let result = spec.resolve()?.run(&mut |_| ())?;
///
/// // Sums: latencies are milliseconds, rates per simulated second.
/// let cluster = &result.summary.cluster;
/// assert!(cluster.latency_ms.ttft.p50 < cluster.latency_ms.e2e.p50);
/// assert!(cluster.tokens_per_sec() > 0.0);
///
/// // Each request: times are microseconds, `None` for what never happened.
/// let first = &result.record.requests[0];
/// assert!(first.ttft_us < first.e2e_us);
///
/// // What the command prints as JSON.
/// assert_eq!(result.json()["completed_requests"], 20);
/// # Ok::<(), windtunnel_sim::InputError>(())
/// ```
#[derive(Debug)]
pub struct RunResult {
    /// What happened to every request and on every instance; no requests with `summary_only`.
    pub record: RunRecord,
    /// Sums over all of them, of the cluster and of each instance: latencies in milliseconds.
    pub summary: RunSummary,
    /// What reports need to know beyond that.
    pub inputs: ReportInputs,
    /// What was simulated.
    pub spec: RunSpec,
    /// What a person should know of it now that all requests are known: names in settings and
    /// scripts that none of them has. Settings stand in backticks. They are in reports, too.
    pub notes: Vec<String>,
}

impl RunResult {
    /// Everything that reports say of the run, computed once.
    #[must_use]
    pub fn results(&self) -> Results<'_> {
        Results::with_summary(&self.record, self.summary.clone(), &self.inputs)
    }

    /// What `windtunnel run` prints as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        self.json_of(&self.results())
    }

    /// The same, where its [results](Self::results) are at hand.
    #[must_use]
    pub fn json_of(&self, results: &Results<'_>) -> Value {
        match &self.inputs.ticks {
            Some(inputs) => report::ticks::value(results, inputs),
            None => json::value(results),
        }
    }
}

/// How specs are resolved where several runs belong together, or the calling program brings
/// policies along.
///
/// ```
/// use windtunnel_sim::plugin_api::{ClusterView, PolicyError, RequestView, Route, Router};
/// use windtunnel_sim::{Custom, PoolSpec, Resolver, RunSpec};
///
/// /// Each session stays on one instance.
/// struct Sticky;
///
/// impl Router for Sticky {
///     fn route(
///         &mut self,
///         request: &RequestView,
///         cluster: &ClusterView<'_>,
///     ) -> Result<Route, PolicyError> {
///         Ok(Route::To(request.session as usize % cluster.instances.len()))
///     }
/// }
///
/// let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
/// spec.pools.push(PoolSpec { count: Some(2), ..PoolSpec::default() });
/// let resolver = Resolver {
///     policies: &[Custom::routing("sticky", |_facts| Sticky)],
///     ..Resolver::default()
/// };
/// let result = resolver.resolve(&spec)?.run(&mut |_| ())?;
/// // Without a session it is always the first one.
/// assert_eq!(result.summary.instances[1].routed, 0);
/// # Ok::<(), windtunnel_sim::InputError>(())
/// ```
#[derive(Default)]
pub struct Resolver<'a> {
    /// Settings that may be without effect in this run; [`Simulation::given`] tells which are.
    pub excused: &'a [String],
    /// Traces that were parsed for other runs.
    pub traces: Option<&'a Traces>,
    /// Policies that are written in Rust, in the calling program. Each fills its hook, whatever the
    /// run's bundle says; a run that itself names a policy for that hook is refused.
    pub policies: &'a [Custom],
    /// Figures of the step-time model `kernel-tables` in place of those of the run's defaults.
    pub kernel_fit: Option<KernelFit>,
}

impl RunSpec {
    /// Finds every mistake, and decides everything that can be decided before the first event.
    /// Reads the files that the spec names.
    ///
    /// # Errors
    /// On anything wrong with the spec and its files; settings stand in backticks in the message.
    pub fn resolve(&self) -> Result<Simulation, InputError> {
        Resolver::default().resolve(self)
    }

    /// Resolves the run with requests from `source` in place of its workload; `description` is said
    /// of them in reports.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); and when the spec says anything of a workload.
    pub fn resolve_with(
        &self,
        source: Box<dyn Source>,
        description: &str,
    ) -> Result<Simulation, InputError> {
        Resolver::default().resolve_with(self, source, description)
    }
}

impl Resolver<'_> {
    /// Resolves a run, as [`RunSpec::resolve`] does.
    ///
    /// # Errors
    /// As there.
    pub fn resolve(&self, run: &RunSpec) -> Result<Simulation, InputError> {
        self.resolve_as(run, |run, given, deployment| {
            let defaults = defaults(run.defaults_filepath.as_deref())?;
            let by_rules = ByRules::of(run, deployment.preset());
            match released::open(run, given, deployment)? {
                Some(opened) => Ok(opened),
                None => open_workload(run, given, &defaults, self.traces, by_rules),
            }
        })
    }

    /// Resolves a run with requests from `source`, as [`RunSpec::resolve_with`] does.
    ///
    /// # Errors
    /// As there.
    pub fn resolve_with(
        &self,
        run: &RunSpec,
        source: Box<dyn Source>,
        description: &str,
    ) -> Result<Simulation, InputError> {
        self.resolve_as(run, |run, given, _| {
            let because = format!("because the program sends the requests: {description}");
            given.reject_unless(&of_workload(), false, &because)?;
            Ok(Opened::of(source, description.to_owned(), horizon(run)?))
        })
    }

    fn resolve_as(
        &self,
        run: &RunSpec,
        open: impl FnOnce(&RunSpec, &Given, &Deployment) -> Result<Opened, InputError>,
    ) -> Result<Simulation, InputError> {
        let bundle = bundle(&run.policies)?;
        let of_bundle;
        let mut run = run;
        if !bundle.pools.is_empty() {
            let because = "because the policy bundle says what the pools are";
            Given::of(run).reject_unless(&of_pools(), false, because)?;
            if run.pools.iter().any(|pool| *pool != PoolSpec::default()) {
                return Err(InputError::new(format!("`pools` has no effect {because}")));
            }
            of_bundle = RunSpec {
                pools: bundle.pools.clone(),
                ..run.clone()
            };
            run = &of_bundle;
        }
        let gated = flow_control::with_bundle(run, &bundle)?;
        let run = gated.as_ref().unwrap_or(run);
        let scaled = autoscale::with_bundle(run, &bundle)?;
        let run = scaled.as_ref().unwrap_or(run);
        let given = Given::of(run).excusing(self.excused.iter().cloned());
        let expanded = disaggregation::pools(run, &given)?;
        let run = expanded.as_ref().unwrap_or(run);
        let completed = xpusim::complete(run);
        let run = completed.as_ref().unwrap_or(run);
        let mut defaults = defaults(run.defaults_filepath.as_deref())?;
        if let Some(fit) = self.kernel_fit {
            defaults.kernel_fit = fit;
        }
        let deployment = Deployment::with(run, &given, defaults)?;
        let pools = deployment.config().pools.iter();
        let pool_names: Vec<String> = pools.map(|pool| pool.name.clone()).collect();
        let cluster = ClusterFacts {
            instances: deployment.config().instances(),
            rules: deployment.preset(),
            splits: deployment.config().splits(),
            pools: &run.pools,
            keeps_script_log: run.outputs.script_log,
            in_ticks: run.is_in_ticks(),
            as_xpusim: run.is_as_xpusim(),
            disaggregation: &run.disaggregation,
            flow_control: &run.flow_control,
            autoscale: &run.autoscale,
            pool_names: &pool_names,
        };
        let Chosen {
            spec,
            mut notes,
            log,
        } = choose(&run.policies, &bundle, self.policies, &given, &cluster)?;
        if let Some(gateway) = &deployment.config().front.flow_control {
            notes.extend(flow_control::notes(gateway, &spec, deployment.preset()));
        }
        batching::check(&spec, &deployment.config().pools)?;
        let analysis = Analysis::of(&run.outputs, &given)?;
        deployment.check_kv_events(&given)?;
        let mut workload = open(run, &given, &deployment)?;
        check_drafts(&deployment.config().pools, &given, &mut workload)?;
        let mut mentions = Mentions::of(&bundle, &spec);
        mentions.add_targets("", &analysis.slo_targets);
        if let Some(predictor) = &deployment.config().front.predictor {
            mentions.add_predictor(predictor);
        }
        mentions.add_targets("goodput_slo_targets of the trace", &workload.slo_targets);
        given.reject_unless(
            &["finished_coeffs"],
            !run.outputs.summary_only,
            "with `summary_only`, which keeps no request's record",
        )?;
        Ok(Simulation {
            spec: run.clone(),
            given,
            pool_notes: deployment.differences(),
            deployment,
            policies: spec,
            policy_notes: notes,
            script_log: log,
            mentions,
            analysis,
            workload,
        })
    }
}

/// Takes records into a digest and passes them on.
struct Both<'a> {
    digest: &'a mut Digest,
    then: &'a mut dyn Recorder,
}

impl Recorder for Both<'_> {
    fn record(&mut self, request: RequestRecord, symbols: &Symbols) {
        self.digest.add(&request);
        self.then.record(request, symbols);
    }
}

/// Forgets records.
struct Nowhere;

impl Recorder for Nowhere {
    fn record(&mut self, _: RequestRecord, _: &Symbols) {}
}

impl Simulation {
    /// What a person should know about it; settings stand in backticks.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        let resolved = self.deployment.resolved().iter();
        let notes = resolved.flat_map(|r| &r.notes).chain(&self.pool_notes);
        notes.chain(&self.policy_notes).chain(&self.workload.notes)
    }

    /// What its scripts print, to be read when the run is over, however it ends.
    #[must_use]
    pub fn script_log(&self) -> ScriptLog {
        self.script_log.clone()
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// The settings that were given, and those excused ones that have no effect.
    #[must_use]
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// The policies that fill its hooks.
    #[must_use]
    pub fn policies(&self) -> &PolicySpec {
        &self.policies
    }

    /// Its instances and front end.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The model's full name, where it is known.
    #[must_use]
    pub fn model(&self) -> &str {
        let resolved = self.deployment.resolved().first();
        resolved.map_or(&self.spec.model, |r| &r.canonical)
    }

    /// What its workload is, in words.
    #[must_use]
    pub fn workload(&self) -> &str {
        &self.workload.description
    }

    /// Requests that will come, if that is known.
    #[must_use]
    pub fn size_hint(&self) -> Option<u64> {
        self.workload.source.size_hint()
    }

    /// Carries it out; `progress` is called now and then, after some thousands of events.
    ///
    /// # Errors
    /// When a policy cannot be made or fails.
    pub fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<RunResult, InputError> {
        self.run_into(&mut Nowhere, progress)
    }

    /// Carries it out; with `summary_only` every request's record goes to `recorder` when the
    /// request is done with, and is not kept.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_into(
        mut self,
        recorder: &mut dyn Recorder,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<RunResult, InputError> {
        let mut source = self.take_source();
        self.carry_out(source.as_mut(), recorder, progress)
    }

    pub(crate) fn run_with(self, source: &mut dyn Source) -> Result<RunResult, InputError> {
        self.carry_out(source, &mut Nowhere, &mut |_| ())
    }

    pub(crate) fn take_source(&mut self) -> Box<dyn Source> {
        std::mem::replace(&mut self.workload.source, Box::new(Listed::default()))
    }

    fn carry_out(
        self,
        source: &mut dyn Source,
        recorder: &mut dyn Recorder,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<RunResult, InputError> {
        // Files have run once, to see that they can.
        self.script_log.clear();
        let play = Play {
            seed: self.spec.seed(),
            horizon_us: self.workload.horizon_us,
            trace: self.analysis.trace,
            salted: false,
            slo_targets_us: told_of_all(&self.slo_targets()),
        };
        let mut cache = self.infinite_cache();
        let (mut seen, names_matter) = (Seen::default(), !self.mentions.is_empty());
        let slo_targets = self.slo_targets();
        // The reference orders what its gateway holds by the requests' own targets alone.
        let told = match self.spec.flow_control.enabled && self.spec.rules == RulesSpec::Blis {
            true => SloTargets::default(),
            false => slo_targets,
        };
        let mut teller = TargetTeller::new(&told, Untargeted::AsTheWorkload);
        let mut source = Tapped::new(source, |request, symbols| {
            teller.tell(request, symbols);
            request.reusable_tokens = cache.take(request);
            if names_matter {
                seen.add(request);
            }
        });
        let (cluster, _) = self.deployment.cluster(&self.policies, play, &mut source)?;
        let mut figures = None;
        let (record, summary) = if self.spec.outputs.summary_only {
            let mut digest = Digest::default();
            let mut both = Both {
                digest: &mut digest,
                then: recorder,
            };
            let record = cluster.run_into(&mut both, progress);
            let summary = RunSummary::of_digest(digest, &record);
            (record, summary)
        } else {
            let units = xpusim::clock_units(&self.spec);
            let own = cluster.run(&mut |so_far| {
                progress(Progress {
                    clock_us: so_far.clock_us / units,
                    ..so_far
                });
            });
            let record;
            (record, figures) = xpusim::figures(&self.spec, own, self.deployment.resolved())?;
            let summary = RunSummary::of(&record);
            (record, summary)
        };
        let pools = self.deployment.config().pools.iter();
        let pools: Vec<&str> = pools.map(|pool| pool.name.as_str()).collect();
        let mentions = &self.mentions;
        let mut notes = mentions.notes(&seen, &record.symbols, &pools);
        notes.extend(profile::outside(self.deployment.resolved())?);
        notes.extend(flow_control::note_after(record.gateway.as_ref()));
        if let Some(fault) = &record.fault {
            return Err(InputError::new(fault.to_string()));
        }
        tiers::check_adapters(&self.deployment.config().pools, &record)?;
        let spec = self.spec.clone();
        let mut inputs = self.report_inputs(infinite_cache_hit_rate(&record));
        inputs.xpusim = figures;
        if let Some(said) = inputs.setup["notes"].as_array_mut() {
            said.extend(notes.iter().map(|note| json!(note)));
        }
        Ok(RunResult {
            record,
            summary,
            inputs,
            spec,
            notes,
        })
    }

    /// A cache without limits in front of all pools: it finds at least what any of theirs finds.
    fn infinite_cache(&self) -> InfiniteCache {
        let engines = || self.deployment.config().pools.iter().map(|p| &p.engine);
        let gcd = |mut a: u32, mut b: u32| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let mut cache = InfiniteCache::new(engines().map(|e| e.block_size).fold(0, gcd));
        if self.deployment.shares_across_adapters() {
            cache = cache.across_adapters();
        }
        if engines().all(|e| e.rules.recompute_last_block) {
            cache
        } else {
            cache.whole_prompts()
        }
    }

    /// The targets of classes: policies are told them, and the run is judged by them.
    fn slo_targets(&self) -> SloTargets {
        let given = self.analysis.slo_targets.clone();
        given.over(&self.workload.slo_targets)
    }

    fn report_inputs(self, infinite_cache_hit_rate: Option<f64>) -> ReportInputs {
        let outputs = &self.spec.outputs;
        let (header, setup) = (self.header(), self.setup());
        let slo_targets = if outputs.summary_only {
            SloTargets::default()
        } else {
            self.slo_targets()
        };
        let left_us = outputs.finished_coeffs.unwrap_or_default();
        let rate = self.workload.generator_rate;
        let rate = rate.filter(|_| !outputs.summary_only);
        ReportInputs {
            scheduler_is_priority_fcfs: self.policies.scheduler.name() == "priority-fcfs",
            slo_targets,
            targets_of_requests: !outputs.summary_only && self.spec.rules != RulesSpec::Blis,
            fitness: self.analysis.fitness,
            detectors: self.analysis.detectors,
            trace_summary: outputs.summarize_trace,
            infinite_cache_hit_rate,
            measured_us: measured_us(&self.spec),
            generator: rate.map(|rate| GeneratorInputs { rate, left_us }),
            ticks: ticks::inputs(&self.spec, self.deployment.config()),
            xpusim: None,
            machines: self.deployment.machines().to_vec(),
            header,
            setup,
        }
    }
}
