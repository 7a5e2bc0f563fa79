//! A small cluster of simulated nodes: what the bench row `scale` does with thousands of them.
#![expect(clippy::unwrap_used, reason = "a wrong step fails the test")]

mod sim;

use std::time::Duration;

use sim::Swarm;
use swarmnet_model::TaskState;

const NODES: u32 = 50;
const SERVICES: u32 = 10;
const REPLICAS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tasks_run_on_fifty_nodes_and_vanish_with_their_services() {
    let swarm = Swarm::found(NODES).await;
    let nodes = sim::node::all(swarm.cluster(), swarm.addr(), NODES);
    swarm.wait("all nodes are ready", sim::are_ready).await;
    let filled = swarm.fill(SERVICES, REPLICAS, Duration::from_millis(20)).await;
    assert!(filled.entries < 2_000, "changes share entries: {}", filled.entries);
    assert!(filled.placing <= filled.total, "placing is a part of it");
    let tables = swarm.tables();
    let share = usize::try_from(u64::from(SERVICES) * REPLICAS / u64::from(NODES)).unwrap();
    for node in tables.nodes.keys().filter(|id| tables.nodes[*id].manager.is_none()) {
        let there = tables.tasks_on(node);
        let running = there.filter(|task| task.status.state == TaskState::Running).count();
        assert!(running.abs_diff(share) <= 1, "{node} runs {running} of {share}");
    }
    swarm.remove_services().await;
    swarm
        .wait("nothing is left", |tables| tables.tasks.is_empty() && tables.services.is_empty())
        .await;
    drop(nodes);
    swarm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_places_two_thousand_tasks_in_few_entries() {
    let given = sim::leader::given(NODES, SERVICES, REPLICAS);
    let wanted = usize::try_from(u64::from(SERVICES) * REPLICAS).unwrap();
    let filled = sim::leader::place(given, wanted).await;
    assert!(filled.entries < 200, "changes share entries: {}", filled.entries);
    assert!(filled.placing <= filled.total, "placing is a part of it");
}
