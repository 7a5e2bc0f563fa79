//! A node's TLS configurations, replaceable at run time, and the check of a caller's role.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use swarmnet_model::{ClusterId, NodeId, Role};
use tonic::{Request, Status};

use super::identity::{BadSubject, NodeIdentity, PeerIdentity};
use super::pem;

/// Why a node's own certificate, key or root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the node certificate cannot be read")]
    Certificate,
    #[error("the node key cannot be read")]
    Key,
    #[error("the root certificate cannot be read")]
    Root,
    #[error(transparent)]
    Subject(#[from] BadSubject),
    #[error("the node certificate, its key and the root certificate do not fit together")]
    Mismatch(#[source] rustls::Error),
}

/// A node's identity ready for use; clones share it, so that a renewal reaches every user.
#[derive(Clone)]
pub struct TlsContext {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<Current>,
    /// Nodes whose certificates are refused although they are valid.
    removed: ArcSwap<BTreeSet<NodeId>>,
}

struct Current {
    own: PeerIdentity,
    identity: NodeIdentity,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TlsContext {
    /// Checks the identity and builds its configurations.
    ///
    /// # Errors
    /// `IdentityError` says which part cannot be used.
    pub fn new(identity: &NodeIdentity) -> Result<Self, IdentityError> {
        let shared = Shared {
            current: ArcSwap::from_pointee(Current::new(identity)?),
            removed: ArcSwap::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Uses another certificate for every connection made from now on.
    ///
    /// # Errors
    /// `IdentityError`; the present identity stays in use.
    pub fn replace(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        self.shared.current.store(Arc::new(Current::new(identity)?));
        Ok(())
    }

    pub fn node_id(&self) -> NodeId {
        self.shared.current.load().own.node_id.clone()
    }

    pub fn role(&self) -> Role {
        self.shared.current.load().own.role
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.shared.current.load().own.cluster_id.clone()
    }

    /// Returns the identity in use.
    pub fn identity(&self) -> NodeIdentity {
        self.shared.current.load().identity.clone()
    }

    /// Refuses these nodes from the next request on, also on connections that are open already.
    pub fn set_removed(&self, removed: BTreeSet<NodeId>) {
        self.shared.removed.store(Arc::new(removed));
    }

    /// Returns who sent the request if it may make this call.
    ///
    /// # Errors
    /// `Unauthenticated` without a certificate; `PermissionDenied` for another cluster, a role that
    /// is not in `roles`, or a removed node.
    pub fn require<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<PeerIdentity, Status> {
        let Some(peer) = request.extensions().get::<PeerIdentity>() else {
            return Err(Status::unauthenticated("this call needs a node certificate"));
        };
        if peer.cluster_id != self.shared.current.load().own.cluster_id {
            return Err(Status::permission_denied(format!(
                "node {} belongs to cluster {}, which is not this one",
                peer.node_id, peer.cluster_id
            )));
        }
        if self.shared.removed.load().contains(&peer.node_id) {
            return Err(Status::permission_denied(format!(
                "node {} was removed from the swarm",
                peer.node_id
            )));
        }
        if !roles.contains(&peer.role) {
            return Err(Status::permission_denied(format!(
                "a {} may not make this call",
                peer.role.as_str()
            )));
        }
        Ok(peer.clone())
    }

    pub(super) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared.current.load().client)
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shared.current.load().server)
    }
}

impl Current {
    fn new(identity: &NodeIdentity) -> Result<Self, IdentityError> {
        let chain = pem::certificates(identity.certificate_pem.as_bytes())
            .filter(|chain| !chain.is_empty())
            .ok_or(IdentityError::Certificate)?;
        let own = PeerIdentity::from_certificate(&chain[0])?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())
            .map_err(|_| IdentityError::Key)?;
        let roots = roots(identity.root_ca_pem.as_bytes()).ok_or(IdentityError::Root)?;
        Ok(Self {
            own,
            identity: identity.clone(),
            server: Arc::new(server_config(&roots, chain.clone(), key.clone_key())?),
            client: Arc::new(client_config(&roots, chain, key)?),
        })
    }
}

/// ring, whose cipher suites are all ECDHE with AEAD.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

pub(super) fn roots(bundle: &[u8]) -> Option<Arc<RootCertStore>> {
    let certificates = pem::certificates(bundle).filter(|found| !found.is_empty())?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).ok()?;
    }
    Some(Arc::new(roots))
}

/// A client certificate is optional here: a joiner has none yet. `require` is what admits.
fn server_config(
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, IdentityError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|_| IdentityError::Root)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(IdentityError::Mismatch)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(IdentityError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn client_config(
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, IdentityError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
        .build()
        .map_err(|_| IdentityError::Root)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(IdentityError::Mismatch)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(IdentityError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
