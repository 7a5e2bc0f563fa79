//! Pure: certificate bundles as text, in the one form that is hashed and used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 over a normalised bundle of root certificates; join tokens carry it.
#[derive(Clone, Copy, Debug)]
pub struct RootDigest(pub [u8; 32]);

impl RootDigest {
    /// Returns the digest of a bundle, over its normalised form; `None` if it holds no certificate
    /// or something that is not one.
    pub fn of_bundle(bundle: &[u8]) -> Option<Self> {
        normalise(bundle).map(|text| Self::of_normalised(&text))
    }

    pub(super) fn of_normalised(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl PartialEq for RootDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RootDigest {}

/// Returns the certificates of a bundle, in order; `None` if a block cannot be decoded.
pub(super) fn certificates(bundle: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(bundle).collect::<Result<_, _>>().ok()
}

/// Returns the bundle with nothing but its certificates: no headers, no text between blocks, lines
/// of 64 characters ended by a line feed. Only this form is hashed and only this form is used, so
/// nothing that was not hashed can be believed.
pub(super) fn normalise(bundle: &[u8]) -> Option<String> {
    let certificates = certificates(bundle).filter(|found| !found.is_empty())?;
    Some(certificates.iter().map(|der| block(der)).collect())
}

fn block(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn the_digest_does_not_depend_on_line_ends_or_text_around_the_blocks() {
        let root = root();
        let unix = root.replace("\r\n", "\n");
        let windows = unix.replace('\n', "\r\n");
        let noisy = format!("# the root\n{unix}trailing words\n");
        let digest = RootDigest::of_bundle(unix.as_bytes()).unwrap();
        assert_eq!(RootDigest::of_bundle(windows.as_bytes()), Some(digest));
        assert_eq!(RootDigest::of_bundle(noisy.as_bytes()), Some(digest));
    }

    #[test]
    fn a_second_certificate_changes_the_digest() {
        let (first, second) = (root(), root());
        let both = format!("{first}{second}");
        assert_ne!(RootDigest::of_bundle(first.as_bytes()), RootDigest::of_bundle(both.as_bytes()));
    }

    #[test]
    fn a_bundle_without_certificates_has_no_digest() {
        assert_eq!(RootDigest::of_bundle(b""), None);
        assert_eq!(RootDigest::of_bundle(b"hello"), None);
        let cut = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert_eq!(RootDigest::of_bundle(cut.as_bytes()), None);
    }
}
