//! The load of the overlay rows, and what answers it: requests on one connection, connections one
//! after the other, and bulk. Both ends are this program, the same for every path.
//!
//! The first byte of a connection says what it is for.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::machine::busy_us;

/// One byte goes, one comes back, until the client closes.
const ECHO: u8 = b'E';
/// One byte goes, one comes back, and the server closes: `TIME_WAIT` is its, so that the client's
/// ports do not run out.
const ONCE: u8 = b'O';
/// Bytes go until the client is done; their number comes back, as text.
const SINK: u8 = b'S';

const CHUNK: usize = 128 << 10;
/// A path that is silent for so long is broken.
const LIMIT: Duration = Duration::from_secs(5);

/// Answers on a port until standard input ends; prints `serving` when it listens.
pub(crate) fn serve(port: u16) -> Result<String, String> {
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|error| error.to_string())?;
    println!("serving");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle is the client's affair.
            let _gone = answer(stream);
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map_err(|e| e.to_string())?;
    Ok("served".to_owned())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind[0] {
        ONCE => stream.write_all(&kind),
        ECHO => echo(stream, kind),
        _ => sink(stream),
    }
}

fn echo(mut stream: TcpStream, mut byte: [u8; 1]) -> std::io::Result<()> {
    loop {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
    }
}

fn sink(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut total = 0_usize;
    loop {
        match stream.read(&mut chunk)? {
            0 => return stream.write_all(total.to_string().as_bytes()),
            length => total += length,
        }
    }
}

/// Loads a server for a while; the finding is `COUNT MICROSECONDS BUSY_MICROSECONDS`, where `COUNT`
/// is answers, or bytes, and `BUSY` the CPU time of the whole machine.
pub(crate) fn load(kind: &str, target: &str, length: Duration) -> Result<String, String> {
    let target: SocketAddr = target.parse().map_err(|_| format!("{target} is no address"))?;
    let (began, busy) = (Instant::now(), busy_us());
    let until = began + length;
    let count = match kind {
        "requests" => requests(target, until),
        "connections" => connections(target, until),
        "bulk" => bulk(target, until),
        _ => Err(ErrorKind::InvalidInput.into()),
    };
    let count = count.map_err(|error| format!("{kind} to {target}: {error}"))?;
    Ok(format!("{count} {} {}", began.elapsed().as_micros(), busy_us() - busy))
}

fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn requests(target: SocketAddr, until: Instant) -> std::io::Result<usize> {
    let mut stream = connect(target)?;
    let mut byte = [ECHO];
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        count += 1;
    }
    Ok(count)
}

fn connections(target: SocketAddr, until: Instant) -> std::io::Result<usize> {
    let mut count = 0;
    while Instant::now() < until {
        let mut stream = connect(target)?;
        stream.write_all(&[ONCE])?;
        let mut answer = [0; 2];
        // The byte, then the server's end.
        stream.read_exact(&mut answer[..1])?;
        if stream.read(&mut answer)? != 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        count += 1;
    }
    Ok(count)
}

fn bulk(target: SocketAddr, until: Instant) -> std::io::Result<usize> {
    let mut stream = connect(target)?;
    let chunk = vec![SINK; CHUNK];
    while Instant::now() < until {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.parse().map_err(|_| ErrorKind::InvalidData.into())
}
