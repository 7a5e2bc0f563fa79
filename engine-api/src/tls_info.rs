//! Pure: the public facts of the cluster's certificate authority, as `TLSInfo` shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// `TLSInfo` of the swarm and of every node: all trust the one root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TlsInfo {
    pub(crate) trust_root: String,
    /// Base64 of the root's subject in DER.
    pub(crate) cert_issuer_subject: String,
    /// Base64 of the root's public key info in DER.
    pub(crate) cert_issuer_public_key: String,
}

impl TlsInfo {
    /// Reads the root certificate; what cannot be read is shown empty.
    pub(crate) fn of(certificate_pem: &str) -> Self {
        let (subject, key) = subject_and_key(certificate_pem).unwrap_or_default();
        Self {
            trust_root: certificate_pem.to_owned(),
            cert_issuer_subject: subject,
            cert_issuer_public_key: key,
        }
    }
}

fn subject_and_key(pem: &str) -> Option<(String, String)> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body.trim()).ok()?;
    let certificate = Element::read(&der)?.content;
    let mut fields = Element::read(certificate)?.content;
    // TBSCertificate: [0] version, serial, signature, issuer, validity, subject, public key.
    let mut next = || {
        let element = Element::read(fields)?;
        fields = element.rest;
        Some(element)
    };
    if next()?.tag == CONTEXT_0 {
        next()?;
    }
    next()?;
    next()?;
    next()?;
    let subject = next()?.whole;
    let key = next()?.whole;
    Some((STANDARD.encode(subject), STANDARD.encode(key)))
}

/// Tag of an explicit `[0]` (X.690, 8.1.2).
const CONTEXT_0: u8 = 0xa0;

/// One DER element (X.690, 8.1).
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let (&tag, after_tag) = input.split_first()?;
        let (&first, after_first) = after_tag.split_first()?;
        let (length, header) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            let count = usize::from(first & 0x7f);
            let bytes = after_first.get(..count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + count)
        };
        let whole = input.get(..header.checked_add(length)?)?;
        Some(Self { tag, whole, content: &whole[header..], rest: &input[whole.len()..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root certificate made for this test: P-256, CN `swarm-ca`.
    const ROOT: &str = include_str!("../tests/fixtures/root.pem");

    #[test]
    fn subject_and_key_are_read_from_the_root() {
        let info = TlsInfo::of(ROOT);
        assert_eq!(info.cert_issuer_subject, "MBMxETAPBgNVBAMMCHN3YXJtLWNh");
        assert!(info.cert_issuer_public_key.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"));
        assert_eq!(info.trust_root, ROOT);
    }

    #[test]
    fn a_cut_certificate_is_shown_without_its_facts() {
        for cut in [0, 30, 90, 200] {
            let info = TlsInfo::of(&ROOT[..cut]);
            assert_eq!(info.cert_issuer_public_key, "", "cut at {cut}");
        }
    }
}
