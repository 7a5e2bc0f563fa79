//! Frames as text, both ways: `tcp 10.0.1.3:4000 > 10.0.1.4:80 S ttl=64`.
//!
//! Rendering verifies every checksum by recomputing it and says `BAD-…-SUM` where one is wrong.
//! Options when building: `ttl=`, `len=` (payload), `id=` (IP id, and echo identifier), `df`,
//! `frag=first|later|last|overlap`, `opts` and `opts=N` (words of IP options), `mtu=` (of needfrag),
//! `cut=N` (the frame ends N bytes after the Ethernet header), `iplen=N` (the total length it
//! claims), `badsum`, `badipsum`, `zerosum`. An ICMP error quotes a packet:
//! `unreach A > B about (tcp …)`.

use std::net::Ipv4Addr;

const IP: usize = 14;

/// One's complement sum, as in the IP header.
pub(crate) fn checksum(chunks: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for chunk in chunks {
        for pair in chunk.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) fn pseudo(src: [u8; 4], dst: [u8; 4], proto: u8, len: usize) -> Vec<u8> {
    let len = (len as u16).to_be_bytes();
    [&src[..], &dst[..], &[0, proto], &len].concat()
}

#[derive(Default)]
struct Options {
    ttl: u8,
    len: usize,
    id: u16,
    flags: u8,
    fragment: u16,
    option_words: usize,
    mtu: u16,
    cut: Option<usize>,
    total: Option<u16>,
    bad_sum: bool,
    bad_ip_sum: bool,
    zero_sum: bool,
}

fn options(tokens: &[&str]) -> Options {
    let mut o = Options { ttl: 64, len: 4, id: 7, ..Options::default() };
    for token in tokens {
        match token.split_once('=') {
            Some(("ttl", v)) => o.ttl = v.parse().unwrap(),
            Some(("len", v)) => o.len = v.parse().unwrap(),
            Some(("id", v)) => o.id = v.parse().unwrap(),
            Some(("mtu", v)) => o.mtu = v.parse().unwrap(),
            Some(("opts", v)) => o.option_words = v.parse().unwrap(),
            Some(("cut", v)) => o.cut = Some(v.parse().unwrap()),
            Some(("iplen", v)) => o.total = Some(v.parse().unwrap()),
            // offsets in units of 8 bytes, beside "more fragments"
            Some(("frag", "first")) => o.fragment |= 0x2000,
            Some(("frag", "later")) => o.fragment |= 0x2010,
            Some(("frag", "last")) => o.fragment |= 0x0020,
            Some(("frag", "overlap")) => o.fragment |= 0x2001,
            None if *token == "df" => o.fragment |= 0x4000,
            None if *token == "opts" => o.option_words = 1,
            None if *token == "badsum" => o.bad_sum = true,
            None if *token == "badipsum" => o.bad_ip_sum = true,
            None if *token == "zerosum" => o.zero_sum = true,
            None => o.flags = token.bytes().fold(0, |f, b| f | flag(b)),
            other => panic!("unknown option {other:?}"),
        }
    }
    o
}

fn flag(name: u8) -> u8 {
    match name {
        b'F' => 1,
        b'S' => 2,
        b'R' => 4,
        b'A' => 16,
        b'-' => 0,
        other => panic!("unknown TCP flag {}", other as char),
    }
}

fn address(text: &str) -> ([u8; 4], u16) {
    let (addr, port) = text.split_once(':').unwrap_or((text, "0"));
    let addr: Ipv4Addr = addr.parse().unwrap_or_else(|_| panic!("address {addr}"));
    (addr.octets(), port.parse().unwrap())
}

/// Builds an Ethernet frame.
pub(crate) fn frame(text: &str, src: [u8; 6], dst: [u8; 6]) -> Vec<u8> {
    let (kind, rest) = text.split_once(' ').expect("kind of frame");
    let (ethertype, body) = match kind {
        "arp" => (0x0806_u16, arp(rest)),
        "ethertype" => (u16::from_str_radix(rest, 16).unwrap(), vec![0; 60]),
        // 40 times this byte: 44 has a header too short, 65 the wrong version, 45 an impossible length
        "garbage" => (0x0800, vec![u8::from_str_radix(rest, 16).unwrap(); 40]),
        _ => (0x0800, packet(text)),
    };
    [&dst[..], &src[..], &ethertype.to_be_bytes(), &body].concat()
}

/// `who-has A tell B [sha=x]`, `reply A tell B`.
fn arp(text: &str) -> Vec<u8> {
    let t: Vec<&str> = text.split_whitespace().collect();
    let op = if t[0] == "who-has" { 1 } else { 2 };
    let mac = |addr: [u8; 4]| [2, 0x42, addr[0], addr[1], addr[2], addr[3]];
    let (tpa, spa) = (address(t[1]).0, address(t[3]).0);
    let owner = t.get(4).map_or(spa, |sha| address(sha.strip_prefix("sha=").unwrap()).0);
    let head = [0, 1, 8, 0, 6, 4, 0, op];
    [&head[..], &mac(owner), &spa, &[0; 6], &tpa].concat()
}

/// Builds an IPv4 packet.
pub(crate) fn packet(text: &str) -> Vec<u8> {
    let (main, about) = match text.split_once(" about ") {
        Some((main, about)) => (main, Some(about.trim_matches(['(', ')']))),
        None => (text, None),
    };
    let t: Vec<&str> = main.split_whitespace().collect();
    let ((src, sport), (dst, dport)) = (address(t[1]), address(t[3]));
    let o = options(&t[4..]);
    let payload: Vec<u8> = (0..o.len).map(|i| i as u8).collect();
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    let id = o.id.to_be_bytes();
    let (proto, mut l4, sum_at) = match t[0] {
        "tcp" => {
            let fixed = [0, 0, 0, 9, 0, 0, 0, 5, 0x50, o.flags, 0xff, 0xff, 0, 0, 0, 0];
            (6, [&ports[..], &fixed, &payload].concat(), Some(16))
        }
        "udp" => {
            let len = (8 + o.len as u16).to_be_bytes();
            (17, [&ports[..], &len, &[0, 0], &payload].concat(), Some(6))
        }
        "sctp" => (132, [&ports[..], &[0; 8], &payload].concat(), None),
        "proto47" => (47, payload, None),
        "echo" => (1, [&[8, 0, 0, 0], &id[..], &[0, 1], &payload].concat(), Some(2)),
        "reply" => (1, [&[0, 0, 0, 0], &id[..], &[0, 1], &payload].concat(), Some(2)),
        "unreach" | "needfrag" | "exceeded" => {
            let (kind, code) = match t[0] {
                "unreach" => (3, 3),
                "needfrag" => (3, 4),
                _ => (11, 0),
            };
            let quoted = packet(about.expect("an ICMP error quotes a packet"));
            let quoted = &quoted[..quoted.len().min(usize::from(quoted[0] & 15) * 4 + 8)];
            let mtu = o.mtu.to_be_bytes();
            (1, [&[kind, code, 0, 0, 0, 0][..], &mtu, quoted].concat(), Some(2))
        }
        other => panic!("unknown kind of packet {other}"),
    };
    if o.fragment & 0x1fff != 0 {
        l4 = vec![0xee; o.len.max(16)];
    } else if let Some(at) = sum_at {
        let head = if proto == 1 { Vec::new() } else { pseudo(src, dst, proto, l4.len()) };
        let sum = if o.zero_sum { 0 } else { checksum(&[&head, &l4]) ^ u16::from(o.bad_sum) };
        // for UDP zero means "no sum"
        let sum = if sum == 0 && proto == 17 && !o.zero_sum { 0xffff } else { sum };
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut out = ip_packet(&o, proto, src, dst, &[1, 1, 1, 0].repeat(o.option_words), &l4);
    out.truncate(o.cut.unwrap_or(usize::MAX));
    out
}

fn ip_packet(
    o: &Options,
    proto: u8,
    src: [u8; 4],
    dst: [u8; 4],
    extra: &[u8],
    l4: &[u8],
) -> Vec<u8> {
    let total = o.total.unwrap_or((20 + extra.len() + l4.len()) as u16).to_be_bytes();
    let (id, fragment) = (o.id.to_be_bytes(), o.fragment.to_be_bytes());
    let first = 0x45 + (extra.len() / 4) as u8;
    let head = [&[first, 0][..], &total, &id, &fragment, &[o.ttl, proto, 0, 0], &src, &dst];
    let mut head = [&head.concat()[..], extra].concat();
    let sum = checksum(&[&head]) ^ u16::from(o.bad_ip_sum);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [&head[..], l4].concat()
}

/// Renders a frame and verifies its checksums.
pub(crate) fn text(frame: &[u8]) -> String {
    match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0806 => arp_text(&frame[IP..]),
        0x0800 => packet_text(&frame[IP..], true),
        other => format!("ethertype {other:04x}"),
    }
}

fn arp_text(a: &[u8]) -> String {
    let ip = |at: usize| Ipv4Addr::new(a[at], a[at + 1], a[at + 2], a[at + 3]);
    let kind = if a[7] == 2 { "reply" } else { "who-has" };
    let mac: Vec<String> = a[8..14].iter().map(|b| format!("{b:02x}")).collect();
    format!("arp {kind} {} tell {} mac {}", ip(14), ip(24), mac.join(":"))
}

fn packet_text(p: &[u8], whole: bool) -> String {
    let head = usize::from(p[0] & 15) * 4;
    let ip = |at: usize| Ipv4Addr::new(p[at], p[at + 1], p[at + 2], p[at + 3]);
    let (src, dst) = (ip(12), ip(16));
    let fragment = u16::from_be_bytes([p[6], p[7]]);
    let mut notes = Vec::new();
    if checksum(&[&p[..head]]) != 0 {
        notes.push("BAD-IP-SUM".to_owned());
    }
    if whole && usize::from(u16::from_be_bytes([p[2], p[3]])) != p.len() {
        notes.push("BAD-LENGTH".to_owned());
    }
    let l4 = &p[head..];
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let body = match p[9] {
        _ if fragment & 0x1fff != 0 => format!("later {src} > {dst}"),
        6 => format!("tcp {src}:{} > {dst}:{} {}", port(0), port(2), flags(l4)),
        17 => format!("udp {src}:{} > {dst}:{}", port(0), port(2)),
        132 => format!("sctp {src}:{} > {dst}:{}", port(0), port(2)),
        1 => icmp_text(&src.to_string(), &dst.to_string(), l4),
        other => format!("proto{other} {src} > {dst}"),
    };
    // of a first fragment the builder sums what is there, so that its delta is verified too
    if whole && fragment & 0x1fff == 0 && !l4_sum_is_right(p, l4) {
        notes.push("BAD-L4-SUM".to_owned());
    }
    if whole && p[9] == 17 && fragment & 0x1fff == 0 && l4[6..8] == [0, 0] {
        notes.push("zerosum".to_owned());
    }
    let ttl = if whole && p[8] != 64 { format!(" ttl={}", p[8]) } else { String::new() };
    format!("{}{ttl}{}", body.trim_end(), notes.iter().map(|n| format!(" {n}")).collect::<String>())
}

fn flags(tcp: &[u8]) -> String {
    let Some(bits) = tcp.get(13) else { return String::new() };
    let names = [(2, 'S'), (1, 'F'), (4, 'R'), (16, 'A')];
    let set: String = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, n)| *n).collect();
    if set.is_empty() { "-".to_owned() } else { set }
}

