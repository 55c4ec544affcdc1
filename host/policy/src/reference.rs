//! What the text that names a policy refers to.

use std::path::{Path, PathBuf};

/// What the text that names a policy refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A built-in policy or a shipped script.
    Name(String),
    /// A script.
    Script(PathBuf),
    /// A compiled plugin, and which of its policies.
    Plugin(PathBuf, Option<String>),
}

impl Reference {
    /// Reads `name | FILE.lua | FILE.so[:name]`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let ends = |path: &str, endings: &[&str]| {
            let ending = Path::new(path).extension().and_then(|e| e.to_str());
            ending.is_some_and(|e| endings.contains(&e))
        };
        if ends(text, &["lua", "luau"]) {
            return Self::Script(text.into());
        }
        let libraries = ["so", "dylib", "dll"];
        if ends(text, &libraries) {
            return Self::Plugin(text.into(), None);
        }
        if let Some((path, name)) = text.rsplit_once(':')
            && ends(path, &libraries)
        {
            return Self::Plugin(path.into(), Some(name.to_owned()));
        }
        Self::Name(text.to_owned())
    }

    /// The same, with a relative path taken from `folder`.
    #[must_use]
    pub fn from_folder(self, folder: &Path) -> Self {
        match self {
            Self::Name(name) => Self::Name(name),
            Self::Script(path) => Self::Script(folder.join(path)),
            Self::Plugin(path, name) => Self::Plugin(folder.join(path), name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_policy_a_script_or_a_plugin() {
        let parse = Reference::parse;
        assert_eq!(parse("weighted"), Reference::Name("weighted".into()));
        assert_eq!(parse("./my.lua"), Reference::Script("./my.lua".into()));
        assert_eq!(parse("a/b.luau"), Reference::Script("a/b.luau".into()));
        assert_eq!(parse("libx.so"), Reference::Plugin("libx.so".into(), None));
        let plugin = Reference::Plugin("d/libx.so".into(), Some("vtc".into()));
        assert_eq!(parse("d/libx.so:vtc"), plugin);
        let moved = parse("x.lua").from_folder(Path::new("policies"));
        assert_eq!(moved, Reference::Script("policies/x.lua".into()));
        assert_eq!(
            parse("/a/x.lua").from_folder(Path::new("policies")),
            Reference::Script("/a/x.lua".into())
        );
    }
}
