//! Who asks for what, and what they are told.

use std::net::Ipv4Addr;

use expect_test::{Expect, expect};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use proptest::prelude::*;

use super::*;
use crate::dns::fixture::{World, ask, ask_bytes, query, text_of};

const WORLD: &str = "
    network front 10.0.1.0/24
    network back 10.0.2.0/24
    network vault 10.0.3.0/24 internal
    service web vip front=10.0.1.2,www back=10.0.2.2 port:http:80
    service db dnsrr back=-,sql
    service idle vip front=10.0.1.9,lazy
    service none dnsrr front=-,nil
    service safe vip vault=10.0.3.2
    task web.1 active front=10.0.1.5,www back=10.0.2.5
    task web.2 draining front=10.0.1.6,www back=10.0.2.6
    task web.2 placed front=10.0.1.7,www back=10.0.2.7
    task db.1 active back=10.0.2.11,sql
    task db.2 active back=10.0.2.12,sql
    task db.3 down back=10.0.2.13,sql
    plain box active front=10.0.1.20,toolbox
    plain late placed front=10.0.1.21,later
    asker 1 web-1 front back gateway
    asker 2 cli-1 back gateway
    asker 3 safe-1 vault
    asker 4 own-1 front gateway dns:192.0.2.53 dns:nonsense
    asker 5 out-1 gateway
";

/// Answers of a list of `LIDX NAME TYPE …`.
fn check(questions: &[&str], expected: Expect) {
    let zone = World::of(WORLD).zone();
    let lines = questions.iter().map(|question| {
        let (lidx, rest) = question.split_once(' ').unwrap();
        format!("{question}: {}\n", ask(&zone, lidx.parse().unwrap(), rest))
    });
    expected.assert_eq(&lines.collect::<String>());
}

/// Attachment indexes in the order of `WORLD`: the fixture counts them up by hundreds.
const WEB: u32 = 1;
const SAFE: u32 = 503;

