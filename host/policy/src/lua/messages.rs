//! Errors of scripts in words: with the file's name and line for people, and no more of a script's
//! own texts than a message needs.

use super::interrupt;
use mlua::Value;

/// A message with the file's name in place of the policy's chunk.
pub(super) fn with_name(name: &str, message: &str) -> String {
    message.replace(interrupt::POLICY, &format!("{name}:"))
}

/// A message that begins with the same place twice, as an error that leaves a coroutine does,
/// without the first.
pub(super) fn without_repeated_place(message: &str) -> &str {
    match message.split_once(": ") {
        Some((place, rest))
            if place.starts_with(interrupt::POLICY)
                && rest
                    .strip_prefix(place)
                    .is_some_and(|rest| rest.starts_with(": ")) =>
        {
            without_repeated_place(rest)
        }
        _ => message,
    }
}

/// The line behind the first place in the file `name` that a message names.
pub(super) fn line_of(name: &str, message: &str) -> Option<u32> {
    let (_, rest) = message.split_once(&format!("{name}:"))?;
    rest.split(':').next()?.trim().parse().ok()
}

/// The kind of a value that was raised instead of a text.
pub(super) fn raised_kind(message: &str) -> Option<&str> {
    let (kind, address) = message.split_once(": ")?;
    let kinds = ["table", "function", "thread", "userdata", "buffer"];
    (kinds.contains(&kind) && address.starts_with("0x")).then_some(kind)
}

pub(super) fn out_of_memory(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } => out_of_memory(cause),
        mlua::Error::RuntimeError(text) => text.starts_with("not enough memory"),
        _ => false,
    }
}

/// The message of a script's error without the trace of calls: `@policy:line: what happened`.
pub(super) fn message_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => first_line(message),
        mlua::Error::RuntimeError(text) => {
            let message = first_line(text);
            // Raised by a function that one of the host's wraps: the line that counts is the one
            // that called the wrapper.
            let ours = message.strip_prefix("windtunnel:");
            match ours.and_then(|rest| rest.split_once(": ")) {
                Some((line, message)) if line.parse::<u32>().is_ok() => with_place(message, text),
                _ => message,
            }
        }
        // The cause has no place.
        mlua::Error::CallbackError { cause, traceback } => {
            with_place(&message_of(cause), traceback)
        }
        other => first_line(&other.to_string()),
    }
}

/// A message with the first place in front of it that a trace of calls has in the policy's file,
/// unless the message has that place already.
fn with_place(message: &str, trace: &str) -> String {
    let place = trace.lines().map(str::trim).find_map(|line| {
        let (place, _) = line.split_once(' ').unwrap_or((line, ""));
        let place = place.trim_end_matches(':');
        let number = place.strip_prefix(interrupt::POLICY)?;
        number.parse::<u32>().is_ok().then_some(place)
    });
    match place {
        Some(place) if !message.contains(place) => format!("{place}: {message}"),
        _ => message.to_owned(),
    }
}

/// Bytes of a script's message that are looked at.
pub(super) const LONGEST_MESSAGE: usize = 500;

pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("runtime error: ").unwrap_or(line);
    line.chars().take(LONGEST_MESSAGE).collect()
}

/// Bytes of a script's text that stand in a message.
const SHOWN: usize = 40;

/// The start of a script's text, for a message.
pub(super) fn start_of(text: &mlua::LuaString) -> String {
    let bytes = text.as_bytes();
    let mut start = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    // A letter that was cut in two.
    if bytes.len() > SHOWN {
        start.truncate(start.trim_end_matches('\u{fffd}').len());
    }
    start
}

/// A value in words, for a message that another was expected.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Nil => "nothing (nil)".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Integer(i) => i.to_string(),
        Value::Number(x) if x.is_nan() => "NaN".into(),
        Value::Number(x) => x.to_string(),
        Value::String(s) => format!("the text {:?}", start_of(s)),
        other => format!("a {}", other.type_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_scripts_are_cut_before_they_are_shown() {
        let lua = mlua::Lua::new();
        let shown = |text: &str| {
            let text = lua.create_string(text).expect("a string");
            describe(&Value::String(text))
        };
        assert_eq!(shown("first"), "the text \"first\"");
        assert_eq!(
            shown(&"a".repeat(1000)).len(),
            SHOWN + "the text \"\"".len()
        );
        let shown = shown(&format!("a{}", "é".repeat(100)));
        assert!(shown.ends_with("é\""), "{shown}");
    }

    #[test]
    fn places_have_the_name_of_the_file() {
        let message = with_name("a/b.lua", "@policy:12: attempt to call a nil value");
        assert_eq!(message, "a/b.lua:12: attempt to call a nil value");
        assert_eq!(line_of("a/b.lua", &message), Some(12));
        let twice = "@policy:3: @policy:3: none";
        assert_eq!(without_repeated_place(twice), "@policy:3: none");
        let trace = "windtunnel:3 in function x\n  @policy:7: in function y";
        assert_eq!(with_place("none", trace), "@policy:7: none");
        assert_eq!(with_place("@policy:7: none", trace), "@policy:7: none");
    }
}
