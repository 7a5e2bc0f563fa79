//! The node's state machine: outside a swarm, joining, or a member. One task owns it; requests come
//! in one after another, the state goes out through a watch.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_engine_api::{InitRequest, JoinRequest, LocalNode, LocalState};
use swarmnet_manager::Manager;
use swarmnet_model::limits::JOIN_TIMEOUT;
use swarmnet_model::{CallError, Clock, Code, NodeId, Role};
use swarmnet_proto::transport::{NodeIdentity, TlsContext};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::advertise::{self, Addresses, Given};
use crate::agent_role::{AgentRole, Agents, Managers};
use crate::bootstrap::{FIRST_RAFT_ID, new_cluster};
use crate::clock::SystemClock;
use crate::files::{self, StateError};
use crate::identity::IdentityFiles;
use crate::joining::{JoinPlan, Joined};
use crate::member::Member;
use crate::node_file::NodeFile;
use crate::{checks, engine, interfaces, leaving, texts};

/// How often a manager that could not start, or has failed, is looked for and started again.
const MANAGER_RETRY: Duration = Duration::from_secs(5);
/// Longest wait for a new node's first session before the user is answered.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// What the API asks of the node.
pub(crate) enum Request {
    Init(Box<InitRequest>, oneshot::Sender<Result<NodeId, CallError>>),
    Join(Box<JoinRequest>, oneshot::Sender<Result<(), CallError>>),
    Leave { force: bool, reply: oneshot::Sender<Result<(), CallError>> },
}

/// What others see of the node.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) local: LocalNode,
    /// Of the certificate; `None` outside a swarm.
    pub(crate) role: Option<Role>,
    pub(crate) manager: Option<Arc<Manager>>,
    pub(crate) agent: Option<Arc<dyn AgentRole>>,
    /// What the agent hears of managers.
    pub(crate) managers: Option<watch::Receiver<Managers>>,
}

/// How the node stands to a swarm.
enum Place {
    Outside,
    Joining(Joining),
    Inside(Box<Member>),
}

/// A join that goes on, in the background once its caller has been answered.
struct Joining {
    remotes: Vec<String>,
    addresses: Addresses,
    reply: Option<oneshot::Sender<Result<(), CallError>>>,
    answer_by: Instant,
}

/// The state machine.
pub(crate) struct Node {
    state_dir: PathBuf,
    engine_socket: PathBuf,
    agents: Arc<dyn Agents>,
    place: Place,
    /// At most one: the join that `place` tells of.
    attempt: JoinSet<Result<Joined, CallError>>,
    /// Why the stored membership could not be taken up.
    error: Option<String>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
}

impl Node {
    /// A node that takes up what is stored in the state directory as soon as it runs.
    pub(crate) fn new(
        state_dir: PathBuf,
        engine_socket: PathBuf,
        agents: Arc<dyn Agents>,
    ) -> (Self, mpsc::Sender<Request>, watch::Receiver<Status>) {
        // The API has one request at a time per client; a few may wait.
        let (sender, requests) = mpsc::channel(16);
        let (status, seen) = watch::channel(outside(None));
        let node = Self {
            state_dir,
            engine_socket,
            agents,
            place: Place::Outside,
            attempt: JoinSet::new(),
            error: None,
            requests,
            status,
        };
        (node, sender, seen)
    }

    /// Takes up the stored membership, if there is one. A node that cannot says why in its status.
    pub(crate) async fn resume(&mut self) {
        match self.stored().await {
            Ok(Some(member)) => self.place = Place::Inside(Box::new(member)),
            Ok(None) => {}
            Err(error) => {
                let text = format!("{error:#}");
                tracing::error!(error = %text, "the stored membership cannot be taken up");
                self.error = Some(text);
            }
        }
        self.publish();
    }

    async fn stored(&self) -> anyhow::Result<Option<Member>> {
        // Written last when a membership begins, removed first when it ends.
        let Some(file) = NodeFile::load(&self.state_dir)? else { return Ok(None) };
        let identity = IdentityFiles::new(&self.state_dir)
            .load()?
            .ok_or_else(|| anyhow::anyhow!("the node's certificate is gone"))?;
        let tls = TlsContext::new(&identity)?;
        let state_dir = self.state_dir.clone();
        Ok(Some(Member::start(state_dir, tls, file, self.agents.as_ref(), None).await?))
    }

