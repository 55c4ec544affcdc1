#![expect(clippy::print_stdout, reason = "a test says what it skips")]

use super::*;
use crate::import::Selection;
use crate::think::ThinkTime;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use windtunnel_base::request::Finished;

fn root(rest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(rest)
}

/// Cases of the reference, if they lie beside the project.
fn oracle_cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for family in ["blis", "blackbox"] {
        let folder = root("../../../shared/oracle").join(family);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("skipped: no reference cases at {}", folder.display());
            continue;
        };
        cases.extend(
            entries
                .filter_map(|e| Some(e.ok()?.path()))
                .filter(|p| p.is_dir()),
        );
    }
    cases.sort();
    cases
}

/// One request of the reference.
#[derive(Clone, Debug, Default)]
struct Row {
    id: String,
    arrival_us: i64,
    input: u32,
    output: u32,
    session: String,
    round: u32,
    completion_us: i64,
}

fn oracle_rows(case: &Path) -> Option<Vec<Row>> {
    let text = std::fs::read_to_string(case.join("expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let table = json.get("requests")?;
    let columns = table.get("columns")?.as_array()?;
    let at = |name: &str| columns.iter().position(|c| c == name).unwrap();
    let number = |row: &serde_json::Value, name: &str| row[at(name)].as_i64().unwrap_or(0);
    let text = |row: &serde_json::Value, name: &str| row[at(name)].as_str().unwrap().to_owned();
    let rows = table["rows"].as_array()?;
    Some(
        rows.iter()
            .map(|r| Row {
                id: text(r, "id"),
                arrival_us: number(r, "arrival_us"),
                input: number(r, "input_tokens") as u32,
                output: number(r, "output_tokens") as u32,
                session: text(r, "session_id"),
                round: number(r, "round_index") as u32,
                completion_us: number(r, "completion_us"),
            })
            .collect(),
    )
}

fn open(case: &Path, replay: Replay) -> TraceV2 {
    let header = Header::read(&case.join("trace.yaml")).unwrap();
    TraceV2::open(
        &case.join("trace.csv"),
        Some(&header),
        replay,
        &mut RowErrors::new(true),
    )
    .unwrap()
}

fn closed() -> Replay {
    Replay {
        session_mode: SessionMode::ClosedLoop,
        horizon_us: 600_000_000,
        ..Replay::default()
    }
}

fn all(source: &mut TraceV2) -> Vec<Request> {
    std::iter::from_fn(|| source.next_request()).collect()
}

/// Plays a closed loop with the reference's completion times and compares every request with its
/// row.
fn drive(case: &Path, rows: &[Row]) {
    let mut source = open(case, closed());
    // The pauses come from the trace, read here a second time and in another way.
    let mut reader = csv::Reader::from_path(case.join("trace.csv")).unwrap();
    let mut arrivals: HashMap<(String, u32), i64> = HashMap::new();
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.unwrap();
        let round: u32 = row["round_index"].parse().unwrap();
        arrivals.insert(
            (row["session_id"].clone(), round),
            row["arrival_time_us"].parse().unwrap(),
        );
    }
    let by_id: HashMap<&str, &Row> = rows.iter().map(|r| (r.id.as_str(), r)).collect();
    // The reference reports the end of the completing step, which no file has: it is the
    // follow-up's arrival minus the pause. Follow-ups that come from the same step are told apart
    // by their counters.
    let mut endings: BTreeMap<(i64, u64, String), ()> = BTreeMap::new();
    for row in rows {
        let next = rows.iter().find(|r| {
            !row.session.is_empty() && r.session == row.session && r.round == row.round + 1
        });
        let key = match next {
            Some(next) => {
                let gap = arrivals[&(row.session.clone(), next.round)]
                    - arrivals[&(row.session.clone(), row.round)];
                let counter = next.id.rsplit('_').next().unwrap().parse().unwrap();
                (next.arrival_us - gap.max(0), counter, row.id.clone())
            }
            None => (row.completion_us, u64::MAX, row.id.clone()),
        };
        endings.insert(key, ());
    }
    let mut live: HashMap<String, Request> = all(&mut source)
        .into_iter()
        .map(|r| (r.id.to_string(), r))
        .collect();
    let mut seen = live.len();
    assert_eq!(source.size_hint(), Some(rows.len() as u64));
    for (at_us, _, id) in endings.into_keys() {
        let request = live
            .remove(&id)
            .unwrap_or_else(|| panic!("{id} was never sent"));
        let row = by_id[id.as_str()];
        assert_eq!(request.arrival_us, row.arrival_us, "{id}");
        assert_eq!(request.prompt.len(), row.input, "{id}");
        assert_eq!(request.output.len(), row.output, "{id}");
        assert_eq!(request.round, row.round, "{id}");
        assert_eq!(source.symbols().name(request.session), row.session, "{id}");
        let follow_up = source.on_finished(&Finished {
            request: &request,
            reason: FinishReason::Completed,
            at_us,
            generated_tokens: request.output.len().max(1) - 1,
        });
        if let Some(follow_up) = follow_up {
            assert_eq!(follow_up.deadline_us, follow_up.arrival_us + 300_000_000);
            seen += 1;
            live.insert(follow_up.id.to_string(), follow_up);
        }
    }
    assert_eq!(seen, rows.len());
    assert!(live.is_empty());
}

#[test]
fn closed_loops_of_the_reference_repeat_request_by_request() {
    let mut played = 0;
    for case in oracle_cases() {
        let text = std::fs::read_to_string(case.join("case.json")).unwrap();
        if text.contains("closed-loop") {
            drive(&case, &oracle_rows(&case).unwrap());
            played += 1;
        }
    }
    println!("closed-loop cases played: {played}");
}

#[test]
fn open_loops_of_the_reference_repeat_request_by_request() {
    for case in oracle_cases() {
        let text = std::fs::read_to_string(case.join("case.json")).unwrap();
        let Some(rows) = oracle_rows(&case) else {
            continue;
        };
        if text.contains("closed-loop") {
            continue;
        }
        let mut source = open(&case, Replay::default());
        let requests = all(&mut source);
        assert!(requests.is_sorted_by_key(|r| r.arrival_us));
        let by_id: HashMap<String, &Request> =
            requests.iter().map(|r| (r.id.to_string(), r)).collect();
        for row in &rows {
            let Some(request) = by_id.get(&row.id) else {
                // Halves of a disaggregated request.
                assert!(
                    row.id.contains("prefill") || row.id.contains("decode"),
                    "{}",
                    row.id
                );
                continue;
            };
            assert_eq!(
                (
                    request.arrival_us,
                    request.prompt.len(),
                    request.output.len()
                ),
                (row.arrival_us, row.input, row.output),
                "{} {}",
                case.display(),
                row.id
            );
        }
    }
}

#[test]
fn a_closed_loop_repeats_from_the_data_kept_here() {
    let case = root("../tests/data/workload/closed-loop-prefix");
    let mut reader = csv::Reader::from_path(case.join("expected.csv")).unwrap();
    let rows: Vec<Row> = reader
        .records()
        .map(|r| {
            let r = r.unwrap();
            Row {
                id: r[0].into(),
                arrival_us: r[1].parse().unwrap(),
                input: r[2].parse().unwrap(),
                output: r[3].parse().unwrap(),
                session: r[4].into(),
                round: r[5].parse().unwrap(),
                completion_us: r[6].parse().unwrap(),
            }
        })
        .collect();
    drive(&case, &rows);
}

const HEAD: &str = "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,\
    streaming,input_tokens,output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,\
    server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,\
    error_message,finish_reason";

/// (id, session, round, group, prefix, input, output, deadline, server input, arrival, send)
type Short<'a> = (
    u64,
    &'a str,
    u32,
    &'a str,
    u32,
    u32,
    u32,
    i64,
    u32,
    i64,
    i64,
);

