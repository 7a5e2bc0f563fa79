//! Pure: what `/info` and `/version` say while the engine does not answer.
//!
//! `docker node ls`, `swarm join-token` and `stack deploy` ask for them: they must work on a manager
//! whose engine is down.

use serde_json::{Value, json};

use crate::host::Host;
use crate::version::{ApiVersion, LOWEST};

/// The info of a machine without its engine: nothing is counted, `why` is a warning.
pub(crate) fn info(host: &Host, why: &str) -> Value {
    json!({
        "ID": "",
        "Containers": 0, "ContainersRunning": 0, "ContainersPaused": 0, "ContainersStopped": 0,
        "Images": 0,
        "Driver": "", "DriverStatus": null,
        "Plugins": {"Volume": [], "Network": ["overlay"], "Authorization": null, "Log": []},
        "LoggingDriver": "", "CgroupDriver": "",
        // The CLI warns of each limit that a Linux engine says it cannot set; nobody said so here.
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsPeriod": true, "CpuCfsQuota": true,
        "CPUShares": true, "CPUSet": true, "PidsLimit": true, "OomKillDisable": true,
        "KernelMemory": true, "KernelMemoryTCP": true,
        "IPv4Forwarding": true, "BridgeNfIptables": true, "BridgeNfIp6tables": true,
        "KernelVersion": host.kernel, "OperatingSystem": host.operating_system,
        "OSType": "linux", "Architecture": std::env::consts::ARCH,
        "NCPU": host.cpus, "MemTotal": host.memory_bytes,
        "Name": host.name,
        "Labels": [], "ServerVersion": "",
        "Swarm": null,
        "Warnings": [format!("WARNING: {why}; what is shown of it is empty")],
    })
}

/// The version of a node without its engine.
pub(crate) fn version(
    host: &Host,
    announced: ApiVersion,
    swarmnet_version: &str,
    why: &str,
) -> Value {
    json!({
        "Platform": {"Name": ""},
        "Components": [{
            "Name": "swarmnet",
            "Version": swarmnet_version,
            "Details": {
                "ApiVersion": announced.to_string(),
                "MinAPIVersion": LOWEST.to_string(),
                "Engine": why,
            },
        }],
        "Version": "",
        "ApiVersion": announced.to_string(),
        "MinAPIVersion": LOWEST.to_string(),
        "Os": "linux",
        "Arch": go_arch(std::env::consts::ARCH),
        "KernelVersion": host.kernel,
    })
}

/// `/version` names machines as Go does, `/info` as the kernel does.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
