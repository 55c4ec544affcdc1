//! Measured requests, simulated.

use crate::simulation::Resolver;
use crate::spec::RunSpec;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Outcome;
use windtunnel_base::request::{Request, Source, Symbols};
use windtunnel_config::KernelFit;
use windtunnel_engine::latency::LatencyModelKind;
use windtunnel_engine::profile::EngineProfile;
use windtunnel_results::metrics::stats::{Sample, Weighted};
use windtunnel_workload::measured::Replay;

/// What was simulated of a request, microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) ttft_us: f64,
    pub(super) e2e_us: f64,
}

impl Times {
    /// Per output token after the first of so many.
    pub(super) fn tpot_us(&self, output_tokens: u32) -> f64 {
        (self.e2e_us - self.ttft_us) / f64::from(output_tokens - 1)
    }
}

/// A run: its requests in order of arrival, `None` = not served.
#[derive(Clone, Debug)]
pub(super) struct Simulated {
    pub(super) requests: Vec<Option<Times>>,
    /// Median gap between tokens, microseconds.
    pub(super) median_gap_us: Option<f64>,
}

/// The first requests of a source.
struct First<'a> {
    source: Box<dyn Source + 'a>,
    left: usize,
}

impl Source for First<'_> {
    fn next_request(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        self.source.next_request()
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.left as u64)
    }

    fn symbols(&self) -> &Symbols {
        self.source.symbols()
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        self.source.symbols_mut()
    }
}

/// Simulates the first requests of a run with these figures.
pub(super) fn simulate(
    spec: &RunSpec,
    replay: &Replay,
    first: usize,
    fit: &KernelFit,
) -> Result<Simulated, InputError> {
    let source = First {
        source: replay.source(),
        left: first,
    };
    let resolver = Resolver {
        kernel_fit: Some(*fit),
        ..Resolver::default()
    };
    let simulation = resolver.resolve_with(spec, Box::new(source), &replay.name)?;
    let result = simulation.run(&mut |_| ())?;
    let mut requests = vec![None; first.min(replay.requests.len())];
    for request in &result.record.requests {
        if let (Outcome::Completed, Some(ttft), Some(e2e)) =
            (request.outcome, request.ttft_us, request.e2e_us)
            && let Some(place) = requests.get_mut(request.serial as usize)
        {
            *place = Some(Times {
                ttft_us: ttft as f64,
                e2e_us: e2e as f64,
            });
        }
    }
    let gaps = result
        .record
        .instances
        .iter()
        .flat_map(|totals| &totals.gaps);
    let gaps = Weighted::new(gaps.copied().collect());
    let last = gaps.count().checked_sub(1);
    Ok(Simulated {
        requests,
        median_gap_us: last.map(|last| gaps.at(last / 2)),
    })
}

/// What is fitted.
#[derive(Clone, Debug)]
pub(super) struct Deployed {
    pub(super) model: String,
    pub(super) gpu: String,
    pub(super) tp: u32,
    pub(super) engine: String,
    pub(super) shipped: KernelFit,
    pub(super) notes: Vec<String>,
}

impl Deployed {
    /// Decides the deployment of a run without requests.
    pub(super) fn of(spec: &RunSpec) -> Result<Self, InputError> {
        let deployment = crate::Deployment::resolve(spec)?;
        let [resolved] = deployment.resolved() else {
            let what = "a fit is of one server: expected one pool";
            return Err(InputError::new(what));
        };
        if resolved.latency_kind != LatencyModelKind::KernelTables {
            return Err(InputError::new(format!(
                "`latency_model` is {}; a fit is of kernel-tables",
                resolved.latency_kind
            )));
        }
        let pool = spec.pools.first();
        let engine = pool.and_then(|pool| pool.engine.profile.clone());
        Ok(Self {
            model: resolved.canonical.clone(),
            gpu: resolved.gpu.clone(),
            tp: resolved.tp,
            engine: engine.unwrap_or_else(|| EngineProfile::default().name().to_owned()),
            shipped: crate::defaults(spec.defaults_filepath.as_deref())?.kernel_fit,
            notes: resolved.notes.clone(),
        })
    }
}
