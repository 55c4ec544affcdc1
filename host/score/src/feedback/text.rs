//! The text of feedback: its items, as many as fit.

use crate::report::FeedbackItem;

/// Most tokens of the text.
pub const MOST_TOKENS: usize = 1500;

/// An item of feedback.
pub(super) fn item(scenario: Option<&str>, kind: &str, text: String) -> FeedbackItem {
    FeedbackItem {
        scenario: scenario.map(str::to_owned),
        kind: kind.to_owned(),
        text,
    }
}

/// The text of the items that fit, in their order.
pub(super) fn fit(items: &[FeedbackItem]) -> String {
    let mut text = String::new();
    let mut left = MOST_TOKENS;
    for item in items {
        let needed = tokens(&item.text);
        if needed <= left {
            left -= needed;
            text += &item.text;
            text.push('\n');
        }
    }
    text
}

/// An estimate, rather too high, of the tokens that a model's tokenizer makes of a text: one for
/// every four letters or three digits of a word, and one for every other character but blanks.
#[must_use]
pub fn tokens(text: &str) -> usize {
    let kind = |c: char| match c {
        c if c.is_ascii_digit() => 3,
        c if c.is_ascii_alphabetic() => 4,
        _ => 0,
    };
    let (mut count, mut run, mut of) = (0, 0, 0);
    for c in text.chars() {
        let new = kind(c);
        if new == 0 || new != of || run == new {
            run = 0;
            count += usize::from(!c.is_whitespace());
        }
        of = new;
        run += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_rather_high() {
        assert_eq!(tokens(""), 0);
        assert_eq!(tokens("the queue"), 1 + 2);
        assert_eq!(tokens("in_flight 12345"), 1 + 1 + 2 + 2);
        assert_eq!(tokens("a1b2 -3.5 %"), 4 + 4 + 1);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_what_fits_stays_in_order() {
        let piece = |text: &str| item(None, "k", text.into());
        let long = "word ".repeat(MOST_TOKENS - 1);
        let text = fit(&[piece("one"), piece(&long), piece("two words"), piece("x")]);
        assert_eq!(text, format!("one\n{long}\n"));
        assert!(tokens(&text) <= MOST_TOKENS);
    }
}
