//! Pure: which address a node listens on and which one it tells the others, in Docker's words.

use std::net::Ipv4Addr;

use swarmnet_model::defaults::CONTROL_PORT;
use swarmnet_model::{CallError, Code};

/// An interface with its global IPv4 addresses, in the kernel's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) addrs: Vec<Ipv4Addr>,
}

/// What the node binds to and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) listen: (Ipv4Addr, u16),
    /// `None`: the manager takes the address it sees (a join only).
    pub(crate) advertise: Option<(Ipv4Addr, u16)>,
}

/// What the user gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) listen: &'a str,
    pub(crate) advertise: &'a str,
    pub(crate) data_path: &'a str,
}

/// Devices of container engines, whose addresses other nodes cannot reach.
const FOREIGN_DEVICES: [&str; 5] = ["docker", "br-", "veth", "swn-", "lxc"];

/// Returns the addresses for `swarm init`.
///
/// # Errors
/// Docker's texts: an address that is none, or several candidates and no choice.
pub(crate) fn for_init(given: Given<'_>, interfaces: &[Interface]) -> Result<Addresses, CallError> {
    let listen = listen(given.listen, interfaces)?;
    check_data_path(given.data_path, interfaces)?;
    let advertise = match advertise(given.advertise, listen.1, interfaces)? {
        Some(chosen) => chosen,
        None if listen.0.is_unspecified() => (system_address(interfaces)?, listen.1),
        None => listen,
    };
    Ok(Addresses { listen, advertise: Some(advertise) })
}

/// Returns the addresses for `swarm join`: without advertise address the manager sees the right one.
///
/// # Errors
/// Docker's texts for an address that is none.
pub(crate) fn for_join(given: Given<'_>, interfaces: &[Interface]) -> Result<Addresses, CallError> {
    let listen = listen(given.listen, interfaces)?;
    check_data_path(given.data_path, interfaces)?;
    let chosen = advertise(given.advertise, listen.1, interfaces)?;
    let advertise = chosen.or((!listen.0.is_unspecified()).then_some(listen));
    Ok(Addresses { listen, advertise })
}

fn listen(text: &str, interfaces: &[Interface]) -> Result<(Ipv4Addr, u16), CallError> {
    let bad = || {
        refused(
            "listen address must be an IP address or network interface (with optional port number)",
        )
    };
    if text.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, CONTROL_PORT));
    }
    let (host, port) = host_and_port(text).ok_or_else(bad)?;
    let addr = resolve(host, interfaces).transpose()?.ok_or_else(bad)?;
    Ok((addr, port.unwrap_or(CONTROL_PORT)))
}

fn advertise(
    text: &str,
    listen_port: u16,
    interfaces: &[Interface],
) -> Result<Option<(Ipv4Addr, u16)>, CallError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || {
        refused(
            "advertise address must be a non-zero IP address or network interface \
             (with optional port number)",
        )
    };
    let (host, port) = host_and_port(text).ok_or_else(bad)?;
    let addr = resolve(host, interfaces).transpose()?.ok_or_else(bad)?;
    match addr.is_unspecified() {
        true => Err(bad()),
        false => Ok(Some((addr, port.unwrap_or(listen_port)))),
    }
}

/// The data path leaves by the advertised address; another one is checked and refused.
fn check_data_path(text: &str, interfaces: &[Interface]) -> Result<(), CallError> {
    if text.is_empty() {
        return Ok(());
    }
    let addr = resolve(text, interfaces).transpose()?.filter(|addr| !addr.is_unspecified());
    match addr {
        Some(_) => Err(CallError::api(
            Code::Unimplemented,
            "a data path address of its own is not supported: the data path uses the advertise \
             address",
        )),
        None => Err(refused(
            "data path address must be a non-zero IP address or network interface \
             (without a port number)",
        )),
    }
}

/// Splits `host[:port]`; port 0 is none.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((host, port)) => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            (!host.is_empty()).then_some((host, Some(port)))
        }
    }
}

/// Returns the address or that of the named interface; `None` if the text is neither.
fn resolve(host: &str, interfaces: &[Interface]) -> Option<Result<Ipv4Addr, CallError>> {
    if let Ok(addr) = host.parse() {
        return Some(Ok(addr));
    }
    let interface = interfaces.iter().find(|interface| interface.name == host)?;
    Some(match interface.addrs.as_slice() {
        [] => Err(refused(&format!("interface {host} has no usable IPv4 or IPv6 address"))),
        [only] => Ok(*only),
        [first, second, ..] => Err(refused(&format!(
            "interface {host} has more than one IPv4 address ({first} and {second})"
        ))),
    })
}

