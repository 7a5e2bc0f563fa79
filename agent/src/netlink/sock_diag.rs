//! UDP sockets of a network namespace: which are connected where, and the end of one.
//!
//! Everything here concerns the namespace of the calling thread ([`super::netns::inside`]) and
//! blocks for at most [`CALL_TIMEOUT`] per answer of the kernel.

use std::io;
use std::net::{Ipv4Addr, UdpSocket as StdSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::CALL_TIMEOUT;
use super::diag_message::{self, AF_INET, AF_INET6, Message, UdpSocket};

/// The kernel fills datagrams of a dump up to 32 KiB.
const ANSWER_BYTES: usize = 64 * 1024;

/// A connection to the kernel's list of sockets.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
}

impl SockDiag {
    /// Opens a connection for the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no sock_diag.
    pub fn open() -> io::Result<Self> {
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
        let seconds = i64::try_from(CALL_TIMEOUT.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(seconds))?;
        Ok(Self { socket })
    }

    /// Returns the UDP sockets that are connected to an IPv4 address, those of IPv6 included.
    ///
    /// # Errors
    /// The kernel refused, for example because it cannot list UDP sockets.
    pub fn connected(&self) -> io::Result<Vec<UdpSocket>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            match self.dump(family, &mut found) {
                // A kernel without IPv6 has no such sockets.
                Err(error) if family == AF_INET6 && is(&error, Errno::ENOENT) => {}
                other => other?,
            }
        }
        Ok(found)
    }

    fn dump(&self, family: u8, found: &mut Vec<UdpSocket>) -> io::Result<()> {
        self.send(&diag_message::dump(family))?;
        loop {
            for message in self.receive()? {
                match message {
                    Message::Socket(socket) => found.push(socket),
                    Message::Other => {}
                    Message::Done => return Ok(()),
                    Message::Answer(number) => result(number)?,
                }
            }
        }
    }

    /// Ends a socket: its owner gets ECONNABORTED and must connect anew. False if it is gone.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn destroy(&self, socket: &UdpSocket) -> io::Result<bool> {
        self.send(&diag_message::destroy(socket))?;
        loop {
            for message in self.receive()? {
                if let Message::Answer(number) = message {
                    return match result(number) {
                        Ok(()) => Ok(true),
                        Err(error) if is(&error, Errno::ENOENT) => Ok(false),
                        Err(error) => Err(error),
                    };
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut buffer = vec![0; ANSWER_BYTES];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    return Ok(diag_message::messages(bytes));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// True if this kernel lets us end sockets; tried on a socket of our own.
///
/// # Errors
/// The trial could not be made.
pub fn can_destroy() -> io::Result<bool> {
    let own = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Itself: a far end that is certainly there.
    let address = own.local_addr()?;
    own.connect(address)?;
    let diag = SockDiag::open()?;
    let at = (Ipv4Addr::LOCALHOST, address.port());
    let listed = diag.connected()?;
    let Some(found) = listed.iter().find(|socket| socket.peer == at) else { return Ok(false) };
    match diag.destroy(found) {
        Ok(done) => Ok(done),
        Err(error) if is(&error, Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn result(number: i32) -> io::Result<()> {
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
