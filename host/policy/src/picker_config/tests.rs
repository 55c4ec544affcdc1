use crate::bundle::Bundle;
use crate::param::Hook;

const BASE: &str =
    "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n";

fn read(text: &str) -> Bundle {
    let text = format!("{BASE}{text}");
    Bundle::parse("p.yaml", &text).unwrap_or_else(|e| panic!("{text}\n{e}"))
}

fn error(text: &str) -> String {
    let text = format!("{BASE}{text}");
    Bundle::parse("p.yaml", &text)
        .expect_err("refused")
        .to_string()
}

/// A profile with these plugins, each `type weight parameters`.
fn profile(plugins: &[(&str, &str, &str)]) -> String {
    let declared = plugins.iter().map(|(kind, _, parameters)| {
        let parameters = match *parameters {
            "" => String::new(),
            parameters => format!(", parameters: {{{parameters}}}"),
        };
        format!("- {{type: {kind}{parameters}}}\n")
    });
    let named = plugins.iter().map(|(kind, weight, _)| {
        let weight = match *weight {
            "" => String::new(),
            weight => format!(", weight: {weight}"),
        };
        format!("  - {{pluginRef: {kind}{weight}}}\n")
    });
    let (declared, named): (String, String) = (declared.collect(), named.collect());
    format!("plugins:\n{declared}schedulingProfiles:\n- name: default\n  plugins:\n{named}")
}

fn scorers(bundle: &Bundle) -> Vec<(&str, f64)> {
    let all = bundle.routing.scorers.iter();
    all.map(|s| (s.name.as_str(), s.weight)).collect()
}

#[test]
fn the_blend_of_scorers_keeps_weights_and_order() {
    let bundle = read(&profile(&[
        ("single-profile-handler", "", ""),
        ("queue-scorer", "2", ""),
        ("kv-cache-utilization-scorer", "2.5", ""),
        (
            "prefix-cache-scorer",
            "3",
            "hashBlockSize: 64, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250",
        ),
        ("running-requests-size-scorer", "", ""),
        ("load-aware-scorer", "1", "threshold: 64"),
        ("lora-affinity-scorer", "1", ""),
        ("max-score-picker", "", "maxNumOfEndpoints: 1"),
    ]));
    assert_eq!(
        scorers(&bundle),
        [
            ("queue-depth", 2.0),
            ("kv-utilization", 2.5),
            ("prefix-affinity", 3.0),
            ("running-requests", 1.0),
            ("load-aware", 1.0),
            ("lora-affinity", 1.0)
        ]
    );
    let params = &bundle.routing.params;
    // 256 blocks of 64 characters, four to a token.
    assert_eq!(params["max_prefix_tokens"], 4096.0);
    assert_eq!((params["load_aware_queue"], params["picker"]), (64.0, 1.0));
    let (admission, limits) = (&bundle.admission, &bundle.admission.params);
    assert_eq!(admission.policy.as_deref(), Some("gaie-legacy"));
    assert_eq!((limits["queue_limit"], limits["kv_limit"]), (5.0, 0.8));
    let notes = bundle.notes.join("\n");
    for part in [
        "p.yaml: EndpointPickerConfig read as routing weighted (queue-depth:2,kv-utilization:2.5,prefix-affinity:3,\
         running-requests:1,load-aware:1,lora-affinity:1; the highest, ties at random), admission gaie-legacy at 5 waiting or 0.8 of the KV blocks",
        "p.yaml:7: prefix-cache-scorer: lruCapacityPerServer has no counterpart",
    ] {
        assert!(notes.contains(part), "{part}\n{notes}");
    }
    let spec = bundle.policies(&mut crate::PolicyLoader::new(false));
    assert_eq!(
        spec.expect("policies").get(Hook::Routing).name(),
        "weighted"
    );
}

#[test]
fn sticky_until_saturated_keeps_its_settings() {
    let bundle = read(&profile(&[
        (
            "approx-prefix-cache-producer",
            "",
            "maxPrefixTokensToMatch: 40960",
        ),
        ("inflight-load-producer", "", ""),
        (
            "prefix-cache-affinity-filter",
            "",
            "affinityThreshold: 0.9, maxTTFTPenaltyMs: 5000, peakPrefillThroughput: 33821, explorationProbability: 0.01",
        ),
        ("token-load-scorer", "", "queueThresholdTokens: 1000000"),
        ("weighted-random-picker", "", ""),
    ]));
    assert_eq!(scorers(&bundle), [("token-load", 1.0)]);
    let expected = [
        ("affinity_threshold", 0.9),
        ("exploration", 0.01),
        ("max_prefix_tokens", 40_960.0),
        ("max_ttft_penalty_ms", 5000.0),
        ("peak_prefill_tokens_per_s", 33_821.0),
        ("picker", 3.0),
        ("prefix_signal", 1.0),
        ("token_load_tokens", 1_000_000.0),
    ];
    let params: Vec<(&str, f64)> = bundle
        .routing
        .params
        .iter()
        .map(|(n, v)| (n.as_str(), *v))
        .collect();
    assert_eq!(params, expected);

    // Without profiles, all plugins are in one; a bound in tokens becomes time.
    let bundle = read(
        "plugins:\n- type: token-load-scorer\n- type: prefix-cache-affinity-filter\n  parameters: {maxTokensInFlightPenalty: 15928, maxTTFTPenaltyMs: 0}\n\
         - type: precise-prefix-cache-producer\n  name: events\n- type: inflight-load-producer\n  parameters: {prefixMatchInfoProducerName: events}\n",
    );
    let params = &bundle.routing.params;
    assert_eq!(
        (
            params["max_ttft_penalty_ms"],
            params["affinity_threshold"],
            params["prefix_signal"]
        ),
        (1000.0, 0.8, 2.0)
    );
}

