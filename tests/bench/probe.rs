//! What looks from inside a host of the lab: this program again, started there as `probe …`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use swarmnet_tests::harness::probe::answer;

use crate::{names, services, sockets};

/// Pause between two looks. Short against what is measured, long against what a look costs.
const PAUSE: Duration = Duration::from_millis(10);
/// A packet to a port that is not ready may be dropped: better a further look than a retransmission.
const CONNECT_LIMIT: Duration = Duration::from_millis(100);
/// An answer that takes longer is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A probe that has found nothing gives up.
const LIMIT: Duration = Duration::from_secs(90);

/// Is the probe that the words describe.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    answer(|| match words[..] {
        ["answers", wanted, ref entries @ ..] => answers(wanted.parse().unwrap(), entries),
        ["running", service, wanted] => {
            let socket = std::env::var("DOCKER_HOST").unwrap();
            running(socket.trim_start_matches("unix://"), service, wanted.parse().unwrap())
        }
        ["running-at", socket, service, wanted] => {
            running(socket, service, wanted.parse().unwrap())
        }
        ["gaps", entry, millis] => gaps(entry, Duration::from_millis(millis.parse().unwrap())),
        ["serve", port] => sockets::serve(port.parse().unwrap()),
        ["load", kind, target, millis] => {
            sockets::load(kind, target, Duration::from_millis(millis.parse().unwrap()))
        }
        ["ask", target, millis, prefix, count] => {
            let length = Duration::from_millis(millis.parse().unwrap());
            names::ask(target, length, prefix, count.parse().unwrap())
        }
        ["create", count, network] => services::create(count.parse().unwrap(), network),
        _ => Err("no such probe".to_owned()),
    })
}

/// Waits until each entry (`host:port`) has answered with so many different host names.
fn answers(wanted: usize, entries: &[&str]) -> Result<String, String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            entries.iter().map(|entry| scope.spawn(move || names(wanted, entry))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    Ok("answered".to_owned())
}

fn names(wanted: usize, entry: &str) -> Result<(), String> {
    let address = resolve(entry)?;
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let answer = TcpStream::connect_timeout(&address, CONNECT_LIMIT)
            .and_then(|stream| request(&stream, "/", false));
        // Who answered may be another one next time: asked again at once.
        match answer.as_ref().map(|text| text.lines().find_map(|l| l.strip_prefix("Hostname: "))) {
            Ok(Some(name)) => {
                seen.insert(name.to_owned());
            }
            _ => std::thread::sleep(PAUSE),
        }
        if seen.len() >= wanted {
            return Ok(());
        }
    }
    Err(format!("{entry}: {} of {wanted} host names answered", seen.len()))
}

/// Waits until so many tasks of a service are running, asking a manager's socket.
fn running(socket: &str, service: &str, wanted: usize) -> Result<String, String> {
    let path = format!("/v1.41/tasks?filters=%7B%22service%22%3A%7B%22{service}%22%3Atrue%7D%7D");
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let text = UnixStream::connect(socket).and_then(|stream| request(&stream, &path, false));
        let tasks = text.ok().and_then(|text| {
            let body = text.split_once("\r\n\r\n")?.1;
            serde_json::from_str::<Vec<serde_json::Value>>(body).ok()
        });
        let tasks = tasks.unwrap_or_default();
        if tasks.iter().filter(|task| task["Status"]["State"] == "running").count() >= wanted {
            return Ok("running".to_owned());
        }
        std::thread::sleep(PAUSE);
    }
    Err(format!("{wanted} tasks of {service} do not run"))
}

/// Asks an entry every two milliseconds for a while, on new connections and on one that is kept.
///
/// Finding: `NEW_US NEW_REQUESTS NEW_FAILED KEPT_US KEPT_REQUESTS KEPT_FAILED`, where `US` is the
/// longest time between two answers, in microseconds.
fn gaps(entry: &str, length: Duration) -> Result<String, String> {
    let address = resolve(entry)?;
    std::thread::scope(|scope| {
        let new = scope.spawn(|| {
            watch(length, || {
                let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
                request(&stream, "/", false)
            })
        });
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT);
        let kept = watch(length, || {
            let answer = match &stream {
                Ok(stream) => request(stream, "/", true),
                Err(error) => Err(std::io::Error::from(error.kind())),
            };
            if answer.is_err() {
                stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT);
            }
            answer
        });
        let new = new.join().expect("it does not panic");
        Ok(format!("{new} {kept}"))
    })
}

fn watch(length: Duration, mut ask: impl FnMut() -> std::io::Result<String>) -> String {
    let began = Instant::now();
    let (mut last, mut longest) = (began, Duration::ZERO);
    let (mut requests, mut failed) = (0, 0);
    while began.elapsed() < length {
        requests += 1;
        match ask() {
            Ok(text) if text.contains("Hostname") => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            _ => failed += 1,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    format!("{} {requests} {failed}", longest.max(last.elapsed()).as_micros())
}

fn resolve(entry: &str) -> Result<SocketAddr, String> {
    let mut addresses = entry.to_socket_addrs().map_err(|error| format!("{entry}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{entry} has no address"))
}

/// A stream whose answers are waited for with a limit.
trait Limited: Read + Write {
    fn limit(&self) -> std::io::Result<()>;
}

impl Limited for &TcpStream {
    fn limit(&self) -> std::io::Result<()> {
        self.set_nodelay(true)?;
        self.set_read_timeout(Some(ANSWER_LIMIT))
    }
}

impl Limited for &UnixStream {
    fn limit(&self) -> std::io::Result<()> {
        self.set_read_timeout(Some(ANSWER_LIMIT))
    }
}

/// Sends a request and reads its answer: to the end of the stream, or of the body if it is kept.
fn request(mut stream: impl Limited, path: &str, keep: bool) -> std::io::Result<String> {
    stream.limit()?;
    // By version 1.0 an answer comes in one piece, not in chunks.
    let head = if keep { "HTTP/1.1\r\nHost: bench" } else { "HTTP/1.0" };
    stream.write_all(format!("GET {path} {head}\r\n\r\n").as_bytes())?;
    let mut text = vec![];
    if !keep {
        return rest(stream);
    }
    let mut chunk = [0; 4096];
    while !complete(&text) {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Sends a request that closes its connection, and reads the answer.
pub(crate) fn exchange(mut stream: &UnixStream, request: &str) -> std::io::Result<String> {
    stream.limit()?;
    stream.write_all(request.as_bytes())?;
    rest(stream)
}

fn rest(mut stream: impl Read) -> std::io::Result<String> {
    let mut text = vec![];
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}
