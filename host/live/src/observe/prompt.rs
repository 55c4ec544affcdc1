//! Prompts from the tokens of a workload: equal tokens become equal words or ids, so that a prefix
//! cache finds what it would find in a simulation.

use super::answers::{Answer, KnownAnswers};
use super::{Answers, Api, PromptFormat};
use crate::client::{Client, refusal};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_base::request::TokenSeq;

/// The words of prompts: common ones, of which most tokenisers make one token each.
const WORDS: [&str; 100] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place",
    "case", "week", "company", "system", "program", "question", "work", "number", "night", "point",
    "home", "water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right",
    "study", "book", "eye", "job", "word", "business", "issue", "side", "kind", "head", "house",
    "service", "friend", "father", "power", "hour", "game", "line", "end", "member", "law", "car",
    "city", "name", "team", "minute", "idea", "body", "back", "parent", "face", "level", "office",
    "door", "health", "person", "art", "war", "history", "party", "result", "change", "morning",
    "reason", "girl", "guy", "moment", "air", "teacher", "force", "order", "foot", "paper",
    "music", "river", "stone", "green", "light",
];
/// Token ids: every vocabulary has them, and they are no special tokens in most.
const IDS: std::ops::Range<u32> = 32..256;
/// Tokens per word that are believed.
const RATIOS: std::ops::RangeInclusive<f64> = 0.5..=16.0;

/// How tokens are written.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// As ids or as words.
    pub format: PromptFormat,
    /// Tokens per word.
    pub ratio: f64,
    /// Tokens that the server adds to every prompt: a template, a token for its beginning.
    pub added: f64,
    /// Another seed gives other words for the same tokens.
    pub seed: u64,
}

/// A well-mixed number of a token.
fn mixed(seed: u64, stream: u32, at: u32) -> u64 {
    let mut x = seed ^ ((u64::from(stream) << 32) | u64::from(at));
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        x = (x ^ (x >> 30))
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(factor);
    }
    x ^ (x >> 31)
}

/// A part of a prompt: who said it, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    by_server: bool,
    text: String,
}

/// A part of a prompt by its tokens.
struct Part<'a> {
    stream: u32,
    from: u32,
    to: u32,
    /// The answer that it is a part of, and where in the stream that begins.
    answer: Option<(u32, &'a Answer)>,
}

impl<'a> Part<'a> {
    fn new(stream: u32, from: u32, to: u32, answer: Option<(u32, &'a Answer)>) -> Self {
        Self {
            stream,
            from,
            to,
            answer,
        }
    }
}

impl Prompts {
    /// The keys of a body that hold this prompt.
    pub(super) fn body(&self, api: Api, prompt: &TokenSeq, known: &KnownAnswers) -> Value {
        match (api, self.format) {
            (Api::Completions, PromptFormat::Tokens) => json!({"prompt": self.ids(prompt, known)}),
            (Api::Completions, PromptFormat::Text) => {
                let text: String = self
                    .said(prompt, known)
                    .into_iter()
                    .map(|s| s.text)
                    .collect();
                json!({"prompt": text})
            }
            (Api::Chat, _) => {
                let messages = self.said(prompt, known).into_iter().map(|said| {
                    let role = if said.by_server { "assistant" } else { "user" };
                    json!({"role": role, "content": said.text})
                });
                json!({"messages": messages.collect::<Vec<Value>>()})
            }
        }
    }

