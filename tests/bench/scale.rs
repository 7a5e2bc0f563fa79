//! A hundred thousand tasks without containers: a real manager with Raft on disk, and nodes in a
//! process of their own that speak the agents' side of every call and only say that tasks run.
//!
//! There is no peer to run beside it. For orientation: SwarmKit's authors published about 4,400 tasks
//! a second for its scheduler alone, in memory (100,000 tasks on 1,000 nodes, pull request 193).

use std::io::Read as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use swarmnet_manager::allocator::Allocator;
use swarmnet_manager::enforcer::Enforcer;
use swarmnet_manager::ids::OsIds;
use swarmnet_manager::orchestrator::Orchestrator;
use swarmnet_manager::plan::Plan;
use swarmnet_manager::reaper::Reaper;
use swarmnet_manager::scheduler::Scheduler;
use swarmnet_manager::store::{Change, Transaction, apply};
use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use swarmnet_model::{Clock, Cluster, IdSource, Tables, TaskState, TaskStatus, Timestamp};
use swarmnet_proto::document;

use crate::figures::Samples;
use crate::report::{Row, Unit};
use crate::sim::{self, MachineClock, Swarm};

const SERVICES: u32 = 100;
const REPLICAS: u64 = 1_000;
/// Nodes of the two runs.
const SIZES: [u32; 2] = [1_000, 5_000];
const PLANNING_ROUNDS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The word by which this program starts itself as the nodes.
pub(crate) const NODES: &str = "scale-nodes";

pub(crate) fn measure() -> Vec<Row> {
    let mut rows = planning();
    rows.push(committing());
    // `SCALE=200` runs one smaller cluster instead: a twentieth of the tasks for a fifth of the nodes.
    let size: Option<u32> = std::env::var("SCALE").ok().and_then(|text| text.parse().ok());
    match size {
        Some(nodes) => rows.extend(run(nodes, SERVICES / 10)),
        None => rows.extend(SIZES.into_iter().flat_map(|nodes| run(nodes, SERVICES))),
    }
    rows
}

fn row(name: String, unit: Unit, ours: Samples, conditions: Vec<String>) -> Row {
    Row { name, unit, ours, peer: Samples::new(), conditions }
}

fn one(value: f64) -> Samples {
    let mut samples = Samples::new();
    samples.push(value);
    samples
}

/// Runs a whole cluster once.
fn run(nodes: u32, services: u32) -> Vec<Row> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let swarm = Swarm::found(nodes).await;
        let began = Instant::now();
        let others = Nodes::start(swarm.cluster(), swarm.addr(), nodes);
        swarm.wait("all nodes are ready", sim::are_ready).await;
        let joined = began.elapsed();
        let before = resident("VmRSS");
        let filled = swarm.fill(services, REPLICAS, LOOK_EVERY).await;
        let tasks = f64::from(services) * 1e3;
        let highest = resident("VmHWM");
        let began = Instant::now();
        swarm.remove_services().await;
        swarm.wait("nothing is left", |tables| tables.tasks.is_empty()).await;
        let removed = began.elapsed();
        let conditions = vec![
            format!("{services} services with {REPLICAS} replicas each, one manager"),
            format!("all nodes ready after {:.1} s", joined.as_secs_f64()),
            format!("{} Raft entries, {:.0} tasks each", filled.entries, tasks / entries(&filled)),
            format!("manager memory: {before} MB before, {highest} MB at most"),
            format!("all removed again after {:.1} s", removed.as_secs_f64()),
        ];
        drop(others);
        swarm.stop().await;
        let name = |what: &str| format!("{what}, {tasks:.0} tasks on {nodes} nodes");
        let per_second = tasks / filled.placing.as_secs_f64().max(1e-3);
        vec![
            row(
                name("created to all running"),
                Unit::Milliseconds,
                one(filled.total.as_secs_f64() * 1e3),
                conditions,
            ),
            row(
                name("placed and committed"),
                Unit::PerSecond,
                one(per_second),
                vec!["first to last task on a node, while all else goes on".to_owned()],
            ),
        ]
    })
}

fn entries(filled: &sim::Filled) -> f64 {
    f64::from(u32::try_from(filled.entries).unwrap_or(u32::MAX)).max(1.0)
}

/// Returns a line of this process's status, in MB.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The nodes' process; ends with its input.
struct Nodes {
    process: Child,
    _files: tempfile::TempDir,
}

impl Nodes {
    #[expect(
        clippy::disallowed_methods,
        reason = "the nodes' memory is not to count as the manager's"
    )]
    fn start(cluster: &Cluster, manager: &str, count: u32) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("cluster.json");
        std::fs::write(&file, document::encode(cluster)).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args([NODES, file.to_str().unwrap(), manager, &count.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { process, _files: files }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // The process is gone either way once it has been waited for.
        let _ = self.process.wait();
    }
}

