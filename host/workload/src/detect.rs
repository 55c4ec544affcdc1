//! Telling the trace formats apart by their content.

pub use super::format::Format;
use super::import::{azure, burstgpt, five_column, guidellm, mooncake, sniff, vllm_bench, weka};
use super::spec;
use super::table::{open_file, shown};
use super::trace_v2;
use std::io::Read;
use std::path::Path;
use windtunnel_base::input::{InputError, packed_otherwise};

const UNDERSTOOD: &str = "understood are: traces of TraceV2, Azure LLM inference, BurstGPT, Mooncake, Bailian, Vidur, \
    LLMServingSim and kv-cache-tester; five-column traces (CSV with a header row; arrival in seconds, two ignored \
    columns, prompt and output token ids as JSON arrays); results of vllm bench serve, sglang, GuideLLM, AIPerf and \
    inference-perf; bodies of requests (JSON lines); ServeGen data; workload specs (YAML); \
    docs/reference/trace-formats.md says how each is known";

/// Enough of a file to see its first two rows; prompts as arrays of ids can be long.
const HEAD_BYTES: u64 = 1 << 20;

/// Names the format of a file after looking at its first rows.
///
/// # Errors
/// When it cannot be read or is none of them.
pub fn detect(path: &Path) -> Result<Format, InputError> {
    if spec::is_servegen(path) {
        return Ok(Format::ServeGen);
    }
    if path.is_dir()
        && let Some(first) = weka::files(path).first()
        && matches!(detect(first), Ok(Format::Weka))
    {
        return Ok(Format::Weka);
    }
    let mut head = Vec::new();
    open_file(path)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|e| InputError::in_file(path.display(), format!("cannot read: {e}")))?;
    detect_in(&head).map_err(|what| InputError::in_file(path.display(), what))
}

fn detect_in(head: &[u8]) -> Result<Format, String> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if head.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("the file is empty; {UNDERSTOOD}"));
    }
    let start = String::from_utf8_lossy(&head[..head.len().min(4096)]);
    let first = start.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let found = |what: &str| format!("the file {what}: {}", shown(first));
    let not = |what: &str| format!("{}; {UNDERSTOOD}", found(what));
    if let Some(kind) = packed_otherwise(head) {
        return Err(format!(
            "the file is {kind}; unpack it first (gzip and zstd are read as they are)"
        ));
    }
    if head[..head.len().min(512)].contains(&0) || head.starts_with(&[0x1f, 0x8b]) {
        return Err(format!("the file is binary, not text; {UNDERSTOOD}"));
    }
    if let Some(c) = first
        .trim_start()
        .chars()
        .next()
        .filter(|c| ['{', '['].contains(c))
    {
        let json = c == '{' || first.trim_start().starts_with("[{");
        match sniff::json(head) {
            Ok(Some(format)) => return Ok(format),
            Ok(None) => {}
            Err(what) => return Err(format!("the file {what}")),
        }
        return match json_format(head) {
            Some(format) => Ok(format),
            None if json => Err(not("begins like JSON")),
            None => Err(not("is no CSV")),
        };
    }
    if first
        .split_once(':')
        .is_some_and(|(key, _)| key == "trace_version" || key == "time_unit" || key == "mode")
    {
        return Err(not(
            "looks like the YAML header of a TraceV2 trace; its data are in a CSV file beside it",
        ));
    }
    if looks_like_yaml(head) {
        return Ok(Format::Spec);
    }
    if let Some(format) = sniff::table(first) {
        return Ok(format);
    }
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(head);
    let mut row = csv::StringRecord::new();
    if !rows.read_record(&mut row).unwrap_or(false) {
        return Err(not("is no CSV"));
    }
    let has = |name: &str| row.iter().any(|f| f.trim() == name);
    // A few of the names are enough: what is wrong with the others is for the reader to say.
    let share = |names: &[&str]| names.iter().filter(|n| has(n)).count() * 2 > names.len();
    if share(&trace_v2::COLUMNS) {
        return Ok(Format::TraceV2);
    }
    if share(&azure::COLUMNS) {
        return Ok(Format::AzureLlm);
    }
    if share(&burstgpt::COLUMNS) {
        return Ok(Format::BurstGpt);
    }
    let columns = row.len();
    if columns >= 5 && rows.read_record(&mut row).unwrap_or(false) {
        let array = |at: usize| row.get(at).is_some_and(|f| f.trim_start().starts_with('['));
        let time = row.get(0).and_then(five_column::seconds);
        if (array(3) && (array(4) || time.is_some())) || (time.is_some() && array(4)) {
            return Ok(Format::FiveColumn);
        }
    }
    Err(format!(
        "{}; `map` arrival=COLUMN,prompt=COLUMN,output=COLUMN says which is what; {UNDERSTOOD}",
        found("begins with a row of unknown columns")
    ))
}

