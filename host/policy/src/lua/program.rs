//! A policy file: its text, the parameters it declares, and the fields that it can read.

use super::asked::{ASKED, Asked};
use super::fields::{self, Get, GetQueue, ScriptField};
use super::script_log::ScriptLog;
use super::weights::Weights;
use super::{LONGEST_TEXT, name_texts, tokens};
use crate::param::{self, Param};
use full_moon::tokenizer::{Symbol, Token, TokenType};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    Event, HeldView, InstanceView, Interests, QueuedView, RequestView, RunningView, ScaleView,
    StepView,
};

/// Largest policy file, bytes.
const LARGEST: usize = 256 * 1024;

/// A policy file with values for its parameters, ready to be run.
pub struct Program {
    /// Its name in messages: the path as given.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The parameters it declares.
    pub declared: Vec<Param>,
    /// Their values, in order of declaration.
    pub params: Vec<(String, f64)>,
    /// Limits are lifted.
    pub trusted: bool,
    /// Units it may spend in one run.
    pub run_units: i64,
    /// Where it prints.
    pub log: ScriptLog,
    pub(super) mentions: Mentions,
    pub(super) weights: Weights,
    /// Name of the first parameter of its function `score`.
    pub(super) score_takes: Option<String>,
    /// Whether the numbers of its scheduler last, once that was asked.
    pub(super) keys_last: OnceLock<bool>,
}

/// The fields a file mentions: no others are kept up to date for it.
pub(super) struct Mentions {
    pub(super) request: Vec<ScriptField<Get<RequestView>>>,
    pub(super) instance: Vec<ScriptField<Get<InstanceView>>>,
    pub(super) queued: Vec<ScriptField<Get<QueuedView<'static>>>>,
    pub(super) running: Vec<ScriptField<Get<RunningView<'static>>>>,
    pub(super) event: Vec<ScriptField<Get<Event>>>,
    pub(super) queue: Vec<ScriptField<GetQueue>>,
    pub(super) step: Vec<ScriptField<Get<StepView>>>,
    pub(super) held: Vec<ScriptField<Get<HeldView<'static>>>>,
    pub(super) pool: Vec<ScriptField<Get<ScaleView>>>,
    /// What it can read of instances, by the names in its code.
    pub(super) reads: Interests,
    /// What it asks of all instances about the request at hand.
    pub(super) asked: Vec<Asked>,
    /// It goes to the instances by way of the cluster.
    pub(super) cluster_instances: bool,
    /// Texts that views give in place of the numbers of names; empty if it has no use for them.
    pub(super) texts: BTreeSet<String>,
    /// It asks for the numbers of names.
    pub(super) symbols: bool,
}

/// Names of the fields that a file mentions, and what it asks the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentioned {
    /// Fields of requests.
    pub request: Vec<&'static str>,
    /// Fields of instances.
    pub instance: Vec<&'static str>,
    /// It asks for blocks by the cache events of the instances.
    pub precise_prefix: bool,
    /// It asks for blocks by what was sent there before.
    pub approximate_prefix: bool,
}

impl Mentioned {
    /// Adds what another file mentions.
    pub fn add(&mut self, other: Self) {
        self.request.extend(other.request);
        self.instance.extend(other.instance);
        self.precise_prefix |= other.precise_prefix;
        self.approximate_prefix |= other.approximate_prefix;
    }
}

impl Program {
    /// What the file mentions: it can read nothing else.
    #[must_use]
    pub fn mentioned(&self) -> Mentioned {
        let Mentions {
            request,
            instance,
            reads,
            asked,
            ..
        } = &self.mentions;
        // Who asks for a signal about the adapter of the request knows of both.
        let adapters = asked.iter().any(|asked| asked.reads == Interests::ADAPTERS);
        let of_request = adapters.then_some("adapter");
        let of_instance = adapters.then_some("loaded_lora_adapters");
        let (request, instance) = (request.iter(), instance.iter());
        Mentioned {
            request: request.map(|f| f.name).chain(of_request).collect(),
            instance: instance.map(|f| f.name).chain(of_instance).collect(),
            precise_prefix: reads.has(Interests::PRECISE_PREFIX),
            approximate_prefix: reads.has(Interests::APPROXIMATE_PREFIX),
        }
    }