/// Is the nodes until the input ends.
pub(crate) fn nodes(words: &[String]) -> ExitCode {
    let [file, manager, count] = words else { return ExitCode::FAILURE };
    let cluster: Cluster = document::decode("cluster", &std::fs::read(file).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nodes = {
        let _inside = runtime.enter();
        sim::node::all(&cluster, manager, count.parse().unwrap())
    };
    // Nothing is ever written there.
    let _ = std::io::stdin().read(&mut [0]);
    drop(nodes);
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

/// Planners and Raft on disk, no nodes: from services to tasks on nodes.
fn committing() -> Row {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = u64::from(SERVICES) * REPLICAS;
    let filled = runtime.block_on(sim::leader::place(given(), usize::try_from(tasks).unwrap()));
    let per_second = f64::from(SERVICES) * 1e3 / filled.total.as_secs_f64();
    row(
        format!("created, allocated, placed and committed, {tasks} tasks on {} nodes", SIZES[0]),
        Unit::PerSecond,
        one(per_second),
        vec![format!(
            "planners and Raft on disk without nodes: {:.1} s, {} entries",
            filled.total.as_secs_f64(),
            filled.entries
        )],
    )
}

/// Planners alone: no Raft, no nodes.
fn planning() -> Vec<Row> {
    let [mut created, mut allocated, mut placed, mut applied] = [const { Samples::new() }; 4];
    let mut next = Vec::new();
    for _ in 0..PLANNING_ROUNDS {
        let mut paper = Paper::new();
        let mut leader = Leader::default();
        let mut orchestrator = Duration::ZERO;
        while let Some(took) = paper.step(|t, now, ids| leader.orchestrator.plan(t, now, ids)) {
            orchestrator += took;
        }
        let tasks = f64::from(u32::try_from(paper.tables.tasks.len()).unwrap());
        created.push(tasks / orchestrator.as_secs_f64());
        let allocator = paper.step(|t, now, ids| leader.allocator.plan(t, now, ids)).unwrap();
        allocated.push(tasks / allocator.as_secs_f64());
        let scheduler = paper.step(|t, now, ids| leader.scheduler.plan(t, now, ids)).unwrap();
        placed.push(tasks / scheduler.as_secs_f64());
        applied.push(tasks / paper.applying.as_secs_f64());
        assert!(paper.tables.tasks.values().all(|t| t.status.state == TaskState::Assigned));
        next.push(leader.after_one_change(&mut paper));
    }
    let what = || format!("{} tasks on {} nodes", u64::from(SERVICES) * REPLICAS, SIZES[0]);
    let [orchestrator, allocator, scheduler, enforcer, reaper] = next.pop().unwrap();
    let beside = vec![
        format!("{}, planning alone", what()),
        format!(
            "one report later a pass takes: orchestrator {orchestrator:?}, allocator \
             {allocator:?}, scheduler {scheduler:?}, enforcer {enforcer:?}, reaper {reaper:?}"
        ),
    ];
    let name = |who: &str| format!("{who}, {}", what());
    vec![
        row(name("scheduler"), Unit::PerSecond, placed, beside),
        row(name("orchestrator"), Unit::PerSecond, created, Vec::new()),
        row(name("allocator"), Unit::PerSecond, allocated, Vec::new()),
        row(name("placements applied"), Unit::PerSecond, applied, Vec::new()),
    ]
}

/// The planners of a leader.
#[derive(Default)]
struct Leader {
    orchestrator: Orchestrator,
    allocator: Allocator,
    scheduler: Scheduler,
    enforcer: Enforcer,
    reaper: Reaper,
}

impl Leader {
    /// Returns how long each planner thinks when one task says that it has been accepted.
    fn after_one_change(&mut self, paper: &mut Paper) -> [Duration; 5] {
        let mut took = [Duration::ZERO; 5];
        // The first pass makes the planners know the state, the second is measured.
        for _ in 0..2 {
            paper.report();
            let (tables, now) = (&paper.tables, paper.now);
            let timed = |plan: &mut dyn FnMut() -> Plan| {
                let began = Instant::now();
                assert_eq!(plan().changes, [], "nothing is left to plan");
                began.elapsed()
            };
            took = [
                timed(&mut || self.orchestrator.plan(tables, now, &mut OsIds)),
                timed(&mut || self.allocator.plan(tables, now, &mut OsIds)),
                timed(&mut || self.scheduler.plan(tables, now, &mut OsIds)),
                timed(&mut || self.enforcer.plan(tables, now, &mut OsIds)),
                timed(&mut || self.reaper.plan(tables, now, &mut OsIds)),
            ];
        }
        took
    }
}

/// A cluster's state without a cluster.
struct Paper {
    tables: Tables,
    now: Timestamp,
    /// What applying the last plan took.
    applying: Duration,
}

impl Paper {
    fn new() -> Self {
        let now = MachineClock.now();
        let mut paper = Self { tables: Tables::default(), now, applying: Duration::ZERO };
        paper.write(given());
        paper
    }

    /// Plans and applies; returns what planning took, if something was planned.
    fn step(
        &mut self,
        plan: impl FnOnce(&Tables, Timestamp, &mut dyn IdSource) -> Plan,
    ) -> Option<Duration> {
        let began = Instant::now();
        let changes = plan(&self.tables, self.now, &mut OsIds).changes;
        let took = began.elapsed();
        let began = Instant::now();
        let something = !changes.is_empty();
        self.write(changes);
        self.applying = began.elapsed();
        something.then_some(took)
    }

    fn report(&mut self) {
        let task = self.tables.tasks.values().find(|t| t.status.state == TaskState::Assigned);
        let task = task.unwrap();
        let status = TaskStatus::new(self.now, TaskState::Accepted, "accepted");
        let (id, node_id) = (task.id.clone(), task.node_id.clone().unwrap());
        self.write(vec![Change::ReportTask { id, node_id, status: Box::new(status) }]);
    }

    fn write(&mut self, changes: Vec<Change>) {
        for some in changes.chunks(CHANGES_PER_TRANSACTION) {
            let transaction = Transaction { now: self.now, changes: some.into() };
            let (tables, outcome) = apply(&self.tables, self.tables.version.0 + 1, &transaction);
            outcome.unwrap();
            self.tables = tables;
        }
    }
}

fn given() -> Vec<Change> {
    sim::leader::given(SIZES[0], SERVICES, REPLICAS)
}
