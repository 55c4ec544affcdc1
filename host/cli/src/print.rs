//! Output of all commands: data on stdout, lines for people on stderr.

use super::spelling::in_flags;
use std::io::{self, Write};
use windtunnel_base::input::plain;

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

/// The first paragraph of an error of the flag parser, on one line.
pub fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|l| !l.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

/// Prints a line for people on stderr; settings in backticks are written as flags.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", in_flags(line));
}
