//! One pass over all subsystems, and what Join, Leave and the end of a swarm do to the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_ebpf::map::Maps;
use swarmnet_ebpf::program::Dataplane;
use tokio::sync::{Notify, watch};

use crate::balancer::apply::Writer;
use crate::dataplane::{DataPlaneError, Places};
use crate::debug::evidence::CONFLICTS_FILE;
use crate::dns::Table;
use crate::ingress::claim::claim;
use crate::ingress::placeholder::Placeholders;
use crate::inputs::{Inputs, assigned};
use crate::kernel::ApplyError;
use crate::loader::Loader;
use crate::netlink::link::VethEnd;
use crate::netlink::nft_rules::TableSpec;
use crate::netlink::{Netlink, netns};
use crate::numbers_file::NumbersFile;
use crate::plugin::journal::{Endpoint, JournalFile, device_names, write_atomically};
use crate::plugin::wire_up::CallError;
use crate::reconcile::Told;
use crate::round::Memory;
use crate::teardown;
use crate::underlay::Underlay;

/// Rounds of one pass: devices, then what needs their indexes, then a look that finds nothing.
pub(crate) const ROUNDS_MAX: u32 = 5;

/// Different failures remembered as logged; some name a moment and never come again.
const REPORTED_MAX: usize = 256;

/// What a pass has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// True if the kernel holds everything that was desired.
    pub settled: bool,
    /// The first thing that did not work.
    pub failed: Option<String>,
    pub waits_for_sandbox: bool,
}

/// The view as it is at the moment, and who waits for the kernel to hold it.
pub(crate) struct Feed {
    pub(crate) told: watch::Receiver<Option<Told>>,
    /// Generation that the kernel holds; never goes back.
    pub(crate) wired: watch::Sender<u64>,
}

/// What a pass shares with others.
pub(crate) struct Parts {
    pub(crate) feed: Feed,
    pub(crate) journal: Arc<JournalFile>,
    pub(crate) names: Arc<Table>,
    pub(crate) firewall: watch::Sender<Option<TableSpec>>,
    pub(crate) mtu: watch::Sender<u32>,
    pub(crate) sandboxes: watch::Sender<BTreeSet<PathBuf>>,
}

/// Everything a pass needs; one owner, the reconcile loop.
pub struct Passes {
    pub(crate) feed: Feed,
    pub(crate) netlink: Arc<Netlink>,
    pub(crate) loader: Loader,
    /// `None` outside a swarm.
    pub(crate) plane: Option<Arc<Dataplane>>,
    /// True once what another version has attached runs the programs of `plane`.
    pub(crate) taken_over: bool,
    pub(crate) journal: Arc<JournalFile>,
    pub(crate) numbers: NumbersFile,
    pub(crate) names: Arc<Table>,
    pub(crate) writer: Writer,
    pub(crate) memory: Memory,
    pub(crate) placeholders: Placeholders,
    /// Ports of other programs as last written to disk.
    pub(crate) conflicts_written: Option<BTreeSet<(u8, u16)>>,
    pub(crate) directory: PathBuf,
    pub(crate) pool: Ipv4Network,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) host_cookie: u64,
    /// Known cookies by sandbox path.
    pub(crate) cookies: Arc<BTreeMap<PathBuf, u64>>,
    /// Those that are there, for what has to be done inside.
    pub(crate) sandboxes: watch::Sender<BTreeSet<PathBuf>>,
    pub(crate) firewall: watch::Sender<Option<TableSpec>>,
    pub(crate) underlay: Underlay,
    pub(crate) mtu: watch::Sender<u32>,
    /// The maps in use, for the sweeper of flows.
    pub(crate) maps: watch::Sender<Option<Maps>>,
    /// Told when backends or services have left the maps, for the sockets that lead to them.
    pub(crate) backends_left: Arc<Notify>,
    /// Failures that were logged: the same one is not logged again every few seconds.
    pub(crate) reported: BTreeSet<String>,
}

