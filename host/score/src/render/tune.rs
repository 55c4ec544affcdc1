//! Renders the result of a search of parameters.

use crate::feedback::signed;
use crate::tune::{Finalist, Scored, TuneProgress, TuneResult, Values};
use std::fmt::Write;
use std::path::Path;
use windtunnel_results::report::table::styled;

/// A line about the progress of the search.
#[must_use]
pub fn progress(progress: &TuneProgress) -> String {
    let best = match progress.best {
        Some(gain) => format!("{} on the present values", signed(gain)),
        None => "the present values".into(),
    };
    format!(
        "{}: {} of {} points, best so far: {best}",
        progress.what, progress.done, progress.of
    )
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

/// The result; `out` is the file that holds it, `suite` as it was named.
#[must_use]
pub fn text(tuned: &TuneResult, out: Option<&Path>, suite: &str) -> String {
    let mut text = format!(
        "{} on {}: {} points tried, the best {} and the present values flown in full, the best by train and val first\n",
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
        text += "Nothing better than the present values was found; a larger --budget or another --seed may.\n";
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
    text += &usage(tuned, out, suite);
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

/// How to go on.
fn usage(tuned: &TuneResult, out: Option<&Path>, suite: &str) -> String {
    match out {
        Some(path) if path.extension().is_some_and(|e| e == "json") => format!(
            "Values in {}. Take them to a run: {}\n",
            path.display(),
            flags(&tuned.params)
        ),
        Some(path) => format!(
            "Script in {0}. Its score: windtunnel score {0} --suite {suite}\n",
            path.display()
        ),
        None => format!(
            "Keep it with --out FILE.lua, or take it to a run: {}\n",
            flags(&tuned.params)
        ),
    }
}

fn flags(values: &Values) -> String {
    let one = |(name, value): (&String, &f64)| format!("--policy-param {name}={value}");
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}