#[test]
fn services_answer_by_their_address_or_by_their_serving_tasks() {
    check(
        &[
            "1 web A",
            "1 www A",
            "1 WeB A",
            "1 idle A",
            "1 lazy A",
            "1 none A",
            "1 nil A",
            "1 db A",
            "1 sql A",
            "1 tasks.web A",
            "1 tasks.www A",
            "1 tasks.db A",
            "1 tasks.sql A",
            "1 tasks.idle A",
            "1 tasks.none A",
        ],
        expect![[r#"
            1 web A: NoError 10.0.2.2
            1 www A: NoError 10.0.1.2
            1 WeB A: NoError 10.0.2.2
            1 idle A: NoError 10.0.1.9
            1 lazy A: NoError 10.0.1.9
            1 none A: NoError
            1 nil A: NoError
            1 db A: NoError 10.0.2.11 10.0.2.12
            1 sql A: NoError 10.0.2.11 10.0.2.12
            1 tasks.web A: NoError 10.0.2.5
            1 tasks.www A: NoError 10.0.1.5
            1 tasks.db A: NoError 10.0.2.11 10.0.2.12
            1 tasks.sql A: NoError 10.0.2.11 10.0.2.12
            1 tasks.idle A: NoError
            1 tasks.none A: NoError
        "#]],
    );
}

#[test]
fn tasks_and_plain_containers_have_their_own_names() {
    check(
        &[
            "1 web.1 A",
            "1 web.1.web-1-active A",
            "1 web.2 A",
            "1 web.2.web-2-draining A",
            "1 db.3 A",
            "1 box A",
            "1 toolbox A",
            "1 late A",
            "1 later A",
        ],
        expect![[r#"
            1 web.1 A: NoError 10.0.2.5
            1 web.1.web-1-active A: NoError 10.0.2.5
            1 web.2 A: NoError 10.0.2.7
            1 web.2.web-2-draining A: NoError 10.0.2.6
            1 db.3 A: NoError 10.0.2.13
            1 box A: NoError 10.0.1.20
            1 toolbox A: NoError 10.0.1.20
            1 late A: NoError 10.0.1.21
            1 later A: NoError
        "#]],
    );
}

#[test]
fn a_network_can_be_named() {
    check(
        &[
            "1 web.front A",
            "1 web.back A",
            "1 WWW.FRONT A",
            "1 tasks.web.front A",
            "1 www.back A",
            "1 web.1.back A",
            "1 db.front A",
            "1 db.back A",
            "1 box.front A",
            "1 front A",
            "1 web.vault A",
        ],
        expect![[r#"
            1 web.front A: NoError 10.0.1.2
            1 web.back A: NoError 10.0.2.2
            1 WWW.FRONT A: NoError 10.0.1.2
            1 tasks.web.front A: NoError 10.0.1.5
            1 www.back A: forward to Host
            1 web.1.back A: NoError 10.0.2.5
            1 db.front A: forward to Host
            1 db.back A: NoError 10.0.2.11 10.0.2.12
            1 box.front A: NoError 10.0.1.20
            1 front A: forward to Host
            1 web.vault A: forward to Host
        "#]],
    );
}

#[test]
fn names_of_networks_the_asker_is_not_on_are_unknown() {
    check(
        &[
            "302 web A",
            "302 web.front A",
            "302 box A",
            "302 safe A",
            "302 web.1 A",
            "302 db A",
            "503 safe A",
            "503 web A",
            "503 example.com A",
            "604 web A",
            "604 example.com A",
            "805 web A",
            "805 example.com A",
            "99 web A",
        ],
        expect![[r#"
            302 web A: NoError 10.0.2.2
            302 web.front A: forward to Host
            302 box A: forward to Host
            302 safe A: forward to Host
            302 web.1 A: NoError 10.0.2.5
            302 db A: NoError 10.0.2.11 10.0.2.12
            503 safe A: NoError 10.0.3.2
            503 web A: NXDomain
            503 example.com A: NXDomain
            604 web A: NoError 10.0.1.2
            604 example.com A: forward to Own { servers: [192.0.2.53], sandbox: Some("/run/sandbox") }
            805 web A: forward to Host
            805 example.com A: forward to Host
            99 web A: stranger
        "#]],
    );
}

#[test]
fn addresses_have_names_and_those_of_overlays_are_never_asked_elsewhere() {
    check(
        &[
            "1 5.1.0.10.in-addr.arpa PTR",
            "1 2.1.0.10.in-addr.arpa PTR",
            "1 20.1.0.10.in-addr.arpa PTR",
            "1 12.2.0.10.IN-ADDR.ARPA PTR",
            "1 99.1.0.10.in-addr.arpa PTR",
            "1 2.3.0.10.in-addr.arpa PTR",
            "1 5.1.0.10.in-addr.arpa A",
            "1 1.2.0.192.in-addr.arpa PTR",
            "1 1.0.10.in-addr.arpa PTR",
            "1 5.5.1.0.10.in-addr.arpa PTR",
            "1 300.1.0.10.in-addr.arpa PTR",
            "503 1.2.0.192.in-addr.arpa PTR",
        ],
        expect![[r#"
            1 5.1.0.10.in-addr.arpa PTR: NoError web.1.web-1-active.front.
            1 2.1.0.10.in-addr.arpa PTR: NoError web.front.
            1 20.1.0.10.in-addr.arpa PTR: NoError box.front.
            1 12.2.0.10.IN-ADDR.ARPA PTR: NoError db.2.db-2-active.back.
            1 99.1.0.10.in-addr.arpa PTR: NXDomain
            1 2.3.0.10.in-addr.arpa PTR: NXDomain
            1 5.1.0.10.in-addr.arpa A: NoError
            1 1.2.0.192.in-addr.arpa PTR: forward to Host
            1 1.0.10.in-addr.arpa PTR: forward to Host
            1 5.5.1.0.10.in-addr.arpa PTR: forward to Host
            1 300.1.0.10.in-addr.arpa PTR: forward to Host
            503 1.2.0.192.in-addr.arpa PTR: NXDomain
        "#]],
    );
}

#[test]
fn a_named_port_tells_where_it_is() {
    check(
        &[
            "1 _http._tcp.web SRV",
            "1 _http._tcp.web.front SRV",
            "1 _http._udp.web SRV",
            "1 _http._tcp.web A",
            "1 web SRV",
        ],
        expect![[r#"
            1 _http._tcp.web SRV: NoError web.back.:80 +web.back.=10.0.2.2
            1 _http._tcp.web.front SRV: NoError web.front.:80 +web.front.=10.0.1.2
            1 _http._udp.web SRV: forward to Host
            1 _http._tcp.web A: NoError 10.0.2.2
            1 web SRV: NoError
        "#]],
    );
}

#[test]
fn a_known_name_without_the_asked_kind_has_no_data() {
    check(
        &[
            "1 web AAAA",
            "1 web MX",
            "1 web TXT",
            "1 web HTTPS",
            "1 none AAAA",
            "1 web ANY",
            "1 tasks.db ANY",
            "1 nowhere ANY",
            "503 nowhere ANY",
        ],
        expect![[r#"
            1 web AAAA: NoError
            1 web MX: NoError
            1 web TXT: NoError
            1 web HTTPS: NoError
            1 none AAAA: NoError
            1 web ANY: NoError 10.0.2.2
            1 tasks.db ANY: NoError 10.0.2.11 10.0.2.12
            1 nowhere ANY: Refused
            503 nowhere ANY: Refused
        "#]],
    );
}

#[test]
fn transfers_and_other_classes_are_refused() {
    let zone = World::of(WORLD).zone();
    let mut chaos = query("version.bind TXT");
    let end = chaos.len();
    chaos[end - 1] = 3;
    assert_eq!(ask_bytes(&zone, WEB, &chaos, Transport::Udp), "Refused");
    check(
        &["1 web AXFR", "1 web 251", "1 example.com AXFR", "1 . 41", "1 . NS"],
        expect![[r#"
        1 web AXFR: Refused
        1 web 251: Refused
        1 example.com AXFR: Refused
        1 . 41: Refused
        1 . NS: forward to Host
    "#]],
    );
}

#[test]
fn an_internal_only_task_is_told_at_once_that_there_is_no_such_name() {
    let zone = World::of(WORLD).zone();
    for name in ["example.com A", "com NS", "intranet AAAA", "1.2.0.192.in-addr.arpa PTR"] {
        assert_eq!(ask(&zone, SAFE, name), "NXDomain", "{name}");
    }
}

#[test]
fn addresses_take_turns_at_coming_first() {
    let zone = World::of(WORLD).zone();
    let asker = zone.asker(WEB).unwrap();
    let first = |turn| {
        let mut out = Vec::new();
        answer(&query("db A"), Transport::Udp, (&zone, asker), turn, &mut out);
        text_of(&out)
    };
    assert_eq!(first(0), "NoError 10.0.2.11 10.0.2.12");
    assert_eq!(first(1), "NoError 10.0.2.12 10.0.2.11");
    assert_eq!(first(u32::MAX), first(1));
}

/// A service of `count` tasks without a VIP.
fn wide(count: u32) -> Zone {
    let mut text = "network net 10.1.0.0/16\nservice wide dnsrr net=-\nasker 1 t net\n".to_owned();
    for number in 1..=count {
        let addr = Ipv4Addr::from(0x0a01_0000 + number);
        text += &format!("task wide.{number} active net={addr}\n");
    }
    World::of(&text).zone()
}

#[test]
fn what_does_not_fit_a_datagram_is_cut_and_said_so() {
    let zone = wide(200);
    let count = |text: &str, transport| {
        let mut out = Vec::new();
        answer(&query(text), transport, (&zone, zone.asker(1).unwrap()), 0, &mut out);
        let message = Message::from_vec(&out).unwrap();
        (out.len(), message.answers.len(), message.metadata.truncation)
    };
    let few = wide(28);
    assert_eq!(ask(&few, 1, "wide A").matches("10.1.").count(), 28);
    assert!(!ask(&few, 1, "wide A").contains("TC"), "28 addresses fit the smallest datagram");
    let (length, answers, cut) = count("wide A", Transport::Udp);
    assert!(length <= 512 && cut && answers == 30, "{length} {answers}");
    let (length, answers, cut) = count("wide A edns:4096", Transport::Udp);
    assert!(length <= 1_232 && cut && answers == 74, "{length} {answers}");
    let (_, answers, cut) = count("wide A edns:0", Transport::Udp);
    assert!(cut && answers == 29, "{answers}");
    assert_eq!(count("wide A", Transport::Tcp).1, 200);
    assert!(!count("wide A", Transport::Tcp).2);
}

#[test]
fn edns_is_answered_in_kind() {
    let zone = World::of(WORLD).zone();
    let reply = |bytes: &[u8]| {
        let mut out = Vec::new();
        answer(bytes, Transport::Udp, (&zone, zone.asker(WEB).unwrap()), 0, &mut out);
        Message::from_vec(&out).unwrap()
    };
    assert!(reply(&query("web A")).edns.is_none());
    let edns = reply(&query("web A edns:65535")).edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1_232));
    let mut newer = query("web A edns:1232");
    let end = newer.len();
    newer[end - 5] = 1; // the version
    let refused = reply(&newer);
    assert_eq!(u16::from(refused.metadata.response_code), 16);
    assert!(refused.answers.is_empty() && refused.edns.is_some());
}

/// A message of a header with these counts and a body.
fn raw(flags: u8, counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, flags, 0];
    counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
    bytes.extend(body);
    bytes
}

#[test]
fn what_is_no_query_gets_an_error_or_nothing() {
    let zone = World::of(WORLD).zone();
    let web = b"\x03web\x00\x00\x01\x00\x01";
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let long_label = [&[64][..], &[b'a'; 64], b"\x00\x00\x01\x00\x01"].concat();
    let long_name =
        [&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4)[..], b"\0\0\x01\0\x01"].concat();
    let two_opt = [&web[..], opt, opt].concat();
    let tail = [&web[..], b"x"].concat();
    let cut_opt = [&web[..], &opt[..6]].concat();
    let named_opt = [&web[..], b"\x01a", opt].concat();
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("nothing", vec![], "drop"),
        ("half a header", vec![0; 11], "drop"),
        ("a reply", raw(0x80, [1, 0, 0, 0], web), "drop"),
        ("no question", raw(0, [0; 4], b""), "FormErr"),
        ("a missing question", raw(0, [1, 0, 0, 0], b""), "FormErr"),
        ("two questions", raw(0, [2, 0, 0, 0], &web.repeat(2)), "FormErr"),
        ("65,535 questions", raw(0, [65_535, 0, 0, 0], web), "FormErr"),
        ("65,535 records", raw(0, [1, 65_535, 65_535, 65_535], web), "FormErr"),
        ("a pointer to itself", raw(0, [1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"), "FormErr"),
        ("a pointer forward", raw(0, [1, 0, 0, 0], b"\xc0\x20\0\x01\0\x01"), "FormErr"),
        ("a label of 64", raw(0, [1, 0, 0, 0], &long_label), "FormErr"),
        ("a name of 257", raw(0, [1, 0, 0, 0], &long_name), "FormErr"),
        ("a name without end", raw(0, [1, 0, 0, 0], b"\x03web"), "FormErr"),
        ("no class", raw(0, [1, 0, 0, 0], b"\x03web\0\0\x01"), "FormErr"),
        ("two OPT", raw(0, [1, 0, 0, 2], &two_opt), "FormErr"),
        ("OPT as an answer", raw(0, [1, 1, 0, 0], &two_opt[..web.len() + 11]), "FormErr"),
        ("OPT with a name", raw(0, [1, 0, 0, 1], &named_opt), "FormErr"),
        ("half an OPT", raw(0, [1, 0, 0, 1], &cut_opt), "FormErr"),
        ("bytes behind the end", raw(0, [1, 0, 0, 0], &tail), "FormErr"),
        ("inverse query", raw(0x08, [1, 0, 0, 0], web), "NotImp"),
        ("status", raw(0x10, [1, 0, 0, 0], web), "NotImp"),
        ("notify", raw(0x20, [1, 0, 0, 0], web), "NotImp"),
        ("update", raw(0x28, [1, 0, 0, 0], web), "NotImp"),
        ("plain", raw(0, [1, 0, 0, 0], web), "NoError 10.0.2.2"),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(ask_bytes(&zone, WEB, bytes, Transport::Udp), *expected, "{what}");
    }
}

#[test]
fn a_reply_repeats_id_question_and_wish_as_they_were_asked() {
    let zone = World::of(WORLD).zone();
    let asked = query("wEb A");
    let mut out = Vec::new();
    answer(&asked, Transport::Udp, (&zone, zone.asker(WEB).unwrap()), 0, &mut out);
    assert_eq!(out[..2], asked[..2]);
    assert_eq!(out[12..asked.len()], asked[12..]);
    assert_eq!(out[2..4], [0x85, 0x80], "a reply, authoritative, recursion desired and available");
}

/// Addresses in a reply.
fn addresses(reply: &[u8]) -> Vec<Ipv4Addr> {
    let message = Message::from_vec(reply).unwrap();
    let records = message.answers.iter().chain(&message.additionals);
    let addr = |data: &RData| if let RData::A(addr) = data { Some(addr.0) } else { None };
    records.filter_map(|record| addr(&record.data)).collect()
}

proptest! {
    #[test]
    fn no_bytes_make_it_fall_over_and_replies_can_be_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        like_a_query in any::<bool>(),
        turn in any::<u32>(),
        tcp in any::<bool>(),
    ) {
        let zone = World::of(WORLD).zone();
        let mut bytes = bytes;
        if like_a_query && bytes.len() > 12 {
            bytes[2] &= 0x01;
            let additional = bytes[11] & 1;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, additional]);
        }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut out = Vec::new();
        let asker = zone.asker(WEB).unwrap();
        if let Verdict::Reply(_) = answer(&bytes, transport, (&zone, asker), turn, &mut out) {
            prop_assert!(Message::from_vec(&out).is_ok(), "{out:?}");
            prop_assert_eq!(&out[..2], &bytes[..2]);
        }
    }

    #[test]
    fn no_question_brings_an_address_of_a_network_the_asker_is_not_on(
        labels in proptest::collection::vec(
            prop::sample::select(vec![
                "web", "www", "db", "sql", "safe", "box", "toolbox", "tasks", "1", "2", "front",
                "back", "vault", "web-1-active", "_http", "_tcp", "idle", "10", "0", "3", "in-addr",
                "arpa", "WEB",
            ]),
            1..6,
        ),
        kind in prop::sample::select(vec!["A", "ANY", "SRV", "PTR", "AAAA"]),
        asker in prop::sample::select(vec![
            (1_u32, vec!["10.0.1.", "10.0.2."]),
            (302, vec!["10.0.2."]),
            (503, vec!["10.0.3."]),
            (604, vec!["10.0.1."]),
            (805, vec![]),
        ]),
    ) {
        let zone = World::of(WORLD).zone();
        let message = query(&format!("{} {kind}", labels.join(".")));
        let mut out = Vec::new();
        let (lidx, visible) = asker;
        let who = zone.asker(lidx).unwrap();
        if let Verdict::Reply(_) = answer(&message, Transport::Udp, (&zone, who), 0, &mut out) {
            for addr in addresses(&out) {
                let text = addr.to_string();
                prop_assert!(visible.iter().any(|prefix| text.starts_with(prefix)), "{text}");
            }
        }
    }
}
