//! Pure: reads one query, writes one reply behind the question as it was asked.
//!
//! By hand, because every query of every task passes here: nothing is allocated but the reply.

use std::net::Ipv4Addr;

use super::name::NAME_MAX;

/// Bytes of a message header.
pub const HEADER: usize = 12;
/// Bytes of a reply over UDP to who has not said what it can take (RFC 1035).
const UDP_PLAIN: usize = 512;
/// Largest reply over UDP: fits every link on the way in one piece, as later fragments name no port
/// by which they could be brought back to the task.
pub const UDP_MAX: u16 = 1_232;
/// Largest reply over TCP.
pub const TCP_MAX: usize = 65_535;
/// Bytes of an OPT record without options.
pub const OPT: usize = 11;
/// Seconds a client may keep an answer. A backend that goes is withdrawn within half a second, so
/// this is the longest that a client follows an old answer; below it clients ask before each call.
const TTL: u32 = 2;
/// A pointer to the name of the question.
pub const ASKED: &[u8] = &[0xc0, 0x0c];

pub const IN: u16 = 1;
pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const SRV: u16 = 33;
const OPT_TYPE: u16 = 41;
/// Zone transfers and the types that are no data, `*` (255) not among them.
pub const META: std::ops::RangeInclusive<u16> = 249..=254;
pub const ANY: u16 = 255;

/// What became of a query, as its reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rcode {
    Good = 0,
    Malformed = 1,
    Failed = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
    BadVersion = 16,
}

/// How the query came, which says how long the reply may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What the client says of itself by EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    pub udp_size: u16,
    pub version: u8,
    pub dnssec_ok: bool,
}

/// One well-formed query with one question.
#[derive(Clone, Debug)]
pub struct Query {
    header: [u8; HEADER],
    /// As it was asked, with its root label; clients compare the case.
    asked: [u8; NAME_MAX + 1],
    /// The same in lower case.
    lower: [u8; NAME_MAX + 1],
    length: usize,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns>,
    pub transport: Transport,
}

/// Why a message is no query that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Too short for a reply to be addressed to, or itself a reply: two resolvers would go on for ever.
    Silent,
    /// Answered with this code and nothing else.
    Code(Rcode),
}

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no query with exactly one question.
    pub fn read(message: &[u8], transport: Transport) -> Result<Self, Unfit> {
        let header: [u8; HEADER] = *message.first_chunk().ok_or(Unfit::Silent)?;
        if header[2] & 0x80 != 0 {
            return Err(Unfit::Silent);
        }
        if header[2] & 0x78 != 0 {
            return Err(Unfit::Code(Rcode::NotImplemented));
        }
        read_sections(message, header, transport).ok_or(Unfit::Code(Rcode::Malformed))
    }

    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// The client wants more than what we know (`RD`).
    pub fn recursion_desired(&self) -> bool {
        self.header[2] & 0x01 != 0
    }

    /// The client wants unchecked data (`CD`).
    pub fn checking_disabled(&self) -> bool {
        self.header[3] & 0x10 != 0
    }

    /// Returns the name in lower case, without its root label.
    pub fn name(&self) -> &[u8] {
        &self.lower[..self.length - 1]
    }

    /// Returns the name as it was asked, without its root label.
    pub fn asked(&self) -> &[u8] {
        &self.asked[..self.length - 1]
    }

    /// Returns the longest reply the client takes.
    pub fn limit(&self) -> usize {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => TCP_MAX,
            (Transport::Udp, None) => UDP_PLAIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.udp_size.min(UDP_MAX)).max(UDP_PLAIN),
        }
    }
}