impl Passes {
    /// Reads what is on disk and loads the programs.
    ///
    /// # Errors
    /// `DataPlaneError` says what is missing on this machine.
    pub(crate) async fn start(
        directory: &Path,
        places: Places,
        parts: Parts,
    ) -> Result<Self, DataPlaneError> {
        let Parts { feed, journal, names, firewall, mtu, sandboxes } = parts;
        let netlink = Arc::new(Netlink::open()?);
        let host_cookie = netns::own_cookie().map_err(DataPlaneError::Cookie)?;
        let numbers = NumbersFile::open(directory, &journal.read().boot_id);
        let numbers = numbers.map_err(DataPlaneError::State)?;
        let links = netlink.links().await?;
        let dropped = journal.update(|journal| {
            // An engine that died with its containers may never say Leave.
            let there = |id: &String, endpoint: &Endpoint| {
                endpoint.sandbox.is_none() || links.contains_key(&device_names(id, endpoint).0)
            };
            journal.endpoints.retain(|id, endpoint| there(id, endpoint));
        });
        dropped.map_err(DataPlaneError::State)?;
        let plane = places.loader.load().await?;
        let cgroup = find_cgroup2(places.cgroup2.as_deref());
        if cgroup.is_none() {
            tracing::warn!("no cgroup2 found: services are balanced per packet only");
        }
        Ok(Self {
            feed,
            netlink,
            maps: watch::Sender::new(Some(plane.maps())),
            loader: places.loader,
            plane: Some(plane),
            taken_over: false,
            journal,
            numbers,
            writer: Writer::new(cgroup.clone()),
            names,
            memory: Memory::default(),
            placeholders: Placeholders::default(),
            conflicts_written: None,
            directory: directory.to_path_buf(),
            pool: places.pool,
            cgroup,
            host_cookie,
            cookies: Arc::default(),
            sandboxes,
            firewall,
            underlay: Underlay::default(),
            mtu,
            backends_left: Arc::default(),
            reported: BTreeSet::new(),
        })
    }

    /// Returns the maps in use, as they change.
    pub fn loaded_maps(&self) -> watch::Receiver<Option<Maps>> {
        self.maps.subscribe()
    }

    /// Returns what is told when backends have left the maps.
    pub fn backends_left(&self) -> Arc<Notify> {
        Arc::clone(&self.backends_left)
    }

    /// Brings the kernel to what was told, and looks at the host for what others have changed. Views
    /// that come meanwhile take the place of what was told.
    pub async fn pass(&mut self, told: &mut Told) -> Outcome {
        self.memory.begin();
        self.run(told, true).await
    }

    /// Brings the kernel to a newer view; the host is not looked at for a change of its services.
    pub async fn follow(&mut self, told: &mut Told) -> Outcome {
        if self.memory.has_looked() { self.run(told, false).await } else { self.pass(told).await }
    }

    async fn run(&mut self, told: &mut Told, look: bool) -> Outcome {
        let look = self.read_cookies().await || look;
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS_MAX {
            outcome = match self.round(told, look).await {
                Ok(None) => Outcome { settled: true, ..Outcome::default() },
                Ok(Some(rest)) => Outcome { failed: Some(rest), ..Outcome::default() },
                Err(failure) => {
                    outcome = Outcome { failed: Some(failure), ..Outcome::default() };
                    break;
                }
            };
            if outcome.settled {
                self.take_over().await;
                self.tell_wired(told);
                break;
            }
        }
        // Also if something was refused: the old programs know less with every change.
        self.take_over().await;
        self.report(&outcome);
        self.write_conflicts();
        outcome.waits_for_sandbox = self.awaits_sandboxes();
        outcome
    }

    pub(crate) fn tell_wired(&self, told: &Told) {
        self.feed.wired.send_if_modified(|wired| {
            let newer = *wired < told.generation;
            *wired = (*wired).max(told.generation);
            newer
        });
    }

    /// True while an endpoint is joined whose sandbox has not been seen, and is still not there.
    pub fn awaits_sandboxes(&self) -> bool {
        let journal = self.journal.read();
        let mut unseen = journal
            .joined()
            .filter_map(|(_, endpoint)| endpoint.sandbox.as_ref())
            .filter(|path| !self.cookies.contains_key(*path))
            .peekable();
        unseen.peek().is_some() && unseen.all(|path| !path.exists())
    }

    pub(crate) fn warn_once(&mut self, action: &impl Display, error: &ApplyError) {
        let text = chain(error);
        if self.reported.insert(text.clone()) {
            tracing::warn!(%action, error = %text, "a published port is used by another program");
        }
    }

