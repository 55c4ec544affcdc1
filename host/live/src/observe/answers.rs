//! What a server has answered, as far as later prompts repeat it.

use rustc_hash::FxHashMap;
use windtunnel_base::request::Request;

/// An answer, by the tokens of the workload.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its token ids, where the server tells them.
    pub ids: Vec<u32>,
    /// Its text in pieces: how many tokens each is.
    pub pieces: Vec<(u32, String)>,
}

impl Answer {
    /// The text of `from..to`, tokens of the answer.
    pub fn text(&self, from: u32, to: u32) -> String {
        let mut text = String::new();
        let mut at = 0;
        for (tokens, piece) in &self.pieces {
            // A piece that is partly wanted is taken where it ends.
            let end = at + tokens;
            if from < end && end <= to {
                text.push_str(piece);
            }
            at = end;
        }
        text
    }
}

/// Answers by the stream of tokens that stands for them.
#[derive(Clone, Debug, Default)]
pub struct KnownAnswers(FxHashMap<u32, (u32, Answer)>);

impl KnownAnswers {
    /// Keeps the answer to `request`.
    pub fn add(&mut self, request: &Request, answer: Answer) {
        // Where the answer's tokens are known in advance, they may be spread over several streams.
        if let [span] = request.output.spans() {
            self.0.insert(span.stream, (span.start, answer));
        }
    }

    /// The answer in `stream`, and at which token of it it begins.
    pub fn of(&self, stream: u32) -> Option<(u32, &Answer)> {
        self.0.get(&stream).map(|(start, answer)| (*start, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_answer_is_made_of_whole_pieces() {
        let pieces = [(1, "one "), (2, "two "), (1, "three")];
        let answer = Answer {
            ids: Vec::new(),
            pieces: pieces.map(|(n, text)| (n, text.to_owned())).into(),
        };
        assert_eq!(answer.text(0, 4), "one two three");
        assert_eq!(answer.text(0, 2), "one ");
        assert_eq!(answer.text(1, 3), "two ");
    }
}