#[test]
fn scorers_read_the_producers_that_they_name() {
    let precise = |producer: &str| {
        format!(
            "plugins:\n- {{type: precise-prefix-cache-producer}}\n- {{type: prefix-cache-scorer, name: p, parameters: {{prefixMatchInfoProducerName: {producer}}}}}\n\
             schedulingProfiles:\n- name: default\n  plugins: [{{pluginRef: p, weight: 2}}]\n"
        )
    };
    let bundle = read(&precise("precise-prefix-cache-producer"));
    assert_eq!(scorers(&bundle), [("precise-prefix-share", 2.0)]);
    assert!(error(&precise("precise-prefix-cache")).ends_with(
        "prefixMatchInfoProducerName: no producer of prefix hits is called \"precise-prefix-cache\"; did you mean \"precise-prefix-cache-producer\"?"
    ));
}

#[test]
fn saturation_detectors_become_admission() {
    let with = |more: &str| read(&(profile(&[("queue-scorer", "1", "")]) + more));
    let limits = |bundle: &Bundle| {
        bundle
            .admission
            .params
            .clone()
            .into_iter()
            .collect::<Vec<_>>()
    };
    let old = with(
        "saturationDetector: {queueDepthThreshold: 8, kvCacheUtilThreshold: 0.6, metricsStalenessThreshold: 150ms}\n",
    );
    assert_eq!(
        limits(&old),
        [
            ("kv_limit".to_owned(), 0.6),
            ("queue_limit".to_owned(), 8.0)
        ]
    );
    let counted = with("saturationDetector: {pluginRef: concurrency-detector}\n");
    assert_eq!(limits(&counted), [("max_in_flight".to_owned(), 100.0)]);
    let queued = with("featureGates: [flowControl]\nflowControl: {maxBytes: 4Gi}\n");
    assert_eq!(queued.admission.policy, None);
    assert!(
        queued
            .notes
            .iter()
            .any(|n| n.contains("flow control is left out"))
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let one = |kind: &str, parameters: &str| profile(&[(kind, "", parameters)]);
    for (text, message) in [
        (one("queue-scoer", ""), "p.yaml:4:10: unknown type of plugin \"queue-scoer\"; did you mean \"queue-scorer\"?"),
        (one("queue-scorer", "threshold: 3"), "p.yaml:4:48: queue-scorer has no parameters, found \"threshold\""),
        (one("load-aware-scorer", "treshold: 3"), "p.yaml:4:52: unknown parameter of load-aware-scorer \"treshold\"; did you mean \"threshold\"? valid: threshold"),
        (one("load-aware-scorer", "threshold: many"), "p.yaml:4:53: threshold: \"many\" is not a number of 1 or more"),
        (one("prefill-filter", ""), "p.yaml:4:10: prefill-filter has no counterpart: which instances prefill and which decode is said by the run's pools"),
        (one("latency-scorer", ""), "p.yaml:4:10: latency-scorer has no counterpart: there is no latency predictor to ask"),
        (one("prefix-cache-affinity-filter", "ttftSource: latencyPredictor"), "p.yaml:4:65: ttftSource: has no counterpart"),
        (one("inflight-load-producer", "addEstimatedOutputTokens: true") , ""),
        ("plugins: [{type: disagg-profile-handler}]\n".to_owned(), "p.yaml:3:18: disagg-profile-handler has no counterpart"),
        ("plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: default, plugins: [{pluginRef: queue}]}]\n".to_owned(), "p.yaml:4:60: unknown plugin \"queue\";"),
        ("plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: prefill, plugins: []}, {name: decode, plugins: []}]\n".to_owned(), "p.yaml:4:59: profile \"decode\" beside another has no counterpart"),
        ("plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: -1}]}]\n".to_owned(), "p.yaml:4:82: weight -1 is not a number of 0 or more"),
        ("plugins: [{type: queue-scorer}, {type: queue-scorer}]\n".to_owned(), "p.yaml:3:40: plugin \"queue-scorer\" is there twice"),
        ("plugins: [{type: random-picker}, {type: max-score-picker}]\n".to_owned(), "p.yaml:3:41: a second picker beside random-picker"),
        ("plugin: []\n".to_owned(), "p.yaml:3:1: unknown key \"plugin\"; did you mean \"plugins\"?"),
        (profile(&[("queue-scorer", "1", "")]) + "saturationDetector: {queueDepth: 3}\n", "unknown key of saturationDetector \"queueDepth\"; did you mean \"queueDepthThreshold\"?"),
    ] {
        if message.is_empty() {
            // Nothing reads it.
            read(&text);
            continue;
        }
        let found = error(&text);
        assert!(found.contains(message), "{text}\n{found}");
    }
    let other = Bundle::parse("p.yaml", &BASE.replace("v1alpha1", "v9"));
    assert!(
        other
            .expect_err("refused")
            .to_string()
            .starts_with("p.yaml:1:13: unknown apiVersion")
    );
    let map = Bundle::parse("p.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {}\n");
    assert_eq!(
        map.expect_err("refused").to_string(),
        "p.yaml:2:7: kind ConfigMap; expected a policy bundle or kind EndpointPickerConfig; give the text under its data as a file of its own"
    );
}
