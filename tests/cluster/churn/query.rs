//! Pure: a DNS question for an address, and what its answer says.

use std::net::Ipv4Addr;

const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// Returns a query for the IPv4 addresses of a name.
pub(super) fn question(name: &str) -> Vec<u8> {
    question_for(name, TYPE_A)
}

/// Returns a query for records of a type.
pub(crate) fn question_for(name: &str, kind: u16) -> Vec<u8> {
    // Id, recursion desired, one question.
    let mut bytes = vec![0x5e, 0xed, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("labels of names are short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes
}

/// Returns the response code and the IPv4 addresses of an answer; `None` if it cannot be read.
pub(crate) fn addresses(answer: &[u8]) -> Option<(String, Vec<Ipv4Addr>)> {
    let code = answer.get(3)? & 0x0f;
    let [questions, answers] = [4, 6].map(|at| number(answer, at));
    let mut at = 12;
    for _ in 0..questions? {
        at = after_name(answer, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers? {
        at = after_name(answer, at)?;
        let length = usize::from(number(answer, at + 8)?);
        let data = answer.get(at + 10..at + 10 + length)?;
        if number(answer, at)? == TYPE_A {
            found.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?));
        }
        at += 10 + length;
    }
    let code = match code {
        0 => "ok".to_owned(),
        3 => "nxdomain".to_owned(),
        other => other.to_string(),
    };
    Some((code, found))
}

/// Returns the name that a query asks for.
pub(crate) fn name(query: &[u8]) -> Option<String> {
    let (mut at, mut labels) = (12, Vec::new());
    while *query.get(at)? > 0 {
        let end = at + 1 + usize::from(*query.get(at)?);
        labels.push(String::from_utf8_lossy(query.get(at + 1..end)?).into_owned());
        at = end;
    }
    Some(labels.join("."))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += length + 1,
        }
    }
}
