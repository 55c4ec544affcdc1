//! Requests, their token sequences and names, and the trait of everything that yields requests.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// An interned name (SLO class, tenant, model, session, ...). `Sym::NONE` is the empty name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(pub u32);

impl Sym {
    /// The empty name.
    pub const NONE: Self = Self(0);

    /// Is this the empty name?
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// The table behind [`Sym`].
#[derive(Clone, Debug)]
pub struct Symbols {
    names: Vec<Arc<str>>,
    index: FxHashMap<Arc<str>, Sym>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self {
            names: Vec::new(),
            index: FxHashMap::default(),
        };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The symbol of `name`, new or old.
    ///
    /// # Panics
    /// With more than 2^32 distinct names.
    pub fn intern(&mut self, name: &str) -> Sym {
        if let Some(&sym) = self.index.get(name) {
            return sym;
        }
        let sym = Sym(u32::try_from(self.names.len()).expect("fewer than 2^32 names"));
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.index.insert(name, sym);
        sym
    }

    /// How many names there are, the empty one included. New ones get this number.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.names.len() as u32
    }

    /// The symbol of `name` if it was interned.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Sym> {
        self.index.get(name).copied()
    }

    /// The name behind `sym`.
    #[must_use]
    pub fn name(&self, sym: Sym) -> &str {
        &self.names[sym.0 as usize]
    }
}

/// A request's name. Compares like its text, byte by byte, because schedulers break ties on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// `request_<n>`.
    Number(u64),
    /// Any other name.
    Named(Arc<str>),
}

impl RequestId {
    /// The name that this text is.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let number = text.strip_prefix("request_").and_then(|n| n.parse().ok());
        match number.map(Self::Number) {
            // Not with leading zeros or a sign, which are another text.
            Some(numbered) if numbered.to_string() == text => numbered,
            _ => Self::Named(text.into()),
        }
    }

    fn with_text<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Number(n) => f(&format!("request_{n}")),
            Self::Named(name) => f(name),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "request_{n}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Ord for RequestId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.with_text(|a| other.with_text(|b| a.cmp(b)))
    }
}

impl PartialOrd for RequestId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A run of consecutive tokens of one token stream.
///
/// Streams are *rooted*: wherever token `(stream, offset)` occurs, exactly the same tokens come
/// before it in the whole sequence (prompt followed by output). So the last token of a block
/// identifies the block *and* everything before it, and no token content is ever stored or hashed.
/// A source that reads real token ids keeps the promise with a radix tree (`workload::trie`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The token stream. Below 2^31.
    pub stream: u32,
    /// First token of the run.
    pub start: u32,
    /// Tokens in the run.
    pub len: u32,
}

/// A token sequence as rooted spans, without the tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSeq {
    spans: SmallVec<[Span; 2]>,
    len: u32,
}

impl TokenSeq {
    /// A sequence of one span from the start of `stream`.
    #[must_use]
    pub fn of(stream: u32, len: u32) -> Self {
        let mut seq = Self::default();
        seq.push(Span {
            stream,
            start: 0,
            len,
        });
        seq
    }

    /// Appends a span; joins it with the last one where they touch.
    pub fn push(&mut self, span: Span) {
        if span.len == 0 {
            return;
        }
        self.len += span.len;
        if let Some(last) = self.spans.last_mut()
            && last.stream == span.stream
            && last.start + last.len == span.start
        {
            last.len += span.len;
            return;
        }
        self.spans.push(span);
    }

    /// Appends the first `len` tokens of `other`.
    pub fn extend_from(&mut self, other: &Self, len: u32) {
        let mut left = len;
        for span in &other.spans {
            let take = span.len.min(left);
            self.push(Span { len: take, ..*span });
            left -= take;
            if left == 0 {
                break;
            }
        }
    }

    /// Tokens in all.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// No tokens?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The spans in order.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Identity of the token at `position`: stream in the high half, offset in the low half. `None`
    /// past the end.
    #[must_use]
    pub fn token_key(&self, position: u32) -> Option<u64> {
        let mut at = position;
        for span in &self.spans {
            if at < span.len {
                return Some((u64::from(span.stream) << 32) | u64::from(span.start + at));
            }
            at -= span.len;
        }
        None
    }

    /// Keys of the last tokens of the full blocks of `block` tokens, in order. Each names its block
    /// and all before it.
    pub fn block_keys(&self, block: u32) -> impl Iterator<Item = u64> + '_ {
        let mut spans = self.spans.iter();
        let mut span = spans.next();
        let mut before = 0u32; // tokens before the current span
        (1..=self.len / block).map(move |k| {
            let last = k * block - 1;
            loop {
                let s = span.expect("a full block ends inside the sequence");
                if last < before + s.len {
                    return (u64::from(s.stream) << 32) | u64::from(s.start + (last - before));
                }
                before += s.len;
                span = spans.next();
            }
        })
    }
}

