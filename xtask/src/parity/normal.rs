//! What may differ between two runs of the same command: everything that is left out of the
//! comparison is named here.

use std::path::Path;

/// Text in front of a value that may differ, characters of the value, and what stands in its place.
struct Free {
    before: &'static str,
    value: fn(char) -> bool,
    instead: &'static str,
}

const FREE: [Free; 4] = [
    // How long a scoring took.
    Free {
        before: "\"wall_ms\": ",
        value: |c| c.is_ascii_digit(),
        instead: "{time}",
    },
    Free {
        before: "\"wall_ms\":",
        value: |c| c.is_ascii_digit(),
        instead: "{time}",
    },
    // The version of results, which is raised when a figure is meant to change.
    Free {
        before: "windtunnel 0.1.0 results ",
        value: |c| c.is_ascii_digit(),
        instead: "{version}",
    },
    // A free port of this machine.
    Free {
        before: "http://127.0.0.1:",
        value: |c| c.is_ascii_digit(),
        instead: "{port}",
    },
];

/// Text with what may differ replaced; bytes that are no text stay as they are. `folders` are paths
/// and what stands for them, the longer ones first.
pub(crate) fn normal(bytes: Vec<u8>, folders: &[(&Path, &str)]) -> Vec<u8> {
    let Ok(mut text) = String::from_utf8(bytes.clone()) else {
        return bytes;
    };
    for (path, name) in folders {
        text = text.replace(&path.display().to_string(), name);
    }
    for free in &FREE {
        text = without(&text, free);
    }
    text.into_bytes()
}

fn without(text: &str, free: &Free) -> String {
    let mut parts = text.split(free.before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += free.before;
        let rest = part.trim_start_matches(free.value);
        if rest.len() < part.len() {
            out += free.instead;
        }
        out += rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_ports_versions_and_folders_are_replaced() {
        let text = "{\"wall_ms\": 92, \"wall_ms\":7} windtunnel 0.1.0 results 41 http://127.0.0.1:4269 /t/out/a.csv /t/b 92";
        let folders = [(Path::new("/t/out"), "{out}"), (Path::new("/t"), "{tmp}")];
        let found = String::from_utf8(normal(text.into(), &folders)).unwrap();
        assert_eq!(
            found,
            "{\"wall_ms\": {time}, \"wall_ms\":{time}} windtunnel 0.1.0 results {version} http://127.0.0.1:{port} {out}/a.csv {tmp}/b 92"
        );
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        assert_eq!(normal(vec![255, 0, 1], &[]), [255, 0, 1]);
    }
}
