//! The node's certificate and key: on disk, and renewed before they end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use swarmnet_manager::ca::NodeKey;
use swarmnet_model::limits::CALL_TIMEOUT;
use swarmnet_model::{Clock, IdSource, Role, SecretText, Timestamp};
use swarmnet_proto::transport::{NodeIdentity, TlsContext};
use swarmnet_proto::v1::IssueRequest;
use swarmnet_proto::v1::ca_client::CaClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::files::{self, PRIVATE, PUBLIC, StateError};
use swarmnet_manager::ids::OsIds;

const ROOT: &str = "swarm-root-ca.crt";
const CERTIFICATE: &str = "swarm-node.crt";
const KEY: &str = "swarm-node.key";
/// A renewed key until its certificate is in place.
const NEXT_KEY: &str = "swarm-node.key.next";
/// Between two attempts to renew while no manager answers.
const RENEW_PAUSE: Duration = Duration::from_secs(60);
/// The same while the certificate names another role than the cluster wants: somebody waits for it.
const ROLE_PAUSE: Duration = Duration::from_secs(1);

/// `certificates/` of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct IdentityFiles {
    directory: PathBuf,
}

impl IdentityFiles {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("certificates") }
    }

    /// Returns the stored identity; `None` outside a swarm.
    ///
    /// # Errors
    /// A key that others can read; files that do not fit together.
    pub(crate) fn load(&self) -> Result<Option<NodeIdentity>, StateError> {
        let Some(certificate_pem) = files::read(&self.path(CERTIFICATE), PUBLIC)? else {
            return Ok(None);
        };
        let root_ca_pem = files::read(&self.path(ROOT), PUBLIC)?.unwrap_or_default();
        let mut reason = String::from("there is no key beside it");
        for name in [KEY, NEXT_KEY] {
            let Some(key) = files::read(&self.path(name), PRIVATE)? else { continue };
            let identity = NodeIdentity {
                certificate_pem: certificate_pem.clone(),
                key_pem: SecretText::new(key),
                root_ca_pem: root_ca_pem.clone(),
            };
            match TlsContext::new(&identity) {
                Ok(_) => return Ok(Some(identity)),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(StateError::Damaged { path: self.path(CERTIFICATE), reason })
    }

    /// Stores the identity. The new key waits beside the old one until the certificate has been
    /// replaced, so that after a crash at any point one of the keys fits.
    pub(crate) fn save(&self, identity: &NodeIdentity) -> Result<(), StateError> {
        files::ensure_directory(&self.directory)?;
        files::write(&self.path(ROOT), PUBLIC, &identity.root_ca_pem)?;
        files::write(&self.path(NEXT_KEY), PRIVATE, identity.key_pem.expose())?;
        files::write(&self.path(CERTIFICATE), PUBLIC, &identity.certificate_pem)?;
        files::write(&self.path(KEY), PRIVATE, identity.key_pem.expose())?;
        files::remove(&self.path(NEXT_KEY))
    }

    /// Forgets the identity: the node leaves the swarm.
    pub(crate) fn remove(&self) -> Result<(), StateError> {
        files::remove(&self.directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// What [`keep_renewed`] works with.
pub(crate) struct Renewal {
    pub(crate) tls: TlsContext,
    pub(crate) files: IdentityFiles,
    pub(crate) managers: watch::Receiver<Vec<String>>,
    /// What the cluster wants; `None` until it is told.
    pub(crate) wanted: watch::Receiver<Option<Role>>,
    /// What the certificate says.
    pub(crate) certified: watch::Sender<Role>,
}

/// Renews the certificate when a random 50 to 80 % of its life is over, and at once when the cluster
/// wants the node in another role, until `stop`.
pub(crate) async fn keep_renewed(mut renewal: Renewal, stop: CancellationToken) {
    loop {
        let (role, pem) = (renewal.tls.role(), renewal.tls.identity().certificate_pem);
        let wait = time_to_renewal(&pem, SystemClock.now());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            // Without an agent nobody tells: the certificate's time counts.
            Ok(_) = renewal.wanted.wait_for(|wanted| wanted.is_some_and(|w| w != role)) => {}
        }
        let known = renewal.managers.borrow().clone();
        let wanted = (*renewal.wanted.borrow()).unwrap_or(role);
        let renewed = tokio::select! {
            () = stop.cancelled() => return,
            renewed = renew(&renewal.tls, &renewal.files, &known, wanted) => renewed,
        };
        match renewed {
            Ok(()) => {
                tracing::info!(role = wanted.as_str(), "node certificate renewed");
                renewal.certified.send_replace(wanted);
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "node certificate not renewed yet");
                let pause = if wanted == role { RENEW_PAUSE } else { ROLE_PAUSE };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Asks the managers in turn for a certificate of the role; one that lags behind may give another,
/// which is not taken.
async fn renew(
    tls: &TlsContext,
    files: &IdentityFiles,
    managers: &[String],
    role: Role,
) -> anyhow::Result<()> {
    let key = NodeKey::generate()?;
    let mut failure = anyhow::anyhow!("no manager is known");
    for addr in managers {
        let request =
            IssueRequest { csr_pem: key.csr_pem.clone().into_bytes(), ..IssueRequest::default() };
        let mut client = CaClient::new(tls.channel(addr));
        match tokio::time::timeout(CALL_TIMEOUT, client.issue(request)).await {
            Ok(Ok(response)) if response.get_ref().role != role.as_str() => {
                failure = anyhow::anyhow!("{addr} does not know this node as {}", role.as_str());
            }
            Ok(Ok(response)) => {
                let identity = NodeIdentity {
                    certificate_pem: String::from_utf8(response.into_inner().certificate_pem)?,
                    key_pem: key.key_pem.clone(),
                    root_ca_pem: tls.identity().root_ca_pem,
                };
                // In use before it is stored: one that does not work is never stored.
                tls.replace(&identity)?;
                return Ok(files.save(&identity)?);
            }
            Ok(Err(status)) => failure = anyhow::anyhow!("{addr}: {}", status.message()),
            Err(_) => failure = anyhow::anyhow!("{addr} does not answer"),
        }
    }
    Err(failure)
}

/// Returns how long to wait; an unreadable or ended certificate is due at once.
fn time_to_renewal(certificate_pem: &str, now: Timestamp) -> Duration {
    let percent = u32::try_from(50 + OsIds.bits() % 31).expect("below 81");
    match life(certificate_pem) {
        Some((start, end)) => start.plus(end.since(start) / 100 * percent).since(now),
        None => Duration::ZERO,
    }
}

fn life(certificate_pem: &str) -> Option<(Timestamp, Timestamp)> {
    let (_, block) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let certificate = block.parse_x509().ok()?;
    let nanoseconds = |seconds: i64| Timestamp(seconds.saturating_mul(1_000_000_000));
    let validity = certificate.validity();
    Some((
        nanoseconds(validity.not_before.timestamp()),
        nanoseconds(validity.not_after.timestamp()),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use swarmnet_manager::ca::{Subject, issue, new_root};
    use swarmnet_model::cluster::RootCa;
    use swarmnet_model::{ClusterId, NodeId};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn identity(root: &RootCa) -> NodeIdentity {
        let key = NodeKey::generate().unwrap();
        let subject = Subject {
            node_id: NodeId::from_text("n1"),
            role: Role::Worker,
            cluster_id: ClusterId::from_text("c1"),
            life: 90 * DAY,
        };
        let csr = key.csr_pem.as_bytes();
        let certificate_pem = issue(root, csr, &subject, SystemClock.now(), &mut OsIds).unwrap();
        let root_ca_pem = root.certificate_pem.clone();
        NodeIdentity { certificate_pem, key_pem: key.key_pem, root_ca_pem }
    }

    fn files_and_root() -> (tempfile::TempDir, IdentityFiles, RootCa) {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::new(dir.path());
        (dir, files, new_root(SystemClock.now(), &mut OsIds).unwrap())
    }

    #[test]
    fn an_identity_survives_on_disk_until_it_is_removed() {
        let (_dir, files, root) = files_and_root();
        assert_eq!(files.load().unwrap(), None);
        for identity in [identity(&root), identity(&root)] {
            files.save(&identity).unwrap();
            assert_eq!(files.load().unwrap(), Some(identity));
        }
        let mode = fs::metadata(files.path(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files.remove().unwrap();
        assert_eq!(files.load().unwrap(), None);
    }

    #[test]
    fn a_crash_between_certificate_and_key_loses_neither() {
        let (_dir, files, root) = files_and_root();
        let (old, new) = (identity(&root), identity(&root));
        files.save(&old).unwrap();
        files::write(&files.path(NEXT_KEY), PRIVATE, new.key_pem.expose()).unwrap();
        assert_eq!(files.load().unwrap(), Some(old));
        files::write(&files.path(CERTIFICATE), PUBLIC, &new.certificate_pem).unwrap();
        assert_eq!(files.load().unwrap(), Some(new));
    }

    #[test]
    fn a_readable_empty_or_missing_key_is_refused() {
        let (_dir, files, root) = files_and_root();
        files.save(&identity(&root)).unwrap();
        fs::set_permissions(files.path(KEY), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(files.load(), Err(StateError::OpenToOthers { .. })));
        files::write(&files.path(KEY), PRIVATE, "").unwrap();
        assert!(matches!(files.load(), Err(StateError::Damaged { .. })));
        files::remove(&files.path(KEY)).unwrap();
        assert!(matches!(files.load(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn renewal_is_due_between_half_and_four_fifths_of_the_life() {
        let (_dir, _files, root) = files_and_root();
        let pem = identity(&root).certificate_pem;
        for _ in 0..50 {
            let wait = time_to_renewal(&pem, SystemClock.now());
            assert!(wait > 44 * DAY && wait < 73 * DAY, "{wait:?}");
        }
        let late = SystemClock.now().plus(80 * DAY);
        assert_eq!(time_to_renewal(&pem, late), Duration::ZERO);
        assert_eq!(time_to_renewal("", SystemClock.now()), Duration::ZERO);
    }
}
