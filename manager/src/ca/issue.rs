//! Pure but for key generation: the root certificate and the node certificates it signs.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SerialNumber,
    date_time_ymd,
};
use swarmnet_model::cluster::RootCa;
use swarmnet_model::{ClusterId, IdSource, NodeId, Role, SecretText, Timestamp};

/// CN of the root, as in Docker Swarm; also a name in managers' certificates.
const ROOT_NAME: &str = "swarm-ca";
/// 20 years.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Clocks of nodes may differ by this much.
const BACKDATE: Duration = Duration::from_secs(3600);
/// A request with the largest accepted key has under 1 KiB.
const CSR_BYTES_MAX: usize = 16 << 10;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the certificate request cannot be read, or its signature is wrong")]
    BadRequest,
    #[error("the key of the certificate request is not ECDSA P-256 or P-384")]
    WeakKey,
    #[error("the cluster's root certificate or key cannot be used")]
    BadRoot(#[source] rcgen::Error),
    #[error("the certificate cannot be signed")]
    Signing(#[source] rcgen::Error),
}

/// Who a certificate is for and how long.
#[derive(Clone, Debug)]
pub struct Subject {
    pub node_id: NodeId,
    pub role: Role,
    pub cluster_id: ClusterId,
    pub life: Duration,
}

/// A node's own key and the request to have it certified.
#[derive(Clone, Debug)]
pub struct NodeKey {
    pub key_pem: SecretText,
    pub csr_pem: String,
}

impl NodeKey {
    /// Makes an ECDSA P-256 key.
    ///
    /// # Errors
    /// `Signing` if the kernel's generator fails.
    pub fn generate() -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Signing)?;
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(IssueError::Signing)?;
        Ok(Self { key_pem: SecretText::new(key.serialize_pem()), csr_pem: csr })
    }
}

/// Makes the root of a new cluster: ECDSA P-256, CN `swarm-ca`, 20 years.
///
/// # Errors
/// `Signing` if the kernel's generator fails.
pub fn new_root(now: Timestamp, ids: &mut dyn IdSource) -> Result<RootCa, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Signing)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial(ids));
    set_life(&mut params, now, ROOT_LIFE);
    let certificate = params.self_signed(&key).map_err(IssueError::Signing)?;
    Ok(RootCa {
        certificate_pem: unix_lines(&certificate.pem()),
        key_pem: SecretText::new(key.serialize_pem()),
    })
}

/// Signs a certificate for the key in the request. Names, life and usages are the subject's and
/// ours; whatever else the request asks for is ignored.
///
/// # Errors
/// `BadRequest`, `WeakKey`: the caller's fault. `BadRoot`, `Signing`: ours.
pub fn issue(
    root: &RootCa,
    csr_pem: &[u8],
    subject: &Subject,
    now: Timestamp,
    ids: &mut dyn IdSource,
) -> Result<String, IssueError> {
    let mut request = read_request(csr_pem)?;
    let issuer = KeyPair::from_pem(root.key_pem.expose())
        .and_then(|key| Issuer::from_ca_cert_pem(&root.certificate_pem, key))
        .map_err(IssueError::BadRoot)?;
    request.params = node_params(subject, now, ids).map_err(IssueError::Signing)?;
    let certificate = request.signed_by(&issuer).map_err(IssueError::Signing)?;
    Ok(unix_lines(&certificate.pem()))
}

fn read_request(csr_pem: &[u8]) -> Result<CertificateSigningRequestParams, IssueError> {
    if csr_pem.len() > CSR_BYTES_MAX {
        return Err(IssueError::BadRequest);
    }
    let text = std::str::from_utf8(csr_pem).map_err(|_| IssueError::BadRequest)?;
    let request =
        CertificateSigningRequestParams::from_pem(text).map_err(|_| IssueError::BadRequest)?;
    // The request names its algorithm by its signature; the length of the point names the curve.
    let key = &request.public_key;
    let p256 = *key.algorithm() == PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == 65;
    let p384 = *key.algorithm() == PKCS_ECDSA_P384_SHA384 && key.der_bytes().len() == 97;
    if p256 || p384 { Ok(request) } else { Err(IssueError::WeakKey) }
}

fn node_params(
    subject: &Subject,
    now: Timestamp,
    ids: &mut dyn IdSource,
) -> Result<CertificateParams, rcgen::Error> {
    let unit = subject.role.organizational_unit();
    let mut names = vec![unit, subject.node_id.as_str()];
    if subject.role == Role::Manager {
        names.push(ROOT_NAME);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject.node_id.as_str());
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::OrganizationName, subject.cluster_id.as_str());
    params.subject_alt_names = names
        .into_iter()
        .map(|name| Ok(SanType::DnsName(name.try_into()?)))
        .collect::<Result<_, rcgen::Error>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial(ids));
    set_life(&mut params, now, subject.life);
    Ok(params)
}

fn set_life(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = now.since(Timestamp(0));
    params.not_before = epoch + since_epoch.saturating_sub(BACKDATE);
    params.not_after = epoch + (since_epoch + life);
}

/// 127 random bits: a serial number is positive.
fn serial(ids: &mut dyn IdSource) -> SerialNumber {
    SerialNumber::from_slice(&(ids.bits() >> 1).to_be_bytes())
}

