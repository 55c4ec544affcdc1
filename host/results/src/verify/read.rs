//! What is compared, from a file: the times of requests, as our own rows or results of `vllm bench
//! serve` have them, or a log of steps.

use super::Times;
use serde_json::Value;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text_up_to};
use windtunnel_config::{LoggedStep, is_step_log, parse_step_log};

/// Largest file, bytes.
const LARGEST: u64 = 1 << 30;

const UNDERSTOOD: &str = "expected rows of requests as a run writes them (JSON or CSV), or results of \
    vllm bench serve with the details of each request, or a log of steps";

/// What a file has to compare.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// Times of requests.
    Requests(Vec<Times>),
    /// Steps.
    Steps(Vec<LoggedStep>),
}

/// Reads what a file has to compare.
///
/// # Errors
/// When it cannot be read, or has nothing of the kind.
pub fn read(path: &Path) -> Result<Recorded, InputError> {
    let text = read_text_up_to(path, LARGEST)?;
    if is_step_log(&text) {
        let steps = parse_step_log(&path.display().to_string(), &text)?;
        return Ok(Recorded::Steps(steps));
    }
    read_times(path, &text).map(Recorded::Requests)
}

/// The times of all requests of a file.
fn read_times(path: &Path, text: &str) -> Result<Vec<Times>, InputError> {
    let wrong = |what: String| InputError::in_file(path.display(), what);
    let first = text.trim_start_matches('\u{feff}').trim_start();
    let times = if first.starts_with(['[', '{']) {
        let value: Value = serde_json::from_str(first).map_err(|e| {
            InputError::at(
                path.display(),
                e.line() as u64,
                e.column() as u64,
                e.to_string(),
            )
        })?;
        match &value {
            Value::Array(rows) => rows
                .iter()
                .enumerate()
                .map(|(k, row)| of_row(row).map_err(|what| wrong(format!("row {}: {what}", k + 1))))
                .collect::<Result<_, _>>()?,
            Value::Object(_) if value.get("ttfts").is_some() => of_bench(&value).map_err(wrong)?,
            _ => return Err(wrong(UNDERSTOOD.to_owned())),
        }
    } else {
        of_csv(path, first)?
    };
    if times.is_empty() {
        return Err(wrong("there is no request in it".to_owned()));
    }
    Ok(times)
}

fn of_row(row: &Value) -> Result<Times, String> {
    if row.get("ttft_us").is_none() && row.get("e2e_us").is_none() {
        return Err(UNDERSTOOD.to_owned());
    }
    let us = |key: &str| match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| format!("{key}: expected microseconds, found {value}")),
    };
    Ok(Times {
        id: row
            .get("request_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        arrival_us: us("arrival_us")?,
        queue_us: us("scheduling_delay_us")?,
        ttft_us: us("ttft_us")?,
        itl_us: us("mean_itl_us")?,
        e2e_us: us("e2e_us")?,
    })
}

fn of_csv(path: &Path, text: &str) -> Result<Vec<Times>, InputError> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let failed = |e: &csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        InputError::at(path.display(), line, 1, e.to_string())
    };
    let names = rows.headers().map_err(|e| failed(&e))?.clone();
    let place = |name: &str| names.iter().position(|n| n.trim() == name);
    if place("ttft_us").is_none() && place("e2e_us").is_none() {
        return Err(InputError::at(path.display(), 1, 1, UNDERSTOOD));
    }
    let mut all = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|e| failed(&e))?;
        let line = row.position().map_or(1, csv::Position::line);
        let cell = |name: &str| {
            let cell = place(name).and_then(|k| row.get(k)).map(str::trim);
            cell.filter(|c| !c.is_empty())
        };
        let us = |name: &str| match cell(name) {
            None => Ok(None),
            Some(text) => text.parse::<f64>().map(Some).map_err(|_| {
                let what = format!("{name}: expected microseconds, found {text:?}");
                InputError::at(path.display(), line, 1, what)
            }),
        };
        all.push(Times {
            id: cell("request_id").map(str::to_owned),
            arrival_us: us("arrival_us")?,
            queue_us: us("scheduling_delay_us")?,
            ttft_us: us("ttft_us")?,
            itl_us: us("mean_itl_us")?,
            e2e_us: us("e2e_us")?,
        });
    }
    Ok(all)
}

