//! How true a simulation is to what was observed of a live server: the same requests on both sides,
//! over all of them, one by one, by class and by session; and whether several simulations are
//! ordered as what was observed is.

mod compare;
mod goodput;
mod intervals;
mod pair;
mod rank;
mod report;
mod sessions;
mod text;

pub use compare::{Bias, Figures, Metric, Quality};
pub use goodput::{ClassGoodput, Goodput};
pub use intervals::{DRAWS, Interval};
pub use rank::{Rank, Ranks, rank};
pub use report::{Hits, Tolerances, report};
pub use text::{ranks_text, text};

use crate::metrics::slo::SloTargets;
use crate::metrics::tpot;
use pair::{Pair, Side};
use serde::Serialize;
use std::collections::BTreeMap;

/// A request as it was observed. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RealRequest {
    /// Its name.
    pub id: String,
    /// SLO class; empty for none.
    pub slo_class: String,
    /// Session; empty for none.
    pub session: String,
    /// Round of the session.
    pub round: u32,
    /// Was it answered whole?
    pub ok: bool,
    /// When it was sent.
    pub sent_us: f64,
    /// To the first token.
    pub ttft_us: Option<f64>,
    /// To the last token.
    pub e2e_us: Option<f64>,
    /// Mean gap between events, where their times were recorded.
    pub itl_us: Option<f64>,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

/// A request as it was simulated. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedRequest {
    /// Its name, as the observed one's.
    pub id: String,
    /// When it arrived; `None` = the file does not say.
    pub arrival_us: Option<f64>,
    /// To the first token.
    pub ttft_us: Option<f64>,
    /// To the last token.
    pub e2e_us: Option<f64>,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

/// What lies between a client and a server, and is not simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// Round-trip time, microseconds.
    pub rtt_us: f64,
    /// Bandwidth, megabits per second; 0 = no limit.
    pub bandwidth_mbps: f64,
}

impl Network {
    /// Time of so many tokens on the way, 4 bytes each, microseconds.
    fn transfer_us(&self, tokens: u32) -> f64 {
        match self.bandwidth_mbps > 0.0 {
            true => f64::from(tokens) * 32.0 / self.bandwidth_mbps,
            false => 0.0,
        }
    }
}

/// How a simulation is held against an observation.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Requests with a lower number only warmed up.
    pub warm_up: u64,
    /// What is added to simulated times.
    pub network: Network,
    /// Targets of goodput.
    pub targets: SloTargets,
}

/// What of two files belongs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// Requests that were observed.
    pub num_requests: usize,
    /// Those that only warmed up.
    pub warm_up_excluded: usize,
    /// Requests that are compared.
    pub matched_pairs: usize,
    /// Of these, those with other numbers of tokens.
    pub token_mismatches: usize,
    /// Observed requests that the simulation does not have.
    pub unmatched_real: usize,
    /// Simulated requests that were not observed.
    pub unmatched_simulated: usize,
    /// Requests that both have, and that were not answered whole by the server.
    pub failed_real: usize,
    /// Requests that both have, and that were not answered by the simulation.
    pub failed_simulated: usize,
}

/// What a class, or all requests, do per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Observed.
    pub real: f64,
    /// Simulated.
    pub simulated: f64,
    /// (simulated - observed) / observed.
    pub relative_error: f64,
}

impl Throughput {
    fn of(real: f64, simulated: f64) -> Self {
        Self {
            real,
            simulated,
            relative_error: (simulated - real) / real,
        }
    }
}

/// A simulation, compared with an observation.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// What was compared.
    pub requests: Matched,
    /// TTFT, E2E, ITL where times of events were recorded, and TPOT.
    pub metrics: BTreeMap<&'static str, Metric>,
    /// Answered requests per second; absent where a side has no duration.
    pub requests_per_s: Option<Throughput>,
    /// Output tokens of these per second.
    pub output_tokens_per_s: Option<Throughput>,
    /// The latencies by SLO class, where there are several.
    pub per_class: BTreeMap<String, BTreeMap<&'static str, Metric>>,
    /// TTFT of first and later rounds, and durations of sessions, where there are any.
    pub per_session: BTreeMap<&'static str, Metric>,
    /// Goodput, where there are targets.
    pub goodput: Option<Goodput>,
    #[serde(skip)]
    pub(crate) pairs: Vec<Pair>,
}

/// The number of a request's name, as traces have it.
fn key(id: &str) -> &str {
    id.strip_prefix("request_").unwrap_or(id)
}

