//! Where the API asks for addresses of a plain container, and gets the engine networks to use.

use std::path::PathBuf;
use std::sync::Arc;

use swarmnet_model::container::DnsConfig;
use swarmnet_model::limits::CALL_TIMEOUT;
use swarmnet_model::{
    AttachCall, Attachment, CallError, Code, Item, ItemKey, NodeView, TaskId, WantedAttachment,
};
use swarmnet_proto::{document, v1};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::leases::{Lease, Leases};
use crate::backoff::seed;
use crate::inputs::network;
use crate::managers::Managers;
use crate::plugin::UPSTREAMS_OPTION;
use crate::session::Client;
use crate::task::engine_networks::EngineNetworks;
use crate::task::networks::{TaskNetworks, Wiring};
use crate::task::resolv_files::ResolvFiles;
use crate::task::runner::Told;

/// A container that is to be on swarm networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// New, or of a container that has an attachment already.
    pub id: TaskId,
    /// Empty: the engine chooses it.
    pub name: String,
    pub networks: Vec<WantedAttachment>,
    /// False if the container has another way out of the node.
    pub gateway: bool,
    /// What the user wants in its resolv.conf.
    pub dns: DnsConfig,
}

/// What the container is to be connected to: `networks` in the order asked, the gateway network last
/// if it needs one.
#[derive(Debug)]
pub struct Attached {
    pub networks: TaskNetworks,
    /// What a new container is to see as its resolv.conf.
    pub resolv_conf: PathBuf,
    /// To be held until the container is connected.
    pub lease: Lease,
}

/// Asks the managers, and makes what the engine needs.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) managers: Arc<Managers>,
    pub(crate) engine_networks: Arc<EngineNetworks>,
    pub(crate) wiring: Arc<dyn Wiring>,
    pub(crate) told: watch::Receiver<Told>,
    pub(crate) leases: Leases,
    /// The agent's.
    pub(crate) state_dir: PathBuf,
}

impl Desk {
    /// Gets addresses, waits until this node knows them, and makes the engine networks.
    ///
    /// # Errors
    /// The managers' refusal in their words; nothing is left behind then.
    pub(crate) async fn attach(&self, request: &AttachRequest) -> Result<Attached, CallError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut lease = self.leases.take(&request.id);
        let (id, name) = (request.id.clone(), request.name.clone());
        let networks = request.networks.clone();
        let call = AttachCall::Attach { id, name, networks };
        let given = ask(&self.managers, &call).await?;
        match timeout_at(deadline, self.wire(request, &given, &mut lease)).await {
            Ok(Ok((networks, resolv_conf))) => Ok(Attached { networks, resolv_conf, lease }),
            Ok(Err(error)) => Err(self.given_back(request, &given, error).await),
            Err(_) => Err(self.given_back(request, &given, too_late()).await),
        }
    }

    /// Takes a container off networks; `None`: off all.
    ///
    /// # Errors
    /// No manager did it; `follow` will have it done.
    pub(crate) async fn detach(
        &self,
        id: &TaskId,
        from: Option<&[Attachment]>,
    ) -> Result<(), CallError> {
        for call in detachments(id, from) {
            ask(&self.managers, &call).await?;
        }
        if from.is_none() {
            self.wiring.release(id).await;
        }
        Ok(())
    }

    async fn wire(
        &self,
        request: &AttachRequest,
        given: &[Attachment],
        lease: &mut Lease,
    ) -> Result<(TaskNetworks, PathBuf), CallError> {
        let internal =
            |error: &dyn std::error::Error| CallError::api(Code::Internal, error.to_string());
        let mut told = self.told.clone();
        let knows = |told: &Told| knows(&told.view, &request.id, given);
        // A statement of its own: the borrow is a read lock.
        let view = told.wait_for(knows).await.map(|told| Arc::clone(&told.view));
        let view = view.map_err(|_| CallError::api(Code::Unavailable, "the agent is stopping"))?;
        let wired = self.wiring.attach(&request.id, given, &view, request.gateway).await;
        let mut networks = wired.map_err(|error| internal(&error))?;
        name_upstreams(&mut networks, &request.dns);
        let names = networks.networks.iter().map(|network| network.engine_name.clone());
        lease.hold(names.collect());
        let made = self.engine_networks.ensure(&networks).await;
        made.map_err(|error| internal(&error))?;
        let files = ResolvFiles::of_containers(&self.state_dir);
        let written = files.and_then(|f| f.write(&file_name(&request.dns), &request.dns));
        Ok((networks, written.map_err(|error| internal(&error))?))
    }

    /// What cannot be given back now, `follow` gives back when the lease has ended.
    async fn given_back(
        &self,
        request: &AttachRequest,
        given: &[Attachment],
        error: CallError,
    ) -> CallError {
        if let Err(left) = self.detach(&request.id, Some(given)).await {
            tracing::warn!(attachment.id = %request.id, error = %left, "attachment not given back");
        }
        error
    }
}