    /// Serves requests until `stop`, then stops the roles.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let answer_by = self.answer_by();
            let other_role = self.other_role();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => self.serve(request).await,
                Some(ended) = self.attempt.join_next() => match ended {
                    Ok(result) => self.joined(result).await,
                    Err(error) => tracing::error!(%error, "join attempt has failed"),
                },
                () = until(answer_by) => self.answer_late(),
                () = other_role => self.change_role().await,
                () = tokio::time::sleep(MANAGER_RETRY) => {
                    if !self.lacks_manager() {
                        continue;
                    }
                    self.retry_manager().await;
                }
            }
            self.publish();
        }
        self.attempt.shutdown().await;
        if let Place::Inside(member) = std::mem::replace(&mut self.place, Place::Outside) {
            member.stop().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        // A caller that has gone away does not want the answer.
        match request {
            Request::Init(request, reply) => {
                let answer = self.init(&request).await;
                self.publish();
                let _ = reply.send(answer);
            }
            Request::Join(request, reply) => self.join(&request, reply).await,
            Request::Leave { force, reply } => {
                let answer = self.leave(force).await;
                self.publish();
                let _ = reply.send(answer);
            }
        }
    }

    async fn init(&mut self, request: &InitRequest) -> Result<NodeId, CallError> {
        self.require_outside().await?;
        checks::init(request)?;
        let given = Given {
            listen: &request.listen_addr,
            advertise: &request.advertise_addr,
            data_path: &request.data_path_addr,
        };
        let addresses = advertise::for_init(given, &list_interfaces()?)?;
        match self.found(request, &addresses).await {
            Ok(member) => {
                settle(&member).await;
                let id = member.tls.node_id();
                self.place = Place::Inside(Box::new(member));
                Ok(id)
            }
            Err(error) => {
                self.forget();
                Err(CallError::api(Code::Internal, format!("{error:#}")))
            }
        }
    }

    async fn found(&self, request: &InitRequest, addrs: &Addresses) -> anyhow::Result<Member> {
        self.forget();
        let (addr, port) = addrs.advertise.unwrap_or(addrs.listen);
        let advertise = SocketAddrV4::new(addr, port);
        let new = new_cluster(request, advertise, SystemClock.now())?;
        let mut file = NodeFile::new(addrs, vec![advertise.to_string()]);
        file.raft_id = Some(FIRST_RAFT_ID);
        let tls = TlsContext::new(&new.identity)?;
        self.store_identity(&new.identity)?;
        let state_dir = self.state_dir.clone();
        let bootstrap = Some(new.changes);
        let member = Member::start(state_dir, tls, file, self.agents.as_ref(), bootstrap).await?;
        if let Err(error) = member.file.save(&self.state_dir) {
            member.stop().await;
            return Err(error.into());
        }
        Ok(member)
    }

    async fn join(&mut self, request: &JoinRequest, reply: oneshot::Sender<Result<(), CallError>>) {
        match self.plan_join(request).await {
            Err(error) => drop(reply.send(Err(error))),
            Ok((plan, addresses)) => {
                let remotes = plan.remotes.clone();
                let answer_by = Instant::now() + JOIN_TIMEOUT;
                self.error = None;
                self.attempt.spawn(plan.run());
                let joining = Joining { remotes, addresses, reply: Some(reply), answer_by };
                self.place = Place::Joining(joining);
            }
        }
    }

    async fn plan_join(&self, request: &JoinRequest) -> Result<(JoinPlan, Addresses), CallError> {
        self.require_outside().await?;
        let given = Given {
            listen: &request.listen_addr,
            advertise: &request.advertise_addr,
            data_path: &request.data_path_addr,
        };
        let addresses = advertise::for_join(given, &list_interfaces()?)?;
        let plan = JoinPlan::new(request, addresses.advertise.map(|(addr, _)| addr))?;
        Ok((plan, addresses))
    }

    /// The attempt has ended: with a certificate, or for good.
    async fn joined(&mut self, result: Result<Joined, CallError>) {
        let Place::Joining(joining) = std::mem::replace(&mut self.place, Place::Outside) else {
            return;
        };
        let result = match result {
            Ok(joined) => self.enter(joined, &joining.addresses).await,
            Err(error) => Err(error),
        };
        match (&result, &joining.reply) {
            (Ok(()), _) => tracing::info!("this node has joined a swarm"),
            (Err(error), None) => {
                tracing::error!(%error, "the join has failed");
                self.error = Some(error.to_string());
            }
            (Err(_), Some(_)) => {}
        }
        self.publish();
        if let Some(reply) = joining.reply {
            let _ = reply.send(result);
        }
    }

    async fn enter(&mut self, joined: Joined, addresses: &Addresses) -> Result<(), CallError> {
        match self.start_member(joined, addresses).await {
            Ok(member) => {
                settle(&member).await;
                self.place = Place::Inside(Box::new(member));
                Ok(())
            }
            Err(error) => {
                self.forget();
                Err(CallError::api(Code::Internal, format!("{error:#}")))
            }
        }
    }

    async fn start_member(&self, joined: Joined, addrs: &Addresses) -> anyhow::Result<Member> {
        self.forget();
        let tls = TlsContext::new(&joined.identity)?;
        let file = NodeFile::new(addrs, joined.managers);
        self.store_identity(&joined.identity)?;
        file.save(&self.state_dir)?;
        Member::start(self.state_dir.clone(), tls, file, self.agents.as_ref(), None).await
    }

    async fn leave(&mut self, force: bool) -> Result<(), CallError> {
        match &self.place {
            Place::Outside if self.error.is_none() => return Err(texts::not_in_a_swarm()),
            Place::Inside(member) if !force => leaving::may_leave(member)?,
            Place::Outside | Place::Joining(_) | Place::Inside(_) => {}
        }
        self.attempt.shutdown().await;
        self.error = None;
        match std::mem::replace(&mut self.place, Place::Outside) {
            Place::Outside => {}
            Place::Joining(joining) => {
                if let Some(reply) = joining.reply {
                    let _ = reply.send(Err(texts::not_in_a_swarm()));
                }
            }
            Place::Inside(member) => {
                if let Err(error) = member.leave().await {
                    let error = format!("{error:#}");
                    tracing::warn!(%error, "not everything of the swarm could be removed");
                }
            }
        }
        self.forget();
        tracing::info!("this node has left its swarm");
        Ok(())
    }

    /// Removes every trace of a membership from the disk.
    fn forget(&self) {
        let remove = || -> Result<(), StateError> {
            NodeFile::remove(&self.state_dir)?;
            IdentityFiles::new(&self.state_dir).remove()?;
            files::remove(&self.state_dir.join("raft"))?;
            files::remove(&self.state_dir.join("agent/view.json"))?;
            files::remove(&self.state_dir.join("agent/statuses.json"))
        };
        if let Err(error) = remove() {
            tracing::error!(%error, "state of a swarm is left on disk");
        }
    }

    fn store_identity(&self, identity: &NodeIdentity) -> Result<(), StateError> {
        files::ensure_directory(&self.state_dir)?;
        IdentityFiles::new(&self.state_dir).save(identity)
    }

    async fn require_outside(&self) -> Result<(), CallError> {
        match &self.place {
            Place::Outside if self.error.is_none() => {}
            Place::Outside | Place::Joining(_) | Place::Inside(_) => {
                return Err(texts::already_in_a_swarm());
            }
        }
        match engine::ask(&self.engine_socket).await {
            engine::EngineState::InSwarm => {
                Err(CallError::api(Code::Unavailable, engine::in_swarm(&self.engine_socket)))
            }
            engine::EngineState::Ready { .. } | engine::EngineState::Away { .. } => Ok(()),
        }
    }

    fn answer_by(&self) -> Option<Instant> {
        match &self.place {
            Place::Joining(joining) if joining.reply.is_some() => Some(joining.answer_by),
            Place::Joining(_) | Place::Outside | Place::Inside(_) => None,
        }
    }

    fn answer_late(&mut self) {
        if let Place::Joining(joining) = &mut self.place
            && let Some(reply) = joining.reply.take()
        {
            let _ = reply.send(Err(texts::join_goes_on()));
        }
    }

    fn lacks_manager(&self) -> bool {
        matches!(&self.place, Place::Inside(member) if member.lacks_manager())
    }

    /// Returns once the member's certificate names another role.
    fn other_role(&self) -> impl Future<Output = ()> + Send + 'static {
        let changed = match &self.place {
            Place::Inside(member) => Some(member.other_role()),
            Place::Outside | Place::Joining(_) => None,
        };
        async move {
            match changed {
                Some(changed) => changed.await,
                None => std::future::pending().await,
            }
        }
    }

    async fn change_role(&mut self) {
        if let Place::Inside(member) = &mut self.place {
            member.change_role().await;
        }
    }

    async fn retry_manager(&mut self) {
        if let Place::Inside(member) = &mut self.place {
            member.retry_manager().await;
        }
    }

    fn publish(&self) {
        let status = match &self.place {
            Place::Outside => outside(self.error.clone()),
            Place::Joining(joining) => Status {
                local: LocalNode {
                    state: LocalState::Pending,
                    managers: joining.remotes.iter().map(|addr| (None, addr.clone())).collect(),
                    ..outside(None).local
                },
                ..outside(None)
            },
            Place::Inside(member) => inside(member),
        };
        self.status.send_replace(status);
    }
}

