//! Distributions of lengths as inference-perf writes them.

use super::schema::Lengths;
use crate::sample::MOST_LENGTH;
use crate::spec::compile;
use crate::spec::locate::Fault;
use crate::spec::types::{Distribution, DistributionKind};
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input;
use windtunnel_base::rng::{self, fnv1a64};

/// What a distribution says that gives only some of its keys.
const USUAL: [(&str, f64); 4] = [
    ("min", 10.0),
    ("max", 1024.0),
    ("mean", 512.0),
    ("std_dev", 200.0),
];
/// Most lengths that are drawn beforehand.
const MOST_DRAWN: i64 = 1_000_000;
const KINDS: [&str; 6] = [
    "normal",
    "skew_normal",
    "lognormal",
    "uniform",
    "poisson",
    "fixed",
];

/// What lengths are drawn with before the run.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    pub(super) seed: i64,
}

/// Always the same length.
pub(super) fn constant(tokens: i64, key: &str) -> Result<Distribution, Fault> {
    if !(0..=i64::from(MOST_LENGTH)).contains(&tokens) {
        let message = format!("expected 0 to {MOST_LENGTH} tokens, found {tokens}");
        return Err(Fault::new(key, message));
    }
    Ok(of(DistributionKind::Constant, &[("value", tokens as f64)]))
}

/// No tokens at all?
pub(super) fn is_zero(d: &Distribution) -> bool {
    d.kind == DistributionKind::Constant && d.params.get("value").is_none_or(|v| *v == 0.0)
}

fn of(kind: DistributionKind, params: &[(&str, f64)]) -> Distribution {
    Distribution {
        kind,
        params: params.iter().map(|(k, x)| ((*k).to_owned(), *x)).collect(),
        file: None,
    }
}

/// The distribution that stands under `key`.
pub(super) fn distribution(d: &Lengths, key: &str, draw: Draw) -> Result<Distribution, Fault> {
    let made = made(d).map_err(|f| f.under(key))?;
    let compiled = compile::lengths(&made, Path::new("."));
    let lengths = compiled.map_err(|f| {
        let message = windtunnel_base::input::InputError::from(f);
        Fault::new(key, message.message().replace("params.", ""))
    })?;
    let Some(count) = d.total_count else {
        return Ok(made);
    };
    if !(1..=MOST_DRAWN).contains(&count) {
        let message = format!("expected 1 to {MOST_DRAWN}, found {count}");
        return Err(Fault::new(format!("{key}.total_count"), message));
    }
    if made.kind == DistributionKind::Constant {
        return Ok(made);
    }
    // So many lengths are drawn once, and requests have theirs from these.
    let mut weights: BTreeMap<String, f64> = BTreeMap::new();
    for k in 0..count.cast_unsigned() {
        let seed = draw.seed.cast_unsigned();
        let mut rng = rng::stream(seed, "inference-perf lengths", fnv1a64(key), k);
        let length = lengths.sample(&mut rng).to_string();
        *weights.entry(length).or_default() += 1.0;
    }
    Ok(Distribution {
        kind: DistributionKind::Empirical,
        params: weights,
        file: None,
    })
}

fn made(d: &Lengths) -> Result<Distribution, Fault> {
    let usual = |key: &str| {
        USUAL
            .iter()
            .find(|(k, _)| *k == key)
            .map_or(0.0, |(_, x)| *x)
    };
    let given = |key: &str, value: Option<f64>| match value {
        Some(x) if !x.is_finite() => Err(Fault::new(
            key,
            format!("expected a finite number, found {x}"),
        )),
        value => Ok(value.unwrap_or_else(|| usual(key))),
    };
    let (min, max) = (given("min", d.min)?, given("max", d.max)?);
    let mean = given("mean", d.mean)?;
    let std_dev = match (d.std_dev, d.variance) {
        (Some(_), Some(_)) => {
            let message = "std_dev says it already; expected one of the two";
            return Err(Fault::new("variance", message));
        }
        (None, Some(v)) if !(v.is_finite() && v >= 0.0) => {
            let message = format!("expected a finite number of 0 or more, found {v}");
            return Err(Fault::new("variance", message));
        }
        (None, Some(v)) => v.sqrt(),
        (given_deviation, None) => given("std_dev", given_deviation)?,
    };
    if min < 0.0 || min > max {
        let message = format!("expected 0 <= min <= max, found {min} and {max}");
        return Err(Fault::new("min", message));
    }
    if std_dev < 0.0 {
        let message = format!("expected 0 or more, found {std_dev}");
        return Err(Fault::new("std_dev", message));
    }
    let kind = d.kind.as_deref().unwrap_or("normal");
    if d.skew.is_some_and(|s| s != 0.0) && kind != "skew_normal" {
        let message = format!("has no effect on the type {kind}; skew_normal has it");
        return Err(Fault::new("skew", message));
    }
    let normal = [
        ("mean", mean),
        ("std_dev", std_dev),
        ("min", min),
        ("max", max),
    ];
    let positive = |what: &str| {
        if mean > 0.0 {
            return Ok(());
        }
        let message = format!("{what} needs a mean above 0, found {mean}");
        Err(Fault::new("mean", message))
    };
    Ok(match kind {
        "normal" => of(DistributionKind::Gaussian, &normal),
        "skew_normal" => {
            let mut params = normal.to_vec();
            params.push(("skew", given("skew", d.skew)?));
            of(DistributionKind::SkewNormal, &params)
        }
        "lognormal" => {
            positive("lognormal")?;
            // Mean and deviation are those of the lengths, not of their logarithms.
            let variance = (1.0 + (std_dev / mean).powi(2)).ln();
            let params = [
                ("mu", mean.ln() - variance / 2.0),
                ("sigma", variance.sqrt()),
                ("min", min),
                ("max", max),
            ];
            of(DistributionKind::Lognormal, &params)
        }
        "uniform" => of(DistributionKind::Uniform, &[("min", min), ("max", max)]),
        "poisson" => {
            let mean = if mean > 0.0 { mean } else { 1.0 };
            let params = [("mean", mean), ("min", min), ("max", max)];
            of(DistributionKind::Poisson, &params)
        }
        "fixed" => return constant(mean as i64, "mean"),
        other => {
            let message = input::unknown("type", other, &KINDS);
            return Err(Fault::new("type", message));
        }
    })
}
