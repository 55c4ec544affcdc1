//! Rust source as tokens with their lines: as much of the language as the rules need.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Word,
    /// `::`.
    Path,
    /// Any other sign, one character.
    Sign,
    /// A string with its quotes, of any form.
    Text,
    /// A comment with its slashes, of any form.
    Comment,
    /// A number, a character, a lifetime.
    Other,
}

/// A piece of source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Its first line, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Is it this sign?
    pub(crate) fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign && self.text.starts_with(sign)
    }

    /// Is it this name or keyword?
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

/// All tokens of a source.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = next(rest, first);
        let text = &rest[..length];
        if let Some(kind) = kind {
            tokens.push(Token { kind, text, line });
        }
        line += text.matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// What the source begins with, and how long it is; no kind is space.
fn next(rest: &str, first: char) -> (Option<Kind>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Some(Kind::Comment), rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Some(Kind::Comment), block_comment(rest));
    }
    if let Some(length) = string(rest) {
        return (Some(Kind::Text), length);
    }
    if first == '\'' {
        return (Some(Kind::Other), character_or_lifetime(rest));
    }
    if rest.starts_with("::") {
        return (Some(Kind::Path), 2);
    }
    if first.is_alphanumeric() || first == '_' {
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let kind = if first.is_ascii_digit() {
            Kind::Other
        } else {
            Kind::Word
        };
        return (Some(kind), length);
    }
    (Some(Kind::Sign), first.len_utf8())
}

fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a string at the beginning: `"..."`, `b"..."`, `c"..."`, `r#"..."#` and their
/// mixtures.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !c.is_ascii_lowercase())?;
    if prefix > 2 || !matches!(&rest[..prefix], "" | "b" | "c" | "r" | "br" | "cr") {
        return None;
    }
    let raw = rest[..prefix].ends_with('r');
    let after = &rest[prefix..];
    let hashes = after.find(|c: char| c != '#')?;
    if !after[hashes..].starts_with('"') || (hashes > 0 && !raw) {
        return None;
    }
    let begin = prefix + hashes + 1;
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        let length = rest[begin..].find(&end);
        return Some(length.map_or(rest.len(), |at| begin + at + end.len()));
    }
    let mut escaped = false;
    for (at, c) in rest[begin..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(begin + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let Some((_, first)) = chars.next() else {
        return rest.len();
    };
    let second = chars.next();
    if first == '\\' {
        // The character that is escaped, which may be a quote, then up to the closing quote.
        let from = chars.next().map_or(rest.len(), |(at, _)| at);
        return rest[from..]
            .find('\'')
            .map_or(rest.len(), |at| from + at + 1);
    }
    match second {
        Some((at, '\'')) => at + 1,
        _ => {
            let name = rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
            name.map_or(rest.len(), |at| at.max(1) + 1)
        }
    }
}

/// The tokens without items under `#[cfg(test)]` and the like.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match test_attribute(&tokens[at..]) {
            Some(length) => at += length + item(&tokens[at + length..]),
            None => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    kept
}

/// The length of an attribute at the beginning that keeps an item for tests only.
fn test_attribute(tokens: &[Token]) -> Option<usize> {
    if !(tokens.first()?.is('#') && tokens.get(1)?.is('[')) {
        return None;
    }
    let length = 1 + group(&tokens[1..]);
    let inside = &tokens[2..length - 1];
    let is_test = |t: &Token| t.is_word("test");
    let conditional = inside.first().is_some_and(|t| t.is_word("cfg"))
        && inside.iter().any(is_test)
        && !inside.iter().any(|t| t.is_word("not") || t.is_word("any"));
    (conditional || (inside.len() == 1 && is_test(&inside[0]))).then_some(length)
}

/// The length of a bracketed group at the beginning.
fn group(tokens: &[Token]) -> usize {
    let mut depth = 0;
    for (k, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Sign {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return k + 1;
                    }
                }
                _ => {}
            }
        }
    }
    tokens.len()
}

/// The length of the item at the beginning: up to its `;`, or to the end of its braces.
fn item(tokens: &[Token]) -> usize {
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.is('{') {
            return at + group(&tokens[at..]);
        }
        if token.is('(') || token.is('[') {
            at += group(&tokens[at..]);
            continue;
        }
        at += 1;
        if token.is(';') || token.is(',') {
            return at;
        }
        // The end of what surrounds it.
        if token.is('}') {
            return at - 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<(Kind, &str)> {
        let found = tokens(source);
        found.iter().map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn strings_comments_and_characters_are_told_apart() {
        use Kind::{Comment, Other, Path, Sign, Text, Word};
        let source = "a::b /* x /* y */ */ r#\"x\"y\"# b\"\\\"\" 'a' '\\'' '\\u{1}' &'static // end\n'\"' rest";
        let expected = [
            (Word, "a"),
            (Path, "::"),
            (Word, "b"),
            (Comment, "/* x /* y */ */"),
            (Text, "r#\"x\"y\"#"),
            (Text, "b\"\\\"\""),
            (Other, "'a'"),
            (Other, "'\\''"),
            (Other, "'\\u{1}'"),
            (Sign, "&"),
            (Other, "'static"),
            (Comment, "// end"),
            (Other, "'\"'"),
            (Word, "rest"),
        ];
        assert_eq!(texts(source), expected);
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let found = tokens("a\n\"x\ny\"\nb");
        let lines: Vec<usize> = found.iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { if x { } } }\n\
                      #[cfg(all(test, unix))]\nuse q::{r};\n#[cfg(test)] mod far;\nfn c() {}\n\
                      #[test]\nfn d(x: [u8; 2]) -> u8 { 1 }\n#[cfg(not(test))] fn e() {}";
        let found = tokens(source);
        let names: Vec<&str> = without_tests(&found)
            .windows(2)
            .filter(|w| w[0].is_word("fn"))
            .map(|w| w[1].text)
            .collect();
        assert_eq!(names, ["a", "c", "e"]);
    }
}
