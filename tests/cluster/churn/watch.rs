//! The watchers, as probes inside hosts and tasks: they write what they see, a line each, into a
//! file, until their input ends. Times are microseconds of one clock: all hosts are this machine.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::query;

const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 77, 53), 53);
/// A name of ours is answered long before that; other names may wait for an upstream.
const LIMIT: Duration = Duration::from_secs(1);
/// Pause between two questions of a thread, and between two looks at the managers' truth.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause between two connections of a thread: each costs a task a request.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

type Lines = Mutex<BufWriter<File>>;

/// Returns the time in microseconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// Asks for each name and for its tasks: `name T0 T1 NAME RCODE ADDRESS,…`; a name that is not
/// answered has the code `none`.
pub(super) fn names(file: &str, names: &[&str]) -> Result<String, String> {
    let questions: Vec<String> =
        names.iter().flat_map(|name| [(*name).to_owned(), format!("tasks.{name}")]).collect();
    until_told(file, &questions, PAUSE, |name| {
        let began = now();
        let answer = resolve(name);
        let (code, addresses) = answer.unwrap_or_else(|| ("none".to_owned(), Vec::new()));
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Some(format!("name {began} {} {name} {code} {}", now(), addresses.join(",")))
    })
}

/// Connects to each name that has an address: `call T0 T1 NAME ADDRESS HOSTNAME`; one that gives no
/// page has the host name `none`.
pub(super) fn calls(file: &str, names: &[&str]) -> Result<String, String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    until_told(file, &names, CONNECT_PAUSE, |name| {
        let began = now();
        let address = *resolve(name)?.1.first()?;
        let page = page(SocketAddrV4::new(address, 80)).unwrap_or_default();
        let host = page.lines().find_map(|line| line.strip_prefix("Hostname: ")).unwrap_or("none");
        Some(format!("call {began} {} {name} {address} {host}", now()))
    })
}

/// Reads services and tasks from a manager: `truth T0 T1 SERVICES TASKS`, both as JSON in one line.
pub(super) fn truth(file: &str) -> Result<String, String> {
    until_told(file, &[String::new()], PAUSE, |_| {
        let began = now();
        let services = manager("/v1.41/services")?;
        let tasks = manager("/v1.41/tasks")?;
        Some(format!("truth {began} {} {services} {tasks}", now()))
    })
}

/// Repeats a look for each subject, each in a thread of its own.
fn until_told(
    file: &str,
    subjects: &[String],
    pause: Duration,
    look: impl Fn(&str) -> Option<String> + Sync,
) -> Result<String, String> {
    let file = File::create(file).map_err(|error| error.to_string())?;
    let (lines, over) = (Lines::new(BufWriter::new(file)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for subject in subjects {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Some(line) = look(subject) {
                        writeln!(lines.lock().unwrap(), "{line}").unwrap();
                    }
                    std::thread::sleep(pause);
                }
            });
        }
        let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        over.store(true, Ordering::Relaxed);
    });
    lines.into_inner().unwrap().flush().map_err(|error| error.to_string())?;
    Ok("watched".to_owned())
}

fn resolve(name: &str) -> Option<(String, Vec<Ipv4Addr>)> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(LIMIT)).ok()?;
    socket.connect(RESOLVER).ok()?;
    socket.send(&query::question(name)).ok()?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    query::addresses(&answer[..length])
}

fn page(address: SocketAddrV4) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn manager(path: &str) -> Option<String> {
    let socket = std::env::var("DOCKER_HOST").ok()?;
    let mut stream = UnixStream::connect(socket.trim_start_matches("unix://")).ok()?;
    stream.set_read_timeout(Some(LIMIT * 5)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    // JSON without spaces between its parts: a line is split at spaces.
    let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    Some(body.to_string().replace(' ', "_"))
}
