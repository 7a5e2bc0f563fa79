//! A client and a server of DNS in a few lines: this binary, run in a task or on a host.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use crate::churn::query;
use crate::lab::{CLIENT, DEADLINE, Lab};

/// First word on the command line that makes this binary ask one question.
pub(crate) const ASK: &str = "ask-a-name";
/// First word on the command line that makes this binary an upstream.
pub(crate) const SERVE: &str = "serve-names";

const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 77, 53), 53);
/// The one name the upstream knows, and its address.
pub(crate) const OUTSIDE: &str = "outside.example";
pub(crate) const OUTSIDE_ADDR: &str = "192.0.2.77";
/// As the C library's: the next try is a new packet.
const TRY: Duration = Duration::from_secs(2);

/// The client: `NAME A|AAAA udp|tcp`; prints the code and the addresses.
pub(crate) fn ask_once(words: &[String]) -> ExitCode {
    let [name, kind, protocol] = words else { panic!("usage: {ASK} NAME A|AAAA udp|tcp") };
    let question = query::question_for(name, if kind == "AAAA" { 28 } else { 1 });
    let end = Instant::now() + DEADLINE;
    let ask = if protocol == "tcp" { over_tcp } else { over_udp };
    let answer = loop {
        match ask(&question) {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < end, "no answer: {error}"),
        }
    };
    let (code, mut addresses) = query::addresses(&answer).expect("a readable answer");
    addresses.sort_unstable();
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!("{}", [&[code], &texts[..]].concat().join(" "));
    ExitCode::SUCCESS
}

fn over_udp(question: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(TRY))?;
    socket.connect(RESOLVER)?;
    socket.send(question)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn over_tcp(question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&RESOLVER.into(), TRY)?;
    stream.set_read_timeout(Some(TRY))?;
    let length = u16::try_from(question.len()).expect("a short question");
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut answer = vec![0; u16::from_be_bytes(head).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The upstream: prints each name it is asked for; knows one.
pub(crate) fn serve() -> ExitCode {
    let socket = UdpSocket::bind((CLIENT, 53)).unwrap();
    println!("ready");
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let query = &buffer[..length];
        let name = query::name(query).unwrap();
        println!("{name}");
        socket.send_to(&answer(query, &name), from).unwrap();
    }
}

/// The question as it came, with a code and the answer behind it.
fn answer(query: &[u8], name: &str) -> Vec<u8> {
    let end = 12 + name.len() + 2 + 4;
    let known = name.eq_ignore_ascii_case(OUTSIDE) && query[end - 4..end] == [0, 1, 0, 1];
    let addr: Ipv4Addr = OUTSIDE_ADDR.parse().unwrap();
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4], &addr.octets()[..]].concat();
    let code = if name.eq_ignore_ascii_case(OUTSIDE) { 0x80 } else { 0x83 };
    let counts = [0, 1, 0, u8::from(known), 0, 0, 0, 0];
    let head = [&query[..2], &[0x81, code], &counts].concat();
    let body = if known { record } else { Vec::new() };
    [&head, &query[12..end], &body].concat()
}

/// Asks from inside a service's task; returns the code and the addresses.
pub(crate) fn ask(lab: &Lab, host: &str, service: &str, name: &str) -> String {
    ask_for(lab, host, service, name, "A", "udp")
}

pub(crate) fn ask_for(
    lab: &Lab,
    host: &str,
    service: &str,
    name: &str,
    kind: &str,
    protocol: &str,
) -> String {
    let own = std::env::current_exe().unwrap();
    let words = [own.to_str().unwrap(), ASK, name, kind, protocol];
    let ran = lab.beside(host, service, &words);
    assert!(ran.ok(), "{name}: {}", ran.text());
    ran.stdout.trim().to_owned()
}

/// The upstream on the client host; it ends with the value.
pub(crate) struct Upstream(Child);

impl Upstream {
    pub(crate) fn start(lab: &Lab) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut child = lab.spawn("client", &[own.to_str().unwrap(), SERVE]);
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        Self(child)
    }

    /// Ends it and returns the names it was asked for.
    pub(crate) fn asked_for(mut self) -> String {
        self.0.kill().unwrap();
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Has ended already when its names were asked for.
        let _ended = self.0.kill();
        self.0.wait().unwrap();
    }
}
