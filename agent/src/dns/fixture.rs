//! Views and journals from a few words, and answers as text, for tests.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use swarmnet_model::endpoint::{EndpointMode, PortSpec, Protocol, PublishMode, Vip};
use swarmnet_model::view::{
    AssignedTask, Backend, BackendState, NetworkItem, ServiceItem, ServiceNetwork,
};
use swarmnet_model::{
    Attachment, Item, ItemKey, NetworkId, NodeId, NodeView, ServiceId, Subnet, TaskId, Vni,
};

use super::answer::{Verdict, answer};
use super::message::Transport;
use super::zone::Zone;
use crate::plugin::journal::{Endpoint, Journal, NetworkKind};
use crate::task::fixture;

/// A node's view and journal.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) view: NodeView,
    pub(super) journal: Journal,
}

impl World {
    /// Reads lines:
    ///
    /// ```text
    /// network NAME SUBNET [internal]
    /// service NAME vip|dnsrr [NETWORK=VIP,ALIAS…]… [port:NAME:NUMBER]
    /// task SERVICE.SLOT STATE [NETWORK=ADDRESS,ALIAS…]…
    /// plain NAME STATE [NETWORK=ADDRESS,ALIAS…]…
    /// asker LIDX TASK NETWORK|gateway… [dns:ADDRESS]
    /// ```
    pub(super) fn of(text: &str) -> Self {
        let mut world = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (kind, rest) = line.split_once(' ').unwrap();
            let words: Vec<_> = rest.split_whitespace().collect();
            match kind {
                "network" => world.network(&words),
                "service" => world.service(&words),
                "task" | "plain" => world.backend(kind, &words),
                "asker" => world.asker(&words),
                _ => panic!("{line}"),
            }
        }
        world
    }

    pub(super) fn zone(&self) -> Zone {
        Zone::build(&self.view, &self.journal)
    }

    fn network(&mut self, words: &[&str]) {
        let id = NetworkId::from_text(words[0]);
        let vni = 4_096 + u32::try_from(self.view.len()).unwrap();
        let item = NetworkItem {
            id: id.clone(),
            name: words[0].to_owned(),
            vni: Vni::new(vni).unwrap(),
            subnet: Subnet {
                subnet: words[1].parse().unwrap(),
                range: None,
                gateway: Ipv4Addr::UNSPECIFIED,
            },
            internal: words.contains(&"internal"),
            attachable: true,
            mtu: None,
            shown: Default::default(),
        };
        self.view.insert(ItemKey::Network(id), Item::Network(item));
    }

    fn service(&mut self, words: &[&str]) {
        let id = ServiceId::from_text(words[0]);
        let mode = if words[1] == "vip" { EndpointMode::Vip } else { EndpointMode::Dnsrr };
        let mut item = ServiceItem {
            id: id.clone(),
            name: words[0].to_owned(),
            mode,
            vips: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
        };
        for word in &words[2..] {
            if let Some(port) = word.strip_prefix("port:") {
                item.ports.push(port_of(port));
                continue;
            }
            let attachment = attachment_of(word);
            let network_id = attachment.network_id;
            if mode == EndpointMode::Vip {
                let address = attachment.address;
                item.vips.push(Vip { network_id: network_id.clone(), address });
            }
            item.networks.push(ServiceNetwork { network_id, aliases: attachment.aliases });
        }
        self.view.insert(ItemKey::Service(id), Item::Service(item));
    }

    fn backend(&mut self, kind: &str, words: &[&str]) {
        let (state, count) = (state_of(words[1]), self.view.len());
        let service = words[0].split('.').next().unwrap();
        // Several tasks may have one name: the state tells them apart.
        let task_id = TaskId::from_text(format!("{}-{}", words[0].replace('.', "-"), words[1]));
        let item = Backend {
            task_id: task_id.clone(),
            task_name: words[0].to_owned(),
            service_id: (kind == "task").then(|| ServiceId::from_text(service)),
            node_id: NodeId::from_text("n1"),
            state,
            attachments: words[2..].iter().map(|word| attachment_of(word)).collect(),
            gateway: None,
        };
        self.view.insert(ItemKey::Backend(task_id), Item::Backend(item));
        assert!(self.view.len() > count, "{words:?} is there twice");
    }

    fn asker(&mut self, words: &[&str]) {
        let task_id = TaskId::from_text(words[1]);
        for word in &words[2..] {
            if word.starts_with("dns:") {
                continue;
            }
            let lidx = words[0].parse::<u32>().unwrap()
                + u32::try_from(self.journal.endpoints.len()).unwrap() * 100;
            let endpoint = self.endpoint(word, &task_id, lidx);
            self.journal.endpoints.insert(format!("{lidx}-{word}"), endpoint);
        }
        let mut task = fixture::task(words[1], 1);
        task.id = task_id.clone();
        let servers = words.iter().filter_map(|word| word.strip_prefix("dns:"));
        task.spec.container.dns.nameservers = servers.map(str::to_owned).collect();
        let item = AssignedTask { task: task.into(), withdrawn: false, registry_auth: None };
        self.view.insert(ItemKey::Task(task_id), Item::Task(Box::new(item)));
    }

    fn endpoint(&self, network: &str, task: &TaskId, lidx: u32) -> Endpoint {
        let id = NetworkId::from_text(network);
        let item = crate::inputs::network(&self.view, &id);
        Endpoint {
            network: item.map_or(NetworkKind::Gateway, |n| NetworkKind::Overlay(n.id.clone())),
            task: task.clone(),
            address: "10.0.0.1/32".parse().unwrap(),
            vni: item.map_or(0, |n| n.vni.get()),
            internal: item.is_some_and(|n| n.internal),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1_450,
            lidx,
            sandbox: Some(PathBuf::from("/run/sandbox")),
            resolver_prefix: None,
            upstreams: Vec::new(),
        }
    }
}

