//! Pure: the names in a node's certificate.

use std::net::SocketAddr;

use swarmnet_model::{ClusterId, NodeId, Role, SecretText};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

/// Who is at the other end, from its verified certificate. An extension of every request whose
/// sender showed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// CN.
    pub node_id: NodeId,
    /// OU.
    pub role: Role,
    /// O.
    pub cluster_id: ClusterId,
}

/// Address the request came from; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What a node shows and believes: its certificate, its key, the cluster's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    pub certificate_pem: String,
    pub key_pem: SecretText,
    pub root_ca_pem: String,
}

/// A certificate whose subject does not name a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSubject {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate's subject does not have exactly one {part}")]
    NotOne { part: &'static str },
    #[error("the certificate's OU {unit:?} is neither swarm-manager nor swarm-worker")]
    UnknownRole { unit: String },
}

impl PeerIdentity {
    /// Reads the names of a certificate (DER).
    ///
    /// # Errors
    /// `BadSubject` unless CN, OU and O occur exactly once each and OU is a role: a certificate with
    /// both roles must not pass as either.
    pub fn from_certificate(der: &[u8]) -> Result<Self, BadSubject> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| BadSubject::Unreadable)?;
        let subject = certificate.subject();
        let unit = one("OU", subject.iter_organizational_unit())?;
        let role = [Role::Worker, Role::Manager]
            .into_iter()
            .find(|role| role.organizational_unit() == unit)
            .ok_or_else(|| BadSubject::UnknownRole { unit: unit.to_owned() })?;
        Ok(Self {
            node_id: NodeId::from_text(one("CN", subject.iter_common_name())?),
            role,
            cluster_id: ClusterId::from_text(one("O", subject.iter_organization())?),
        })
    }
}

fn one<'a>(
    part: &'static str,
    mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Result<&'a str, BadSubject> {
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.as_str().ok().filter(|text| !text.is_empty()).ok_or(BadSubject::NotOne { part })
        }
        (None, _) | (Some(_), Some(_)) => Err(BadSubject::NotOne { part }),
    }
}
