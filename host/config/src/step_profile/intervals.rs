//! Interval tables: the duration of a pass by its tokens alone, as ProfileSim keeps it.

use super::times::{Interval, PassTimes, ProfileLimits, StepProfile, StepTimes};
use crate::json;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    slope: f64,
    intercept: f64,
}

/// One part, or a complete profile; both have the same metadata.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cuda_profile: Option<Box<File>>,
    no_cuda_profile: Option<Box<File>>,
    intervals: Option<BTreeMap<String, Line>>,
    uses_cuda: Option<bool>,
    cuda: Option<Vec<Interval>>,
    no_cuda: Option<Vec<Interval>>,
    block_size: Option<u32>,
    num_gpu_blocks: Option<u64>,
    num_watermark_blocks: Option<u64>,
    model: Option<String>,
    model_name: Option<String>,
    max_num_batched_tokens: Option<u32>,
    max_model_len: Option<u64>,
    max_num_seqs: Option<u32>,
    #[serde(rename = "input_token_upper_limit")]
    _input_token_upper_limit: Option<u64>,
}

/// Reads a JSON profile: complete, or one part of it; or a file that has it under `profile`.
pub(super) fn parse_json(file: &str, text: &str) -> Result<StepProfile, InputError> {
    let outer: Value = json::parse_json(file, text)?;
    let profile: File = match outer.get("profile") {
        Some(inner) => serde_json::from_value(inner.clone())
            .map_err(|e| InputError::in_file(file, format!("profile: {e}")))?,
        None => json::parse_json(file, text)?,
    };
    read(file, profile)
}

fn read(file: &str, profile: File) -> Result<StepProfile, InputError> {
    let wrong = |what: String| InputError::in_file(file, what);
    let mut notes = Vec::new();
    let mut part = |name: &str, part: Option<Box<File>>| -> Result<Vec<Interval>, InputError> {
        let found = part.and_then(|part| part.intervals);
        let found = found.ok_or_else(|| {
            wrong(format!(
                "{name}: expected a part with intervals, found none"
            ))
        })?;
        of_keys(name, found, &mut notes).map_err(wrong)
    };
    let (cuda, no_cuda) = if profile.cuda_profile.is_some() || profile.no_cuda_profile.is_some() {
        (
            part("cuda_profile", profile.cuda_profile)?,
            part("no_cuda_profile", profile.no_cuda_profile)?,
        )
    } else if let Some(intervals) = profile.intervals {
        let one = of_keys("intervals", intervals, &mut notes).map_err(wrong)?;
        let which = match profile.uses_cuda {
            Some(false) => "no_cuda",
            _ => "cuda",
        };
        notes.push(format!(
            "{file} is the {which} part of a profile alone: its times are taken for all passes"
        ));
        (one.clone(), one)
    } else if let (Some(cuda), Some(no_cuda)) = (profile.cuda, profile.no_cuda) {
        (
            checked("cuda", cuda, &mut notes).map_err(wrong)?,
            checked("no_cuda", no_cuda, &mut notes).map_err(wrong)?,
        )
    } else {
        return Err(wrong(
            "expected a profile with cuda_profile and no_cuda_profile, or one part with intervals"
                .into(),
        ));
    };
    let limits = ProfileLimits {
        block_size: profile.block_size,
        num_gpu_blocks: profile.num_gpu_blocks,
        num_watermark_blocks: profile.num_watermark_blocks,
        max_num_batched_tokens: profile.max_num_batched_tokens,
        max_model_len: profile.max_model_len,
        max_num_seqs: profile.max_num_seqs,
    };
    let times = StepTimes::Passes(PassTimes { cuda, no_cuda });
    Ok(StepProfile {
        model: profile.model.or(profile.model_name),
        notes,
        ..StepProfile::of(file, limits, times)
    })
}

/// Intervals by keys such as `(1, 51)`, in whatever order.
fn of_keys(
    name: &str,
    lines: BTreeMap<String, Line>,
    notes: &mut Vec<String>,
) -> Result<Vec<Interval>, String> {
    let intervals = lines.into_iter().map(|(key, line)| {
        let inner = key
            .trim()
            .strip_prefix('(')
            .and_then(|k| k.strip_suffix(')'));
        let ends = inner.and_then(|k| k.split_once(','));
        let ends = ends.and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        let (start, end) = ends.ok_or_else(|| {
            format!(
                "{name}: the interval is {key:?}; expected two numbers of tokens, as \"(1, 51)\""
            )
        })?;
        Ok::<_, String>(Interval {
            start,
            end,
            slope: line.slope,
            intercept: line.intercept,
        })
    });
    checked(name, intervals.collect::<Result<_, _>>()?, notes)
}

