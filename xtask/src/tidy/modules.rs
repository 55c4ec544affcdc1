//! The modules of a crate, what each imports, and where what it imports comes from.

use super::tokens::{Kind, Token, tokens, without_tests};
use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

/// A file of a crate as a module. What its inline modules import counts as its own.
pub(crate) struct Module {
    /// Path of the file in the workspace.
    pub file: String,
    /// What it imports, resolved to the files that define it: the file, and the first line that
    /// does.
    pub imports: BTreeMap<String, usize>,
}

/// What the source of one module says.
#[derive(Default)]
struct Source {
    file: String,
    /// Modules in files of their own.
    children: BTreeSet<String>,
    /// Paths that are used, from the crate's root, with the line.
    uses: Vec<(Vec<String>, usize)>,
    /// Names of its items.
    defines: BTreeSet<String>,
    /// What is imported under a name, to find where re-exports lead: name and path from the root.
    /// `*` is everything of a module.
    exports: Vec<(String, Vec<String>)>,
}

impl Source {
    /// Does it have something of that name, its own or passed on?
    fn knows(&self, name: &str) -> bool {
        self.defines.contains(name) || self.exports.iter().any(|(export, _)| export == name)
    }
}

/// The modules of the crate whose root is the file `root`, by path from the root, without those of
/// tests.
pub(crate) fn modules(tree: &Tree, root: &str) -> Vec<Module> {
    let mut sources: BTreeMap<Vec<String>, Source> = BTreeMap::new();
    let mut open = vec![(Vec::new(), root.to_owned())];
    while let Some((path, file)) = open.pop() {
        let Some(text) = tree.text(&file) else {
            continue;
        };
        let source = read(text, &file, &path);
        for child in &source.children {
            let folder = folder_of_children(&file, path.is_empty());
            let names = [
                format!("{folder}/{child}.rs"),
                format!("{folder}/{child}/mod.rs"),
            ];
            if let Some(file) = names.into_iter().find(|name| tree.text(name).is_some()) {
                let path = path.iter().chain([child]).cloned().collect();
                open.push((path, file));
            }
        }
        sources.insert(path, source);
    }
    let module = |(path, source): (&Vec<String>, &Source)| {
        let mut imports = BTreeMap::new();
        for (used, line) in &source.uses {
            for definition in definitions(&sources, used, 0) {
                // Naming a module on the way, or its own child, imports nothing.
                if definition != *path {
                    let file = sources[&definition].file.clone();
                    imports.entry(file).or_insert(*line);
                }
            }
        }
        Module {
            file: source.file.clone(),
            imports,
        }
    };
    sources.iter().map(module).collect()
}

fn folder_of_children(file: &str, is_root: bool) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    if is_root || name == "mod.rs" {
        folder.to_owned()
    } else {
        file.trim_end_matches(".rs").to_owned()
    }
}

/// The modules that define what a path from the root means: the deepest module on the path, or
/// where its re-export of the next name leads.
fn definitions(
    sources: &BTreeMap<Vec<String>, Source>,
    used: &[String],
    depth: usize,
) -> Vec<Vec<String>> {
    let mut length = used.len();
    while length > 0 && !sources.contains_key(&used[..length]) {
        length -= 1;
    }
    let module = used[..length].to_vec();
    let Some(source) = sources.get(&module) else {
        return Vec::new();
    };
    let Some(name) = used.get(length) else {
        return vec![module];
    };
    // Re-exports of re-exports end somewhere.
    if source.defines.contains(name) || depth == 8 {
        return vec![module];
    }
    let everything = source.exports.iter().filter(|(export, _)| export == "*");
    let everything = everything.map(|(_, target)| &target[..target.len() - 1]);
    if name == "*" {
        let mut all = vec![module];
        all.extend(
            everything
                .filter(|t| sources.contains_key(*t))
                .map(<[_]>::to_vec),
        );
        return all;
    }
    let rest = &used[length + 1..];
    if let Some((_, target)) = source.exports.iter().find(|(export, _)| export == name) {
        let target: Vec<String> = target.iter().chain(rest).cloned().collect();
        let found = definitions(sources, &target, depth + 1);
        // A name of another crate, or the name that is looked for.
        if !found.is_empty() {
            return found;
        }
    }
    for target in everything {
        if sources.get(target).is_some_and(|of| of.knows(name)) {
            let target: Vec<String> = target.iter().chain([name]).chain(rest).cloned().collect();
            return definitions(sources, &target, depth + 1);
        }
    }
    vec![module]
}

