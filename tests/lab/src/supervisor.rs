//! The first process of a host: holds the daemon's listening sockets and starts what runs there.
//!
//! The sockets outlive the daemon: while it is down, callers wait in the queue instead of being
//! refused (a refused plugin call costs the engine 15 s). Nothing is restarted by itself: what was
//! killed stays dead until `start`.
//!
//! Failure contract: if the supervisor dies, the host runs on, but its services can no longer be
//! started or stopped; `down`, or `stop` and `start` of the whole host, put it right.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{Gid, Group, chown, dup2_stdout, setsid};
use socket2::{Domain, Socket, Type};

use crate::cgroup;
use crate::children::Children;
use crate::control::{Answer, Request};
use crate::launch::close_inherited;
use crate::machine;
use crate::service::{API_SOCKET, NOTIFY_SOCKET, PLUGIN_SOCKET};
use crate::spec::{Lab, Role, Spec};

/// Where tasks ask for names.
const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 77, 53), 53);
const DNS_BACKLOG: i32 = 512;

/// The daemon's listening sockets.
pub(crate) struct Sockets {
    plugin: UnixListener,
    api: UnixListener,
    dns_udp: Socket,
    dns_tcp: Socket,
}

/// Becomes a new host and serves until killed.
///
/// Prints `ready` when the namespaces can be kept and requests are answered.
pub(crate) fn run(lab: &Lab, name: &str) -> Result<()> {
    close_inherited();
    // A Ctrl-C in the terminal of `up` is not for us.
    setsid().context("leaving the terminal")?;
    let spec = Spec::require(lab)?;
    let host = spec.host(name)?.clone();
    machine::enter_new(lab, name)?;
    if !spec.engines {
        cgroup::narrow(lab, name)?;
    }
    // What the engine leaves behind is ours to reap, and dies by its cgroup.
    set_child_subreaper(true)?;
    let is_node = host.role == Role::Node;
    let sockets = if is_node { Some(Sockets::open()?) } else { None };
    let control = listen(&lab.control_socket(name), 0o600)?;
    let children = Children::new(lab.clone(), spec, host, sockets);
    println!("ready");
    dup2_stdout(std::io::stderr())?;
    if is_node {
        let notifications = UnixDatagram::bind(NOTIFY_SOCKET)?;
        std::thread::spawn(move || drain(&notifications));
    }
    let reaper = Arc::clone(&children);
    std::thread::spawn(move || reaper.reap());
    for stream in control.incoming() {
        let (stream, children) = (stream?, Arc::clone(&children));
        std::thread::spawn(move || {
            if let Err(error) = serve(&stream, &children) {
                eprintln!("supervisor: a command went away: {error:#}");
            }
        });
    }
    Ok(())
}

impl Sockets {
    fn open() -> Result<Self> {
        let sockets = Self {
            plugin: listen(Path::new(PLUGIN_SOCKET), 0o600)?,
            api: listen(Path::new(API_SOCKET), 0o660)?,
            dns_udp: dns_socket(Type::DGRAM)?,
            dns_tcp: dns_socket(Type::STREAM)?,
        };
        sockets.dns_tcp.listen(DNS_BACKLOG)?;
        if let Ok(Some(group)) = Group::from_name("docker") {
            chown(API_SOCKET, None, Some(Gid::from_raw(group.gid.as_raw())))?;
        }
        Ok(sockets)
    }
}

impl Sockets {
    /// Returns them by the names the daemon knows them by.
    pub(crate) fn all(&self) -> [(&'static str, BorrowedFd<'_>); 4] {
        [
            ("plugin", self.plugin.as_fd()),
            ("api", self.api.as_fd()),
            ("dns-udp", self.dns_udp.as_fd()),
            ("dns-tcp", self.dns_tcp.as_fd()),
        ]
    }

    /// Whether a program that is started now gets them.
    pub(crate) fn keep_over_exec(&self, keep: bool) -> Result<()> {
        let flags = if keep { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
        for (name, socket) in self.all() {
            fcntl(socket, FcntlArg::F_SETFD(flags)).with_context(|| format!("passing {name}"))?;
        }
        Ok(())
    }
}

/// The host gets the address later, from the daemon.
fn dns_socket(kind: Type) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.set_freebind_v4(true)?;
    socket.bind(&RESOLVER.into()).with_context(|| format!("binding {RESOLVER}"))?;
    Ok(socket)
}

fn listen(path: &Path, mode: u32) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let _absent = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("opening {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Writes what the daemon tells its service manager to the supervisor's log.
fn drain(notifications: &UnixDatagram) {
    let mut buffer = [0; 4096];
    while let Ok(length) = notifications.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        eprintln!("supervisor: daemon says {}", text.trim().replace('\n', " "));
    }
}

fn serve(stream: &UnixStream, children: &Children) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(children, request),
        Err(error) => Answer::Failed(format!("bad request {line:?}: {error}")),
    };
    let mut writer = stream;
    writeln!(writer, "{}", serde_json::to_string(&answer)?)?;
    Ok(())
}

fn answer(children: &Children, request: Request) -> Answer {
    eprintln!("supervisor: {request:?}");
    let done = match request {
        Request::Status => return Answer::Status(children.status()),
        Request::Start(service) => children.start(service),
        Request::Stop(service) => children.stop(service),
        Request::Kill(service) => children.kill(service),
        Request::Pause(service) => children.pause(service),
        Request::Resume(service) => children.resume(service),
    };
    match done {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}
