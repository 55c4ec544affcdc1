//! Counts the tokens of an answer while it passes, without parsing it.

/// What is known of an answer so far.
pub struct Tally {
    streamed: bool,
    /// A stream's first part has a role and no token.
    is_chat: bool,
    events: u32,
    /// The end of what passed, where a number may be cut in two.
    tail: Vec<u8>,
    completion_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    /// The stream said that this is all.
    done: bool,
}

/// The last event of a stream.
const DONE: &[u8] = b"data: [DONE]";

/// Longest part of an answer in which numbers are looked for beyond its last part, bytes.
const TAIL: usize = 512;

impl Tally {
    /// Nothing has passed yet.
    pub fn new(streamed: bool, path: &str) -> Self {
        Self {
            streamed,
            is_chat: path.ends_with("/chat/completions"),
            events: 0,
            tail: Vec::new(),
            completion_tokens: None,
            cached_tokens: None,
            done: false,
        }
    }

    /// A part passes.
    pub fn add(&mut self, part: &[u8]) {
        if self.streamed {
            self.events += part.windows(6).filter(|w| w == b"data: ").count() as u32;
        }
        self.tail.extend_from_slice(part);
        if let Some(n) = number_after(&self.tail, b"\"completion_tokens\":") {
            self.completion_tokens = Some(n);
        }
        if let Some(n) = number_after(&self.tail, b"\"cached_tokens\":") {
            self.cached_tokens = Some(n);
        }
        self.done |= self.streamed && self.tail.windows(DONE.len()).any(|w| w == DONE);
        let from = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..from);
    }

    /// Output tokens: what the server says, else parts of the stream.
    pub fn output_tokens(&self) -> u32 {
        // The last part says that there are no more.
        let beside = 1 + u32::from(self.is_chat);
        self.completion_tokens
            .unwrap_or(self.events.saturating_sub(beside))
    }

    /// Did a stream say that it is over? Its client may close the connection then.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Prompt tokens that were cached, if the server says it.
    pub fn cached_tokens(&self) -> Option<u32> {
        self.cached_tokens
    }
}

/// The last number behind a key, if all of it is there.
fn number_after(text: &[u8], key: &[u8]) -> Option<u32> {
    let at = text.windows(key.len()).rposition(|window| window == key)?;
    let rest = &text[at + key.len()..];
    let start = rest.iter().position(|byte| *byte != b' ')?;
    let end = rest[start..]
        .iter()
        .position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[start..start + end])
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_counted_by_its_parts_or_by_what_the_server_says() {
        let mut tally = Tally::new(true, "/v1/chat/completions");
        for part in [
            "data: {role}\n\n",
            "data: {a}\n\n",
            "data: {b}\n\n",
            "data: [DONE]\n\n",
        ] {
            tally.add(part.as_bytes());
        }
        assert_eq!((tally.output_tokens(), tally.cached_tokens()), (2, None));
        assert!(tally.is_done());
        let mut tally = Tally::new(true, "/v1/completions");
        tally.add(b"data: {a}\n\ndata: {\"usage\":{\"completion_tok");
        tally.add(b"ens\":17,\"prompt_tokens_details\":{\"cached_tokens\": 32}}}\n\n");
        assert_eq!(
            (tally.output_tokens(), tally.cached_tokens()),
            (17, Some(32))
        );
        let mut tally = Tally::new(false, "/v1/completions");
        tally.add(b"{\"usage\":{\"completion_tokens\":5}}");
        assert_eq!(tally.output_tokens(), 5);
    }
}
