//! Pure: subnets of networks and addresses inside them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use swarmnet_model::{IpamConfig, Network, Subnet};

/// The addresses of one network that are in use, and the one given last.
#[derive(Clone, Debug)]
pub struct AddressPool {
    first: u32,
    last: u32,
    prefix: u8,
    used: BTreeSet<u32>,
    /// The search goes on after this one, so that an address that was just freed rests a while.
    cursor: Option<u32>,
    full: bool,
}

impl AddressPool {
    /// A pool in which only gateway, network and broadcast address are taken.
    pub fn new(subnet: &Subnet) -> Self {
        let whole = subnet.subnet;
        let (base, broadcast) = (u32::from(whole.network()), u32::from(whole.broadcast()));
        let range = subnet.range.unwrap_or(whole);
        Self {
            first: u32::from(range.network()).max(base),
            last: u32::from(range.broadcast()).min(broadcast),
            prefix: whole.prefix(),
            used: [base, broadcast, u32::from(subnet.gateway)].into(),
            cursor: None,
            full: false,
        }
    }

    /// A pool of a network, its auxiliary addresses taken as well.
    pub fn of(network: &Network) -> Self {
        let mut pool = Self::new(&network.subnet);
        network.auxiliary().for_each(|(_, address)| pool.reserve(*address));
        pool
    }

    /// Marks an address as in use; one outside the pool is no loss.
    pub fn reserve(&mut self, address: Ipv4Addr) {
        self.used.insert(address.into());
    }

    /// Takes an address that somebody asked for, with the subnet's prefix length; `None` when it is
    /// in use or never given.
    pub fn claim(&mut self, address: Ipv4Addr) -> Option<Ipv4Network> {
        let network = Ipv4Network::new(address, self.prefix);
        let free = self.used.insert(address.into());
        free.then(|| network.expect("the prefix length comes from a network"))
    }

    /// The search for a free address starts after this one.
    pub fn continue_after(&mut self, address: Ipv4Addr) {
        self.cursor = Some(address.into());
    }

    /// Gives back an address that was taken from this pool in vain.
    pub fn release(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.into());
        self.full = false;
    }

    /// Takes the next free address, with the subnet's prefix length; `None` when there is none.
    pub fn take(&mut self) -> Option<Ipv4Network> {
        if self.full {
            return None;
        }
        let start = self
            .cursor
            .and_then(|cursor| cursor.checked_add(1))
            .filter(|start| (self.first..=self.last).contains(start))
            .unwrap_or(self.first);
        let free = (start..=self.last)
            .chain(self.first..start)
            .find(|address| !self.used.contains(address));
        let Some(address) = free else {
            self.full = true;
            return None;
        };
        self.used.insert(address);
        self.cursor = Some(address);
        let network = Ipv4Network::new(address.into(), self.prefix);
        Some(network.expect("the prefix length comes from a network"))
    }
}

/// Returns the first block of `bits` prefix length in the pools that overlaps nothing of `taken`.
pub fn free_block(pools: &[Ipv4Network], bits: u8, taken: &[Ipv4Network]) -> Option<Ipv4Network> {
    let mut taken: Vec<(u64, u64)> = taken.iter().map(bounds).collect();
    taken.sort_unstable();
    pools.iter().filter(|pool| pool.prefix() <= bits).find_map(|pool| {
        let (mut start, end) = bounds(pool);
        let size = 1_u64 << 32_u32.checked_sub(bits.into())?;
        for (from, to) in &taken {
            if *to < start {
                continue;
            }
            if *from >= start + size {
                break;
            }
            start = (to + 1).next_multiple_of(size);
        }
        let base = u32::try_from(start).ok()?;
        let fits = start + size - 1 <= end;
        fits.then(|| Ipv4Network::new(base.into(), bits).ok())?
    })
}

/// Returns the network whose subnet overlaps `wished`.
pub fn overlapping<'a>(
    wished: Ipv4Network,
    mut networks: impl Iterator<Item = &'a Network>,
) -> Option<&'a Network> {
    networks.find(|network| network.subnet.subnet.overlaps(wished))
}

/// Why an address configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("ipam configuration: subnet {subnet} does not contain range {range}")]
    RangeOutside { subnet: Ipv4Network, range: Ipv4Network },
    #[error("ipam configuration: subnet {subnet} does not contain gateway {gateway}")]
    GatewayOutside { subnet: Ipv4Network, gateway: Ipv4Addr },
    #[error(
        "ipam configuration: subnet {subnet} does not contain auxiliary address {name}={address}"
    )]
    AuxiliaryOutside { subnet: Ipv4Network, name: String, address: Ipv4Addr },
    #[error("ipam configuration: subnet {subnet} is too small for a gateway and a task")]
    TooSmall { subnet: Ipv4Network },
    #[error("ipam configuration: gateway and auxiliary addresses leave no address of {range} free")]
    NoRoom { range: Ipv4Network },
    #[error("ipam configuration: {what} {address} needs a subnet")]
    NoSubnet { what: &'static str, address: String },
}

