//! Distributions and arrival processes of a spec, ready to draw from.

use super::locate::Fault;
use super::types::{Arrival, Distribution, DistributionKind, Process};
use crate::sample::{Empirical, Gaps, Lengths, MOST_LENGTH};
use rand_distr::Poisson;
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::{self, InputError};

/// Reads what a distribution says. `folder` is where its file would be.
pub(super) fn lengths(d: &Distribution, folder: &Path) -> Result<Lengths, Fault> {
    if d.kind != DistributionKind::Empirical {
        if d.file.is_some() {
            return Err(Fault::new(
                "file",
                "only the empirical distribution has one",
            ));
        }
        if let Some((key, x)) = d.params.iter().find(|(_, x)| !x.is_finite()) {
            let message = format!("expected a finite number, found {x}");
            return Err(Fault::new(format!("params.{key}"), message));
        }
    }
    let p = Params(&d.params);
    Ok(match d.kind {
        DistributionKind::Constant => {
            p.only(&["value"], &[])?;
            let value = p.get("value");
            if !(0.0..=f64::from(MOST_LENGTH)).contains(&value) {
                let message = format!("expected a length from 1 to {MOST_LENGTH}, found {value}");
                return Err(Fault::new("params.value", message));
            }
            Lengths::Constant((value as u32).max(1))
        }
        DistributionKind::Gaussian => {
            p.only(&["mean", "std_dev", "min", "max"], &[])?;
            p.not_negative("std_dev")?;
            p.ordered()?;
            Lengths::Gaussian {
                mean: p.get("mean"),
                std_dev: p.get("std_dev"),
                min: p.get("min"),
                max: p.get("max"),
            }
        }
        DistributionKind::Exponential => {
            p.only(&["mean"], &["min", "max"])?;
            p.above_zero("mean")?;
            p.ordered_if_given()?;
            Lengths::Exponential {
                mean: p.get("mean"),
                min: p.get("min"),
                max: p.get("max"),
            }
        }
        DistributionKind::Lognormal => {
            p.only(&["mu", "sigma"], &["min", "max"])?;
            p.not_negative("sigma")?;
            p.ordered_if_given()?;
            Lengths::LogNormal {
                mu: p.get("mu"),
                sigma: p.get("sigma"),
                min: p.get("min"),
                max: p.get("max"),
            }
        }
        DistributionKind::Uniform => {
            p.only(&["min", "max"], &[])?;
            p.not_negative("min")?;
            p.ordered()?;
            Lengths::Uniform {
                min: p.get("min").round() as u32,
                max: p.get("max").round().min(f64::from(MOST_LENGTH)) as u32,
            }
        }
        DistributionKind::SkewNormal => {
            p.only(&["mean", "std_dev", "skew", "min", "max"], &[])?;
            p.not_negative("std_dev")?;
            p.ordered()?;
            Lengths::SkewNormal {
                location: p.get("mean"),
                scale: p.get("std_dev"),
                shape: p.get("skew"),
                min: p.get("min"),
                max: p.get("max"),
            }
        }
        DistributionKind::Poisson => {
            p.only(&["mean", "min", "max"], &[])?;
            p.above_zero("mean")?;
            p.ordered()?;
            let (mean, most) = (p.get("mean"), f64::from(MOST_LENGTH));
            let Some(of) = Poisson::new(mean).ok().filter(|_| mean <= most) else {
                let message = format!("expected at most {most}, found {mean}");
                return Err(Fault::new("params.mean", message));
            };
            Lengths::Poisson {
                of,
                min: p.get("min"),
                max: p.get("max"),
            }
        }
        DistributionKind::ParetoLognormal => {
            p.only(&["alpha", "xm", "mu", "sigma", "mix_weight"], &[])?;
            p.above_zero("alpha")?;
            p.above_zero("xm")?;
            p.not_negative("sigma")?;
            if !(0.0..=1.0).contains(&p.get("mix_weight")) {
                let message = format!("expected 0 to 1, found {}", p.get("mix_weight"));
                return Err(Fault::new("params.mix_weight", message));
            }
            Lengths::ParetoLogNormal {
                alpha: p.get("alpha"),
                xm: p.get("xm"),
                mu: p.get("mu"),
                sigma: p.get("sigma"),
                mix_weight: p.get("mix_weight"),
            }
        }
        DistributionKind::Empirical => Lengths::Empirical(empirical(d, folder)?),
    })
}

/// Parameters by name.
struct Params<'a>(&'a BTreeMap<String, f64>);

