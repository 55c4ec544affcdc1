//! A completion that is streamed: when its tokens came.

use serde_json::Value;

/// Longest event that is waited for, bytes.
const LONGEST_EVENT: usize = 4 << 20;
/// Longest message of a server that is shown, characters.
const LONGEST_MESSAGE: usize = 400;

/// Parts of a stream of server-sent events, put together to events.
#[derive(Debug, Default)]
pub struct Events {
    unread: Vec<u8>,
}

impl Events {
    /// Is what has come of the next event longer than any event of tokens?
    pub fn is_endless(&self) -> bool {
        self.unread.len() > LONGEST_EVENT
    }

    /// Adds bytes, and gives the data of every event that they complete.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(bytes);
        let mut all = Vec::new();
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                all.push(data.trim_start().to_owned());
            }
        }
        all
    }
}

/// Tokens that came together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, milliseconds of the clock of all exchanges.
    pub at_ms: f64,
    /// How many.
    pub tokens: u64,
}

/// A request and what came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// When it was sent, milliseconds.
    pub sent_ms: f64,
    /// Tokens of the prompt: those sent, or what the server counted.
    pub prompt_tokens: u64,
    /// The tokens, in order.
    pub arrivals: Vec<Arrival>,
}

impl Exchange {
    /// From sending to the first token, milliseconds.
    pub fn ttft_ms(&self) -> Option<f64> {
        self.arrivals.first().map(|a| a.at_ms - self.sent_ms)
    }

    /// Tokens that had come by then.
    pub fn tokens_by(&self, at_ms: f64) -> u64 {
        let there = self.arrivals.iter().take_while(|a| a.at_ms <= at_ms);
        there.map(|a| a.tokens).sum()
    }

    /// Tokens in all.
    pub fn tokens(&self) -> u64 {
        self.arrivals.iter().map(|a| a.tokens).sum()
    }

    /// Takes an event of the stream that came at `at_ms`. Says whether it is the last one.
    ///
    /// # Errors
    /// What the server said instead of tokens.
    pub fn take(&mut self, data: &str, at_ms: f64) -> Result<bool, String> {
        if data == "[DONE]" {
            return Ok(true);
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            return Err(format!("an event of the stream is no JSON: {data}"));
        };
        if let Some(error) = event.get("error") {
            return Err(message_of(error));
        }
        let usage = |key: &str| {
            event
                .pointer(&format!("/usage/{key}"))
                .and_then(Value::as_u64)
        };
        if let Some(tokens) = usage("prompt_tokens") {
            self.prompt_tokens = tokens;
        }
        let choices = event.get("choices").and_then(Value::as_array);
        if choices.is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        // Servers that count as they go say how many tokens an event has; for others it is one.
        let before = self.tokens();
        let tokens = usage("completion_tokens").map_or(1, |now| now.saturating_sub(before));
        if tokens > 0 {
            self.arrivals.push(Arrival { at_ms, tokens });
        }
        Ok(false)
    }
}

/// The message in what a server answers if it refuses; a very long one is cut.
pub fn message_of(error: &Value) -> String {
    let message = error
        .get("message")
        .or(error.get("detail"))
        .unwrap_or(error);
    let text = message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned);
    text.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_come_in_pieces() {
        let mut events = Events::default();
        assert!(events.add(b"data: {\"a\"").is_empty());
        assert_eq!(
            events.add(b": 1}\r\n\r\n: a comment\ndata:[DONE]\n"),
            ["{\"a\": 1}", "[DONE]"]
        );
    }

    #[test]
    fn an_event_without_end_is_noticed() {
        let mut events = Events::default();
        events.add(&vec![b'x'; LONGEST_EVENT]);
        assert!(!events.is_endless());
        events.add(b"x");
        assert!(events.is_endless());
    }

    #[test]
    fn tokens_are_counted_as_the_server_counts_or_by_events() {
        let mut one = Exchange::default();
        let counted =
            r#"{"choices":[{"text":""}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
        assert_eq!(one.take(counted, 5.0), Ok(false));
        assert_eq!((one.prompt_tokens, one.tokens()), (9, 3));
        let mut other = Exchange::default();
        assert_eq!(
            other.take(r#"{"choices":[{"text":"a"}],"usage":null}"#, 5.0),
            Ok(false)
        );
        assert_eq!(
            other.take(r#"{"choices":[],"usage":{"prompt_tokens":4}}"#, 6.0),
            Ok(false)
        );
        assert_eq!(
            (other.tokens(), other.tokens_by(4.9), other.prompt_tokens),
            (1, 0, 4)
        );
        assert_eq!(other.take("[DONE]", 7.0), Ok(true));
        let refused = other.take(r#"{"error": {"message": "too long"}}"#, 8.0);
        assert_eq!(refused, Err("too long".to_owned()));
    }
}
