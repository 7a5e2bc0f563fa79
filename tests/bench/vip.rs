//! A service's VIP from a task on another node, against the task's own address on the same path, and
//! against an nftables map that does the same by DNAT over a bridge with VXLAN; then once more with
//! ten thousand services on the network.

use swarmnet_tests::harness::lab::{Lab, binaries, wait_for};
use swarmnet_tests::harness::probe::Probe;

use crate::overlay::tasks;
use crate::path::{Load, Path, interleave};
use crate::peers::static_overlay;
use crate::report::Row;

const ROUNDS: usize = 11;
const SERVICES: usize = 10_000;
/// The address in nftables' map that stands for the server.
const NFT_VIP: &str = "10.98.0.1";

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    let mut paths = paths(lab);
    let mut rows = round(&mut paths, "1 service");
    rows[0].conditions.extend([
        "client on node01, server on node02, both on one CPU; one task behind the VIP".to_owned(),
        "direct: the task's own address, by the same overlay".to_owned(),
        format!("nftables: output DNAT by a map of {SERVICES} addresses, over bridge+vxlan"),
    ]);
    more_services(lab);
    rows.extend(round(&mut paths, "10,000 services"));
    rows
}

fn paths(lab: &Lab) -> Vec<Path<'_>> {
    let direct = tasks(lab);
    let format = "{{(index .Endpoint.VirtualIPs 0).Addr}}";
    let vip = lab.ok("master", &["docker", "service", "inspect", "right", "--format", format]);
    let vip = vip.trim().split('/').next().expect("split gives one part").to_owned();
    let over_vip = Path::new("VIP", direct.client.clone(), direct.server.clone(), vip);
    let peer = static_overlay(lab);
    load_nft_map(&peer);
    let nft = Path::new("nftables", peer.client, peer.server, NFT_VIP.to_owned());
    let direct = Path::new("direct", direct.client, direct.server, direct.address);
    vec![over_vip, direct, nft]
}

fn round(paths: &mut [Path<'_>], services: &str) -> Vec<Row> {
    let mut rows = vec![];
    for load in [Load::Requests, Load::Connections] {
        interleave(paths, load, ROUNDS);
        for peer in &paths[1..] {
            let mut row = paths[0].row(load, peer);
            row.name = format!("{}, {services}", row.name);
            rows.push(row);
        }
    }
    rows
}

/// One element leads to the server, the others to addresses that nobody asks for.
fn load_nft_map(peer: &Path<'_>) {
    let others = (1..SERVICES).map(|n| format!("10.97.{}.{} : {}", n / 250, n % 250, peer.address));
    let elements: Vec<String> =
        std::iter::once(format!("{NFT_VIP} : {}", peer.address)).chain(others).collect();
    let script = format!(
        "table ip bench {{
        map vips {{ type ipv4_addr : ipv4_addr; elements = {{ {} }}; }}
        chain output {{
        type nat hook output priority -100;
        ip daddr 10.96.0.0/13 dnat to ip daddr map @vips
        }}
        }}
",
        elements.join(", ")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    peer.client.sh(&format!("nft -f {}", file.path().display()));
    // The address has to be routed before its DNAT is looked at.
    peer.client.sh(&format!("ip route add 10.96.0.0/13 via {} dev eth0 onlink", peer.address));
}

/// Creates services without tasks until there are so many; each has a VIP on the network.
pub(crate) fn more_services(lab: &Lab) {
    let network = lab.docker("network inspect bench --format {{.Id}}");
    let count = (SERVICES - 2).to_string();
    let mut probe = Probe::start(lab, "master", &["create", &count, network.trim()]);
    probe.go();
    let (created, _) = probe.finding();
    assert_eq!(created, count);
    let swarmnet = binaries().join("swarmnet").to_string_lossy().into_owned();
    wait_for("all VIPs on the client's node", || {
        let lb = lab.on("node01", &[&swarmnet, "debug", "lb", "-o", "json"]).stdout;
        lb.matches("bench-vip-").count() >= SERVICES - 2
    });
}
