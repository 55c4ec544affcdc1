//! Problems in the runs of a candidate, with the figures that show them.

use super::findings::{Found, ScenarioFindings, best};
use super::format::time;
use super::scaling_texts;
use super::split_texts;
use super::text::item;
use crate::inspect::Inspection;
use crate::report::FeedbackItem;
use crate::run::Metrics;

/// Points at stake in a scenario with a score of 0 or more.
const LITTLE: f64 = 0.5;

/// The `most` problems with the largest weights, one of each kind, the largest first.
pub(super) fn problems(scenarios: &[ScenarioFindings<'_>], most: usize) -> Vec<FeedbackItem> {
    let mut all: Vec<(&str, Found)> = Vec::new();
    for findings in scenarios {
        let finders = [
            imbalance,
            lost_prefix_hits,
            avoidable_queueing,
            classes,
            unserved,
            preemptions,
            put_off,
            split_texts::disaggregated,
            split_texts::transfers,
            scaling_texts::too_few,
            scaling_texts::too_many,
            scaling_texts::restless,
            scaling_texts::lost,
        ];
        for find in finders {
            if let Some(mut found) = find(findings) {
                found.weight = found.weight.min(1.0) * (-findings.report.score).max(LITTLE);
                all.push((&findings.report.id, found));
            }
        }
    }
    all.sort_by(|(_, a), (_, b)| b.weight.total_cmp(&a.weight));
    // A problem that recurs in other scenarios is described once; the others are only named.
    let mut items: Vec<(&str, &str, String, Vec<&str>)> = Vec::new();
    for (id, found) in &all {
        match items.iter_mut().find(|(_, kind, ..)| *kind == found.kind) {
            Some((.., also)) => also.push(id),
            None => items.push((id, found.kind, found.text.clone(), Vec::new())),
        }
    }
    let numbered = items.into_iter().take(most).enumerate();
    numbered
        .map(|(k, (id, kind, text, also))| {
            let also = match also.len() {
                0 => String::new(),
                n if n > 4 => format!(" Also in {} and {} more.", also[..3].join(", "), n - 3),
                _ => format!(" Also in {}.", also.join(", ")),
            };
            let text = format!("PROBLEM {} [{id}] {text}{also}", k + 1);
            item(Some(id), kind, text)
        })
        .collect()
}

fn metrics<'a>(findings: &'a ScenarioFindings<'_>) -> Option<(&'a Metrics, &'a Metrics)> {
    findings
        .report
        .metrics
        .as_ref()
        .zip(findings.report.reference_metrics.as_ref())
}

fn imbalance(findings: &ScenarioFindings<'_>) -> Option<Found> {
    if !findings.routes {
        return None;
    }
    let (i, share) = findings.ours.busiest()?;
    let n = findings.ours.instances.len();
    let fair = 1.0 / n as f64;
    let their_share = findings.theirs.busiest().map_or(fair, |(_, share)| share);
    let here = findings.ours.instances[i].wait_p99_ms;
    let elsewhere = findings.ours.instances.iter().enumerate();
    let elsewhere = elsewhere.filter(|(k, p)| *k != i && p.requests > 0);
    let elsewhere = elsewhere.map(|(_, p)| p.wait_p99_ms).fold(0.0, f64::max);
    let uneven = n > 1 && share > 1.3 * fair && share > 1.15 * their_share;
    let hotspot = findings
        .ours
        .hotspot
        .filter(|c| c.wait_ms > 2.0 * c.elsewhere_ms + 100.0);
    let hotspot = hotspot.filter(|c| {
        let theirs = findings.theirs.hotspot.map_or(0.0, |c| c.wait_ms);
        n > 1 && c.share > 1.15 * fair && c.wait_ms > 1.5 * theirs
    });
    if !uneven && hotspot.is_none() {
        return None;
    }
    let mut text = "load imbalance: ".to_owned();
    if uneven {
        text += &format!(
            "instance_{i} (insts[{}]) got {:.0} % of the requests (fair {:.0} %, at most {:.0} % under {}); waits there p99 {}, elsewhere {}.",
            i + 1,
            100.0 * share,
            100.0 * fair,
            100.0 * their_share,
            best(findings),
            time(here),
            time(elsewhere)
        );
    }
    if let Some(c) = hotspot {
        text += &format!(
            "{}t={:.0}..{:.0} s: instance_{} (insts[{}]) got {:.0} % of what came and made it wait {} in the mean, {} elsewhere.",
            if uneven { " " } else { "" },
            c.from_s,
            c.to_s,
            c.instance,
            c.instance + 1,
            100.0 * c.share,
            time(c.wait_ms),
            time(c.elsewhere_ms)
        );
    }
    let uneven = if uneven {
        (share - fair) / (1.0 - fair)
    } else {
        0.0
    };
    let heat = hotspot.map_or(0.0, |c| c.share * (c.wait_ms / (c.wait_ms + 500.0)));
    Some(Found {
        weight: uneven.max(heat) + 0.1,
        kind: "imbalance",
        text,
    })
}

