use std::fmt::Write;

use expect_test::{Expect, expect};

use super::*;
use crate::task::fixture;

/// A task followed through steps; the world changes by what the actions would do.
struct World {
    wish: Wish,
    status: TaskStatus,
    container: Option<ContainerFacts>,
    prepared: Option<Prepared>,
    host_ports: Vec<PublishedPort>,
    unhealthy: bool,
    released: bool,
    waited: Duration,
    log: String,
}

fn world(desired: DesiredState) -> World {
    let assigned = fixture::assigned("web", 1, desired);
    World {
        wish: Wish::of(Some(&assigned)),
        status: assigned.task.status.clone(),
        container: None,
        prepared: None,
        host_ports: Vec::new(),
        unhealthy: false,
        released: false,
        waited: Duration::ZERO,
        log: String::new(),
    }
}

fn container(state: ContainerState) -> Option<ContainerFacts> {
    Some(ContainerFacts { id: "c1".to_owned(), task_id: None, state, networks: Vec::new() })
}

fn up(health: Health) -> ContainerState {
    ContainerState::Running { pid: 42, health }
}

fn exit(code: i64) -> ContainerState {
    ContainerState::Exited { code, error: String::new(), health: Health::Unchecked }
}

impl World {
    /// Steps until an action is left for the outside, notes everything, and returns that action.
    fn settle(&mut self) -> Action {
        for _ in 0..20 {
            let step = step(&Situation {
                wish: self.wish,
                status: &self.status,
                container: self.container.as_ref(),
                prepared: self.prepared.as_ref(),
                host_ports: &self.host_ports,
                unhealthy: self.unhealthy,
                released: self.released,
                waited: self.waited,
                now: Timestamp(1),
            });
            if let Some(status) = step.status {
                assert!(status.state > self.status.state, "states only grow");
                self.note(&status);
                self.status = status;
            }
            if step.action != Action::Again {
                writeln!(self.log, "→ {:?}", step.action).unwrap();
                return step.action;
            }
        }
        panic!("never settles:\n{}", self.log);
    }

    fn note(&mut self, status: &TaskStatus) {
        write!(self.log, "{} `{}`", status.state.as_str(), status.message).unwrap();
        if let Some(err) = &status.err {
            write!(self.log, " err `{err}`").unwrap();
        }
        if let Some(container) = &status.container {
            write!(self.log, " pid {} exit {}", container.pid, container.exit_code).unwrap();
        }
        if let Some(gateway) = status.gateway {
            write!(self.log, " via {gateway}").unwrap();
        }
        for port in &status.ports {
            write!(self.log, " serves {}->{}", port.published_port, port.target_port).unwrap();
        }
        self.log.push('\n');
    }

    /// Does what the action asks and settles again.
    fn obey(&mut self) -> Action {
        let action = self.settle();
        match action {
            Action::Prepare => {
                self.prepared = Some(Prepared { gateway: Some([172, 31, 240, 2].into()) });
                self.container = container(ContainerState::Created);
            }
            Action::Start { .. } => self.container = container(up(Health::Unchecked)),
            Action::StopUnhealthy { .. } => {
                self.unhealthy = true;
                self.container = container(exit(0));
            }
            Action::Stop { .. } => self.container = container(exit(143)),
            Action::Release => self.released = true,
            Action::Remove { .. } => self.container = None,
            Action::Rest | Action::Again | Action::AwaitWithdrawal { .. } | Action::Forget => {}
        }
        action
    }

    /// Obeys until nothing is left to do.
    fn rest(&mut self) -> &mut Self {
        for _ in 0..20 {
            let action = self.obey();
            if matches!(action, Action::Rest | Action::AwaitWithdrawal { .. } | Action::Forget) {
                return self;
            }
        }
        panic!("never rests:\n{}", self.log);
    }

    fn with(&mut self, state: ContainerState) -> &mut Self {
        self.container = container(state);
        self
    }

    fn wishing(&mut self, wish: Wish) -> &mut Self {
        self.wish = wish;
        self
    }

    fn check(&mut self, want: &Expect) {
        want.assert_eq(&std::mem::take(&mut self.log));
    }
}