/// A request that a client sends to the cluster.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// When the client sends it, microseconds.
    pub arrival_us: i64,
    /// The prompt.
    pub prompt: TokenSeq,
    /// What it will generate. No policy ever sees its length: a real server does not know it.
    pub output: TokenSeq,
    /// From this position on (prompt, then output), its tokens occur in no other request of the
    /// run; `u32::MAX` = all may occur elsewhere. Blocks of private tokens need no place in a
    /// prefix index.
    pub private_from: u32,
    /// Leading tokens of the prompt that a prefix cache without limits would have when the request
    /// arrives; 0 where nobody counts them.
    pub reusable_tokens: u32,
    /// The client's output budget (`max_tokens`), tokens; 0 = none given.
    pub max_output_tokens: u32,
    /// The client gives up at this time, microseconds; 0 = never.
    pub deadline_us: i64,
    /// Time-to-first-token target, microseconds; 0 = none.
    pub slo_ttft_us: i64,
    /// Client of the workload.
    pub client: Sym,
    /// Tenant.
    pub tenant: Sym,
    /// SLO class as given.
    pub slo_class: Sym,
    /// The client's own priority in place of its class's, higher is more important; `None` = the
    /// class decides.
    pub priority: Option<i32>,
    /// The priority that the client sends to the serving engine, in vLLM's sense: lower is more
    /// urgent, 0 where none is given. Only a scheduling policy that asks for it reads it.
    pub client_priority: i32,
    /// The model that the client names.
    pub model: Sym,
    /// LoRA adapter, `Sym::NONE` for none. KV depends on it; a source need not care, as equal
    /// streams of different adapters are told apart [later](crate::adapter_streams).
    pub adapter: Sym,
    /// Session, `Sym::NONE` for none.
    pub session: Sym,
    /// Round within the session, from 0.
    pub round: u32,
    /// Shared-prefix group.
    pub prefix_group: Sym,
    /// Tokens of the prompt that belong to the group's prefix.
    pub prefix_tokens: u32,
    /// Does the client stream the answer?
    pub streaming: bool,
    /// Drafts that speculative decoding verifies of it: while `p` tokens of its output are known,
    /// the next `accepted[p % len]` drafts are right, none if the list is empty. `None` = the rate
    /// of the engine decides.
    pub accepted: Option<Arc<[u32]>>,
    /// Free for the source that made it; nothing else reads it.
    pub source_tag: u64,
    /// Properties that only exports show; `None` when all are at their defaults.
    pub detail: Option<Arc<Detail>>,
}

/// Properties of a request that have no effect on a run and only appear in exports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detail {
    /// Prompt tokens of text, where the prompt has several modalities.
    pub text_tokens: u32,
    /// Prompt tokens of images.
    pub image_tokens: u32,
    /// Prompt tokens of audio.
    pub audio_tokens: u32,
    /// Prompt tokens of video.
    pub video_tokens: u32,
    /// Share of the output that is reasoning.
    pub reason_ratio: f64,
    /// Pause of the client before this round of its session, microseconds.
    pub think_us: i64,
    /// Its trace gives it its name.
    pub named: bool,
}

impl Detail {
    /// Boxed for a request; `None` when all is at its default.
    #[must_use]
    pub fn boxed(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }
}

impl Request {
    /// A bare request: everything optional is empty.
    #[must_use]
    pub fn new(id: RequestId, arrival_us: i64, prompt: TokenSeq, output: TokenSeq) -> Self {
        Self {
            id,
            arrival_us,
            private_from: u32::MAX,
            reusable_tokens: 0,
            max_output_tokens: output.len(),
            prompt,
            output,
            deadline_us: 0,
            slo_ttft_us: 0,
            client: Sym::NONE,
            tenant: Sym::NONE,
            slo_class: Sym::NONE,
            priority: None,
            client_priority: 0,
            model: Sym::NONE,
            adapter: Sym::NONE,
            session: Sym::NONE,
            round: 0,
            prefix_group: Sym::NONE,
            prefix_tokens: 0,
            streaming: false,
            accepted: None,
            source_tag: 0,
            detail: None,
        }
    }

    /// Prompt length, tokens.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        self.prompt.len()
    }

    /// True output length, tokens.
    #[must_use]
    pub fn output_tokens(&self) -> u32 {
        self.output.len()
    }
}

/// Why a request that reached an instance left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It got all its tokens, or as many as the model's length allows.
    Completed,
    /// Its deadline passed.
    TimedOut,
    /// The instance can never serve it.
    Dropped,
}

