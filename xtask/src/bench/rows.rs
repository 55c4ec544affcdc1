//! What is measured: whole runs of the command, each a row of the table.

use std::fmt::Write as _;
use std::path::Path;

/// The deployment of all rows.
pub(super) const COMMON: &str =
    "--model llama-3.1-8b-instruct --hardware H100 --tp 1 --latency-model trained-physics --quiet";

/// Requests per second and instance at 70 % load. Each is 0.7 x what one instance sustained of
/// requests that came far too fast:
///
/// * 128 output tokens: `run --rate 1000 --num-requests 10000 --output-tokens 128` gave 129.6/s;
/// * 2,048 output tokens: `run --rate 1000 --num-requests 1000 --output-tokens 2048 --max-num-seqs
///   176` gave 3.41/s. 176 requests at their longest are what the KV cache holds, so none is
///   preempted (with the default limit of 256 there are 2,393 preemptions).
const RATE_128: f64 = 90.7;
const RATE_2048: f64 = 2.39;

/// Scoring a router in Lua.
const SCORE: &str =
    "score policies/routing/jsq.lua --suite routing-mixed --jobs 1 --no-cache --json";

/// A router that holds requests back for 10 ms at a time, as long as all instances are busy.
const HOLD: &str = "return { route = function(req, insts)
  for i, inst in ipairs(insts) do
    if inst.in_flight < 64 then return i end
  end
  return hold(10000)
end }
";

/// A scheduler whose numbers change with time: asked for all that wait before each step.
const AGING: &str = "return { score = function(now, req) return (now - req.arrival_us) / 1000 - req.prompt_tokens end }
";

/// Folder with a thousand candidates.
const CANDIDATES: &str = "candidates";

/// A run to measure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// Arguments of `windtunnel`.
    pub(super) arguments: String,
    /// CPU seconds that it may take.
    pub(super) target: Option<f64>,
    /// Takes a minute: measured once, and not under valgrind.
    pub(super) long: bool,
}

/// A synthetic workload with prompts of N(`prompt`, 64) tokens, whose clients never give up;
/// least-loaded routing.
pub(super) struct Shape {
    pub(super) instances: u32,
    pub(super) requests: u64,
    pub(super) prompt: u32,
    pub(super) output: u32,
    /// Per instance.
    pub(super) rate: f64,
}

/// One instance, 10,000 requests.
pub(super) const BASE: Shape = Shape {
    instances: 1,
    requests: 10_000,
    prompt: 256,
    output: 128,
    rate: RATE_128,
};

impl Shape {
    pub(super) fn row(&self, name: &str, target: Option<f64>, more: &str) -> Row {
        let rate = (self.rate * f64::from(self.instances) * 10.0).round() / 10.0;
        let rate = if self.instances == 1 { self.rate } else { rate };
        let mut arguments = format!(
            "run {COMMON} --timeout -1 --prompt-tokens {} --prompt-tokens-stdev 64 --output-tokens {} --output-tokens-stdev 0 \
             --rate {rate} --num-requests {} --num-instances {} --routing-policy least-loaded",
            self.prompt, self.output, self.requests, self.instances,
        );
        if more.contains("--routing-policy") {
            arguments = arguments.replace(" --routing-policy least-loaded", "");
        }
        if !more.is_empty() {
            write!(arguments, " {more}").expect("a string takes it");
        }
        Row {
            name: name.into(),
            arguments,
            target,
            long: false,
        }
    }
}

