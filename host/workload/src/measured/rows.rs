//! Rows of requests, as a run writes them in CSV or JSON; and the traces that BLIS writes of live
//! servers, whose columns have other names and units.

use serde_json::Value;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;

/// What is read here.
pub(super) const UNDERSTOOD: &str = "expected rows of requests as a run writes them (JSON or CSV), or results of \
    vllm bench serve with the details of each request, GuideLLM, AIPerf (profile_export.jsonl) or \
    inference-perf (per_request_lifecycle_metrics.json)";

/// A column that holds a time: its names, and how many microseconds its unit has.
type Times = &'static [(&'static str, f64)];

const ARRIVAL: Times = &[("arrival_us", 1.0), ("send_rel_us", 1.0)];
const QUEUE: Times = &[("scheduling_delay_us", 1.0)];
const TTFT: Times = &[("ttft_us", 1.0), ("ttft_ms", 1e3)];
const ITL: Times = &[("mean_itl_us", 1.0)];
const E2E: Times = &[("e2e_us", 1.0), ("e2e_ms", 1e3)];
const PROMPT: &[&str] = &["server_input_tokens", "prompt_tokens", "input_tokens"];
const OUTPUT: &[&str] = &["output_tokens"];

/// What a row has.
trait Row {
    /// A number by the name of its column; `None` = there is none.
    fn number(&self, name: &str) -> Result<Option<f64>, String>;
    /// A word.
    fn word(&self, name: &str) -> Option<String>;
}

fn of_row(row: &impl Row) -> Result<MeasuredRequest, String> {
    let us = |columns: Times| {
        for (name, unit) in columns {
            if let Some(found) = row.number(name)? {
                return Ok(Some(found * unit));
            }
        }
        Ok::<_, String>(None)
    };
    let tokens = |columns: &[&str]| {
        for name in columns {
            match row.number(name)? {
                None => {}
                Some(n) if n.fract() == 0.0 && (0.0..1e9).contains(&n) => {
                    return Ok(Some(n as u32));
                }
                Some(n) => {
                    return Err(format!("{name}: expected a number of tokens, found {n}"));
                }
            }
        }
        Ok(None)
    };
    let status = row.word("status");
    let (ttft_us, e2e_us) = (us(TTFT)?, us(E2E)?);
    Ok(MeasuredRequest {
        id: row.word("request_id"),
        arrival_us: us(ARRIVAL)?,
        queue_us: us(QUEUE)?,
        ttft_us,
        itl_us: us(ITL)?,
        e2e_us,
        prompt_tokens: tokens(PROMPT)?,
        output_tokens: tokens(OUTPUT)?,
        gaps_us: Vec::new(),
        failed: status.is_some_and(|s| s != "ok") || (ttft_us.is_none() && e2e_us.is_none()),
    })
}

/// Is there a column of what was measured?
fn is_measured(has: impl Fn(&str) -> bool) -> bool {
    [TTFT, E2E]
        .iter()
        .any(|columns| columns.iter().any(|(name, _)| has(name)))
}

struct OfJson<'a>(&'a Value);

impl Row for OfJson<'_> {
    fn number(&self, name: &str) -> Result<Option<f64>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{name}: expected {}, found {value}", unit(name))),
            },
        }
    }

    fn word(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(word) => Some(word.clone()),
            // A name may be a number: BLIS's results have such.
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

struct OfCsv<'a> {
    names: &'a csv::StringRecord,
    cells: &'a csv::StringRecord,
}

impl OfCsv<'_> {
    fn cell(&self, name: &str) -> Option<&str> {
        let place = self.names.iter().position(|n| n.trim() == name)?;
        let cell = self.cells.get(place).map(str::trim);
        cell.filter(|c| !c.is_empty())
    }
}

impl Row for OfCsv<'_> {
    fn number(&self, name: &str) -> Result<Option<f64>, String> {
        let Some(text) = self.cell(name) else {
            return Ok(None);
        };
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{name}: expected {}, found {text:?}", unit(name))),
        }
    }

    fn word(&self, name: &str) -> Option<String> {
        self.cell(name).map(str::to_owned)
    }
}

/// What the column of this name holds.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("us") => "microseconds",
        Some("ms") => "milliseconds",
        _ => "a number of tokens",
    }
}

/// A list of objects.
pub(super) fn of_json(file: &str, text: &str) -> Result<Vec<MeasuredRequest>, InputError> {
    let rows: Vec<Value> = serde_json::from_str(text)
        .map_err(|e| InputError::at(file, e.line() as u64, e.column() as u64, e.to_string()))?;
    let wrong =
        |k: usize, what: String| InputError::in_file(file, format!("row {}: {what}", k + 1));
    let rows = rows.iter().enumerate().map(|(k, row)| {
        if !is_measured(|name| row.get(name).is_some()) {
            return Err(wrong(k, UNDERSTOOD.to_owned()));
        }
        of_row(&OfJson(row)).map_err(|what| wrong(k, what))
    });
    rows.collect()
}

/// A table.
pub(super) fn of_csv(file: &str, text: &str) -> Result<Vec<MeasuredRequest>, InputError> {
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let failed = |e: &csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        InputError::at(file, line, 1, e.to_string())
    };
    let names = table.headers().map_err(|e| failed(&e))?.clone();
    if !is_measured(|name| names.iter().any(|n| n.trim() == name)) {
        return Err(InputError::at(file, 1, 1, UNDERSTOOD));
    }
    let mut all = Vec::new();
    for row in table.records() {
        let cells = row.map_err(|e| failed(&e))?;
        let line = cells.position().map_or(1, csv::Position::line);
        let row = OfCsv {
            names: &names,
            cells: &cells,
        };
        all.push(of_row(&row).map_err(|what| InputError::at(file, line, 1, what))?);
    }
    Ok(all)
}
