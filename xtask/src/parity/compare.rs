//! What differs between what two binaries gave.

use super::run::Part;

/// Lines shown of each part.
const SHOWN: usize = 4;

/// Says in which parts they differ, with the first lines that do; `None` if they are equal.
pub(crate) fn difference(expected: &[Part], found: &[Part]) -> Option<String> {
    let mut said = Vec::new();
    for part in expected {
        match found.iter().find(|other| other.name == part.name) {
            None => said.push(format!("  {}: missing", part.name)),
            Some(other) if other.bytes != part.bytes => {
                said.push(format!(
                    "  {}:\n{}",
                    part.name,
                    lines(&part.bytes, &other.bytes)
                ));
            }
            Some(_) => {}
        }
    }
    for part in found {
        if !expected.iter().any(|other| other.name == part.name) {
            said.push(format!("  {}: not expected", part.name));
        }
    }
    (!said.is_empty()).then(|| said.join("\n"))
}

/// The first lines that differ: `-` was expected, `+` was found.
fn lines(expected: &[u8], found: &[u8]) -> String {
    let (Ok(expected), Ok(found)) = (std::str::from_utf8(expected), std::str::from_utf8(found))
    else {
        return format!(
            "    bytes: {} expected, {} found",
            expected.len(),
            found.len()
        );
    };
    let expected: Vec<&str> = expected.split('\n').collect();
    let found: Vec<&str> = found.split('\n').collect();
    let most = expected.len().max(found.len());
    let differs = (0..most).filter(|&k| expected.get(k) != found.get(k));
    let mut said = String::new();
    for k in differs.take(SHOWN) {
        said += &format!("    line {}\n", k + 1);
        for (sign, lines) in [('-', &expected), ('+', &found)] {
            if let Some(line) = lines.get(k) {
                said += &format!("    {sign} {}\n", cut(line));
            }
        }
    }
    said.truncate(said.trim_end().len());
    said
}

/// A line that fits on a screen.
fn cut(line: &str) -> String {
    const MOST: usize = 300;
    match line.char_indices().nth(MOST) {
        None => line.to_owned(),
        Some((at, _)) => format!("{}...", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, text: &str) -> Part {
        Part::new(name.into(), text.into())
    }

    #[test]
    fn equal_parts_are_no_difference() {
        let parts = [part("exit", "0"), part("stdout", "a\nb\n")];
        assert_eq!(difference(&parts, &parts), None);
    }

    #[test]
    fn the_first_lines_that_differ_are_shown() {
        let expected = [
            part("exit", "0"),
            part("stdout", "a\nb\nc"),
            part("file x", ""),
        ];
        let found = [
            part("exit", "0"),
            part("stdout", "a\nB\n"),
            part("file y", ""),
        ];
        let said = difference(&expected, &found).expect("they differ");
        assert_eq!(
            said,
            "  stdout:\n    line 2\n    - b\n    + B\n    line 3\n    - c\n    +\n  file x: missing\n  file y: not expected"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let said = difference(&[part("stdout", &"ä".repeat(1000))], &[part("stdout", "")]);
        assert!(said.expect("they differ").len() < 1000);
    }
}
