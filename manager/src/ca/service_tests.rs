//! The service `Ca` over real sockets, on a store in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::{
    Availability, Clock, Cluster, ClusterId, ClusterSpec, JoinTokens, NodeId, NodeState, Role,
    Timestamp, Version,
};
use swarmnet_proto::transport::join::{channel_to_pinned_root, fetch_root};
use swarmnet_proto::transport::{NodeIdentity, RootDigest, TlsContext, serve};
use swarmnet_proto::v1::ca_client::CaClient;
use swarmnet_proto::v1::ca_server::CaServer;
use swarmnet_proto::v1::{IssueRequest, IssueResponse};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Status};

use super::*;
use crate::ids::OsIds;
use crate::store::Change;

/// Certificates are checked against the machine's clock, so this one is the machine's as well.
struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "TLS checks certificates against this clock")]
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap())
    }
}

struct TestCluster {
    store: Store,
    tokens: JoinTokens,
    root_pem: String,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestCluster {
    async fn start() -> Self {
        let store = Store::for_tests(Arc::new(TestClock));
        let cluster = new_cluster();
        let (tokens, root) = (cluster.join_tokens.clone(), cluster.root_ca.clone());
        let tls = manager_identity(&cluster);
        let put = Change::PutCluster { cluster: Box::new(cluster), expected: None };
        store.propose(vec![put]).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Routes::new(CaServer::new(CaService::new(store.clone(), tls.clone())));
        let mut tasks = JoinSet::new();
        tasks.spawn(refuse_removed_nodes(store.clone(), tls.clone(), stop.clone()));
        let serving = serve(listener, tls, routes, stop.clone());
        tasks.spawn(async move { serving.await.unwrap() });
        Self { store, tokens, root_pem: root.certificate_pem, addr, stop, tasks }
    }

    /// Joins as a node does.
    async fn join(&self, token: &str, key: &NodeKey) -> Result<IssueResponse, Status> {
        let addr = self.addr.to_string();
        let digest = RootDigest::of_bundle(self.root_pem.as_bytes()).unwrap();
        let root = fetch_root(&addr, digest).await.unwrap();
        let channel = channel_to_pinned_root(&addr, &root).unwrap();
        let request = IssueRequest {
            csr_pem: key.csr_pem.clone().into_bytes(),
            token: token.to_owned(),
            availability: "drain".to_owned(),
            advertise_addr: String::new(),
        };
        Ok(CaClient::new(channel).issue(request).await?.into_inner())
    }

    async fn joined(&self, token: &str) -> TlsContext {
        let key = NodeKey::generate().unwrap();
        let response = self.join(token, &key).await.unwrap();
        TlsContext::new(&NodeIdentity {
            certificate_pem: String::from_utf8(response.certificate_pem).unwrap(),
            key_pem: key.key_pem,
            root_ca_pem: self.root_pem.clone(),
        })
        .unwrap()
    }

    async fn renew(&self, node: &TlsContext) -> Result<IssueResponse, Status> {
        let key = NodeKey::generate().unwrap();
        let request = IssueRequest { csr_pem: key.csr_pem.into_bytes(), ..IssueRequest::default() };
        let channel = node.channel(&self.addr.to_string());
        Ok(CaClient::new(channel).issue(request).await?.into_inner())
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

fn new_cluster() -> Cluster {
    let root_ca = new_root(TestClock.now(), &mut OsIds).unwrap();
    let digest = RootDigest::of_bundle(root_ca.certificate_pem.as_bytes()).unwrap();
    let token = || JoinToken::generate(digest, &mut OsIds).as_secret().clone();
    Cluster {
        id: ClusterId::generate(&mut OsIds),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: ClusterSpec::default(),
        root_ca,
        join_tokens: JoinTokens { worker: token(), manager: token() },
        address_pools: vec![],
        subnet_size_bits: 24,
        data_path_port: 4789,
        removed_nodes: BTreeMap::new(),
        next_raft_id: 2,
    }
}

fn manager_identity(cluster: &Cluster) -> TlsContext {
    let key = NodeKey::generate().unwrap();
    let subject = Subject {
        node_id: NodeId::from_text("m1"),
        role: Role::Manager,
        cluster_id: cluster.id.clone(),
        life: Duration::from_secs(3600),
    };
    let csr = key.csr_pem.as_bytes();
    let certificate_pem =
        issue(&cluster.root_ca, csr, &subject, TestClock.now(), &mut OsIds).unwrap();
    TlsContext::new(&NodeIdentity {
        certificate_pem,
        key_pem: key.key_pem,
        root_ca_pem: cluster.root_ca.certificate_pem.clone(),
    })
    .unwrap()
}

#[tokio::test]
async fn a_joiner_becomes_a_node_with_the_role_of_its_token() {
    let cluster = TestCluster::start().await;
    let tokens = cluster.tokens.clone();
    for (token, role) in [(&tokens.worker, Role::Worker), (&tokens.manager, Role::Manager)] {
        let tls = cluster.joined(token.expose()).await;
        assert_eq!(tls.role(), role);
        let tables = cluster.store.snapshot();
        let node = &tables.nodes[&tls.node_id()];
        assert_eq!((node.spec.role, node.role), (role, role));
        assert_eq!(node.spec.availability, Availability::Drain);
        assert_eq!(node.status.state, NodeState::Unknown);
        assert_eq!(node.status.addr.to_string(), "127.0.0.1");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_dockers_words_and_leaves_no_node() {
    let cluster = TestCluster::start().await;
    let digest = RootDigest::of_bundle(cluster.root_pem.as_bytes()).unwrap();
    let wrong = JoinToken::generate(digest, &mut OsIds);
    let key = NodeKey::generate().unwrap();
    let status = cluster.join(wrong.as_secret().expose(), &key).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "A valid join token is necessary to join this cluster");
    assert!(cluster.store.snapshot().nodes.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let cluster = TestCluster::start().await;
    let channel = channel_to_pinned_root(&cluster.addr.to_string(), &cluster.root_pem).unwrap();
    let mut client = CaClient::new(channel);
    let mut codes = Vec::new();
    for _ in 0..30 {
        let request = IssueRequest { token: "SWMTKN-1-x-y".into(), ..IssueRequest::default() };
        codes.push(client.issue(request).await.unwrap_err().code());
    }
    assert!(codes[..10].iter().all(|code| *code == Code::InvalidArgument), "{codes:?}");
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_renews_under_its_own_name() {
    let cluster = TestCluster::start().await;
    let node = cluster.joined(cluster.tokens.worker.expose()).await;
    let renewed = cluster.renew(&node).await.unwrap();
    assert_eq!(renewed.node_id, node.node_id().to_string());
    assert_eq!(renewed.role, "worker");
    assert_eq!(cluster.store.snapshot().nodes.len(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_removed_node_gets_no_certificate() {
    let cluster = TestCluster::start().await;
    let node = cluster.joined(cluster.tokens.worker.expose()).await;
    cluster.store.propose(vec![Change::RemoveNode { id: node.node_id() }]).await.unwrap();
    let status = cluster.renew(&node).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    cluster.stop().await;
}

#[tokio::test]
async fn without_certificate_and_token_nothing_is_issued() {
    let cluster = TestCluster::start().await;
    let channel = channel_to_pinned_root(&cluster.addr.to_string(), &cluster.root_pem).unwrap();
    let request = IssueRequest {
        csr_pem: NodeKey::generate().unwrap().csr_pem.into_bytes(),
        ..IssueRequest::default()
    };
    let status = CaClient::new(channel).issue(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    cluster.stop().await;
}
