//! Limits of resources. What this process may not have itself, it cannot give: a limit is the lower
//! one of its own and what is wanted.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Least address space that a worker can do its work in, bytes: its own program, the traffic of a
/// scenario and the 32 MiB of the scripts fit several times.
const LEAST_MEMORY: u64 = 1 << 30;
/// Stack of the main thread, bytes, wanted and needed.
const STACK: u64 = 8 << 20;
const LEAST_STACK: u64 = 2 << 20;
/// What it gets where that is possible: the parser of scripts wants much, and works in this thread
/// where there can be no other.
const ROOMY_STACK: u64 = 72 << 20;
/// Open files, wanted and needed.
const FILES: u64 = 64;
const LEAST_FILES: u64 = 16;
/// Address space of a process that runs scripts itself, bytes, where the machine has no more
/// memory: big traces need much.
const OWN_MEMORY: u64 = 16 << 30;

/// A limit, what it is called, the command of shells that sets it, and how its numbers are told.
struct Kind {
    resource: Resource,
    what: &'static str,
    command: &'static str,
    bytes: bool,
}

const ADDRESSES: Kind = Kind {
    resource: Resource::As,
    what: "address space",
    command: "ulimit -v",
    bytes: true,
};
const STACKS: Kind = Kind {
    resource: Resource::Stack,
    what: "stack",
    command: "ulimit -s",
    bytes: true,
};
const OPEN_FILES: Kind = Kind {
    resource: Resource::Nofile,
    what: "open files",
    command: "ulimit -n",
    bytes: false,
};
const PROCESSES: Kind = Kind {
    resource: Resource::Nproc,
    what: "processes",
    command: "ulimit -u",
    bytes: false,
};

impl Kind {
    fn show(&self, value: u64) -> String {
        match value {
            n if !self.bytes => n.to_string(),
            n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
            n if n >= 16 << 20 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
            n => format!("{} KiB", n >> 10),
        }
    }

    /// Sets it to `value`, or to the highest that this process may have. `low` gets a word where
    /// that is lower than `wanted`.
    fn set(&self, value: u64, wanted: u64, least: u64, low: &mut Vec<String>) -> io::Result<()> {
        let most = getrlimit(self.resource).maximum.unwrap_or(u64::MAX);
        if most < least {
            return Err(io::Error::other(format!(
                "the limit of the {} ({}) is {}; at least {} are needed",
                self.what,
                self.command,
                self.show(most),
                self.show(least)
            )));
        }
        if most < wanted {
            low.push(format!(
                "{} {} ({}), {} wanted",
                self.what,
                self.show(most),
                self.command,
                self.show(wanted)
            ));
        }
        set(self.resource, value.min(most))
    }

    /// What this process itself is limited to, if it is.
    fn own(&self) -> Option<String> {
        let now = getrlimit(self.resource).current?;
        Some(format!(
            "{} {} ({})",
            self.what,
            self.show(now),
            self.command
        ))
    }
}

fn set(resource: Resource, value: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Whether the stack of the main thread may be too small for any command.
#[must_use]
pub fn stack_is_low() -> bool {
    getrlimit(Resource::Stack)
        .current
        .is_some_and(|stack| stack < LEAST_STACK)
}

/// Limits this process to what a worker has, `memory` bytes of addresses among it. The answer says
/// which limits are lower than that.
pub(super) fn of_worker(memory: u64) -> io::Result<Vec<String>> {
    let mut low = Vec::new();
    STACKS.set(ROOMY_STACK, STACK, LEAST_STACK, &mut low)?;
    OPEN_FILES.set(FILES, FILES, LEAST_FILES, &mut low)?;
    ADDRESSES.set(memory, memory, LEAST_MEMORY, &mut low)?;
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    Ok(low)
}

/// Limits this process to what one that runs scripts itself has.
pub(super) fn of_own() -> io::Result<()> {
    let wanted = machine_memory().max(OWN_MEMORY);
    let now = getrlimit(Resource::As);
    let most = now.maximum.map_or(wanted, |most| most.min(wanted));
    let current = now.current.map_or(most, |current| current.min(most));
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(most),
    };
    Ok(setrlimit(Resource::As, limit)?)
}

/// Memory of the machine, bytes; 0 where it is not known.
fn machine_memory() -> u64 {
    #[cfg(target_os = "linux")]
    return rustix::system::sysinfo().totalram;
    #[cfg(not(target_os = "linux"))]
    0
}

/// An error at the start of a process or a thread, with the limits of this process that may be why.
#[must_use]
pub fn explained(error: &io::Error) -> io::Error {
    let limits = match error.raw_os_error() {
        // EMFILE, ENFILE.
        Some(24 | 23) => [OPEN_FILES.own(), None, None],
        // ENOMEM, EAGAIN (11 on Linux, 35 elsewhere).
        Some(12 | 11 | 35) => [PROCESSES.own(), ADDRESSES.own(), None],
        _ => [None, None, None],
    };
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let plain = windtunnel_base::input::plain(error);
    if limits.is_empty() {
        return io::Error::new(error.kind(), plain);
    }
    let limits = limits.join(", ");
    io::Error::new(
        error.kind(),
        format!("{plain}; this process is limited: {limits}"),
    )
}
