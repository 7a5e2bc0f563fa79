//! The shell of the leader's loops, in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use swarmnet_model::{
    Clock, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, Tables, Timestamp, Version,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::leader::run_loop;
use crate::plan::Plan;
use crate::store::{Change, ProposeError, Proposer, Store, Transaction};

/// Follows the runtime's virtual time.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000_000).plus(self.0.elapsed())
    }
}

fn store() -> Store {
    Store::for_tests(Arc::new(VirtualClock(Instant::now())))
}

fn create(id: &str) -> Change {
    Change::CreateNode(Box::new(Node {
        id: NodeId::from_text(id),
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NodeSpec::default(),
        description: None,
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            addr: [10, 0, 0, 1].into(),
        },
        role: Role::Worker,
        manager: None,
    }))
}

/// Runs a planner in the shell; what it planned on is counted.
struct Running {
    passes: Arc<AtomicUsize>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    fn start(
        store: &Store,
        mut plan: impl FnMut(&Tables, Timestamp) -> Plan + Send + 'static,
    ) -> Self {
        let (passes, cancel) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let counted = Arc::clone(&passes);
        tasks.spawn(run_loop("test", store.clone(), cancel.clone(), move |tables, now, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            plan(tables, now)
        }));
        Self { passes, cancel, tasks }
    }

    fn passes(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }

    async fn ends(mut self) {
        let ended = timeout(Duration::from_secs(60), self.tasks.join_next()).await;
        ended.expect("the loop ends").expect("there is one").expect("it does not panic");
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.ends().await;
    }
}

fn changes(changes: Vec<Change>) -> Plan {
    Plan { changes, wake_at: None }
}

async fn until(store: &Store, nodes: usize) {
    let mut watch = store.watch();
    let there = watch.wait_for(|tables| tables.nodes.len() == nodes);
    timeout(Duration::from_secs(60), there).await.expect("in time").expect("the store lives");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_makes_few_passes() {
    let store = store();
    let running = Running::start(&store, |_, _| Plan::default());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.passes(), 1);
    for index in 0..100 {
        store.propose(vec![create(&format!("n{index}"))]).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(running.passes() <= 3, "{}", running.passes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_planner_is_woken_at_its_time() {
    let store = store();
    let due = store.now().plus(Duration::from_secs(30));
    let running = Running::start(&store, move |tables, now| {
        if now < due {
            return Plan { changes: vec![], wake_at: Some(due) };
        }
        changes(if tables.nodes.is_empty() { vec![create("n1")] } else { vec![] })
    });
    let started = Instant::now();
    until(&store, 1).await;
    let took = started.elapsed();
    assert!((30.0..30.1).contains(&took.as_secs_f64()), "{took:?}");
    assert!(running.passes() <= 4, "{}", running.passes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_effect_does_not_spin() {
    let store = store();
    let running = Running::start(&store, |_, _| {
        changes(vec![Change::RemoveTask { id: swarmnet_model::TaskId::from_text("gone") }])
    });
    sleep(Duration::from_secs(60)).await;
    assert!((5..50).contains(&running.passes()), "{}", running.passes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_goes_in_circles_is_slowed_down() {
    let store = store();
    let running = Running::start(&store, |tables, _| {
        let id = NodeId::from_text("n1");
        changes(vec![match tables.nodes.is_empty() {
            true => create("n1"),
            false => Change::RemoveNode { id },
        }])
    });
    sleep(Duration::from_secs(60)).await;
    assert!((100..500).contains(&running.passes()), "{}", running.passes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_change_that_never_fits_does_not_hold_the_others_up() {
    let store = store();
    store.propose(vec![create("there")]).await.unwrap();
    let running = Running::start(&store, |tables, _| {
        let wanted = ["a", "b", "c"].into_iter();
        let missing = wanted.filter(|id| !tables.nodes.contains_key(&NodeId::from_text(*id)));
        changes([create("there")].into_iter().chain(missing.map(create)).collect())
    });
    until(&store, 4).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_change_that_no_entry_can_hold_does_not_hold_the_others_up() {
    let store = store();
    let running = Running::start(&store, |tables, _| {
        let mut plan = changes(vec![create(&"x".repeat(2 << 20))]);
        plan.changes.extend(tables.nodes.is_empty().then(|| create("fine")));
        plan
    });
    until(&store, 1).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_plans_are_written_in_bounded_entries() {
    const NODES: usize = CHANGES_PER_TRANSACTION * 9 / 4;
    let store = store();
    let running = Running::start(&store, |tables, _| {
        let wanted = (0..NODES).map(|index| format!("n{index}"));
        let missing =
            wanted.filter(|id| !tables.nodes.contains_key(&NodeId::from_text(id.as_str())));
        changes(missing.map(|id| create(&id)).collect())
    });
    until(&store, NODES).await;
    // Two full entries and a quarter of one.
    assert_eq!(store.snapshot().version, Version(3));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_too_large_is_split() {
    let store = store();
    let running = Running::start(&store, |tables, _| {
        let long = "x".repeat(500_000);
        let wanted = (0..8).map(|index| format!("n{index}{long}"));
        let missing =
            wanted.filter(|id| !tables.nodes.contains_key(&NodeId::from_text(id.as_str())));
        changes(missing.map(|id| create(&id)).collect())
    });
    until(&store, 8).await;
    running.stop().await;
}

/// Answers as told, then says that another manager leads.
struct Scripted(Mutex<Vec<ProposeError>>);

#[async_trait]
impl Proposer for Scripted {
    async fn propose(&self, _: Transaction) -> Result<Version, ProposeError> {
        let next = self.0.lock().unwrap().pop();
        Err(next.unwrap_or(ProposeError::NotLeader { leader: None }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_outlasts_a_lost_quorum_and_ends_with_the_leadership() {
    let (_sender, tables) = watch::channel(Arc::<Tables>::default());
    let proposer = Arc::new(Scripted(Mutex::new(vec![ProposeError::TimedOut; 3])));
    let store = Store::new(tables, proposer, Arc::new(VirtualClock(Instant::now())));
    let running = Running::start(&store, |_, _| changes(vec![create("n1")]));
    let passes = Arc::clone(&running.passes);
    running.ends().await;
    assert_eq!(passes.load(Ordering::Relaxed), 4);
}
