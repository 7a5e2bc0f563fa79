//! A new cluster: its keys and its first objects.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use anyhow::Context;
use swarmnet_engine_api::InitRequest;
use swarmnet_manager::allocator::ipam;
use swarmnet_manager::ca::{JoinToken, NodeKey, Subject, issue, new_root};
use swarmnet_manager::ids::OsIds;
use swarmnet_manager::store::Change;
use swarmnet_model::address_range::reserved;
use swarmnet_model::cluster::RootCa;
use swarmnet_model::defaults;
use swarmnet_model::node::ManagerMember;
use swarmnet_model::{
    Cluster, ClusterId, IpamConfig, JoinTokens, Network, NetworkId, NetworkSpec, Node, NodeId,
    NodeSpec, NodeState, NodeStatus, Role, Subnet, Timestamp, Version, Vni,
};
use swarmnet_proto::transport::{NodeIdentity, RootDigest};

/// Raft id of the first manager.
pub(crate) const FIRST_RAFT_ID: u64 = 1;
/// VNI of the ingress network, the first automatic one.
const INGRESS_VNI: u32 = 4096;

/// Everything a new cluster begins with.
#[derive(Debug)]
pub(crate) struct NewCluster {
    pub(crate) identity: NodeIdentity,
    /// Cluster, this node, ingress network: one entry.
    pub(crate) changes: Vec<Change>,
}

/// Makes keys and objects; nothing is stored.
///
/// # Errors
/// Faults only: the request has been checked.
pub(crate) fn new_cluster(
    request: &InitRequest,
    advertise: SocketAddrV4,
    now: Timestamp,
) -> anyhow::Result<NewCluster> {
    let root_ca = new_root(now, &mut OsIds)?;
    let cluster = cluster(request, root_ca)?;
    let node_id = NodeId::generate(&mut OsIds);
    let identity = identity(&cluster, &node_id, now)?;
    let ingress = ingress(&cluster)?;
    let node = node(&node_id, request, advertise);
    let changes = vec![
        Change::PutCluster { cluster: Box::new(cluster), expected: None },
        Change::CreateNode(Box::new(node)),
        Change::CreateNetwork(Box::new(ingress)),
    ];
    Ok(NewCluster { identity, changes })
}

fn cluster(request: &InitRequest, root_ca: RootCa) -> anyhow::Result<Cluster> {
    let digest = RootDigest::of_bundle(root_ca.certificate_pem.as_bytes())
        .context("the new root certificate cannot be read")?;
    let token = || JoinToken::generate(digest, &mut OsIds).as_secret().clone();
    let default_pool = defaults::ADDRESS_POOL.parse().expect("the default pool is a prefix");
    Ok(Cluster {
        id: ClusterId::generate(&mut OsIds),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: request.spec.clone(),
        root_ca,
        join_tokens: JoinTokens { worker: token(), manager: token() },
        address_pools: match request.address_pools.as_slice() {
            [] => vec![default_pool],
            pools => pools.to_vec(),
        },
        subnet_size_bits: match request.subnet_size_bits {
            0 => defaults::SUBNET_SIZE_BITS,
            bits => bits,
        },
        data_path_port: match request.data_path_port {
            0 => defaults::DATA_PATH_PORT,
            port => u16::try_from(port).context("data path port")?,
        },
        removed_nodes: BTreeMap::new(),
        next_raft_id: FIRST_RAFT_ID + 1,
    })
}

fn identity(cluster: &Cluster, node_id: &NodeId, now: Timestamp) -> anyhow::Result<NodeIdentity> {
    let key = NodeKey::generate()?;
    let subject = Subject {
        node_id: node_id.clone(),
        role: Role::Manager,
        cluster_id: cluster.id.clone(),
        life: cluster.spec.node_cert_expiry,
    };
    let csr = key.csr_pem.as_bytes();
    Ok(NodeIdentity {
        certificate_pem: issue(&cluster.root_ca, csr, &subject, now, &mut OsIds)?,
        key_pem: key.key_pem,
        root_ca_pem: cluster.root_ca.certificate_pem.clone(),
    })
}

fn node(id: &NodeId, request: &InitRequest, advertise: SocketAddrV4) -> Node {
    Node {
        id: id.clone(),
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NodeSpec {
            role: Role::Manager,
            availability: request.availability,
            ..NodeSpec::default()
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            addr: *advertise.ip(),
        },
        role: Role::Manager,
        manager: Some(ManagerMember { raft_id: FIRST_RAFT_ID, addr: advertise.to_string() }),
    }
}

