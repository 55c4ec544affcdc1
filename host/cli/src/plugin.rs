//! `windtunnel plugin`: start a compiled plugin, or say what one offers.

mod crate_files;

use super::print::{present, say};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use windtunnel_base::input::{InputError, write_folder};
use windtunnel_policy::Param;
use windtunnel_policy::native::{Manifest, Plugin};

/// `windtunnel plugin`.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a crate with a policy to start from; it builds with one `cargo build`, anywhere
    #[command(after_help = "Examples:
  windtunnel plugin new my-router
  windtunnel plugin new my-scheduler --hook scheduler --dir ~/policies/my-scheduler")]
    New(NewArgs),
    /// Print what a compiled plugin offers
    #[command(after_help = "Examples:
  windtunnel plugin inspect target/release/libmy_router.so
  windtunnel plugin inspect ./libmy_router.so --json")]
    Inspect(InspectArgs),
}

/// `windtunnel plugin new`.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// Name of the crate and of its policy: lower-case letters, digits, hyphens
    pub name: String,
    /// Hook that it fills: admission, routing, priority, scheduler, preemption, disaggregation or
    /// batching
    #[arg(long, default_value = "routing")]
    pub hook: String,
    /// Folder to make [default: the name, here]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// `windtunnel plugin inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The library: lib*.so
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Does what is asked.
pub fn plugin(command: &PluginCommand) -> anyhow::Result<()> {
    match command {
        PluginCommand::New(args) => Ok(new(args)?),
        PluginCommand::Inspect(args) => {
            let plugin = Plugin::open(&args.file)?;
            let text = if args.json {
                format!("{:#}\n", as_json(plugin.manifest()))
            } else {
                as_text(plugin.manifest())
            };
            present(args.json, &text)
        }
    }
}

fn new(args: &NewArgs) -> Result<(), InputError> {
    let name = args.name.as_str();
    check_name(name)?;
    let hook = super::policy::hook(&args.hook)
        .map_err(|e| InputError::new(format!("--hook: {}", e.message())))?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.symlink_metadata().is_ok() {
        return Err(InputError::in_file(
            folder.display(),
            "cannot write: it exists already; give another folder with --dir",
        ));
    }
    write_folder(&folder, &crate_files::files(name, hook))?;
    let shown = folder.display();
    say(&format!(
        "wrote {shown}: the policy is in src/lib.rs\n\
         build it: cargo build --release --manifest-path {shown}/Cargo.toml\n\
         look at it: windtunnel plugin inspect {shown}/target/release/{}",
        crate_files::library(name)
    ));
    Ok(())
}

/// Names that Cargo or the compiler keep for themselves.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "windtunnel-plugin-api",
    "yield",
    "abi-stable",
];

fn check_name(name: &str) -> Result<(), InputError> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.ends_with('-') || !name.chars().all(fine) {
        return Err(InputError::new(format!(
            "the name \"{name}\" makes no crate; expected lower-case letters, digits and hyphens, such as my-router"
        )));
    }
    if TAKEN.contains(&name) {
        return Err(InputError::new(format!(
            "the name \"{name}\" means something to Rust; choose another, such as {name}-policy"
        )));
    }
    Ok(())
}

fn range(param: &Param) -> String {
    let mut text = format!("{} to {}", param.least, param.most);
    if param.whole {
        text.push_str(", whole");
    }
    if param.log {
        text.push_str(", log scale");
    }
    text
}

fn as_text(manifest: &Manifest) -> String {
    let mut text = format!(
        "{} {}: {} interface, plugin-api {}.{}\n",
        manifest.name, manifest.version, manifest.language, manifest.api.0, manifest.api.1
    );
    for policy in &manifest.policies {
        let _ = write!(text, "\n{} {}\n", policy.hook, policy.name);
        if !policy.doc.is_empty() {
            let _ = writeln!(text, "  {}", policy.doc);
        }
        for param in &policy.params {
            let _ = write!(
                text,
                "  {} = {} ({})",
                param.name,
                param.default,
                range(param)
            );
            if param.doc.is_empty() {
                text.push('\n');
            } else {
                let _ = writeln!(text, ": {}", param.doc);
            }
        }
    }
    text
}

fn as_json(manifest: &Manifest) -> Value {
    let policies: Vec<Value> = manifest
        .policies
        .iter()
        .map(|policy| {
            let params: Vec<Value> = policy
                .params
                .iter()
                .map(|p| {
                    json!({
                        "name": p.name, "default": p.default, "least": p.least, "most": p.most,
                        "whole": p.whole, "log": p.log, "doc": p.doc,
                    })
                })
                .collect();
            json!({ "hook": policy.hook.name(), "name": policy.name, "doc": policy.doc, "params": params })
        })
        .collect();
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "interface": manifest.language.to_string(),
        "plugin_api": format!("{}.{}", manifest.api.0, manifest.api.1),
        "policies": policies,
    })
}
