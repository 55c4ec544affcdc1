//! What feedback says of runs in which some instances prefill for others.

use super::facts::Facts;
use super::findings::{Found, ScenarioFindings, best};
use super::format::time;
use super::splits::{PrefilledElsewhere, SplitFacts};

/// Waits for blocks up to this are nothing to speak of, milliseconds.
const SHORT_MS: f64 = 20.0;

/// How a prompt was computed elsewhere, as a person reads it.
#[must_use]
pub fn of_request(prefilled: &PrefilledElsewhere) -> String {
    let or = |ms: Option<f64>| ms.map_or("not yet".to_owned(), time);
    let instance = prefilled
        .instance
        .map_or("nobody".to_owned(), |i| format!("instance_{i}"));
    format!(
        "prefilled by {instance} after {}, KV waited {}, moved {}",
        or(prefilled.prefill_ms),
        or(prefilled.wait_for_blocks_ms),
        or(prefilled.transfer_ms)
    )
}

/// The facts of a run, as a person reads them.
#[must_use]
pub fn of_run(facts: &SplitFacts) -> String {
    format!(
        "{:.0} % of the prompts were computed by instances that prefill (mean TTFT {}; of the others {}); these computed for {} of the time, \
             those that decode for {}. KV caches waited {} for blocks (p99 {}) and moved {} in the mean, {} at most at once",
        100.0 * facts.share,
        or_dash(facts.remote_ttft_ms),
        or_dash(facts.local_ttft_ms),
        share(facts.prefill_busy),
        share(facts.decode_busy),
        or_dash(facts.wait_for_blocks_ms),
        or_dash(facts.wait_for_blocks_p99_ms),
        or_dash(facts.transfer_ms),
        facts.peak_transfers
    )
}

fn facts<'a>(findings: &'a ScenarioFindings<'_>) -> Option<(&'a SplitFacts, &'a SplitFacts)> {
    let of = |facts: &'a Facts| facts.splits.as_ref();
    of(findings.ours).zip(of(&findings.theirs))
}

fn or_dash(ms: Option<f64>) -> String {
    ms.map_or("-".to_owned(), time)
}

fn share(x: Option<f64>) -> String {
    x.map_or("-".to_owned(), |x| format!("{:.0} %", 100.0 * x))
}

/// Another share of prompts is computed by the instances that prefill than under the best
/// reference.
pub(super) fn disaggregated(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let differs = (ours.share - theirs.share).abs();
    if differs < 0.05 {
        return None;
    }
    let text = format!(
        "disaggregation: {:.0} % of the prompts were computed by instances that prefill, {:.0} % under {}. Those computed for {} of the time ({} \
         there), those that decode for {} ({}). Mean TTFT of prompts computed elsewhere {} ({}), where they are decoded {} ({}).",
        100.0 * ours.share,
        100.0 * theirs.share,
        best(findings),
        share(ours.prefill_busy),
        share(theirs.prefill_busy),
        share(ours.decode_busy),
        share(theirs.decode_busy),
        or_dash(ours.remote_ttft_ms),
        or_dash(theirs.remote_ttft_ms),
        or_dash(ours.local_ttft_ms),
        or_dash(theirs.local_ttft_ms)
    );
    Some(Found {
        weight: differs,
        kind: "disaggregation",
        text,
    })
}

/// KV caches wait until there are blocks for them, or move for long.
pub(super) fn transfers(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let (wait, moving) = (ours.wait_for_blocks_ms?, ours.transfer_ms?);
    let than = |theirs: Option<f64>| theirs.unwrap_or(0.0);
    let waits = wait > SHORT_MS && wait > 1.3 * than(theirs.wait_for_blocks_ms);
    let moves = moving > SHORT_MS && moving > 1.3 * than(theirs.transfer_ms);
    if !waits && !moves {
        return None;
    }
    let mut text = "transfers: ".to_owned();
    if waits {
        let full = match ours.decode_kv_peak {
            Some(peak) if peak > 0.98 => "; an instance that decodes was full",
            _ => "",
        };
        text += &format!(
            "KV caches waited {} in the mean (p99 {}, {} under {}) until the instance that decodes could take them{full}.",
            time(wait),
            or_dash(ours.wait_for_blocks_p99_ms),
            time(than(theirs.wait_for_blocks_ms)),
            best(findings)
        );
    }
    if moves {
        text += &format!(
            "{}They moved for {} in the mean, {} under {}; up to {} at once shared links.",
            if waits { " " } else { "" },
            time(moving),
            time(than(theirs.transfer_ms)),
            best(findings),
            ours.peak_transfers
        );
    }
    let lost = wait + moving;
    Some(Found {
        weight: lost / (lost + 500.0) + 0.1,
        kind: "transfers",
        text,
    })
}