fn lost_prefix_hits(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = metrics(findings)?;
    let (ours, theirs) = (ours.hit_rate?, theirs.hit_rate?);
    let rates = format!(
        "prefix-cache hit rate {:.0} %, {:.0} % under {}",
        100.0 * ours,
        100.0 * theirs,
        best(findings)
    );
    let worse = theirs - ours;
    let lost = findings
        .inspection
        .as_ref()
        .map(|w: &Inspection| (w.lost_prefix_hits, w.with_prefix, w.decisions));
    let lost = lost.filter(|(t, _, decisions)| 50 * t.requests > *decisions);
    let (text, share) = match lost {
        Some((t, with, _)) => (
            format!(
                "prefix hits thrown away: {} of the {with} requests with half of their prompt cached somewhere were sent away from an \
                 instance that held {:.0} % of it and had at most 2 waiting; {:.1} s of prefill were done again. {rates}.",
                t.requests,
                100.0 * t.held,
                t.prefill_s
            ),
            t.requests as f64 / with.max(1) as f64,
        ),
        None if worse > 0.05 => (format!("prefix hits thrown away: {rates}."), 0.0),
        None => return None,
    };
    Some(Found {
        weight: (2.0 * worse).max(0.5 * share) + 0.05,
        kind: "prefix",
        text,
    })
}

fn avoidable_queueing(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let inspection = findings.inspection.as_ref()?;
    let (c, all) = (inspection.avoidable_queueing, inspection.decisions);
    if 50 * c.requests < all || c.requests == 0 {
        return None;
    }
    let text = format!(
        "long queues joined: {} requests ({:.0} %) were sent behind {:.1} waiting ones in the mean while another instance had none; \
         for {} of them more of the prompt was cached there.",
        c.requests,
        100.0 * c.requests as f64 / all.max(1) as f64,
        c.queue,
        c.for_prefix
    );
    Some(Found {
        weight: 2.0 * c.requests as f64 / all.max(1) as f64,
        kind: "queue",
        text,
    })
}

fn classes(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let share = |(good, offered): &(u64, u64)| *good as f64 / (*offered).max(1) as f64;
    let mut lost: Vec<(f64, String)> = Vec::new();
    for (class, counts) in &findings.ours.classes {
        let (ours, theirs) = (
            share(counts),
            findings.theirs.classes.get(class).map_or(0.0, share),
        );
        if theirs - ours > 0.02 {
            lost.push((
                theirs - ours,
                format!(
                    "{class} {:.0} %, {:.0} % under {} ({} requests)",
                    100.0 * ours,
                    100.0 * theirs,
                    best(findings),
                    counts.1
                ),
            ));
        }
    }
    lost.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    lost.truncate(3);
    let most = lost.first()?.0;
    let said: Vec<String> = lost.into_iter().map(|(_, said)| said).collect();
    Some(Found {
        weight: 2.0 * most,
        kind: "class",
        text: format!("classes served within their targets: {}.", said.join("; ")),
    })
}

fn unserved(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = metrics(findings)?;
    let lost = |m: &Metrics| m.offered.saturating_sub(m.completed);
    let more = lost(ours) as f64 - lost(theirs) as f64;
    let share = more / ours.offered.max(1) as f64;
    (share > 0.005).then(|| Found {
        weight: 5.0 * share,
        kind: "unserved",
        text: format!(
            "{} of {} requests were not served: {} rejected, {} timed out, {} unfinished at the end{} ({} under {}). Each counts with the \
             length of the whole run.",
            lost(ours),
            ours.offered,
            ours.rejected,
            ours.timed_out,
            ours.unfinished,
            match ours.failed {
                0 => String::new(),
                n => format!(", {n} lost on instances that failed"),
            },
            lost(theirs),
            best(findings)
        ),
    })
}

/// Looks at requests once more that are far more than there are requests.
fn put_off(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = metrics(findings)?;
    let many = ours.put_off > 2 * theirs.put_off + 2 * ours.offered;
    let each = ours.put_off as f64 / ours.offered.max(1) as f64;
    many.then(|| Found {
        weight: 0.2,
        kind: "put_off",
        text: format!(
            "requests were put off {} times ({each:.1} each): a router has to look at them as often; \
             hold or delay for longer.",
            ours.put_off
        ),
    })
}

fn preemptions(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = metrics(findings)?;
    let many = ours.preemptions > 2 * theirs.preemptions + ours.offered / 200;
    let most = findings.ours.instances.iter().enumerate();
    let (i, most) = most.max_by_key(|(i, p)| (p.preemptions, std::cmp::Reverse(*i)))?;
    many.then(|| Found {
        weight: 0.3,
        kind: "preemptions",
        text: format!(
            "{} preemptions, {} under {}; of the first run's, {} on instance_{i}: KV blocks ran out there.",
            ours.preemptions,
            theirs.preemptions,
            best(findings),
            most.preemptions
        ),
    })
}
