//! The transport over real sockets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use swarmnet_model::{ClusterId, NodeId, Role, SecretText};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::join::{JoinError, channel_to_pinned_root, fetch_root};
use super::*;
use crate::v1::ca_client::CaClient;
use crate::v1::ca_server::{Ca, CaServer};
use crate::v1::{GetRootRequest, GetRootResponse, IssueRequest, IssueResponse};

struct Root {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "swarm-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, node: &str, units: &[&str], cluster: &str) -> NodeIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, node);
        // rcgen keeps one value per type; the same OID as a custom type is another one to it.
        let types = [DnType::OrganizationalUnitName, DnType::CustomDnType(vec![2, 5, 4, 11])];
        for (unit, kind) in units.iter().zip(types) {
            name.push(kind, *unit);
        }
        name.push(DnType::OrganizationName, cluster);
        params.distinguished_name = name;
        params.subject_alt_names =
            units.iter().map(|unit| SanType::DnsName((*unit).try_into().unwrap())).collect();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        NodeIdentity {
            certificate_pem: certificate.pem(),
            key_pem: SecretText::new(key.serialize_pem()),
            root_ca_pem: self.pem.clone(),
        }
    }

    fn context(&self, node: &str, role: Role) -> TlsContext {
        TlsContext::new(&self.issue(node, &[role.organizational_unit()], "c1")).unwrap()
    }
}

/// `GetRoot` is open to all, `Issue` is for managers and answers who called.
struct TestCa {
    tls: TlsContext,
}

#[tonic::async_trait]
impl Ca for TestCa {
    async fn get_root(
        &self,
        request: Request<GetRootRequest>,
    ) -> Result<Response<GetRootResponse>, Status> {
        let PeerAddr(addr) = request.extensions().get().copied().unwrap();
        assert!(addr.ip().is_loopback());
        let certificate_pem = self.tls.identity().root_ca_pem.into_bytes();
        Ok(Response::new(GetRootResponse { certificate_pem }))
    }

    async fn issue(
        &self,
        request: Request<IssueRequest>,
    ) -> Result<Response<IssueResponse>, Status> {
        let peer = self.tls.require(&request, &[Role::Manager])?;
        let node_id = peer.node_id.to_string();
        Ok(Response::new(IssueResponse { node_id, ..IssueResponse::default() }))
    }
}

struct TestServer {
    addr: SocketAddr,
    tls: TlsContext,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestServer {
    async fn start(tls: TlsContext) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Routes::new(CaServer::new(TestCa { tls: tls.clone() }));
        let mut tasks = JoinSet::new();
        let (context, token) = (tls.clone(), stop.clone());
        tasks.spawn(async move { serve(listener, context, routes, token).await.unwrap() });
        Self { addr, tls, stop, tasks }
    }

    fn addr(&self) -> String {
        self.addr.to_string()
    }
}

async fn who_am_i(channel: Channel) -> Result<String, Status> {
    let call = async move { CaClient::new(channel).issue(IssueRequest::default()).await };
    let response = tokio::time::timeout(Duration::from_secs(5), call).await.unwrap()?;
    Ok(response.into_inner().node_id)
}

#[tokio::test]
async fn a_manager_is_known_by_its_certificate() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let peer = root.context("m2", Role::Manager);
    assert_eq!(who_am_i(peer.channel(&server.addr())).await.unwrap(), "m2");
}

