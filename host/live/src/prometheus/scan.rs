//! Reads a page of metrics. The crates that do are unmaintained or under other licences, and a
//! gateway needs a few families of a page that it reads every second.

/// A sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels as they are written, without braces.
    labels: &'a str,
    /// Its value.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// The value of a label, without its escapes undone.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once("=\"")?;
            let end = end_of_value(after)?;
            if key.trim_start_matches([',', ' ']) == name {
                return Some(&after[..end]);
            }
            rest = &after[end + 1..];
        }
    }
}

/// Where the quotation mark is that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })
}

/// The samples of a page; lines that are none are left out.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(|line| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let name_end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => {
                let end = end_of_labels(inside)?;
                (&inside[..end], &inside[end + 1..])
            }
            None => ("", rest),
        };
        // A time stamp may follow.
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Sample {
            name,
            labels,
            value,
        })
    })
}

/// Where the brace is that ends the labels.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' if quoted => {
            escaped = true;
            false
        }
        b'"' => {
            quoted = !quoted;
            false
        }
        byte => byte == b'}' && !quoted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_whatever_their_labels_contain() {
        let page = "# HELP a b\n# TYPE a gauge\na{x=\"1\",model_name=\"m}{\\\"\"} 2.5 1700000000\nb 3\n\
            c{} NaN\nnonsense\nd{x=\"y\n";
        let all: Vec<Sample> = samples(page).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].name, all[0].value), ("a", 2.5));
        assert_eq!(all[0].label("x"), Some("1"));
        assert_eq!(all[0].label("model_name"), Some("m}{\\\""));
        assert_eq!(all[0].label("nobody"), None);
        assert_eq!((all[1].name, all[1].value), ("b", 3.0));
        assert!(all[2].value.is_nan());
    }
}
