//! Rows in which something could grow with what waits or what is cached, and the important rows
//! once more under `vllm` rules.

use super::rows::{BASE, COMMON, Row, Shape};
use std::fmt::Write as _;
use std::path::Path;

/// CPU seconds of 100,000 requests: three times what they take where none waits.
const AT_MOST: Option<f64> = Some(0.34);

/// Sessions of 50 rounds, each of which repeats the session so far.
const SESSIONS: &str = "version: \"2\"
seed: 7
aggregate_rate: 0.05
num_requests: 5000
clients:
  - id: agent
    rate_fraction: 1
    arrival: {process: constant}
    input_distribution: {type: constant, params: {value: 200}}
    output_distribution: {type: constant, params: {value: 100}}
    reasoning: {multi_turn: {max_rounds: 50, think_time_us: 1000000, context_growth: accumulate}}
";

/// A scheduler that starts the newest request first.
const NEWEST: &str = "return { score = function(now, req) return req.arrival_us end }
";

/// Rows in which requests wait, or long prompts are cached.
pub(super) fn costly(folder: &Path) -> Vec<Row> {
    let many = Shape {
        requests: 100_000,
        ..BASE
    };
    // They come in 10 s and give up after 20 s: nearly all while they wait.
    let gives_up = |scheduler: &str| {
        let shape = Shape {
            rate: 10_000.0,
            ..many
        };
        let more = format!("--scheduler {scheduler}");
        let row = shape.row(&format!("gives-up-{scheduler}"), AT_MOST, &more);
        Row {
            arguments: row.arguments.replace("--timeout -1", "--timeout 20"),
            ..row
        }
    };
    let keyed = |name: &str, scheduler: &str| {
        let shape = Shape {
            rate: 300.0,
            ..many
        };
        let more = format!("--rules vllm --scheduler {scheduler}");
        shape.row(&format!("queue-{name}, vllm"), AT_MOST, &more)
    };
    // Few fit at a time, and the first that waits is asked about in nearly every step.
    let blocked = |name: &str, more: &str| {
        let shape = Shape {
            requests: 500,
            output: 32_768,
            rate: 10.0,
            ..BASE
        };
        let more = format!("--output-tokens-max 32768 {more}");
        shape.row(name, None, more.trim_end())
    };
    let of_blocks = |name: &str, arguments: String| Row {
        name: name.into(),
        arguments,
        target: None,
        long: false,
    };
    let mooncake = folder.join("mooncake.jsonl");
    let sessions = folder.join("sessions.yaml");
    vec![
        gives_up("fcfs"),
        gives_up("sjf"),
        keyed("fcfs", "fcfs"),
        keyed("sjf", "sjf"),
        keyed("newest", &folder.join("newest.lua").display().to_string()),
        blocked("blocked-head", ""),
        blocked("blocked-head, vllm", "--rules vllm"),
        of_blocks(
            "mooncake",
            format!(
                "replay {} {COMMON} --timeout -1 --num-instances 4",
                mooncake.display()
            ),
        ),
        of_blocks(
            "sessions-50",
            format!(
                "run --workload-spec {} {COMMON} --num-instances 4",
                sessions.display()
            ),
        ),
    ]
}

/// Those of `rows` with these names, under `vllm` rules; each may take 1.3 times what it may take
/// otherwise.
pub(super) fn under_vllm(rows: &[Row]) -> Vec<Row> {
    let names = [
        "one",
        "sixteen",
        "sixty-four",
        "long-outputs",
        "prefix-groups",
        "shared-prefix",
        "tight-kv",
    ];
    let found = rows.iter().filter(|row| names.contains(&&*row.name));
    let under = found.map(|row| Row {
        name: format!("{}, vllm", row.name),
        arguments: format!("{} --rules vllm", row.arguments),
        target: row.target.map(|seconds| seconds * 1.3),
        long: row.long,
    });
    under.collect()
}

/// Writes the workloads of the rows.
pub(super) fn write_workloads(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("newest.lua"), NEWEST)?;
    std::fs::write(folder.join("mooncake.jsonl"), mooncake())?;
    std::fs::write(folder.join("sessions.yaml"), SESSIONS)
}

/// A trace as Mooncake has them: 2,000 requests of 1 to 31 blocks of 512 tokens, two a second. All
/// begin with the same block; half go on with one of 40 documents, of which they have a part.
fn mooncake() -> String {
    let (mut data, mut next) = (String::new(), 10_000u64);
    for k in 0..2000u64 {
        let noise = k.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let (blocks, document) = (1 + noise % 31, noise / 31 % 80);
        let ids = (0..blocks).map(|block| match (block, document) {
            (0, _) => 0,
            (_, ..40) if block <= blocks * 3 / 4 => 1 + document * 32 + block,
            _ => {
                next += 1;
                next
            }
        });
        let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
        writeln!(
            data,
            "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{}]}}",
            k * 500,
            blocks * 512 - noise % 512,
            1 + noise % 400,
            ids.join(", "),
        )
        .expect("a string takes it");
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows;

    #[test]
    fn every_important_row_is_there_once_more() {
        let folder = Path::new("x");
        let all: Vec<Row> = rows::targets(folder)
            .into_iter()
            .chain(rows::growth())
            .collect();
        let again = under_vllm(&all);
        assert_eq!(again.len(), 7);
        for row in &again {
            assert!(row.arguments.ends_with(" --rules vllm"), "{row:?}");
        }
    }

    #[test]
    fn prompts_of_the_trace_share_blocks() {
        let text = mooncake();
        let (mut all, mut seen) = (0, std::collections::HashSet::new());
        for line in text.lines() {
            let ids = line.split(['[', ']']).nth(1).expect("a list of ids");
            for id in ids.split(", ") {
                all += 1;
                seen.insert(id);
            }
        }
        assert_eq!(text.lines().count(), 2000);
        assert!(
            seen.len() * 3 < all * 2 && seen.len() * 3 > all,
            "{} of {all}",
            seen.len()
        );
    }
}
