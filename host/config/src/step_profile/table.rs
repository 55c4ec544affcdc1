//! Tables of whole steps: a YAML header between lines of `---`, then rows as CSV.

use super::times::{
    FitQuality, ProfileLimits, Provenance, StepProfile, StepRow, StepTable, StepTimes,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use windtunnel_base::input::{InputError, parse_yaml, unknown};

/// The version of the layout.
const VERSION: u32 = 1;
const COLUMNS: [&str; 6] = [
    "prefill_tokens",
    "decode_seqs",
    "kv_tokens",
    "ms",
    "spread_ms",
    "samples",
];

/// What was measured, and on what.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    windtunnel_profile: u32,
    units: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    dtype: Option<String>,
    #[serde(default)]
    tensor_parallelism: Option<u32>,
    #[serde(default)]
    engine: Option<String>,
    #[serde(default)]
    block_size: Option<u32>,
    #[serde(default)]
    num_gpu_blocks: Option<u64>,
    #[serde(default)]
    num_watermark_blocks: Option<u64>,
    #[serde(default)]
    max_num_batched_tokens: Option<u32>,
    #[serde(default)]
    max_num_seqs: Option<u32>,
    #[serde(default)]
    max_model_len: Option<u64>,
    #[serde(default)]
    overlap: Option<f64>,
    #[serde(default)]
    request_overhead_ms: Option<f64>,
    #[serde(default)]
    made_by: Option<String>,
    #[serde(default)]
    sources: BTreeMap<String, String>,
    #[serde(default)]
    fit: Option<FitQuality>,
}

/// Reads a table.
pub(super) fn parse(file: &str, text: &str) -> Result<StepProfile, InputError> {
    let wrong = |what: String| InputError::in_file(file, what);
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = (1u64..).zip(text.lines());
    let mut header = String::new();
    lines.find(|(_, line)| line.trim() == "---");
    // Blank lines in front, so that places in the header are those of the file.
    header.push('\n');
    let mut ended = false;
    for (_, line) in lines.by_ref() {
        if line.trim() == "---" {
            ended = true;
            break;
        }
        header.push_str(line);
        header.push('\n');
    }
    if !ended {
        return Err(wrong(
            "the header has no end; expected a line of ---".into(),
        ));
    }
    let header: Header = parse_yaml(file, &header)?;
    if header.windtunnel_profile != VERSION {
        return Err(wrong(format!(
            "windtunnel_profile: expected {VERSION}, found {}",
            header.windtunnel_profile
        )));
    }
    if header.units != "ms" {
        return Err(wrong(format!(
            "units: expected ms, found {:?}",
            header.units
        )));
    }
    if let Some(share) = header.overlap
        && !(0.0..=2.0).contains(&share)
    {
        return Err(wrong(format!("overlap: expected 0 to 2, found {share}")));
    }
    let overhead_ms = header.request_overhead_ms.unwrap_or(0.0);
    if !(0.0..=1e9).contains(&overhead_ms) {
        return Err(wrong(format!(
            "request_overhead_ms: expected milliseconds, 0 or more, found {overhead_ms}"
        )));
    }
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let Some((number, names)) = lines.next() else {
        return Err(wrong("there is no row after the header".into()));
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let at = |message: String, line: u64| Err(InputError::at(file, line, 1, message));
    for name in &names {
        if !COLUMNS.contains(name) {
            return at(unknown("column", name, &COLUMNS), number);
        }
    }
    let place = |column: &str| names.iter().position(|name| *name == column);
    for column in &COLUMNS[..4] {
        if place(column).is_none() {
            return at(format!("there is no column {column}"), number);
        }
    }
    let mut rows: BTreeMap<(u64, u64, u64), StepRow> = BTreeMap::new();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != names.len() {
            let what = format!("expected {} cells, found {}", names.len(), cells.len());
            return at(what, number);
        }
        let cell = |column: &str| place(column).map(|k| cells[k]).filter(|c| !c.is_empty());
        let row = read_row(cell).map_err(|what| InputError::at(file, number, 1, what))?;
        let key = (row.prefill_tokens, row.decode_seqs, row.kv_tokens);
        if rows.insert(key, row).is_some() {
            return at("this step is given twice".into(), number);
        }
    }
    let limits = ProfileLimits {
        block_size: header.block_size,
        num_gpu_blocks: header.num_gpu_blocks,
        num_watermark_blocks: header.num_watermark_blocks,
        max_num_batched_tokens: header.max_num_batched_tokens,
        max_model_len: header.max_model_len,
        max_num_seqs: header.max_num_seqs,
    };
    let table = StepTable {
        rows: rows.into_values().collect(),
        overlap: header.overlap,
    };
    for (what, prefills) in [("prefill_tokens", true), ("decode_seqs", false)] {
        let alone = |row: &StepRow| match prefills {
            true => row.prefill_tokens > 0 && row.decode_seqs == 0,
            false => row.decode_seqs > 0 && row.prefill_tokens == 0,
        };
        if !table.rows.iter().any(alone) {
            return Err(wrong(format!("there is no step that has {what} alone")));
        }
    }
    Ok(StepProfile {
        model: header.model,
        device: header.device,
        dtype: header.dtype,
        tensor: header.tensor_parallelism,
        engine: header.engine,
        request_overhead_ms: overhead_ms,
        provenance: Provenance {
            made_by: header.made_by,
            sources: header.sources,
            fit: header.fit,
        },
        ..StepProfile::of(file, limits, StepTimes::Table(table))
    })
}

