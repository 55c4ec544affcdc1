//! How much a file can do between two places where the interpreter counts: the longest straight
//! pieces of its code, by tokens.
//!
//! A loop counts at each turn, a function when it is called and when it returns. What stands
//! between is not counted, so a unit of a file with long straight pieces costs more.

use full_moon::tokenizer::{Symbol, Token, TokenType};

/// Tokens of straight code that are worth one unit.
const TOKENS_PER_UNIT: usize = 64;
/// Tokens that the start of a walk through a table is worth: it passes all empty places.
const TOKENS_OF_A_WALK: usize = 16;
/// Bytes of texts that take as long as one byte of a text that is read as a number.
const BYTES_PER_DIGIT: usize = 16;

/// What a unit of a file is worth, in units of a file whose straight pieces are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weights {
    /// While the file itself runs.
    pub(super) file: i64,
    /// While one of its functions runs.
    pub(super) functions: i64,
    /// Length of the longest text of the file that can be read as a number, bytes; what is compared
    /// takes less time and counts for less.
    pub(super) number_text: usize,
    /// The longest text of the file, bytes, and its line.
    pub(super) longest: (usize, usize),
}

/// A block that is open.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    /// A function, or a loop: a piece of its own, with so many tokens.
    Piece(usize),
    /// A block that runs with what is around it.
    Part,
    /// A loop whose `do` is still to come.
    Head,
}

struct Pieces {
    file: usize,
    open: Vec<Open>,
    longest: usize,
}

impl Pieces {
    fn count(&mut self, tokens: usize) {
        let piece = self.open.iter_mut().rev().find_map(|open| match open {
            Open::Piece(count) => Some(count),
            _ => None,
        });
        *piece.unwrap_or(&mut self.file) += tokens;
    }

    /// Closes a block, if one is open.
    fn close(&mut self) -> Option<()> {
        match self.open.pop()? {
            Open::Piece(tokens) => self.longest = self.longest.max(tokens),
            Open::Part => {}
            Open::Head => return None,
        }
        Some(())
    }
}

impl Weights {
    /// Those of an empty file.
    #[cfg(test)]
    pub(super) const LEAST: Self = Self {
        file: 1,
        functions: 1,
        number_text: 0,
        longest: (0, 0),
    };

    /// Those of a text; `tokens` are none where it cannot be split into any.
    pub(super) fn of(text: &str, tokens: Option<&[Token]>) -> Self {
        let all = || {
            let count = tokens.map_or(text.len() / 2, <[Token]>::len);
            (count, count)
        };
        let (file, functions) = tokens.and_then(pieces).unwrap_or_else(all);
        let (number_text, longest) = match tokens {
            Some(tokens) => texts(tokens),
            None => (text.len(), (0, 0)),
        };
        let units = |tokens: usize| tokens.div_ceil(TOKENS_PER_UNIT).max(1) as i64;
        Self {
            file: units(file.max(functions)),
            functions: units(functions),
            number_text,
            longest,
        }
    }
}

/// The length of the longest text that counts as a number, and the longest text with its line.
fn texts(tokens: &[Token]) -> (usize, (usize, usize)) {
    let (mut number, mut all, mut longest) = (0, 0, (0, 0));
    for token in tokens {
        let literal = match token.token_type() {
            TokenType::StringLiteral { literal, .. }
            | TokenType::InterpolatedString { literal, .. } => literal.as_str(),
            _ => continue,
        };
        all += literal.len();
        if literal.len() > longest.0 {
            longest = (literal.len(), token.start_position().line());
        }
        let start = literal.trim_start().bytes().next();
        let read = start.is_none_or(|b| b.is_ascii_digit() || b"+-.\\".contains(&b))
            || ["nan", "inf"].iter().any(|word| {
                let start = literal.trim_start().get(..3);
                start.is_some_and(|s| s.eq_ignore_ascii_case(word))
            });
        if read {
            number = number.max(literal.len());
        }
    }
    (number.max(all / BYTES_PER_DIGIT), longest)
}

