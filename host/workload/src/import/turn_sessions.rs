//! What several importers find out about sessions.

use super::held::Turns;
use rustc_hash::FxHashMap;
use std::fmt::Display;
use std::hash::Hash;

/// Names sessions after the keys that several turns have, one key per turn; a key of one turn alone
/// and the empty one are no session.
pub(super) fn sessions_of<K: Eq + Hash + Display>(turns: &mut Turns, keys: &[K]) {
    let mut counts: FxHashMap<&K, u32> = FxHashMap::default();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    for (turn, key) in turns.list.iter_mut().zip(keys) {
        if counts[key] > 1 {
            turn.session = turns.symbols.intern(&key.to_string());
        }
    }
}

/// Later rounds that are longer than the round before with its answer are taken to begin with both:
/// a chat sends its history. A note says so.
pub(super) fn repeat_where_lengths_allow(turns: &mut Turns, notes: &mut Vec<String>) {
    let mut last: FxHashMap<u32, u64> = FxHashMap::default();
    let (mut later, mut repeating) = (0u64, 0u64);
    for turn in &mut turns.list {
        if turn.session.is_none() {
            continue;
        }
        let prompt = u64::from(turn.shared.len()) + u64::from(turn.new);
        let so_far = prompt + u64::from(turn.output);
        if let Some(before) = last.insert(turn.session.0, so_far) {
            later += 1;
            if prompt > before && turn.shared.is_empty() {
                repeating += 1;
                turn.repeats = true;
                turn.new = (prompt - before) as u32;
            }
        }
    }
    if repeating > 0 {
        notes.push(format!(
            "the file does not say which tokens prompts share; {repeating} of {later} later rounds are longer than the round before and its answer, and are taken to begin with both"
        ));
    }
}

/// A note for files that say nothing about times.
pub(super) fn no_times(why: &str) -> String {
    format!("{why}: all requests without a time arrive at time 0")
}

#[cfg(test)]
mod tests {
    use super::super::held::Turn;
    use super::*;

    #[test]
    fn keys_of_several_turns_are_sessions_and_growing_prompts_repeat() {
        let mut turns = Turns::default();
        for (new, output) in [(100, 11), (50, 5), (150, 5), (155, 5), (90, 5)] {
            turns.list.push(Turn {
                new,
                output,
                ..Turn::default()
            });
        }
        sessions_of(&mut turns, &["a", "b", "a", "a", ""]);
        let mut notes = Vec::new();
        repeat_where_lengths_allow(&mut turns, &mut notes);
        let seen: Vec<(&str, bool, u32)> = turns
            .list
            .iter()
            .map(|t| (turns.symbols.name(t.session), t.repeats, t.new))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", false, 100),
                ("", false, 50),
                ("a", true, 39),
                // As long as what was before: nothing new could be in it.
                ("a", false, 155),
                ("", false, 90)
            ]
        );
        assert!(notes[0].contains("1 of 2 later rounds"), "{notes:?}");
    }
}
