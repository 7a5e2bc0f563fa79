//! Pure: what an upstream said → the reply to one client.

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

use super::Found;
use super::exchange::question_of;
use crate::dns::message::{OPT, Query, Rcode, append_edns};

/// Writes the reply: the client's question, lives shortened by the time in the cache, no more than
/// the client takes. `None` if it cannot be written.
pub(super) fn write(query: &Query, found: &Found, out: &mut Vec<u8>) -> Option<()> {
    let code = found.message.metadata.response_code;
    // What needs EDNS to be said is between an upstream and us.
    if code.high() != 0 {
        return None;
    }
    let age = u32::try_from(found.at.elapsed().as_secs()).unwrap_or(u32::MAX);
    let mut reply = Message::response(query.id(), OpCode::Query);
    reply.metadata.recursion_desired = query.recursion_desired();
    reply.metadata.checking_disabled = query.checking_disabled();
    reply.metadata.recursion_available = true;
    reply.metadata.authentic_data = found.message.metadata.authentic_data;
    reply.metadata.response_code = code;
    reply.add_query(question_of(query.asked(), query.kind)?);
    let aged = |record: &Record| {
        let mut record = record.clone();
        record.ttl = record.ttl.saturating_sub(age);
        record
    };
    reply.answers = found.message.answers.iter().map(aged).collect();
    // Who gets an answer has no use for who gave it, except to check signatures.
    if reply.answers.is_empty() || query.edns.is_some_and(|edns| edns.dnssec_ok) {
        reply.authorities = found.message.authorities.iter().map(aged).collect();
    }
    out.clear();
    let room = query.limit() - if query.edns.is_some() { OPT } else { 0 };
    let mut encoder = BinEncoder::new(out);
    encoder.set_max_size(u16::try_from(room).ok()?);
    reply.emit(&mut encoder).ok()?;
    // The encoder leaves the beginning of a record that did not fit.
    encoder.trim();
    append_edns(query, Rcode::Good, out);
    Some(())
}
