//! Plugins built for the tests, below `target/plugins`. Cargo builds only what changed, and lets
//! one build at a time.

use crate::support::{root, windtunnel};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub(crate) fn target() -> PathBuf {
    root().join("target/plugins")
}

fn debug(crate_name: &str) -> PathBuf {
    let name = crate_name.replace('-', "_");
    target().join(format!("debug/lib{name}.so"))
}

fn cargo(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args(["build", "--offline", "--quiet", "--target-dir"])
        .arg(target())
        .args(arguments)
        .current_dir(folder);
    let output = command.output().expect("cargo starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The library of a crate in `plugins/`.
pub(super) fn of_the_workspace(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let names = ["least-tokens", "session-affinity", "two-phases", "vtc-fair"]
            .map(|name| format!("-p=windtunnel-plugin-{name}"));
        cargo(&root(), &names.each_ref().map(String::as_str));
    });
    debug(&format!("windtunnel-plugin-{name}"))
}

/// A file with its text, touched only if it changes.
fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("written");
}

/// The contract as it was at version 1.0.
const PINNED: &str = "host/tests/data/native/plugin-api-1.0.txt";

/// The sources of plugin-api as they are in this workspace, without their tests, in the form of the
/// pinned copy.
fn sources() -> String {
    let mut paths = Vec::new();
    let api = root().join("plugin-api");
    for folder in ["src", "src/abi", "src/header"] {
        for entry in fs::read_dir(api.join(folder)).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let source = fs::read_to_string(&path).expect("a source");
        let code = source.split("\n#[cfg(test)]\n").next().expect("code");
        let name = path.strip_prefix(&api).expect("below").display();
        text.push_str(&format!("==> {name}\n{}\n", code.trim_end()));
    }
    text
}

/// Paths and texts of a copy of the contract.
fn parts(text: &str) -> Vec<(String, String)> {
    let parts = text.split("==> ").skip(1);
    parts
        .map(|part| {
            let (path, source) = part.split_once('\n').expect("a path");
            (path.to_owned(), source.to_owned())
        })
        .collect()
}

/// A version that has the minor version of this workspace's contract.
const FORGED: &str = "1.1.99";

