//! This node inside a swarm: its roles, running, and what keeps them supplied.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use swarmnet_manager::ManagerConfig;
use swarmnet_manager::control::forward::join_raft;
use swarmnet_manager::store::Change;
use swarmnet_model::Role;
use swarmnet_proto::transport::TlsContext;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent_role::{AgentParts, AgentRole, Agents, Managers};
use crate::clock::SystemClock;
use crate::files;
use crate::identity::{IdentityFiles, Renewal, keep_renewed};
use crate::manager_role::ManagerRole;
use crate::node_file::NodeFile;

/// Longest wait for a role to end; what hangs is left behind, the kernel's state stays anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The running node.
pub(crate) struct Member {
    state_dir: PathBuf,
    pub(crate) tls: TlsContext,
    pub(crate) file: NodeFile,
    agent: Arc<dyn AgentRole>,
    manager: Option<ManagerRole>,
    /// What the certificate says.
    certified: watch::Sender<Role>,
    /// The role this node acts in; it follows `certified`.
    acting: Role,
    /// Why a manager that should run does not.
    pub(crate) manager_error: Option<String>,
    background: JoinSet<()>,
    stop: CancellationToken,
}

impl Member {
    /// Starts the manager if the certificate says so, then the agent. A manager that cannot start
    /// does not keep the agent from its work: it is tried again later.
    ///
    /// # Errors
    /// The agent's, and with `bootstrap` the manager's: a cluster that was not founded is none.
    pub(crate) async fn start(
        state_dir: PathBuf,
        tls: TlsContext,
        file: NodeFile,
        agents: &dyn Agents,
        bootstrap: Option<Vec<Change>>,
    ) -> anyhow::Result<Self> {
        let founding = bootstrap.is_some();
        let (mut manager, mut manager_error, mut file) = (None, None, file);
        let acting = tls.role();
        if acting == Role::Worker {
            forget_manager(&state_dir, &mut file)?;
        } else {
            match start_manager(&state_dir, &tls, &mut file, bootstrap).await {
                Ok(running) => manager = Some(running),
                Err(error) if founding => return Err(error),
                Err(error) => manager_error = Some(report(&error)),
            }
        }
        let parts = AgentParts {
            tls: tls.clone(),
            managers: file.managers.clone(),
            advertise: file.advertise.map(|addr| *addr.ip()),
        };
        let agent = match agents.start(parts).await {
            Ok(agent) => agent,
            Err(error) => {
                if let Some(manager) = manager {
                    manager.stop().await;
                }
                return Err(error);
            }
        };
        let mut member = Self {
            state_dir,
            tls,
            file,
            agent,
            manager,
            certified: watch::Sender::new(acting),
            acting,
            manager_error,
            background: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        member.supply();
        Ok(member)
    }

    /// Renews the certificate and keeps the list of managers on disk.
    fn supply(&mut self) {
        let addresses = watch::Sender::new(self.file.managers.clone());
        let renewal = Renewal {
            tls: self.tls.clone(),
            files: IdentityFiles::new(&self.state_dir),
            managers: addresses.subscribe(),
            wanted: self.agent.role(),
            certified: self.certified.clone(),
        };
        self.background.spawn(keep_renewed(renewal, self.stop.clone()));
        let keeping = keep_managers(
            self.state_dir.clone(),
            self.file.clone(),
            self.agent.managers(),
            addresses,
            self.stop.clone(),
        );
        self.background.spawn(keeping);
    }

    pub(crate) fn agent(&self) -> &Arc<dyn AgentRole> {
        &self.agent
    }

    pub(crate) fn manager(&self) -> Option<&ManagerRole> {
        self.manager.as_ref()
    }

    pub(crate) fn lacks_manager(&self) -> bool {
        let works = self.manager.as_ref().is_some_and(|role| !role.manager().has_failed());
        self.acting == Role::Manager && !works
    }

    /// Returns once the certificate names another role than this node acts in.
    pub(crate) fn other_role(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut certified, acting) = (self.certified.subscribe(), self.acting);
        async move {
            if certified.wait_for(|role| *role != acting).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Becomes what the certificate says: a manager starts and joins Raft; or it ends, and what it
    /// kept of the cluster goes. The agent and its tasks notice nothing.
    pub(crate) async fn change_role(&mut self) {
        self.acting = *self.certified.borrow();
        tracing::info!(role = self.acting.as_str(), "this node has another role");
        if self.acting == Role::Manager {
            return self.retry_manager().await;
        }
        if let Some(manager) = self.manager.take() {
            bounded("manager", manager.stop()).await;
        }
        self.manager_error = None;
        self.learn_managers();
        // What is left is removed at the next start: by then the certificate says the same.
        if let Err(error) = forget_manager(&self.state_dir, &mut self.file) {
            tracing::error!(error = format!("{error:#}"), "state of a manager is left on disk");
        }
    }

    /// The list in the file is kept by a task of its own.
    fn learn_managers(&mut self) {
        let heard: Vec<String> =
            self.agent.managers().borrow().iter().map(|(_, addr)| addr.clone()).collect();
        if !heard.is_empty() {
            self.file.managers = heard;
        }
    }

    /// Tries again to start the manager that failed.
    pub(crate) async fn retry_manager(&mut self) {
        if let Some(failed) = self.manager.take() {
            bounded("manager", failed.stop()).await;
        }
        self.learn_managers();
        match start_manager(&self.state_dir, &self.tls, &mut self.file, None).await {
            Ok(manager) => (self.manager, self.manager_error) = (Some(manager), None),
            Err(error) => self.manager_error = Some(report(&error)),
        }
    }

    /// Stops both roles; containers, links and maps stay.
    pub(crate) async fn stop(mut self) {
        self.end_background().await;
        let agent = Arc::clone(&self.agent);
        bounded("agent", agent.stop()).await;
        if let Some(manager) = self.manager.take() {
            bounded("manager", manager.stop()).await;
        }
    }

    /// Stops both roles and removes this node's tasks and networks from its engine.
    ///
    /// # Errors
    /// What could not be removed; both roles have stopped nevertheless.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        self.end_background().await;
        let agent = Arc::clone(&self.agent);
        let left = agent.leave().await;
        if let Some(manager) = self.manager.take() {
            bounded("manager", manager.stop()).await;
        }
        left
    }

    async fn end_background(&mut self) {
        self.stop.cancel();
        while self.background.join_next().await.is_some() {}
    }
}

/// Removes what a manager kept: its place in Raft is not its own any more.
fn forget_manager(state_dir: &std::path::Path, file: &mut NodeFile) -> anyhow::Result<()> {
    files::remove(&state_dir.join("raft"))?;
    if file.raft_id.is_some() {
        file.change(state_dir, |file| file.raft_id = None)?;
    }
    Ok(())
}

async fn start_manager(
    state_dir: &std::path::Path,
    tls: &TlsContext,
    file: &mut NodeFile,
    bootstrap: Option<Vec<Change>>,
) -> anyhow::Result<ManagerRole> {
    let own = file.own_control_addr().context("no address to be reached at is known")?.to_string();
    let raft_id = match file.raft_id {
        Some(raft_id) => raft_id,
        None => {
            let raft_id = join_raft(tls, &file.managers, &own).await?;
            file.change(state_dir, |file| file.raft_id = Some(raft_id))?;
            raft_id
        }
    };
    let config = ManagerConfig {
        state_dir: state_dir.to_owned(),
        node_id: tls.node_id(),
        raft_id,
        cluster_id: tls.cluster_id(),
        advertise_addr: own,
        tls: tls.clone(),
        clock: Arc::new(SystemClock),
        bootstrap,
    };
    ManagerRole::start(config, file.listen).await
}

fn report(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    tracing::error!(error = %text, "the manager of this node cannot start: trying again");
    text
}

/// Writes the list of managers to disk whenever the agent hears a different one.
async fn keep_managers(
    state_dir: PathBuf,
    mut file: NodeFile,
    mut heard: watch::Receiver<Managers>,
    addresses: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    loop {
        let managers: Vec<String> =
            heard.borrow_and_update().iter().map(|(_, addr)| addr.clone()).collect();
        if !managers.is_empty() && managers != file.managers {
            if let Err(error) = file.change(&state_dir, |file| file.managers.clone_from(&managers))
            {
                tracing::warn!(%error, "list of managers not stored");
            }
            addresses.send_replace(managers);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = heard.changed() => if changed.is_err() { return },
        }
    }
}

async fn bounded(what: &'static str, ending: impl Future<Output = ()>) {
    if tokio::time::timeout(STOP_TIMEOUT, ending).await.is_err() {
        tracing::warn!(role = what, "does not end in time: left behind");
    }
}
