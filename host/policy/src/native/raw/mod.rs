//! The unsafe part: loading a library, and calling what it exports.
//!
//! What is relied upon, throughout: a library that exports the entry symbol of a plugin exports
//! what the contract says under that name, and its functions do what the contract says. The loader
//! proves what can be proved (magic numbers, version, layouts of Rust plugins, sizes of C structs);
//! beyond that, native code runs with the rights of this process and is trusted.
//!
//! Nothing is ever unloaded: the handle of a library is forgotten, so everything in it is
//! `'static`.

#![allow(
    unsafe_code,
    reason = "foreign functions are called; SAFETY is argued at each place"
)]

mod c_hooks;
mod c_state;
mod c_tables;

use super::check::Entry;
use super::manifest::{Compatibility, DeclaredPolicy, Language, Manifest, compatibility, hook};
use crate::param::Param;
use c_tables::CPlugin;
use libloading::Library as Handle;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use windtunnel_plugin_api::abi::{PluginInfo, PluginRootRef, ROOT_SYMBOL, version_of};
use windtunnel_plugin_api::abi_stable::library::{
    AbiHeader, AbiHeaderRef, LibraryError, RootModule,
};
use windtunnel_plugin_api::c::{C_SYMBOL, PluginC};

/// What a library's entry symbol leads to.
pub(super) enum Interface {
    /// The root module of a Rust plugin.
    Rust(PluginRootRef),
    /// The tables of a C plugin.
    C(CPlugin),
}

/// Loads the library at `path`, whose file was checked and has the entry `found`, into a host for
/// version `host_version` of the contract.
pub(super) fn load(
    path: &Path,
    found: Entry,
    host_version: (u32, u32),
) -> Result<(Interface, Manifest), String> {
    let handle = open(path).map_err(|e| format!("cannot load the library: {}", chain(&e)))?;
    let loaded = match found {
        Entry::Rust => {
            rust(&handle, host_version).map(|(root, manifest)| (Interface::Rust(root), manifest))
        }
        Entry::C => c_plugin(&handle, host_version)
            .map(|(plugin, manifest)| (Interface::C(plugin), manifest)),
    };
    // Never unloaded: pointers into it may be anywhere from here on, even after an error.
    std::mem::forget(handle);
    loaded
}

fn open(path: &Path) -> Result<Handle, libloading::Error> {
    // SAFETY: the initialisers of the library run; see the module.
    #[cfg(unix)]
    let handle = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // All symbols now: one that is missing is an error here instead of a death in the middle of
        // a run.
        Library::open(Some(path), RTLD_NOW | RTLD_LOCAL)?.into()
    };
    // SAFETY: as above.
    #[cfg(not(unix))]
    let handle = unsafe { Handle::new(path)? };
    Ok(handle)
}

/// Loads a library of the system that plugins need, by its name, so that it is there when they are
/// loaded. One that is not found is missed then, which says more.
pub(super) fn preload(name: &str) {
    // A path leads to something of the plugin's own.
    #[cfg(unix)]
    if !name.contains('/') {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // SAFETY: it is found among the libraries of the system, which are trusted.
        let loaded = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let _ = loaded.map(std::mem::forget);
    }
    #[cfg(not(unix))]
    let _ = name;
}

/// An error with its causes; libloading says the interesting part in the cause.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