/// Compares a simulation with an observation, request by request.
///
/// # Errors
/// In words, when no request is on both sides with an answer.
pub fn calibrate(
    real: &[RealRequest],
    simulated: &[SimulatedRequest],
    options: &Options,
) -> Result<Calibration, String> {
    let by_id: BTreeMap<&str, &SimulatedRequest> =
        simulated.iter().map(|s| (key(&s.id), s)).collect();
    let mut requests = Matched {
        num_requests: real.len(),
        ..Matched::default()
    };
    let (mut pairs, mut both, mut found) = (Vec::new(), Vec::new(), 0);
    for r in real {
        let twin = by_id.get(key(&r.id)).copied();
        found += usize::from(twin.is_some());
        let number = key(&r.id).parse::<u64>();
        if number.is_ok_and(|n| n < options.warm_up) {
            requests.warm_up_excluded += 1;
            continue;
        }
        let Some(s) = twin else {
            requests.unmatched_real += 1;
            continue;
        };
        let (of_real, of_simulated) = (real_side(r), simulated_side(s, options.network));
        requests.failed_real += usize::from(of_real.is_none());
        requests.failed_simulated += usize::from(of_simulated.is_none());
        both.push((r.slo_class.as_str(), of_real, of_simulated));
        if let (Some(real), Some(simulated)) = (of_real, of_simulated) {
            let same = (r.prompt_tokens, r.output_tokens) == (s.prompt_tokens, s.output_tokens);
            requests.token_mismatches += usize::from(!same);
            pairs.push(Pair {
                slo_class: r.slo_class.clone(),
                session: r.session.clone(),
                round: r.round,
                real,
                simulated,
            });
        }
    }
    requests.unmatched_simulated = by_id.len() - found;
    requests.matched_pairs = pairs.len();
    if pairs.is_empty() {
        return Err(nothing_to_compare(&requests));
    }
    // Neighbours in time are alike: intervals know that.
    pairs.sort_by(|a, b| a.real.at_us.total_cmp(&b.real.at_us));
    let duration = |side: fn(&Pair) -> Side| {
        let all = || pairs.iter().map(side);
        let from = all().map(|s| s.at_us).fold(f64::INFINITY, f64::min);
        let until = all().map(|s| s.at_us + s.e2e_us).fold(0.0, f64::max);
        Some((until - from) / 1e6).filter(|s| s.is_finite() && *s > 0.0)
    };
    let tells_arrivals = simulated.iter().all(|s| s.arrival_us.is_some());
    let durations = duration(|p| p.real).zip(duration(|p| p.simulated));
    let durations = durations.filter(|_| tells_arrivals);
    let per_second = |of: fn(&Side) -> f64| {
        let (real_s, simulated_s) = durations?;
        let sum = |side: fn(&Pair) -> Side| pairs.iter().map(|p| of(&side(p))).sum::<f64>();
        let real = sum(|p| p.real) / real_s;
        Some(Throughput::of(real, sum(|p| p.simulated) / simulated_s))
    };
    let all: Vec<&Pair> = pairs.iter().collect();
    let mut classes: BTreeMap<&str, Vec<&Pair>> = BTreeMap::new();
    for pair in &pairs {
        classes.entry(&pair.slo_class).or_default().push(pair);
    }
    let several = classes.len() > 1;
    let by_class = classes.iter().filter(|_| several);
    let by_class = by_class.map(|(class, pairs)| {
        let name = match *class {
            "" => crate::metrics::slo::DEFAULT_CLASS,
            class => class,
        };
        (name.to_owned(), compare::metrics(pairs))
    });
    Ok(Calibration {
        requests,
        metrics: compare::metrics(&all),
        requests_per_s: per_second(|_| 1.0),
        output_tokens_per_s: per_second(|s| f64::from(s.output_tokens)),
        per_class: by_class.collect(),
        per_session: sessions::metrics(&pairs),
        goodput: goodput::goodput(&both, &options.targets),
        pairs,
    })
}

fn nothing_to_compare(requests: &Matched) -> String {
    let Matched {
        num_requests,
        warm_up_excluded,
        unmatched_real,
        failed_real,
        failed_simulated,
        ..
    } = requests;
    format!(
        "no request can be compared: of {num_requests} observed ones {warm_up_excluded} warmed up, {unmatched_real} \
         are not in the simulation, {failed_real} were not answered whole, and {failed_simulated} were not answered by the \
         simulation"
    )
}

fn real_side(r: &RealRequest) -> Option<Side> {
    let (ttft_us, e2e_us) = r.ttft_us.zip(r.e2e_us)?;
    (r.ok && ttft_us >= 0.0 && e2e_us >= ttft_us).then(|| Side {
        at_us: r.sent_us,
        ttft_us,
        e2e_us,
        tpot_us: tpot(ttft_us, e2e_us, r.output_tokens),
        itl_us: r.itl_us,
        output_tokens: r.output_tokens,
    })
}

fn simulated_side(s: &SimulatedRequest, network: Network) -> Option<Side> {
    let (ttft_us, e2e_us) = s.ttft_us.zip(s.e2e_us)?;
    let (up_us, down_us) = (
        network.transfer_us(s.prompt_tokens),
        network.transfer_us(s.output_tokens),
    );
    // Gaps between tokens are the server's, whatever is between.
    let tpot_us = tpot(ttft_us, e2e_us, s.output_tokens);
    Some(Side {
        at_us: s.arrival_us.unwrap_or(0.0),
        ttft_us: ttft_us + network.rtt_us + up_us,
        e2e_us: e2e_us + network.rtt_us + up_us + down_us,
        tpot_us,
        itl_us: Some(tpot_us.unwrap_or(0.0)),
        output_tokens: s.output_tokens,
    })
}

#[cfg(test)]
mod tests;
