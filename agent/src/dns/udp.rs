//! The thread that answers datagrams: many per system call, what is known at once.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use super::answer::{Verdict, answer};
use super::message::{Query, Transport};
use super::server::Server;
use super::zone::Asker;

/// Datagrams per system call: more gain nothing, fewer wait for nobody.
const BATCH: usize = 64;
/// Full batches in a row before the wish to stop is looked at, which costs a system call.
const FULL_BATCHES_MAX: usize = 16;
/// Bytes of one query: a name is 255, the rest are EDNS options. What is longer is malformed.
const QUERY_MAX: usize = 2_048;
/// Rest after an error of the socket that waiting does not cure.
const ERROR_REST: Duration = Duration::from_millis(100);

/// The socket and what it is answered from.
pub(super) struct UdpLoop {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) server: Arc<Server>,
    /// Its other end closes when the loop shall end.
    pub(super) stop: UnixStream,
}

/// One reply and where it goes.
type Outgoing = (Vec<u8>, SockaddrIn);

impl UdpLoop {
    /// Answers until the other end of `stop` is closed.
    pub(super) fn run(self) {
        let mut queries = vec![[0_u8; QUERY_MAX]; BATCH];
        let mut heads = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut send_heads = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut received = Vec::with_capacity(BATCH);
        let mut replies: Vec<Outgoing> = Vec::with_capacity(BATCH);
        let mut spare = Vec::with_capacity(BATCH);
        let mut turn = self.server.seed();
        let mut in_a_row = 0;
        loop {
            // A full batch is mostly not the last; else waiting tells at once if more has come.
            in_a_row = if received.len() == BATCH { in_a_row + 1 } else { 0 };
            if in_a_row % FULL_BATCHES_MAX == 0 && !self.wait() {
                return;
            }
            if let Err(error) = self.receive(&mut heads, &mut queries, &mut received) {
                if !matches!(error, Errno::EAGAIN | Errno::EINTR) {
                    tracing::warn!(%error, "receiving queries");
                    std::thread::sleep(ERROR_REST);
                }
                continue;
            }
            self.server.counters.queries_udp.add(received.len() as u64);
            self.answer_all(&queries, &received, &mut turn, (&mut replies, &mut spare));
            self.send(&mut send_heads, &replies);
            spare.extend(replies.drain(..).map(|(bytes, _)| bytes));
        }
    }

    /// Waits for a query; says whether the loop shall go on.
    fn wait(&self) -> bool {
        let mut waiting = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut waiting, PollTimeout::NONE);
        !waiting[1].any().unwrap_or(true)
    }

    fn receive<'a>(
        &self,
        heads: &'a mut MultiHeaders<SockaddrIn>,
        queries: &'a mut [[u8; QUERY_MAX]],
        received: &mut Vec<(usize, SockaddrIn)>,
    ) -> Result<(), Errno> {
        received.clear();
        let mut slices: Vec<_> = queries.iter_mut().map(|q| [IoSliceMut::new(q)]).collect();
        receive_into(self.socket.as_raw_fd(), heads, &mut slices, received)
    }

    fn answer_all(
        &self,
        queries: &[[u8; QUERY_MAX]],
        received: &[(usize, SockaddrIn)],
        turn: &mut u32,
        (replies, spare): (&mut Vec<Outgoing>, &mut Vec<Vec<u8>>),
    ) {
        let zone = self.server.table.load();
        for (query, (length, from)) in queries.iter().zip(received) {
            let Some((lidx, asker)) = self.server.asker(&zone, from.ip()) else { continue };
            let mut out = spare.pop().unwrap_or_default();
            *turn = next_turn(*turn);
            match answer(&query[..*length], Transport::Udp, (&zone, asker), *turn, &mut out) {
                Verdict::Reply(_) => {
                    self.server.counters.answered.add(1);
                    replies.push((out, *from));
                }
                Verdict::Forward(query) => self.forward(query, (lidx, asker), *from, out, replies),
                Verdict::Drop => {
                    self.server.counters.not_queries.add(1);
                    spare.push(out);
                }
            }
        }
    }

    /// Lets somebody else be asked meanwhile; who has too many questions open hears so at once.
    fn forward(
        &self,
        query: Box<Query>,
        (lidx, asker): (u32, &Arc<Asker>),
        from: SockaddrIn,
        mut out: Vec<u8>,
        replies: &mut Vec<Outgoing>,
    ) {
        let Some(place) = self.server.enter_forward(lidx) else {
            self.server.refuse(&query, &mut out);
            replies.push((out, from));
            return;
        };
        let (socket, server) = (Arc::clone(&self.socket), Arc::clone(&self.server));
        let upstreams = asker.upstreams.clone();
        self.server.spawn(async move {
            server.forwarder.reply(&query, &upstreams, &mut out).await;
            drop(place);
            let to = SocketAddrV4::new(from.ip(), from.port());
            if socket.send_to(&out, to).is_err() {
                server.counters.unsent.add(1);
            }
        });
    }

    /// Sends what it can; a reply that the socket does not take is lost, as any datagram may be.
    fn send(&self, heads: &mut MultiHeaders<SockaddrIn>, replies: &[Outgoing]) {
        let mut rest = replies;
        while !rest.is_empty() {
            let sent = match send_some(self.socket.as_raw_fd(), heads, rest) {
                Ok(sent) if sent > 0 => sent,
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => {
                    self.server.counters.unsent.add(1);
                    1
                }
            };
            rest = &rest[sent..];
        }
    }
}

fn receive_into<'a>(
    socket: i32,
    heads: &'a mut MultiHeaders<SockaddrIn>,
    slices: &'a mut [[IoSliceMut<'a>; 1]],
    received: &mut Vec<(usize, SockaddrIn)>,
) -> Result<(), Errno> {
    let messages = recvmmsg(socket, heads, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    // A datagram without an address cannot come from an IPv4 socket; it would be a stranger's.
    let nobody = SockaddrIn::new(0, 0, 0, 0, 0);
    received.extend(messages.map(|m| (m.bytes, m.address.unwrap_or(nobody))));
    Ok(())
}

fn send_some(
    socket: i32,
    heads: &mut MultiHeaders<SockaddrIn>,
    replies: &[Outgoing],
) -> Result<usize, Errno> {
    let slices: Vec<_> = replies.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
    let to: Vec<_> = replies.iter().map(|(_, to)| Some(*to)).collect();
    Ok(sendmmsg(socket, heads, slices.iter(), &to, [], MsgFlags::MSG_DONTWAIT)?.count())
}

/// Marsaglia's xorshift: which address comes first needs no more than an even spread.
fn next_turn(turn: u32) -> u32 {
    let turn = turn ^ (turn << 13);
    let turn = turn ^ (turn >> 17);
    turn ^ (turn << 5)
}
