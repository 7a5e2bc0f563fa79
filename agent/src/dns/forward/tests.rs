//! Upstreams that lose, lie, stall and exaggerate, on real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A as AData, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;

use super::*;
use crate::dns::fixture::{query, text_of};
use crate::dns::message::Transport;

/// What an upstream does with a query.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Answers with its own address, which lives so many seconds.
    Answers(u32),
    Silent,
    LosesTheFirst,
    Says(ResponseCode),
    /// No such name, for so many seconds.
    Negative(u32),
    /// Others answer first: with another id, another question, from another port.
    Guessed,
    /// More than fits a datagram; by TCP all of it.
    Huge,
    /// A reply that ends in the middle; by TCP a good one.
    Cut,
}

struct Upstream {
    addr: Ipv4Addr,
    port: u16,
    asked: Arc<AtomicUsize>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Upstream {
    async fn start(addr: &str, port: u16, manner: Manner) -> Self {
        let addr: Ipv4Addr = addr.parse().unwrap();
        let udp = UdpSocket::bind((addr, port)).await.unwrap();
        let port = udp.local_addr().unwrap().port();
        let tcp = TcpListener::bind((addr, port)).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let tasks = TaskTracker::new();
        let by_udp = tasks.spawn(serve_udp(udp, addr, manner, Arc::clone(&asked)));
        let by_tcp = tasks.spawn(serve_tcp(tcp, addr, manner));
        let tasks = [by_udp, by_tcp].map(AbortOnDropHandle::new).into();
        Self { addr, port, asked, _tasks: tasks }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve_udp(socket: UdpSocket, addr: Ipv4Addr, manner: Manner, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 4_096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let count = asked.fetch_add(1, Ordering::SeqCst);
        let message = Message::from_vec(&buffer[..length]).unwrap();
        let reply = reply_of(&message, addr, manner);
        match manner {
            Manner::Silent => {}
            Manner::LosesTheFirst if count == 0 => {}
            Manner::Guessed => {
                guess(&socket, &message, from).await;
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
            Manner::Huge => {
                let cut = reply.truncate().to_vec().unwrap();
                socket.send_to(&cut, from).await.unwrap();
            }
            Manner::Cut => {
                let bytes = reply.to_vec().unwrap();
                socket.send_to(&bytes[..bytes.len() - 3], from).await.unwrap();
            }
            Manner::Answers(_) | Manner::LosesTheFirst | Manner::Says(_) | Manner::Negative(_) => {
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        }
    }
}

/// Sends what must not be believed.
async fn guess(socket: &UdpSocket, message: &Message, to: SocketAddr) {
    let lie = reply_of(message, Ipv4Addr::new(203, 0, 113, 66), Manner::Answers(60));
    let mut other_id = lie.clone();
    other_id.metadata.id ^= 1;
    socket.send_to(&other_id.to_vec().unwrap(), to).await.unwrap();
    let mut other_question = lie.clone();
    other_question.queries[0].set_name(Name::from_ascii("other.example.").unwrap());
    socket.send_to(&other_question.to_vec().unwrap(), to).await.unwrap();
    let mut a_query = lie.clone();
    a_query.metadata.message_type = MessageType::Query;
    socket.send_to(&a_query.to_vec().unwrap(), to).await.unwrap();
    let elsewhere = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    elsewhere.send_to(&lie.to_vec().unwrap(), to).await.unwrap();
}

async fn serve_tcp(listener: TcpListener, addr: Ipv4Addr, manner: Manner) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        let reply = reply_of(&Message::from_vec(&bytes).unwrap(), addr, manner).to_vec().unwrap();
        stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
        stream.write_all(&reply).await.unwrap();
    }
}

fn reply_of(message: &Message, addr: Ipv4Addr, manner: Manner) -> Message {
    let mut reply = message.clone().into_response();
    reply.edns = None;
    let name = message.queries[0].name().clone();
    let address = |ttl| Record::from_rdata(name.clone(), ttl, RData::A(AData(addr)));
    match manner {
        Manner::Says(code) => {
            reply.metadata.response_code = code;
            reply.edns = (code.high() != 0).then(Edns::new);
        }
        Manner::Negative(ttl) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, ttl);
            reply.add_authority(Record::from_rdata(Name::root(), 3_600, RData::SOA(soa)));
        }
        Manner::Huge => {
            for number in 0..220 {
                let text = format!("{number}-{}", "x".repeat(240));
                let data = RData::TXT(TXT::new(vec![text]));
                reply.add_answer(Record::from_rdata(name.clone(), 60, data));
            }
        }
        Manner::Answers(ttl) => {
            reply.add_answer(address(ttl));
        }
        Manner::Silent | Manner::LosesTheFirst | Manner::Guessed | Manner::Cut => {
            reply.add_answer(address(60));
        }
    }
    reply
}