#[tokio::test]
async fn a_worker_is_refused_what_only_managers_may_ask() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let peer = root.context("w1", Role::Worker);
    let status = who_am_i(peer.channel(&server.addr())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_caller_without_certificate_gets_the_root_and_nothing_else() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let channel = channel_to_pinned_root(&server.addr(), &root.pem).unwrap();
    CaClient::new(channel.clone()).get_root(GetRootRequest {}).await.unwrap();
    assert_eq!(who_am_i(channel).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_of_a_foreign_root_is_refused() {
    let (ours, theirs) = (Root::new(), Root::new());
    let server = TestServer::start(ours.context("m1", Role::Manager)).await;
    let mut identity = theirs.issue("m1", &["swarm-manager"], "c1");
    // The stranger believes our root, so that its own certificate is what fails.
    identity.root_ca_pem = ours.pem.clone();
    let stranger = TlsContext::new(&identity).unwrap();
    let status = who_am_i(stranger.channel(&server.addr())).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{status}");
    // And a server of a foreign root is not talked to.
    let client = theirs.context("m2", Role::Manager);
    let status = who_am_i(client.channel(&server.addr())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_worker_cannot_pose_as_a_manager_to_clients() {
    let root = Root::new();
    let server = TestServer::start(root.context("w1", Role::Worker)).await;
    let client = root.context("m2", Role::Manager);
    let status = who_am_i(client.channel(&server.addr())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn another_cluster_under_the_same_root_is_refused() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let other = TlsContext::new(&root.issue("m2", &["swarm-manager"], "c2")).unwrap();
    let status = who_am_i(other.channel(&server.addr())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_removed_node_is_refused_on_its_open_connection() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let channel = root.context("m2", Role::Manager).channel(&server.addr());
    who_am_i(channel.clone()).await.unwrap();
    server.tls.set_removed(BTreeSet::from([NodeId::from_text("m2")]));
    assert_eq!(who_am_i(channel).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_certificate_with_both_roles_names_nobody() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let double = root.issue("m2", &["swarm-worker", "swarm-manager"], "c1");
    assert!(TlsContext::new(&double).is_err());
    let der = pem::certificates(double.certificate_pem.as_bytes()).unwrap();
    assert!(PeerIdentity::from_certificate(&der[0]).is_err());
    drop(server);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_existing_channels() {
    let root = Root::new();
    let first = TestServer::start(root.context("m1", Role::Manager)).await;
    let client = root.context("n1", Role::Worker);
    let channel = client.channel(&first.addr());
    assert!(who_am_i(channel.clone()).await.is_err());
    client.replace(&root.issue("n1", &["swarm-manager"], "c1")).unwrap();
    assert_eq!(client.role(), Role::Manager);
    assert_eq!(client.cluster_id(), ClusterId::from_text("c1"));
    assert_eq!(who_am_i(client.channel(&first.addr())).await.unwrap(), "n1");
}

#[tokio::test]
async fn a_joiner_pins_the_root_by_its_digest() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let digest = RootDigest::of_bundle(root.pem.as_bytes()).unwrap();
    let fetched = fetch_root(&server.addr(), digest).await.unwrap();
    assert_eq!(RootDigest::of_bundle(fetched.as_bytes()), Some(digest));
    let error = fetch_root(&server.addr(), RootDigest([7; 32])).await.unwrap_err();
    assert!(matches!(error, JoinError::Fingerprint), "{error}");
}

#[tokio::test]
async fn a_joiner_is_told_that_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = fetch_root(&addr, RootDigest([7; 32])).await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_server_ends_after_its_stop_although_clients_stay_connected() {
    let root = Root::new();
    let mut server = TestServer::start(root.context("m1", Role::Manager)).await;
    let channel = root.context("m2", Role::Manager).channel(&server.addr());
    who_am_i(channel.clone()).await.unwrap();
    // Says nothing, so its handshake never ends.
    let silent = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    server.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), server.tasks.join_next()).await;
    ended.unwrap().unwrap().unwrap();
    assert_eq!(who_am_i(channel).await.unwrap_err().code(), Code::Unavailable);
    drop(silent);
}

#[tokio::test]
async fn one_stranger_cannot_keep_nodes_out() {
    let root = Root::new();
    let server = TestServer::start(root.context("m1", Role::Manager)).await;
    let mut silent = Vec::new();
    for _ in 0..server::STRANGERS_MAX {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(server.addr).await.unwrap());
    }
    let peer = root.context("m2", Role::Manager);
    assert_eq!(who_am_i(peer.channel(&server.addr())).await.unwrap(), "m2");
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let root = Root::new();
    let mut identity = root.issue("m1", &["swarm-manager"], "c1");
    identity.key_pem = root.issue("m2", &["swarm-manager"], "c1").key_pem;
    assert!(matches!(TlsContext::new(&identity), Err(IdentityError::Mismatch(_))));
    identity.key_pem = SecretText::new("");
    assert!(matches!(TlsContext::new(&identity), Err(IdentityError::Key)));
}
