//! The requests that came, in the order in which they came: a Mooncake trace that can be replayed,
//! with what became of each.

use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use windtunnel_base::record::RequestRecord;

/// A log that is being written.
pub struct RequestLog {
    out: Box<dyn Write>,
    /// Requests from the first one on whose end is not known, and what is to be written of those
    /// that have ended.
    waiting: BTreeMap<u64, Option<String>>,
    failed: Option<std::io::Error>,
}

impl RequestLog {
    /// A log that goes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Self {
            out,
            waiting: BTreeMap::new(),
            failed: None,
        }
    }

    /// A request came.
    pub fn came(&mut self, serial: u64) {
        self.waiting.insert(serial, None);
    }

    /// It was aborted: it is left out, as nobody knows how far it would have come.
    pub fn aborted(&mut self, serial: u64) {
        self.waiting.remove(&serial);
        self.write();
    }

    /// It ended on `server`. `blocks` are what the blocks of its prompt are known by.
    pub fn ended(&mut self, serial: u64, server: usize, record: &RequestRecord, blocks: &[u64]) {
        let line = json!({
            "timestamp": record.arrival_us as f64 / 1e3,
            "input_length": record.prompt_tokens,
            "output_length": record.output_tokens,
            "hash_ids": blocks,
            "request_id": record.id.to_string(),
            "server": server,
            "outcome": format!("{:?}", record.outcome).to_lowercase(),
            "cached_tokens": record.cached_tokens,
            "ttft_us": record.ttft_us,
            "e2e_us": record.e2e_us,
            "preemptions": record.preemptions,
        });
        self.waiting.insert(serial, Some(line.to_string()));
        self.write();
    }

    fn write(&mut self) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.get().is_some()
        {
            if let Some(line) = entry.remove() {
                let written = writeln!(self.out, "{line}");
                self.failed = self.failed.take().or(written.err());
            }
        }
    }

    /// Writes what is left: requests that had ended while earlier ones had not.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn finish(mut self) -> Result<(), String> {
        self.waiting.retain(|_, line| line.is_some());
        self.write();
        let flushed = self.out.flush();
        match self.failed.take().or(flushed.err()) {
            Some(e) => Err(format!("the log of requests cannot be written: {e}")),
            None => Ok(()),
        }
    }
}
