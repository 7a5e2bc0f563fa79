//! The gRPC service `Ca` on top of the store.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use swarmnet_model::{
    Availability, Cluster, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, Tables, Timestamp,
    Version,
};
use swarmnet_proto::transport::{PeerAddr, TlsContext};
use swarmnet_proto::v1::ca_server::Ca;
use swarmnet_proto::v1::{GetRootRequest, GetRootResponse, IssueRequest, IssueResponse};
use tonic::{Request, Response, Status};

use super::guesses::Guesses;
use super::token::{self, JoinToken};
use super::{IssueError, Subject, issue};
use crate::address;
use crate::ids::OsIds;
use crate::store::{Change, ProposeError, Store};

/// Metadata key of a refusal that says which manager (`host:port`) leads.
pub const LEADER_METADATA: &str = "swarmnet-leader";
/// Docker's text for a token whose secret is wrong.
const WRONG_TOKEN: &str = "A valid join token is necessary to join this cluster";

/// Certificates for joiners and for nodes that renew.
pub struct CaService {
    store: Store,
    tls: TlsContext,
    guesses: Mutex<Guesses>,
}

/// What a join needs of its request, checked.
struct Joiner {
    role: Role,
    availability: Availability,
    addr: Ipv4Addr,
}

impl CaService {
    pub fn new(store: Store, tls: TlsContext) -> Self {
        Self { store, tls, guesses: Mutex::default() }
    }

    /// Creates the node in the store, then hands out its certificate.
    async fn join(&self, source: IpAddr, request: &IssueRequest) -> Result<IssueResponse, Status> {
        let tables = self.store.snapshot();
        let cluster = cluster(&tables)?;
        let role = self.role_of(source, &request.token, cluster)?;
        let joiner = Joiner {
            role,
            availability: availability(&request.availability)?,
            addr: advertised(&request.advertise_addr, source)?,
        };
        if let Some(rival) = address::rival(&tables, None, joiner.addr, Some(source)) {
            let text = format!("{} is the address of node {rival}", joiner.addr);
            return Err(Status::already_exists(text));
        }
        let node_id = NodeId::generate(&mut OsIds);
        let response = self.certify(&tables, cluster, &request.csr_pem, (node_id.clone(), role))?;
        let node = new_node(node_id, &joiner);
        let proposed = self.store.propose(vec![Change::CreateNode(Box::new(node))]).await;
        proposed.map_err(|error| refused(&error))?;
        tracing::info!(node.id = %response.node_id, role = role.as_str(), %source, "node joins");
        Ok(response)
    }

    /// Certifies another key for a node that has a certificate, under the role the cluster gives it.
    /// Another role than before is written first: only the leader can.
    async fn renew(&self, request: &Request<IssueRequest>) -> Result<IssueResponse, Status> {
        let peer = self.tls.require(request, &[Role::Worker, Role::Manager])?;
        let tables = self.store.snapshot();
        let cluster = cluster(&tables)?;
        let node = tables.nodes.get(&peer.node_id).ok_or_else(|| {
            Status::permission_denied(format!("node {} is not part of the swarm", peer.node_id))
        })?;
        let role = node.next_role();
        if role != node.role {
            let change = Change::SetNodeRole { id: node.id.clone(), role };
            self.store.propose(vec![change]).await.map_err(|error| refused(&error))?;
            tracing::info!(node.id = %node.id, role = role.as_str(), "node gets another role");
        }
        self.certify(&tables, cluster, &request.get_ref().csr_pem, (peer.node_id, role))
    }

    fn role_of(&self, source: IpAddr, text: &str, cluster: &Cluster) -> Result<Role, Status> {
        let now = self.store.now();
        let mut guesses = self.guesses.lock().expect("counting does not panic");
        if !guesses.may_try(source, now) {
            return Err(Status::resource_exhausted(
                "too many failed attempts to join from this address: try again in a second",
            ));
        }
        // Parsed only to refuse early; what decides is the comparison with the cluster's tokens.
        let role = JoinToken::parse(text)
            .ok()
            .and_then(|token| token::role_of(&cluster.join_tokens, token.as_secret().expose()));
        role.ok_or_else(|| {
            guesses.failed(source, now);
            tracing::warn!(%source, "join with a wrong token");
            Status::invalid_argument(WRONG_TOKEN)
        })
    }

