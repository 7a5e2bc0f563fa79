//! Pure: which hosts a lab has and at which addresses.
//!
//! All labs use the same addresses: each has a switch of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};

use crate::spec::{Host, Role, SWITCH};

/// The bridge's own address: the default gateway of every host.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 20, 20, 1);
/// An address outside the lab's subnet that answers, as a target for egress.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const PREFIX_BITS: u8 = 24;
pub(crate) const DOMAIN: &str = "docker-dca.example";
pub(crate) const CLIENT: &str = "client";
pub(crate) const REGISTRY: &str = "registry";

const CLIENT_OCTET: u8 = 50;
const REGISTRY_OCTET: u8 = 5;
const MASTER_OCTET: u8 = 100;
/// Where hosts that are neither master nor nodeNN begin.
const FIRST_FREE_OCTET: u8 = 60;

/// Returns the hosts of a lab: the named nodes, the client and the registry, with addresses.
///
/// `master` is .100, `nodeNN` is .(100+10·NN), any other the next free one from .60 on.
///
/// # Errors
/// A name that is no host name of at most 15 letters (a link is named after it), is reserved or
/// occurs twice; no name at all.
pub(crate) fn plan(names: &[String]) -> Result<Vec<Host>> {
    if names.is_empty() {
        bail!("a lab needs at least one host");
    }
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name)?;
        if !seen.insert(name) {
            bail!("host {name:?} is named twice");
        }
    }
    let mut taken: BTreeSet<u8> = names.iter().filter_map(|name| fixed_octet(name)).collect();
    taken.extend([1, CLIENT_OCTET, REGISTRY_OCTET]);
    let mut hosts = vec![];
    for name in names {
        let octet = match fixed_octet(name) {
            Some(octet) => octet,
            None => next_free(&mut taken)?,
        };
        hosts.push(host(name, octet, Role::Node));
    }
    hosts.push(host(CLIENT, CLIENT_OCTET, Role::Client));
    hosts.push(host(REGISTRY, REGISTRY_OCTET, Role::Registry));
    Ok(hosts)
}

/// Returns the `/etc/hosts` of every host of the lab.
pub(crate) fn hosts_file(hosts: &[Host]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for Host { name, address, .. } in hosts {
        writeln!(text, "{address} {name} {name}.{DOMAIN}").expect("a String takes all writes");
    }
    text
}

/// Returns a host's MAC address. It depends on the address only, so that a host that was started
/// again is found by its neighbours at once.
pub(crate) fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:5a:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn host(name: &str, octet: u8, role: Role) -> Host {
    Host { name: name.to_owned(), address: Ipv4Addr::new(10, 20, 20, octet), role }
}

fn check_name(name: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > 15
        || !name.chars().all(inner)
        || !ends(name.chars().next())
        || !ends(name.chars().last())
    {
        bail!("bad host name {name:?}: use 1 to 15 of a-z, 0-9 and - (not at the ends)");
    }
    if [CLIENT, REGISTRY, SWITCH, "localhost", "lo", "br0"].contains(&name) {
        bail!("host name {name:?} is taken by the lab itself");
    }
    Ok(())
}

fn fixed_octet(name: &str) -> Option<u8> {
    if name == "master" {
        return Some(MASTER_OCTET);
    }
    let digits = name.strip_prefix("node").filter(|digits| digits.len() == 2)?;
    let number: u8 = digits.parse().ok().filter(|number| (1..=15).contains(number))?;
    Some(MASTER_OCTET + 10 * number)
}

fn next_free(taken: &mut BTreeSet<u8>) -> Result<u8> {
    match (FIRST_FREE_OCTET..255).find(|octet| !taken.contains(octet)) {
        Some(octet) => {
            taken.insert(octet);
            Ok(octet)
        }
        None => bail!("more hosts than addresses in 10.20.20.0/24"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let hosts = plan(&names).unwrap();
        hosts.iter().map(|host| format!("{} {}", host.name, host.address)).collect()
    }

    #[test]
    fn the_usual_hosts_have_the_addresses_of_the_real_machines() {
        assert_eq!(
            addresses(&["master", "node01", "node02"]),
            [
                "master 10.20.20.100",
                "node01 10.20.20.110",
                "node02 10.20.20.120",
                "client 10.20.20.50",
                "registry 10.20.20.5",
            ]
        );
    }

    #[test]
    fn other_hosts_take_the_next_free_address() {
        assert_eq!(
            addresses(&["edge", "node15", "node99", "m2"])[..4],
            ["edge 10.20.20.60", "node15 10.20.20.250", "node99 10.20.20.61", "m2 10.20.20.62"]
        );
    }

    #[test]
    fn names_that_cannot_be_a_host_are_refused() {
        for names in [
            &[][..],
            &[""],
            &["client"],
            &["switch"],
            &["-a"],
            &["a-"],
            &["A"],
            &["a/b"],
            &["abcdefghijklmnop"],
            &["a", "a"],
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert!(plan(&names).is_err(), "{names:?} were accepted");
        }
    }

    #[test]
    fn every_host_is_known_by_its_short_and_its_long_name() {
        let hosts = plan(&["node01".to_owned()]).unwrap();
        assert!(hosts_file(&hosts).contains("10.20.20.110 node01 node01.docker-dca.example\n"));
    }
}
