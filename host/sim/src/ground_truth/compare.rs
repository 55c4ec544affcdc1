//! Errors of a simulation against what was measured.

use super::cases::{Case, Experiment};
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;

/// A figure that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Mean time to first token.
    Ttft,
    /// Mean time per output token: E2E less TTFT, over the tokens after the first.
    Tpot,
    /// Mean end-to-end latency.
    E2e,
    /// 90th percentile of TTFT.
    TtftP90,
    /// 99th percentile of TTFT.
    TtftP99,
    /// 90th percentile of E2E.
    E2eP90,
    /// 99th percentile of E2E.
    E2eP99,
    /// Requests that finished per second.
    Throughput,
}

/// All that have errors in tables, in their order there.
pub const METRICS: [Metric; 7] = [
    Metric::Ttft,
    Metric::Tpot,
    Metric::E2e,
    Metric::TtftP90,
    Metric::TtftP99,
    Metric::E2eP90,
    Metric::E2eP99,
];

impl Metric {
    /// The name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft_mean",
            Self::Tpot => "tpot_mean",
            Self::E2e => "e2e_mean",
            Self::TtftP90 => "ttft_p90",
            Self::TtftP99 => "ttft_p99",
            Self::E2eP90 => "e2e_p90",
            Self::E2eP99 => "e2e_p99",
            Self::Throughput => "requests_per_s",
        }
    }
}

/// Figures by metric, milliseconds; requests per second for throughput.
pub type Figures = BTreeMap<Metric, f64>;

/// Another simulator's published figures: their errors, percent.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Absolute errors, percent.
    pub errors: Figures,
}

/// A case, simulated.
#[derive(Clone, Debug)]
pub struct Compared {
    /// SET/EXPERIMENT/STAGE.
    pub case_id: String,
    /// What it is of: the headings of a report and its value under each.
    pub strata: Vec<(&'static str, String)>,
    /// The server was behind its load: only its throughput says something.
    pub saturated: bool,
    /// Requests that were sent, and that finished.
    pub sent: u64,
    /// Requests that finished in the simulation.
    pub finished: u64,
    /// What was measured.
    pub measured: Figures,
    /// What was simulated.
    pub simulated: Figures,
    /// What others said.
    pub peers: Vec<Peer>,
}

/// A server whose mean TTFT is above so many TPOTs was behind its load.
const BEHIND_TPOTS: f64 = 20.0;

/// What was simulated of a case.
pub(super) struct Sample {
    ttft: Vec<f64>,
    e2e: Vec<f64>,
    tpot: Vec<f64>,
    pub(super) sent: u64,
    pub(super) first_us: i64,
    last_us: i64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            ttft: Vec::new(),
            e2e: Vec::new(),
            tpot: Vec::new(),
            sent: 0,
            first_us: i64::MAX,
            last_us: 0,
        }
    }
}

impl Sample {
    pub(super) fn add(&mut self, arrival_us: i64, ttft_us: i64, e2e_us: i64, output: u32) {
        let ms = |us: i64| us as f64 / 1e3;
        self.ttft.push(ms(ttft_us));
        self.e2e.push(ms(e2e_us));
        if output > 1 {
            self.tpot.push(ms(e2e_us - ttft_us) / f64::from(output - 1));
        }
        self.last_us = self.last_us.max(arrival_us + e2e_us);
    }

    fn figures(mut self, fixed_output: Option<u32>) -> Figures {
        let mut figures = Figures::new();
        let (Some(ttft), Some(e2e)) = (mean(&self.ttft), mean(&self.e2e)) else {
            return figures;
        };
        figures.insert(Metric::Ttft, ttft);
        figures.insert(Metric::E2e, e2e);
        let tpot = match fixed_output {
            Some(tokens) if tokens > 1 => Some((e2e - ttft) / f64::from(tokens - 1)),
            _ => mean(&self.tpot),
        };
        figures.extend(tpot.map(|tpot| (Metric::Tpot, tpot)));
        let seconds = (self.last_us - self.first_us) as f64 / 1e6;
        if seconds > 0.0 {
            figures.insert(Metric::Throughput, self.e2e.len() as f64 / seconds);
        }
        for (values, p90, p99) in [
            (&mut self.ttft, Metric::TtftP90, Metric::TtftP99),
            (&mut self.e2e, Metric::E2eP90, Metric::E2eP99),
        ] {
            values.sort_by(f64::total_cmp);
            figures.insert(p90, percentile(values, 0.9));
            figures.insert(p99, percentile(values, 0.99));
        }
        figures
    }
}