impl Params<'_> {
    /// 0 where it is not given.
    fn get(&self, key: &str) -> f64 {
        self.0.get(key).copied().unwrap_or(0.0)
    }

    fn only(&self, needed: &[&str], optional: &[&str]) -> Result<(), Fault> {
        let valid: Vec<&str> = needed.iter().chain(optional).copied().collect();
        if let Some(key) = self.0.keys().find(|k| !valid.contains(&k.as_str())) {
            let message = input::unknown("parameter", key, &valid);
            return Err(Fault::new(format!("params.{key}"), message));
        }
        match needed.iter().find(|k| !self.0.contains_key(**k)) {
            Some(key) => Err(Fault::new("params", format!("{key} is missing"))),
            None => Ok(()),
        }
    }

    fn not_negative(&self, key: &str) -> Result<(), Fault> {
        let x = self.get(key);
        if x < 0.0 {
            return Err(Fault::new(
                format!("params.{key}"),
                format!("expected 0 or more, found {x}"),
            ));
        }
        Ok(())
    }

    fn above_zero(&self, key: &str) -> Result<(), Fault> {
        let x = self.get(key);
        if x <= 0.0 {
            return Err(Fault::new(
                format!("params.{key}"),
                format!("expected a number above 0, found {x}"),
            ));
        }
        Ok(())
    }

    fn ordered(&self) -> Result<(), Fault> {
        let (min, max) = (self.get("min"), self.get("max"));
        if min > max {
            return Err(Fault::new(
                "params.min",
                format!("{min} is above max {max}"),
            ));
        }
        Ok(())
    }

    fn ordered_if_given(&self) -> Result<(), Fault> {
        self.not_negative("min")?;
        self.not_negative("max")?;
        if self.get("max") > 0.0 {
            self.ordered()
        } else {
            Ok(())
        }
    }
}

fn empirical(d: &Distribution, folder: &Path) -> Result<Empirical, Fault> {
    let (weights, at) = match &d.file {
        Some(_) if !d.params.is_empty() => {
            return Err(Fault::new(
                "file",
                "give weights in params or in a file, not both",
            ));
        }
        Some(file) => {
            let path = folder.join(file);
            let weights = read_weights(&path).map_err(|e| Fault::new("file", e.to_string()))?;
            (weights, "file")
        }
        None => (d.params.clone(), "params"),
    };
    let mut bins = Vec::new();
    for (key, &weight) in &weights {
        let length = key.trim().parse::<f64>().ok();
        let length = length.filter(|x| (0.0..=f64::from(MOST_LENGTH)).contains(x));
        let Some(length) = length else {
            let message = format!(
                "expected a length from 0 to {MOST_LENGTH} with its weight, found \"{key}\""
            );
            return Err(Fault::new(format!("{at}.{key}"), message));
        };
        if !weight.is_finite() {
            return Err(Fault::new(
                format!("{at}.{key}"),
                format!("expected a finite weight, found {weight}"),
            ));
        }
        bins.push((length as u32, weight));
    }
    Empirical::new(bins).ok_or_else(|| {
        Fault::new(
            at,
            "expected lengths with weights above 0, as in {64: 0.5, 256: 0.5}",
        )
    })
}

fn read_weights(path: &Path) -> Result<BTreeMap<String, f64>, InputError> {
    let text = input::read_text(path)?;
    if path.extension().is_none_or(|e| e != "csv") {
        return input::parse_yaml(path.display(), &text);
    }
    let mut weights = BTreeMap::new();
    for (k, line) in text.lines().enumerate() {
        let (length, weight) = line.split_once(',').unwrap_or((line, ""));
        match weight.trim().parse::<f64>() {
            Ok(weight) => drop(weights.insert(length.trim().to_owned(), weight)),
            // A header row is fine.
            Err(_) if k == 0 || line.trim().is_empty() => {}
            Err(_) => {
                let message = format!("expected a length and its weight, found \"{line}\"");
                return Err(InputError::at(path.display(), k as u64 + 1, 0, message));
            }
        }
    }
    Ok(weights)
}

/// The gaps of an arrival process at a rate, requests per second.
pub(super) fn gaps(arrival: Option<&Arrival>, rate: f64) -> Result<Gaps, Fault> {
    let Some(a) = arrival else {
        return Ok(Gaps::poisson(rate));
    };
    for (key, value) in [("cv", a.cv), ("shape", a.shape), ("scale", a.scale)] {
        let Some(x) = value else { continue };
        if matches!(a.process, Process::Poisson | Process::Constant) {
            let message = "has no effect on this process; gamma and weibull have it";
            return Err(Fault::new(key, message));
        }
        if !(x.is_finite() && x > 0.0) {
            return Err(Fault::new(
                key,
                format!("expected a finite number above 0, found {x}"),
            ));
        }
    }
    if a.shape.is_some() != a.scale.is_some() {
        return Err(Fault::new("", "shape and scale go together"));
    }
    let explicit = a.shape.zip(a.scale);
    let cv = a.cv.unwrap_or(1.0);
    let found = match (a.process, explicit) {
        (Process::Poisson, _) => Some(Gaps::poisson(rate)),
        (Process::Constant, _) => Some(Gaps::constant(rate)),
        (Process::Gamma, Some((shape, scale))) => Gaps::gamma_of(shape, scale),
        (Process::Gamma, None) => Gaps::gamma(rate, cv),
        (Process::Weibull, Some((shape, scale))) => Gaps::weibull_of(shape, scale),
        (Process::Weibull, None) => {
            return Gaps::weibull(rate, cv).ok_or_else(|| {
                let message = format!("no weibull distribution with a shape from 0.1 to 100 has cv {cv}; expected 0.013 to 429");
                Fault::new("cv", message)
            });
        }
    };
    found.ok_or_else(|| Fault::new("", "these numbers make no distribution"))
}
