//! Connections: one thread each, bounded in number, and an end without a lost request.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Server;
use crate::http::{self, HEAD_LIMIT, Refusal, Request};

/// Further clients wait in the kernel's queue.
const CONNECTION_LIMIT: usize = 8192;
const STACK_BYTES: usize = 128 * 1024;
/// How often an idle connection, or the acceptor, looks whether the server is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// While draining, an idle connection may bring one more request: its client may have sent it.
const LINGER: Duration = Duration::from_secs(1);
/// Requests under way are waited for; longer than any stop grace period in use.
const FINISH_LIMIT: Duration = Duration::from_secs(600);
/// A client that does not read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts connections until told to finish.
pub(crate) struct Acceptor {
    thread: JoinHandle<()>,
    open: Arc<AtomicUsize>,
}

/// One open connection; counts itself out when dropped.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Starts accepting on all addresses.
pub(crate) fn start(port: u16, server: Arc<Server>) -> Result<Acceptor> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("opening port {port}/tcp"))?;
    let open = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&open);
    let thread = std::thread::spawn(move || accept(&listener, &server, &counter));
    Ok(Acceptor { thread, open })
}

impl Acceptor {
    /// Stops accepting, after what already waits, and returns when all connections are closed.
    pub(crate) fn finish(self, server: &Server) {
        server.draining.store(true, Ordering::Release);
        // It ends within one poll; a panic there has been printed.
        let _ended = self.thread.join();
        let deadline = Instant::now() + FINISH_LIMIT;
        while self.open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn accept(listener: &TcpListener, server: &Arc<Server>, open: &Arc<AtomicUsize>) {
    loop {
        // Looked at before the queue: what is queued when draining begins is still accepted.
        let draining = server.draining.load(Ordering::Acquire);
        if !readable(listener, if draining { Duration::ZERO } else { POLL_INTERVAL }) {
            if draining {
                return;
            }
            continue;
        }
        if open.load(Ordering::Acquire) >= CONNECTION_LIMIT {
            std::thread::sleep(POLL_INTERVAL);
            continue;
        }
        match listener.accept() {
            Ok((stream, remote)) => hand_over(stream, remote, server, open),
            // The client went away, or descriptors are short for a moment.
            Err(error) => {
                eprintln!("whoami: accepting: {error}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn hand_over(stream: TcpStream, remote: SocketAddr, server: &Arc<Server>, open: &Arc<AtomicUsize>) {
    open.fetch_add(1, Ordering::AcqRel);
    let (slot, server) = (Slot(Arc::clone(open)), Arc::clone(server));
    let work = move || {
        let _slot = slot;
        // The client went away: nothing is left to tell it.
        let _gone = Connection::new(stream, remote, &server).and_then(Connection::serve);
    };
    if let Err(error) = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work) {
        eprintln!("whoami: no thread for {remote}: {error}");
    }
}

fn readable(listener: &TcpListener, wait: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    poll(&mut fds, wait).is_ok_and(|ready| ready > 0)
}

struct Connection<'a> {
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    server: &'a Server,
    /// Read, but not yet answered.
    buffer: Vec<u8>,
}

/// What came before the head of a request was complete.
enum Head {
    Complete(usize),
    Closed,
    TooLarge,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, remote: SocketAddr, server: &'a Server) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL_INTERVAL))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let local = stream.local_addr()?;
        Ok(Self { stream, local, remote, server, buffer: vec![] })
    }

    fn serve(mut self) -> std::io::Result<()> {
        loop {
            let parsed = match self.read_head()? {
                Head::Closed => break,
                Head::TooLarge => Err(Refusal::HeadTooLarge),
                Head::Complete(length) => {
                    let head: Vec<u8> = self.buffer.drain(..length).collect();
                    http::parse(&head)
                }
            };
            let request = match parsed {
                Ok(request) => request,
                Err(refusal) => {
                    let text = http::response_head(refusal.status(), 0, false);
                    self.stream.write_all(text.as_bytes())?;
                    break;
                }
            };
            if !self.skip_body(&request)? || !self.answer(&request)? {
                break;
            }
        }
        self.close()
    }

    /// Reads until a head is complete, the client closes, or the server ends and nothing comes.
    fn read_head(&mut self) -> std::io::Result<Head> {
        let mut draining_since = None;
        loop {
            if let Some(length) = http::head_length(&self.buffer) {
                return Ok(Head::Complete(length));
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Ok(Head::TooLarge);
            }
            if self.server.draining.load(Ordering::Acquire)
                && draining_since.get_or_insert_with(Instant::now).elapsed() > LINGER
            {
                return Ok(Head::Closed);
            }
            if self.read_more()? == Some(0) {
                return Ok(Head::Closed);
            }
        }
    }

    /// Reads what is there; `None` when nothing came for a while, 0 at the end.
    fn read_more(&mut self) -> std::io::Result<Option<usize>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(Some(length))
            }
            Err(error) if is_pause(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads and forgets a request's body; false when the client closed in the middle.
    fn skip_body(&mut self, request: &Request) -> std::io::Result<bool> {
        if request.expects_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut left = request.body_length;
        loop {
            let have = u64::try_from(self.buffer.len()).expect("lengths fit into 64 bits");
            let skipped = usize::try_from(left.min(have)).expect("not more than the buffer holds");
            self.buffer.drain(..skipped);
            left = left.saturating_sub(have);
            if left == 0 {
                return Ok(true);
            }
            if self.read_more()? == Some(0) {
                return Ok(false);
            }
        }
    }

    /// Answers a request; false when the connection is to be closed.
    fn answer(&mut self, request: &Request) -> std::io::Result<bool> {
        std::thread::sleep(Duration::from_millis(request.delay_ms()));
        let (status, body) = self.content(request);
        let keep = request.keep_alive && !self.server.draining.load(Ordering::Acquire);
        let have = u64::try_from(body.len()).expect("lengths fit into 64 bits");
        let length = request.size().unwrap_or(have);
        // One write for an ordinary answer: one packet.
        let mut text = http::response_head(status, length, keep);
        if !request.is_head {
            text.extend(body.chars().take(usize::try_from(length).unwrap_or(usize::MAX)));
        }
        self.stream.write_all(text.as_bytes())?;
        if !request.is_head {
            std::io::copy(
                &mut std::io::repeat(b'.').take(length.saturating_sub(have)),
                &mut self.stream,
            )?;
        }
        Ok(keep)
    }

    fn content(&self, request: &Request) -> (&'static str, String) {
        let failing = &self.server.failing;
        match request.path.as_str() {
            "/health" if failing.load(Ordering::Acquire) => {
                ("503 Service Unavailable", "failing\n".to_owned())
            }
            "/health" => ("200 OK", "healthy\n".to_owned()),
            "/fail" => {
                let fails = set_failing(failing, request.parameter("on"));
                ("200 OK", format!("{}\n", if fails { "failing" } else { "healthy" }))
            }
            _ => {
                let local = (self.local.ip(), self.local.port());
                let remote = (self.remote.ip(), self.remote.port());
                ("200 OK", self.server.identity.answer(local, remote, &request.line))
            }
        }
    }

    /// Closes without a reset: what the client still sends is read until it closes as well.
    fn close(mut self) -> std::io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline && self.read_more()? != Some(0) {
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Sets whether `/health` fails: `on=1` and `on=0` say so, nothing turns it over.
fn set_failing(failing: &AtomicBool, on: Option<&str>) -> bool {
    match on {
        Some(on) => {
            failing.store(on != "0", Ordering::Release);
            on != "0"
        }
        None => !failing.fetch_xor(true, Ordering::AcqRel),
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
