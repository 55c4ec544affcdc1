//! Output of all commands: data on stdout, lines for people on stderr.

use super::spelling::in_flags;
use super::terminal::{painted, toned};
use std::borrow::Cow;
use std::io::{self, Write};
use windtunnel_base::input::{is_hidden, plain, visible_lines};

/// Prints data on stdout.
///
/// # Errors
/// When standard output cannot be written.
pub fn to_stdout(fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    fill(&mut out).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            e.into()
        } else {
            anyhow::anyhow!("cannot write to standard output: {}", plain(&e))
        }
    })
}

/// Prints a text on stdout for people, or JSON. Hidden characters of the names in it are written
/// out: nobody knows where they come from, and stdout may be a terminal.
pub fn present(json: bool, text: &str) -> anyhow::Result<()> {
    if json {
        return show_json(|out| out.write_all(text.as_bytes()));
    }
    let text = visible_lines(text);
    let text = painted(&text.replace("`wide`", "--wide"));
    to_stdout(|out| out.write_all(text.as_bytes()))
}

/// Prints JSON on stdout, with hidden characters as JSON writes them.
pub fn show_json(fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut json = Vec::new();
    fill(&mut json)?;
    let json = String::from_utf8_lossy(&json);
    // Outside of its texts JSON has none but line breaks.
    let hidden = |c: char| is_hidden(c) && c != '\n';
    if !json.contains(hidden) {
        return to_stdout(|out| out.write_all(json.as_bytes()));
    }
    let mut escaped = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if hidden(c) {
            let units = &mut [0; 2];
            for unit in c.encode_utf16(units) {
                escaped += &format!("\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    to_stdout(|out| out.write_all(escaped.as_bytes()))
}

/// The first paragraph of an error of the flag parser, on one line.
pub fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|l| !l.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

/// Prints a line for people on stderr; settings in backticks are written as flags, and hidden
/// characters are written out.
pub fn say(line: &str) {
    let line = in_flags(line);
    let _ = writeln!(io::stderr(), "{}", toned(&visible_lines(&line)));
}

/// Prints what is wrong with a flag, or a help text, in colour on a terminal only.
pub fn say_of_flags(message: &clap::Error) {
    let plain = message.render().to_string();
    match visible_lines(&plain) {
        Cow::Borrowed(_) => drop(message.print()),
        Cow::Owned(shown) => drop(io::stderr().write_all(shown.as_bytes())),
    }
}

/// Standard error for the log, with hidden characters written out.
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(part);
        io::stderr().write_all(visible_lines(&text).as_bytes())?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