/// rcgen ends lines as its platform does not; digests are taken over line feeds.
fn unix_lines(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use rcgen::SigningKey;
    use swarmnet_proto::transport::{NodeIdentity, PeerIdentity, TlsContext};
    use x509_parser::pem::parse_x509_pem;

    use super::*;
    use crate::ids::OsIds;

    const NOW: Timestamp = Timestamp(1_795_356_684_000_000_000);

    fn subject(role: Role) -> Subject {
        Subject {
            node_id: NodeId::from_text("n1"),
            role,
            cluster_id: ClusterId::from_text("c1"),
            life: Duration::from_secs(90 * 24 * 3600),
        }
    }

    fn request(key: &impl SigningKey, params: &CertificateParams) -> Vec<u8> {
        params.serialize_request(key).unwrap().pem().unwrap().into_bytes()
    }

    fn names(pem: &str) -> Vec<String> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        names.value.general_names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_certificate_works_with_its_key_and_root() {
        let root = new_root(NOW, &mut OsIds).unwrap();
        let key = NodeKey::generate().unwrap();
        for role in [Role::Worker, Role::Manager] {
            let pem =
                issue(&root, key.csr_pem.as_bytes(), &subject(role), NOW, &mut OsIds).unwrap();
            let tls = TlsContext::new(&NodeIdentity {
                certificate_pem: pem,
                key_pem: key.key_pem.clone(),
                root_ca_pem: root.certificate_pem.clone(),
            })
            .unwrap();
            assert_eq!((tls.node_id().as_str(), tls.role()), ("n1", role));
            assert_eq!(tls.cluster_id().as_str(), "c1");
        }
    }

    #[test]
    fn only_the_key_of_a_request_counts() {
        let root = new_root(NOW, &mut OsIds).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut wishes = CertificateParams::new(vec!["swarm-manager".to_owned()]).unwrap();
        wishes.distinguished_name.push(DnType::CommonName, "somebody");
        wishes.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-manager");
        wishes.distinguished_name.push(DnType::OrganizationName, "other");
        wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let csr = request(&key, &wishes);
        let pem = issue(&root, &csr, &subject(Role::Worker), NOW, &mut OsIds).unwrap();
        let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        assert!(!certificate.is_ca());
        assert_eq!(names(&pem), ["DNSName(swarm-worker)", "DNSName(n1)"]);
        let peer = PeerIdentity::from_certificate(&block.contents).unwrap();
        assert_eq!(
            (peer.node_id.as_str(), peer.role, peer.cluster_id.as_str()),
            ("n1", Role::Worker, "c1")
        );
    }

    #[test]
    fn a_manager_also_has_the_name_of_the_authority() {
        let root = new_root(NOW, &mut OsIds).unwrap();
        let key = NodeKey::generate().unwrap();
        let csr = key.csr_pem.as_bytes();
        let pem = issue(&root, csr, &subject(Role::Manager), NOW, &mut OsIds).unwrap();
        let expected = ["DNSName(swarm-manager)", "DNSName(n1)", "DNSName(swarm-ca)"];
        assert_eq!(names(&pem), expected);
    }

    #[test]
    fn certificates_begin_an_hour_ago_and_live_as_long_as_the_cluster_says() {
        let root = new_root(NOW, &mut OsIds).unwrap();
        let key = NodeKey::generate().unwrap();
        let csr = key.csr_pem.as_bytes();
        let pem = issue(&root, csr, &subject(Role::Worker), NOW, &mut OsIds).unwrap();
        for (pem, life) in [(pem, 90), (root.certificate_pem, 20 * 365)] {
            let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
            let validity = block.parse_x509().unwrap().validity().clone();
            let now = NOW.0 / 1_000_000_000;
            assert_eq!(validity.not_before.timestamp(), now - 3600);
            assert_eq!(validity.not_after.timestamp(), now + life * 24 * 3600);
        }
    }

    #[test]
    fn weak_forged_and_broken_requests_are_refused() {
        let root = new_root(NOW, &mut OsIds).unwrap();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let weak = request(&ed25519, &CertificateParams::default());
        let signed = |csr: &[u8]| issue(&root, csr, &subject(Role::Worker), NOW, &mut OsIds);
        assert!(matches!(signed(&weak), Err(IssueError::WeakKey)));
        let good = NodeKey::generate().unwrap().csr_pem;
        let huge = format!("{good}{}", " ".repeat(CSR_BYTES_MAX));
        let cut = &good[..good.len() / 2];
        for csr in [b"".as_slice(), b"\xff", cut.as_bytes(), huge.as_bytes()] {
            assert!(matches!(signed(csr), Err(IssueError::BadRequest)));
        }
        let forged = forge(&good);
        assert!(matches!(signed(forged.as_bytes()), Err(IssueError::BadRequest)));
    }

    /// Changes the first digit of the last line, which lies inside the signature.
    fn forge(csr_pem: &str) -> String {
        let mut lines: Vec<String> = csr_pem.lines().map(str::to_owned).collect();
        let at = lines.len() - 2;
        let other = if lines[at].starts_with('A') { "B" } else { "A" };
        lines[at].replace_range(..1, other);
        lines.join("\n")
    }
}
