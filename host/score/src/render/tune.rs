//! Renders the result of a search of parameters.

use crate::feedback::signed;
use crate::tune::{Finalist, Scored, TuneProgress, TuneResult, Values};
use std::fmt::Write;
use windtunnel_results::report::table::styled;

/// A line about the progress of the search.
#[must_use]
pub fn progress(progress: &TuneProgress) -> String {
    format!(
        "{}: {} of {} points, best so far: {}",
        progress.what,
        progress.done,
        progress.of,
        best(progress)
    )
}

/// What the best point is worth.
#[must_use]
pub fn best(progress: &TuneProgress) -> String {
    match progress.best {
        Some(gain) => format!("{} on the present values", signed(gain)),
        None => "the present values".into(),
    }
}

fn list(values: &Values) -> String {
    let one = |(name, value): (&String, &f64)| format!("{name}={value}");
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn scored(s: &Scored) -> String {
    match s.ci95 {
        Some([low, high]) => format!("{} ± {:.1}", signed(s.score), (high - low) / 2.0),
        None => signed(s.score),
    }
}

/// The result.
#[must_use]
pub fn text(tuned: &TuneResult) -> String {
    let mut text = format!(
        "{} on {}: {} points tried, the best {} and the present values run in full, the best by train and val first; higher is better\n",
        tuned.policy,
        tuned.suite,
        tuned.evaluations,
        tuned.finalists.len() - 1,
    );
    let mut table = styled(&[
        "",
        "train",
        "val",
        "Values that differ from the present ones",
    ]);
    for (k, f) in tuned.finalists.iter().enumerate() {
        let present = f.params == tuned.default.params;
        table.add_row([
            (k + 1).to_string(),
            scored(&f.train),
            f.val.as_ref().map_or("-".into(), scored),
            if present {
                "the present values".into()
            } else {
                changes(f, &tuned.default)
            },
        ]);
    }
    let _ = writeln!(text, "{table}");
    if !tuned.improved {
        return text;
    }
    if let Some(d) = &tuned.holdout {
        let interval = d.ci95.map_or(String::new(), |[low, high]| {
            format!(", 95 % interval {} to {}", signed(low), signed(high))
        });
        let verdict = match (d.significant, d.difference > 0.0) {
            (true, true) => "surely better",
            (true, false) => "surely worse",
            (false, _) => "not surely different",
        };
        let _ = writeln!(
            text,
            "holdout: {} against the present values{interval}: {verdict}",
            signed(d.difference)
        );
    }
    text
}

fn changes(finalist: &Finalist, default: &Finalist) -> String {
    let changed = finalist.params.iter();
    let changed = changed.filter(|(name, value)| default.params.get(*name) != Some(*value));
    list(
        &changed
            .map(|(name, value)| (name.clone(), *value))
            .collect(),
    )
}
