//! Walk N over real stacks: one socket of the host serves its tasks.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::Askers;

use crate::lab::{Lab, TASKS, inside, must};

const RESOLVER: &str = "169.254.77.53:53";
/// Much longer than any answer takes, to see that none comes.
const SILENCE: Duration = Duration::from_millis(500);

/// What the agent sets up for the resolver on the first host.
fn prepare(lab: &Lab) {
    let h1 = lab.ns("h1");
    must(&format!("ip -n {h1} addr add 169.254.77.53/32 dev swn-host scope host"));
    must(&format!("ip -n {h1} route add 169.254.192.0/19 via 169.254.87.1 dev swn-host onlink"));
    for task in TASKS.iter().filter(|task| task.host == 0) {
        must(&format!("ip -n {} route add 169.254.77.53/32 dev eth0", lab.ns(task.name)));
        let (addr, mac) = (Be32::new(task.overlay), task_mac(task.overlay));
        let ifindex = lab.hosts[0].ifindex(&format!("swo-{}", task.name));
        let asker = Asker { ifindex, addr, mac, pad: 0 };
        lab.hosts[0].maps().set::<Askers>(&task.lidx, &asker).unwrap();
    }
    lab.serve("h1", RESOLVER);
}

pub(crate) fn works(lab: &Lab) {
    prepare(lab);
    for task in TASKS.iter().filter(|task| task.host == 0) {
        let known = asker(task.lidx).to_string();
        // 1400 bytes fill the task's MTU
        for len in [1, 1400] {
            assert_eq!(lab.udp(task.name, RESOLVER, len).unwrap().0, known);
        }
        let (client, server) = lab.tcp(task.name, RESOLVER, 3_000_000).unwrap();
        assert_eq!((client.as_str(), server.as_str()), (known.as_str(), RESOLVER));
    }
    assert!(!lab.ping("t1", "169.254.77.53"));
    a_neighbour_of_the_host_is_not_served(lab);
}

/// The host's kernel would deliver to any of its addresses.
fn a_neighbour_of_the_host_is_not_served(lab: &Lab) {
    must(&format!("ip -n {} route add 169.254.77.53/32 via 10.20.20.100", lab.ns("c")));
    let answered = inside(&lab.ns("c"), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.send_to(b"who?", RESOLVER).unwrap();
        let udp = socket.recv_from(&mut [0; 64]).is_ok();
        udp || TcpStream::connect_timeout(&RESOLVER.parse().unwrap(), SILENCE).is_ok()
    });
    assert!(!answered, "the resolver serves the uplink");
}