/// An edit of the contract: file, what to find, what to put there.
type Edit = (&'static str, &'static str, &'static str);

/// Where the sources of a contract come from.
#[derive(Clone, Copy)]
enum Origin {
    /// The pinned copy of 1.0.
    Pinned,
    /// This workspace.
    Current,
}

/// The contracts that fixtures are built against: version of the crate, its sources, and what was
/// edited in them.
const CONTRACTS: &[(&str, Origin, &[Edit])] = &[
    ("1.0.0", Origin::Pinned, &[]),
    // As the contract is meant to grow: a field, a function and a method at the ends.
    (
        "1.9.0",
        Origin::Pinned,
        &[
            (
                "src/views.rs",
                "        max_step_tokens: u32, \"tokens\";\n",
                "        max_step_tokens: u32, \"tokens\";\n        /// Later.\n        later: u64, \"\";\n",
            ),
            (
                "src/abi.rs",
                "    pub new_victim: extern \"C\" fn(u32, SetupView<'_>) -> RResult<VictimBox, RString>,\n",
                "    pub new_victim: extern \"C\" fn(u32, SetupView<'_>) -> RResult<VictimBox, RString>,\n    /// Later.\n    pub later: extern \"C\" fn() -> u32,\n",
            ),
            (
                "src/abi/declare.rs",
                "        new_victim: new_victim::<P>,\n",
                "        new_victim: new_victim::<P>,\n        later: { extern \"C\" fn later() -> u32 { 11 } later },\n",
            ),
            (
                "src/abi/objects.rs",
                "}\n\n/// A router of a plugin.",
                "    /// Later.\n    fn later(&self) -> u32 {\n        5\n    }\n}\n\n/// A router of a plugin.",
            ),
        ],
    ),
    ("2.0.0", Origin::Pinned, &[]),
    // Claims to be the current version and is not.
    (
        FORGED,
        Origin::Current,
        &[(
            "src/views.rs",
            "        slo_class: u32, \"\";\n    }\n}\n",
            "        slo_class: u32, \"\";\n        /// One more.\n        more: u64, \"\";\n    }\n}\n",
        )],
    ),
];

/// The smallest plugin there is.
const SMALLEST: &str = "use windtunnel_plugin_api::{ClusterView, PolicyError, RequestView, Route, Router};
struct First;
impl Router for First {
    fn route(&mut self, _: &RequestView, _: &ClusterView<'_>) -> Result<Route, PolicyError> {
        Ok(Route::To(0))
    }
}
windtunnel_plugin_api::export_plugin! { name: \"first\"; version: \"0\"; routing \"first\" {} = |_| Ok(First); }
";

/// The libraries of the fixtures: a workspace with a crate for each contract and one that is no
/// plugin.
pub(super) struct Fixtures {
    /// Every hook and misbehaviour, built against the pinned copy of 1.0.
    pub(super) zoo: PathBuf,
    /// Built for 1.9, which has more.
    pub(super) newer: PathBuf,
    /// A program that speaks 1.9.
    pub(super) later_host: PathBuf,
    /// Built for 2.0.
    pub(super) other_major: PathBuf,
    /// Built for the current version with another layout.
    pub(super) forged: PathBuf,
    /// A library of something else.
    pub(super) stranger: PathBuf,
}

pub(super) fn fixtures() -> &'static Fixtures {
    static BUILT: OnceLock<Fixtures> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = target().join("fixtures");
        let data = |name| {
            let path = root().join("host/tests/data/native").join(name);
            fs::read_to_string(path).expect("a fixture")
        };
        put(
            &folder.join("Cargo.toml"),
            "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\n[profile.dev]\nopt-level = 1\ndebug = \"line-tables-only\"\n",
        );
        if !folder.join("Cargo.lock").exists() {
            let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
            put(&folder.join("Cargo.lock"), &lock);
        }
        let manifest = |name: &str, version: &str, rest: &str| {
            format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\n{rest}")
        };
        let member = |name: &str, contract: Option<&str>, sources: &[(&str, &str)]| {
            let dependency = contract.map_or(String::new(), |version| {
                format!("[dependencies]\nwindtunnel-plugin-api = {{ path = \"../../../contracts/{version}\" }}\n")
            });
            let rest = format!("[lib]\ncrate-type = [\"cdylib\"]\n\n{dependency}");
            let place = folder.join("crates").join(name);
            put(&place.join("Cargo.toml"), &manifest(name, "0.0.0", &rest));
            for (path, text) in sources {
                put(&place.join("src").join(path), text);
            }
        };
        let pinned = fs::read_to_string(root().join(PINNED)).expect("the pinned copy");
        let (pinned, current) = (parts(&pinned), parts(&sources()));
        for (version, origin, edits) in CONTRACTS {
            let sources = match origin {
                Origin::Pinned => &pinned,
                Origin::Current => &current,
            };
            let place = target().join("contracts").join(version);
            let rest = "[dependencies]\nabi_stable = { version = \"0.11\", default-features = false }\n";
            put(
                &place.join("Cargo.toml"),
                &manifest("windtunnel-plugin-api", version, rest),
            );
            for (path, text) in sources {
                let mut text = text.clone();
                for (file, old, new) in *edits {
                    if file == path {
                        assert_eq!(text.matches(old).count(), 1, "{path}: {old}");
                        text = text.replace(old, new);
                    }
                }
                put(&place.join(path), &text);
            }
        }
        let zoo = (data("zoo.rs"), data("policies.rs"));
        member(
            "zoo",
            Some("1.0.0"),
            &[("lib.rs", &zoo.0), ("policies.rs", &zoo.1)],
        );
        for (name, version) in [("newer", "1.9.0"), ("other-major", "2.0.0"), ("forged", FORGED)] {
            member(name, Some(version), &[("lib.rs", SMALLEST)]);
        }
        let stranger = "#[unsafe(no_mangle)]\npub extern \"C\" fn hello() -> u32 {\n    7\n}\n";
        member("stranger", None, &[("lib.rs", stranger)]);
        let host = folder.join("crates/later-host");
        let rest = "[dependencies]\nwindtunnel-plugin-api = { path = \"../../../contracts/1.9.0\" }\n";
        put(
            &host.join("Cargo.toml"),
            &manifest("later-host", "0.0.0", rest),
        );
        put(&host.join("src/main.rs"), &data("later_host.rs"));
        cargo(&folder, &[]);
        Fixtures {
            later_host: target().join("debug/later-host"),
            zoo: debug("zoo"),
            newer: debug("newer"),
            other_major: debug("other-major"),
            forged: debug("forged"),
            stranger: debug("stranger"),
        }
    })
}