/// Reads a module at `path` of the crate.
fn read(text: &str, file: &str, path: &[String]) -> Source {
    let all = tokens(text);
    let code: Vec<Token> = without_tests(&all)
        .into_iter()
        .filter(|t| t.kind != Kind::Comment)
        .collect();
    let mut reader = Reader {
        code: &code,
        path,
        source: Source {
            file: file.to_owned(),
            ..Source::default()
        },
        inside: Vec::new(),
        depth: 0,
    };
    reader.children();
    reader.read();
    reader.source
}

struct Reader<'a> {
    code: &'a [Token<'a>],
    path: &'a [String],
    source: Source,
    /// Inline modules around the place, with the depth of braces in which each began.
    inside: Vec<(String, usize)>,
    depth: usize,
}

impl Reader<'_> {
    /// Finds `mod name;`, and the names of items.
    fn children(&mut self) {
        const KEYWORDS: [&str; 9] = [
            "fn",
            "struct",
            "enum",
            "trait",
            "type",
            "const",
            "static",
            "union",
            "macro_rules",
        ];
        let mut depth = 0;
        for (k, token) in self.code.iter().enumerate() {
            depth += i32::from(token.is('{')) - i32::from(token.is('}'));
            // A constant may be `mut`; a macro has an exclamation mark.
            let mut after = self.code[k + 1..].iter();
            let name = after.find(|t| t.kind == Kind::Word && t.text != "mut" && t.text != "fn");
            let Some(name) = name.filter(|_| depth == 0 && token.kind == Kind::Word) else {
                continue;
            };
            if token.text == "mod" && after.next().is_some_and(|t| t.is(';')) {
                self.source.children.insert(name.text.to_owned());
            } else if KEYWORDS.contains(&token.text) {
                self.source.defines.insert(name.text.to_owned());
            }
        }
    }

    fn read(&mut self) {
        let mut at = 0;
        while let Some(token) = self.code.get(at) {
            let next = |k: usize| self.code.get(at + k);
            if token.is('{') {
                self.depth += 1;
            } else if token.is('}') {
                self.depth = self.depth.saturating_sub(1);
                self.inside.retain(|(_, began)| *began < self.depth + 1);
            } else if token.is_word("mod") && next(2).is_some_and(|t| t.is('{')) {
                let name = next(1).map_or("", |t| t.text);
                self.inside.push((name.to_owned(), self.depth + 1));
            } else if token.is_word("use") {
                let public =
                    at > 0 && (self.code[at - 1].is_word("pub") || self.code[at - 1].is(')'));
                at = self.import(at + 1, public);
                continue;
            } else if token.kind == Kind::Word && next(1).is_some_and(|t| t.kind == Kind::Path) {
                at = self.inline(at);
                continue;
            }
            at += 1;
        }
    }

    /// A path in the middle of code, like `super::name(...)`.
    fn inline(&mut self, from: usize) -> usize {
        let mut names = vec![self.code[from].text.to_owned()];
        let mut at = from + 1;
        while self.code.get(at).is_some_and(|t| t.kind == Kind::Path) {
            match self.code.get(at + 1) {
                Some(token) if token.kind == Kind::Word => names.push(token.text.to_owned()),
                _ => break,
            }
            at += 2;
        }
        // The middle of a path that began with something else, like `<T as A>::B::c`.
        let begins = from == 0 || self.code[from - 1].kind != Kind::Path;
        if begins && let Some(path) = self.absolute(&names) {
            self.source.uses.push((path, self.code[from].line));
        }
        at.max(from + 1)
    }

    /// A `use` from behind the keyword on; gives the place behind it.
    fn import(&mut self, from: usize, public: bool) -> usize {
        let mut end = from;
        while self.code.get(end).is_some_and(|t| !t.is(';')) {
            end += 1;
        }
        let mut leaves = Vec::new();
        branches(&self.code[from..end], &[], &mut leaves);
        let outer = self.inside.is_empty();
        for (names, alias, line) in leaves {
            let Some(path) = self.absolute(&names) else {
                continue;
            };
            if outer {
                self.source.exports.push((alias, path.clone()));
            }
            // What is only passed on is used by who takes it.
            if !public {
                self.source.uses.push((path, line));
            }
        }
        end + 1
    }

    /// A path from the crate's root; `None` for what is of another crate or local.
    fn absolute(&self, names: &[String]) -> Option<Vec<String>> {
        let inline: Vec<String> = self.inside.iter().map(|(name, _)| name.clone()).collect();
        let mut path: Vec<String> = self.path.iter().chain(&inline).cloned().collect();
        let mut rest = names;
        match names.first()?.as_str() {
            "crate" => {
                path.clear();
                rest = &names[1..];
            }
            "self" => rest = &names[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    path.pop()?;
                    rest = &rest[1..];
                }
            }
            first if inline.is_empty() && self.source.children.contains(first) => {}
            _ => return None,
        }
        // An inline module is part of its file.
        let file = self.path.len();
        if path.len() > file && path[..file] == *self.path {
            path.truncate(file);
            return None;
        }
        path.extend(rest.iter().cloned());
        Some(path)
    }
}

