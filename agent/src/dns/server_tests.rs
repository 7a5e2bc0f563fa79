//! The whole resolver on loopback addresses, with real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::fixture::{World, query, text_of};
use super::{Resolver, Settings, Sockets, Table};

const WORLD: &str = "
    network front 10.0.1.0/24
    network back 10.0.2.0/24
    service web vip front=10.0.1.2
    service db dnsrr back=-
    task db.1 active back=10.0.2.11
    asker 1 a front gateway
    asker 2 b back gateway
";
const FRONT: u32 = 1;
const BACK: u32 = 202;
/// Longest wait for something that is about to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running resolver and what it answers from.
struct Bed {
    resolver: Resolver,
    table: Arc<Table>,
    at: SocketAddr,
    _directory: tempfile::TempDir,
}

fn address_of(lidx: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 77, 192, 0)) + lidx)
}

impl Bed {
    /// Upstreams of the host are those given, all at one port.
    fn start(upstreams: &[&str], port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        let lines = upstreams.iter().map(|addr| format!("nameserver {addr}\n"));
        std::fs::write(&resolv_conf, lines.collect::<String>()).unwrap();
        let (udp, tcp) = bind();
        let at = udp.local_addr().unwrap();
        let table = Arc::new(Table::default());
        let settings = Settings {
            askers: "127.77.192.0/19".parse().unwrap(),
            upstream_port: port,
            ..Settings::new(resolv_conf)
        };
        let resolver = Resolver::start(Sockets { udp, tcp }, Arc::clone(&table), settings).unwrap();
        let bed = Self { resolver, table, at, _directory: directory };
        bed.tell(WORLD);
        bed
    }

    fn tell(&self, world: &str) {
        let world = World::of(world);
        self.table.view_changed(&Arc::new(world.view), || world.journal.into());
    }

    async fn socket(&self, lidx: u32) -> UdpSocket {
        let socket = UdpSocket::bind((address_of(lidx), 0)).await.unwrap();
        socket.connect(self.at).await.unwrap();
        socket
    }

    async fn stream(&self, lidx: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address_of(lidx), 0).into()).unwrap();
        socket.connect(self.at).await.unwrap()
    }

    /// Asks by UDP, again when a datagram was lost.
    async fn ask(&self, lidx: u32, text: &str) -> String {
        let socket = self.socket(lidx).await;
        socket.send(&query(text)).await.unwrap();
        received(&socket).await
    }
}