fn rust(handle: &Handle, host_version: (u32, u32)) -> Result<(PluginRootRef, Manifest), String> {
    // SAFETY: the symbol is a static `LibHeader`, written by `export_plugin!`. It begins with an
    // `AbiHeader` in every version of abi_stable, and `upgrade` reads no further before it has
    // compared that.
    let header: AbiHeaderRef = unsafe {
        *handle
            .get::<AbiHeaderRef>(ROOT_SYMBOL)
            .map_err(|e| chain(&e))?
    };
    let header = header.upgrade().map_err(|e| explain(&e, host_version))?;
    let consts = header.root_mod_consts();
    if consts.name() != PluginRootRef::NAME {
        return Err(format!(
            "{ROOT_SYMBOL} belongs to \"{}\", expected \"{}\"",
            consts.name(),
            PluginRootRef::NAME
        ));
    }
    let api = version_of(header.version_strings().version)?;
    let root = match compatibility(api, host_version)? {
        Compatibility::Same => header.init_root_module::<PluginRootRef>(),
        // SAFETY: an older minor version of the same contract is a prefix of this one, which the
        // test of the golden layout holds: what it has lies where this host looks for it, and what
        // it lacks is absent by its own count of fields.
        Compatibility::Older => unsafe {
            header.init_root_module_with_unchecked_layout::<PluginRootRef>()
        },
    }
    .map_err(|e| explain(&e, host_version))?;
    let PluginInfo {
        name,
        version,
        policies,
    } = root.describe()();
    let policies: Result<Vec<DeclaredPolicy>, String> = policies
        .into_iter()
        .map(|policy| {
            let params = policy.params.into_iter().map(|p| Param {
                name: String::from(p.name).into(),
                default: p.default,
                least: p.least,
                most: p.most,
                whole: p.whole,
                log: p.log,
                doc: String::from(p.doc).into(),
            });
            Ok(DeclaredPolicy {
                hook: hook(policy.hook, &policy.name)?,
                name: policy.name.into(),
                doc: policy.doc.into(),
                params: params.collect(),
            })
        })
        .collect();
    let manifest = Manifest {
        name: name.into(),
        version: version.into(),
        api,
        language: Language::Rust,
        policies: policies?,
    };
    Ok((root, manifest))
}

/// An error of abi_stable in a few words. Its own on a layout has a thousand lines.
fn explain(error: &LibraryError, host_version: (u32, u32)) -> String {
    let (major, minor) = host_version;
    match error {
        LibraryError::AbiInstability(report) => {
            let found = difference(&report.to_string());
            format!(
                "it claims plugin-api {major}.{minor} but is laid out differently:\n  {found}\n  rebuild it against the unchanged sources of plugin-api {major}.{minor}"
            )
        }
        LibraryError::InvalidAbiHeader(header) => {
            let here = AbiHeader::VALUE;
            format!(
                "it was built with abi_stable {}.{}, this windtunnel has {}.{}: rebuild it against plugin-api {major}.{minor}",
                header.abi_major, header.abi_minor, here.abi_major, here.abi_minor
            )
        }
        LibraryError::InvalidCAbi { .. } => {
            "its compiler passes arguments in another way than this windtunnel's: rebuild it with a current Rust".into()
        }
        other => {
            let text = other.to_string();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            format!("cannot start the plugin: {}", lines.join(" ").trim())
        }
    }
}

/// The first difference in a report on layouts, on one line: the type, and what follows `Error:` up
/// to an empty line.
fn difference(report: &str) -> String {
    let mut lines = report.lines().map(str::trim);
    let mut of = "";
    while let Some(line) = lines.next() {
        if line == "--- Type Layout ---" {
            of = lines.next().unwrap_or_default();
            of = of.strip_prefix("type:").unwrap_or(of);
        } else if let Some(error) = line.strip_prefix("Error:") {
            let rest = lines.by_ref().take_while(|line| !line.is_empty());
            let words: Vec<&str> = std::iter::once(error).chain(rest).take(8).collect();
            let text: String = words.join(" ").chars().take(160).collect();
            return format!("{of}: {text}");
        }
    }
    "abi_stable does not say where".into()
}

fn c_plugin(handle: &Handle, host_version: (u32, u32)) -> Result<(CPlugin, Manifest), String> {
    // SAFETY: the symbol is a constant `wt_plugin`; `CPlugin::read` looks at no more than its magic
    // number before it has compared that.
    let plugin: *const PluginC = unsafe {
        *handle
            .get::<*const PluginC>(C_SYMBOL)
            .map_err(|e| chain(&e))?
    };
    unsafe { CPlugin::read(plugin, host_version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_lines_one_is_left() {
        let layout = "Layout of expected type:\n    --- Type Layout ---\n    type:Event\n    size:64 align:8\n\n";
        let fine = "Compared <this>:\n    --- Type Layout ---\n    type:Root\n0 error(s).\n\n";
        let error = "\n\nError:incompatible type size\nExpected:\n    64\nFound:\n    72\n\nError:too many fields\n";
        assert_eq!(
            difference(&format!("{fine}{layout}{error}")),
            "Event: incompatible type size Expected: 64 Found: 72"
        );
        assert_eq!(difference(fine), "abi_stable does not say where");
    }
}
