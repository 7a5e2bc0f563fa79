//! A joiner's first contact: fetch the root unverified, pin it by its digest, talk only to that.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tonic::transport::Channel;

use super::client::{connect, lazy_channel};
use super::context::{provider, roots};
use super::pem::{self, RootDigest};
use crate::v1::GetRootRequest;
use crate::v1::ca_client::CaClient;

/// One call over a connection that is up already.
const GET_ROOT_TIMEOUT: Duration = Duration::from_secs(5);
/// A bundle of a few certificates; a stranger must not fill our memory.
const ROOT_BYTES_MAX: usize = 64 << 10;

/// Why the root certificate was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("cannot connect to {addr}: {source}")]
    Unreachable { addr: String, source: std::io::Error },
    #[error("{addr} does not answer as a swarm manager: {status}")]
    NoManager { addr: String, status: Box<tonic::Status> },
    #[error("remote CA does not match fingerprint")]
    Fingerprint,
    #[error("the root certificate cannot be used")]
    BadRoot,
}

/// Fetches the root certificates from `addr` without trust in who answers, and returns them in
/// normalised form if their digest is the expected one.
///
/// # Errors
/// `Fingerprint` if it is another cluster; the others if nobody suitable answers.
pub async fn fetch_root(addr: &str, expected: RootDigest) -> Result<String, JoinError> {
    let config = Arc::new(unverified_config());
    // Connected once by hand, so that a refused connection is told apart from a refused call.
    connect(addr, Arc::clone(&config))
        .await
        .map_err(|source| JoinError::Unreachable { addr: addr.to_owned(), source })?;
    let mut client = CaClient::new(lazy_channel(addr, move || Arc::clone(&config)))
        .max_decoding_message_size(ROOT_BYTES_MAX);
    let refused = |status| JoinError::NoManager { addr: addr.to_owned(), status: Box::new(status) };
    let response = tokio::time::timeout(GET_ROOT_TIMEOUT, client.get_root(GetRootRequest {}))
        .await
        .map_err(|_| refused(tonic::Status::deadline_exceeded("no answer in 5 s")))?
        .map_err(refused)?;
    let text = pem::normalise(&response.into_inner().certificate_pem).ok_or(JoinError::BadRoot)?;
    match RootDigest::of_normalised(&text) == expected {
        true => Ok(text),
        false => Err(JoinError::Fingerprint),
    }
}

/// Returns a channel without a client certificate that talks only to managers of this root.
///
/// # Errors
/// `BadRoot`.
pub fn channel_to_pinned_root(addr: &str, root_ca_pem: &str) -> Result<Channel, JoinError> {
    let roots = roots(root_ca_pem.as_bytes()).ok_or(JoinError::BadRoot)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring supports both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    Ok(lazy_channel(addr, move || Arc::clone(&config)))
}

fn unverified_config() -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring supports both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Believes any certificate. What comes over such a connection is only ever compared with a digest,
/// and nothing secret is sent over it.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