/// The network that stands for the routing mesh: the first usable block of the pools.
fn ingress(cluster: &Cluster) -> anyhow::Result<Network> {
    let taken: Vec<_> = reserved().map(|reserved| reserved.range).collect();
    let subnet = ipam::free_block(&cluster.address_pools, cluster.subnet_size_bits, &taken)
        .context("no pool has room for a subnet")?;
    let gateway = subnet.nth(1).context("the subnet has no room for a gateway")?;
    Ok(Network {
        id: NetworkId::generate(&mut OsIds),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NetworkSpec {
            name: defaults::INGRESS_NETWORK.to_owned(),
            ingress: true,
            ipam: vec![IpamConfig {
                subnet: Some(subnet),
                gateway: Some(gateway),
                ..IpamConfig::default()
            }],
            ..NetworkSpec::default()
        },
        vni: Vni::new(INGRESS_VNI).context("the VNI of the ingress network")?,
        subnet: Subnet { subnet, range: None, gateway },
        pending_delete: false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use swarmnet_manager::ca::role_of;
    use swarmnet_manager::store::Store;
    use swarmnet_model::{Availability, Clock, ClusterSpec};
    use swarmnet_proto::transport::TlsContext;

    use super::*;
    use crate::clock::SystemClock;

    fn request() -> InitRequest {
        InitRequest {
            listen_addr: "0.0.0.0:2377".into(),
            advertise_addr: String::new(),
            data_path_addr: String::new(),
            data_path_port: 0,
            address_pools: vec![],
            subnet_size_bits: 0,
            force_new_cluster: false,
            availability: Availability::Active,
            spec: ClusterSpec::default(),
        }
    }

    #[tokio::test]
    async fn the_first_entry_holds_cluster_node_and_ingress() {
        let advertise = "10.20.20.100:2377".parse().unwrap();
        let new = new_cluster(&request(), advertise, SystemClock.now()).unwrap();
        let tls = TlsContext::new(&new.identity).unwrap();
        let store = Store::for_tests(Arc::new(SystemClock));
        store.propose(new.changes).await.unwrap();
        let tables = store.snapshot();
        let cluster = tables.cluster.as_ref().unwrap();
        assert_eq!(tls.cluster_id(), cluster.id);
        assert_eq!((cluster.data_path_port, cluster.subnet_size_bits), (4789, 24));
        let node = &tables.nodes[&tls.node_id()];
        assert_eq!(node.manager.as_ref().unwrap().addr, "10.20.20.100:2377");
        let ingress = tables.ingress_network().unwrap();
        assert_eq!((ingress.spec.name.as_str(), ingress.vni.get()), ("ingress", 4096));
        assert_eq!(ingress.subnet.subnet.to_string(), "10.0.0.0/24");
        assert_eq!(ingress.subnet.gateway.to_string(), "10.0.0.1");
    }

    #[test]
    fn both_tokens_pin_the_root_and_differ_in_their_last_part() {
        let advertise = "10.20.20.100:2377".parse().unwrap();
        let new = new_cluster(&request(), advertise, SystemClock.now()).unwrap();
        let Change::PutCluster { cluster, .. } = &new.changes[0] else { panic!() };
        let tokens = &cluster.join_tokens;
        let (worker, manager) = (tokens.worker.expose(), tokens.manager.expose());
        assert_eq!(worker[..60], manager[..60]);
        assert_ne!(worker, manager);
        let digest = RootDigest::of_bundle(new.identity.root_ca_pem.as_bytes()).unwrap();
        assert_eq!(JoinToken::parse(worker).unwrap().digest(), digest);
        assert_eq!(role_of(tokens, manager), Some(Role::Manager));
    }

    #[test]
    fn pools_sizes_and_ports_are_the_users() {
        let request = InitRequest {
            address_pools: vec!["10.77.0.0/16".parse().unwrap()],
            subnet_size_bits: 26,
            data_path_port: 5_000,
            ..request()
        };
        let advertise = "10.20.20.100:2377".parse().unwrap();
        let new = new_cluster(&request, advertise, SystemClock.now()).unwrap();
        let Change::CreateNetwork(ingress) = &new.changes[2] else { panic!() };
        assert_eq!(ingress.subnet.subnet.to_string(), "10.77.0.0/26");
    }
}
