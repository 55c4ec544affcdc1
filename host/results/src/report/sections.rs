//! The reference's text sections, each under its condition, in its order. Unlabelled units are the
//! reference's, too: microseconds by class and model, milliseconds by session.

use super::Results;
use super::decisions::TraceSummary;
use crate::metrics::anomaly::Anomalies;
use crate::metrics::fitness::Fitness;
use crate::metrics::groups::{Group, Sessions, by_class, by_model, reference_fairness};
use crate::metrics::population::Population;
use crate::metrics::stats::Distribution;
use crate::metrics::summary::Summary;
use crate::metrics::transfers::Transfers;
use std::fmt::Write;

/// A text that lines are added to.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        self.add(format_args!("=== {title} ==="));
    }

    fn add(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
    }
}

/// All sections that have something to say.
pub(super) fn all(results: &Results<'_>) -> String {
    let mut lines = Lines::default();
    if let Some(weights) = &results.inputs.fitness {
        let cluster = &results.summary.cluster;
        fitness(&mut lines, &weights.evaluate_as_the_reference(cluster));
    }
    if results.anomalies.any() {
        anomalies(&mut lines, &results.anomalies);
    }
    let cluster = &results.summary.cluster;
    kv(&mut lines, cluster);
    let seen = |g: &&Group| g.ttft_us.count > 0 || g.e2e_us.count > 0;
    let classes = by_class(results.record, Population::Reference);
    let classes: Vec<&Group> = classes.iter().filter(seen).collect();
    if classes.len() >= 2 || (!classes.is_empty() && !results.inputs.slo_targets.is_empty()) {
        per_class(&mut lines, &classes);
    }
    let models = by_model(results.record, Population::Reference);
    let models: Vec<&Group> = models.iter().filter(seen).collect();
    if !models.is_empty() {
        per_model(&mut lines, &models, cluster.duration_s());
    }
    per_tenant(&mut lines, &results.tenants);
    if let Some(s) = Sessions::of(results.record, Population::Reference) {
        sessions(&mut lines, &s);
    }
    if let Some(t) = &results.transfers {
        transfers(&mut lines, t);
    }
    if let Some(t) = &results.trace {
        trace(&mut lines, t);
    }
    lines.0
}

fn fitness(lines: &mut Lines, f: &Fitness) {
    lines.title("Fitness Evaluation");
    lines.add(format_args!("Score: {:.6}", f.score));
    for (key, value, _) in &f.components {
        lines.add(format_args!("  {key}: {value:.6}"));
    }
}

fn anomalies(lines: &mut Lines, a: &Anomalies) {
    lines.title("Anomaly Counters");
    lines.add(format_args!(
        "Priority Inversions: {}",
        a.priority_inversions
    ));
    lines.add(format_args!("HOL Blocking Events: {}", a.hol_blocked.len()));
    lines.add(format_args!(
        "Rejected Requests (Admission): {}",
        a.rejected_by_admission
    ));
    for (class, n) in &a.reference_shed_by_class() {
        lines.add(format_args!("  Shed ({class}): {n}"));
    }
    lines.add(format_args!(
        "Rejected Requests (Routing): {}",
        a.rejected_by_routing
    ));
    lines.add(format_args!("Dropped Unservable: {}", a.dropped));
    lines.add(format_args!("Timed Out Requests: {}", a.timed_out));
    lines.add(format_args!("Length-Capped Requests: {}", a.length_capped));
    let gateway = a.gateway.clone().unwrap_or_default();
    for (name, n) in [
        ("Gateway Queue Depth (horizon)", gateway.held),
        ("Gateway Queue Shed", gateway.all.shed),
        ("Gateway Queue Rejected", gateway.all.rejected),
        ("Gateway Evicted (in-flight)", gateway.all.evicted),
        ("Gateway Expired (TTL)", gateway.all.expired),
    ] {
        if n > 0 {
            lines.add(format_args!("{name}: {n}"));
        }
    }
}

fn kv(lines: &mut Lines, cluster: &Summary) {
    let preemptions = cluster.preemption_rate().unwrap_or(0.0);
    let (hits, thrashing) = (cluster.reference.hit_rate, cluster.reference.thrashing);
    if preemptions != 0.0 || hits != 0.0 || thrashing != 0.0 {
        lines.title("KV Cache Metrics");
        lines.add(format_args!("Preemption Rate: {preemptions:.4}"));
        lines.add(format_args!("Cache Hit Rate: {hits:.4}"));
        lines.add(format_args!("KV Thrashing Rate: {thrashing:.4}"));
    }
}