fn port_of(text: &str) -> PortSpec {
    let (name, number) = text.split_once(':').unwrap();
    PortSpec {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        target_port: number.parse().unwrap(),
        published_port: 30_000,
        mode: PublishMode::Ingress,
    }
}

fn attachment_of(word: &str) -> Attachment {
    let (network, rest) = word.split_once('=').unwrap();
    let mut parts = rest.split(',');
    let address = parts.next().unwrap();
    let address = if address == "-" { "0.0.0.0" } else { address };
    Attachment {
        network_id: NetworkId::from_text(network),
        address: format!("{address}/24").parse().unwrap(),
        aliases: parts.map(str::to_owned).collect(),
    }
}

fn state_of(word: &str) -> BackendState {
    match word {
        "active" => BackendState::Active,
        "placed" => BackendState::Placed,
        "draining" => BackendState::Draining,
        "down" => BackendState::Down,
        _ => panic!("{word}"),
    }
}

/// Returns the bytes of a query `NAME TYPE [edns:SIZE]`.
pub(super) fn query(text: &str) -> Vec<u8> {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let number = || RecordType::from(words[1].parse::<u16>().unwrap());
    let kind: RecordType = words[1].parse().unwrap_or_else(|_| number());
    let mut asked = hickory_proto::op::Query::query(WireName::root(), kind);
    if words[0] != "." {
        let labels: Vec<_> = words[0].split('.').map(|label| label.as_bytes().to_vec()).collect();
        let mut name = WireName::from_labels(labels).unwrap();
        name.set_fqdn(true);
        asked.set_name(name);
    }
    message.add_query(asked);
    if let Some(size) = words.iter().find_map(|word| word.strip_prefix("edns:")) {
        let mut edns = Edns::new();
        edns.set_max_payload(size.parse().unwrap());
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// Asks a zone by UDP and tells the answer as text.
pub(super) fn ask(zone: &Zone, lidx: u32, text: &str) -> String {
    ask_bytes(zone, lidx, &query(text), Transport::Udp)
}

pub(super) fn ask_bytes(zone: &Zone, lidx: u32, message: &[u8], transport: Transport) -> String {
    let Some(asker) = zone.asker(lidx) else { return "stranger".to_owned() };
    let mut out = Vec::new();
    match answer(message, transport, (zone, asker), 0, &mut out) {
        Verdict::Reply(_) => text_of(&out),
        Verdict::Forward(_) => format!("forward to {:?}", asker.upstreams),
        Verdict::Drop => "drop".to_owned(),
    }
}

/// Tells a reply as text: code, truncation, answers, additional addresses.
pub(super) fn text_of(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.metadata.message_type, MessageType::Response);
    let mut text = format!("{:?}", message.metadata.response_code);
    if message.metadata.truncation {
        text += " TC";
    }
    for record in &message.answers {
        write!(text, " {}", record_text(record)).unwrap();
    }
    for record in &message.additionals {
        write!(text, " +{}={}", record.name, record_text(record)).unwrap();
    }
    text
}

fn record_text(record: &Record) -> String {
    assert!(record.ttl <= 5 || record.ttl > 30, "our own answers are short-lived");
    if let RData::A(addr) = &record.data {
        return addr.to_string();
    }
    if let RData::SRV(srv) = &record.data {
        return format!("{}:{}", srv.target, srv.port);
    }
    record.data.to_string()
}
