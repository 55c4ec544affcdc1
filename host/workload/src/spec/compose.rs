//! Several specs as one, each with the rates it had alone.

use super::locate::Fault;
use super::types::{Client, Cohort, WorkloadSpec};
use std::collections::BTreeSet;
use windtunnel_base::input::InputError;

/// Merges specs; `parts` are their names and what they say. Also what a person should know about
/// it.
///
/// # Errors
/// When one has blocks that cannot be merged, or rates of another kind than the others.
pub fn compose(
    parts: Vec<(String, WorkloadSpec)>,
) -> Result<(WorkloadSpec, Vec<String>), InputError> {
    let mut notes = Vec::new();
    let mut merged = WorkloadSpec {
        version: "2".into(),
        ..WorkloadSpec::default()
    };
    let shares = |s: &WorkloadSpec| s.aggregate_rate > 0.0;
    let users_only =
        |s: &WorkloadSpec| s.cohorts.is_empty() && s.clients.iter().all(|c| c.concurrency > 0);
    let proportional = parts.iter().any(|(_, s)| shares(s));
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (k, (name, mut spec)) in parts.into_iter().enumerate() {
        let refuse = |what: &str| Err(InputError::new(format!("{name}: {what}")));
        if spec.servegen_data.is_some() || spec.inference_perf.is_some() {
            return refuse(
                "inference_perf and servegen_data cannot be merged; `windtunnel workload convert --to spec` spells them out",
            );
        }
        if proportional && !shares(&spec) && !users_only(&spec) {
            return refuse(
                "it has no aggregate_rate, other specs have one; merge only specs of one kind",
            );
        }
        if k == 0 {
            (merged.seed, merged.category) = (spec.seed, spec.category.clone());
            (merged.horizon, merged.num_requests) = (spec.horizon, spec.num_requests);
        } else {
            bounds(&mut merged, &spec, &name, &mut notes);
        }
        for (class, targets) in spec.goodput_slo_targets.clone() {
            if let Some(other) = merged.goodput_slo_targets.insert(class.clone(), targets)
                && other != targets
            {
                return refuse(&format!(
                    "goodput_slo_targets of class \"{class}\" differ from another spec's"
                ));
            }
        }
        // Fractions become rates: a part's fractions sum to its rate.
        let total = total_fraction(&spec).map_err(InputError::from)?;
        let factor = if shares(&spec) {
            spec.aggregate_rate / total
        } else {
            1.0
        };
        spec.trace_rates_mut().for_each(|rate| *rate *= factor);
        merged.aggregate_rate += spec.aggregate_rate;
        let mut unique = |id: &str| {
            let mut free = id.to_owned();
            if !names.insert(free.clone()) {
                free = format!("{name}-{id}");
                while !names.insert(free.clone()) {
                    free.push('+');
                }
                notes.push(format!(
                    "{name}: \"{id}\" is taken, so it becomes \"{free}\""
                ));
            }
            free
        };
        for c in spec.clients {
            merged.clients.push(Client {
                id: unique(&c.id),
                slo_class: today(&c.slo_class, &spec.version),
                rate_fraction: c.rate_fraction * factor,
                ..c
            });
        }
        for c in spec.cohorts {
            merged.cohorts.push(Cohort {
                id: unique(&c.id),
                slo_class: today(&c.slo_class, &spec.version),
                rate_fraction: c.rate_fraction * factor,
                ..c
            });
        }
    }
    Ok((merged, notes))
}

/// Sum of the shares of a spec.
fn total_fraction(spec: &WorkloadSpec) -> Result<f64, Fault> {
    let clients = spec.clients.iter().map(|c| c.rate_fraction);
    let total: f64 = clients
        .chain(spec.cohorts.iter().map(|c| c.rate_fraction))
        .sum();
    if spec.aggregate_rate > 0.0 && total <= 0.0 && spec.clients.iter().any(|c| c.concurrency == 0)
    {
        return Err(Fault::new("", "no client has a rate_fraction above 0"));
    }
    Ok(if total > 0.0 { total } else { 1.0 })
}

/// The larger of two limits, so that no part is cut shorter than alone.
fn bounds(merged: &mut WorkloadSpec, spec: &WorkloadSpec, name: &str, notes: &mut Vec<String>) {
    if merged.seed != spec.seed {
        notes.push(format!(
            "{name}: seed {} is dropped, the first spec's {} holds",
            spec.seed, merged.seed
        ));
    }
    let wider = |a: i64, b: i64| if a == 0 || b == 0 { 0 } else { a.max(b) };
    if merged.horizon != spec.horizon {
        merged.horizon = wider(merged.horizon, spec.horizon);
        notes.push(format!(
            "{name}: horizons differ; {} holds (0 = none)",
            merged.horizon
        ));
    }
    merged.num_requests = match (merged.num_requests, spec.num_requests) {
        (0, _) | (_, 0) => 0,
        (a, b) => a.saturating_add(b),
    };
}

fn today(class: &str, version: &str) -> String {
    match class {
        "realtime" if version != "2" => "critical".into(),
        "interactive" if version != "2" => "standard".into(),
        class => class.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, text: &str) -> (String, WorkloadSpec) {
        (
            name.to_owned(),
            windtunnel_base::input::parse_yaml(name, text).unwrap(),
        )
    }

    #[test]
    fn every_part_keeps_its_rates_its_cohorts_and_its_targets() {
        let a = part(
            "a",
            "seed: 3\naggregate_rate: 10\nnum_requests: 5\ngoodput_slo_targets: {batch: {e2e_ms: 5}}\n\
            clients: [{id: x, rate_fraction: 1}, {id: y, rate_fraction: 3}]\n",
        );
        let b = part(
            "b",
            "version: \"1\"\nseed: 3\naggregate_rate: 30\nnum_requests: 7\nclients: [{id: x, rate_fraction: 0.5, slo_class: realtime}]\n\
            cohorts: [{id: z, population: 2, rate_fraction: 0.5}]\n",
        );
        let (merged, notes) = compose(vec![a, b]).unwrap();
        assert_eq!(
            (merged.seed, merged.num_requests, merged.aggregate_rate),
            (3, 12, 40.0)
        );
        let shares: Vec<(&str, f64)> = merged
            .clients
            .iter()
            .map(|c| (c.id.as_str(), c.rate_fraction))
            .collect();
        assert_eq!(shares, [("x", 2.5), ("y", 7.5), ("b-x", 15.0)]);
        assert_eq!(merged.cohorts[0].rate_fraction, 15.0);
        assert_eq!(merged.clients[2].slo_class, "critical");
        assert!(merged.goodput_slo_targets.contains_key("batch"));
        assert_eq!(notes, ["b: \"x\" is taken, so it becomes \"b-x\""]);
    }

    #[test]
    fn what_cannot_be_merged_is_refused() {
        let a = || {
            part(
                "a",
                "aggregate_rate: 10\nclients: [{id: x, rate_fraction: 1}]\n",
            )
        };
        let perf = part("p", "inference_perf: {stages: [{rate: 1, duration: 1}]}\n");
        let windows = part(
            "w",
            "clients: [{id: w, lifecycle: {windows: [{start_us: 0, end_us: 1, trace_rate: 1}]}}]\n",
        );
        for other in [perf, windows] {
            let error = compose(vec![a(), other]).unwrap_err().to_string();
            assert!(
                error.contains("cannot be merged")
                    || error.contains("merge only specs of one kind"),
                "{error}"
            );
        }
        let users = part("u", "clients: [{id: u, concurrency: 3}]\n");
        assert_eq!(compose(vec![a(), users]).unwrap().0.clients.len(), 2);
    }
}
