//! The configuration of llm-d's endpoint picker as a policy bundle.

use crate::errors::Folder;
use serde_json::Value;

/// A profile of llm-d's endpoint picker; plugins are `type` or `type weight`, parameters by type.
fn config(plugins: &[&str], parameters: &[(&str, &str)], more: &str) -> String {
    let mut declared = String::new();
    let mut named = String::new();
    for plugin in plugins {
        let (kind, weight) = plugin.split_once(' ').unwrap_or((plugin, ""));
        declared += &format!("- type: {kind}\n");
        for (_, parameters) in parameters.iter().filter(|(of, _)| *of == kind) {
            declared += &format!("  parameters: {{{parameters}}}\n");
        }
        named += &format!("  - pluginRef: {kind}\n");
        if !weight.is_empty() {
            named += &format!("    weight: {weight}\n");
        }
    }
    format!(
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n{declared}\
         schedulingProfiles:\n- name: default\n  plugins:\n{named}{more}"
    )
}

/// Prompts of which 2,000 tokens are the same for all.
const SHARED: &str = "--num-instances 4 --num-requests 200 --prefix-tokens 2000 --prompt-tokens 100 \
     --output-tokens 50 --json";

/// The report without what says how it was asked for.
fn figures(folder: &Folder, flags: &str) -> (Value, String) {
    at_rate(folder, 20, flags)
}

fn at_rate(folder: &Folder, rate: u32, flags: &str) -> (Value, String) {
    let ran = folder.run(&format!("{SHARED} --rate {rate} {flags}"));
    assert_eq!(ran.code, 0, "{flags}\n{}", ran.stderr);
    let mut report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    if let Some(report) = report.as_object_mut() {
        report.remove("setup");
    }
    (report, ran.stderr)
}

/// Requests by instance.
fn routed(folder: &Folder, rate: u32, flags: &str) -> Vec<usize> {
    at_rate(folder, rate, &format!("{flags} --results-path @/rows.csv"));
    let rows = std::fs::read_to_string(folder.path().join("rows.csv")).expect("rows");
    let mut rows = rows.lines();
    let head: Vec<&str> = rows.next().expect("a head").split(',').collect();
    let column = head
        .iter()
        .position(|c| *c == "instance")
        .expect("a column");
    let mut counts = vec![0; 4];
    for row in rows {
        let instance: String = row.split(',').nth(column).expect("a cell").to_owned();
        let digits: String = instance.chars().filter(char::is_ascii_digit).collect();
        counts[digits.parse::<usize>().expect("a number")] += 1;
    }
    counts
}

#[test]
fn the_blend_decides_as_the_same_scorers_do() {
    let blend = config(
        &[
            "prefix-cache-scorer 3",
            "queue-scorer 2",
            "kv-cache-utilization-scorer 2",
            "max-score-picker",
        ],
        &[],
        "",
    );
    let folder = Folder::with(&[("p.yaml", &blend)]);
    let (read, said) = figures(&folder, "--policy-config @/p.yaml");
    assert!(
        said.contains(
            "read as routing weighted (prefix-affinity:3,queue-depth:2,kv-utilization:2; the highest, \
             ties at random), admission gaie-legacy at 5 waiting or 0.8 of the KV blocks"
        ),
        "{said}"
    );
    let (same, _) = figures(
        &folder,
        "--routing-policy weighted --routing-scorers prefix-affinity:3,queue-depth:2,kv-utilization:2 \
         --policy-param routing.picker=1 --admission-policy gaie-legacy",
    );
    assert_eq!(read, same);
    let (other, _) = figures(
        &folder,
        "--routing-policy weighted --routing-scorers queue-depth:1 --admission-policy gaie-legacy",
    );
    assert_ne!(read, other);
    // What the run says wins.
    let (flagged, _) = figures(
        &folder,
        "--policy-config @/p.yaml --routing-policy round-robin",
    );
    let (plain, _) = figures(&folder, "--admission-policy gaie-legacy");
    assert_eq!(flagged, plain);
}

#[test]
fn sticky_requests_stay_until_their_instance_is_saturated() {
    let sticky = |penalty: &str| {
        let filter = format!(
            "affinityThreshold: 0.5, maxTTFTPenaltyMs: {penalty}, peakPrefillThroughput: 10000"
        );
        config(
            &["prefix-cache-affinity-filter", "token-load-scorer"],
            &[("prefix-cache-affinity-filter", &filter)],
            "",
        )
    };
    let folder = Folder::with(&[
        ("always.yaml", &sticky("0")),
        ("soon.yaml", &sticky("5")),
        ("random.yaml", &config(&["random-picker"], &[], "")),
    ]);
    // All share a prefix of which the first request leaves the blocks on one instance.
    let always = routed(&folder, 20, "--policy-config @/always.yaml");
    assert_eq!(always.iter().max(), Some(&200), "{always:?}");
    // 50 uncached tokens in flight are 5 ms: two prompts at once spill over.
    let soon = routed(&folder, 200, "--policy-config @/soon.yaml");
    assert!(soon.iter().filter(|n| **n > 0).count() > 1, "{soon:?}");
    let random = routed(&folder, 20, "--policy-config @/random.yaml");
    assert!(random.iter().all(|n| *n > 20), "{random:?}");
}

#[test]
fn weights_of_the_file_are_dimensions_of_a_sweep() {
    let blend = config(&["prefix-cache-scorer 3", "token-load-scorer 1"], &[], "");
    let folder = Folder::with(&[("p.yaml", &blend)]);
    let ran = folder.command(
        "sweep --model llama-3.1-8b-instruct --num-instances 2 --num-requests 40 --policy-config @/p.yaml \
         --grid bundle:schedulingProfiles.0.plugins.0.weight=1,9 --json",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains('9'), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (plugins, parameters, message) in [
        (
            &["queue-scoer 1"][..],
            &[][..],
            "@/p.yaml:4:9: unknown type of plugin \"queue-scoer\"; did you mean \"queue-scorer\"?",
        ),
        (
            &["prefill-filter", "queue-scorer 1"],
            &[],
            "@/p.yaml:4:9: prefill-filter has no counterpart: which instances prefill and which decode is \
             said by the run's pools",
        ),
        (
            &["queue-scorer -2"],
            &[],
            "@/p.yaml:9:13: weight -2 is not a number of 0 or more",
        ),
        (
            &["prefix-cache-affinity-filter"],
            &[("prefix-cache-affinity-filter", "affinityTreshold: 0.5")],
            "@/p.yaml:5:34: unknown parameter of prefix-cache-affinity-filter \"affinityTreshold\"; did \
             you mean \"affinityThreshold\"?",
        ),
    ] {
        let folder = Folder::with(&[("p.yaml", &config(plugins, parameters, ""))]);
        let said = folder.refused("--policy-config @/p.yaml");
        assert!(said.starts_with(message), "{said}");
    }
}