/// Ascending, without those that contain nothing.
fn checked(
    name: &str,
    mut all: Vec<Interval>,
    notes: &mut Vec<String>,
) -> Result<Vec<Interval>, String> {
    for interval in all.iter().filter(|i| i.end < i.start) {
        notes.push(format!(
            "{name}: the interval ({}, {}) of the profile contains no number of tokens",
            interval.start, interval.end
        ));
    }
    all.retain(|i| i.start <= i.end);
    all.sort_by_key(|i| (i.start, i.end));
    if all.is_empty() {
        return Err(format!("{name}: there is no interval in it"));
    }
    let bad = |seconds: f64| !seconds.is_finite() || !(0.0..=1e6).contains(&seconds);
    let wrong = |i: &&Interval| bad(i.seconds(i.start)) || bad(i.seconds(i.end));
    if let Some(i) = all.iter().find(wrong) {
        return Err(format!(
            "{name}: a pass takes {} to {} seconds in the interval ({}, {}); expected 0 or more",
            i.seconds(i.start),
            i.seconds(i.end),
            i.start,
            i.end
        ));
    }
    Ok(all)
}

/// Reads a sparse profile: points of batch size and milliseconds, joined by lines, for all passes.
pub(super) fn parse_csv(file: &str, text: &str) -> Result<StepProfile, InputError> {
    let mut points: Vec<(u64, f64)> = Vec::new();
    for (number, line) in (1u64..).zip(text.lines()) {
        let line = line.trim();
        let header = number == 1 && line.replace(' ', "") == "batch_size,runtime_ms";
        if line.is_empty() || header {
            continue;
        }
        let point = line.split_once(',').and_then(|(tokens, ms)| {
            Some((tokens.trim().parse().ok()?, ms.trim().parse::<f64>().ok()?))
        });
        let point = point.filter(|(_, ms)| (0.0..=1e9).contains(ms));
        let point = point.ok_or_else(|| {
            let what = "expected batch_size,runtime_ms: tokens of a pass and milliseconds";
            InputError::at(file, number, 1, format!("{what}, found {line:?}"))
        })?;
        points.push(point);
    }
    points.sort_by_key(|point| point.0);
    if let Some(pair) = points.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let what = format!("batch size {} is given twice", pair[0].0);
        return Err(InputError::in_file(file, what));
    }
    let Some(&(first, ms)) = points.first() else {
        return Err(InputError::in_file(
            file,
            "there is no row in it; expected batch_size,runtime_ms",
        ));
    };
    let mut all = vec![Interval {
        start: 0,
        end: first,
        slope: 0.0,
        intercept: ms / 1e3,
    }];
    all.extend(points.windows(2).map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let slope = (y1 - y0) / 1e3 / (x1 - x0) as f64;
        Interval {
            start: x0,
            end: x1,
            slope,
            intercept: y0 / 1e3 - slope * x0 as f64,
        }
    }));
    let times = PassTimes {
        cuda: all.clone(),
        no_cuda: all,
    };
    let limits = ProfileLimits::default();
    let mut profile = StepProfile::of(file, limits, StepTimes::Passes(times));
    profile.notes.push(format!(
        "{file} is a sparse profile: its times are taken for all passes, and it says nothing of KV blocks and limits"
    ));
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse_json("p.json", text).expect_err("refused").to_string()
    }

    #[test]
    fn keys_may_stand_in_any_order_and_are_never_evaluated() {
        let part = |keys: &str| format!(r#"{{"uses_cuda": true, "intervals": {{{keys}}}}}"#);
        let lines = part(
            r#""(101, 201)": {"slope": 0.5, "intercept": 1.0}, "(0, 101)": {"slope": 0.0, "intercept": 2.0}"#,
        );
        let text = format!(
            r#"{{"cuda_profile": {lines}, "no_cuda_profile": {lines}, "block_size": 16, "model": "m"}}"#
        );
        let profile = parse_json("p.json", &text).expect("a profile");
        let StepTimes::Passes(times) = &profile.times else {
            panic!("intervals");
        };
        let ends: Vec<u64> = times.cuda.iter().map(|i| i.end).collect();
        assert_eq!(
            (ends, profile.limits.block_size),
            (vec![101, 201], Some(16))
        );
        let bad = part(r#""__import__('os')": {"slope": 0.0, "intercept": 1.0}"#);
        assert_eq!(
            refused(&bad),
            "p.json: intervals: the interval is \"__import__('os')\"; expected two numbers of tokens, as \"(1, 51)\""
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_place() {
        assert!(refused(r#"{"cuda_profile": {}}"#).contains("cuda_profile: expected a part"));
        assert!(refused(r#"{"blocksize": 3}"#).contains("did you mean \"block_size\""));
        let negative = r#"{"intervals": {"(0, 10)": {"slope": -1.0, "intercept": 1.0}}}"#;
        assert!(refused(negative).contains("a pass takes 1 to -9 seconds"));
        let empty = r#"{"intervals": {"(10, 4)": {"slope": 0.0, "intercept": 1.0}}}"#;
        assert!(refused(empty).contains("there is no interval"));
    }

    #[test]
    fn a_sparse_profile_joins_its_points() {
        let profile =
            parse_csv("s.csv", "batch_size,runtime_ms\n10,30\n1,20\n").expect("a profile");
        let StepTimes::Passes(times) = profile.times else {
            panic!("intervals");
        };
        assert_eq!(times.cuda[0].seconds(1), 0.02);
        assert!((times.no_cuda[1].seconds(10) - 0.03).abs() < 1e-12);
        let error = parse_csv("s.csv", "batch_size,runtime_ms\n1;2\n").expect_err("refused");
        assert!(
            error
                .to_string()
                .starts_with("s.csv:2:1: expected batch_size"),
            "{error}"
        );
    }
}
