use expect_test::expect;
use swarmnet_model::container::Healthcheck;
use swarmnet_model::view::AssignedTask;
use swarmnet_model::{DesiredState, Item, ItemKey, TaskState, TaskStatus, Timestamp};
use tokio::time::timeout;

use super::*;
use crate::attach::leases::Leases;
use crate::engine::fake::FakeEngine;
use crate::engine::watch::{EVENT_QUEUE, follow};
use crate::engine::{ContainerState, Health};
use crate::task::fixture::{self, FakeWiring, FixedClock};

/// A runner over a fake engine, told by the test.
struct Node {
    engine: Arc<FakeEngine>,
    wiring: Arc<FakeWiring>,
    reporter: Arc<Reporter>,
    told: watch::Sender<Told>,
    idle: watch::Receiver<bool>,
    stop: CancellationToken,
    children: JoinSet<()>,
}

fn node(engine: &Arc<FakeEngine>) -> Node {
    let wiring = Arc::new(FakeWiring::default());
    let reporter = Arc::new(Reporter::new(BTreeMap::new()));
    let told = watch::Sender::new(Told::default());
    let (facts, idle) = (watch::Sender::new(None), watch::Sender::new(false));
    let (wake, wakes) = mpsc::channel(EVENT_QUEUE);
    let stop = CancellationToken::new();
    let idle_told = idle.subscribe();
    let runner = Runner::new(RunnerParts {
        engine: engine.clone(),
        wiring: wiring.clone(),
        reporter: reporter.clone(),
        clock: Arc::new(FixedClock),
        node_id: NodeId::from_text("n1"),
        hostname: "node01".to_owned(),
        facts: facts.subscribe(),
        told: told.subscribe(),
        wakes,
        networks: Arc::new(EngineNetworks::new(
            engine.clone(),
            Leases::default(),
            watch::Sender::new(Vec::new()),
        )),
        idle,
    });
    let mut children = JoinSet::new();
    children.spawn(follow(engine.clone(), facts, wake, watch::Sender::new(0), stop.clone(), 1));
    children.spawn(runner.run(stop.clone()));
    let engine = engine.clone();
    Node { engine, wiring, reporter, told, idle: idle_told, stop, children }
}

fn web(slot: u64, desired: DesiredState) -> AssignedTask {
    fixture::assigned("web", slot, desired)
}

fn id(slot: u64) -> TaskId {
    TaskId::from_text(format!("web-{slot}"))
}

impl Node {
    fn tell(&self, tasks: impl IntoIterator<Item = AssignedTask>, complete: bool) {
        let tasks = tasks.into_iter();
        let items = tasks.map(|t| (ItemKey::Task(t.task.id.clone()), Item::Task(Box::new(t))));
        self.told.send_replace(Told { view: Arc::new(items.collect()), complete });
    }

    fn status(&self, slot: u64) -> TaskStatus {
        let unknown = TaskStatus::new(Timestamp(0), TaskState::New, "");
        self.reporter.status(&id(slot)).unwrap_or(unknown)
    }

    /// Waits until a task has reached a state.
    async fn reaches(&self, slot: u64, state: TaskState) {
        let mut changes = self.reporter.changes();
        let reached = async {
            while self.status(slot).state != state {
                changes.changed().await.unwrap();
            }
        };
        let waited = timeout(Duration::from_secs(120), reached).await;
        assert!(waited.is_ok(), "{:?} is not {state:?}", self.status(slot));
    }

    async fn is_idle(&mut self) {
        let idle = timeout(Duration::from_secs(600), self.idle.wait_for(|idle| *idle)).await;
        assert!(idle.is_ok(), "something is left:\n{}", self.engine.show());
    }