fn wide(socket: UdpSocket) -> UdpSocket {
    let socket = socket.into_std().unwrap();
    super::widen(&socket).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// The same free port for both protocols.
fn bind() -> (std::net::UdpSocket, std::net::TcpListener) {
    loop {
        let udp = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

async fn received(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 4_096];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    text_of(&buffer[..length])
}

async fn read_reply(stream: &mut TcpStream) -> String {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut reply = vec![0; usize::from(length)];
    timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    text_of(&reply)
}

fn framed(text: &str) -> Vec<u8> {
    let message = query(text);
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes()[..], &message].concat()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_asker_is_answered_from_its_own_networks() {
    let bed = Bed::start(&[], 9);
    assert_eq!(bed.ask(FRONT, "web A").await, "NoError 10.0.1.2");
    assert_eq!(bed.ask(BACK, "db A").await, "NoError 10.0.2.11");
    assert_eq!(bed.ask(FRONT, "db A").await, "ServFail", "unknown, and there is no upstream");
    bed.resolver.stop().await;
}

#[tokio::test]
async fn a_stranger_gets_no_answer() {
    let bed = Bed::start(&[], 9);
    let stranger = bed.socket(77).await;
    stranger.send(&query("web A")).await.unwrap();
    let outside = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    outside.send_to(&query("web A"), bed.at).await.unwrap();
    until("both are counted", || bed.resolver.counters().strangers.get() == 2).await;
    // What was asked later is answered, and still nothing has come for the strangers.
    assert_eq!(bed.ask(FRONT, "web A").await, "NoError 10.0.1.2");
    assert!(stranger.try_recv(&mut [0; 512]).is_err());
    assert!(outside.try_recv(&mut [0; 512]).is_err());
    let mut stream = bed.stream(77).await;
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    bed.resolver.stop().await;
}

#[tokio::test]
async fn many_queries_at_once_are_all_answered() {
    let bed = Bed::start(&[], 9);
    let socket = bed.socket(FRONT).await;
    for _ in 0..50 {
        socket.send(&query("web A")).await.unwrap();
        socket.send(&[1, 2, 3]).await.unwrap();
        socket.send(&query("tasks.web AAAA")).await.unwrap();
    }
    let mut texts = std::collections::BTreeMap::<_, usize>::new();
    for _ in 0..100 {
        *texts.entry(received(&socket).await).or_default() += 1;
    }
    let expected = [("NoError".to_owned(), 50), ("NoError 10.0.1.2".to_owned(), 50)];
    assert_eq!(texts, expected.into());
    assert_eq!(bed.resolver.counters().not_queries.get(), 50);
    bed.resolver.stop().await;
}

#[tokio::test]
async fn a_changed_zone_is_seen_by_the_next_query() {
    let bed = Bed::start(&[], 9);
    assert_eq!(bed.ask(FRONT, "web A").await, "NoError 10.0.1.2");
    bed.tell(&WORLD.replace("10.0.1.2", "10.0.1.99"));
    assert_eq!(bed.ask(FRONT, "web A").await, "NoError 10.0.1.99");
    let world = World::of(&WORLD.replace("asker 1 a front", "asker 1 a back"));
    bed.table.journal_changed(|| world.journal.into());
    assert_eq!(bed.ask(FRONT, "db A").await, "NoError 10.0.2.11");
    bed.resolver.stop().await;
}

#[tokio::test]
async fn a_connection_carries_several_queries_and_may_be_slow() {
    let bed = Bed::start(&[], 9);
    let mut stream = bed.stream(FRONT).await;
    stream.write_all(&[framed("web A"), framed("web AAAA")].concat()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await, "NoError 10.0.1.2");
    assert_eq!(read_reply(&mut stream).await, "NoError");
    let bytes = framed("tasks.web A");
    for byte in &bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read_reply(&mut stream).await, "NoError");
    // What is no query ends it.
    stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    bed.resolver.stop().await;
}

#[tokio::test]
async fn one_asker_cannot_take_all_connections() {
    let bed = Bed::start(&[], 9);
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = bed.stream(FRONT).await;
        stream.write_all(&framed("web A")).await.unwrap();
        assert_eq!(read_reply(&mut stream).await, "NoError 10.0.1.2");
        held.push(stream);
    }
    let mut more = bed.stream(FRONT).await;
    assert_eq!(timeout(PATIENCE, more.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    let mut other = bed.stream(BACK).await;
    other.write_all(&framed("db A")).await.unwrap();
    assert_eq!(read_reply(&mut other).await, "NoError 10.0.2.11");
    bed.resolver.stop().await;
}

#[tokio::test]
async fn one_asker_cannot_take_all_places_of_questions_to_upstreams() {
    let silent = UdpSocket::bind(("127.77.0.1", 0)).await.unwrap();
    let bed = Bed::start(&["127.77.0.1"], silent.local_addr().unwrap().port());
    let greedy = bed.socket(FRONT).await;
    for number in 0..64 {
        greedy.send(&query(&format!("n{number}.example A"))).await.unwrap();
    }
    until("64 are under way", || bed.resolver.counters().forwarded.get() == 64).await;
    greedy.send(&query("one-more.example A")).await.unwrap();
    assert_eq!(received(&greedy).await, "ServFail");
    assert_eq!(bed.resolver.counters().over_limit.get(), 1);
    // Names of the zone, and other askers, do not notice.
    assert_eq!(bed.ask(FRONT, "web A").await, "NoError 10.0.1.2");
    let other = bed.socket(BACK).await;
    other.send(&query("other.example A")).await.unwrap();
    until("the other's is under way", || bed.resolver.counters().forwarded.get() == 65).await;
    bed.resolver.stop().await;
}

#[tokio::test]
async fn queries_that_come_while_nobody_answers_wait_in_the_socket() {
    let (udp, tcp) = bind();
    let at = udp.local_addr().unwrap();
    let held = (udp.try_clone().unwrap(), tcp.try_clone().unwrap());
    let bed = Bed::start(&[], 9);
    let start = |udp, tcp| {
        let settings = Settings {
            askers: "127.77.192.0/19".parse().unwrap(),
            ..Settings::new("/nowhere".into())
        };
        Resolver::start(Sockets { udp, tcp }, Arc::clone(&bed.table), settings).unwrap()
    };
    start(udp, tcp).stop().await;
    let socket = UdpSocket::bind((address_of(FRONT), 0)).await.unwrap();
    socket.connect(at).await.unwrap();
    let socket = wide(socket);
    // More than a socket holds of itself, and no more than one without privileges can hold.
    for _ in 0..400 {
        socket.send(&query("web A")).await.unwrap();
    }
    let next = start(held.0, held.1);
    for _ in 0..400 {
        assert_eq!(received(&socket).await, "NoError 10.0.1.2");
    }
    next.stop().await;
    bed.resolver.stop().await;
}