    /// The parts of a prompt, in order.
    fn parts<'a>(prompt: &TokenSeq, known: &'a KnownAnswers) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for span in prompt.spans() {
            let (start, end) = (span.start, span.start + span.len);
            match known.of(span.stream) {
                Some((begins, answer)) if begins < end => {
                    let from = begins.max(start);
                    if start < from {
                        parts.push(Part::new(span.stream, start, from, None));
                    }
                    let answer = Some((begins, answer));
                    parts.push(Part::new(span.stream, from, end, answer));
                }
                _ => parts.push(Part::new(span.stream, start, end, None)),
            }
        }
        parts
    }

    fn ids(&self, prompt: &TokenSeq, known: &KnownAnswers) -> Vec<u32> {
        let mut ids = Vec::with_capacity(prompt.len() as usize);
        let made = |stream, at| {
            IDS.start + (mixed(self.seed, stream, at) % u64::from(IDS.end - IDS.start)) as u32
        };
        for part in Self::parts(prompt, known) {
            let Part {
                stream,
                from,
                to,
                answer,
            } = part;
            ids.extend((from..to).map(|at| {
                let real = answer.and_then(|(begins, a)| a.ids.get((at - begins) as usize));
                real.copied().unwrap_or_else(|| made(stream, at))
            }));
        }
        ids
    }

    fn said(&self, prompt: &TokenSeq, known: &KnownAnswers) -> Vec<Said> {
        let mut all: Vec<Said> = Vec::new();
        let parts = Self::parts(prompt, known);
        let last = parts.len().saturating_sub(1);
        for (k, part) in parts.into_iter().enumerate() {
            let Part {
                stream,
                from,
                to,
                answer,
            } = part;
            let text = match answer {
                Some((begins, answer)) => answer.text(from - begins, to - begins),
                None => {
                    // Counted from the start of the stream, so that a longer part begins with the
                    // words of a shorter one. What the server adds is taken off at the end.
                    let added = if k == last { self.added } else { 0.0 };
                    let word = |tokens: f64| (tokens.max(0.0) / self.ratio).round() as u32;
                    let (first, end) = (word(f64::from(from)), word(f64::from(to) - added));
                    self.words(stream, first, end.max(first + u32::from(k == last)))
                }
            };
            match all.last_mut() {
                Some(before) if before.by_server == answer.is_some() => before.text += &text,
                _ => all.push(Said {
                    by_server: answer.is_some(),
                    text,
                }),
            }
        }
        all
    }

    fn words(&self, stream: u32, from: u32, to: u32) -> String {
        let mut text = String::with_capacity(7 * (to - from) as usize);
        for at in from..to {
            let word = mixed(self.seed, stream, at) % WORDS.len() as u64;
            text.push_str(WORDS[word as usize]);
            text.push(' ');
        }
        text
    }
}

/// Finds out how prompts are written for a server: whether it takes token ids, if `wanted` leaves
/// that open, and how many tokens its words have. Says what a person should know of it.
///
/// # Errors
/// When the server refuses to complete anything.
pub async fn probe(
    client: &Client,
    model: &str,
    api: Api,
    wanted: Option<PromptFormat>,
    seed: u64,
) -> Result<(Prompts, Vec<String>), InputError> {
    let mut prompts = Prompts {
        format: PromptFormat::Tokens,
        ratio: 1.0,
        added: 0.0,
        seed,
    };
    let mut notes = Vec::new();
    if wanted == Some(PromptFormat::Tokens) && api == Api::Chat {
        let what = "chat takes words, no token ids; leave the format of prompts open, or text";
        return Err(InputError::new(what));
    }
    if wanted != Some(PromptFormat::Text) && api == Api::Completions {
        let ids = IDS.collect::<Vec<u32>>();
        let asked = json!({"prompt": ids, "model": model, "max_tokens": 1});
        match tokens_of(client, api, &asked).await {
            Ok(counted) if counted == Some(ids.len() as u64) || wanted.is_some() => {
                return Ok((prompts, notes));
            }
            Ok(_) => {
                notes.push("the server does not take lists of token ids: prompts are words".into())
            }
            Err(e) if wanted.is_some() => return Err(e),
            Err(e) => notes.push(format!(
                "prompts are words, as lists of token ids fail: {e}"
            )),
        }
    }
    prompts.format = PromptFormat::Text;
    let words = WORDS.len() as f64;
    let mut counted = [None; 2];
    for (k, counted) in counted.iter_mut().enumerate() {
        let text = format!("{} ", WORDS.join(" ")).repeat(k + 1);
        let said = match api {
            Api::Completions => json!({"prompt": text}),
            Api::Chat => json!({"messages": [{"role": "user", "content": text}]}),
        };
        let mut asked = json!({"model": model, "max_tokens": 1});
        if let (Some(asked), Value::Object(said)) = (asked.as_object_mut(), said) {
            asked.extend(said);
        }
        *counted = tokens_of(client, api, &asked).await?.map(|n| n as f64);
    }
    match counted {
        [Some(once), Some(twice)] if RATIOS.contains(&((twice - once) / words)) => {
            prompts.ratio = (twice - once) / words;
            prompts.added = (2.0 * once - twice).max(0.0);
        }
        _ => notes.push(
            "the server does not tell how many tokens a prompt has: a word counts as one".into(),
        ),
    }
    Ok((prompts, notes))
}

