//! Conditions on a run's figures: `ttft.p99<500ms`, `batch/e2e.mean<1m`, `served>=99.9%`,
//! `requests_per_s>10`. A plan looks for a cluster that meets them, a gate fails on one.
//!
//! Percentiles are over all requests that arrived: one that was refused, lost or did not end is
//! later than any limit. So who drops requests meets no target by it.

use crate::metrics::slo::{class_name, parse_duration_us};
use crate::metrics::stats::{Floats, Spread, mean, percentile};
use crate::metrics::tpot;
use crate::report::Results;
use crate::report::sweep::metric;
use std::fmt;
use windtunnel_base::input::{InputError, amount, unknown};
use windtunnel_base::record::RequestRecord;

/// A condition on one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    figure: Figure,
    comparison: Comparison,
    /// Milliseconds of a latency, 0..=1 of a share, else in the figure's own unit.
    limit: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Figure {
    /// A latency of requests, of one class or of all.
    Latency {
        class: Option<String>,
        of: Latency,
        statistic: Statistic,
    },
    /// Completed requests over those that arrived.
    Served { class: Option<String> },
    /// Requests within the targets of goodput over those that arrived.
    Attainment,
    /// A metric of a sweep's rows.
    Metric(&'static str),
    /// One of those that the caller knows.
    Named,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latency {
    Ttft,
    Tpot,
    Itl,
    E2e,
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Mean,
    /// 0 to 100.
    Percentile(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

const LATENCIES: [(&str, Latency); 5] = [
    ("ttft", Latency::Ttft),
    ("tpot", Latency::Tpot),
    ("itl", Latency::Itl),
    ("e2e", Latency::E2e),
    ("queue_time", Latency::Queue),
];

/// Reads one number of a spread.
type OfSpread = fn(&Spread) -> f64;

/// Percentiles of the gaps between tokens, as summaries have them.
const OF_GAPS: [(f64, OfSpread); 4] = [
    (50.0, |s| s.p50),
    (90.0, |s| s.p90),
    (95.0, |s| s.p95),
    (99.0, |s| s.p99),
];

impl Condition {
    /// Reads a list of them, separated by commas. `flag` is what messages call the text.
    ///
    /// # Errors
    /// When one is malformed, names no figure, or can never be met.
    pub fn parse_all(flag: &str, text: &str) -> Result<Vec<Self>, InputError> {
        text.split(',')
            .map(|part| Self::parse(flag, part.trim()))
            .collect()
    }

    /// The same, of figures that only the caller knows, by these names.
    ///
    /// # Errors
    /// When one is malformed or names another figure.
    pub fn parse_named(flag: &str, text: &str, names: &[&str]) -> Result<Vec<Self>, InputError> {
        let parts = text.split(',').map(str::trim);
        let all = parts.map(|part| {
            Self::parse_with(flag, part, |name| match names.contains(&name) {
                true => Ok(Figure::Named),
                false => Err(unknown("figure", name, names)),
            })
        });
        all.collect()
    }

    /// The metric of a sweep's rows that it is on; `None` if it is on another figure.
    #[must_use]
    pub fn metric(&self) -> Option<&'static str> {
        match self.figure {
            Figure::Metric(name) => Some(name),
            _ => None,
        }
    }

    fn parse(flag: &str, text: &str) -> Result<Self, InputError> {
        Self::parse_with(flag, text, Figure::parse)
    }

    fn parse_with(
        flag: &str,
        text: &str,
        figure: impl Fn(&str) -> Result<Figure, String>,
    ) -> Result<Self, InputError> {
        let refuse = |what: String| Err(InputError::new(format!("{flag} \"{text}\": {what}")));
        let Some(at) = text.find(['<', '>']) else {
            return refuse("expected FIGURE<LIMIT, as in ttft.p99<500ms".to_owned());
        };
        let (left, right) = (text[..at].trim(), &text[at..]);
        let (comparison, limit) = match right.as_bytes() {
            [b'<', b'=', ..] => (Comparison::AtMost, &right[2..]),
            [b'<', ..] => (Comparison::Less, &right[1..]),
            [_, b'=', ..] => (Comparison::AtLeast, &right[2..]),
            _ => (Comparison::More, &right[1..]),
        };
        let figure = match figure(left) {
            Ok(figure) => figure,
            Err(what) => return refuse(what),
        };
        let limit = match figure.limit(limit.trim()) {
            Ok(limit) => limit,
            Err(what) => return refuse(what),
        };
        Ok(Self {
            text: text.chars().filter(|c| !c.is_whitespace()).collect(),
            figure,
            comparison,
            limit,
        })
    }

    /// The figure's name, without the limit: `ttft.p99`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split(['<', '>']).next().unwrap_or_default()
    }

    /// The figure of a run: milliseconds of a latency, 0..=1 of a share. Infinite where so many
    /// requests were not served that the percentile is one of them; `None` of nothing.
    #[must_use]
    pub fn figure(&self, results: &Results<'_>) -> Option<f64> {
        self.figure.of(results)
    }

    /// Is a figure within the limit? One of nothing is not.
    #[must_use]
    pub fn holds(&self, figure: Option<f64>) -> bool {
        figure.is_some_and(|x| match self.comparison {
            Comparison::Less => x < self.limit,
            Comparison::AtMost => x <= self.limit,
            Comparison::More => x > self.limit,
            Comparison::AtLeast => x >= self.limit,
        })
    }

    /// How near a figure is to the limit: below 1 within it, above beyond it.
    #[must_use]
    pub fn use_of_limit(&self, figure: f64) -> f64 {
        match self.is_upper() {
            true => figure / self.limit,
            false => self.limit / figure,
        }
    }

    /// Is the limit the most that may be?
    #[must_use]
    pub fn is_upper(&self) -> bool {
        matches!(self.comparison, Comparison::Less | Comparison::AtMost)
    }

    /// Is it on a share of requests, or on a metric of rows, rather than on a latency?
    #[must_use]
    pub fn is_a_share(&self) -> bool {
        !matches!(self.figure, Figure::Latency { .. })
    }

    /// Does a single request meet it? Of what is no latency of its own or not of its class, yes.
    #[must_use]
    pub fn met_by(&self, request: &RequestRecord, class: &str) -> bool {
        match &self.figure {
            Figure::Latency {
                class: of,
                of: latency,
                ..
            } if is_of(of.as_deref(), class) => {
                // Without a gap between tokens there is none that is too long.
                self.holds(Some(latency.of_request(request).unwrap_or(0.0)))
            }
            _ => true,
        }
    }

    /// The figure as people read it.
    #[must_use]
    pub fn shown(&self, figure: f64) -> String {
        match &self.figure {
            _ if figure.is_infinite() => "unserved".to_owned(),
            Figure::Latency { .. } if figure >= 10_000.0 => format!("{:.1} s", figure / 1e3),
            Figure::Latency { .. } => match figure {
                ..9.995 => format!("{figure:.2} ms"),
                ..99.95 => format!("{figure:.1} ms"),
                _ => format!("{figure:.0} ms"),
            },
            Figure::Served { .. } | Figure::Attainment => format!("{:.2} %", 100.0 * figure),
            Figure::Metric(_) | Figure::Named => format!("{figure:.3}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Figure {
    fn parse(text: &str) -> Result<Self, String> {
        let (class, figure) = match text.split_once('/') {
            Some((class, figure)) => (Some(class.to_owned()), figure),
            None => (None, text),
        };
        match figure {
            "served" => return Ok(Self::Served { class }),
            "attainment" if class.is_none() => return Ok(Self::Attainment),
            _ => {}
        }
        let (name, statistic) = match figure.split_once('.') {
            Some((name, statistic)) => (name, Some(statistic)),
            None => (figure, None),
        };
        let Some((_, of)) = LATENCIES.iter().find(|(known, _)| *known == name) else {
            return match metric(figure) {
                Some(metric) if class.is_none() => Ok(Self::Metric(metric)),
                Some(_) => Err(format!("{figure} is of all classes together")),
                None => {
                    let mut known = vec!["served", "attainment"];
                    known.extend(LATENCIES.iter().map(|(name, _)| *name));
                    Err(unknown("figure", name, &known))
                }
            };
        };
        let statistic = statistic.ok_or_else(|| {
            format!("say which: {name}.p50, {name}.p95, {name}.p99, ... or {name}.mean")
        })?;
        let percentile = |text: &str| text.strip_prefix('p')?.parse::<f64>().ok();
        let statistic = match (statistic, percentile(statistic)) {
            ("mean", _) => Statistic::Mean,
            (_, Some(p)) if p > 0.0 && p < 100.0 => Statistic::Percentile(p),
            _ => {
                return Err(format!(
                    "expected mean or a percentile as p99, found \"{statistic}\""
                ));
            }
        };
        let in_summaries = match statistic {
            Statistic::Mean => true,
            Statistic::Percentile(p) => OF_GAPS.iter().any(|(known, _)| *known == p),
        };
        if *of == Latency::Itl && (class.is_some() || !in_summaries) {
            let why = "itl is of all gaps between tokens: mean, p50, p90, p95 or p99, without a class; \
                       tpot, a request's mean gap, has them all";
            return Err(why.to_owned());
        }
        Ok(Self::Latency {
            class,
            of: *of,
            statistic,
        })
    }

    fn limit(&self, text: &str) -> Result<f64, String> {
        let number = |text: &str| amount(text).filter(|x| x.is_finite());
        let limit = match self {
            Self::Latency { .. } => parse_duration_us(text)
                .filter(|us| *us > 0.0)
                .map(|us| us / 1e3),
            Self::Served { .. } | Self::Attainment => {
                let share = match text.strip_suffix('%') {
                    Some(percent) => number(percent.trim()).map(|x| x / 100.0),
                    None => number(text),
                };
                share.filter(|x| (0.0..=1.0).contains(x))
            }
            Self::Metric(_) | Self::Named => number(text),
        };
        limit.ok_or_else(|| {
            let expected = match self {
                Self::Latency { .. } => "a time as 500ms, 2s or 1m30s",
                Self::Served { .. } | Self::Attainment => "a share as 99% or 0.99",
                Self::Metric(_) | Self::Named => "a number",
            };
            format!("expected {expected}, found \"{text}\"")
        })
    }

    fn of(&self, results: &Results<'_>) -> Option<f64> {
        match self {
            Self::Metric(name) => crate::report::sweep::figure(results, name),
            Self::Named => None,
            Self::Attainment => results.goodput.as_ref().map(|g| g.attainment),
            Self::Served { class } => {
                let [completed, all] = counts(results, class.as_deref());
                (all > 0.0).then(|| completed / all)
            }
            Self::Latency {
                of: Latency::Itl,
                statistic,
                ..
            } => {
                let gaps = &results.summary.cluster.latency_ms.itl;
                match statistic {
                    Statistic::Mean => gaps.figure(|s| s.mean),
                    Statistic::Percentile(p) => {
                        let (_, of) = OF_GAPS.iter().find(|(known, _)| known == p)?;
                        gaps.figure(*of)
                    }
                }
            }
            Self::Latency {
                class,
                of,
                statistic,
            } => {
                let requests = of_class(results, class.as_deref());
                let late = |r: &RequestRecord| match r.e2e_us {
                    // What has no gap takes no part.
                    Some(_) => of.of_request(r),
                    None => Some(f64::INFINITY),
                };
                let values: Vec<f64> = requests.filter_map(late).collect();
                if values.is_empty() {
                    return None;
                }
                let values = Floats::new(values);
                Some(match statistic {
                    Statistic::Mean => mean(&values),
                    Statistic::Percentile(p) => {
                        let x = percentile(&values, *p);
                        // Between a served request and one that is not.
                        if x.is_nan() { f64::INFINITY } else { x }
                    }
                })
            }
        }
    }
}

impl Latency {
    /// Of a completed request, milliseconds.
    fn of_request(self, r: &RequestRecord) -> Option<f64> {
        match self {
            Self::Ttft => r.ttft_us.map(|us| us as f64 / 1e3),
            Self::E2e => r.e2e_us.map(|us| us as f64 / 1e3),
            Self::Queue => r.scheduling_delay_us.map(|us| us as f64 / 1e3),
            Self::Itl => r.mean_itl_us.map(|us| us / 1e3),
            Self::Tpot => {
                let [ttft, e2e] = [r.ttft_us?, r.e2e_us?].map(|us| us as f64);
                tpot(ttft, e2e, r.generated_tokens).map(|us| us / 1e3)
            }
        }
    }
}

fn is_of(wanted: Option<&str>, class: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == class_name(class))
}

fn of_class<'a>(
    results: &'a Results<'_>,
    class: Option<&'a str>,
) -> impl Iterator<Item = &'a RequestRecord> {
    let record = results.record;
    let counts = move |r: &&RequestRecord| is_of(class, record.symbols.name(r.slo_class));
    record.requests.iter().filter(counts)
}

/// Completed requests of a class, and all that arrived.
fn counts(results: &Results<'_>, class: Option<&str>) -> [f64; 2] {
    let of_class = of_class(results, class);
    of_class.fold([0.0, 0.0], |[completed, all], r| {
        [
            completed + f64::from(u8::from(r.e2e_us.is_some())),
            all + 1.0,
        ]
    })
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
