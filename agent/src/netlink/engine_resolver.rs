//! The engine's own resolver in a sandbox, without connection tracking.
//!
//! The engine leads 127.0.0.11:53 to a port of its own by address translation. That makes the kernel
//! track every connection of the task, those on overlays too, which costs a tenth of each. The same
//! ports are led there by rules that need no tracking, then the engine's rules go. Its own programs
//! use 169.254.77.53; 127.0.0.11 is left for configurations that name it.
//!
//! Rules of the task itself stay, and whatever tracking they ask for.

use std::path::Path;

use super::nft::{FirewallError, run_inside};

/// Name of our table inside of sandboxes.
const TABLE: &str = "swarmnet";
/// Where the engine's resolver is asked.
const RESOLVER: &str = "127.0.0.11";
/// The engine's rules, which it makes before a container starts.
const REMOVAL: &str = "*nat
-D OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-D POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-F DOCKER_OUTPUT
-F DOCKER_POSTROUTING
-X DOCKER_OUTPUT
-X DOCKER_POSTROUTING
COMMIT
";
/// Chains of the kernel that hold nothing any more; refused if a rule of somebody else is in one.
const EMPTY_CHAINS: &str = "*nat
-X OUTPUT
-X POSTROUTING
COMMIT
";

/// Ports of the engine's resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    udp: u16,
    tcp: u16,
}

/// Takes the engine's rules in the sandbox at `path` out of tracking; false if there are none.
///
/// # Errors
/// `FirewallError`; the resolver is then led to as before.
pub async fn untrack(path: &Path) -> Result<bool, FirewallError> {
    let listing = run_inside(path, "iptables", &["-w", "2", "-t", "nat", "-S"], "").await?;
    let Some(ports) = ports(&listing) else { return Ok(false) };
    // Does nothing as long as the engine's rules are before it.
    run_inside(path, "nft", &["-f", "-"], &script(ports)).await?;
    let restore = ["-w", "2", "--noflush"];
    run_inside(path, "iptables-restore", &restore, REMOVAL).await?;
    match run_inside(path, "iptables-restore", &restore, EMPTY_CHAINS).await {
        // Older versions keep them always.
        Ok(_) | Err(FirewallError::Refused { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Returns the ports if the engine has written all its rules, which it does one by one.
fn ports(listing: &str) -> Option<Ports> {
    let port = |proto: &str| -> Option<u16> {
        let to = format!(
            "-A DOCKER_OUTPUT -d {RESOLVER}/32 -p {proto} -m {proto} --dport 53 -j DNAT --to-destination {RESOLVER}:"
        );
        let port = listing.lines().find_map(|line| line.strip_prefix(&to))?;
        let back = format!(
            "-A DOCKER_POSTROUTING -s {RESOLVER}/32 -p {proto} -m {proto} --sport {port} -j SNAT --to-source :53"
        );
        listing.lines().any(|line| line == back).then_some(port)?.parse().ok()
    };
    Some(Ports { udp: port("udp")?, tcp: port("tcp")? })
}

/// Packets to the resolver stay in the namespace: only those of the loopback device are looked at.
fn script(ports: Ports) -> String {
    let Ports { udp, tcp } = ports;
    format!(
        "add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain resolver {{
    ip daddr {RESOLVER} udp dport 53 udp dport set {udp}
    ip daddr {RESOLVER} tcp dport 53 tcp dport set {tcp}
    ip saddr {RESOLVER} udp sport {udp} udp sport set 53
    ip saddr {RESOLVER} tcp sport {tcp} tcp sport set 53
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oif lo jump resolver
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "-P OUTPUT ACCEPT
-N DOCKER_OUTPUT
-N DOCKER_POSTROUTING
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:34081
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:50471
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 34081 -j SNAT --to-source :53
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 50471 -j SNAT --to-source :53
";

    #[test]
    fn the_ports_are_taken_from_the_engines_rules() {
        assert_eq!(ports(LISTING), Some(Ports { udp: 50_471, tcp: 34_081 }));
    }

    #[test]
    fn unfinished_rules_are_left_alone() {
        let lines: Vec<_> = LISTING.lines().collect();
        for missing in 5..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            assert_eq!(ports(&fewer.join("\n")), None, "without {}", lines[missing]);
        }
    }
}
