//! What Linux adds: the files that can be opened (Landlock), the system calls that exist (seccomp,
//! see `calls`), no capabilities, and the end with the parent.

use super::calls::{self, Calls};
use super::fstat;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// What the dynamic loader reads: libraries, of whatever kind of distribution.
const LIBRARIES: [&str; 11] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/dev/null",
];

/// Newest Landlock that is asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

pub(super) fn enter(native: bool, parent: Option<u32>, read: &[PathBuf]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before that call.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if parent.is_some() && now != parent {
        return Err(io::Error::other("the parent is gone"));
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    drop_capabilities(CapabilitySet::empty())?;
    read_only(native, read).map_err(other)?;
    calls::apply(if native {
        Calls::BeforePlugin
    } else {
        Calls::Scripts
    })
}

/// Drops all capabilities but `keep`, also as root, and lets none be regained.
fn drop_capabilities(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // Without CAP_SETPCAP the set cannot be changed, and without capabilities it need not be:
        // no program is started. Beyond the last capability the kernel says so.
        if !keep.contains(one) {
            let _ = rustix::thread::remove_capability_from_bounding_set(one);
        }
    }
    // Kernels before 4.3 have none.
    let _ = rustix::thread::clear_ambient_capability_set();
    let now = rustix::thread::capabilities(None)?;
    let sets = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Nothing may be written, and only what is needed may be read, as far as the kernel supports it.
fn read_only(native: bool, read: &[PathBuf]) -> Result<(), landlock::RulesetError> {
    let system = LIBRARIES.iter().map(PathBuf::from);
    // A worker that copies itself counts its threads first.
    let own = (!native).then(|| PathBuf::from("/proc/self/task"));
    // Of a folder only the names; files are named one by one.
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = read
        .iter()
        .cloned()
        .chain(own)
        .partition(|path| path.is_dir());
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(system, reading))?
        .add_rules(path_beneath_rules(files, AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(folders, AccessFs::ReadDir))?
        .restrict_self()?;
    Ok(())
}

/// See [`before_machine_code`](super::before_machine_code). The dynamic loader runs a library's
/// initialisers in the call that opens it, so nothing can be taken away in between. Instead there
/// are exactly as many free descriptors as libraries, and closing one of these does nothing: what
/// tries to open another file is refused before its path is looked at.
pub(super) fn before_machine_code(plugins: usize) -> io::Result<()> {
    fstat::answer()?;
    // A new descriptor is the lowest that is free.
    let free = io::stderr().as_fd().try_clone_to_owned()?.as_raw_fd() as u64;
    let end = free + plugins as u64;
    let limit = Rlimit {
        current: Some(end),
        maximum: Some(end),
    };
    setrlimit(Resource::Nofile, limit)?;
    calls::apply(Calls::Plugin { kept: free..end })
}

/// Rights that change files.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(LANDLOCK) | AccessFs::Execute
}

/// See [`confine_own`](super::confine_own).
pub(super) fn confine_own(outputs: &[PathBuf]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    // Root keeps what lets it read files of others.
    let kept = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    if rustix::thread::set_no_new_privs(true).is_err() || drop_capabilities(kept).is_err() {
        missing.push("privileges");
    }
    if !matches!(write_below(outputs), Ok(status) if status != RulesetStatus::NotEnforced) {
        missing.push("files");
    }
    if calls::apply(Calls::Own).is_err() {
        missing.push("system calls");
    }
    missing
}

/// Nothing may be written but below the folders of outputs, and no program be run.
fn write_below(outputs: &[PathBuf]) -> Result<RulesetStatus, landlock::RulesetError> {
    let devices = ["/dev/null", "/dev/tty"].map(PathBuf::from);
    let places = outputs.iter().filter_map(|path| place(path));
    let places: Vec<PathBuf> = devices.into_iter().chain(places).collect();
    let status = Ruleset::default()
        .handle_access(writing())?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(
            places,
            AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile,
        ))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Where an output is written: beside the file, which is replaced; a device or a pipe itself. One
/// that has no place in the file system, as an inherited pipe, needs none.
fn place(output: &Path) -> Option<PathBuf> {
    match std::fs::metadata(output) {
        Ok(found) if !found.is_file() => std::fs::canonicalize(output).ok(),
        _ => {
            let target = windtunnel_base::input::identity(output).ok()?;
            Some(windtunnel_base::input::folder_of(&target).to_owned())
        }
    }
}