/// A library made of C: `None`, with a word on why, where there is no compiler.
pub(crate) fn c(name: &str, source: &Path, flags: &[&str]) -> Option<PathBuf> {
    let folder = target().join("c");
    fs::create_dir_all(&folder).expect("a folder");
    // Tests run at the same time: each makes its own file.
    let library = folder.join(format!("lib{name}-{}.so", std::process::id()));
    let compiler = std::env::var_os("CC").unwrap_or("cc".into());
    let mut command = Command::new(compiler);
    command
        .args("-std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC".split(' '))
        .arg("-I")
        .arg(root().join("plugin-api/include"))
        .args(flags)
        .arg(source)
        .arg("-o")
        .arg(&library);
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: no C compiler ({e})");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    Some(library)
}

/// The crates that `plugin new` writes, one for each hook, in one workspace with one copy of the
/// contract: their libraries. Their tests are run, too.
pub(super) fn templates() -> Vec<(&'static str, PathBuf)> {
    const HOOKS: [&str; 9] = [
        "admission",
        "routing",
        "priority",
        "scheduler",
        "preemption",
        "disaggregation",
        "batching",
        "dispatch",
        "scale",
    ];
    let fresh = tempfile::tempdir().expect("a folder");
    let folder = target().join("templates");
    put(
        &folder.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"my-*\"]\n\n[profile.dev]\nopt-level = 1\ndebug = \"line-tables-only\"\n",
    );
    for hook in HOOKS {
        let name = format!("my-{hook}");
        let made = fresh.path().join(&name);
        let made_text = made.display().to_string();
        let ran = windtunnel(["plugin", "new", &name, "--hook", hook, "--dir", &made_text]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let mut stack = vec![made.clone()];
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                stack.extend(
                    fs::read_dir(&path)
                        .expect("readable")
                        .map(|e| e.expect("an entry").path()),
                );
                continue;
            }
            let within = path.strip_prefix(&made).expect("below");
            let vendored = within.starts_with("vendor");
            if vendored && hook != HOOKS[0] {
                continue;
            }
            let place = if vendored {
                folder.join(within)
            } else {
                folder.join(&name).join(within)
            };
            let text = fs::read_to_string(&path).expect("a text");
            // One contract for all, in one workspace.
            let text = text
                .replace("path = \"vendor", "path = \"../vendor")
                .replace("[workspace]\n", "");
            put(&place, &text);
        }
    }
    if !folder.join("Cargo.lock").exists() {
        let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
        put(&folder.join("Cargo.lock"), &lock);
    }
    cargo(&folder, &["--workspace", "--lib", "--tests"]);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args([
            "test",
            "--offline",
            "--quiet",
            "--lib",
            "--workspace",
            "--target-dir",
        ])
        .arg(target())
        .current_dir(&folder);
    let output = command.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("1 passed").count(), HOOKS.len(), "{said}");
    HOOKS
        .map(|hook| (hook, debug(&format!("my-{hook}"))))
        .to_vec()
}