/// Returns the machine's only candidate.
fn system_address(interfaces: &[Interface]) -> Result<Ipv4Addr, CallError> {
    let ours = |interface: &&Interface| {
        !FOREIGN_DEVICES.iter().any(|prefix| interface.name.starts_with(prefix))
    };
    let mut candidates = interfaces
        .iter()
        .filter(ours)
        .flat_map(|interface| interface.addrs.iter().map(|addr| (interface.name.as_str(), *addr)));
    let Some((name, addr)) = candidates.next() else {
        return Err(refused("could not find the system's IP address"));
    };
    let what = "could not choose an IP address to advertise since this system has multiple";
    match candidates.next() {
        None => Ok(addr),
        Some((other, second)) if other == name => {
            Err(refused(&format!("{what} addresses on interface {name} ({addr} and {second})")))
        }
        Some((other, second)) => Err(refused(&format!(
            "{what} addresses on different interfaces ({addr} on {name} and {second} on {other})"
        ))),
    }
}

fn refused(text: &str) -> CallError {
    CallError::api(Code::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addrs: &[&str]) -> Interface {
        let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        Interface { name: name.to_owned(), addrs }
    }

    fn given<'a>(listen: &'a str, advertise: &'a str) -> Given<'a> {
        Given { listen, advertise, data_path: "" }
    }

    fn init(given: Given<'_>, interfaces: &[Interface]) -> Result<String, String> {
        let chosen = for_init(given, interfaces).map_err(|error| error.to_string())?;
        let (addr, port) = chosen.advertise.unwrap();
        Ok(format!("{}:{} {addr}:{port}", chosen.listen.0, chosen.listen.1))
    }

    #[test]
    fn the_tutorials_init_listens_everywhere_and_advertises_what_was_given() {
        let two = [interface("eth0", &["10.0.2.15"]), interface("eth1", &["10.20.20.100"])];
        let ok = |text: &str| Ok(text.to_owned());
        let all = "0.0.0.0:2377";
        assert_eq!(init(given(all, "10.20.20.100"), &two), ok("0.0.0.0:2377 10.20.20.100:2377"));
        assert_eq!(init(given(all, "eth1"), &two), ok("0.0.0.0:2377 10.20.20.100:2377"));
        assert_eq!(init(given(all, "eth1:99"), &two), ok("0.0.0.0:2377 10.20.20.100:99"));
        assert_eq!(init(given("eth1:99", ""), &two), ok("10.20.20.100:99 10.20.20.100:99"));
        assert_eq!(init(given(all, ""), &two[..1]), ok("0.0.0.0:2377 10.0.2.15:2377"));
    }

    #[test]
    fn without_choice_among_several_addresses_both_are_named() {
        let two = [interface("eth0", &["10.0.2.15"]), interface("eth1", &["10.20.20.100"])];
        let one = [interface("eth0", &["10.0.2.15", "10.0.2.16"])];
        let what = "could not choose an IP address to advertise since this system has multiple";
        assert_eq!(
            init(given("0.0.0.0:2377", ""), &two),
            Err(format!(
                "{what} addresses on different interfaces (10.0.2.15 on eth0 and 10.20.20.100 \
                 on eth1)"
            ))
        );
        assert_eq!(
            init(given("0.0.0.0:2377", ""), &one),
            Err(format!("{what} addresses on interface eth0 (10.0.2.15 and 10.0.2.16)"))
        );
        assert_eq!(
            init(given("0.0.0.0:2377", ""), &[]),
            Err("could not find the system's IP address".to_owned())
        );
    }

    #[test]
    fn the_engines_own_devices_are_no_candidates() {
        let interfaces = [
            interface("eth0", &["10.20.20.100"]),
            interface("docker0", &["172.17.0.1"]),
            interface("br-0123456789ab", &["172.18.0.1"]),
        ];
        let expected = "0.0.0.0:2377 10.20.20.100:2377";
        assert_eq!(init(given("", ""), &interfaces).as_deref(), Ok(expected));
    }

    #[test]
    fn bad_addresses_are_refused_in_dockers_words() {
        let eth0 = [interface("eth0", &["10.20.20.100"])];
        let listen =
            "listen address must be an IP address or network interface (with optional port number)";
        for text in ["nosuch", "300.1.1.1", "eth0:0", "eth0:70000", ":2377", "1.2.3.4:x"] {
            assert_eq!(init(given(text, ""), &eth0), Err(listen.to_owned()), "{text}");
        }
        let advertise = "advertise address must be a non-zero IP address or network interface \
                         (with optional port number)";
        for text in ["nosuch", "0.0.0.0", "0.0.0.0:2377", "eth0:port"] {
            assert_eq!(init(given("", text), &eth0), Err(advertise.to_owned()), "{text}");
        }
        let data = "data path address must be a non-zero IP address or network interface \
                    (without a port number)";
        for text in ["nosuch", "0.0.0.0", "10.20.20.100:4789"] {
            let given = Given { data_path: text, ..given("", "") };
            assert_eq!(init(given, &eth0), Err(data.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_joiner_without_advertise_address_lets_the_manager_see_it() {
        let eth0 = [interface("eth0", &["10.20.20.110"])];
        let chosen = for_join(given("0.0.0.0:2377", ""), &eth0).unwrap();
        assert_eq!(chosen.advertise, None);
        let chosen = for_join(given("eth0", ""), &eth0).unwrap();
        assert_eq!(chosen.advertise, Some(("10.20.20.110".parse().unwrap(), 2377)));
    }
}
