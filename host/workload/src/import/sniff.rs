//! Telling formats of JSON apart by the keys of their first object.

use super::{llmservingsim, sglang, vidur};
use crate::format::Format;

/// The keys with which a JSON text begins.
#[derive(Debug, Default, PartialEq)]
struct Keys {
    /// The text is a list of objects.
    list: bool,
    /// Of the first object.
    outer: Vec<String>,
    /// Of the objects in it, two levels deep.
    inner: Vec<String>,
}

impl Keys {
    fn of(head: &[u8]) -> Self {
        let mut keys = Self::default();
        let mut open: Vec<u8> = Vec::new();
        let mut string: Option<Vec<u8>> = None;
        let mut last: Option<Vec<u8>> = None;
        let mut escaped = false;
        for &byte in head {
            if let Some(text) = &mut string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => last = string.take(),
                    _ => text.push(byte),
                }
                continue;
            }
            match byte {
                b'"' => string = Some(Vec::new()),
                b':' => {
                    let first = if keys.list { 2 } else { 1 };
                    let into = match open.len() {
                        n if n == first => &mut keys.outer,
                        n if n <= first + 2 => &mut keys.inner,
                        _ => continue,
                    };
                    if let Some(key) = last.take() {
                        into.push(String::from_utf8_lossy(&key).into_owned());
                    }
                }
                b'{' | b'[' => {
                    keys.list |= open.is_empty() && byte == b'[';
                    open.push(byte);
                }
                b'}' | b']' => {
                    open.pop();
                    if open.len() <= usize::from(keys.list) {
                        break;
                    }
                }
                _ => {}
            }
        }
        keys
    }

    fn has(&self, key: &str) -> bool {
        self.outer.iter().any(|k| k == key)
    }

    fn any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|k| self.has(k))
    }

    fn within(&self, key: &str) -> bool {
        self.inner.iter().any(|k| k == key)
    }

    fn count(&self, keys: &[&str]) -> usize {
        keys.iter().filter(|k| self.has(k)).count()
    }

    fn format(&self) -> Option<Format> {
        if self.list {
            let report = self.has("start_time") && self.any(&["end_time", "info"]);
            return report.then_some(Format::InferencePerf);
        }
        let text = [
            "text", "texts", "image", "images", "audio", "audios", "video", "videos",
        ];
        if self.has("requests") && self.any(&["block_size", "hash_id_scope"]) {
            Some(Format::Weka)
        } else if self.has("chat_id") && self.any(&["parent_chat_id", "turn"]) {
            Some(Format::Bailian)
        } else if self.has("sub_requests") || self.count(&llmservingsim::COLUMNS) >= 2 {
            Some(Format::LlmServingSim)
        } else if self.has("metadata")
            && (self.within("request_start_ns") || self.within("benchmark_phase"))
        {
            Some(Format::AiPerf)
        } else if self.has("data") && (self.within("payloads") || self.within("payload")) {
            Some(Format::AiPerfInputs)
        } else if self.count(&sglang::KEYS) >= 3 {
            Some(Format::SgLang)
        } else if self.has("turns") || (self.any(&text) && !self.has("input_length")) {
            Some(Format::AiPerfLines)
        } else {
            None
        }
    }

    /// Summaries, which have no requests, and what has them instead.
    fn summary(&self) -> Option<&'static str> {
        if self.any(&["input_config"]) && self.any(&["request_throughput", "request_count"]) {
            Some("is a summary of AIPerf; profile_export.jsonl beside it has the requests")
        } else if self.count(&["load_summary", "successes", "failures"]) >= 2 {
            Some(
                "is a summary of inference-perf; per_request_lifecycle_metrics.json has the requests",
            )
        } else {
            None
        }
    }
}

