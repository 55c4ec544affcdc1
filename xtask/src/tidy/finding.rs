//! Rules, and what they do not like.

/// A rule of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Packages depend only on those below them.
    Floors,
    /// Files of a crate do not import each other in circles.
    Circles,
    /// Files are short.
    Length,
    /// Flags are named only in the command line.
    Flags,
    /// Words that a reader of the field would not guess.
    Words,
    /// Paths of somebody's machine.
    Paths,
    /// Comments fit a screen.
    Width,
    /// Packages share their Rust version and lints.
    Manifests,
}

impl Rule {
    /// What it is called in lists.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floors => "floors",
            Self::Circles => "circles",
            Self::Length => "length",
            Self::Flags => "flags",
            Self::Words => "words",
            Self::Paths => "paths",
            Self::Width => "width",
            Self::Manifests => "manifests",
        }
    }
}

/// Something that a rule does not like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub rule: Rule,
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl Finding {
    pub(crate) fn new(rule: Rule, file: &str, line: usize, message: String) -> Self {
        Self {
            rule,
            file: file.to_owned(),
            line,
            message,
        }
    }

    /// Prints it.
    pub(crate) fn show(&self) {
        let Self {
            rule,
            file,
            line,
            message,
        } = self;
        println!("{file}:{line}: {message} [{}]", rule.name());
    }
}