/// A request that ended, as its [`Source`] sees it: input for a follow-up.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The request.
    pub request: &'a Request,
    /// Why it ended.
    pub reason: FinishReason,
    /// When, microseconds: the end of its last step, its deadline, or the moment it was refused.
    pub at_us: i64,
    /// Output tokens a follow-up prompt would contain.
    pub generated_tokens: u32,
}

/// A workload: yields requests in order of arrival, and follow-ups of those that end.
pub trait Source {
    /// The next request, in order of arrival; `None` when no more are known in advance.
    fn next_request(&mut self) -> Option<Request>;

    /// Called when a request ends; returns its follow-up, if any. Its arrival is not before
    /// `finished.at_us`.
    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let _ = finished;
        None
    }

    /// Can [`on_finished`](Self::on_finished) ever yield a request?
    fn has_follow_ups(&self) -> bool {
        false
    }

    /// Does it create requests when steps end? Then how long an idle step takes, microseconds:
    /// while no instance runs a step, it is asked again after each.
    fn idle_step_us(&self) -> Option<i64> {
        None
    }

    /// Called when a step of an instance is over at `now_us`, or an idle one, with the number of
    /// requests that wait or run: returns a request that is created now, and is called again until
    /// it returns none.
    fn on_step_end(&mut self, now_us: i64, in_system: u64) -> Option<Request> {
        let _ = (now_us, in_system);
        None
    }

    /// Begins again at time 0, and goes on with its random numbers; `false` = it cannot.
    fn restart(&mut self) -> bool {
        false
    }

    /// Requests in all, if known; for progress bars.
    fn size_hint(&self) -> Option<u64> {
        None
    }

    /// The names behind the requests' symbols.
    fn symbols(&self) -> &Symbols;

    /// The same, to intern the names that policies refer to.
    fn symbols_mut(&mut self) -> &mut Symbols;
}

/// A source whose requests, follow-ups included, something looks at or adds to on their way.
pub struct Tapped<'s, F> {
    source: &'s mut dyn Source,
    tap: F,
}

impl<'s, F: FnMut(&mut Request, &Symbols)> Tapped<'s, F> {
    /// Calls `tap` with every request of `source` and the names in it, in the order in which they
    /// come.
    pub fn new(source: &'s mut dyn Source, tap: F) -> Self {
        Self { source, tap }
    }
}

impl<F: FnMut(&mut Request, &Symbols)> Source for Tapped<'_, F> {
    fn next_request(&mut self) -> Option<Request> {
        let mut request = self.source.next_request()?;
        (self.tap)(&mut request, self.source.symbols());
        Some(request)
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let mut request = self.source.on_finished(finished)?;
        (self.tap)(&mut request, self.source.symbols());
        Some(request)
    }

    fn has_follow_ups(&self) -> bool {
        self.source.has_follow_ups()
    }

    fn idle_step_us(&self) -> Option<i64> {
        self.source.idle_step_us()
    }

    fn on_step_end(&mut self, now_us: i64, in_system: u64) -> Option<Request> {
        let mut request = self.source.on_step_end(now_us, in_system)?;
        (self.tap)(&mut request, self.source.symbols());
        Some(request)
    }

    fn size_hint(&self) -> Option<u64> {
        self.source.size_hint()
    }

    fn symbols(&self) -> &Symbols {
        self.source.symbols()
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        self.source.symbols_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(stream: u32, start: u32, len: u32) -> Span {
        Span { stream, start, len }
    }

    #[test]
    fn block_keys_name_the_last_token_of_each_full_block() {
        let mut seq = TokenSeq::default();
        seq.push(span(7, 0, 5));
        seq.push(span(9, 3, 6));
        let keys: Vec<u64> = seq.block_keys(4).collect();
        assert_eq!(keys, vec![(7 << 32) | 3, (9 << 32) | 5]);
        assert_eq!(keys[1], seq.token_key(7).unwrap());
        assert_eq!(seq.token_key(11), None);
    }

    #[test]
    fn touching_spans_join_and_empty_ones_vanish() {
        let mut seq = TokenSeq::of(1, 4);
        seq.push(span(1, 4, 2));
        seq.push(span(2, 0, 0));
        assert_eq!(seq.spans(), &[span(1, 0, 6)]);
        let mut head = TokenSeq::of(5, 1);
        head.extend_from(&seq, 3);
        assert_eq!(head.spans(), &[span(5, 0, 1), span(1, 0, 3)]);
    }

    #[test]
    fn ids_compare_as_text() {
        assert!(RequestId::Number(10) < RequestId::Number(2));
        assert!(RequestId::Number(1) < RequestId::Named("session_a_round_1_1".into()));
        assert_eq!(RequestId::of_text("request_7"), RequestId::Number(7));
        for other in ["request_07", "request_+7", "request_", "7", "b"] {
            assert_eq!(RequestId::of_text(other), RequestId::Named(other.into()));
        }
    }
}
