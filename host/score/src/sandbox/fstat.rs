//! `fstat` of the C library while nothing may be looked up by path. glibc asks for the state of an
//! open file by a call that takes a path, too, and a filter of system calls cannot read it. The
//! call is trapped, and answered by the one that takes a descriptor alone.

use std::io;

/// Whether [`answer`] does so on this processor.
pub(super) const IS_ANSWERED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Answers trapped calls from now on.
///
/// # Errors
/// When the system refuses the handler.
#[allow(unsafe_code, reason = "a signal handler")]
pub(super) fn answer() -> io::Result<()> {
    // SAFETY: all of the structure is set: zero is no flag and an empty mask, then what is meant.
    // The handler only makes a system call and writes to the registers that it was given.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO;
        action.sa_sigaction = trapped as *const () as libc::sighandler_t;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    match installed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts the result of `fstat` where that of `newfstatat(fd, path, state, AT_EMPTY_PATH)` is
/// expected; whatever the path is.
#[allow(unsafe_code, reason = "the registers of the trapped call")]
extern "C" fn trapped(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel calls this with the context of the interrupted code, which it restores
    // when this returns. The pointer for the answer is checked by the kernel.
    unsafe {
        let before = *libc::__errno_location();
        let registers = registers(context);
        let state = |fd: u64, into: u64| match libc::syscall(libc::SYS_fstat, fd, into) {
            0 => 0,
            _ => -i64::from(*libc::__errno_location()),
        };
        #[cfg(target_arch = "x86_64")]
        {
            let at = |name: libc::c_int| registers[name as usize] as u64;
            let result = state(at(libc::REG_RDI), at(libc::REG_RDX));
            registers[libc::REG_RAX as usize] = result;
        }
        #[cfg(target_arch = "aarch64")]
        {
            registers[0] = state(registers[0], registers[2]) as u64;
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (registers, state);
        *libc::__errno_location() = before;
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "the layout of the context is the system's")]
unsafe fn registers<'a>(context: *mut libc::c_void) -> &'a mut [libc::greg_t; 23] {
    // SAFETY: the caller has it from the kernel.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "the layout of the context is the system's")]
unsafe fn registers<'a>(context: *mut libc::c_void) -> &'a mut [libc::c_ulonglong; 31] {
    // SAFETY: the caller has it from the kernel.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.regs }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn registers(_: *mut libc::c_void) {}