/// Tokens of the file outside all functions and loops, and of the longest function or loop without
/// what it has inside of its own kind. `None` where blocks do not fit together.
fn pieces(tokens: &[Token]) -> Option<(usize, usize)> {
    use Symbol as S;
    let mut pieces = Pieces {
        file: 0,
        open: Vec::new(),
        longest: 0,
    };
    // Conditions without their last branch: whether they are expressions.
    let mut ifs: Vec<bool> = Vec::new();
    let mut else_of_expression = false;
    let mut before = None;
    for token in tokens.iter().filter(|t| !t.token_type().is_trivia()) {
        let symbol = match token.token_type() {
            TokenType::Symbol { symbol } => Some(*symbol),
            _ => None,
        };
        pieces.count(match symbol {
            Some(S::In) => TOKENS_OF_A_WALK,
            _ => 1,
        });
        match symbol {
            Some(S::Function | S::Repeat) => pieces.open.push(Open::Piece(0)),
            Some(S::For | S::While) => pieces.open.push(Open::Head),
            Some(S::Do) => match pieces.open.last_mut() {
                Some(head @ Open::Head) => *head = Open::Piece(0),
                _ => pieces.open.push(Open::Part),
            },
            Some(S::If) => {
                let expression = match before {
                    None => false,
                    Some(None) => false,
                    Some(Some(
                        S::RightParen
                        | S::RightBrace
                        | S::RightBracket
                        | S::End
                        | S::False
                        | S::Nil
                        | S::True
                        | S::Ellipsis
                        | S::Semicolon
                        | S::Do
                        | S::Repeat
                        | S::Break
                        | S::QuestionMark,
                    )) => false,
                    Some(Some(S::Then)) => ifs.last() == Some(&true),
                    Some(Some(S::Else)) => else_of_expression,
                    Some(Some(_)) => true,
                };
                ifs.push(expression);
            }
            Some(S::Then) if ifs.last() == Some(&false) => {
                ifs.pop();
                pieces.open.push(Open::Part);
            }
            Some(S::ElseIf) if ifs.last() != Some(&true) => {
                pieces.close()?;
                ifs.push(false);
            }
            Some(S::Else) => {
                else_of_expression = ifs.last() == Some(&true);
                if else_of_expression {
                    ifs.pop();
                }
            }
            Some(S::End | S::Until) => pieces.close()?,
            _ => {}
        }
        before = Some(symbol);
    }
    pieces
        .open
        .is_empty()
        .then_some((pieces.file, pieces.longest))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn weights(text: &str) -> Weights {
        Weights::of(text, tokens(text).as_deref())
    }

    #[test]
    fn straight_code_makes_units_dear_and_loops_do_not() {
        assert_eq!(weights("return {}"), Weights::LEAST);
        let straight = "x = a < b ".repeat(640);
        for (open, close) in [
            ("local function f() ", " end"),
            ("for i = 1, 3 do ", " end"),
            ("while a do ", " end"),
            ("repeat ", " until a"),
            ("return { f = function(a, b) if a then ", " end end }"),
            (
                "for i = f(function() end), 3 do local x = if a then b else c ",
                " end",
            ),
        ] {
            let found = weights(&format!("{open}{straight}{close}"));
            assert!((50..53).contains(&found.functions), "{open}: {found:?}");
            assert_eq!(found.file, found.functions);
        }
        let found = weights(&straight);
        assert!(found.file >= 50 && found.functions == 1, "{found:?}");
        let loops = "for i = 1, 3 do x = a < b end ".repeat(100);
        assert!(weights(&format!("function f() {loops} end")).functions < 16);
    }

    #[test]
    fn what_does_not_fit_together_counts_as_one_piece() {
        let straight = "x = a < b ".repeat(640);
        // A type before a condition looks like an operator.
        let text =
            format!("local function f() local x: A<B> if a then end {straight} end {straight}");
        assert!(weights(&text).functions >= 100);
        assert!(weights(&format!("\"\\xZZ\" function f() {straight} end")).functions >= 50);
    }

    #[test]
    fn texts_that_can_be_numbers_count_by_length_and_others_for_less() {
        let text = |start: &str| weights(&format!("return '{start}{}'", "1".repeat(1600)));
        for start in ["", " ", "+", "\\49", "nan(", "0x"] {
            assert!(text(start).number_text >= 1600, "{start}");
        }
        assert_eq!(text("over").number_text, 100);
        assert_eq!(text("\\n").longest.1, 1);
    }

    #[test]
    fn policies_as_they_are_written_have_small_weights() {
        for script in crate::shipped::ALL {
            let found = weights(script.text);
            let small = found.functions <= 6 && found.file <= 12 && found.number_text < 64;
            assert!(small, "{}: {found:?}", script.path());
        }
    }
}