    /// Time for what must not happen.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.children.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_run_stopped_and_removed_with_its_networks() {
    let mut node = node(&Arc::new(FakeEngine::new()));
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Running).await;
    assert_eq!(node.status(1).gateway, Some([172, 31, 240, 2].into()));
    node.tell([AssignedTask { withdrawn: true, ..web(1, DesiredState::Shutdown) }], true);
    node.reaches(1, TaskState::Shutdown).await;
    node.pass(60).await;
    expect![[r#"
        web.1.web-1 exited net+swarmnet_gateway
        network swarmnet_gateway
    "#]]
    .assert_eq(&node.engine.show());
    assert_eq!(node.wiring.released(), [id(1)]);
    node.tell([], true);
    node.is_idle().await;
    assert_eq!(node.engine.show(), "");
    expect![[r#"
        create network net
        create network swarmnet_gateway
        create web.1.web-1
        connect swarmnet_gateway
        start c1
        stop c1
        remove network id-net
        remove network id-swarmnet_gateway
        remove c1
    "#]]
    .assert_eq(&node.engine.take_log());
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_the_engine_loses_every_task_starts_once_and_nothing_is_left() {
    for seed in 0..30 {
        let engine = Arc::new(FakeEngine::new());
        engine.fail(30, seed);
        let mut node = node(&engine);
        node.tell((1..=4).map(|slot| web(slot, DesiredState::Running)), true);
        for slot in 1..=4 {
            node.reaches(slot, TaskState::Running).await;
            assert_eq!(engine.starts(&id(slot)), 1, "seed {seed}");
            assert_eq!(node.status(slot).err, None, "seed {seed}");
        }
        node.tell((3..=4).map(|slot| web(slot, DesiredState::Running)), true);
        node.pass(60).await;
        node.tell([], true);
        node.is_idle().await;
        assert_eq!(engine.show(), "", "seed {seed}");
        node.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_starts_and_stops_nothing() {
    let engine = Arc::new(FakeEngine::new());
    let first = node(&engine);
    first.tell([web(1, DesiredState::Running), web(2, DesiredState::Running)], true);
    first.reaches(1, TaskState::Running).await;
    first.reaches(2, TaskState::Running).await;
    first.end().await;
    let before = engine.show();
    engine.take_log();
    let second = node(&engine);
    second.tell([web(1, DesiredState::Running), web(2, DesiredState::Running)], false);
    second.reaches(1, TaskState::Running).await;
    second.reaches(2, TaskState::Running).await;
    assert_eq!(second.status(1).gateway, Some([172, 31, 240, 2].into()));
    // Managers say later that one of them is no longer assigned.
    second.pass(60).await;
    assert_eq!((engine.show(), engine.take_log().as_str()), (before, ""));
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_before_the_first_full_view() {
    let engine = Arc::new(FakeEngine::new());
    engine.add_stray("old", &TaskId::from_text("old-task"), "n1");
    engine.add_stray("foreign", &TaskId::from_text("their-task"), "n2");
    let node = node(&engine);
    node.tell([], false);
    node.pass(60).await;
    assert_eq!(engine.show(), "foreign running \nold running \n");
    node.tell([], true);
    node.pass(60).await;
    assert_eq!(engine.show(), "foreign running \n");
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_rejects_with_the_pull_error_unless_the_node_has_it() {
    let engine = Arc::new(FakeEngine::new());
    engine.set_pull("nginx", false, Some("pull access denied for nginx"));
    let node = node(&engine);
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Rejected).await;
    assert_eq!(node.status(1).err.as_deref(), Some("pull access denied for nginx"));
    engine.set_pull("nginx", true, Some("no route to registry"));
    node.tell([web(2, DesiredState::Running)], true);
    node.reaches(2, TaskState::Running).await;
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_registry_delays_a_present_image_once_and_shortly() {
    let engine = Arc::new(FakeEngine::new());
    engine.set_pull("nginx", true, None);
    let node = node(&engine);
    let begun = Instant::now();
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Running).await;
    let first = begun.elapsed();
    node.tell([web(1, DesiredState::Running), web(2, DesiredState::Running)], true);
    node.reaches(2, TaskState::Running).await;
    assert!(first < Duration::from_secs(5), "{first:?}");
    assert!(begun.elapsed() - first < Duration::from_millis(100), "{:?}", begun.elapsed());
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_is_no_longer_wanted_ends() {
    let engine = Arc::new(FakeEngine::new());
    engine.set_pull("nginx", false, None);
    let node = node(&engine);
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Preparing).await;
    node.pass(1).await;
    let begun = Instant::now();
    node.tell([web(1, DesiredState::Shutdown)], true);
    node.reaches(1, TaskState::Shutdown).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_word_of_its_withdrawal_a_task_is_stopped_after_the_bound() {
    let node = node(&Arc::new(FakeEngine::new()));
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Running).await;
    let begun = Instant::now();
    node.tell([web(1, DesiredState::Shutdown)], true);
    node.reaches(1, TaskState::Shutdown).await;
    let waited = begun.elapsed();
    assert!((3..4).contains(&waited.as_secs()), "{waited:?}");
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_is_made_good_by_the_safety_period() {
    let node = node(&Arc::new(FakeEngine::new()));
    node.tell([web(1, DesiredState::Running), web(2, DesiredState::Running)], true);
    node.reaches(1, TaskState::Running).await;
    node.reaches(2, TaskState::Running).await;
    let exited =
        ContainerState::Exited { code: 3, error: String::new(), health: Health::Unchecked };
    node.engine.set_state(&id(1), exited, false);
    node.engine.remove_by_hand(&id(2));
    node.reaches(2, TaskState::Failed).await;
    assert_eq!(node.status(1).state, TaskState::Running);
    node.reaches(1, TaskState::Failed).await;
    assert_eq!(node.status(1).err.as_deref(), Some("task: non-zero exit (3)"));
    assert_eq!(node.status(2).err.as_deref(), Some("task: non-zero exit (137)"));
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_task_fails_and_a_healthy_one_runs() {
    let node = node(&Arc::new(FakeEngine::new()));
    let mut checked = web(1, DesiredState::Running);
    Arc::make_mut(&mut checked.task).spec.container.healthcheck = Some(Healthcheck::default());
    node.tell([checked], true);
    node.reaches(1, TaskState::Starting).await;
    node.pass(30).await;
    assert_eq!(node.status(1).state, TaskState::Starting);
    let health = |health| ContainerState::Running { pid: 42, health };
    node.engine.set_state(&id(1), health(Health::Healthy), true);
    node.reaches(1, TaskState::Running).await;
    node.engine.set_state(&id(1), health(Health::Unhealthy), true);
    node.reaches(1, TaskState::Failed).await;
    assert_eq!(
        node.status(1).err.as_deref(),
        Some("task: non-zero exit (143): dockerexec: unhealthy container")
    );
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_away_and_comes_back_is_picked_up() {
    let node = node(&Arc::new(FakeEngine::new()));
    node.engine.set_away(true);
    node.tell([web(1, DesiredState::Running)], true);
    node.reaches(1, TaskState::Accepted).await;
    let told = "the Docker Engine does not answer: fake";
    assert_eq!(node.status(1).err.as_deref(), Some(told));
    node.pass(30).await;
    node.engine.set_away(false);
    node.reaches(1, TaskState::Running).await;
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_renamed_by_hand_does_not_outlive_its_task() {
    let engine = Arc::new(FakeEngine::new());
    engine.add_stray("renamed", &id(1), "n1");
    let mut node = node(&engine);
    let mut ended = web(1, DesiredState::Shutdown);
    Arc::make_mut(&mut ended.task).status.state = TaskState::Failed;
    node.tell([ended], true);
    node.pass(60).await;
    assert_eq!(engine.show(), "renamed exited \n");
    node.tell([], true);
    node.is_idle().await;
    assert_eq!(engine.show(), "");
    node.end().await;
}