/// A forwarder and the upstreams it asks.
async fn with(manners: &[Manner]) -> (Arc<Forwarder>, Vec<Upstream>, Upstreams) {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for (number, manner) in manners.iter().enumerate() {
        let port = upstreams.first().map_or(0, |first| first.port);
        let addr = format!("127.0.77.{}", number + 1);
        upstreams.push(Upstream::start(&addr, port, *manner).await);
    }
    let servers = upstreams.iter().map(|upstream| IpAddr::V4(upstream.addr)).collect();
    let forwarder = Forwarder::new("/nowhere/resolv.conf".into(), upstreams[0].port);
    let own = Upstreams::Own { servers, sandbox: None };
    (Arc::new(forwarder), upstreams, own)
}

async fn ask_by(
    forwarder: &Forwarder,
    upstreams: &Upstreams,
    text: &str,
    transport: Transport,
) -> Vec<u8> {
    let query = Query::read(&query(text), transport).unwrap();
    let mut out = Vec::new();
    forwarder.reply(&query, upstreams, &mut out).await;
    out
}

async fn ask(forwarder: &Forwarder, upstreams: &Upstreams, text: &str) -> String {
    text_of(&ask_by(forwarder, upstreams, text, Transport::Udp).await)
}

#[tokio::test]
async fn an_answer_is_passed_on_and_kept_as_long_as_it_lives() {
    let (forwarder, servers, own) = with(&[Manner::Answers(60)]).await;
    let first = ask_by(&forwarder, &own, "Example.COM A", Transport::Udp).await;
    assert_eq!(text_of(&first), "NoError 127.0.77.1");
    assert_eq!(first[12..29], query("Example.COM A")[12..29], "the question as it was asked");
    assert_eq!(first[..2], [0x12, 0x34]);
    for again in ["example.com A", "EXAMPLE.com A"] {
        assert_eq!(ask(&forwarder, &own, again).await, "NoError 127.0.77.1");
    }
    assert_eq!(servers[0].asked(), 1);
    ask(&forwarder, &own, "example.com AAAA").await;
    ask(&forwarder, &own, "example.org A").await;
    assert_eq!(servers[0].asked(), 3);
}

#[tokio::test]
async fn an_answer_without_a_life_is_asked_for_each_time() {
    let (forwarder, servers, own) = with(&[Manner::Answers(0)]).await;
    for count in 1..=3 {
        ask(&forwarder, &own, "example.com A").await;
        assert_eq!(servers[0].asked(), count);
    }
}