/// The engine brings endpoint options to the plugin at each start, whoever starts the container.
fn name_upstreams(networks: &mut TaskNetworks, dns: &DnsConfig) {
    let servers = dns.nameservers.join(",");
    for network in networks.networks.iter_mut().filter(|_| !servers.is_empty()) {
        network.driver_options.insert(UPSTREAMS_OPTION.to_owned(), servers.clone());
    }
}

/// Containers with the same wishes share a file. It is never removed, since a stopped container needs
/// it as long as it exists; there are as many as there are different wishes.
pub(super) fn file_name(dns: &DnsConfig) -> String {
    let wishes = [dns.search.join(" "), dns.options.join(" ")].join("\n");
    format!("{:016x}", seed(&wishes))
}

fn detachments(id: &TaskId, from: Option<&[Attachment]>) -> Vec<AttachCall> {
    let one = |attachment: &Attachment| {
        let from = Some((attachment.network_id.clone(), attachment.address.ip()));
        AttachCall::Detach { id: id.clone(), from }
    };
    match from {
        Some(attachments) => attachments.iter().map(one).collect(),
        None => vec![AttachCall::Detach { id: id.clone(), from: None }],
    }
}

/// True once the view holds the container with these addresses, and the networks.
fn knows(view: &NodeView, id: &TaskId, given: &[Attachment]) -> bool {
    let Some(Item::Backend(backend)) = view.get(&ItemKey::Backend(id.clone())) else {
        return false;
    };
    given.iter().all(|wanted| {
        let same = |held: &Attachment| {
            (&held.network_id, held.address) == (&wanted.network_id, wanted.address)
        };
        backend.attachments.iter().any(same) && network(view, &wanted.network_id).is_some()
    })
}

/// Docker's words.
fn too_late() -> CallError {
    let text = "attaching to network failed, make sure your network options are correct and check \
                manager logs: context deadline exceeded";
    CallError::api(Code::DeadlineExceeded, text)
}

/// Asks whichever manager leads.
///
/// # Errors
/// The leader's refusal; `no_leader` or `deadline` if none answered.
pub(crate) async fn ask(
    managers: &Managers,
    call: &AttachCall,
) -> Result<Vec<Attachment>, CallError> {
    let bytes = document::encode(call);
    let attach = |mut client: Client| {
        let request = v1::AttachRequest { call: bytes.clone() };
        async move { client.attach(request).await }
    };
    let answer = managers.ask(CALL_TIMEOUT, attach).await.map_err(|status| unanswered(&status))?;
    document::decode::<Result<Vec<Attachment>, CallError>>("result", &answer.into_inner().result)
        .map_err(|_| CallError::no_leader())?
}

fn unanswered(status: &Status) -> CallError {
    let late = status.code() == tonic::Code::DeadlineExceeded;
    if late { CallError::deadline() } else { CallError::no_leader() }
}
