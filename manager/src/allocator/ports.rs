//! Pure: which published ports a service gets, and who holds a port.

use std::collections::BTreeMap;

use swarmnet_model::port::DYNAMIC_PORTS;
use swarmnet_model::{
    PortSpec, Protocol, PublishMode, PublishedPort, Service, ServiceId, ServiceSpec, Tables,
};

/// Every ingress port in use, with its holder.
#[derive(Clone, Debug, Default)]
pub struct PortPool {
    held: BTreeMap<(Protocol, u16), ServiceId>,
    /// Served by tasks on their own nodes; never chosen for the mesh.
    host: BTreeMap<(Protocol, u16), ServiceId>,
}

/// Why a service cannot have its ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("port '{port}' is already in use by service '{name}' ({id}) as {kind}")]
    InUse { port: u16, name: String, id: ServiceId, kind: PortUse },
    #[error("no free port is left in {}-{} for {protocol}", DYNAMIC_PORTS.start(), DYNAMIC_PORTS.end())]
    Exhausted { protocol: Protocol },
}

/// How the other service uses the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    Ingress,
    Host,
}

impl std::fmt::Display for PortUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingress => "an ingress port",
            Self::Host => "a host-published port",
        })
    }
}

impl PortPool {
    /// Reads who holds what: endpoints that were given, then ports that specs name.
    pub fn observe(tables: &Tables) -> Self {
        let mut pool = Self::default();
        let kept = || tables.services.values().filter(|service| !service.pending_delete);
        for service in kept() {
            let given = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
            pool.note(&service.id, given);
        }
        for service in kept() {
            pool.note(&service.id, &service.spec.endpoint.ports);
            pool.note(&service.id, chosen(service, tables));
        }
        pool
    }

    /// True if every node serves this port.
    pub fn is_held(&self, port: (Protocol, u16)) -> bool {
        self.held.contains_key(&port)
    }

    fn note<'a>(&mut self, id: &ServiceId, ports: impl IntoIterator<Item = &'a PortSpec>) {
        for port in ports.into_iter().filter(|port| port.published_port != 0) {
            let side = match port.mode {
                PublishMode::Ingress => &mut self.held,
                PublishMode::Host => &mut self.host,
            };
            side.entry(key(port)).or_insert_with(|| id.clone());
        }
    }

    /// Gives `service` its ports, in the order of its spec, and frees those it had and lost.
    ///
    /// An automatic port that is still asked for keeps its number.
    ///
    /// # Errors
    /// A named port belongs to another service, or the automatic range is exhausted; nothing changed.
    pub fn answer(
        &mut self,
        service: &Service,
        tables: &Tables,
    ) -> Result<Vec<PublishedPort>, PortError> {
        let before = self.clone();
        let answer = self.try_answer(service, tables);
        if answer.is_err() {
            *self = before;
        }
        answer
    }

    fn try_answer(
        &mut self,
        service: &Service,
        tables: &Tables,
    ) -> Result<Vec<PublishedPort>, PortError> {
        self.held.retain(|_, holder| *holder != service.id);
        let mut ports = service.spec.endpoint.ports.clone();
        let mut previous: Vec<_> =
            service.endpoint.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
        for port in ports.iter().filter(|port| is_ingress(port) && port.published_port != 0) {
            if let Some(holder) = self.held.insert(key(port), service.id.clone()) {
                return Err(in_use(port.published_port, &holder, PortUse::Ingress, tables));
            }
        }
        let automatic = |port: &&mut PortSpec| is_ingress(port) && port.published_port == 0;
        for port in ports.iter_mut().filter(automatic) {
            if let Some(number) = self.kept(port, &mut previous) {
                port.published_port = number;
                self.held.insert(key(port), service.id.clone());
            }
        }
        for port in ports.iter_mut().filter(automatic) {
            port.published_port = self.first_free(port.protocol)?;
            self.held.insert(key(port), service.id.clone());
        }
        Ok(ports)
    }

    /// Returns the number that the same automatic port had before, if it is still free.
    fn kept(&self, port: &PortSpec, previous: &mut Vec<PublishedPort>) -> Option<u16> {
        let index = previous.iter().position(|old| {
            (old.protocol, old.target_port, old.mode)
                == (port.protocol, port.target_port, port.mode)
                && DYNAMIC_PORTS.contains(&old.published_port)
                && !self.held.contains_key(&key(old))
        })?;
        Some(previous.swap_remove(index).published_port)
    }

    fn first_free(&self, protocol: Protocol) -> Result<u16, PortError> {
        DYNAMIC_PORTS
            .into_iter()
            .find(|number| {
                let key = (protocol, *number);
                !self.held.contains_key(&key) && !self.host.contains_key(&key)
            })
            .ok_or(PortError::Exhausted { protocol })
    }
}

/// Checks the ports a spec names against those of other services.
///
/// # Errors
/// The port is taken in the mesh, or is asked for in the mesh while another service serves it on its
/// tasks' nodes.
pub fn check_conflicts(
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
    tables: &Tables,
) -> Result<(), PortError> {
    let others =
        tables.services.values().filter(|other| !other.pending_delete && Some(&other.id) != own);
    for other in others {
        let given = other.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let chosen = chosen(other, tables);
        for used in other.spec.endpoint.ports.iter().chain(given).chain(chosen) {
            let clash = spec.endpoint.ports.iter().any(|port| {
                port.published_port != 0
                    && key(port) == key(used)
                    && (is_ingress(port) || is_ingress(used))
            });
            if clash {
                let kind = if is_ingress(used) { PortUse::Ingress } else { PortUse::Host };
                return Err(in_use(used.published_port, &other.id, kind, tables));
            }
        }
    }
    Ok(())
}