#[tokio::test]
async fn that_there_is_none_is_kept_as_long_as_its_zone_says() {
    let (forwarder, servers, own) = with(&[Manner::Negative(30)]).await;
    for _ in 0..3 {
        let reply = ask_by(&forwarder, &own, "example.com A", Transport::Udp).await;
        let message = Message::from_vec(&reply).unwrap();
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(message.authorities.len(), 1, "the client needs it for the same reason");
    }
    assert_eq!(servers[0].asked(), 1);
    let (forwarder, servers, own) = with(&[Manner::Says(ResponseCode::NXDomain)]).await;
    for count in 1..=2 {
        assert_eq!(ask(&forwarder, &own, "example.com A").await, "NXDomain");
        assert_eq!(servers[0].asked(), count, "nothing says how long");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_overtaken_and_asked_last_from_then_on() {
    let (forwarder, servers, own) = with(&[Manner::Silent, Manner::Answers(60)]).await;
    assert_eq!(ask(&forwarder, &own, "a.example A").await, "NoError 127.0.77.2");
    assert_eq!(servers[0].asked(), 1);
    for name in ["b.example A", "c.example A", "d.example A"] {
        assert_eq!(ask(&forwarder, &own, name).await, "NoError 127.0.77.2");
    }
    assert_eq!(servers[1].asked(), 4);
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let (forwarder, servers, own) = with(&[Manner::LosesTheFirst]).await;
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "NoError 127.0.77.1");
    assert_eq!(servers[0].asked(), 2);
}

#[tokio::test]
async fn guessed_replies_are_not_believed() {
    let (forwarder, _servers, own) = with(&[Manner::Guessed]).await;
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "NoError 127.0.77.1");
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let (forwarder, servers, own) = with(&[Manner::Huge]).await;
    let whole = ask_by(&forwarder, &own, "example.com TXT", Transport::Tcp).await;
    let message = Message::from_vec(&whole).unwrap();
    assert_eq!((message.answers.len(), message.metadata.truncation), (220, false));
    let part = ask_by(&forwarder, &own, "example.com TXT edns:1232", Transport::Udp).await;
    let message = Message::from_vec(&part).unwrap();
    assert!(part.len() <= 1_232 && message.metadata.truncation && message.edns.is_some());
    let small = ask_by(&forwarder, &own, "example.com TXT", Transport::Udp).await;
    assert!(small.len() <= 512 && Message::from_vec(&small).unwrap().metadata.truncation);
    assert!(servers[0].asked() >= 2);
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_is_fetched_by_tcp() {
    let (forwarder, _servers, own) = with(&[Manner::Cut]).await;
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "NoError 127.0.77.1");
}

#[tokio::test]
async fn an_upstream_that_fails_is_not_the_last_word_unless_all_do() {
    let fails = Manner::Says(ResponseCode::ServFail);
    let (forwarder, _servers, own) = with(&[fails, Manner::Answers(60)]).await;
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "NoError 127.0.77.2");
    let refuses = Manner::Says(ResponseCode::Refused);
    let (forwarder, servers, own) = with(&[fails, refuses]).await;
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "Refused");
    assert_eq!(servers.iter().map(Upstream::asked).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn an_error_that_only_edns_can_say_is_a_failure() {
    let (forwarder, _servers, own) = with(&[Manner::Says(ResponseCode::BADVERS)]).await;
    // Without EDNS its low bits would read as success.
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "ServFail");
}

#[tokio::test]
async fn nobody_to_ask_is_said_at_once() {
    let (forwarder, _servers, _own) = with(&[Manner::Silent]).await;
    let round: Vec<IpAddr> = vec![crate::dns::RESOLVER.into(), Ipv4Addr::UNSPECIFIED.into()];
    let only_us = Upstreams::Own { servers: round.into(), sandbox: None };
    for nobody in [Upstreams::Host, Upstreams::Nobody, only_us] {
        assert_eq!(ask(&forwarder, &nobody, "example.com A").await, "ServFail");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_not_waited_for() {
    let (_, mut servers, own) = with(&[Manner::Silent]).await;
    let gone = servers.remove(0);
    let forwarder = Forwarder::new("/nowhere/resolv.conf".into(), gone.port);
    let port = gone.port;
    drop(gone);
    // Its tasks close the sockets when they notice.
    let deadline = Instant::now() + Duration::from_secs(20);
    while UdpSocket::bind(("127.0.77.1", port)).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&forwarder, &own, "example.com A").await, "ServFail");
}