/// Completes a configuration with its subnet: host bits cut off, first address as gateway.
///
/// # Errors
/// Range, gateway or auxiliary address outside the subnet, or no room for any task.
pub fn complete(subnet: Ipv4Network, config: &IpamConfig) -> Result<Subnet, SubnetError> {
    let whole = Ipv4Network::new(subnet.network(), subnet.prefix());
    let subnet = whole.expect("the prefix length comes from a network");
    if subnet.prefix() > 30 {
        return Err(SubnetError::TooSmall { subnet });
    }
    if let Some(range) = config.range
        && !range.is_subnet_of(subnet)
    {
        return Err(SubnetError::RangeOutside { subnet, range });
    }
    let first = Ipv4Addr::from(u32::from(subnet.network()) + 1);
    let gateway = config.gateway.unwrap_or(first);
    let usable = gateway != subnet.network() && gateway != subnet.broadcast();
    if !subnet.contains(gateway) || !usable {
        return Err(SubnetError::GatewayOutside { subnet, gateway });
    }
    let outside = config.auxiliary.iter().find(|(_, address)| !subnet.contains(**address));
    if let Some((name, address)) = outside {
        let (name, address) = (name.clone(), *address);
        return Err(SubnetError::AuxiliaryOutside { subnet, name, address });
    }
    let complete = Subnet { subnet, range: config.range, gateway };
    let mut pool = AddressPool::new(&complete);
    config.auxiliary.values().for_each(|address| pool.reserve(*address));
    match pool.take() {
        Some(_) => Ok(complete),
        None => Err(SubnetError::NoRoom { range: config.range.unwrap_or(subnet) }),
    }
}