fn per_class(lines: &mut Lines, classes: &[&Group]) {
    lines.title("Per-SLO Metrics");
    for c in classes {
        lines.add(format_args!("  {}:", c.name));
        for (name, d) in [
            ("TTFT: ", &c.ttft_us),
            ("ITL:  ", &c.itl_us),
            ("E2E:  ", &c.e2e_us),
        ] {
            lines.add(format_args!(
                "    {name}mean={:.2} p99={:.2} (n={})",
                d.mean, d.p99, d.count
            ));
        }
    }
}

fn per_model(lines: &mut Lines, models: &[&Group], duration_s: f64) {
    lines.title("Per-Model Metrics");
    let per_second = |n: u64| {
        if duration_s > 0.0 {
            n as f64 / duration_s
        } else {
            0.0
        }
    };
    for m in models {
        lines.add(format_args!("  {}:", m.name));
        for (name, d) in [("TTFT: ", &m.ttft_us), ("E2E:  ", &m.e2e_us)] {
            lines.add(format_args!(
                "    {name}p50={:.2} p99={:.2} (n={})",
                d.p50, d.p99, d.count
            ));
        }
        lines.add(format_args!(
            "    Throughput: {:.2} req/s, {:.2} tok/s",
            per_second(m.completed),
            per_second(m.output_tokens)
        ));
    }
}

fn per_tenant(lines: &mut Lines, tenants: &[Group]) {
    if tenants.iter().all(|t| t.completed == 0) {
        return;
    }
    lines.title("Per-Tenant Metrics");
    for t in tenants.iter().filter(|t| t.completed > 0) {
        lines.add(format_args!(
            "  {}: requests={}, tokens={}",
            t.name, t.completed, t.output_tokens
        ));
    }
    lines.add(format_args!(
        "  Jain Fairness Index: {:.4}",
        reference_fairness(tenants)
    ));
}

fn sessions(lines: &mut Lines, s: &Sessions) {
    lines.title("Session Metrics");
    lines.add(format_args!("  Sessions: {}", s.count));
    let mut row = |name: &str, d: &Distribution| {
        lines.add(format_args!(
            "  {name}mean={:.2} p50={:.2} p95={:.2} p99={:.2} ms (n={})",
            d.mean, d.p50, d.p95, d.p99, d.count
        ));
    };
    row("TTFT cold (round 0): ", &s.ttft_cold_ms);
    row("TTFT warm (round\u{2265}1): ", &s.ttft_warm_ms);
    row("Session duration:    ", &s.duration_ms);
}

fn transfers(lines: &mut Lines, t: &Transfers) {
    if t.requests == 0 {
        return;
    }
    lines.title("PD Metrics");
    lines.add(format_args!("Disaggregated Requests: {}", t.requests));
    // The reference counts only requests that have no instance to decode them: none ever.
    lines.add(format_args!("Dropped at Decode KV: 0"));
    let (prefills, decodes) = (t.prefills_per_sec, t.decodes_per_sec);
    lines.add(format_args!("Prefill Throughput: {prefills:.4} sub-req/s"));
    lines.add(format_args!("Decode Throughput: {decodes:.4} sub-req/s"));
    let imbalance = t.imbalance();
    if imbalance.is_finite() {
        lines.add(format_args!("Load Imbalance Ratio: {imbalance:.4}"));
    } else {
        lines.add(format_args!("Load Imbalance Ratio: inf (one pool idle)"));
    }
    for (name, d) in [
        ("Parent TTFT", &t.ttft_us),
        ("KV Transfer Duration", &t.transfer_us),
    ] {
        if d.count > 0 {
            lines.add(format_args!(
                "{name} (us): mean={:.1} p50={:.1} p95={:.1} p99={:.1}",
                d.mean, d.p50, d.p95, d.p99
            ));
        }
    }
    if t.contention {
        lines.add(format_args!("Peak Concurrent Transfers: {}", t.peak));
        lines.add(format_args!(
            "Mean Transfer Queue Depth: {:.4}",
            t.mean_depth.unwrap_or(0.0)
        ));
    }
}

fn trace(lines: &mut Lines, t: &TraceSummary) {
    lines.title("Trace Summary");
    lines.add(format_args!("Total Decisions: {}", t.total));
    lines.add(format_args!("  Admitted: {}", t.admitted));
    lines.add(format_args!("  Rejected: {}", t.rejected));
    lines.add(format_args!("Unique Targets: {}", t.targets.len()));
    if !t.targets.is_empty() {
        lines.add(format_args!("Target Distribution:"));
        for (name, n) in &t.targets {
            lines.add(format_args!("  {name}: {n}"));
        }
    }
    let [mean, most] = t.reference_regret;
    lines.add(format_args!("Mean Regret: {mean:.6}"));
    lines.add(format_args!("Max Regret: {most:.6}"));
}