fn csv_of(rows: &[Short<'_>]) -> String {
    let mut text = format!("{HEAD}\n");
    for (id, session, round, group, prefix, input, output, deadline, server, arrival, send) in rows
    {
        text += &format!(
            "{id},c,t,standard,{session},{round},{group},{prefix},true,{input},{output},0,0,0,0,0,m,{deadline},{server},\
             {arrival},{send},0,0,0,ok,,\n"
        );
    }
    text
}

fn read(text: &str, header: Option<&str>, replay: Replay) -> Result<TraceV2, InputError> {
    let header = header.map(|h| Header::parse("h.yaml", h).unwrap());
    let bytes = std::io::Cursor::new(text.to_owned().into_bytes());
    TraceV2::from_reader(
        "t.csv",
        bytes,
        header.as_ref(),
        replay,
        &mut RowErrors::new(true),
    )
}

fn refusal(text: &str, replay: Replay) -> String {
    read(text, None, replay).unwrap_err().to_string()
}

#[test]
fn groups_share_their_prefix_and_nothing_else_is_shared() {
    let text = csv_of(&[
        (0, "", 0, "g", 0, 20, 4, 0, 99, 10, 0),
        (1, "", 0, "g", 32, 20, 4, 0, 0, 5, 0),
        (2, "", 0, "g", 64, 20, 4, 0, 0, 5, 0),
        (3, "", 0, "", 16, 20, 4, 0, 30, 5, 0),
    ]);
    let mut source = read(&text, None, Replay::default()).unwrap();
    let requests = all(&mut source);
    let ids: Vec<String> = requests.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(ids, ["request_1", "request_2", "request_3", "request_0"]);
    assert_eq!(requests[0].prompt.len(), 52, "its own prefix");
    assert_eq!(
        requests[1].prompt.len(),
        52,
        "the group's first length holds"
    );
    assert_eq!(
        requests[2].prompt.len(),
        30,
        "the server's count, and no prefix without a group"
    );
    assert_eq!(
        requests[3].prompt.len(),
        52,
        "a group's prompt is suffix and prefix"
    );
    let keys: Vec<Vec<u64>> = requests
        .iter()
        .map(|r| r.prompt.block_keys(16).collect())
        .collect();
    assert_eq!(keys[0][..2], keys[1][..2]);
    assert_eq!(keys[0][..2], keys[3][..2]);
    assert_ne!(keys[0][2], keys[1][2]);
    assert_ne!(keys[0][0], keys[2][0]);
}

#[test]
fn an_accumulating_round_repeats_prompt_and_answer() {
    let text = csv_of(&[
        (0, "s", 0, "g", 16, 16, 17, 0, 0, 0, 0),
        (1, "s", 1, "g", 16, 10, 5, 0, 0, 50, 0),
    ]);
    let header = "session_context_growth: accumulate\n";
    let mut source = read(&text, Some(header), closed()).unwrap();
    let first = source.next_request().unwrap();
    assert!(source.next_request().is_none());
    assert!(source.has_follow_ups());
    let second = source
        .on_finished(&Finished {
            request: &first,
            reason: FinishReason::Completed,
            at_us: 1000,
            generated_tokens: 16,
        })
        .unwrap();
    assert_eq!(second.id.to_string(), "session_s_round_1_1");
    assert_eq!((second.arrival_us, second.prompt.len()), (1050, 58));
    let mut whole = first.prompt.clone();
    whole.extend_from(&first.output, first.output.len());
    let past: Vec<u64> = whole.block_keys(16).collect();
    let now: Vec<u64> = second.prompt.block_keys(16).collect();
    assert_eq!(
        now,
        past[..3],
        "three full blocks of the past, none of the future"
    );
}

#[test]
fn sessions_end_on_a_timeout_a_refusal_or_the_horizon() {
    let text = csv_of(&[
        (0, "s", 0, "", 0, 16, 17, 0, 0, 0, 0),
        (1, "s", 1, "", 0, 10, 5, 0, 0, 50, 0),
        (2, "", 0, "", 0, 10, 5, 0, 0, 0, 0),
        (3, "z", 0, "", 0, 10, 5, 0, 0, 0, 0),
    ]);
    let end = |reason, at_us, replay: Replay| {
        let mut source = read(&text, None, replay).unwrap();
        let requests = all(&mut source);
        let ids: Vec<u64> = requests
            .iter()
            .map(|r| match r.id {
                RequestId::Number(n) => n,
                RequestId::Named(_) => panic!("a recorded request"),
            })
            .collect();
        assert_eq!(
            ids,
            [0, 3, 2],
            "loners come last among those that arrive together"
        );
        let tell = |reason| Finished {
            request: &requests[0],
            reason,
            at_us,
            generated_tokens: 16,
        };
        let first = source.on_finished(&tell(reason));
        if first.is_none() {
            assert!(
                source.on_finished(&tell(FinishReason::Completed)).is_none(),
                "never resumes"
            );
        }
        first.map(|r| r.arrival_us)
    };
    assert_eq!(end(FinishReason::Completed, 100, closed()), Some(150));
    assert_eq!(end(FinishReason::TimedOut, 100, closed()), None);
    assert_eq!(end(FinishReason::Dropped, 100, closed()), None);
    let short = Replay {
        horizon_us: 150,
        ..closed()
    };
    assert_eq!(end(FinishReason::Completed, 100, short), Some(150));
    assert_eq!(end(FinishReason::Completed, 101, short), None);
    let think = Replay {
        think_time: Some(ThinkTime::Constant(7)),
        ..closed()
    };
    assert_eq!(end(FinishReason::Completed, 100, think), Some(107));
}

#[test]
fn recorded_think_times_go_before_arrival_gaps() {
    let rows = csv_of(&[
        (0, "s", 0, "", 0, 16, 17, 0, 0, 0, 0),
        (1, "s", 1, "", 0, 10, 5, 0, 0, 50, 0),
    ]);
    let text: String = rows
        .lines()
        .zip([",think_time_us", ",0", ",9"])
        .map(|(line, end)| format!("{line}{end}\n"))
        .collect();
    let mut source = read(&text, None, closed()).unwrap();
    let request = source.next_request().unwrap();
    let follow_up = source.on_finished(&Finished {
        request: &request,
        reason: FinishReason::Completed,
        at_us: 100,
        generated_tokens: 16,
    });
    assert_eq!(follow_up.unwrap().arrival_us, 109);
}

#[test]
fn observed_traces_start_at_zero_when_asked() {
    let epoch = 1_800_000_000_000_000;
    let text = csv_of(&[
        (0, "", 0, "", 0, 16, 17, 300, 0, 100, epoch + 7),
        (1, "", 0, "", 0, 16, 17, 0, 0, 50, epoch + 2),
    ]);
    let rebased = Replay {
        real_time: RealTime::Rebased,
        ..Replay::default()
    };
    for header in [None, Some("mode: real\n")] {
        let requests = all(&mut read(&text, header, rebased).unwrap());
        let times: Vec<(i64, i64)> = requests
            .iter()
            .map(|r| (r.arrival_us, r.deadline_us))
            .collect();
        assert_eq!(times, [(0, 0), (5, 205)]);
    }
    let source = read(&text, Some("mode: real\n"), Replay::default()).unwrap();
    assert_eq!(source.latest_arrival_us(), Some(epoch + 7));
    let simulated = csv_of(&[(0, "", 0, "", 0, 16, 17, 300, 0, 100, 100)]);
    let source = read(&simulated, Some("mode: generated\n"), rebased).unwrap();
    assert_eq!(source.latest_arrival_us(), Some(100));
}

#[test]
fn a_changed_rate_moves_arrivals_and_keeps_time_limits() {
    let text = csv_of(&[(0, "", 0, "", 0, 16, 17, 300, 0, 100, 0)]);
    let faster = Replay {
        selection: Selection {
            rate_scale: 2.0,
            ..Selection::default()
        },
        ..Replay::default()
    };
    let requests = all(&mut read(&text, None, faster).unwrap());
    assert_eq!((requests[0].arrival_us, requests[0].deadline_us), (50, 250));
}

#[test]
fn the_limit_counts_requests_in_order_of_time() {
    let text = csv_of(&[
        (0, "s", 0, "", 0, 16, 17, 0, 0, 20, 0),
        (1, "s", 1, "", 0, 10, 5, 0, 0, 50, 0),
        (2, "", 0, "", 0, 10, 5, 0, 0, 0, 0),
    ]);
    for mode in [SessionMode::Fixed, SessionMode::ClosedLoop] {
        let two = Replay {
            session_mode: mode,
            selection: Selection {
                max_requests: Some(2),
                ..Selection::default()
            },
            ..closed()
        };
        let mut source = read(&text, None, two).unwrap();
        let ids: Vec<String> = all(&mut source).iter().map(|r| r.id.to_string()).collect();
        assert_eq!(ids, ["request_2", "request_0"]);
        assert!(!source.has_follow_ups());
        assert_eq!(source.size_hint(), Some(2));
    }
}

#[test]
fn wrong_rows_name_line_and_column() {
    let good = csv_of(&[(7, "", 0, "", 0, 16, 17, 0, 0, 100, 0)]);
    let refused = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        refusal(&text, Replay::default())
    };
    assert_eq!(
        refused(",16,17,", ",-16,17,"),
        "t.csv:2: column \"input_tokens\": expected a whole number from 0 to 2147483647, found \"-16\""
    );
    assert!(refused(",16,17,", ",16,NaN,").contains("column \"output_tokens\""));
    assert!(
        refused(",0,m,", ",NaN,m,")
            .contains("column \"reason_ratio\": expected a number from 0 to 1")
    );
    assert!(
        refused(",true,", ",yes,")
            .contains("column \"streaming\": expected true or false, found \"yes\"")
    );
    assert!(refused(",m,0,", ",m,99,").contains("column \"deadline_us\""));
    assert!(refused("\n7,", "\n-7,").contains("column \"request_id\""));
    assert!(refused("\n7,", "\n,").contains("column \"request_id\""));
    assert!(refused("deadline_us", "dead_line_us").contains(
        "t.csv:1: the column \"deadline_us\" is missing (the header has \"dead_line_us\": is that it?)"
    ));
    assert!(
        refused("finish_reason", "finish_reason,thinktime_us")
            .contains("did you mean \"think_time_us\"?")
    );
    assert!(refused(",16,17,", ",2147483647,17,").contains("tokens of prompt and output"));
    assert!(refused(",ok,,", ",ok,").contains("the row has 26 fields"));
    let twice = csv_of(&[
        (7, "", 0, "", 0, 16, 17, 0, 0, 100, 0),
        (7, "", 0, "", 0, 16, 17, 0, 0, 100, 0),
    ]);
    assert_eq!(
        refusal(&twice, Replay::default()),
        "t.csv:3: request_id 7 appears twice, first in line 2"
    );
    let gap = csv_of(&[
        (0, "s", 0, "", 0, 16, 17, 0, 0, 0, 0),
        (1, "s", 2, "", 0, 16, 17, 0, 0, 0, 0),
    ]);
    read(&gap, None, Replay::default()).unwrap();
    assert!(
        refusal(&gap, closed())
            .starts_with("t.csv:3: session \"s\" has a round 2 where round 1 is due")
    );
}

