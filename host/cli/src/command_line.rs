//! The command line, for pages that say how they were made.

/// A word, in quotes where a shell would read it otherwise.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The command line, with quotes where a shell needs them. Of the program only the name is told.
fn quoted_line(arguments: impl Iterator<Item = String>) -> String {
    let words = arguments.skip(1).map(|word| quoted(&word));
    let words: Vec<String> = std::iter::once("windtunnel".to_owned())
        .chain(words)
        .collect();
    words.join(" ")
}

/// The one of this process. Of the program only the name is told.
pub fn command_line() -> String {
    quoted_line(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words = ["/bin/x", "run", "--model", "a b", "it's", ""];
        let line = quoted_line(words.into_iter().map(str::to_owned));
        assert_eq!(line, "windtunnel run --model 'a b' 'it'\\''s' ''");
    }
}