/// The rows with targets.
pub(super) fn targets(folder: &Path) -> Vec<Row> {
    let large = |requests| Shape {
        instances: 64,
        requests,
        ..BASE
    };
    let sixteen = Shape {
        instances: 16,
        requests: 100_000,
        ..BASE
    }
    .row("sixteen", Some(0.40), "");
    let trace = folder.join("prefix-groups");
    let trace = trace.display();
    vec![
        BASE.row("one", Some(0.03), ""),
        sixteen.clone(),
        // The same decisions by the script that is the built-in's twin.
        Row {
            name: "sixteen-script".into(),
            arguments: sixteen.arguments.replace(
                "--routing-policy least-loaded",
                "--routing-policy policies/routing/least-loaded.lua",
            ),
            ..sixteen
        },
        large(100_000).row("sixty-four", Some(0.50), ""),
        Shape {
            requests: 1000,
            output: 2048,
            rate: RATE_2048,
            ..BASE
        }
        .row("long-outputs", Some(0.02), ""),
        Row {
            name: "prefix-groups".into(),
            arguments: format!(
                "replay {COMMON} --trace-header {trace}.yaml --trace-data {trace}.csv --num-instances 4 \
                 --routing-policy weighted"
            ),
            target: Some(0.03),
            long: false,
        },
        // What could grow with the requests that wait, or with the instances.
        flood(4, 5_000).row(
            "held",
            None,
            &format!("--summary-only --routing-policy {}", folder.join("hold.lua").display()),
        ),
        many(""),
        many("weighted"),
        many("policies/routing/jsq.lua"),
        many("policies/routing/least-work.lua"),
        many("policies/routing/weighted.lua"),
        flood(1, 10_000).row(
            "long-queue",
            None,
            &format!("--summary-only --scheduler {}", folder.join("aging.lua").display()),
        ),
        flood(1, 5_000).row(
            "long-queue-ltr",
            None,
            "--summary-only --output-predictor lognormal:0.4 --scheduler policies/scheduler/ltr.lua",
        ),
        Shape {
            instances: 16,
            requests: 40_000,
            rate: 300.0,
            ..BASE
        }
        .row(
            "early-rejection",
            None,
            "--summary-only --admission-policy policies/admission/early-rejection.lua",
        ),
        // A candidate on one core: 12 scenarios x 5,000 requests x 2 seeds, and its first runs
        // alone. What the suite's references achieve is measured by the first run and kept.
        Row {
            name: "score-full".into(),
            arguments: format!("{SCORE} --stage full"),
            target: Some(1.0),
            long: false,
        },
        Row {
            name: "score-smoke".into(),
            arguments: format!("{SCORE} --stage smoke"),
            target: Some(0.03),
            long: false,
        },
        // A thousand candidates on all cores.
        Row {
            name: "score-thousand".into(),
            arguments: format!(
                "score {} --suite routing-mixed --batch --no-cache",
                folder.join(CANDIDATES).display()
            ),
            target: None,
            long: true,
        },
        large(200_000).row("sixty-four-200k", None, "--summary-only"),
        Row {
            long: true,
            ..large(10_000_000).row("ten-million", Some(60.0), "--summary-only")
        },
    ]
}

/// Requests that come all at once.
fn flood(instances: u32, requests: u64) -> Shape {
    Shape {
        instances,
        requests,
        rate: 100_000.0 / f64::from(instances),
        ..BASE
    }
}

/// 20,000 requests on 1,024 instances, with this router or the least-loaded one.
fn many(router: &str) -> Row {
    let shape = Shape {
        instances: 1024,
        requests: 20_000,
        ..BASE
    };
    let file = router.rsplit('/').next().unwrap_or_default();
    let row = shape.row(&format!("1024 {file}"), None, "--summary-only");
    let arguments = match router {
        "" => row.arguments,
        _ => row.arguments.replace("least-loaded", router),
    };
    Row {
        name: row.name.trim_end().to_owned(),
        arguments,
        ..row
    }
}

