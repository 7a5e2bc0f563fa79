//! Words for what nodes have and what tasks ask of them.

use swarmnet_model::container::{LogDriver, MountKind};
use swarmnet_model::placement::Platform;
use swarmnet_model::{GenericResource, Node, TaskSpec};

const CPU: i64 = 1_000_000_000;
const MIB: i64 = 1 << 20;

/// `gpu=2` or `gpu=a,b`.
pub(super) fn generic(kind: &str, value: &str) -> Vec<GenericResource> {
    let kind = kind.to_owned();
    match value.parse() {
        Ok(value) => vec![GenericResource::Discrete { kind, value }],
        Err(_) => value
            .split(',')
            .map(|name| GenericResource::Named { kind: kind.clone(), value: name.to_owned() })
            .collect(),
    }
}

pub(super) fn node_word(node: &mut Node, key: &str, value: &str) {
    let description = node.description.as_mut().unwrap();
    let text = || value.to_owned();
    if let Some(name) = key.strip_prefix("label.") {
        node.spec.labels.insert(name.to_owned(), text());
    } else if let Some(name) = key.strip_prefix("engine.") {
        description.engine_labels.insert(name.to_owned(), text());
    } else {
        match key {
            "cpus" => description.nano_cpus = value.parse::<i64>().unwrap() * CPU,
            "memory" => description.memory_bytes = value.parse::<i64>().unwrap() * MIB,
            "Volume" | "Log" => description.plugins.push((key.to_owned(), text())),
            _ => description.generic.extend(generic(key, value)),
        }
    }
}

/// False if there is no such word.
pub(super) fn service_word(spec: &mut TaskSpec, key: &str, value: &str) -> bool {
    let placement = &mut spec.placement;
    match key {
        "constraint" => placement.constraints.push(value.to_owned()),
        "spread" => placement.spread.push(value.to_owned()),
        "max-per-node" => placement.max_replicas = value.parse().unwrap(),
        "arch" => placement
            .platforms
            .push(Platform { architecture: value.to_owned(), os: "linux".to_owned() }),
        "reserve-cpus" => spec.resources.reserve_nano_cpus = value.parse::<i64>().unwrap() * CPU,
        "reserve-memory" => {
            spec.resources.reserve_memory_bytes = value.parse::<i64>().unwrap() * MIB;
        }
        "log-driver" => {
            spec.log_driver = Some(LogDriver { name: value.to_owned(), ..LogDriver::default() });
        }
        "volume-driver" => {
            let mut mount = super::mount("/data");
            let driver = LogDriver { name: value.to_owned(), ..LogDriver::default() };
            mount.kind = MountKind::Volume {
                no_copy: false,
                labels: Default::default(),
                driver: Some(driver),
                subpath: None,
            };
            spec.container.mounts.push(mount);
        }
        _ => {
            let Some(kind) = key.strip_prefix("reserve-") else { return false };
            spec.resources.reserve_generic.extend(generic(kind, value));
        }
    }
    true
}