fn outside(error: Option<String>) -> Status {
    let state = if error.is_some() { LocalState::Error } else { LocalState::Inactive };
    let local = LocalNode {
        state,
        is_manager: false,
        node_id: None,
        addr: None,
        managers: Vec::new(),
        error: error.unwrap_or_default(),
    };
    Status { local, role: None, manager: None, agent: None, managers: None }
}

fn inside(member: &Member) -> Status {
    let stored = || member.file.managers.iter().map(|addr| (None, addr.clone())).collect();
    Status {
        local: LocalNode {
            state: LocalState::Active,
            is_manager: member.manager().is_some(),
            node_id: Some(member.tls.node_id()),
            addr: member.file.own_addr(),
            managers: stored(),
            error: member.manager_error.clone().unwrap_or_default(),
        },
        role: Some(member.tls.role()),
        manager: member.manager().map(|role| Arc::clone(role.manager())),
        agent: Some(Arc::clone(member.agent())),
        managers: Some(member.agent().managers()),
    }
}

fn list_interfaces() -> Result<Vec<advertise::Interface>, CallError> {
    interfaces::list().map_err(|error| CallError::api(Code::Internal, error.to_string()))
}

/// Gives the first session a moment, so that the node is ready when its user asks how it is.
async fn settle(member: &Member) {
    let _ready = tokio::time::timeout(SETTLE_TIME, member.agent().ready()).await;
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