#[test]
fn a_task_goes_from_assigned_to_running() {
    world(DesiredState::Running).rest().check(&expect![[r#"
        accepted `accepted`
        preparing `preparing`
        → Prepare
        ready `prepared` pid 0 exit 0 via 172.31.240.2
        starting `starting` pid 0 exit 0 via 172.31.240.2
        → Start { container: "c1" }
        running `started` pid 42 exit 0 via 172.31.240.2
        → Rest
    "#]]);
}

#[test]
fn a_task_waits_in_ready_until_it_is_meant_to_run() {
    let mut world = world(DesiredState::Ready);
    world.rest().check(&expect![[r#"
        accepted `accepted`
        preparing `preparing`
        → Prepare
        ready `prepared` pid 0 exit 0 via 172.31.240.2
        → Rest
    "#]]);
    world.wishing(Wish::Run).rest().check(&expect![[r#"
        starting `starting` pid 0 exit 0 via 172.31.240.2
        → Start { container: "c1" }
        running `started` pid 42 exit 0 via 172.31.240.2
        → Rest
    "#]]);
}

#[test]
fn host_mode_ports_are_told_while_the_task_runs() {
    let mut world = world(DesiredState::Running);
    world.host_ports = vec![PublishedPort {
        name: String::new(),
        protocol: swarmnet_model::Protocol::Tcp,
        target_port: 80,
        published_port: 8080,
        mode: swarmnet_model::PublishMode::Host,
    }];
    world.rest();
    assert_eq!(world.log.matches("serves").count(), 1, "{}", world.log);
    let running = "running `started` pid 42 exit 0 via 172.31.240.2 serves 8080->80";
    assert!(world.log.contains(running), "{}", world.log);
    world.with(exit(3)).rest();
    assert_eq!(world.status.ports, []);
}

#[test]
fn a_clean_exit_completes_and_a_bad_one_fails() {
    for code in [0, 3] {
        let mut world = world(DesiredState::Running);
        world.rest().log.clear();
        world.with(exit(code)).rest().check(&match code {
            0 => expect![[r#"
                complete `finished` pid 0 exit 0
                → Release
                → Rest
            "#]],
            _ => expect![[r#"
                failed `started` err `task: non-zero exit (3)` pid 0 exit 3
                → Release
                → Rest
            "#]],
        });
    }
}

#[test]
fn a_container_removed_by_hand_is_a_failure() {
    let mut world = world(DesiredState::Running);
    world.rest().log.clear();
    world.container = None;
    world.rest().check(&expect![[r#"
        failed `started` err `task: non-zero exit (137)` pid 42 exit 137
        → Release
        → Rest
    "#]]);
}

#[test]
fn a_checked_task_runs_when_healthy_and_fails_when_unhealthy() {
    let mut world = world(DesiredState::Running);
    assert_eq!(world.obey(), Action::Prepare);
    assert_eq!(world.settle(), Action::Start { container: "c1".to_owned() });
    world.log.clear();
    world.with(up(Health::Starting)).rest();
    world.with(up(Health::Healthy)).rest();
    world.with(up(Health::Unhealthy)).rest().check(&expect![[r#"
        → Rest
        running `started` pid 42 exit 0 via 172.31.240.2
        → Rest
        → StopUnhealthy { container: "c1" }
        failed `started` err `task: non-zero exit (137): dockerexec: unhealthy container` pid 0 exit 137
        → Release
        → Rest
    "#]]);
}

#[test]
fn a_running_task_is_withdrawn_before_its_stop_signal() {
    let mut world = world(DesiredState::Running);
    world.rest().log.clear();
    world.wishing(Wish::Stop { withdrawn: false }).rest();
    world.wishing(Wish::Stop { withdrawn: true }).rest();
    world.wishing(Wish::Vanish).rest().check(&expect![[r#"
        → AwaitWithdrawal { at_most: 3s }
        → Stop { container: "c1" }
        shutdown `shutdown` pid 0 exit 143
        → Release
        → Rest
        → Remove { container: "c1" }
        → Forget
    "#]]);
}

#[test]
fn the_wait_for_the_withdrawal_is_bounded() {
    let mut world = world(DesiredState::Running);
    world.rest().log.clear();
    world.waited = Duration::from_secs(3);
    world.wishing(Wish::Stop { withdrawn: false }).rest().check(&expect![[r#"
        → Stop { container: "c1" }
        shutdown `shutdown` pid 0 exit 143
        → Release
        → Rest
    "#]]);
}

#[test]
fn a_task_that_never_served_stops_at_once() {
    for state in [TaskState::Assigned, TaskState::Preparing] {
        let mut world = world(DesiredState::Shutdown);
        world.status.state = state;
        world.rest();
        assert_eq!(world.log, "shutdown `shutdown`\n→ Release\n→ Rest\n");
    }
    let mut world = world(DesiredState::Shutdown);
    world.status.state = TaskState::Starting;
    world.with(up(Health::Starting)).rest().check(&expect![[r#"
        → Stop { container: "c1" }
        shutdown `shutdown` pid 0 exit 143
        → Release
        → Rest
    "#]]);
}

#[test]
fn a_restarted_agent_adopts_what_runs() {
    let mut world = world(DesiredState::Running);
    world.with(up(Health::Unchecked)).prepared = Some(Prepared { gateway: None });
    world.rest().check(&expect![[r#"
        accepted `accepted` pid 42 exit 0
        preparing `preparing` pid 42 exit 0
        ready `prepared` pid 42 exit 0
        starting `starting` pid 42 exit 0
        running `started` pid 42 exit 0
        → Rest
    "#]]);
    world.prepared = None;
    world.rest().check(&expect![[r#"
        → Rest
    "#]]);
}

#[test]
fn an_ended_task_is_never_started_again_and_its_stray_container_is_stopped() {
    let mut world = world(DesiredState::Running);
    world.status.state = TaskState::Failed;
    world.with(up(Health::Unchecked)).rest().check(&expect![[r#"
        → Stop { container: "c1" }
        → Release
        → Rest
    "#]]);
}

#[test]
fn refusals_reject_before_the_start_and_fail_after_it() {
    let mut status = world(DesiredState::Running).status;
    status.state = TaskState::Preparing;
    let rejected = refused(&status, Timestamp(2), "No such image: x:1\n");
    assert_eq!(
        (rejected.state, rejected.err.as_deref()),
        (TaskState::Rejected, Some("No such image: x:1"))
    );
    status.state = TaskState::Starting;
    let failed = refused(&status, Timestamp(2), "no such file");
    assert_eq!(
        (failed.state, failed.err.as_deref()),
        (TaskState::Failed, Some("starting container failed: no such file"))
    );
}

#[test]
fn what_is_in_the_way_is_said_once_and_not_of_a_running_task() {
    let mut status = world(DesiredState::Running).status;
    let hindered = hindered(&status, Timestamp(2), "away").unwrap();
    assert_eq!((hindered.state, hindered.err.as_deref()), (TaskState::Accepted, Some("away")));
    assert_eq!(super::hindered(&hindered, Timestamp(3), "away"), None);
    status.state = TaskState::Running;
    assert_eq!(super::hindered(&status, Timestamp(3), "away"), None);
}

/// Every situation ends in rest, whatever the engine shows, and an ended wish never starts anything.
#[test]
fn every_situation_comes_to_rest() {
    let containers = [
        None,
        container(ContainerState::Created),
        container(ContainerState::Dead),
        container(up(Health::Starting)),
        container(up(Health::Healthy)),
        container(up(Health::Unhealthy)),
        container(exit(0)),
        container(exit(1)),
    ];
    let wishes = [Wish::Prepare, Wish::Run, Wish::Stop { withdrawn: true }, Wish::Vanish];
    for state in TaskState::ALL {
        for wish in wishes {
            for container in &containers {
                let mut world = world(DesiredState::Running);
                world.status.state = state;
                world.container.clone_from(container);
                world.waited = Duration::from_secs(60);
                world.wishing(wish).rest();
                let started = world.log.contains("Start {") || world.log.contains("→ Prepare");
                assert!(!(wish.is_end() && started), "{}", world.log);
                let runs = world.container.as_ref().is_some_and(is_running);
                assert!(!(wish.is_end() && runs), "{}", world.log);
            }
        }
    }
}
