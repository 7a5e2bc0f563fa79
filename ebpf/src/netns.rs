//! Network namespace cookies: how the socket programs know whose socket it is.

#![expect(unsafe_code, reason = "getsockopt(SO_NETNS_COOKIE) is not in nix")]

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

/// SO_NETNS_COOKIE, Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Returns the cookie of the calling thread's network namespace.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn current_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let (mut cookie, mut len) = (0_u64, 8);
    // SAFETY: `cookie` is 8 bytes long, as `len` says, during the call.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if rc == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Returns the cookie of the namespace behind a path such as a sandbox key.
///
/// Runs on a thread of its own, so the caller stays where it is.
///
/// # Errors
/// The path is not a network namespace, or the process may not enter it.
pub fn cookie_of_path(path: &Path) -> io::Result<u64> {
    cookie_of(File::open(path)?)
}

/// Returns the cookie of the namespace behind a descriptor.
///
/// # Errors
/// As [`cookie_of_path`].
pub fn cookie_of_fd(fd: BorrowedFd<'_>) -> io::Result<u64> {
    cookie_of(fd.try_clone_to_owned()?.into())
}

fn cookie_of(netns: File) -> io::Result<u64> {
    inside(&netns, current_cookie)
}

/// Runs `work` inside a network namespace and waits for it.
///
/// Runs on a thread of its own, so the caller stays where it is.
///
/// # Errors
/// `netns` is not a network namespace, or what `work` returns.
pub fn inside<T: Send>(netns: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let run = || {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    let died = |_panic| io::Error::other("the thread that entered the namespace died");
    std::thread::scope(|scope| scope.spawn(run).join()).map_err(died)?
}
