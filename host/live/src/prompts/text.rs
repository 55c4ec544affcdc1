//! Text as tokens, and tokens as text. No model's tokenizer is here: a token is a word with the
//! space before it, a part of a long word, or a sign, which is about what models make of English.

use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

/// Longest token, bytes.
const LONGEST: usize = 8;
/// Number of different tokens.
const VOCABULARY: u32 = 128_000;

/// Words of answers; their tokens are their places here.
const WORDS: [&str; 64] = [
    "the", "a", "of", "to", "and", "in", "is", "it", "that", "for", "on", "as", "with", "by", "at",
    "from", "this", "be", "or", "an", "are", "not", "which", "one", "all", "when", "there", "its",
    "more", "can", "has", "each", "time", "step", "queue", "batch", "token", "model", "server",
    "request", "cache", "block", "prompt", "answer", "first", "next", "last", "long", "short",
    "many", "few", "wait", "run", "serve", "load", "rate", "memory", "layer", "word", "line",
    "page", "part", "whole", "done",
];

/// The tokens of a text.
pub fn tokens(text: &str) -> Vec<u32> {
    let mut all = Vec::with_capacity(text.len() / 4 + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(first_piece(rest));
        all.push(token(piece));
        rest = after;
    }
    all
}

/// Bytes of the first token: letters and digits with at most one space before them, or one sign.
fn first_piece(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else {
        return 0;
    };
    let mut end = first.len_utf8();
    if first != ' ' && !first.is_alphanumeric() {
        return end;
    }
    for (at, c) in chars {
        if !c.is_alphanumeric() || at + c.len_utf8() > LONGEST {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn token(piece: &str) -> u32 {
    static PLACES: OnceLock<rustc_hash::FxHashMap<&str, u32>> = OnceLock::new();
    let places = PLACES.get_or_init(|| WORDS.iter().copied().zip(0..).collect());
    let word = piece.strip_prefix(' ').and_then(|word| places.get(word));
    word.copied().unwrap_or_else(|| {
        let words = WORDS.len() as u32;
        words + (hash(piece) % u64::from(VOCABULARY - words)) as u32
    })
}

/// The text of a token. That of a token that no answer has is not known: its number stands for it.
pub fn text(token: u32) -> String {
    match WORDS.get(token as usize) {
        Some(word) => format!(" {word}"),
        None => format!("<{token}>"),
    }
}

/// An answer of so many tokens; equal seeds give equal answers.
pub fn answer(seed: u64, len: u32) -> Vec<u32> {
    let word = |k: u32| (hash((seed, k)) % WORDS.len() as u64) as u32;
    (0..len).map(word).collect()
}

/// A number that depends on nothing but what is hashed.
pub fn hash(what: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    what.hash(&mut hasher);
    // Its low bits depend on few of the bits that went in.
    let mixed = (hasher.finish() ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parts_of_long_words_and_signs_are_tokens() {
        let pieces = |text: &str| {
            let (mut rest, mut all) = (text, Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(first_piece(rest));
                all.push(piece.to_owned());
                rest = after;
            }
            all
        };
        assert_eq!(pieces("Hello, world"), ["Hello", ",", " world"]);
        assert_eq!(pieces("  a"), [" ", " a"]);
        assert_eq!(pieces("antidisestablish"), ["antidise", "stablish"]);
        assert_eq!(pieces("naïveté !"), ["naïvet", "é", " ", "!"]);
    }

    #[test]
    fn an_answer_that_is_sent_back_has_the_same_tokens() {
        let said = answer(7, 200);
        let text: String = said.iter().map(|&t| text(t)).collect();
        assert_eq!(tokens(&text), said);
        assert_ne!(answer(8, 200), said);
        assert_eq!(answer(7, 100), said[..100]);
    }
}
