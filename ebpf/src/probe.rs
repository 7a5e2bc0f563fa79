//! What sending frames of the connectivity test needs of the system: the programs' clock, and
//! datagrams that are not cut into fragments.

#![expect(unsafe_code, reason = "setsockopt(IP_MTU_DISCOVER) is not in nix")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Returns the clock of [`crate::abi::Probe`], in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let now = nix::time::clock_gettime(clock).map_or(std::time::Duration::ZERO, Into::into);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets datagrams of a socket be cut into fragments, or never: then one that is too large for this
/// host's device is refused, and one that is too large for the way is lost. What the kernel believes
/// to know of the way does not matter.
///
/// # Errors
/// It is no IPv4 socket.
pub fn allow_fragments(socket: BorrowedFd<'_>, allow: bool) -> io::Result<()> {
    let value = if allow { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_PROBE };
    // SAFETY: `value` is a C int, as the length says, during the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            std::ptr::from_ref(&value).cast(),
            libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(4),
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