    /// A policy from its text; `name` stands for the file in messages, `given` sets some of its
    /// parameters.
    ///
    /// # Errors
    /// When it is no text or too large, declares a parameter wrongly, or a value does not fit.
    pub fn new(
        name: &str,
        text: String,
        given: &[(String, f64)],
        trusted: bool,
    ) -> Result<Self, InputError> {
        if text.len() > LARGEST {
            return Err(InputError::in_file(
                name,
                format!("{} bytes; a policy may have {LARGEST}", text.len()),
            ));
        }
        // Compiled chunks start with their version; running one would bypass the compiler's checks.
        if text.bytes().any(|b| b < b' ' && !b"\t\n\r".contains(&b)) {
            return Err(InputError::in_file(
                name,
                "not a text file; a policy is Luau source, compiled chunks are refused",
            ));
        }
        let declared = declarations(name, &text)?;
        let params = param::settle(name, &declared, given)?;
        let tokens = tokens::tokens(&text);
        let tokens = tokens.as_deref();
        let weights = Weights::of(&text, tokens);
        let (bytes, line) = weights.longest;
        if bytes > LONGEST_TEXT {
            return Err(InputError::at(
                name,
                line as u64,
                0,
                format!("a text of {bytes} bytes; a text may have {LONGEST_TEXT}"),
            ));
        }
        Ok(Self {
            log: ScriptLog::default(),
            mentions: Mentions::of(&text, tokens),
            weights,
            score_takes: tokens.and_then(|tokens| first_parameter(tokens, "score")),
            name: name.to_owned(),
            text,
            declared,
            params,
            trusted,
            run_units: super::RUN_UNITS,
            keys_last: OnceLock::new(),
        })
    }
}

impl Mentions {
    /// May the file see something else than the numbers of names?
    pub(super) fn renames(&self) -> bool {
        self.reads_texts() || self.symbols
    }

