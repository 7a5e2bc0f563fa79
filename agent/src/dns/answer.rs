//! Pure: a message and who asks → the reply, or that somebody else must be asked.

use std::net::Ipv4Addr;

use super::message::write_code;
use super::message::{A, ANY, HEADER, IN, META, PTR, Query, Rcode, Reply, SRV, Transport, Unfit};
use super::name::labels;
use super::names::Entry;
use super::zone::{Asker, Upstreams, Zone};

/// What is to be done about a message.
#[derive(Debug)]
pub enum Verdict {
    /// The reply is written.
    Reply(Rcode),
    /// Not ours: an upstream may know.
    Forward(Box<Query>),
    /// It is no query.
    Drop,
}

/// Answers a message into `out`. `turn` chooses who comes first among several addresses.
pub fn answer(
    message: &[u8],
    transport: Transport,
    (zone, asker): (&Zone, &Asker),
    turn: u32,
    out: &mut Vec<u8>,
) -> Verdict {
    let query = match Query::read(message, transport) {
        Ok(query) => query,
        Err(Unfit::Silent) => return Verdict::Drop,
        Err(Unfit::Code(code)) => {
            let Some(header) = message.first_chunk::<HEADER>() else { return Verdict::Drop };
            write_code(header, code, out);
            return Verdict::Reply(code);
        }
    };
    if let Some(code) = refusal(&query) {
        return empty(&query, code, out);
    }
    if let Some(entry) = asker.find(query.name()) {
        return known(&query, entry, turn, out);
    }
    if let Some(verdict) = reverse(&query, zone, asker, out) {
        return verdict;
    }
    match (query.kind, &asker.upstreams) {
        // Everything of a name of which we know nothing: a favourite of attackers, no use to tasks.
        (ANY, _) => empty(&query, Rcode::Refused, out),
        (_, Upstreams::Nobody) => empty(&query, Rcode::NoSuchName, out),
        (_, Upstreams::Host | Upstreams::Own { .. }) => Verdict::Forward(Box::new(query)),
    }
}

/// Writes a reply without records.
pub fn empty(query: &Query, code: Rcode, out: &mut Vec<u8>) -> Verdict {
    Reply::begin(query, code, out).finish();
    Verdict::Reply(code)
}

fn refusal(query: &Query) -> Option<Rcode> {
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return Some(Rcode::BadVersion);
    }
    // Type 41 (OPT) and 0 are no questions.
    let meta = META.contains(&query.kind) || matches!(query.kind, 0 | 41);
    (query.class != IN || meta).then_some(Rcode::Refused)
}

/// A name of the zone exists: what it has not is "no data", never "no such name".
fn known(query: &Query, entry: &Entry, turn: u32, out: &mut Vec<u8>) -> Verdict {
    let mut reply = Reply::begin(query, Rcode::Good, out);
    let in_turn = || rotated(&entry.addresses, turn);
    match query.kind {
        A | ANY => {
            let _ = in_turn().all(|addr| reply.answer(A, &[&addr.octets()]));
        }
        SRV => {
            for port in &entry.ports {
                let data =
                    [&[0, 0, 0, 0], &port.number.to_be_bytes()[..], port.target.as_bytes(), &[0]];
                reply.answer(SRV, &data);
            }
            if let Some(port) = entry.ports.first() {
                let owner = [port.target.as_bytes(), &[0]].concat();
                let _ = in_turn().all(|addr| reply.additional_address(&owner, addr));
            }
        }
        _ => {}
    }
    reply.finish();
    Verdict::Reply(Rcode::Good)
}

/// Answers questions about addresses: of ours always, whoever may see them.
fn reverse(query: &Query, zone: &Zone, asker: &Asker, out: &mut Vec<u8>) -> Option<Verdict> {
    let addr = asked_address(query.name())?;
    let Some(name) = asker.name_of(addr) else {
        return zone.owns(addr).then(|| empty(query, Rcode::NoSuchName, out));
    };
    let mut reply = Reply::begin(query, Rcode::Good, out);
    if matches!(query.kind, PTR | ANY) {
        reply.answer(PTR, &[name.as_bytes(), &[0]]);
    }
    reply.finish();
    Some(Verdict::Reply(Rcode::Good))
}

/// Returns the address that `4.3.2.1.in-addr.arpa` is about.
fn asked_address(name: &[u8]) -> Option<Ipv4Addr> {
    let digits = name.strip_suffix(b"\x07in-addr\x04arpa")?;
    let mut octets = [0; 4];
    let mut parts = labels(digits);
    for octet in octets.iter_mut().rev() {
        *octet = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn rotated(addresses: &[Ipv4Addr], turn: u32) -> impl Iterator<Item = Ipv4Addr> {
    let first = (turn as usize).checked_rem(addresses.len()).unwrap_or_default();
    addresses[first..].iter().chain(&addresses[..first]).copied()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
