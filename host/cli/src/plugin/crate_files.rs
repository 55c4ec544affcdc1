//! The files of a new plugin crate. It carries the sources of the contract with it, so that it
//! builds anywhere.

use windtunnel_policy::Hook;

/// Where the contract lies in the crate.
const VENDOR: &str = "vendor/windtunnel-plugin-api";

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../plugin-api/", $path)))),*]
    };
}

/// The contract as it is, without its manifest, which is that of this workspace.
pub(crate) const CONTRACT: &[(&str, &str)] = sources![
    "include/windtunnel_plugin.h",
    "src/abi.rs",
    "src/abi/adapters.rs",
    "src/abi/declare.rs",
    "src/abi/guard.rs",
    "src/abi/objects.rs",
    "src/abi/root.rs",
    "src/batching.rs",
    "src/c.rs",
    "src/dispatch.rs",
    "src/error.rs",
    "src/header.rs",
    "src/header/shapes.rs",
    "src/hooks.rs",
    "src/host.rs",
    "src/lib.rs",
    "src/list.rs",
    "src/scale.rs",
    "src/table.rs",
    "src/views.rs",
];

/// The policy that a hook's crate begins with.
fn template(hook: Hook) -> &'static str {
    match hook {
        Hook::Admission => include_str!("templates/admission.rs.txt"),
        Hook::Routing => include_str!("templates/routing.rs.txt"),
        Hook::Priority => include_str!("templates/priority.rs.txt"),
        Hook::Scheduler => include_str!("templates/scheduler.rs.txt"),
        Hook::Preemption => include_str!("templates/preemption.rs.txt"),
        Hook::Disaggregation => include_str!("templates/disaggregation.rs.txt"),
        Hook::Batching => include_str!("templates/batching.rs.txt"),
        Hook::Dispatch => include_str!("templates/dispatch.rs.txt"),
        Hook::Scale => include_str!("templates/scale.rs.txt"),
    }
}

/// Paths and texts of a crate called `name`.
pub(super) fn files(name: &str, hook: Hook) -> Vec<(String, String)> {
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest(name)),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        ("README.md".to_owned(), readme(name, hook)),
        (
            "src/lib.rs".to_owned(),
            template(hook).replace("__NAME__", name),
        ),
        (format!("{VENDOR}/Cargo.toml"), contract_manifest()),
    ];
    let contract = CONTRACT.iter();
    files.extend(contract.map(|(path, text)| (format!("{VENDOR}/{path}"), (*text).to_owned())));
    files
}

/// File name of the library that a crate called `name` builds.
pub(super) fn library(name: &str) -> String {
    format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        name.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    )
}

fn manifest(name: &str) -> String {
    format!(
        "[package]
name = \"{name}\"
version = \"0.1.0\"
edition = \"2024\"
publish = false

# A library to load at run time, and one that tests can use.
[lib]
crate-type = [\"cdylib\", \"rlib\"]

[dependencies]
windtunnel-plugin-api = {{ path = \"{VENDOR}\" }}

# Not part of any workspace around it.
[workspace]
"
    )
}

fn contract_manifest() -> String {
    let (major, minor) = windtunnel_plugin_api::VERSION;
    format!(
        "[package]
name = \"windtunnel-plugin-api\"
version = \"{major}.{minor}.0\"
edition = \"2024\"
license = \"Apache-2.0\"
publish = false

[dependencies]
abi_stable = {{ version = \"0.11\", default-features = false }}
"
    )
}

fn readme(name: &str, hook: Hook) -> String {
    let library = library(name);
    let (major, minor) = windtunnel_plugin_api::VERSION;
    format!(
        "# {name}

A {hook} policy for windtunnel in `src/lib.rs`, built for plugin-api {major}.{minor}, whose sources lie in `{VENDOR}`.

```sh
cargo test
cargo build --release
windtunnel plugin inspect target/release/{library}
```
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_contract_is_complete() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api");
        let mut there = Vec::new();
        for folder in ["include", "src", "src/abi", "src/header"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let name = path.file_name().expect("a name").to_string_lossy();
                    there.push(format!("{folder}/{name}"));
                }
            }
        }
        there.sort();
        let mut listed: Vec<&str> = CONTRACT.iter().map(|(path, _)| *path).collect();
        listed.sort_unstable();
        assert_eq!(listed, there);
    }
}