#[tokio::test]
async fn equal_questions_at_a_time_are_asked_once() {
    let (forwarder, servers, own) = with(&[Manner::LosesTheFirst]).await;
    let names = ["example.com A", "EXAMPLE.com A", "example.COM A"];
    let asking = (0..60).map(|n| ask(&forwarder, &own, names[n % 3]));
    let replies = futures::future::join_all(asking).await;
    assert!(replies.iter().all(|reply| reply == "NoError 127.0.77.1"), "{replies:?}");
    assert_eq!(servers[0].asked(), 2, "once, and once more because it was lost");
}

#[tokio::test]
async fn different_questions_at_a_time_are_bounded_and_given_up_in_time() {
    let (forwarder, servers, own) = with(&[Manner::Silent]).await;
    let texts: Vec<_> = (0..QUESTIONS_MAX).map(|n| format!("n{n}.example A")).collect();
    let mut asking: Vec<_> =
        texts.iter().map(|text| Box::pin(ask(&forwarder, &own, text))).collect();
    for one in &mut asking {
        assert!(futures::poll!(one).is_pending());
    }
    assert_eq!(ask(&forwarder, &own, "one-more.example A").await, "ServFail");
    let replies = futures::future::join_all(asking).await;
    assert!(replies.iter().all(|reply| reply == "ServFail"));
    assert!(servers[0].asked() >= QUESTIONS_MAX);
    assert!(forwarder.shared.under_way().is_empty());
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_gives_its_place_back() {
    let (forwarder, _servers, own) = with(&[Manner::Silent]).await;
    for number in 0..QUESTIONS_MAX * 2 {
        let text = format!("n{number}.example A");
        let mut asking = Box::pin(ask(&forwarder, &own, &text));
        assert!(futures::poll!(&mut asking).is_pending(), "{number}");
    }
}

fn kept(name: &str, size: usize, ttl: u32, at: Instant) -> (Arc<Question>, Arc<Found>) {
    let question = Question {
        servers: Arc::new([]),
        sandbox: None,
        name: name.as_bytes().into(),
        kind: 1,
        edns: None,
        checking_disabled: false,
        port: 53,
    };
    let mut message = Message::query().into_response();
    let data = RData::A(AData(Ipv4Addr::LOCALHOST));
    message.add_answer(Record::from_rdata(Name::root(), ttl, data));
    (Arc::new(question), Arc::new(Found { message, size, at }))
}

#[test]
fn the_cache_is_bounded_and_what_ends_first_goes_first() {
    let start = Instant::now();
    let mut cache = Cache::default();
    let (brief, found) = kept("brief", 1_000, 1, start);
    cache.put(&brief, &found);
    for number in 0..5_000 {
        let (question, found) = kept(&number.to_string(), 1_000, 60 + number, start);
        cache.put(&question, &found);
    }
    assert!(cache.get(&brief, start).is_none());
    assert!(cache.get(&kept("4999", 0, 0, start).0, start).is_some());
    let held =
        (0..5_000).filter(|n| cache.get(&kept(&n.to_string(), 0, 0, start).0, start).is_some());
    let held = held.count();
    assert!((4_000..=4_096).contains(&held), "{held}: entries and bytes are bounded");
    assert!(cache.get(&kept("4999", 0, 0, start).0, start + Duration::from_secs(3_600)).is_none());
    let (huge, found) = kept("huge", 60_000, 600, start);
    cache.put(&huge, &found);
    assert!(cache.get(&huge, start).is_none());
}

proptest! {
    #[test]
    fn no_reply_of_an_upstream_makes_it_fall_over(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kind in any::<u16>(),
    ) {
        let (question, _) = kept("\x03web", 0, 0, Instant::now());
        let question = Question { kind, ..Question::clone(&question) };
        let mut reply = vec![0x12, 0x34, 0x81, 0x80];
        reply.extend(&bytes);
        if let Some(found) = exchange::accepted(&question, 0x1234, &reply) {
            let mut cache = Cache::default();
            cache.put(&Arc::new(question), &Arc::new(found));
        }
    }
}