/// Seconds everywhere; failed requests have an error and no times.
fn of_bench(value: &Value) -> Result<Vec<Times>, String> {
    let list = |key: &str| value.get(key).and_then(Value::as_array);
    let (Some(ttfts), Some(itls)) = (list("ttfts"), list("itls")) else {
        return Err(
            "ttfts and itls are missing: vllm bench serve writes them where it saves details"
                .to_owned(),
        );
    };
    if ttfts.len() != itls.len() {
        return Err(format!(
            "ttfts and itls have {} and {} entries; expected as many of each",
            ttfts.len(),
            itls.len()
        ));
    }
    let seconds = |value: &Value, key: &str, k: usize| {
        let us = value.as_f64().map(|s| s * 1e6);
        us.ok_or_else(|| format!("{key}[{k}]: expected seconds, found {value}"))
    };
    let starts = list("start_times");
    let errors = list("errors");
    let mut all = Vec::new();
    for k in 0..ttfts.len() {
        let arrival = starts.and_then(|starts| starts.get(k));
        let arrival_us = arrival.map(|s| seconds(s, "start_times", k)).transpose()?;
        let error = errors
            .and_then(|errors| errors.get(k))
            .and_then(Value::as_str);
        if error.is_some_and(|e| !e.is_empty()) {
            all.push(Times {
                arrival_us,
                ..Times::default()
            });
            continue;
        }
        let ttft = seconds(&ttfts[k], "ttfts", k)?;
        let gaps = itls[k].as_array();
        let gaps = gaps.ok_or_else(|| format!("itls[{k}]: expected a list of seconds"))?;
        let mut sum = 0.0;
        for gap in gaps {
            sum += seconds(gap, "itls", k)?;
        }
        all.push(Times {
            id: None,
            arrival_us,
            queue_us: None,
            ttft_us: Some(ttft),
            itl_us: (!gaps.is_empty()).then(|| sum / gaps.len() as f64),
            e2e_us: Some(ttft + sum),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times_of(path: &Path) -> Result<Vec<Times>, InputError> {
        match read(path)? {
            Recorded::Requests(times) => Ok(times),
            Recorded::Steps(steps) => panic!("{steps:?}"),
        }
    }

    fn written(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn a_benchmark_gives_end_to_end_times_by_its_gaps() {
        let text =
            r#"{"ttfts": [0.5, 0.25], "itls": [[0.125, 0.125], []], "errors": ["", "gone"]}"#;
        let (_folder, path) = written("bench.json", text);
        let times = times_of(&path).expect("times");
        assert_eq!(times[0].e2e_us, Some(750_000.0));
        assert_eq!(times[0].itl_us, Some(125_000.0));
        assert_eq!(times[1], Times::default());
    }

    #[test]
    fn rows_are_read_as_csv_and_json_alike() {
        let (_a, csv) = written("r.csv", "request_id,ttft_us,e2e_us\nrequest_0,5,\n");
        let (_b, json) = written(
            "r.json",
            r#"[{"request_id":"request_0","ttft_us":5,"e2e_us":null}]"#,
        );
        assert_eq!(
            times_of(&csv).expect("rows"),
            times_of(&json).expect("rows")
        );
        let (_c, other) = written("o.csv", "a,b\n1,2\n");
        assert!(
            read(&other)
                .expect_err("refused")
                .to_string()
                .contains("expected rows")
        );
        let (_d, bad) = written("b.csv", "ttft_us\nsoon\n");
        assert!(
            read(&bad)
                .expect_err("refused")
                .to_string()
                .contains("b.csv:2:1: ttft_us: expected")
        );
    }

    #[test]
    fn steps_are_told_from_requests() {
        let (_folder, path) = written("s.txt", "\n{\"dur_us\": 4, \"decode\": [1]}\n");
        let Recorded::Steps(steps) = read(&path).expect("steps") else {
            panic!("no steps");
        };
        assert_eq!(steps[0].ms(), 0.004);
    }
}