fn read_row<'c>(cell: impl Fn(&str) -> Option<&'c str>) -> Result<StepRow, String> {
    let count = |column: &str| {
        let text = cell(column).unwrap_or_default();
        let n = text.parse::<u64>().ok().filter(|n| *n <= 1 << 40);
        n.ok_or_else(|| format!("{column}: expected a whole number, found {text:?}"))
    };
    let time = |column: &str| match cell(column) {
        None => Ok(None),
        Some(text) => {
            let ms = text
                .parse::<f64>()
                .ok()
                .filter(|ms| (0.0..=1e9).contains(ms));
            ms.map(Some).ok_or_else(|| {
                format!("{column}: expected milliseconds, 0 or more, found {text:?}")
            })
        }
    };
    let row = StepRow {
        prefill_tokens: count("prefill_tokens")?,
        decode_seqs: count("decode_seqs")?,
        kv_tokens: count("kv_tokens")?,
        ms: time("ms")?.ok_or("ms: expected milliseconds, found nothing")?,
        spread_ms: time("spread_ms")?,
        samples: cell("samples").map(|_| count("samples")).transpose()?,
    };
    if row.prefill_tokens + row.decode_seqs == 0 {
        return Err("a step without prefill_tokens and decode_seqs computes nothing".into());
    }
    Ok(row)
}

impl StepProfile {
    /// The profile as a table that [`load`](Self::load) reads. `None` for interval tables.
    #[must_use]
    pub fn table_text(&self) -> Option<String> {
        let StepTimes::Table(table) = &self.times else {
            return None;
        };
        let header = Header {
            windtunnel_profile: VERSION,
            units: "ms".to_owned(),
            model: self.model.clone(),
            device: self.device.clone(),
            dtype: self.dtype.clone(),
            tensor_parallelism: self.tensor,
            engine: self.engine.clone(),
            block_size: self.limits.block_size,
            num_gpu_blocks: self.limits.num_gpu_blocks,
            num_watermark_blocks: self.limits.num_watermark_blocks,
            max_num_batched_tokens: self.limits.max_num_batched_tokens,
            max_num_seqs: self.limits.max_num_seqs,
            max_model_len: self.limits.max_model_len,
            overlap: table.overlap,
            request_overhead_ms: (self.request_overhead_ms > 0.0)
                .then_some(self.request_overhead_ms),
            made_by: self.provenance.made_by.clone(),
            sources: self.provenance.sources.clone(),
            fit: self.provenance.fit,
        };
        // JSON is YAML, too.
        let header = serde_json::to_value(header).ok()?;
        let mut text = "---\n".to_owned();
        for (key, value) in header.as_object()?.iter().filter(|(_, v)| !v.is_null()) {
            let _ = writeln!(text, "{key}: {value}");
        }
        let _ = writeln!(text, "---\n{}", COLUMNS.join(","));
        for row in &table.rows {
            let _ = writeln!(
                text,
                "{},{},{},{},{},{}",
                row.prefill_tokens,
                row.decode_seqs,
                row.kv_tokens,
                row.ms,
                row.spread_ms.map_or(String::new(), |ms| ms.to_string()),
                row.samples.map_or(String::new(), |n| n.to_string()),
            );
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "---\nwindtunnel_profile: 1\nunits: ms\nmodel: m\nmax_num_seqs: 8\n---\n\
        prefill_tokens,decode_seqs,kv_tokens,ms\n64,0,0,10\n0,8,100,5.5\n";

    #[test]
    fn a_table_is_written_as_it_is_read() {
        let mut read = parse("t.csv", TABLE).expect("a table");
        assert_eq!(read.limits.max_num_seqs, Some(8));
        read.request_overhead_ms = 4.5;
        read.provenance = Provenance {
            made_by: Some("windtunnel 0: \"it\"".to_owned()),
            sources: BTreeMap::from([("a log: é".to_owned(), "blake3:ab".to_owned())]),
            fit: Some(FitQuality {
                steps: 2,
                held_back_error_p90: Some(0.25),
                ..FitQuality::default()
            }),
        };
        let text = read.table_text().expect("a table");
        assert_eq!(parse("t.csv", &text).expect("the same"), read);
    }

    #[test]
    fn a_wrong_table_is_refused_with_its_line() {
        let refused = |from: &str, to: &str| {
            let text = TABLE.replace(from, to);
            assert_ne!(text, TABLE);
            parse("t.csv", &text).expect_err("refused").to_string()
        };
        assert_eq!(
            refused("0,8,100,5.5", "0,8,many,5.5"),
            "t.csv:9:1: kv_tokens: expected a whole number, found \"many\""
        );
        assert_eq!(
            refused("0,8,100,5.5", "64,0,0,11"),
            "t.csv:9:1: this step is given twice"
        );
        assert!(refused("kv_tokens", "kv_token").contains("did you mean \"kv_tokens\""));
        assert!(refused("max_num_seqs", "max_num_seq").starts_with("t.csv:5:1: unknown key"));
        assert_eq!(
            refused("units: ms", "units: s"),
            "t.csv: units: expected ms, found \"s\""
        );
        assert_eq!(
            refused("0,8,100,5.5", "8,8,100,5.5"),
            "t.csv: there is no step that has decode_seqs alone"
        );
    }
}