/// Returns the host-mode ports that were chosen for a service's tasks.
fn chosen<'t>(service: &'t Service, tables: &'t Tables) -> impl Iterator<Item = &'t PublishedPort> {
    let is_open = |port: &PortSpec| port.mode == PublishMode::Host && port.published_port == 0;
    let endpoint = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    // All tasks are looked through, so only where there can be one.
    let has_any = service.spec.endpoint.ports.iter().chain(endpoint).any(is_open);
    let tasks = has_any.then(|| tables.tasks_of(&service.id)).into_iter().flatten();
    tasks.filter(|task| !task.status.state.is_terminal()).flat_map(|task| &task.chosen_ports)
}

fn in_use(port: u16, holder: &ServiceId, kind: PortUse, tables: &Tables) -> PortError {
    let name = tables.services.get(holder).map_or_else(String::new, |s| s.spec.name.clone());
    PortError::InUse { port, name, id: holder.clone(), kind }
}

fn is_ingress(port: &PortSpec) -> bool {
    port.mode == PublishMode::Ingress
}

fn key(port: &PortSpec) -> (Protocol, u16) {
    (port.protocol, port.published_port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use swarmnet_model::{EndpointSpec, ServiceEndpoint};

    use super::*;
    use crate::world::{World, port, spec};

    fn conflict(given: &str, wished: &str) -> String {
        let mut wish = spec("new");
        wish.endpoint.ports.push(port(wished));
        check_conflicts(&wish, None, &World::given(given).tables)
            .map_or_else(|error| error.to_string(), |()| "free".to_owned())
    }

    #[test]
    fn a_port_in_use_is_refused_in_dockers_words() {
        assert_eq!(
            conflict("service web publish=80:80", "80:8080"),
            "port '80' is already in use by service 'web' (web) as an ingress port"
        );
        assert_eq!(
            conflict("service web publish=80:80@host", "80:8080"),
            "port '80' is already in use by service 'web' (web) as a host-published port"
        );
        assert_eq!(
            conflict("service web publish=80:80", "80:8080@host"),
            "port '80' is already in use by service 'web' (web) as an ingress port"
        );
    }

    #[test]
    fn protocols_removed_services_and_two_host_ports_do_not_conflict() {
        assert_eq!(conflict("service web publish=80:80", "80:80/udp"), "free");
        assert_eq!(conflict("service web publish=80:80 removed", "80:80"), "free");
        assert_eq!(conflict("service web publish=80:80@host", "80:80@host"), "free");
        assert_eq!(conflict("service web publish=80", "80"), "free");
    }

    #[test]
    fn a_port_chosen_for_a_task_is_not_given_to_the_mesh() {
        let mut world = World::given(
            "node n1
             service web publish=80@host
             task web.1 t1 - pending",
        );
        let plan = world.step(crate::scheduler::plan);
        assert!(plan.contains(" 30877:80/tcp"), "{plan}");
        let mut wish = spec("new");
        wish.endpoint.ports.push(port("30877:80"));
        let refused = check_conflicts(&wish, None, &world.tables).unwrap_err().to_string();
        let text = "port '30877' is already in use by service 'web' (web) as a host-published port";
        assert_eq!(refused, text);
        assert!(PortPool::observe(&world.tables).host.contains_key(&(Protocol::Tcp, 30_877)));
    }

    #[test]
    fn a_service_does_not_conflict_with_itself() {
        let world = World::given("service web publish=80:80 endpoint");
        let web = world.tables.services.values().next().unwrap();
        assert_eq!(check_conflicts(&web.spec, Some(&web.id), &world.tables), Ok(()));
    }

    proptest! {
        #[test]
        fn no_ingress_port_is_given_to_two_services(
            wishes in proptest::collection::vec(
                proptest::collection::vec((0_u16..4, any::<bool>()), 0..4), 1..12),
        ) {
            let text: String = (0..wishes.len()).map(|i| format!("service s{i}\n")).collect();
            let mut tables = World::given(&text).tables;
            let ids: Vec<_> = tables.services.keys().cloned().collect();
            for (id, wish) in ids.iter().zip(&wishes) {
                let mut pool = PortPool::observe(&tables);
                let mut service = Service::clone(&tables.services[id]);
                service.spec.endpoint.ports = wish
                    .iter()
                    .map(|(number, udp)| {
                        let published = if *number == 0 { 0 } else { 29_999 + number };
                        port(&format!("{published}:80/{}", if *udp { "udp" } else { "tcp" }))
                    })
                    .collect();
                if let Ok(ports) = pool.answer(&service, &tables) {
                    let spec = EndpointSpec::clone(&service.spec.endpoint);
                    service.endpoint = Some(ServiceEndpoint { spec, ports, vips: Vec::new() });
                    tables.services.insert(id.clone(), std::sync::Arc::new(service));
                }
            }
            let given = tables.services.values().flat_map(|s| s.endpoint.iter());
            let mut seen = BTreeSet::new();
            for port in given.flat_map(|endpoint| &endpoint.ports) {
                prop_assert_ne!(port.published_port, 0);
                prop_assert!(seen.insert(key(port)), "{} twice", port.published_port);
            }
        }
    }
}