/// A JSON format by the keys at the beginning of the file.
fn json_format(head: &[u8]) -> Option<Format> {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let has = |text: &str, key: &str| text.contains(&format!("\"{key}\""));
    let some =
        |text: &str, keys: &[&str]| keys.iter().filter(|k| has(text, k)).count() * 2 >= keys.len();
    let named = mooncake::NAMES.iter();
    let named = named.filter(|names| names.iter().any(|name| has(line, name)));
    if named.count() * 2 >= mooncake::NAMES.len() {
        Some(Format::Mooncake)
    } else if has(&text, guidellm::KEY) {
        Some(Format::GuideLlm)
    } else if some(&text, &vllm_bench::KEYS)
        || some(
            &text,
            &["endpoint_type", "request_throughput", "tokenizer_id"],
        )
    {
        Some(Format::VllmBench)
    } else {
        None
    }
}

/// Keys at the beginning of lines that a spec or the configuration of a load generator has.
fn looks_like_yaml(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let keys = text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(key, _)| key);
    let known = [
        "clients",
        "cohorts",
        "inference_perf",
        "servegen_data",
        "aggregate_rate",
        "load",
        "data",
        "rate",
    ];
    keys.filter(|k| known.contains(k)).count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_content() {
        let v2 = trace_v2::COLUMNS.join(",");
        for (text, format) in [
            (v2.as_str(), Format::TraceV2),
            (
                "\u{feff}TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
                Format::AzureLlm,
            ),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokes\r\n",
                Format::AzureLlm,
            ),
            ("a,b,c,d,e\n1.5,,,\"[1,2]\",[]\n", Format::FiveColumn),
            ("a,b,c,d,e\n-1,,,\"[1,2]\",[]\n", Format::FiveColumn),
            (
                "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
                Format::BurstGpt,
            ),
            (
                "{\"timestamp\": 0, \"input_length\": 5, \"hash_ids\": [1]}\n",
                Format::Mooncake,
            ),
            (
                "{\"date\": \"x\", \"input_lens\": [1], \"output_lens\": [2]}",
                Format::VllmBench,
            ),
            (
                "{\n  \"args\": {},\n  \"benchmarks\": []\n}",
                Format::GuideLlm,
            ),
            ("# mine\nseed: 1\nclients:\n- id: a\n", Format::Spec),
            (
                "load:\n  type: constant\ndata:\n  type: shared_prefix\n",
                Format::Spec,
            ),
        ] {
            assert_eq!(detect_in(text.as_bytes()), Ok(format), "{text}");
        }
    }

    #[test]
    fn strangers_are_told_what_is_understood() {
        for (bytes, what) in [
            (&b" \n"[..], "the file is empty"),
            (b"\x1f\x8b\x08", "binary"),
            (
                b"{\"timestamp\": 0}\n",
                "begins like JSON: \"{\\\"timestamp\\\": 0}\"",
            ),
            (b"trace_version: 3\n", "YAML header of a TraceV2 trace"),
            (b"a,b,c\n1,2,3\n", "unknown columns: \"a,b,c\""),
            (b"a,b,c,d,e\n1,2,3,4,5\n", "unknown columns"),
            (b"hello", "unknown columns: \"hello\""),
        ] {
            let error = detect_in(bytes).unwrap_err();
            assert!(
                error.contains(what) && error.contains(UNDERSTOOD),
                "{error}"
            );
        }
    }
}
