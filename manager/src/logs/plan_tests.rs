use swarmnet_model::ServiceId;

use super::*;
use crate::world::World;

const STEP: Duration = Duration::from_millis(100);

struct Scene {
    world: World,
    progress: Progress,
    follow: bool,
    now: Instant,
}

impl Scene {
    fn given(text: &str, follow: bool) -> Self {
        let (world, now) = (World::given(text), Instant::now());
        Self { world, progress: Progress::default(), follow, now }
    }

    fn plan(&mut self) -> Plan {
        self.now += STEP;
        let selector = LogSelector::Service(ServiceId::from_text("web"));
        self.progress.plan(&self.world.tables, &selector, self.follow, self.now)
    }

    fn note(&mut self, node: &str, event: NodeEvent) {
        self.progress.note(&NodeId::from_text(node), event, self.follow, self.now);
    }

    /// Plans whenever the plan wants it; returns everything until it rests or finishes.
    fn run(&mut self, at_most: Duration) -> Vec<Plan> {
        let (until, mut plans) = (self.now + at_most, Vec::new());
        loop {
            let plan = self.plan();
            let wake_at = plan.wake_at.filter(|at| *at <= until && !plan.finished);
            plans.push(plan);
            match wake_at {
                Some(at) => self.now = self.now.max(at),
                None => return plans,
            }
        }
    }
}

fn names(nodes: &BTreeSet<NodeId>) -> Vec<&str> {
    nodes.iter().map(NodeId::as_str).collect()
}

fn missing(plan: &Plan) -> Vec<String> {
    plan.missing.iter().map(|(node, task)| format!("{node} {task}")).collect()
}

const WEB: &str = "
    node n1
    node n2
    node n3 down
    node n4
    service web replicas=3
    service other
    task web.1 t1 n1 running
    task web.1 t0 n2 failed
    task web.2 t2 n2 running at=5
    task web.3 t3 n3 running
    task web.4 t4 - pending
    task other.1 o1 n4 running
";

#[test]
fn nodes_with_tasks_past_and_present_are_asked_and_one_that_is_down_is_named() {
    let mut scene = Scene::given(WEB, false);
    let plan = scene.plan();
    assert_eq!(names(&plan.ask), ["n1", "n2"]);
    assert_eq!(missing(&plan), ["n3 t3"]);
    assert!(!plan.finished);
    scene.note("n1", NodeEvent::Began);
    scene.note("n2", NodeEvent::Began);
    scene.note("n1", NodeEvent::Completed);
    assert_eq!(scene.plan(), Plan::default(), "nothing but waiting for n2");
    scene.note("n2", NodeEvent::Completed);
    assert!(scene.plan().finished);
}

#[test]
fn a_node_that_does_not_begin_is_asked_again_and_then_named() {
    let mut scene = Scene::given(WEB, false);
    scene.plan();
    scene.note("n1", NodeEvent::Completed);
    let plans = scene.run(Duration::from_secs(60));
    let asked: Vec<_> = plans.iter().flat_map(|plan| names(&plan.ask)).collect();
    assert!(asked.len() > 1 && asked.iter().all(|node| *node == "n2"), "{asked:?}");
    let last = plans.last().unwrap();
    assert_eq!(missing(last), ["n2 t2"], "with its newest task");
    assert!(last.finished);
}

#[test]
fn a_node_that_breaks_off_is_asked_to_go_on() {
    let mut scene = Scene::given(WEB, false);
    scene.plan();
    scene.note("n1", NodeEvent::Began);
    scene.note("n2", NodeEvent::Completed);
    scene.note("n1", NodeEvent::BrokeOff);
    let asked: Vec<_> =
        scene.run(Duration::from_secs(2)).into_iter().map(|plan| plan.ask).collect();
    assert!(asked.iter().any(|nodes| names(nodes) == ["n1"]), "{asked:?}");
    scene.note("n1", NodeEvent::Began);
    scene.note("n1", NodeEvent::Completed);
    assert!(scene.plan().finished);
}

#[test]
fn a_reader_that_follows_gets_new_nodes_and_those_that_come_back() {
    let mut scene = Scene::given(WEB, true);
    assert_eq!(missing(&scene.plan()), ["n3 t3"]);
    scene.note("n1", NodeEvent::Began);
    scene.note("n2", NodeEvent::Began);
    scene.world.line("task web.4 t5 n4 assigned");
    let plan = scene.plan();
    assert_eq!((names(&plan.ask), plan.finished), (vec!["n4"], false));
    scene.note("n4", NodeEvent::Began);
    scene.world.set_node("n3", NodeState::Ready);
    let plans = scene.run(Duration::from_secs(6));
    assert!(plans.iter().any(|plan| names(&plan.ask) == ["n3"]));
    assert!(plans.iter().all(|plan| plan.missing.is_empty()), "it is named once");
    scene.note("n3", NodeEvent::Began);
    scene.note("n3", NodeEvent::BrokeOff);
    scene.world.set_node("n3", NodeState::Down);
    let plans = scene.run(Duration::from_secs(60));
    let named: Vec<_> = plans.iter().flat_map(missing).collect();
    assert_eq!(named, ["n3 t3"], "and again when it is away again");
}

#[test]
fn following_ends_when_the_service_and_its_tasks_are_gone() {
    let mut scene = Scene::given("service web\nnode n1\ntask web.1 t1 n1 running", true);
    scene.plan();
    scene.note("n1", NodeEvent::Began);
    scene.world.tables.services.remove(&ServiceId::from_text("web"));
    assert!(!scene.plan().finished, "its task still writes");
    scene.world.tables.tasks.clear();
    assert!(scene.plan().finished);
}

#[test]
fn a_node_that_is_away_and_has_lost_its_tasks_keeps_nobody_awake() {
    let mut scene = Scene::given(WEB, true);
    assert_eq!(missing(&scene.plan()), ["n3 t3"]);
    scene.note("n1", NodeEvent::Began);
    scene.note("n2", NodeEvent::Began);
    scene.world.tables.tasks.remove(&TaskId::from_text("t3"));
    scene.now += Duration::from_secs(3_600);
    assert_eq!(scene.plan(), Plan::default());
}
