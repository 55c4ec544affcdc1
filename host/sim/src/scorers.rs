//! The scorers of weighted routing that a run gives.

use crate::spec::PoliciesSpec;
use windtunnel_policy::builtin::routing::weighted::default_scorers;
use windtunnel_policy::bundle::Bundle;

/// The list of scorers that a run gives. With a weight of `lora-affinity`, those of the bundle or
/// the defaults stand before it where the run gives no others.
pub(crate) fn given(policies: &PoliciesSpec, bundle: &Bundle) -> Option<String> {
    let given = policies.routing_scorers.clone();
    let Some(weight) = policies.lora_scorer_weight else {
        return given;
    };
    let before = given.unwrap_or_else(|| {
        let of_bundle = bundle.routing.scorers.iter();
        let of_bundle: Vec<String> = of_bundle
            .map(|scorer| format!("{}:{}", scorer.name, scorer.weight))
            .collect();
        match of_bundle.is_empty() {
            true => default_scorers(),
            false => of_bundle.join(","),
        }
    });
    Some(format!("{before},lora-affinity:{weight}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_adapters_stands_behind_what_was_given_or_the_defaults() {
        let mut policies = PoliciesSpec::default();
        let none = Bundle::default();
        assert_eq!(given(&policies, &none), None);
        policies.lora_scorer_weight = Some(2.5);
        let defaults = given(&policies, &none).unwrap();
        assert_eq!(
            defaults,
            "precise-prefix-cache:2,queue-depth:1,kv-utilization:1,lora-affinity:2.5"
        );
        policies.routing_scorers = Some("queue-depth:3".into());
        let behind = given(&policies, &none).unwrap();
        assert_eq!(behind, "queue-depth:3,lora-affinity:2.5");
    }
}