    fn certify(
        &self,
        tables: &Tables,
        cluster: &Cluster,
        csr_pem: &[u8],
        (node_id, role): (NodeId, Role),
    ) -> Result<IssueResponse, Status> {
        let subject = Subject {
            node_id: node_id.clone(),
            role,
            cluster_id: cluster.id.clone(),
            life: cluster.spec.node_cert_expiry,
        };
        let certificate = issue(&cluster.root_ca, csr_pem, &subject, self.store.now(), &mut OsIds)
            .map_err(|error| not_issued(&error))?;
        Ok(IssueResponse {
            node_id: node_id.to_string(),
            role: role.as_str().to_owned(),
            certificate_pem: certificate.into_bytes(),
            managers: managers(tables),
        })
    }
}

#[tonic::async_trait]
impl Ca for CaService {
    async fn get_root(
        &self,
        _request: Request<GetRootRequest>,
    ) -> Result<Response<GetRootResponse>, Status> {
        let tables: Arc<Tables> = self.store.snapshot();
        let certificate_pem = cluster(&tables)?.root_ca.certificate_pem.clone().into_bytes();
        Ok(Response::new(GetRootResponse { certificate_pem }))
    }

    async fn issue(
        &self,
        request: Request<IssueRequest>,
    ) -> Result<Response<IssueResponse>, Status> {
        if request.get_ref().token.is_empty() {
            return self.renew(&request).await.map(Response::new);
        }
        let PeerAddr(source) = *request
            .extensions()
            .get()
            .ok_or_else(|| Status::internal("the transport did not name the source"))?;
        self.join(source.ip().to_canonical(), request.get_ref()).await.map(Response::new)
    }
}

fn cluster(tables: &Tables) -> Result<&Cluster, Status> {
    tables
        .cluster
        .as_deref()
        .ok_or_else(|| Status::unavailable("this manager does not hold the cluster state yet"))
}

fn managers(tables: &Tables) -> Vec<String> {
    tables
        .nodes
        .values()
        .filter_map(|node| node.manager.as_ref().map(|member| member.addr.clone()))
        .collect()
}

fn availability(text: &str) -> Result<Availability, Status> {
    [Availability::Active, Availability::Pause, Availability::Drain]
        .into_iter()
        .find(|availability| availability.as_str() == text.to_ascii_lowercase())
        .or_else(|| text.is_empty().then_some(Availability::Active))
        .ok_or_else(|| Status::invalid_argument(format!("invalid Availability: {text:?}")))
}

/// Returns the address the node gave, else the one it is seen under.
fn advertised(text: &str, source: IpAddr) -> Result<Ipv4Addr, Status> {
    if !text.is_empty() {
        return text.parse().map_err(|_| {
            Status::invalid_argument(format!("invalid advertise address {text:?}: not IPv4"))
        });
    }
    match source {
        IpAddr::V4(addr) => Ok(addr),
        IpAddr::V6(addr) => Err(Status::invalid_argument(format!(
            "the node is seen under {addr}, which is not IPv4: give it an advertise address"
        ))),
    }
}

fn new_node(id: NodeId, joiner: &Joiner) -> Node {
    Node {
        id,
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NodeSpec {
            role: joiner.role,
            availability: joiner.availability,
            ..NodeSpec::default()
        },
        description: None,
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), addr: joiner.addr },
        role: joiner.role,
        manager: None,
    }
}

fn not_issued(error: &IssueError) -> Status {
    match error {
        IssueError::BadRequest | IssueError::WeakKey => Status::invalid_argument(error.to_string()),
        IssueError::BadRoot(source) | IssueError::Signing(source) => {
            tracing::error!(%error, %source, "no certificate could be issued");
            Status::internal(error.to_string())
        }
    }
}

fn refused(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { leader } => {
            let mut status = Status::unavailable("this manager does not lead");
            let addr = leader.as_ref().and_then(|leader| leader.addr.parse().ok());
            if let Some(addr) = addr {
                status.metadata_mut().insert(LEADER_METADATA, addr);
            }
            status
        }
        ProposeError::Unavailable | ProposeError::TimedOut => {
            Status::unavailable(error.to_string())
        }
        ProposeError::Refused(_) | ProposeError::TooLarge { .. } => {
            Status::internal(error.to_string())
        }
    }
}
