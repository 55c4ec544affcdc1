//! One number for a run: a weighted sum of normalised measures.
//!
//! The reference looks at the requests that completed only, so that a policy gains by refusing the
//! hard ones, and most by refusing all. Here a latency is worth its share of the requests that
//! arrived: those that did not complete count as 0, the worst. Where all complete, both are equal.

use super::stats::Distribution;
use super::summary::{RunSummary, Summary};
use std::collections::BTreeMap;
use windtunnel_base::input::{InputError, unknown};

/// The measures a weight can be given to.
pub const KEYS: [&str; 8] = [
    "mean_e2e",
    "mean_ttft",
    "p50_e2e",
    "p50_ttft",
    "p99_e2e",
    "p99_ttft",
    "throughput",
    "tokens_per_sec",
];

/// Weights by measure, sorted by name. They need not add up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(BTreeMap<&'static str, f64>);

/// A fitness and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitness {
    /// Sum of value times weight.
    pub score: f64,
    /// (measure, value in 0..=1, weight), sorted by name.
    pub components: Vec<(&'static str, f64, f64)>,
}

impl Weights {
    /// Reads `key:weight,key:weight`. `flag` is what messages call the text.
    ///
    /// # Errors
    /// On an unknown or repeated key, a missing colon, and a weight that is not a finite number of
    /// at least 0.
    pub fn parse(flag: &str, text: &str) -> Result<Self, InputError> {
        let mut weights = BTreeMap::new();
        for part in text.split(',') {
            let part = part.trim();
            let Some((key, weight)) = part.split_once(':') else {
                return Err(InputError::new(format!(
                    "{flag}: expected key:weight, found \"{part}\""
                )));
            };
            let (key, weight) = (key.trim(), weight.trim());
            let Some(&key) = KEYS.iter().find(|k| **k == key) else {
                return Err(InputError::new(format!(
                    "{flag}: {}",
                    unknown("fitness metric", key, &KEYS)
                )));
            };
            let before = match weight.parse::<f64>() {
                Ok(w) if w.is_finite() && w >= 0.0 => weights.insert(key, w),
                _ => {
                    return Err(InputError::new(format!(
                        "{flag}: the weight of \"{key}\" must be a number of at least 0, found \"{weight}\""
                    )));
                }
            };
            if before.is_some() {
                return Err(InputError::new(format!("{flag}: \"{key}\" is given twice")));
            }
        }
        Ok(Self(weights))
    }

    /// The fitness of a run.
    #[must_use]
    pub fn evaluate(&self, run: &RunSummary) -> Fitness {
        let cluster = &run.cluster;
        let served = match run.arrivals {
            0 => 0.0,
            n => cluster.completed as f64 / n as f64,
        };
        self.sum(|key| {
            rate(key, cluster).unwrap_or_else(|| served * latency(key, &cluster.ttft_us, cluster))
        })
    }

    /// The reference's fitness. Latencies are of the requests that have them, and count as 0 (value
    /// 1) when nothing completed.
    #[must_use]
    pub fn evaluate_as_the_reference(&self, cluster: &Summary) -> Fitness {
        self.sum(|key| {
            rate(key, cluster).unwrap_or_else(|| match cluster.completed {
                0 => 1.0,
                _ => latency(key, &cluster.reference.ttft_us, cluster),
            })
        })
    }

    fn sum(&self, value: impl Fn(&str) -> f64) -> Fitness {
        let weights = self.0.iter();
        let components: Vec<_> = weights
            .map(|(&key, &weight)| (key, value(key), weight))
            .collect();
        Fitness {
            score: components
                .iter()
                .map(|&(_, value, weight)| value * weight)
                .sum(),
            components,
        }
    }
}

/// The value of a rate, if it is one: half at its scale (100 requests/s, 10,000 tokens/s).
fn rate(key: &str, cluster: &Summary) -> Option<f64> {
    let saturating = |x: f64, scale: f64| x / (x + scale);
    match key {
        "throughput" => Some(saturating(cluster.responses_per_sec(), 100.0)),
        "tokens_per_sec" => Some(saturating(cluster.tokens_per_sec(), 10_000.0)),
        _ => None,
    }
}

/// The value of a latency: half at 1 ms, 1 at 0.
fn latency(key: &str, ttft: &Distribution, cluster: &Summary) -> f64 {
    let e2e = &cluster.e2e_us;
    let latency_us = match key {
        "mean_ttft" => ttft.mean,
        "p50_ttft" => ttft.p50,
        "p99_ttft" => ttft.p99,
        "mean_e2e" => e2e.mean,
        "p50_e2e" => e2e.p50,
        _ => e2e.p99,
    };
    1.0 / (1.0 + latency_us / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, refused, run};
    use super::*;

    #[test]
    fn a_score_is_the_weighted_sum_of_normalised_measures() {
        let record = run(
            vec![done(0, 0, 1000, 3000, 0), done(1, 7000, 1000, 3000, 0)],
            1,
        );
        let summary = RunSummary::of(&record); // 2 requests in 10 ms: 200/s
        let weights =
            Weights::parse("--fitness-weights", "throughput:3, mean_ttft:2,p99_e2e:0").unwrap();
        let fitness = weights.evaluate(&summary);
        assert_eq!(
            fitness.components,
            vec![
                ("mean_ttft", 0.5, 2.0),
                ("p99_e2e", 0.25, 0.0),
                ("throughput", 200.0 / 300.0, 3.0)
            ]
        );
        assert!((fitness.score - 3.0).abs() < 1e-12);
        assert_eq!(weights.evaluate_as_the_reference(&summary.cluster), fitness);
    }

    #[test]
    fn what_is_not_served_is_worth_nothing() {
        let weights = Weights::parse("f", "throughput:1,p99_ttft:2").unwrap();
        let nothing = RunSummary::of(&run(vec![], 1));
        assert_eq!(weights.evaluate(&nothing).score, 0.0);
        let refuse_all = RunSummary::of(&run(vec![refused(0, 0), refused(1, 5)], 1));
        assert_eq!(weights.evaluate(&refuse_all).score, 0.0);
        let reference = weights.evaluate_as_the_reference(&refuse_all.cluster);
        assert_eq!(reference.score, 2.0);
        // One of four served within 1 ms: a quarter of one half.
        let mut requests = vec![done(0, 0, 1000, 3000, 0)];
        requests.extend((1..4).map(|k| refused(k, 10)));
        let one = weights.evaluate(&RunSummary::of(&run(requests, 1)));
        assert_eq!(one.components[0], ("p99_ttft", 0.125, 2.0));
    }

    #[test]
    fn wrong_weights_are_named() {
        let error = |text| {
            Weights::parse("--fitness-weights", text)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(error("p99_tftt:1"), @r#"--fitness-weights: unknown fitness metric "p99_tftt"; did you mean "p99_ttft"? valid: mean_e2e, mean_ttft, p50_e2e, p50_ttft, p99_e2e, p99_ttft, throughput, tokens_per_sec"#);
        insta::assert_snapshot!(error("throughput"), @r#"--fitness-weights: expected key:weight, found "throughput""#);
        insta::assert_snapshot!(error("throughput:-1"), @r#"--fitness-weights: the weight of "throughput" must be a number of at least 0, found "-1""#);
        insta::assert_snapshot!(error("throughput:NaN"), @r#"--fitness-weights: the weight of "throughput" must be a number of at least 0, found "NaN""#);
        insta::assert_snapshot!(error(""), @r#"--fitness-weights: expected key:weight, found """#);
    }
}
