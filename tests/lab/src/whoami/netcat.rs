//! `nc`: this program under that name. Debian's static busybox has an `nc` without UDP.
//!
//! `nc [-uzvk] [-w SECONDS] HOST PORT` and `nc -l [-uk] [-w SECONDS] [-p] PORT`. stdin goes to the
//! peer, what the peer sends goes to stdout. With `-w` a connection ends after that long without
//! anything received; a TCP connection also when the peer closes.

use std::io::{ErrorKind, Read, Write};
use std::net::{
    Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket,
};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const DATAGRAM_BYTES: usize = 65_536;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    udp: bool,
    listen: bool,
    /// Only look whether a TCP connection can be made.
    scan: bool,
    verbose: bool,
    /// Take one connection after the other.
    keep_listening: bool,
    wait: Option<Duration>,
    port: Option<u16>,
    host: Option<String>,
}

/// Runs `nc` with these arguments.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    let port = options.port.context("usage: nc [-uzvk] [-w SECONDS] [-l] HOST PORT")?;
    match (&options.host, options.listen, options.udp) {
        (_, true, true) => listen_udp(port, &options),
        (_, true, false) => listen_tcp(port, &options),
        (None, false, _) => bail!("usage: nc [-uzvk] [-w SECONDS] HOST PORT"),
        (Some(host), false, udp) => {
            let found = (host.as_str(), port).to_socket_addrs();
            let mut addresses = found.with_context(|| format!("looking up {host}"))?;
            let address = addresses.next().with_context(|| format!("{host} has no address"))?;
            if udp { connect_udp(address, &options) } else { connect_tcp(address, &options) }
        }
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = args.iter();
    let mut plain = vec![];
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            plain.push(word.clone());
            continue;
        };
        for (at, letter) in letters.char_indices() {
            match letter {
                'u' => options.udp = true,
                'l' => options.listen = true,
                'z' => options.scan = true,
                'v' => options.verbose = true,
                'k' => options.keep_listening = true,
                // Numeric addresses only; and no other way to end on the peer's close exists here.
                'n' | 'N' => {}
                'w' | 'p' => {
                    // The value is the rest of the word, or the next word.
                    let rest = &letters[at + 1..];
                    let value =
                        if rest.is_empty() { words.next().map(String::as_str) } else { Some(rest) };
                    set(&mut options, letter, value.unwrap_or_default())?;
                    break;
                }
                other => bail!("nc: unknown option -{other}"),
            }
        }
    }
    if let Some(port) = plain.pop_if(|_| options.port.is_none()) {
        set(&mut options, 'p', &port)?;
    }
    options.host = plain.pop();
    Ok(options)
}

fn set(options: &mut Options, letter: char, value: &str) -> Result<()> {
    let bad = || format!("bad value {value:?} for -{letter}");
    match letter {
        'w' => options.wait = Some(Duration::from_secs(value.parse().with_context(bad)?)),
        _ => options.port = Some(value.parse().with_context(bad)?),
    }
    Ok(())
}

fn connect_tcp(address: SocketAddr, options: &Options) -> Result<()> {
    let stream = match options.wait.filter(|wait| !wait.is_zero()) {
        Some(wait) => TcpStream::connect_timeout(&address, wait),
        None => TcpStream::connect(address),
    };
    let stream = stream.with_context(|| format!("connecting to {address}"))?;
    if options.verbose {
        eprintln!("connected to {address}");
    }
    if options.scan { Ok(()) } else { relay_tcp(stream, options) }
}

fn listen_tcp(port: u16, options: &Options) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("opening port {port}/tcp"))?;
    loop {
        relay_tcp(listener.accept()?.0, options)?;
        if !options.keep_listening {
            return Ok(());
        }
    }
}

fn relay_tcp(mut stream: TcpStream, options: &Options) -> Result<()> {
    stream.set_read_timeout(options.wait)?;
    let mut writer = stream.try_clone()?;
    // Ends with the process when the peer is done first.
    std::thread::spawn(move || {
        let _gone = std::io::copy(&mut std::io::stdin(), &mut writer);
        let _closed = writer.shutdown(Shutdown::Write);
    });
    copy_to_stdout(|buffer| stream.read(buffer), End::AtZero)
}

fn connect_udp(address: SocketAddr, options: &Options) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address).with_context(|| format!("addressing {address}"))?;
    relay_udp(socket, options)
}

fn listen_udp(port: u16, options: &Options) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("opening port {port}/udp"))?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    if options.keep_listening {
        return copy_to_stdout(|buffer| socket.recv(buffer), End::Never);
    }
    // The first sender becomes the peer.
    let (length, peer) = socket.recv_from(&mut buffer)?;
    socket.connect(peer)?;
    print(&buffer[..length])?;
    relay_udp(socket, options)
}

fn relay_udp(socket: UdpSocket, options: &Options) -> Result<()> {
    socket.set_read_timeout(options.wait)?;
    let sender = socket.try_clone()?;
    std::thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM_BYTES / 2];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
            // A refusal shows where answers are received.
            let _refused = sender.send(&buffer[..length]);
        }
    });
    copy_to_stdout(|buffer| socket.recv(buffer), End::Never)
}

/// Whether receiving nothing means that the peer has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AtZero,
    Never,
}

fn copy_to_stdout(
    mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
    end: End,
) -> Result<()> {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        match receive(&mut buffer) {
            Ok(0) if end == End::AtZero => return Ok(()),
            Ok(length) => print(&buffer[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("receiving"),
        }
    }
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush().context("writing to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_stand_alone_together_and_with_their_value() {
        for line in ["-u -w 1 node01 8080", "-u -w1 node01 8080", "-uw1 node01 8080"] {
            let read = options(line).unwrap();
            let wanted = Options {
                udp: true,
                wait: Some(Duration::from_secs(1)),
                host: Some("node01".to_owned()),
                port: Some(8080),
                ..Options::default()
            };
            assert_eq!(read, wanted, "{line}");
        }
    }

    #[test]
    fn the_port_to_listen_on_is_given_with_and_without_a_letter() {
        for line in ["-l -p 99", "-lp 99", "-l 99", "-l -p99"] {
            let read = options(line).unwrap();
            assert_eq!((read.listen, read.port, read.host), (true, Some(99), None), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["-q host 1", "host 99999", "-w x host 1", "host port"] {
            assert!(options(line).is_err(), "{line:?} was accepted");
        }
    }
}
