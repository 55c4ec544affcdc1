//! What a suite says of pools that a policy scales: what goes together.

use super::file::{ScenarioKeys, SuiteFile};
use crate::objective::Metric;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_policy::Hook;
use windtunnel_policy::bundle::Bundle;

/// Who scales is a policy of the hook `scale`; how it is done is the scenarios'.
pub(super) fn check_bundle(bundle: &Bundle) -> Result<(), String> {
    match bundle.autoscale == AutoscaleSpec::default() {
        true => Ok(()),
        false => Err(
            "a suite says how pools are scaled in its own `autoscale` and in those of scenarios; a policy \
             stands in the section `scale`"
                .into(),
        ),
    }
}

/// What is wrong with how a scenario's pools are scaled.
pub(super) fn check(
    file: &SuiteFile,
    hooks: &[Hook],
    scenario: &ScenarioKeys,
) -> Result<(), String> {
    let autoscale = file.autoscale_of(scenario);
    let blocks = std::iter::once(("autoscale".to_owned(), &autoscale));
    let pools = autoscale.pools.iter();
    let blocks = blocks.chain(pools.map(|(name, own)| (format!("autoscale.pools.{name}"), own)));
    for (key, block) in blocks {
        if block.policy.is_some() || !block.params.is_empty() {
            return Err(format!(
                "{key}.{} has no effect: a candidate, a reference or `policies` fills the hook scale",
                if block.policy.is_some() {
                    "policy"
                } else {
                    "params"
                }
            ));
        }
    }
    let opens = hooks.contains(&Hook::Scale);
    let fills = file.policies.section(Hook::Scale).named().is_some();
    match autoscale.is_on() {
        true if !opens && !fills => {
            return Err(
                "autoscale has no effect: the suite does not open the hook scale, nor does `policies` fill it"
                    .into(),
            );
        }
        false if autoscale != AutoscaleSpec::default() => {
            return Err(
                "autoscale has no effect without max: no pool may have more instances than it has"
                    .into(),
            );
        }
        false if opens => {
            return Err(
                "the suite opens the hook scale, which nobody asks here; expected autoscale with max"
                    .into(),
            );
        }
        false if file.objectives.iter().any(|o| o.metric == Metric::GpuHours) => {
            return Err(
                "gpu_hours are the same whatever policies do; expected autoscale with max".into(),
            );
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::suite::{Suite, SuiteSource};

    /// The error of a suite with these keys, and with these of its scenario.
    fn error(keys: &str, scenario: &str) -> String {
        let text = format!(
            "name: s\nversion: 1\n{keys}\nreferences: {{fixed: {{scale: {{policy: fixed}}}}}}\n\
             scenarios: {{train: [{{id: a, family: f, workload: w.yaml, seed: 1{scenario}}}]}}\n"
        );
        let source = SuiteSource::File("s.yaml".into());
        let opened = Suite::of_text(source, text, None);
        opened.map_or_else(|e| e.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn what_of_scaling_does_not_go_together_is_refused() {
        let scaled = "hooks: [scale]\nobjectives: [{metric: gpu_hours}]\nautoscale: {max: 4}";
        assert_eq!(error(scaled, ""), "none");
        let cases = [
            (
                scaled,
                ", autoscale: {maks: 3}",
                "unknown key \"maks\"; did you mean \"max\"?",
            ),
            (
                scaled,
                ", autoscale: {policy: fixed}",
                "autoscale.policy has no effect",
            ),
            (
                scaled,
                ", autoscale: {pools: {a: {params: {x: 1}}}}",
                "autoscale.pools.a.params",
            ),
            (
                scaled,
                ", events: [{at: 1, kind: fial, instances: [0]}]",
                "did you mean \"fail\"?",
            ),
            (
                "hooks: [scale]\nobjectives: [{metric: miss_rate}]",
                "",
                "scenario a: the suite opens the hook scale, which nobody asks here",
            ),
            (
                "hooks: [routing]\nobjectives: [{metric: miss_rate}]\nautoscale: {max: 4}",
                "",
                "scenario a: autoscale has no effect: the suite does not open",
            ),
            (
                "hooks: [routing]\nobjectives: [{metric: gpu_hours}]",
                "",
                "scenario a: gpu_hours are the same whatever policies do",
            ),
            (
                "hooks: [scale]\nobjectives: [{metric: gpu_hours, miss_weight: 0.5}]",
                "",
                "objectives[0]: miss_weight is 0.5; expected 1 to 1000",
            ),
            (
                "hooks: [scale]\nobjectives: [{metric: ttft_p99, miss_weight: 2}]",
                "",
                "objectives[0]: miss_weight belongs to gpu_hours",
            ),
        ];
        for (keys, scenario, expected) in cases {
            let found = error(keys, scenario);
            assert!(found.contains(expected), "{keys}{scenario}: {found}");
        }
    }
}