#[test]
fn a_part_of_a_trace_is_replayed_again_and_again_with_whole_sessions() {
    let text = csv_of(&[
        (0, "s", 0, "", 0, 16, 17, 0, 0, 20, 0),
        (1, "s", 1, "", 0, 10, 5, 0, 0, 50, 0),
        (2, "", 0, "", 0, 10, 5, 45, 0, 30, 0),
        (3, "", 0, "", 0, 10, 5, 0, 0, 5, 0),
    ]);
    let of = |session_mode, sample| {
        let selection = Selection {
            from_us: Some(20),
            to_us: Some(40),
            loops: 2,
            sample,
            ..Selection::default()
        };
        let replay = Replay {
            session_mode,
            selection,
            ..closed()
        };
        let mut source = read(&text, None, replay).unwrap();
        let requests = all(&mut source);
        let seen: Vec<(String, i64, i64, String)> = requests
            .iter()
            .map(|r| {
                let session = source.symbols().name(r.session).to_owned();
                (r.id.to_string(), r.arrival_us, r.deadline_us, session)
            })
            .collect();
        (seen, source.size_hint().unwrap())
    };
    let row =
        |id: &str, at, deadline, session: &str| (id.to_owned(), at, deadline, session.to_owned());
    let expected = vec![
        row("request_0", 0, 0, "s"),
        row("request_2", 10, 25, ""),
        row("request_4", 20, 0, "s#1"),
        row("request_6", 30, 45, ""),
    ];
    assert_eq!(of(SessionMode::Fixed, 1.0), (expected.clone(), 4));
    // The second round lies outside the window, but belongs to a session that began in it.
    assert_eq!(of(SessionMode::ClosedLoop, 1.0), (expected, 6));
}