/// The prompt tokens that a server counts.
async fn tokens_of(client: &Client, api: Api, asked: &Value) -> Result<Option<u64>, InputError> {
    let path = api.path();
    let wrong = |what: String| InputError::new(format!("{}{path}: {what}", client.url()));
    let body = Bytes::from(asked.to_string());
    let answer = client.post(path, body, Vec::new()).await?;
    let status = answer.status;
    let text = answer.text().await.map_err(wrong)?;
    if status != StatusCode::OK {
        return Err(wrong(refusal(status, &text)));
    }
    let value: Value =
        serde_json::from_str(&text).map_err(|e| wrong(format!("the answer is no JSON: {e}")))?;
    Ok(value
        .pointer("/usage/prompt_tokens")
        .and_then(Value::as_u64))
}

/// Is the answer kept for later prompts, and as what?
pub(super) fn wants_ids(answers: Answers, format: PromptFormat) -> bool {
    answers == Answers::Real && format == PromptFormat::Tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::{Request, RequestId, Span};

    fn seq(spans: &[(u32, u32, u32)]) -> TokenSeq {
        let mut seq = TokenSeq::default();
        for (stream, start, len) in spans {
            seq.push(Span {
                stream: *stream,
                start: *start,
                len: *len,
            });
        }
        seq
    }

    fn prompts(format: PromptFormat, ratio: f64) -> Prompts {
        Prompts {
            format,
            ratio,
            added: 0.0,
            seed: 7,
        }
    }

    fn text(p: &Prompts, prompt: &TokenSeq, known: &KnownAnswers) -> String {
        let body = p.body(Api::Completions, prompt, known);
        body["prompt"].as_str().expect("a text").to_owned()
    }

    #[test]
    fn equal_tokens_are_equal_words_and_ids_and_others_are_not() {
        let none = KnownAnswers::default();
        let (a, b) = (
            seq(&[(1, 0, 60), (2, 0, 40)]),
            seq(&[(1, 0, 60), (3, 0, 40)]),
        );
        let ids = |p: &TokenSeq| prompts(PromptFormat::Tokens, 1.0).ids(p, &none);
        assert_eq!(ids(&a).len(), 100);
        assert_eq!(ids(&a)[..60], ids(&b)[..60]);
        assert_ne!(ids(&a)[60..], ids(&b)[60..]);
        assert!(ids(&a).iter().all(|id| IDS.contains(id)));
        for ratio in [1.0, 1.3, 2.0] {
            let p = prompts(PromptFormat::Text, ratio);
            let (short, long) = (seq(&[(1, 0, 30)]), seq(&[(1, 0, 61)]));
            let [short, long] = [short, long].map(|s| text(&p, &s, &none));
            assert!(long.starts_with(&short));
            let words = long.split_whitespace().count();
            assert_eq!(words, (61.0 / ratio).round() as usize);
        }
    }

    #[test]
    fn what_the_server_adds_is_taken_off_and_a_word_remains() {
        let mut p = prompts(PromptFormat::Text, 1.0);
        p.added = 12.0;
        let none = KnownAnswers::default();
        let words = |n: u32| {
            text(&p, &seq(&[(1, 0, n)]), &none)
                .split_whitespace()
                .count()
        };
        assert_eq!([words(40), words(12), words(3)], [28, 1, 1]);
    }

    #[test]
    fn real_answers_stand_where_the_workload_repeats_them() {
        let request = Request::new(
            RequestId::Number(0),
            0,
            seq(&[(5, 0, 4)]),
            seq(&[(5, 4, 3)]),
        );
        let mut known = KnownAnswers::default();
        known.add(
            &request,
            Answer {
                ids: vec![901, 902],
                pieces: vec![(1, "A".into()), (1, "B".into()), (1, "C".into())],
            },
        );
        let next = seq(&[(5, 0, 6), (6, 0, 2)]);
        let ids = prompts(PromptFormat::Tokens, 1.0).ids(&next, &known);
        assert_eq!(ids[4..6], [901, 902]);
        let chat = prompts(PromptFormat::Text, 1.0).body(Api::Chat, &next, &known);
        let roles: Vec<&str> = (0..3)
            .filter_map(|k| chat["messages"][k]["role"].as_str())
            .collect();
        assert_eq!(roles, ["user", "assistant", "user"]);
        assert_eq!(chat["messages"][1]["content"], "AB");
    }
}
