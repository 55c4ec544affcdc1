//! Names that people wrote: which known one is meant, and which may become part of a path.

use std::borrow::Cow;

/// Longest name, bytes, that is compared with others, as that takes time with the product of their
/// lengths, and shown as a whole.
const LONGEST: usize = 100;

/// A name as it is shown: a very long one is cut.
#[must_use]
pub fn shortened(name: &str) -> Cow<'_, str> {
    if name.len() <= LONGEST {
        return Cow::Borrowed(name);
    }
    let cut: String = name.chars().take(LONGEST / 2).collect();
    Cow::Owned(cut + "...")
}

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ranked(name, candidates)
        .into_iter()
        .next()
        .filter(|(score, known)| *score >= 0.7 && meant(name, known))
        .map(|(_, c)| c)
}

/// All candidates, the most like `name` first; equal ones in their given order. Case does not
/// count.
pub fn ranked<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<(f64, &'a str)> {
    let name = name.to_lowercase();
    let score = |candidate: &str| {
        if name.len().max(candidate.len()) > LONGEST {
            return 0.0;
        }
        likeness(&name, &candidate.to_lowercase())
    };
    let mut scored: Vec<(f64, &str)> = candidates.into_iter().map(|c| (score(c), c)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

/// 0 to 1. Common beginnings count; so do slips (letters swapped, left out or doubled) in names too
/// short for that.
fn likeness(a: &str, b: &str) -> f64 {
    let slips = strsim::osa_distance(a, b);
    let slip = if slips <= 1 && a.len() > 1 { 0.9 } else { 0.0 };
    strsim::jaro_winkler(a, b).max(slip)
}

/// Could one be meant by the other? Not if more than half would have to be written anew, unless one
/// begins with the other.
fn meant(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    2 * strsim::osa_distance(&short, &long) <= long.len()
        || (short.len() > 2 && long.starts_with(&short))
}

/// `did you mean "x"?` behind `before`, if any candidate is like `name`; else nothing.
#[must_use]
pub fn hint<'a>(before: &str, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or(String::new(), |near| {
        format!("{before}did you mean \"{near}\"?")
    })
}

/// `unknown KIND "name"; did you mean "x"? valid: a, b, c`.
#[must_use]
pub fn unknown(kind: &str, name: &str, valid: &[&str]) -> String {
    let hint = hint(" ", name, valid.iter().copied());
    format!(
        "unknown {kind} \"{}\";{hint} valid: {}",
        shortened(name),
        valid.join(", ")
    )
}

/// May `c` occur in a name that becomes part of paths?
#[must_use]
pub fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// Can `name` be that of a file or folder, everywhere?
///
/// # Errors
/// What is expected, when it cannot.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_of_name) {
        return Err("letters, digits, \"-\", \"_\" and \".\", with no \".\" at the beginning");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_noise_finds_none() {
        let names = ["fcfs", "priority-fcfs", "sjf", "least-loaded"];
        for (written, meant) in [
            ("sfj", Some("sjf")),
            ("FCFS", Some("fcfs")),
            ("leastloaded", Some("least-loaded")),
            ("priority", Some("priority-fcfs")),
            ("bogus", None),
            ("least-loaded-of-all", Some("least-loaded")),
            ("f", None),
            ("load", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
        // Compared in full, this would take minutes.
        let long = "a".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str(), "fcfs"]), None);
        assert!(unknown("policy", &long, &names).len() < 200);
    }
}