    fn report(&mut self, outcome: &Outcome) {
        if self.reported.len() >= REPORTED_MAX {
            self.reported.clear();
        }
        if let Some(failure) = &outcome.failed
            && self.reported.insert(failure.clone())
        {
            tracing::warn!(error = %failure, "the data plane is not as desired, trying again");
        }
        if outcome.settled && self.placeholders.conflicts().is_empty() {
            self.reported.clear();
        }
    }

    /// For `swarmnet debug ingress`, which must not depend on a living daemon.
    fn write_conflicts(&mut self) {
        let conflicts = self.placeholders.conflicts();
        if self.conflicts_written.as_ref() == Some(conflicts) {
            return;
        }
        let written = serde_json::to_vec(conflicts)
            .map_err(std::io::Error::other)
            .and_then(|text| write_atomically(&self.directory.join(CONFLICTS_FILE), &text));
        match written {
            Ok(()) => self.conflicts_written = Some(conflicts.clone()),
            Err(error) => tracing::warn!(%error, "writing {CONFLICTS_FILE}"),
        }
    }

    /// Tells the firewall which ports are published.
    pub(crate) fn tell_firewall(&mut self, inputs: &Inputs) {
        let wanted = crate::ingress::desired::desired(inputs);
        self.placeholders.keep_conflicts(&wanted.held);
        let spec = TableSpec {
            pool: self.pool,
            vxlan_port: inputs.data_path_port(),
            published: wanted.reserved,
            outer_bridges: inputs.snapshot.outer_bridges(inputs.node_addr()),
        };
        self.firewall.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&spec);
            *current = Some(spec);
            changed
        });
    }

    pub(crate) async fn loaded(&mut self) -> Result<Arc<Dataplane>, String> {
        if let Some(plane) = &self.plane {
            return Ok(Arc::clone(plane));
        }
        let plane = self.loader.load().await.map_err(|error| chain(&error))?;
        self.taken_over = false;
        self.maps.send_replace(Some(plane.maps()));
        self.plane = Some(Arc::clone(&plane));
        Ok(plane)
    }

    /// Returns true if there are new ones.
    async fn read_cookies(&mut self) -> bool {
        let journal = self.journal.read();
        let paths: Vec<_> = journal.joined().filter_map(|(_, e)| e.sandbox.clone()).collect();
        let mut changed = self.cookies.keys().any(|path| !paths.contains(path));
        if changed {
            Arc::make_mut(&mut self.cookies).retain(|path, _| paths.contains(path));
        }
        for path in paths {
            if !self.cookies.contains_key(&path)
                && path.exists()
                && let Ok(cookie) = netns::cookie_at(&path).await
            {
                Arc::make_mut(&mut self.cookies).insert(path, cookie);
                changed = true;
            }
        }
        if changed {
            self.sandboxes.send_replace(self.cookies.keys().cloned().collect());
        }
        changed
    }

    /// Makes the veth pair of an endpoint and everything its packets need.
    ///
    /// # Errors
    /// `CallError`; then nothing of the endpoint is left.
    pub async fn join(
        &mut self,
        told: &mut Option<Told>,
        id: &str,
        sandbox: PathBuf,
    ) -> Result<(), CallError> {
        let view = told.as_mut().ok_or(CallError::NoSwarm)?;
        self.claim_ports(view, id).await?;
        let wired = self.journal.update(|journal| journal.join(id, sandbox))?;
        self.names.journal_changed(|| self.journal.read());
        let unknown = || CallError::UnknownEndpoint { endpoint: id.to_owned() };
        let endpoint = wired.ok_or_else(unknown)?;
        let result = self.wire(view, id, &endpoint).await;
        if result.is_err() {
            self.leave(told, id).await;
        }
        result
    }

    /// A container does not start without the host-mode ports that its gateway interface is for.
    async fn claim_ports(&mut self, told: &Told, id: &str) -> Result<(), CallError> {
        let journal = self.journal.read();
        let gateway = journal.endpoints.get(id).filter(|endpoint| endpoint.is_gateway());
        let task = gateway.and_then(|endpoint| assigned(&told.view, &endpoint.task));
        match task {
            Some(task) => Ok(claim(&mut self.placeholders, task).await?),
            None => Ok(()),
        }
    }

    async fn wire(
        &mut self,
        told: &mut Told,
        id: &str,
        endpoint: &Endpoint,
    ) -> Result<(), CallError> {
        let wiring = |reason| CallError::Wiring { reason };
        let pair = ensure_pair(Arc::clone(&self.netlink), id, endpoint);
        self.beside(told, pair).await.map_err(|error| wiring(chain(&error)))?;
        let outcome = self.pass(told).await;
        let (host, _) = device_names(id, endpoint);
        let kernel = self.read_host(told).await.map_err(wiring)?;
        let inputs = self.inputs(told, &kernel);
        let wanted = crate::sandbox::desired::desired(&inputs);
        let there = crate::sandbox::observe::observe(&kernel);
        let there = there.map_err(|error| wiring(chain(&error)))?;
        let right = there.links.contains_key(&host)
            && there.links.get(&host) == wanted.links.get(&host)
            && kernel.snapshot.links.get(&host).is_some_and(|link| {
                there.ifaces.get(&link.index) == wanted.ifaces.get(&link.index)
            });
        let reason = outcome.failed.unwrap_or_else(|| format!("{host} is not complete"));
        if right { Ok(()) } else { Err(wiring(reason)) }
    }

    /// Takes an endpoint's device away; failures are left to the next pass, which finds a stray.
    pub async fn leave(&mut self, told: &mut Option<Told>, id: &str) {
        let left = self.journal.update(|journal| {
            let endpoint = journal.endpoints.get_mut(id)?;
            endpoint.sandbox = None;
            Some(endpoint.clone())
        });
        let endpoint = match left {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return,
            Err(error) => {
                // The engine asks only once: without the note on disk the device goes all the same.
                tracing::warn!(%error, "writing the plugin journal");
                match self.journal.read().endpoints.get(id) {
                    Some(endpoint) => endpoint.clone(),
                    None => return,
                }
            }
        };
        self.names.journal_changed(|| self.journal.read());
        let (host, _) = device_names(id, &endpoint);
        let (netlink, plane) = (Arc::clone(&self.netlink), self.plane.clone());
        let removal = teardown::remove_link(&netlink, plane.as_ref(), &host);
        let removed = match told {
            Some(told) => self.beside(told, removal).await,
            None => removal.await,
        };
        if let Err(error) = removed {
            tracing::warn!(device = %host, error = %chain(&error), "removing a device");
        }
    }

    /// Takes everything of ours out of the kernel: the node has left its swarm.
    ///
    /// # Errors
    /// What could not be removed; the rest is gone.
    pub async fn remove_all(&mut self) -> Result<(), String> {
        self.placeholders = Placeholders::default();
        self.firewall.send_replace(None);
        self.cookies = Arc::default();
        self.sandboxes.send_replace(BTreeSet::new());
        self.writer = Writer::new(self.cgroup.clone());
        self.memory = Memory::default();
        self.maps.send_replace(None);
        let plane = self.plane.take();
        let failures =
            teardown::remove_everything(&self.netlink, plane.as_ref(), &self.journal).await;
        self.names.journal_changed(|| self.journal.read());
        self.numbers.clear();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

/// A pair of an earlier, unfinished Join is used again if both ends are still here.
async fn ensure_pair(
    netlink: Arc<Netlink>,
    id: &str,
    endpoint: &Endpoint,
) -> Result<(), ApplyError> {
    let (host, peer) = device_names(id, endpoint);
    let links = netlink.links().await?;
    match (links.get(&host), links.get(&peer)) {
        (Some(_), Some(far)) if far.mac == endpoint.mac && far.mtu == endpoint.mtu => {
            return Ok(());
        }
        (Some(half), _) | (None, Some(half)) => netlink.delete_link(half.index).await?,
        (None, None) => {}
    }
    let host = VethEnd { name: host, mac: swarmnet_ebpf::abi::VMAC };
    let peer = VethEnd { name: peer, mac: endpoint.mac };
    Ok(netlink.add_veth(&host, &peer, endpoint.mtu).await?)
}

/// Returns an error with its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Returns the root of cgroup2, where the kernel mounts it or where hybrid systems do.
pub fn find_cgroup2(configured: Option<&Path>) -> Option<PathBuf> {
    let usual = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")];
    let mut candidates: Vec<&Path> = configured.into_iter().collect();
    if configured.is_none() {
        candidates.extend(usual);
    }
    let is_cgroup2 = |path: &&Path| path.join("cgroup.controllers").exists();
    candidates.into_iter().find(is_cgroup2).map(Path::to_path_buf)
}