impl Compared {
    pub(super) fn new(
        experiment: &Experiment,
        case: &Case,
        sample: Sample,
    ) -> Result<Self, InputError> {
        let finished = sample.e2e.len() as u64;
        if finished == 0 {
            let message = format!("{}: no request finished in the simulation", case.case_id);
            return Err(InputError::new(message));
        }
        let measured = measured(case);
        let behind = measured
            .get(&Metric::Ttft)
            .zip(measured.get(&Metric::Tpot))
            .is_some_and(|(ttft, tpot)| *ttft > BEHIND_TPOTS * tpot);
        let model = case.model.rsplit('/').next().unwrap_or(&case.model);
        let version = &case.engine.version;
        let version = version
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find(|part| part.starts_with("0."))
            .map_or("unknown", |part| part.trim_end_matches('.'));
        let repeated = case.repeated_prompts().is_some();
        let recorded = case.per_request_file.is_some();
        Ok(Self {
            case_id: case.case_id.clone(),
            strata: vec![
                ("set", case.set.clone()),
                ("GPU", case.gpu.clone()),
                ("kind", kind(model).to_owned()),
                ("TP", case.tp.to_string()),
                (
                    "prompts",
                    if repeated { "repeated" } else { "distinct" }.to_owned(),
                ),
                (
                    "arrivals",
                    if recorded { "recorded" } else { "drawn" }.to_owned(),
                ),
                ("vLLM", version.to_owned()),
                ("model", format!("{model} TP{} {}", case.tp, case.gpu)),
            ],
            saturated: experiment.is_saturated(case) || behind,
            sent: sample.sent,
            finished,
            peers: peers(case, &measured),
            simulated: sample.figures(case.fixed_output()),
            measured,
        })
    }

    /// The error of a figure, percent of what was measured; `None` where one is missing.
    #[must_use]
    pub fn error(&self, metric: Metric) -> Option<f64> {
        let (simulated, measured) = (self.simulated.get(&metric)?, self.measured.get(&metric)?);
        Some(100.0 * (simulated / measured - 1.0))
    }
}

/// Is the model one of experts, by its name?
pub(super) fn kind(model: &str) -> &'static str {
    let experts = [
        "mixtral", "scout", "maverick", "a3b", "moe", "gpt-oss", "deepseek",
    ];
    let model = model.to_lowercase();
    match experts.iter().any(|name| model.contains(name)) {
        true => "MoE",
        false => "dense",
    }
}

fn measured(case: &Case) -> Figures {
    let m = &case.measured;
    let (ttft, e2e) = (m.ttft_ms.unwrap_or_default(), m.e2e_ms.unwrap_or_default());
    let throughput = m.throughput.as_ref();
    let all = [
        (Metric::Ttft, ttft.mean),
        (Metric::Tpot, m.tpot_true_ms.and_then(|t| t.mean)),
        (Metric::E2e, e2e.mean),
        (Metric::TtftP90, ttft.p90),
        (Metric::TtftP99, ttft.p99),
        (Metric::E2eP90, e2e.p90),
        (Metric::E2eP99, e2e.p99),
        (
            Metric::Throughput,
            throughput.and_then(|t| t.requests_per_s),
        ),
    ];
    let there = all
        .into_iter()
        .filter_map(|(metric, ms)| Some((metric, ms?)));
    there.filter(|(_, ms)| *ms > 0.0).collect()
}

/// Errors of published predictions. TPOT is that of their own E2E and TTFT and the true length.
fn peers(case: &Case, measured: &Figures) -> Vec<Peer> {
    let of = |figures: &BTreeMap<String, serde_json::Value>, name: &str| {
        let ms = figures.get(name)?.get("predicted_ms")?.as_f64();
        ms.filter(|ms| *ms > 0.0)
    };
    let peer = |(name, figures): (&String, &BTreeMap<String, serde_json::Value>)| {
        let mut said: Figures = METRICS
            .iter()
            .filter_map(|metric| Some((*metric, of(figures, metric.name())?)))
            .collect();
        if let (Some(ttft), Some(e2e), Some(tokens)) = (
            said.get(&Metric::Ttft),
            said.get(&Metric::E2e),
            case.workload.output.tokens.filter(|tokens| *tokens > 1),
        ) {
            said.insert(Metric::Tpot, (e2e - ttft) / f64::from(tokens - 1));
        }
        let errors = said.iter().filter_map(|(metric, ms)| {
            Some((*metric, 100.0 * (ms / measured.get(metric)? - 1.0).abs()))
        });
        Peer {
            name: name.clone(),
            errors: errors.collect(),
        }
    };
    let all = case.predictions.iter().map(peer);
    all.filter(|peer| !peer.errors.is_empty()).collect()
}

/// Median and mean of absolute errors, percent, and of how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Cases.
    pub cases: usize,
    /// Median.
    pub median: f64,
    /// Mean.
    pub mean: f64,
}

/// The summary of some errors; `None` of none.
#[must_use]
pub fn summarize(errors: impl Iterator<Item = f64>) -> Option<Summary> {
    let mut errors: Vec<f64> = errors.map(f64::abs).collect();
    errors.sort_by(f64::total_cmp);
    Some(Summary {
        cases: errors.len(),
        median: percentile(&errors, 0.5),
        mean: mean(&errors)?,
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Of ascending values, between the two nearest.
fn percentile(values: &[f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share * last as f64;
    let below = place as usize;
    let above = values[(below + 1).min(last)];
    values[below] + place.fract() * (above - values[below])
}