    /// Are names texts to the file?
    pub(super) fn reads_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// Names of all fields that stand in the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        fn of<T>(fields: &[ScriptField<T>]) -> impl Iterator<Item = &'static str> {
            fields.iter().map(|f| f.name)
        }
        of(&self.request)
            .chain(of(&self.instance))
            .chain(of(&self.queued))
            .chain(of(&self.running))
            .chain(of(&self.event))
            .chain(of(&self.queue))
            .chain(of(&self.step))
            .chain(of(&self.held))
            .chain(of(&self.pool))
    }

    /// What a text mentions; `tokens` are none where it cannot be split into any. Names in comments
    /// do not count: a file does the same without its comments.
    fn of(text: &str, tokens: Option<&[Token]>) -> Self {
        let words: FxHashSet<&str> = match tokens {
            Some(tokens) => tokens.iter().filter_map(word).collect(),
            None => text
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .collect(),
        };
        let has = |word: &str| words.contains(word);
        fn among<T>(
            fields: Vec<ScriptField<T>>,
            has: impl Fn(&str) -> bool,
        ) -> Vec<ScriptField<T>> {
            fields.into_iter().filter(|f| has(f.name)).collect()
        }
        let age = has("age_us");
        let instance: Vec<ScriptField<Get<InstanceView>>> =
            among(fields::of::<InstanceView>(), |f| {
                has(f) || (f == "scraped_us" && age)
            })
            .into_iter()
            // It never changes, and every table has it from the start.
            .filter(|f| f.name != "index")
            .collect();
        let asks = [
            ("est_ttft_us", Interests::WORK),
            ("running", Interests::RUNNING),
        ];
        let asks = asks.into_iter().filter(|(word, _)| has(word));
        let asked = ASKED.into_iter().filter(|asked| has(asked.name));
        let asked: Vec<Asked> = asked.collect();
        let reads = instance
            .iter()
            .map(|field| fields::reads(field.name))
            .chain(asks.map(|(_, interest)| interest))
            .chain(asked.iter().map(|asked| asked.reads))
            .fold(Interests::NONE, |all, more| all | more);
        Self {
            request: among(fields::of::<RequestView>(), has),
            instance,
            queued: among(fields::of::<QueuedView<'static>>(), has),
            running: among(fields::of::<RunningView<'static>>(), has),
            event: among(fields::of::<Event>(), has),
            queue: among(fields::queue(), has),
            step: among(fields::of::<StepView>(), has),
            held: among(fields::of::<HeldView<'static>>(), has),
            // Their names are common words, and only this function is given a pool.
            pool: match has("replicas") {
                true => among(fields::of::<ScaleView>(), has),
                false => Vec::new(),
            },
            reads,
            asked,
            cluster_instances: has("instances"),
            texts: tokens.map_or_else(BTreeSet::new, name_texts::of),
            symbols: has("symbol"),
        }
    }
}

/// The parameters that a file declares: its lines `--@param name = default, least..most [log] [int]
/// what it does`.
///
/// # Errors
/// A declaration that is none, with its line.
pub fn declarations(file: &str, text: &str) -> Result<Vec<Param>, InputError> {
    let mut declared: Vec<Param> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("--") else {
            continue;
        };
        let Some(rest) = comment.trim_start().strip_prefix("@param") else {
            continue;
        };
        // Editors use `@param name type` for functions; a declaration has an equals sign.
        if !rest.contains('=') {
            continue;
        }
        let place = |message: String| InputError::at(file, number as u64 + 1, 0, message);
        let param = declaration(rest).map_err(|found| {
            place(format!(
                "{found}; expected --@param name = default, least..most  what it does"
            ))
        })?;
        if declared.iter().any(|p| p.name == param.name) {
            return Err(place(format!(
                "parameter \"{}\" is declared twice",
                param.name
            )));
        }
        param.check(param.default).map_err(place)?;
        declared.push(param);
    }
    Ok(declared)
}

/// The text of a file with new defaults in its declarations of parameters; all else stays as it is.
#[must_use]
pub fn with_defaults(text: &str, values: &[(String, f64)]) -> String {
    let line = |line: &str| -> String {
        let comment = line.trim_start().strip_prefix("--").map(str::trim_start);
        let value = comment
            .and_then(|c| c.strip_prefix("@param"))
            .and_then(|rest| rest.split_once('='))
            .and_then(|(name, _)| values.iter().find(|(n, _)| n == name.trim()));
        let parts = line.split_once('=').and_then(|(before, rest)| {
            let (_, range) = rest.split_once(',')?;
            Some((before, range))
        });
        match (value, parts) {
            (Some((_, value)), Some((before, range))) => format!("{before}= {value},{range}"),
            _ => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

fn declaration(text: &str) -> Result<Param, String> {
    let number = |text: &str| {
        let value = match text.trim() {
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            other => other.parse().unwrap_or(f64::NAN),
        };
        if value.is_nan() {
            Err(format!("\"{}\" is not a number", text.trim()))
        } else {
            Ok(value)
        }
    };
    let (name, rest) = text.split_once('=').ok_or("no \"=\"")?;
    let name = name.trim();
    let mut letters = name.chars();
    let starts_well = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("\"{name}\" is not a name"));
    }
    let (default, rest) = rest.split_once(',').ok_or("no range after the default")?;
    let (least, rest) = rest.split_once("..").ok_or("no \"..\" in the range")?;
    let rest = rest.trim_start();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (most, mut rest) = rest.split_at(end);
    let (least, most) = (number(least)?, number(most)?);
    if least > most {
        return Err(format!("the range {least}..{most} is empty"));
    }
    let (mut log, mut whole) = (false, false);
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("log") {
            (log, rest) = (true, after);
        } else if let Some(after) = rest.strip_prefix("int") {
            (whole, rest) = (true, after);
        } else {
            break;
        }
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return Err("unknown word after the range".into());
        }
    }
    if log && least <= 0.0 {
        return Err("a logarithmic range must lie above 0".into());
    }
    Ok(Param {
        name: name.to_owned().into(),
        default: number(default)?,
        least,
        most,
        whole,
        log,
        doc: rest.trim_start_matches("--").trim().to_owned().into(),
    })
}

