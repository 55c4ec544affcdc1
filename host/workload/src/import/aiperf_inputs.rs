//! What AIPerf sends: its `inputs.json` (bodies of requests by session), and custom data sets with
//! an object per line, a single turn (also of a random pool) or a session of turns.
//!
//! There are texts, not tokens: texts that begin alike share tokens. A later turn of a session is
//! sent with all before it and with the answers; bodies of `inputs.json` are sent as they stand.

use super::elements::Elements;
use super::fields::{self, Others, Unread, object};
use super::held::{Turn, Turns};
use super::payload::{self, Prompt};
use super::row_errors::RowErrors;
use super::shared_tokens::{BYTES_PER_TOKEN, SharedTokens};
use super::turn_sessions::no_times;
use rustc_hash::FxHashSet;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Sym;

#[derive(Deserialize)]
struct Session {
    session_id: Option<String>,
    /// GenAI-Perf, which came before, wrote `payload`.
    #[serde(alias = "payload")]
    payloads: Vec<Value>,
}

/// Reads `inputs.json`; `output_tokens` is the length of answers that it does not limit.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read_bodies(
    path: &Path,
    output_tokens: Option<u32>,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut data = Data::new(output_tokens);
    let mut elements = Elements::open(path, b"{[")?;
    while let Some(text) = elements.next()? {
        let row = object(text, "an object with session_id and payloads")
            .and_then(|session| data.bodies(&session));
        errors.take(row.map_err(|what| elements.error(what)))?;
    }
    notes.push(no_times("inputs.json has no times"));
    Ok(data.finish(notes))
}

#[derive(Deserialize)]
struct Line {
    session_id: Option<Value>,
    turns: Option<Vec<TurnLine>>,
    #[serde(flatten)]
    turn: TurnLine,
}

#[derive(Deserialize)]
struct TurnLine {
    /// `single_turn`, `multi_turn` or `random_pool`; the keys say it, too.
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    texts: Option<Value>,
    image: Option<Value>,
    images: Option<Value>,
    audio: Option<Value>,
    audios: Option<Value>,
    video: Option<Value>,
    videos: Option<Value>,
    /// Milliseconds.
    timestamp: Option<f64>,
    /// Milliseconds before it is sent.
    delay: Option<f64>,
    role: Option<String>,
    output_length: Option<f64>,
    extra: Option<Value>,
    #[serde(flatten)]
    others: Others,
}

const EXPECTED: &str = "an object with text, or with session_id and turns";

/// Reads a custom data set; `output_tokens` is the length of answers that it does not tell.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read_lines(
    path: &Path,
    output_tokens: Option<u32>,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut data = Data::new(output_tokens);
    fields::each_line(path, EXPECTED, errors, |line: Line| data.line(&line))?;
    if data.turns.list.iter().all(|t| t.sent_ns.is_none()) {
        notes.push(no_times("no turn has a timestamp"));
    }
    if data.pool > 0 {
        notes.push("a random pool is sent once, in the order of the file".into());
    }
    Ok(data.finish(notes))
}

struct Data {
    turns: Turns,
    shared: SharedTokens,
    unread: Unread,
    /// Images, audio and video.
    media: u64,
    texts: bool,
    /// Lines of a random pool.
    pool: u64,
    /// Sessions so far.
    sessions: FxHashSet<Sym>,
    limits: bool,
    /// Length of answers that have none of their own, and how many those are.
    output_tokens: Option<u32>,
    filled: u64,
}

impl Data {
    fn new(output_tokens: Option<u32>) -> Self {
        Self {
            turns: Turns::default(),
            shared: SharedTokens::new(BYTES_PER_TOKEN),
            unread: Unread::default(),
            media: 0,
            texts: false,
            pool: 0,
            sessions: FxHashSet::default(),
            limits: false,
            output_tokens,
            filled: 0,
        }
    }

    /// The length of an answer.
    fn output(&mut self, key: &str, found: Option<f64>) -> Result<u32, String> {
        match (found, self.output_tokens) {
            (None, Some(tokens)) => {
                self.filled += 1;
                Ok(tokens)
            }
            (None, None) => Err(format!(
                "{key}: expected how long the answer is, found nothing; `output_tokens` says it for all that do not"
            )),
            (found, _) => fields::tokens(key, found),
        }
    }

    fn finish(self, notes: &mut Vec<String>) -> Turns {
        if self.texts {
            notes.push(format!(
                "the file has texts, no token counts: prompts are taken to have a token per {BYTES_PER_TOKEN} bytes"
            ));
        }
        if self.filled > 0 {
            notes.push(format!(
                "answers without a length in the file get that of `output_tokens`: {}",
                self.filled
            ));
        }
        if self.limits {
            notes.push("answers are taken to be as long as their max_tokens allow".into());
        }
        if self.media > 0 {
            notes.push(format!(
                "images, sounds and videos are left out, as the model says how many tokens they are: {}",
                self.media
            ));
        }
        notes.extend(self.unread.note());
        self.turns
    }

