//! Starts the swarmnet daemon with its listening sockets, in systemd's way.
//!
//! `LISTEN_PID` must be the pid of the program itself, which is known only after the fork, and the
//! sockets must be descriptors 3 and 4. So the supervisor starts this binary with the sockets as
//! stdin and stdout, and it puts everything in place and becomes the daemon.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{close, dup2_stdin, dup2_stdout};

const FIRST_LISTEN_FD: i32 = 3;

/// Becomes `command` with stdin and stdout as the sockets `plugin` and `api`.
pub(crate) fn become_daemon(command: &[OsString]) -> Result<()> {
    close_inherited();
    give(io::stdin(), FIRST_LISTEN_FD)?;
    give(io::stdout(), FIRST_LISTEN_FD + 1)?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    dup2_stdout(io::stderr())?;
    let (program, args) = command.split_first().context("no command to launch")?;
    let error = Command::new(program)
        .args(args)
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "plugin:api")
        .env("LISTEN_PID", std::process::id().to_string())
        .exec();
    Err(error).with_context(|| format!("starting {}", program.to_string_lossy()))
}

/// Closes what the caller left open, so that nobody waits for the end of a pipe that we hold.
pub(crate) fn close_inherited() {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd >= FIRST_LISTEN_FD) {
        // The directory's own descriptor is among them and closed already.
        let _closed = close(fd);
    }
}

fn give(socket: impl AsFd, fd: i32) -> Result<()> {
    let got = fcntl(socket, FcntlArg::F_DUPFD(fd)).context("passing a socket")?;
    ensure!(got == fd, "a socket became descriptor {got} instead of {fd}");
    Ok(())
}
