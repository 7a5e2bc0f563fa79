//! Starts the swarmnet daemon with its listening sockets, in systemd's way.
//!
//! `LISTEN_PID` must be the pid of the program itself, which is known only after the fork, and the
//! sockets must be the descriptors from 3 on. So the supervisor leaves its sockets open for this binary,
//! and it puts everything in place and becomes the daemon.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::close;

const FIRST_LISTEN_FD: RawFd = 3;
/// Descriptors from here on are nobody's: where sockets wait for their place.
const ASIDE: RawFd = 100;

/// Becomes `command` with these sockets, each `name=descriptor`.
pub(crate) fn become_daemon(sockets: &[String], command: &[OsString]) -> Result<()> {
    let sockets = sockets.iter().map(|text| set_aside(text)).collect::<Result<Vec<_>>>()?;
    close_below(ASIDE);
    for (fd, (_, socket)) in (FIRST_LISTEN_FD..).zip(&sockets) {
        give(socket, fd)?;
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let (program, args) = command.split_first().context("no command to launch")?;
    let error = Command::new(program)
        .args(args)
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env("LISTEN_PID", std::process::id().to_string())
        .exec();
    Err(error).with_context(|| format!("starting {}", program.to_string_lossy()))
}

/// Closes what the caller left open, so that nobody waits for the end of a pipe that we hold.
pub(crate) fn close_inherited() {
    close_below(RawFd::MAX);
}

fn close_below(end: RawFd) {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| (FIRST_LISTEN_FD..end).contains(fd)) {
        // The directory's own descriptor is among them and closed already.
        let _closed = close(fd);
    }
}

fn set_aside(text: &str) -> Result<(String, OwnedFd)> {
    let (name, fd) = text.split_once('=').context("a socket is name=descriptor")?;
    let fd: RawFd = fd.parse().with_context(|| format!("the descriptor of {name}"))?;
    // SAFETY: the supervisor has left it open for us, and nothing else in this process knows it.
    #[expect(unsafe_code, reason = "adopting a descriptor has no safe form")]
    let inherited = unsafe { BorrowedFd::borrow_raw(fd) };
    let aside = fcntl(inherited, FcntlArg::F_DUPFD_CLOEXEC(ASIDE)).context("keeping a socket")?;
    // SAFETY: just made by the call above, and known to nobody else.
    #[expect(unsafe_code, reason = "adopting a descriptor has no safe form")]
    let aside = unsafe { OwnedFd::from_raw_fd(aside) };
    Ok((name.to_owned(), aside))
}

fn give(socket: impl AsFd, fd: RawFd) -> Result<()> {
    let got = fcntl(socket, FcntlArg::F_DUPFD(fd)).context("passing a socket")?;
    ensure!(got == fd, "a socket became descriptor {got} instead of {fd}");
    Ok(())
}