/// The leaves of a tree of imports: names, the name it is known by, line.
fn branches(tokens: &[Token], before: &[String], leaves: &mut Vec<(Vec<String>, String, usize)>) {
    let mut names = before.to_vec();
    let mut alias = None;
    let mut at = 0;
    let line = tokens.first().map_or(0, |t| t.line);
    while let Some(token) = tokens.get(at) {
        if token.is('{') {
            for part in parts(&tokens[at + 1..tokens.len() - 1]) {
                branches(part, &names, leaves);
            }
            return;
        }
        if token.is_word("as") {
            alias = tokens.get(at + 1).map(|t| t.text.to_owned());
            break;
        }
        if token.kind == Kind::Word || token.is('*') {
            names.push(token.text.to_owned());
        }
        at += 1;
    }
    // `use a::{self}` is `use a`.
    if names.len() > 1 && names.last().is_some_and(|name| name == "self") {
        names.pop();
    }
    let alias = alias.or_else(|| names.last().cloned()).unwrap_or_default();
    leaves.push((names, alias, line));
}

/// What stands between commas, those inside braces not counted.
fn parts<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut parts = Vec::new();
    let (mut begin, mut depth) = (0, 0);
    for (k, token) in tokens.iter().enumerate() {
        if token.is('{') {
            depth += 1;
        } else if token.is('}') {
            depth -= 1;
        } else if token.is(',') && depth == 0 {
            parts.push(&tokens[begin..k]);
            begin = k + 1;
        }
    }
    if begin < tokens.len() {
        parts.push(&tokens[begin..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)], file: &str) -> Vec<String> {
        let tree = Tree::of(files);
        let found = modules(&tree, "c/src/lib.rs");
        let module = found.into_iter().find(|m| m.file == file);
        module.expect("a module").imports.into_keys().collect()
    }

    #[test]
    fn imports_lead_to_files() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b; mod d;"),
            (
                "c/src/a.rs",
                "mod deep; use crate::b::{self, X, inner::{Y, Z as W}};",
            ),
            (
                "c/src/a/deep.rs",
                "use super::super::d::*; fn f() { crate::b::g(); super::h() }",
            ),
            ("c/src/b/mod.rs", "pub(crate) mod inner;"),
            ("c/src/b/inner.rs", "use std::fmt; use serde::a;"),
            ("c/src/d.rs", "mod inline { use super::super::a::T; }"),
        ];
        assert_eq!(
            imports(&files, "c/src/a.rs"),
            ["c/src/b/inner.rs", "c/src/b/mod.rs"]
        );
        assert_eq!(
            imports(&files, "c/src/a/deep.rs"),
            ["c/src/a.rs", "c/src/b/mod.rs", "c/src/d.rs"]
        );
        assert!(imports(&files, "c/src/b/inner.rs").is_empty());
        assert_eq!(imports(&files, "c/src/d.rs"), ["c/src/a.rs"]);
    }

    #[test]
    fn what_a_module_passes_on_is_found_where_it_is_defined() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b; pub use a::T;"),
            (
                "c/src/a/mod.rs",
                "mod x; mod y; pub use x::{T, U}; pub(crate) use y::*;",
            ),
            ("c/src/a/x.rs", "use super::V;"),
            ("c/src/a/y.rs", "pub struct V;"),
            ("c/src/b.rs", "use crate::T; use crate::a::{U, own};"),
        ];
        assert_eq!(
            imports(&files, "c/src/b.rs"),
            ["c/src/a/mod.rs", "c/src/a/x.rs"]
        );
        assert_eq!(imports(&files, "c/src/a/x.rs"), ["c/src/a/y.rs"]);
        assert!(imports(&files, "c/src/a/mod.rs").is_empty());
    }

    #[test]
    fn tests_do_not_count() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b; #[cfg(test)] mod t;"),
            ("c/src/a.rs", "#[cfg(test)] mod tests { use crate::b::X; }"),
            ("c/src/b.rs", "use crate::a::Y;"),
            ("c/src/t.rs", "use crate::a::Y;"),
        ];
        assert!(imports(&files, "c/src/a.rs").is_empty());
        let tree = Tree::of(&files);
        assert_eq!(modules(&tree, "c/src/lib.rs").len(), 3);
    }
}
