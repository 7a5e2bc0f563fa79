//! Pure: whose an underlay address is.
//!
//! Every node tunnels to the address a peer names, and believes what comes from it. A node that names
//! another node's address would take that node's traffic away.

use std::net::{IpAddr, Ipv4Addr};

use swarmnet_model::{NodeId, NodeState, Tables};

/// Returns the other node that has `addr`, unless the claimant calls from that very address or the
/// other is down: a host may come back as another node.
pub(crate) fn rival<'a>(
    tables: &'a Tables,
    claimant: Option<&NodeId>,
    addr: Ipv4Addr,
    seen: Option<IpAddr>,
) -> Option<&'a NodeId> {
    if seen.is_some_and(|seen| seen.to_canonical() == IpAddr::V4(addr)) {
        return None;
    }
    let others = tables.nodes.values().filter(|node| Some(&node.id) != claimant);
    let mut holders = others
        .filter(|node| node.status.addr == addr && node.status.state != NodeState::Down)
        .map(|node| &node.id);
    holders.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn an_address_is_its_nodes_until_that_is_down_or_somebody_calls_from_there() {
        let tables = World::given("node n1\nnode n2\nnode n3 down").tables;
        let addr_of = |id: &str| tables.nodes[&NodeId::from_text(id)].status.addr;
        let n1 = NodeId::from_text("n1");
        let rival = |addr, seen: Option<Ipv4Addr>| {
            rival(&tables, Some(&n1), addr, seen.map(IpAddr::V4)).map(NodeId::as_str)
        };
        assert_eq!(rival(addr_of("n1"), None), None);
        assert_eq!(rival(addr_of("n2"), Some(addr_of("n1"))), Some("n2"));
        assert_eq!(rival(addr_of("n2"), Some(addr_of("n2"))), None);
        assert_eq!(rival(addr_of("n3"), Some(addr_of("n1"))), None);
        assert_eq!(rival([192, 0, 2, 9].into(), Some(addr_of("n1"))), None);
    }
}
