//! What happened in the prefix caches, as lines of JSON.

use super::names::instance_name;
use serde::Serialize;
use std::io::{self, Write};
use windtunnel_base::record::{KvChange, KvEvent, RunRecord};

#[derive(Serialize)]
struct Line<'a> {
    time_us: i64,
    instance: String,
    #[serde(flatten)]
    change: Change<'a>,
}

/// Named as vLLM names them.
#[derive(Serialize)]
#[serde(tag = "event")]
enum Change<'a> {
    BlockStored {
        blocks: &'a [u32],
        parent: Option<u32>,
        tokens: u32,
    },
    BlockRemoved {
        blocks: [u32; 1],
    },
}

/// Writes one JSON object per event and line, in order of time, those of one time by instance.
///
/// # Errors
/// When `out` fails.
pub fn write_jsonl(record: &RunRecord, out: &mut dyn Write) -> io::Result<()> {
    for KvEvent {
        time_us,
        instance,
        change,
    } in &record.kv_events
    {
        let change = match change {
            KvChange::Stored {
                blocks,
                parent,
                tokens,
            } => Change::BlockStored {
                blocks,
                parent: *parent,
                tokens: *tokens,
            },
            KvChange::Removed { block } => Change::BlockRemoved { blocks: [*block] },
        };
        let line = Line {
            time_us: *time_us,
            instance: instance_name(*instance),
            change,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::run;

    #[test]
    fn an_event_is_a_line() {
        let mut record = run(Vec::new(), 1);
        let stored = KvChange::Stored {
            blocks: vec![2, 3],
            parent: Some(1),
            tokens: 32,
        };
        let changes = [stored, KvChange::Removed { block: 0 }];
        record.kv_events = changes
            .map(|change| KvEvent {
                time_us: 7,
                instance: 1,
                change,
            })
            .into();
        let mut out = Vec::new();
        write_jsonl(&record, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"time_us\":7,\"instance\":\"instance_1\",\"event\":\"BlockStored\",\
             \"blocks\":[2,3],\"parent\":1,\"tokens\":32}\n\
             {\"time_us\":7,\"instance\":\"instance_1\",\"event\":\"BlockRemoved\",\"blocks\":[0]}\n"
        );
    }
}