/// The format of a text that begins like JSON; an error for files that are known to have no
/// requests.
pub(crate) fn json(head: &[u8]) -> Result<Option<Format>, &'static str> {
    let keys = Keys::of(head);
    match (keys.format(), keys.summary()) {
        (Some(format), _) => Ok(Some(format)),
        (None, Some(what)) => Err(what),
        (None, None) => Ok(None),
    }
}

/// The format of a table by its header row.
pub(crate) fn table(header: &str) -> Option<Format> {
    let comma = || header.split(',').map(str::trim);
    let any = || header.split([',', '\t']).map(str::trim);
    if vidur::COLUMNS
        .iter()
        .all(|name| comma().any(|c| c == *name))
    {
        return Some(Format::Vidur);
    }
    let known = |name: &&str| any().any(|c| c == *name);
    (llmservingsim::COLUMNS.iter().filter(|n| known(n)).count() >= 2)
        .then_some(Format::LlmServingSimTable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_json_are_known_by_their_keys_not_by_their_texts() {
        for (text, format) in [
            (
                r#"{"id": "a", "models": [], "block_size": 64, "requests": []}"#,
                Format::Weka,
            ),
            (
                r#"{"chat_id": 1, "parent_chat_id": -1, "timestamp": 0.5, "input_length": 1}"#,
                Format::Bailian,
            ),
            (
                r#"{"input_toks": 1, "output_toks": 2, "arrival_time_ns": 3}"#,
                Format::LlmServingSim,
            ),
            (
                r#"{"session_id": "a", "sub_requests": [{"input_toks": 1}]}"#,
                Format::LlmServingSim,
            ),
            (
                r#"{"metadata": {"request_start_ns": 1}, "metrics": null}"#,
                Format::AiPerf,
            ),
            (
                "{\n \"data\": [\n {\"session_id\": \"a\", \"payloads\": []}]}",
                Format::AiPerfInputs,
            ),
            (
                r#"{"session_id": "a", "turns": [{"text": "x"}]}"#,
                Format::AiPerfLines,
            ),
            (
                r#"{"text": "\"benchmarks\": \"input_lens\""}"#,
                Format::AiPerfLines,
            ),
            (
                "[\n {\"start_time\": 1.5, \"end_time\": 2, \"request\": \"{}\", \"info\": {}}]",
                Format::InferencePerf,
            ),
            (
                r#"{"backend": "sglang", "dataset_name": "random", "request_rate": Infinity, "random_range_ratio": 0.0, "input_throughput": 1}"#,
                Format::SgLang,
            ),
        ] {
            assert_eq!(json(text.as_bytes()), Ok(Some(format)), "{text}");
        }
        for text in [
            r#"{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}"#,
            r#"{"date": "x", "backend": "vllm", "input_lens": [1], "output_lens": [2]}"#,
            r#"{"args": {}, "benchmarks": [{"requests": {"successful": [{"text": 1}]}}]}"#,
            "[1, 2]",
            "{",
        ] {
            assert_eq!(json(text.as_bytes()), Ok(None), "{text}");
        }
        let summary = r#"{"request_throughput": {"avg": 1}, "input_config": {}}"#;
        assert!(
            json(summary.as_bytes())
                .unwrap_err()
                .contains("profile_export.jsonl")
        );
    }

    #[test]
    fn tables_are_known_by_their_header() {
        for (header, format) in [
            (
                "arrived_at,num_prefill_tokens,num_decode_tokens",
                Some(Format::Vidur),
            ),
            (
                ",num_prefill_tokens,num_decode_tokens,pd_ratio",
                Some(Format::Vidur),
            ),
            (
                "input_toks\toutput_toks\tarrival_time_ns",
                Some(Format::LlmServingSimTable),
            ),
            (
                "input_toks,output_toks,arrival_time_ns",
                Some(Format::LlmServingSimTable),
            ),
            ("TIMESTAMP,ContextTokens,GeneratedTokens", None),
        ] {
            assert_eq!(table(header), format, "{header}");
        }
    }
}
