//! Rounds by the clock and behind answers.

use super::*;
use crate::unfold::Unfold;

fn replay() -> HeldReplay {
    HeldReplay {
        closed_loop: false,
        think_time: None,
        seed: 1,
        horizon_us: i64::MAX,
        selection: Selection::default(),
    }
}

/// Two sessions of three rounds that repeat what was before, and a loner between.
fn turns(timed: bool) -> Turns {
    let mut turns = Turns::default();
    for k in 0..7i64 {
        let name = ["", "a", "b"][if k == 6 { 0 } else { 1 + (k % 2) as usize }];
        let later = (2..6).contains(&k);
        let turn = Turn {
            sent_ns: (timed || !later).then_some(k * 1_000_000_000),
            think_us: Some(250_000),
            repeats: later,
            new: 100,
            output: 11,
            session: turns.symbols.intern(name),
            ..Turn::default()
        };
        turns.list.push(turn);
    }
    turns
}

fn all(turns: Turns, replay: HeldReplay) -> Vec<(i64, String, u32, u32)> {
    let mut held = Held::new("t", turns, replay).unwrap();
    let hint = held.size_hint().unwrap();
    let requests: Vec<Request> = Unfold::new(&mut held).collect();
    assert_eq!(requests.len() as u64, hint);
    let name = |r: &Request| held.symbols().name(r.session).to_owned();
    let row = |r: &Request| (r.arrival_us, name(r), r.round, r.prompt.len());
    requests.iter().map(row).collect()
}

#[test]
fn rounds_come_at_their_times_or_behind_the_answer_before() {
    let at = |us, name: &str, round, prompt| (us, name.to_owned(), round, prompt);
    assert_eq!(
        all(turns(true), replay()),
        [
            at(0, "a", 0, 100),
            at(1_000_000, "b", 0, 100),
            at(2_000_000, "a", 1, 211),
            at(3_000_000, "b", 1, 211),
            at(4_000_000, "a", 2, 322),
            at(5_000_000, "b", 2, 322),
            at(6_000_000, "", 0, 100),
        ]
    );
    // Unfolding, an answer takes a microsecond per token.
    let closed = [
        at(0, "a", 0, 100),
        at(250_011, "a", 1, 211),
        at(500_022, "a", 2, 322),
        at(1_000_000, "b", 0, 100),
        at(1_250_011, "b", 1, 211),
        at(1_500_022, "b", 2, 322),
        at(6_000_000, "", 0, 100),
    ];
    assert_eq!(all(turns(false), replay()), closed);
    let closed_loop = true;
    assert_eq!(
        all(
            turns(true),
            HeldReplay {
                closed_loop,
                ..replay()
            }
        ),
        closed
    );
    let think_time = Some(ThinkTime::Constant(5));
    let faster = all(
        turns(false),
        HeldReplay {
            think_time,
            ..replay()
        },
    );
    assert_eq!(faster[2], at(32, "a", 2, 322));
}

#[test]
fn later_rounds_repeat_the_same_tokens_by_the_clock_and_behind_answers() {
    let requests = |timed| {
        let mut held = Held::new("t", turns(timed), replay()).unwrap();
        let all: Vec<Request> = Unfold::new(&mut held).collect();
        all
    };
    for all in [requests(true), requests(false)] {
        let a: Vec<&Request> = all.iter().filter(|r| r.session == Sym(1)).collect();
        let key = |r: &Request, at| r.prompt.token_key(at).unwrap();
        assert_eq!(key(a[0], 99), key(a[1], 99));
        assert_eq!(a[0].output.token_key(9).unwrap(), key(a[1], 109));
        assert_eq!(a[0].output.token_key(10).unwrap(), key(a[1], 110));
        assert_eq!(key(a[1], 209), key(a[2], 209));
        assert_eq!(all.last().unwrap().private_from, 0);
        assert_eq!(a[0].private_from, u32::MAX);
    }
}

#[test]
fn parts_loops_caps_and_rates_hold_for_sessions() {
    let select = |selection, timed| {
        let held = HeldReplay {
            selection,
            ..replay()
        };
        all(turns(timed), held)
    };
    let usual = Selection::default();
    let twice = select(Selection { loops: 2, ..usual }, false);
    assert_eq!(twice.len(), 14);
    assert_eq!(twice[7].1, "a#1");
    assert_eq!(twice[7].0, 7_000_000);
    let capped = select(
        Selection {
            max_requests: Some(5),
            ..usual
        },
        false,
    );
    assert_eq!(capped.len(), 5);
    assert_eq!(
        capped[4].2, 1,
        "the second session ends in its second round"
    );
    let window = Selection {
        from_us: Some(2_500_000),
        to_us: Some(4_500_000),
        rate_scale: 2.0,
        ..usual
    };
    let times: Vec<i64> = select(window, true).iter().map(|r| r.0).collect();
    assert_eq!(times, [250_000, 750_000]);
    let timeout_us = Some(1_000);
    let mut held = Held::new(
        "t",
        turns(false),
        HeldReplay {
            selection: Selection {
                timeout_us,
                ..usual
            },
            ..replay()
        },
    )
    .unwrap();
    assert!(Unfold::new(&mut held).all(|r| r.deadline_us == r.arrival_us + 1_000));
}

#[test]
fn a_session_ends_with_a_request_that_gets_no_answer() {
    let mut held = Held::new("t", turns(false), replay()).unwrap();
    let first = held.next_request().unwrap();
    let finished = |reason| Finished {
        request: &first,
        reason,
        at_us: 10,
        generated_tokens: 10,
    };
    assert!(
        held.on_finished(&finished(FinishReason::TimedOut))
            .is_none()
    );
    assert!(
        held.on_finished(&finished(FinishReason::Completed))
            .is_some()
    );
    held.set_horizon_us(1_000);
    assert!(
        held.on_finished(&finished(FinishReason::Completed))
            .is_none()
    );
}