/// First and last address, wide enough to count past the end of the address space.
fn bounds(network: &Ipv4Network) -> (u64, u64) {
    (u32::from(network.network()).into(), u32::from(network.broadcast()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Network {
        text.parse().unwrap()
    }

    fn subnet(text: &str) -> Subnet {
        complete(net(text), &IpamConfig::default()).unwrap()
    }

    fn taken(pool: &mut AddressPool) -> String {
        pool.take().map_or_else(|| "none".to_owned(), |address| address.to_string())
    }

    #[test]
    fn network_gateway_and_broadcast_address_are_never_given() {
        let mut pool = AddressPool::new(&subnet("10.0.1.0/29"));
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.ip().octets()[3]).collect();
        assert_eq!(all, [2, 3, 4, 5, 6]);
        assert_eq!(taken(&mut pool), "none");
    }

    #[test]
    fn a_freed_address_rests_until_the_others_are_used() {
        let mut pool = AddressPool::new(&subnet("10.0.1.0/29"));
        assert_eq!(taken(&mut pool), "10.0.1.2/29");
        pool.release([10, 0, 1, 2].into());
        for expected in ["10.0.1.3/29", "10.0.1.4/29", "10.0.1.5/29", "10.0.1.6/29", "10.0.1.2/29"]
        {
            assert_eq!(taken(&mut pool), expected);
        }
    }

    #[test]
    fn a_released_address_ends_exhaustion() {
        let mut pool = AddressPool::new(&subnet("10.0.1.0/30"));
        assert_eq!(taken(&mut pool), "10.0.1.2/30");
        assert_eq!(taken(&mut pool), "none");
        pool.release([10, 0, 1, 2].into());
        assert_eq!(taken(&mut pool), "10.0.1.2/30");
    }

    #[test]
    fn a_range_bounds_what_is_given() {
        let config = IpamConfig { range: Some(net("10.0.1.128/30")), ..IpamConfig::default() };
        let mut pool = AddressPool::new(&complete(net("10.0.1.0/24"), &config).unwrap());
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.ip().octets()[3]).collect();
        assert_eq!(all, [128, 129, 130, 131]);
    }

    #[test]
    fn a_gateway_and_auxiliary_addresses_of_the_users_choice_are_never_given() {
        let auxiliary = [("router".to_owned(), [10, 0, 1, 3].into())].into();
        let gateway = Some([10, 0, 1, 4].into());
        let config = IpamConfig { gateway, auxiliary, ..IpamConfig::default() };
        let mut network = crate::world::World::given("network net 10.0.1.0/29").network("net");
        network.subnet = complete(network.subnet.subnet, &config).unwrap();
        network.spec.ipam = vec![config];
        let mut pool = AddressPool::of(&network);
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.ip().octets()[3]).collect();
        assert_eq!(all, [1, 2, 5, 6]);
    }

    #[test]
    fn subnets_are_the_first_free_blocks_of_the_pools() {
        let pools = [net("10.0.0.0/8")];
        let block = |taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|text| net(text)).collect();
            free_block(&pools, 24, &taken).map(|block| block.to_string())
        };
        assert_eq!(block(&[]).as_deref(), Some("10.0.0.0/24"));
        assert_eq!(block(&["10.0.0.0/24"]).as_deref(), Some("10.0.1.0/24"));
        assert_eq!(block(&["10.0.0.0/24", "10.0.2.0/24"]).as_deref(), Some("10.0.1.0/24"));
        assert_eq!(block(&["10.0.0.0/24", "10.0.1.7/32"]).as_deref(), Some("10.0.2.0/24"));
        assert_eq!(block(&["10.0.0.0/9"]).as_deref(), Some("10.128.0.0/24"));
        assert_eq!(block(&["10.0.0.0/8"]), None);
        assert_eq!(block(&["0.0.0.0/0"]), None);
    }

    #[test]
    fn the_next_pool_is_used_when_the_first_is_full() {
        let pools = [net("10.1.0.0/24"), net("255.255.255.0/24")];
        let block = free_block(&pools, 25, &[net("10.1.0.0/24"), net("255.255.255.0/25")]);
        assert_eq!(block, Some(net("255.255.255.128/25")));
        let taken = [net("10.1.0.0/24"), net("255.255.255.0/24")];
        assert_eq!(free_block(&pools, 25, &taken), None);
    }

    #[test]
    fn configurations_that_cannot_work_say_why() {
        let config = |range: Option<&str>, gateway: Option<[u8; 4]>| IpamConfig {
            subnet: None,
            range: range.map(net),
            gateway: gateway.map(Ipv4Addr::from),
            ..IpamConfig::default()
        };
        let auxiliary = |last: &[u8]| IpamConfig {
            auxiliary: last.iter().map(|n| (format!("a{n}"), [10, 0, 1, *n].into())).collect(),
            ..IpamConfig::default()
        };
        for (subnet, config, text) in [
            (
                "10.0.1.0/24",
                config(Some("10.0.2.0/25"), None),
                "does not contain range 10.0.2.0/25",
            ),
            ("10.0.1.0/24", config(None, Some([10, 0, 2, 1])), "does not contain gateway 10.0.2.1"),
            ("10.0.1.0/24", config(None, Some([10, 0, 1, 255])), "does not contain gateway"),
            ("10.0.1.0/31", config(None, None), "is too small"),
            ("10.0.1.0/32", config(None, None), "is too small"),
            ("10.0.1.0/28", auxiliary(&[16]), "does not contain auxiliary address a16=10.0.1.16"),
            ("10.0.1.0/30", auxiliary(&[2]), "leave no address of 10.0.1.0/30 free"),
            ("10.0.1.0/24", config(Some("10.0.1.1/32"), None), "no address of 10.0.1.1/32 free"),
        ] {
            let error = complete(net(subnet), &config).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(subnet("10.0.1.77/24").subnet, net("10.0.1.0/24"), "host bits are cut off");
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(
            prefix in 24_u8..=30,
            reserved in proptest::collection::vec(0_u8.., 0..40),
            steps in proptest::collection::vec(proptest::option::of(0_usize..20), 0..300),
        ) {
            let whole = subnet(&format!("10.0.1.0/{prefix}"));
            let mut pool = AddressPool::new(&whole);
            let mut held: Vec<Ipv4Addr> = Vec::new();
            for last in reserved {
                let address = Ipv4Addr::new(10, 0, 1, last);
                pool.reserve(address);
                held.push(address);
            }
            let fixed = held.len();
            for step in steps {
                match step {
                    Some(index) if fixed + index < held.len() => {
                        let address = held.swap_remove(fixed + index);
                        if !held.contains(&address) {
                            pool.release(address);
                        }
                    }
                    _ => if let Some(given) = pool.take() {
                        let address = given.ip();
                        prop_assert!(!held.contains(&address), "{address} was in use");
                        prop_assert!(whole.subnet.contains(address));
                        prop_assert_ne!(address, whole.gateway);
                        prop_assert_ne!(address, whole.subnet.network());
                        prop_assert_ne!(address, whole.subnet.broadcast());
                        held.push(address);
                    },
                }
            }
        }

        #[test]
        fn a_free_block_overlaps_nothing(
            taken in proptest::collection::vec((0_u32..1 << 16, 20_u8..=32), 0..60),
        ) {
            let taken: Vec<_> = taken
                .into_iter()
                .map(|(low, prefix)| {
                    Ipv4Network::new(Ipv4Addr::from((10 << 24) | low), prefix).unwrap()
                })
                .collect();
            let pool = net("10.0.0.0/16");
            match free_block(&[pool], 24, &taken) {
                Some(block) => {
                    prop_assert!(block.is_subnet_of(pool));
                    prop_assert!(taken.iter().all(|other| !other.overlaps(block)));
                }
                None => {
                    let free = (0..256_u32).map(|i| {
                        Ipv4Network::new(Ipv4Addr::from((10 << 24) | (i << 8)), 24).unwrap()
                    });
                    prop_assert!(free.into_iter().all(|b| taken.iter().any(|t| t.overlaps(b))));
                }
            }
        }
    }
}