    fn bodies(&mut self, session: &Session) -> Result<(), String> {
        let mut rounds = Vec::new();
        for (k, body) in session.payloads.iter().enumerate() {
            let wrong = |what: String| format!("payloads[{k}].{what}");
            let (prompt, media) = payload::prompt(body).ok_or_else(|| {
                wrong("messages: expected messages or a prompt, found none".into())
            })?;
            let limit = payload::max_tokens(body);
            let output = self.output("max_tokens", limit).map_err(wrong)?;
            let ids = match prompt {
                Prompt::Text(text) => {
                    self.texts = true;
                    self.shared.of_text(&text)
                }
                Prompt::Ids(ids) => ids,
            };
            self.media += media;
            self.limits |= limit.is_some();
            rounds.push(Turn {
                think_us: Some(0),
                shared: self.shared.insert(&ids, &mut self.turns),
                output,
                streaming: body.get("stream").and_then(Value::as_bool) == Some(true),
                ..Turn::default()
            });
        }
        let several = rounds.len() > 1;
        let name = session.session_id.clone();
        let session = self.session(name.filter(|_| several), several)?;
        let rounds = rounds.into_iter().map(|turn| Turn { session, ..turn });
        self.turns.list.extend(rounds);
        Ok(())
    }

    /// A session of its own.
    fn session(&mut self, name: Option<String>, wanted: bool) -> Result<Sym, String> {
        if !wanted {
            return Ok(Sym::NONE);
        }
        let name = name.unwrap_or_else(|| format!("session_{}", self.sessions.len() + 1));
        let session = self.turns.symbols.intern(&name);
        if !self.sessions.insert(session) {
            return Err(format!(
                "session_id: expected another name, found {name:?} again"
            ));
        }
        Ok(session)
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let name = line.session_id.as_ref().filter(|v| !v.is_null()).map(|v| {
            let text = v.as_str().map(str::to_owned);
            text.unwrap_or_else(|| v.to_string())
        });
        let Some(turns) = &line.turns else {
            self.pool += u64::from(line.turn.kind.as_deref() == Some("random_pool"));
            // Lines of one session follow each other, each with all that it needs.
            let mut turn = self.turn(&line.turn, "", "")?;
            let session = self.turns.symbols.intern(&name.unwrap_or_default());
            turn.session = session;
            let first = session.is_none() || self.sessions.insert(session);
            if first && turn.sent_ns.is_none() && line.turn.delay.is_some() {
                turn.sent_ns = turn.think_us.map(|us| us * 1000);
            }
            self.turns.list.push(turn);
            return Ok(());
        };
        self.unread.add(&line.turn.others);
        let (system, turns) = match turns.split_first() {
            Some((first, rest)) if first.is_system_prompt() && !rest.is_empty() => {
                (first.all_text(), rest)
            }
            _ => (String::new(), turns.as_slice()),
        };
        if turns.is_empty() {
            return Err("turns: expected at least one turn, found none".into());
        }
        let mut rounds = Vec::new();
        for (k, turn) in turns.iter().enumerate() {
            let place = format!("turns[{k}].");
            let before = if k == 0 { system.as_str() } else { "" };
            let mut round = self.turn(turn, before, &place)?;
            if k > 0 {
                round.repeats = true;
                round.new = round.shared.len();
                round.shared = Default::default();
            } else if round.sent_ns.is_none() && turn.delay.is_some() {
                round.sent_ns = round.think_us.map(|us| us * 1000);
            }
            rounds.push(round);
        }
        let session = self.session(name, true)?;
        let rounds = rounds.into_iter().map(|turn| Turn { session, ..turn });
        self.turns.list.extend(rounds);
        Ok(())
    }

    fn turn(&mut self, line: &TurnLine, before: &str, place: &str) -> Result<Turn, String> {
        let wrong = |what: String| format!("{place}{what}");
        let media = line.media();
        let text = format!("{before}{}", line.all_text());
        if text.is_empty() {
            return Err(wrong("text: expected a text, found nothing".into()));
        }
        let limit = line.extra.as_ref().and_then(payload::max_tokens);
        let output = self.output("output_length", line.output_length.or(limit));
        let output = output.map_err(wrong)?;
        let ms = |key, found: Option<f64>| {
            let found = found.map(|ms| fields::time_ns(key, Some(ms), 1e6));
            found.transpose().map_err(wrong)
        };
        let sent_ns = ms("timestamp", line.timestamp)?;
        let delay = ms("delay", line.delay)?;
        self.media += media;
        self.texts = true;
        self.unread.add(&line.others);
        let ids = self.shared.of_text(&text);
        Ok(Turn {
            sent_ns,
            think_us: delay.map(|ns| ns / 1000).or(sent_ns.is_none().then_some(0)),
            shared: self.shared.insert(&ids, &mut self.turns),
            output,
            ..Turn::default()
        })
    }
}

impl TurnLine {
    /// A leading text that goes before every turn of its session, and is no turn.
    fn is_system_prompt(&self) -> bool {
        self.role.as_deref() == Some("system")
            && self.media() == 0
            && self.timestamp.is_none()
            && self.delay.is_none()
            && self.output_length.is_none()
            && self.extra.is_none()
    }

    fn all_text(&self) -> String {
        let mut text = self.text.clone().unwrap_or_default();
        let texts = self.texts.as_ref().and_then(Value::as_array);
        for part in texts.into_iter().flatten() {
            let contents = part.get("contents").and_then(Value::as_array);
            let inner = contents.into_iter().flatten();
            for part in std::iter::once(part).chain(inner) {
                text.push_str(part.as_str().unwrap_or(""));
            }
        }
        text
    }

    fn media(&self) -> u64 {
        let count = |v: &Option<Value>| match v {
            None | Some(Value::Null) => 0,
            Some(Value::Array(list)) => list.len() as u64,
            Some(_) => 1,
        };
        [
            &self.image,
            &self.images,
            &self.audio,
            &self.audios,
            &self.video,
            &self.videos,
        ]
        .into_iter()
        .map(count)
        .sum()
    }
}
