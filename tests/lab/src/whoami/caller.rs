//! `whoami call`: asks a server again and again and says who answered: a client of the tests.
//!
//! `whoami call [--udp] [--plain | --raw] [--each] [--v6] [--from PORT] [--path PATH] [--every MS]
//! [--count N] HOST PORT`. Each line is the time in milliseconds and the host name that answered,
//! or `error:` with the reason. One connection or connected socket is used until it fails; `--each`
//! makes a new one for each request, `--plain` sends datagrams from a socket without a peer,
//! `--raw` past the socket layer, `--v6` from an IPv6 socket to the mapped address.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

/// A datagram without an answer counts as lost.
const UDP_WAIT: Duration = Duration::from_millis(250);
/// Longer than any delay that a test asks for.
const TCP_WAIT: Duration = Duration::from_secs(30);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    kind: Kind,
    each: bool,
    v6: bool,
    from: u16,
    path: String,
    every: Duration,
    count: u64,
    target: SocketAddrV4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    UdpPlain,
    UdpRaw,
}

/// What is used again for the next request.
enum Line {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

/// Runs `whoami call` with these arguments.
#[expect(clippy::disallowed_methods, reason = "the time is compared with that in daemons' logs")]
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    let mut line = None;
    for _ in 0..options.count {
        if options.each {
            line = None;
        }
        let said = match ask(&options, &mut line) {
            Ok(name) => name,
            Err(error) => format!("error: {error:#}"),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        println!("{} {said}", since.as_millis());
        std::thread::sleep(options.every);
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        kind: Kind::Tcp,
        each: false,
        v6: false,
        from: 0,
        path: "/".to_owned(),
        every: Duration::from_millis(20),
        count: 1,
        target: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    };
    let mut plain = vec![];
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--udp" => options.kind = Kind::Udp,
            "--plain" => options.kind = Kind::UdpPlain,
            "--raw" => options.kind = Kind::UdpRaw,
            "--each" => options.each = true,
            "--v6" => options.v6 = true,
            "--from" => options.from = value()?.parse()?,
            "--path" => options.path.clone_from(value()?),
            "--every" => options.every = Duration::from_millis(value()?.parse()?),
            "--count" => options.count = value()?.parse()?,
            other if other.starts_with('-') => bail!("unknown option {other}"),
            other => plain.push(other.to_owned()),
        }
    }
    let [host, port] = plain.as_slice() else { bail!("usage: whoami call [OPTIONS] HOST PORT") };
    let address: Ipv4Addr = host.parse().with_context(|| format!("bad address {host:?}"))?;
    let port = port.parse().with_context(|| format!("bad port {port:?}"))?;
    options.target = SocketAddrV4::new(address, port);
    Ok(options)
}

/// A line that failed is not used again; one that only did not answer in time is.
fn ask(options: &Options, line: &mut Option<Line>) -> Result<String> {
    let mut used = match line.take() {
        Some(used) => used,
        None => open(options)?,
    };
    let (name, keep) = match &mut used {
        Line::Tcp(stream) => ask_tcp(stream, &options.path)?,
        Line::Udp(socket) => match ask_udp(socket, options) {
            Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_silence) => {
                *line = Some(used);
                bail!("no answer");
            }
            other => (other?, true),
        },
    };
    if keep {
        *line = Some(used);
    }
    Ok(name)
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn open(options: &Options) -> Result<Line> {
    let target = target(options);
    if options.kind == Kind::Tcp {
        let stream = TcpStream::connect_timeout(&target, TCP_WAIT).context("connecting")?;
        stream.set_read_timeout(Some(TCP_WAIT))?;
        return Ok(Line::Tcp(BufReader::new(stream)));
    }
    let any = if options.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, options.from)).context("binding")?;
    socket.set_read_timeout(Some(UDP_WAIT))?;
    if options.kind == Kind::Udp {
        socket.connect(target).context("connecting")?;
        let peer = socket.peer_addr()?;
        ensure!(peer == target, "the peer is {peer}");
    }
    Ok(Line::Udp(socket))
}

fn target(options: &Options) -> SocketAddr {
    let (address, port) = (*options.target.ip(), options.target.port());
    if options.v6 { (address.to_ipv6_mapped(), port).into() } else { (address, port).into() }
}

/// Returns who answered, and whether the connection may be used again.
fn ask_tcp(stream: &mut BufReader<TcpStream>, path: &str) -> Result<(String, bool)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: whoami\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).context("asking")?;
    let (mut length, mut keep) = (0, true);
    loop {
        let mut header = String::new();
        ensure!(stream.read_line(&mut header).context("waiting")? > 0, "closed without an answer");
        match header.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse()?,
            Some(("Connection", value)) => keep = value != "close",
            Some(_) => {}
            None if header.trim_end().is_empty() => break,
            None => ensure!(header.contains(" 200 "), "answer {header:?}"),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).context("reading")?;
    Ok((host_name(&body)?, keep))
}

fn ask_udp(socket: &UdpSocket, options: &Options) -> Result<String> {
    let mut buffer = vec![0; 2048];
    let length = match options.kind {
        Kind::Udp | Kind::Tcp => {
            socket.send(b"who?").context("sending")?;
            socket.recv(&mut buffer)?
        }
        Kind::UdpPlain | Kind::UdpRaw => {
            if options.kind == Kind::UdpPlain {
                socket.send_to(b"who?", target(options)).context("sending")?;
            } else {
                send_raw(socket.local_addr()?.port(), options.target, b"who?")?;
            }
            let (length, from) = socket.recv_from(&mut buffer)?;
            ensure!(from == target(options), "answer from {from}");
            length
        }
    };
    host_name(buffer.get(..length).unwrap_or_default())
}

/// Sends a datagram that no hook on sockets sees.
fn send_raw(from: u16, target: SocketAddrV4, text: &[u8]) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let raw = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Udp)?;
    let length = u16::try_from(8 + text.len()).context("too long")?;
    let no_checksum = 0_u16;
    let header = [from, target.port(), length, no_checksum].map(u16::to_be_bytes).concat();
    let packet = [&header, text].concat();
    let to = SockaddrIn::from(SocketAddrV4::new(*target.ip(), 0));
    sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).context("sending past the sockets")?;
    Ok(())
}

fn host_name(answer: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(answer);
    let name = text.lines().find_map(|line| line.strip_prefix("Hostname: "));
    Ok(name.with_context(|| format!("strange answer {text:?}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_say_how_to_call() {
        let read = options("--raw --from 4000 --every 5 --count 3 10.0.1.2 53").unwrap();
        assert_eq!((read.kind, read.from, read.count), (Kind::UdpRaw, 4000, 3));
        assert_eq!(read.target, "10.0.1.2:53".parse().unwrap());
        let read = options("--v6 --udp 10.0.1.2 53").unwrap();
        assert_eq!(target(&read), "[::ffff:10.0.1.2]:53".parse().unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["", "10.0.1.2", "host 53", "10.0.1.2 x", "--from", "--other 10.0.1.2 53"] {
            assert!(options(line).is_err(), "{line:?} was accepted");
        }
    }

    #[test]
    fn the_host_name_of_an_answer_is_found() {
        assert_eq!(host_name(b"Hostname: a1\nTask: b\n").unwrap(), "a1");
        assert!(host_name(b"Task: b\n").is_err());
    }
}
