//! Requests one by one, to the fraction of a microsecond, as XpuSim made them or a run of its rules
//! wrote them.

use super::limits::MAX_TOKENS;
use super::xpusim::{XpuSimTraffic, on_clock};
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text};

/// A request; what a run found out about it is not read.
#[derive(Deserialize)]
struct Listed {
    /// Seconds.
    arrival: f64,
    input: u32,
    output: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Requests { requests: Vec<Listed> },
    List(Vec<Listed>),
}

/// Latest arrival, seconds: the engine's clock goes on for 100 days.
const LATEST_S: f64 = 8e6;

/// Reads a JSON list of requests, each with `arrival` (seconds), `input` and `output` (tokens), or
/// an object that has it under `requests`. `clock_per_s` are the units of the engine's clock in a
/// second.
///
/// # Errors
/// When the file cannot be read, or a request cannot be.
pub fn read(path: &Path, clock_per_s: f64) -> Result<XpuSimTraffic, InputError> {
    let text = read_text(path)?;
    let file = serde_json::from_str(&text).map_err(|e| {
        let (line, column) = (e.line() as u64, e.column() as u64);
        InputError::at(
            path.display(),
            line,
            column,
            format!(
                "expected a list of requests with arrival (seconds), input and output (tokens): {e}"
            ),
        )
    })?;
    let (File::Requests { requests } | File::List(requests)) = file;
    let wrong = |k: usize, what: String| {
        Err(InputError::in_file(
            path.display(),
            format!("request {k}: {what}"),
        ))
    };
    let mut before = 0.0;
    for (k, request) in requests.iter().enumerate() {
        if !(before..=LATEST_S).contains(&request.arrival) {
            return wrong(
                k,
                format!(
                    "arrival is {}; expected seconds from {before}, the arrival before it, to {LATEST_S:e}",
                    request.arrival
                ),
            );
        }
        before = request.arrival;
        for (name, tokens) in [("input", request.input), ("output", request.output)] {
            if tokens == 0 || u64::from(tokens) > MAX_TOKENS / 2 {
                return wrong(
                    k,
                    format!(
                        "{name} is {tokens}; expected 1 to {} tokens",
                        MAX_TOKENS / 2
                    ),
                );
            }
        }
    }
    let requests = requests.into_iter().map(|r| {
        let arrival = on_clock(r.arrival, clock_per_s);
        (arrival, r.input, r.output)
    });
    Ok(XpuSimTraffic::of(requests.collect(), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::Source;

    fn read_text_of(text: &str) -> Result<XpuSimTraffic, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("requests.json");
        std::fs::write(&path, text).expect("written");
        read(&path, 1e12).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn arrivals_keep_their_fractions_of_a_microsecond() {
        let rows =
            r#"[{"arrival": 0.2040120574549602, "input": 805, "output": 241, "finish": null}]"#;
        for text in [rows.to_owned(), format!("{{\"requests\": {rows}}}")] {
            let mut traffic = read_text_of(&text).expect("requests");
            let first = traffic.next_request().expect("a request");
            assert_eq!(first.arrival_us, 204_012_057_455);
            assert_eq!((first.prompt.len(), first.output.len()), (805, 241));
            assert!(traffic.next_request().is_none());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let error = |text: &str| read_text_of(text).map(|_| ()).expect_err("refused");
        assert!(error("[{\"arrival\": 1}]").contains("expected a list of requests"));
        let row = |arrival: f64, input: u32| {
            format!("{{\"arrival\": {arrival}, \"input\": {input}, \"output\": 1}}")
        };
        let late = error(&format!("[{}, {}]", row(2.0, 1), row(1.0, 1)));
        assert!(late.starts_with("request 1: arrival is 1; expected seconds from 2"));
        assert!(error(&format!("[{}]", row(0.0, 0))).starts_with("request 0: input is 0"));
    }
}