/// How cost grows from the row `one`; each again in plain steps.
pub(super) fn growth() -> Vec<Row> {
    let rows = [
        BASE.row("base", None, ""),
        Shape {
            requests: 100_000,
            ..BASE
        }
        .row("requests-x10", None, ""),
        Shape {
            instances: 4,
            ..BASE
        }
        .row("instances-x4", None, ""),
        // A quarter of the rate, so that as many requests run at a time.
        Shape {
            output: 512,
            rate: RATE_128 / 4.0,
            ..BASE
        }
        .row("output-x4", None, ""),
        Shape {
            prompt: 1024,
            rate: RATE_128 / 4.0,
            ..BASE
        }
        .row("prompt-x4", None, ""),
        // A decode that reads 2,048 tokens more takes longer: at the base's rate the instance would
        // be overloaded.
        Shape {
            rate: RATE_128 / 4.0,
            ..BASE
        }
        .row("shared-prefix", None, "--prefix-tokens 2048"),
        BASE.row("tight-kv", None, "--total-kv-blocks 1500"),
    ];
    let plain = |row: &Row| Row {
        name: format!("{}, plain", row.name),
        arguments: format!("{} --plain-steps", row.arguments),
        ..row.clone()
    };
    rows.iter().flat_map(|r| [r.clone(), plain(r)]).collect()
}

/// A TraceV2 trace of 2,000 requests in 12 prefix groups of 2,048 tokens: (header, data). Groups
/// come in a fixed shuffled order; own prompts have 192 to 319 tokens, answers 128; 40 requests a
/// second.
pub(super) fn prefix_groups() -> (String, String) {
    let mut data = String::from(
        "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,input_tokens,\
         output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,server_input_tokens,\
         arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,error_message,finish_reason\n",
    );
    for k in 0..2000u64 {
        // The high bits of a multiplicative hash: looks random, is the same everywhere.
        let noise = k.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let (group, own, at) = (noise % 12, 192 + (noise >> 8) % 128, k * 25_000);
        writeln!(
            data,
            "{k},client,,standard,,0,group-{group},2048,true,{own},128,{own},0,0,0,0.0,,0,0,{at},{at},0,0,0,,,"
        )
        .expect("a string takes it");
    }
    let header = "trace_version: 2\ntime_unit: us\nmode: generated\n";
    (header.into(), data)
}

/// Writes the scripts of the rows into a folder, and a thousand candidates: a router's weights,
/// each drawn over two decades.
pub(super) fn write_scripts(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("hold.lua"), HOLD)?;
    std::fs::write(folder.join("aging.lua"), AGING)?;
    let text = include_str!("../../../policies/routing/least-work.lua");
    let folder = folder.join(CANDIDATES);
    std::fs::create_dir_all(&folder)?;
    for k in 0..1000 {
        std::fs::write(folder.join(format!("{k:03}.lua")), candidate(text, k))?;
    }
    Ok(())
}

fn candidate(text: &str, k: u32) -> String {
    // Fractions of the golden ratio and of the square root of two are spread evenly.
    let drawn = |least: f64, step: f64| least * 100f64.powf((f64::from(k) * step).fract());
    let cold = format!("@param cold = {:.3},", drawn(0.4, 0.618_034));
    let tokens = format!("@param request_tokens = {:.2},", drawn(10.0, 0.414_214));
    text.replace("@param cold = 4,", &cold)
        .replace("@param request_tokens = 100,", &tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let all = crate::bench::all(Path::new("x"));
        let mut names: Vec<String> = all.into_iter().map(|row| row.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn candidates_differ() {
        let text = include_str!("../../../policies/routing/least-work.lua");
        let all: std::collections::HashSet<String> =
            (0..1000).map(|k| candidate(text, k)).collect();
        assert_eq!(all.len(), 1000);
        let lines = |k| {
            candidate(text, k)
                .lines()
                .filter(|l| !text.contains(l))
                .count()
        };
        assert_eq!((lines(0), lines(1)), (2, 2));
    }

    #[test]
    fn every_group_has_its_share_and_every_row_its_columns() {
        let (_, data) = prefix_groups();
        let mut sizes = [0; 12];
        for line in data.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), 27);
            let group: usize = cells[6].trim_start_matches("group-").parse().unwrap();
            sizes[group] += 1;
        }
        assert_eq!(sizes.iter().sum::<i32>(), 2000);
        assert!(sizes.iter().all(|n| (120..220).contains(n)), "{sizes:?}");
    }
}