/// The name that a token is, or the text that it stands for.
fn word(token: &Token) -> Option<&str> {
    match token.token_type() {
        TokenType::Identifier { identifier } => Some(identifier.as_str()),
        TokenType::StringLiteral { literal, .. }
        | TokenType::InterpolatedString { literal, .. } => Some(literal.as_str()),
        _ => None,
    }
}

/// Name of the first parameter of the function called `name`.
fn first_parameter(tokens: &[Token], name: &str) -> Option<String> {
    let code: Vec<&Token> = tokens
        .iter()
        .filter(|t| !t.token_type().is_trivia())
        .collect();
    let is = |at: usize, wanted: Symbol| {
        code.get(at).is_some_and(
            |t| matches!(t.token_type(), TokenType::Symbol { symbol } if *symbol == wanted),
        )
    };
    let named = |at: &usize| word(code[*at]) == Some(name);
    (0..code.len()).filter(named).find_map(|at| {
        // `function score(`, `function policy.score(`, `score = function(`, and the same with
        // `["score"]`.
        let mut before = at;
        while before >= 2 && (is(before - 1, Symbol::Dot) || is(before - 1, Symbol::Colon)) {
            before -= 2;
        }
        let bracket = if before > 0 && is(before - 1, Symbol::Function) {
            at + 1
        } else {
            let equals = at + 1 + usize::from(is(at + 1, Symbol::RightBracket));
            (is(equals, Symbol::Equal) && is(equals + 1, Symbol::Function)).then_some(equals + 2)?
        };
        let parameter = code
            .get(bracket + 1)
            .filter(|_| is(bracket, Symbol::LeftParen))?;
        match parameter.token_type() {
            TokenType::Identifier { identifier } => Some(identifier.to_string()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &str) -> Result<Program, String> {
        Program::new("p.lua", text.into(), &[], false).map_err(|e| e.to_string())
    }

    #[test]
    fn parameters_are_declared_in_comments() {
        let text = "--@param weight = 2.0, 0..10 log\n";
        assert!(program(text).is_err_and(|e| e.contains("above 0")));
        let text = "-- @param alpha = 0.5, 0.1..10 log  how much\n  --@param n=3,1..inf int -- levels\n--@param f function\n";
        let p = program(text).expect("fine");
        assert_eq!(p.params, [("alpha".into(), 0.5), ("n".into(), 3.0)]);
        let (a, n) = (&p.declared[0], &p.declared[1]);
        assert!(a.log && !a.whole && a.doc == "how much");
        assert!(n.whole && n.most == f64::INFINITY && n.doc == "levels");
        for (line, error) in [
            (
                "--@param x = 1",
                "p.lua:2: no range after the default; expected --@param name = default, least..most  what it does",
            ),
            ("--@param 1x = 1, 0..2", "p.lua:2: \"1x\" is not a name;"),
            (
                "--@param x = 5, 0..2",
                "p.lua:2: parameter \"x\" is 5; expected 0 to 2",
            ),
            ("--@param x = 1, 3..2", "p.lua:2: the range 3..2 is empty;"),
            (
                "--@param x = one, 0..2",
                "p.lua:2: \"one\" is not a number;",
            ),
            (
                "--@param x = 1, 0..2\n--@param x = 1, 0..2",
                "p.lua:3: parameter \"x\" is declared twice",
            ),
        ] {
            let found = program(&format!("\n{line}\n")).err().expect("an error");
            assert!(found.starts_with(error), "{found}");
        }
    }

    #[test]
    fn compiled_chunks_and_giants_are_refused() {
        assert!(program("\u{6}\u{3}abc").is_err_and(|e| e.contains("not a text file")));
        assert!(program(&" ".repeat(LARGEST + 1)).is_err_and(|e| e.contains("bytes")));
    }

    #[test]
    fn a_file_reads_what_it_mentions() {
        let reads = |text: &str| program(text).expect("fine").mentions.reads;
        assert_eq!(reads("return {}"), Interests::NONE);
        assert_eq!(reads("inst.in_flight"), Interests::COUNTERS);
        assert_eq!(reads("inst.queue_depth"), Interests::SNAPSHOTS);
        assert_eq!(reads("inst:age_us()"), Interests::SNAPSHOTS);
        assert_eq!(reads("inst.block_size"), Interests::NONE);
        assert_eq!(reads("x = est_ttft_us(inst)"), Interests::WORK);
        assert_eq!(
            reads("column('precise_prefix_blocks') inst.decodes"),
            Interests::WORK | Interests::PRECISE_PREFIX
        );
    }

    #[test]
    fn comments_are_not_read() {
        let reads = |text: &str| program(text).expect("fine").mentions.reads;
        for comment in ["-- queue_depth\n", "--[[ running ]]", "--[=[\ndecodes]=]"] {
            assert_eq!(reads(&format!("{comment} return {{}}")), Interests::NONE);
        }
        assert_eq!(reads("f('queue' .. '_depth')"), Interests::NONE);
        assert_eq!(reads("f(`{inst.in_flight}`)"), Interests::COUNTERS);
    }

    #[test]
    fn the_form_of_a_hook_is_read_from_code() {
        let takes = |text: &str| program(text).expect("fine").score_takes;
        for text in [
            "return { score = function(now, req) end }",
            "return { ['score'] = function(now, req) end }",
            "local function score(now, req) end return { score = score }",
            "function policy.score(now: number, req) end",
            "-- score(a, b)\nlocal x = score(c) policy.score = function(now) end",
        ] {
            assert_eq!(takes(text).as_deref(), Some("now"), "{text}");
        }
        let other = "-- score(now, req)\nreturn { score = function(a, b) return score(now) end }";
        assert_eq!(takes(other).as_deref(), Some("a"));
        assert_eq!(takes("return { score = function() end }"), None);
    }

    #[test]
    fn texts_are_bounded() {
        let text = format!("\nreturn {{ '{}' }}", "a".repeat(LONGEST_TEXT + 1));
        let refused = program(&text).err().expect("an error");
        assert!(
            refused.starts_with("p.lua:2: a text of 65537 bytes;"),
            "{refused}"
        );
    }

    #[test]
    fn new_defaults_change_nothing_else() {
        let text = "-- A policy.\r\n--@param a = 1, 0..10  how much\n  -- @param b=2,1..9 int\nlocal x = 1, 2 --@param c = 3, 0..9\n---@param f function";
        let set = |name: &str, value: f64| (name.to_owned(), value);
        assert_eq!(
            with_defaults(text, &[set("a", 2.5), set("b", 4.0), set("c", 5.0)]),
            "-- A policy.\r\n--@param a = 2.5, 0..10  how much\n  -- @param b= 4,1..9 int\nlocal x = 1, 2 --@param c = 3, 0..9\n---@param f function"
        );
        for script in crate::shipped::ALL {
            let declared = declarations("p.lua", script.text).expect("fine");
            let values: Vec<_> = declared.iter().map(|p| set(&p.name, p.least)).collect();
            let text = with_defaults(script.text, &values);
            let again = declarations("p.lua", &text).expect("fine");
            assert!(
                again.iter().all(|p| p.default == p.least),
                "{}",
                script.name
            );
            assert_eq!(again.len(), declared.len());
        }
    }
}