/// Bytes of a message that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    /// Takes a name without pointers, root label included: nothing stands before a question.
    fn whole_name(&mut self) -> Option<&'a [u8]> {
        let start = self.0;
        let mut length = 1;
        loop {
            match *self.take(1)?.first()? {
                0 => return start.get(..length),
                label @ 1..=63 => {
                    self.take(usize::from(label))?;
                    length += 1 + usize::from(label);
                    if length > NAME_MAX + 1 {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    /// Passes over the name of a record; returns whether it is the root.
    fn pass_name(&mut self) -> Option<bool> {
        let mut root = true;
        loop {
            match *self.take(1)?.first()? {
                0 => return Some(root),
                label @ 1..=63 => self.take(usize::from(label))?,
                0xc0..=0xff => {
                    self.take(1)?;
                    return Some(false);
                }
                _ => return None,
            };
            root = false;
        }
    }
}

fn read_sections(message: &[u8], header: [u8; HEADER], transport: Transport) -> Option<Query> {
    let mut reader = Reader(&message[4..]);
    let [questions, answers, authorities, additional] =
        [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    if questions != 1 {
        return None;
    }
    let name = reader.whole_name()?;
    let (kind, class) = (reader.u16()?, reader.u16()?);
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        if read_record(&mut reader)?.is_some() {
            return None;
        }
    }
    let mut edns = None;
    for _ in 0..additional {
        if let Some(found) = read_record(&mut reader)?
            && edns.replace(found).is_some()
        {
            return None;
        }
    }
    let mut asked = [0; NAME_MAX + 1];
    asked[..name.len()].copy_from_slice(name);
    let lower = asked.map(|byte| byte.to_ascii_lowercase());
    let whole = reader.0.is_empty();
    let query = Query { header, asked, lower, length: name.len(), kind, class, edns, transport };
    whole.then_some(query)
}

/// Passes over a record; returns what it says if it is an OPT.
fn read_record(reader: &mut Reader<'_>) -> Option<Option<Edns>> {
    let root = reader.pass_name()?;
    let (kind, class) = (reader.u16()?, reader.u16()?);
    let [_, version, flags, _] = *reader.take(4)?.first_chunk()?;
    let length = reader.u16()?;
    reader.take(usize::from(length))?;
    let edns = Edns { udp_size: class, version, dnssec_ok: flags & 0x80 != 0 };
    match (kind == OPT_TYPE, root) {
        (true, false) => None,
        (is_opt, _) => Some(is_opt.then_some(edns)),
    }
}

/// Writes a reply of nothing but a code to a message of which only the header was understood.
pub fn write_code(message: &[u8; HEADER], code: Rcode, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&message[..2]);
    out.extend_from_slice(&[0x80 | (message[2] & 0x79), code as u8]);
    out.extend_from_slice(&[0; 8]);
}

/// A reply being written; records that do not fit are left out.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    query: &'a Query,
    room: usize,
    code: Rcode,
    answers: u16,
    additional: u16,
    truncated: bool,
}

impl<'a> Reply<'a> {
    /// Begins with the header and the question.
    pub fn begin(query: &'a Query, code: Rcode, out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&query.header[..4]);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&query.asked[..query.length]);
        out.extend_from_slice(&query.kind.to_be_bytes());
        out.extend_from_slice(&query.class.to_be_bytes());
        let room = query.limit() - if query.edns.is_some() { OPT } else { 0 };
        Self { out, query, room, code, answers: 0, additional: 0, truncated: false }
    }

    /// Adds an answer; says whether it had room. One that has none makes the reply truncated.
    pub fn answer(&mut self, kind: u16, data: &[&[u8]]) -> bool {
        let fits = self.record(ASKED, kind, data);
        self.answers += u16::from(fits);
        self.truncated |= !fits;
        fits
    }

    /// Adds the address of a name that an answer speaks of, if there is room.
    pub fn additional_address(&mut self, owner: &[u8], addr: Ipv4Addr) -> bool {
        let fits = self.record(owner, A, &[&addr.octets()]);
        self.additional += u16::from(fits);
        fits
    }

    fn record(&mut self, owner: &[u8], kind: u16, data: &[&[u8]]) -> bool {
        let length: usize = data.iter().map(|part| part.len()).sum();
        let Ok(data_length) = u16::try_from(length) else { return false };
        if self.out.len() + owner.len() + 10 + length > self.room {
            return false;
        }
        self.out.extend_from_slice(owner);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&IN.to_be_bytes());
        self.out.extend_from_slice(&TTL.to_be_bytes());
        self.out.extend_from_slice(&data_length.to_be_bytes());
        data.iter().for_each(|part| self.out.extend_from_slice(part));
        true
    }

    /// Ends the reply: flags, counts, and EDNS for those who speak it.
    pub fn finish(self) {
        let truncated = if self.truncated { 0x02 } else { 0 };
        // A reply that knows: authoritative, and recursion is available (some clients go on to the
        // next server otherwise when there is no address).
        self.out[2] = 0x84 | truncated | (self.query.header[2] & 0x01);
        self.out[3] = 0x80 | (self.query.header[3] & 0x10) | (self.code as u8 & 0x0f);
        self.out[6..8].copy_from_slice(&self.answers.to_be_bytes());
        self.out[10..12].copy_from_slice(&self.additional.to_be_bytes());
        append_edns(self.query, self.code, self.out);
    }
}

/// Appends the EDNS record to a written reply, if the client speaks EDNS.
pub fn append_edns(query: &Query, code: Rcode, out: &mut Vec<u8>) {
    let Some(edns) = query.edns else { return };
    let size = UDP_MAX.to_be_bytes();
    let flags = if edns.dnssec_ok { 0x80 } else { 0 };
    out.extend_from_slice(&[0, 0, 41, size[0], size[1], code as u8 >> 4, 0, flags, 0, 0, 0]);
    let additional = u16::from_be_bytes([out[10], out[11]]) + 1;
    out[10..12].copy_from_slice(&additional.to_be_bytes());
}
