//! Renders suites and their certificates.

use crate::certify::{Certificate, DUPLICATE, HEADROOM, LOAD_SCALED, LOADS, SPREAD, STABILITY};
use crate::fuel::grouped;
use crate::suite::{RulesKey, ScenarioKeys};
use crate::{Split, Suite};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::lua::CALL_UNITS;
use windtunnel_results::report::table::{styled, whole};

fn count(suite: &Suite, split: Split) -> usize {
    suite.scenarios(split).count()
}

/// Suites: what `suite list` prints as JSON under `suites`.
#[must_use]
pub fn list_json(suites: &[Suite]) -> Value {
    let one = |s: &Suite| {
        json!({
            "name": s.file.name,
            "version": s.file.version,
            "description": s.file.description,
            "hooks": s.file.hooks,
            "scenarios": Split::ALL.map(|split| (split.name(), count(s, split))).into_iter().collect::<BTreeMap<_, _>>(),
        })
    };
    suites.iter().map(one).collect()
}

/// Suites, a line each.
#[must_use]
pub fn list(suites: &[Suite]) -> String {
    let mut table = styled(&[
        "Suite",
        "Hooks",
        "train",
        "val",
        "holdout",
        "What it is for",
    ]);
    for s in suites {
        table.add_row([
            s.label(),
            s.file.hooks.join(", "),
            count(s, Split::Train).to_string(),
            count(s, Split::Val).to_string(),
            count(s, Split::Holdout).to_string(),
            s.file.description.clone(),
        ]);
    }
    format!("{table}\n")
}

fn objectives(suite: &Suite) -> Vec<(String, f64)> {
    let objectives = suite.file.objectives.iter();
    objectives.map(|o| (o.name(), o.weight)).collect()
}

fn name(rules: Option<RulesKey>) -> Option<String> {
    rules.map(|rules| Preset::from(rules).to_string())
}

/// A suite: what `suite show` prints as JSON.
#[must_use]
pub fn json(suite: &Suite) -> Value {
    let file = &suite.file;
    let objectives = objectives(suite);
    let scenarios = |split: Split| {
        let one = |s: &ScenarioKeys| json!({"id": s.id, "family": s.family, "weight": s.weight});
        let all: Vec<_> = suite.scenarios(split).map(one).collect();
        json!(all)
    };
    json!({
            "name": file.name,
            "version": file.version,
            "description": file.description,
            "hooks": file.hooks,
            "rules": name(file.cluster.rules),
            "fitted_under": name(file.cluster.fitted_under),
            "requests": file.requests,
            "seeds": Split::ALL.map(|split| (split.name(), file.seeds_of(split))).into_iter().collect::<BTreeMap<_, _>>(),
            "max_seeds": file.max_seeds,
            "objectives": objectives.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect::<Vec<_>>(),
            "regression_weight": file.regression_weight,
            "fuel": file.fuel,
            "references": file.references.keys().collect::<Vec<_>>(),
            "scenarios": {"train": scenarios(Split::Train), "val": scenarios(Split::Val), "holdout": scenarios(Split::Holdout)},
            "digest": suite.digest(),
    })
}

/// A suite: its scenarios, what counts, and what candidates are measured against.
#[must_use]
pub fn text(suite: &Suite) -> String {
    let file = &suite.file;
    let mut table = styled(&["Split", "Scenario", "Family", "Traffic", "Rate/s", "Weight"]);
    for split in Split::ALL {
        for s in suite.scenarios(split) {
            let traffic = s.workload.as_ref().or(s.trace.as_ref().map(|t| &t.file));
            table.add_row([
                split.name().to_owned(),
                s.id.clone(),
                s.family.clone(),
                traffic.map_or(String::new(), |p| {
                    p.file_stem().unwrap_or_default().to_string_lossy().into()
                }),
                match (s.rate, s.rate_scale) {
                    (Some(rate), _) => rate.to_string(),
                    (None, Some(factor)) => format!("{factor} x own"),
                    (None, None) => "own".into(),
                },
                s.weight.to_string(),
            ]);
        }
    }
    let objectives: Vec<String> = objectives(suite)
        .iter()
        .map(|(n, w)| format!("{w} x {n}"))
        .collect();
    let rules = match (name(file.cluster.rules), name(file.cluster.fitted_under)) {
        (None, _) => "those of the step-time model".to_owned(),
        (Some(rules), None) => rules,
        (Some(rules), Some(fitted)) => format!("{rules}, with step times fitted under {fitted}"),
    };
    let references: Vec<&str> = file.references.keys().map(String::as_str).collect();
    format!(
        "{}: {}\nA candidate may fill: {}. {} requests per scenario; seeds: train {}, val and holdout {}.\nFuel: {} units per run, {} per call.\nRules: {rules}.\nCost: weighted mean of the logarithms of {}.\nMeasured against: {}.\n{}\n",
        suite.label(),
        file.description,
        file.hooks.join(", "),
        file.requests,
        file.seeds,
        file.seeds_of(Split::Val),
        grouped(file.fuel),
        grouped(CALL_UNITS),
        objectives.join(", "),
        references.join(", "),
        whole(table, &[0, 1, 2, 3]),
    )
}

/// A certificate, a line for each scenario, with what its columns mean.
#[must_use]
pub fn certificate(certificate: &Certificate) -> String {
    let mut table = styled(&[
        "",
        "Scenario",
        "Spread",
        "Ranks",
        "Room",
        "reached by",
        "Load",
        "Like",
        "",
    ]);
    for c in &certificate.scenarios {
        let nearest = c.nearest.as_ref();
        table.add_row([
            c.split.to_string(),
            c.id.clone(),
            format!("{:.0}", c.spread),
            c.stability.map_or("-".into(), |s| format!("{s:.2}")),
            format!("{:.1}", c.headroom),
            c.clairvoyant.clone(),
            format!("{:.2}", c.load),
            nearest.map_or(String::new(), |(_, alike)| format!("{alike:.2}")),
            if c.failures.is_empty() {
                "ok".into()
            } else {
                c.failures.join("; ")
            },
        ]);
    }
    let [admission, others] = LOADS.map(|(low, high)| format!("{low} to {high}"));
    format!(
        "{}\nSpread: worst to best reference, %. Ranks: agreement of the references' order between scorings. Room: best reference to the\n\
         best policy under exact information, % (* as shipped). Load: computing time over the time of arrivals. Like: highest rank\n\
         correlation of costs with another scenario of the split.\n\
         Asked: spread {SPREAD}, ranks {STABILITY}, room {HEADROOM}, likeness below {DUPLICATE}; load {others}, where admission alone is\n\
         open {admission}, with other hooks {} to {}; where pools are scaled, over the time that\n\
         instances were there, {} to {}.\n",
        whole(table, &[1, 5]),
        LOADS[1].0,
        LOADS[0].1,
        LOAD_SCALED.0,
        LOAD_SCALED.1
    )
}
