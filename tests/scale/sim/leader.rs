//! A leader without nodes: its planners on Raft on disk, for what placing and committing cost alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmnet_manager::allocator::Allocator;
use swarmnet_manager::ids::OsIds;
use swarmnet_manager::leader::{self, LeaderTask};
use swarmnet_manager::orchestrator::Orchestrator;
use swarmnet_manager::raft::{Leader, Member, RaftConfig, RaftGroup};
use swarmnet_manager::scheduler::Scheduler;
use swarmnet_manager::store::{Change, Store};
use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use swarmnet_model::{
    NodeId, NodeState, NodeStatus, Role, Service, ServiceId, ServiceSpec, Tables, TaskState,
    Timestamp, Version,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Filled, MANAGER, MachineClock, PATIENCE, cluster, identity, known, node_addr, node_id, spec,
    until,
};

/// Plans and commits until every task that `given` asks for is on a node.
pub(crate) async fn place(given: Vec<Change>, wanted: usize) -> Filled {
    let (cluster, files) = (cluster(), tempfile::tempdir().unwrap());
    let node_id = NodeId::from_text(MANAGER);
    let config = RaftConfig {
        state_dir: files.path().to_owned(),
        cluster_id: cluster.id.clone(),
        raft_id: 1,
        member: Member { node_id, addr: "127.0.0.1:1".to_owned() },
        tls: identity(&cluster, MANAGER, Role::Manager),
    };
    let group = Arc::new(RaftGroup::start(config).await.unwrap());
    group.found().await.unwrap();
    assert_eq!(group.await_leader(PATIENCE).await, Leader::Own, "the only manager leads");
    let proposer = Arc::new(group.proposer());
    let store = Store::new(group.tables(), proposer, Arc::new(MachineClock));
    for some in given.chunks(CHANGES_PER_TRANSACTION) {
        store.propose(some).await.unwrap();
    }
    let (cancel, mut running) = (CancellationToken::new(), JoinSet::new());
    let (began, before) = (Instant::now(), store.snapshot().version);
    running.spawn(leader::run(Arc::clone(&group), store.clone(), planners(), cancel.clone()));
    let placed = |tables: &Tables| {
        let tasks = tables.tasks.values();
        tasks.filter(|task| task.status.state >= TaskState::Assigned).count()
    };
    until(&store, "some tasks are placed", |tables| placed(tables) > 0).await;
    let first = Instant::now();
    until(&store, "all tasks are placed", |tables| placed(tables) == wanted).await;
    let (total, placing) = (began.elapsed(), first.elapsed().max(Duration::from_millis(1)));
    let entries = store.snapshot().version.0 - before.0;
    cancel.cancel();
    while running.join_next().await.is_some() {}
    group.stop().await;
    Filled { total, placing, entries }
}

/// A cluster whose nodes are ready and whose services have no tasks yet.
pub(crate) fn given(nodes: u32, services: u32, replicas: u64) -> Vec<Change> {
    let mut changes = vec![Change::PutCluster { cluster: Box::new(cluster()), expected: None }];
    for at in 0..nodes {
        let (id, addr) = (node_id(at), node_addr(at));
        changes.push(known(&id, Role::Worker, addr, None));
        let status = NodeStatus { state: NodeState::Ready, message: String::new(), addr };
        changes.push(Change::SetNodeStatus { id: NodeId::from_text(id), status });
    }
    let services = (0..services).map(|at| service(spec(&format!("s{at}"), replicas)));
    changes.extend(services.map(|service| Change::CreateService(Box::new(service))));
    changes
}

fn service(spec: ServiceSpec) -> Service {
    Service {
        id: ServiceId::generate(&mut OsIds),
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec,
        previous_spec: None,
        endpoint: None,
        update_status: None,
        job: None,
        pending_delete: false,
        registry: Default::default(),
    }
}

fn planners() -> Vec<LeaderTask> {
    vec![
        LeaderTask::planner("allocator", || {
            let mut allocator = Allocator::default();
            move |tables, now, ids| allocator.plan(tables, now, ids)
        }),
        LeaderTask::planner("orchestrator", || {
            let mut orchestrator = Orchestrator::default();
            move |tables, now, ids| orchestrator.plan(tables, now, ids)
        }),
        LeaderTask::planner("scheduler", || {
            let mut scheduler = Scheduler::default();
            move |tables, now, ids| scheduler.plan(tables, now, ids)
        }),
    ]
}