fn icmp_text(src: &str, dst: &str, l4: &[u8]) -> String {
    let id = u16::from_be_bytes([l4[4], l4[5]]);
    match (l4[0], l4[1]) {
        (8, _) => format!("echo {src} > {dst} id={id}"),
        (0, _) => format!("reply {src} > {dst} id={id}"),
        (kind, code) => {
            let name = match (kind, code) {
                (3, 4) => "needfrag",
                (3, _) => "unreach",
                _ => "exceeded",
            };
            let mtu = u16::from_be_bytes([l4[6], l4[7]]);
            let mtu = if mtu == 0 { String::new() } else { format!(" mtu={mtu}") };
            format!("{name} {src} > {dst}{mtu} about ({})", packet_text(&l4[8..], false))
        }
    }
}

fn l4_sum_is_right(p: &[u8], l4: &[u8]) -> bool {
    let four = |at: usize| [p[at], p[at + 1], p[at + 2], p[at + 3]];
    match p[9] {
        17 if l4[6..8] == [0, 0] => true,
        6 | 17 => checksum(&[&pseudo(four(12), four(16), p[9], l4.len()), l4]) == 0,
        1 => checksum(&[l4]) == 0,
        _ => true,
    }
}

/// The frame without what a rewrite may change: MACs, TTL, addresses, ports and their checksums,
/// also those that an ICMP error quotes. Two frames that differ in nothing else are equal here.
pub(crate) fn fixed_part(frame: &[u8]) -> Vec<u8> {
    let mut out = frame.to_vec();
    let mut blank = |range: std::ops::Range<usize>| {
        let len = out.len();
        out[range.start.min(len)..range.end.min(len)].fill(0);
    };
    let l4 = IP + usize::from(frame[IP] & 15) * 4;
    let later = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x1fff != 0;
    blank(0..12);
    blank(IP + 8..IP + 9);
    blank(IP + 10..IP + 20);
    match frame[IP + 9] {
        _ if later => {}
        6 => [l4..l4 + 4, l4 + 16..l4 + 18].into_iter().for_each(blank),
        17 => [l4..l4 + 4, l4 + 6..l4 + 8].into_iter().for_each(blank),
        1 if matches!(frame[l4], 3 | 11 | 12) => {
            let inner = l4 + 8;
            let ports = inner + usize::from(frame[inner] & 15) * 4;
            [l4 + 2..l4 + 4, inner + 10..inner + 20, ports..ports + 4].into_iter().for_each(blank);
        }
        _ => {}
    }
    out
}
