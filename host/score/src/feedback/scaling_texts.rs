//! What feedback says of runs in which a policy scales pools.

use super::facts::Facts;
use super::findings::{Found, ScenarioFindings, best};
use super::scaling::{ScaleFacts, Slice};

fn facts<'a>(findings: &'a ScenarioFindings<'_>) -> Option<(&'a ScaleFacts, &'a ScaleFacts)> {
    let of = |facts: &'a Facts| facts.scaling.as_ref();
    of(findings.ours).zip(of(&findings.theirs))
}

/// The mean of a figure over a stretch of slices.
fn mean(slices: &[Slice], of: fn(&Slice) -> f64) -> f64 {
    slices.iter().map(of).sum::<f64>() / slices.len().max(1) as f64
}

/// Share of the requests that missed their targets.
fn missed(slices: &[Slice]) -> f64 {
    let (missed, offered) = slices
        .iter()
        .fold((0, 0), |(m, n), s| (m + s.missed, n + s.offered));
    missed as f64 / offered.max(1) as f64
}

/// Requests missed their targets because there were too few instances.
pub(super) fn too_few(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let more = missed(&ours.slices) - missed(&theirs.slices);
    let (from, to) = ours.worst().filter(|_| more > 0.002)?;
    let (own, other) = (&ours.slices[from..to], theirs.slices.get(from..to)?);
    // What was there when it began decides; what is started then comes too late.
    let before = |facts: &ScaleFacts| match from {
        0 => String::new(),
        _ => format!(", {:.1} before", facts.slices[from - 1].ready),
    };
    let mut text = format!(
        "too few instances: {:.1} % of the requests missed their targets, {:.1} % under {}. Worst: t={:.0}..{:.0} s, {:.0} % missed with \
         {:.1} instances ready in the mean{} and {:.1} starting. There {} had {:.1} ready{} and missed {:.0} %.",
        100.0 * missed(&ours.slices),
        100.0 * missed(&theirs.slices),
        best(findings),
        from as f64 * ours.slice_s,
        to as f64 * ours.slice_s,
        100.0 * missed(own),
        mean(own, |s| s.ready),
        before(ours),
        mean(own, |s| s.loading),
        best(findings),
        mean(other, |s| s.ready),
        before(theirs),
        100.0 * missed(other)
    );
    if ours.held > theirs.held {
        text += &format!(" {} requests waited as no instance took any.", ours.held);
    }
    Some(Found {
        weight: (20.0 * more).min(1.0),
        kind: "too_few_instances",
        text,
    })
}

/// Instances were there that the best reference did without.
pub(super) fn too_many(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let more = ours.gpu_hours / theirs.gpu_hours.max(1e-9) - 1.0;
    if more < 0.03 {
        return None;
    }
    // The stretch in which the most is spent beyond the other: slices in which there are more.
    let spare = |k: usize| {
        ours.slices[k].ready + ours.slices[k].loading
            - theirs.slices[k].ready
            - theirs.slices[k].loading
    };
    let n = ours.slices.len().min(theirs.slices.len());
    let (mut most, mut from) = ((0.0, 0, 0), 0);
    for k in 0..=n {
        if k < n && spare(k) > 0.25 {
            continue;
        }
        let sum: f64 = (from..k).map(spare).sum();
        if sum > most.0 {
            most = (sum, from, k);
        }
        from = k + 1;
    }
    let (_, from, to) = most;
    let mut text = format!(
        "too many instances: {:.2} GPU-hours, {:.2} under {} ({:.2} of ours while instances started, {:.2} of theirs).",
        ours.gpu_hours,
        theirs.gpu_hours,
        best(findings),
        ours.loading_gpu_hours,
        theirs.loading_gpu_hours
    );
    if to > from {
        let there = |s: &Slice| s.ready + s.loading;
        text += &format!(
            " Most of it at t={:.0}..{:.0} s: {:.1} instances, {:.1} under {}.",
            from as f64 * ours.slice_s,
            to as f64 * ours.slice_s,
            mean(&ours.slices[from..to], there),
            mean(&theirs.slices[from..to], there),
            best(findings)
        );
    }
    Some(Found {
        weight: more.min(1.0),
        kind: "too_many_instances",
        text,
    })
}

/// Instances come and go more often than under the best reference.
pub(super) fn restless(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let wasted = ours.loading_gpu_hours - theirs.loading_gpu_hours;
    let share = wasted / ours.gpu_hours.max(1e-9);
    let many = ours.started > 2 * theirs.started + 4 && share > 0.02;
    many.then(|| Found {
        weight: (2.0 * share).min(1.0),
        kind: "restless",
        text: format!(
            "instances come and go: {} scale-ups and {} scale-downs, {} starts, which took {:.2} GPU-hours ({} starts and {:.2} under {}).",
            ours.ups,
            ours.downs,
            ours.started,
            ours.loading_gpu_hours,
            theirs.started,
            theirs.loading_gpu_hours,
            best(findings)
        ),
    })
}

/// Requests were lost with instances that failed.
pub(super) fn lost(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let offered: u64 = ours.slices.iter().map(|s| s.offered).sum();
    let more = ours.lost as f64 - theirs.lost as f64;
    let share = more / offered.max(1) as f64;
    (share > 0.001).then(|| Found {
        weight: (20.0 * share).min(1.0),
        kind: "lost",
        text: format!(
            "{} requests were lost for good on {} instances that failed ({} under {}): the fewer instances, the more each has.",
            ours.lost,
            ours.failures,
            theirs.lost,
            best(findings)
        ),
    })
}
