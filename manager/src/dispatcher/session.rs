//! Pure: one agent's session: what it was told, what it has applied, until when it is alive.

use std::net::Ipv4Addr;
use std::time::Duration;

use swarmnet_model::defaults::HEARTBEATS_MISSED_MAX;
use swarmnet_model::{Item, Task};
use tokio::time::Instant;

use super::encoded::{self, Part, Shared};
use crate::discovery::drain::Told;
use crate::discovery::views::Parts;

/// What the dispatcher knows of one session. Sending is the caller's.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    /// Address the node advertises, or was seen from.
    pub addr: Ipv4Addr,
    /// Without a heartbeat until then the node is down.
    pub deadline: Instant,
    /// The view the node has when it has applied `generation`.
    view: Parts,
    generation: u64,
    told: Told,
}

impl Session {
    /// A session that has been told nothing.
    pub fn new(id: String, addr: Ipv4Addr, now: Instant, period: Duration) -> Self {
        Self {
            id,
            addr,
            deadline: deadline(now, period),
            view: Parts::default(),
            generation: 0,
            told: Told::default(),
        }
    }

    /// Notes a sign of life.
    pub fn heartbeat(&mut self, now: Instant, period: Duration) {
        self.deadline = deadline(now, period);
    }

    /// Notes the generation the node has in its kernel. One we never sent is not believed.
    pub fn acknowledge(&mut self, generation: u64) {
        self.told.acknowledge(generation.min(self.generation));
    }

    /// Returns what the node was told of backends.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Returns the document that must be sent so that the node has `view`; `None` if it has. The first
    /// update is full even if the view is empty: it tells the agent that nothing else is to be kept.
    pub fn advance(&mut self, view: Parts, shared: &mut Shared) -> Option<Vec<u8>> {
        if self.generation > 0 && self.view.is_same(&view) {
            return None;
        }
        let full = self.generation == 0;
        let (shared, own) = if full {
            (shared.part(None, &view.shared), Part::whole(&view.own))
        } else {
            let own = Part::difference(&self.view.own, &view.own, is_echo);
            (shared.part(Some(&self.view.shared), &view.shared), own)
        };
        self.view = view;
        if !full && shared.is_empty() && own.is_empty() {
            return None;
        }
        self.generation += 1;
        if full {
            self.told.note_full(self.generation);
        }
        for (task, active) in shared.backends.iter().chain(&own.backends) {
            self.told.note(task, *active, self.generation);
        }
        Some(encoded::update(self.generation, full, &[&shared, &own]))
    }
}

/// True if the difference is what the node itself has reported of a task that goes on: it is not told
/// what it said, but for a full view, in which it finds what the managers do not know.
fn is_echo(old: &Item, new: &Item) -> bool {
    let (Item::Task(old), Item::Task(new)) = (old, new) else { return false };
    let goes_on = |task: &Task| !task.status.state.is_terminal();
    if !goes_on(&old.task) || !goes_on(&new.task) {
        return false;
    }
    if (old.withdrawn, &old.registry_auth) != (new.withdrawn, &new.registry_auth) {
        return false;
    }
    let reported = Task {
        status: new.task.status.clone(),
        version: new.task.version,
        updated_at: new.task.updated_at,
        ..Task::clone(&old.task)
    };
    reported == *new.task
}

fn deadline(now: Instant, period: Duration) -> Instant {
    now + period * HEARTBEATS_MISSED_MAX
}

#[cfg(test)]
mod tests {
    use swarmnet_model::view::{AssignedTask, Settings};
    use swarmnet_model::{
        ClusterId, DesiredState, EndpointSpec, ItemKey, NodeView, ServiceId, TaskId, TaskSpec,
        TaskState, TaskStatus, Timestamp, Version, ViewUpdate,
    };
    use swarmnet_proto::document;

    use super::*;

    fn session() -> Session {
        Session::new("s".into(), [1, 2, 3, 4].into(), Instant::now(), Duration::from_secs(5))
    }

    fn advance(session: &mut Session, view: Parts) -> Option<ViewUpdate> {
        let update = session.advance(view, &mut Shared::default())?;
        Some(document::decode("update", &update).unwrap())
    }

    fn assigned_task() -> Task {
        Task {
            id: TaskId::from_text("t1"),
            version: Version(1),
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
            service_id: ServiceId::from_text("s1"),
            service_name: "web".into(),
            service_labels: Default::default(),
            slot: 1,
            job_iteration: None,
            node_id: None,
            spec: TaskSpec::default(),
            endpoint_spec: EndpointSpec::default(),
            document: Default::default(),
            desired_state: DesiredState::Running,
            status: TaskStatus::new(Timestamp(1), TaskState::Assigned, ""),
            attachments: Vec::new(),
            assigned_generic: Vec::new(),
            chosen_ports: Vec::new(),
        }
    }

    fn view(port: u16) -> Parts {
        let settings =
            Settings { cluster_id: ClusterId::from_text("c"), data_path_port: port, ingress: None };
        let shared = NodeView::unit(ItemKey::Settings, Item::Settings(settings));
        Parts { shared, own: NodeView::new() }
    }

    #[test]
    fn the_first_update_is_full_and_later_ones_are_differences() {
        let mut session = session();
        let first = advance(&mut session, Parts::default()).unwrap();
        assert!(first.full && first.generation == 1 && first.put.is_empty());
        let second = advance(&mut session, view(4789)).unwrap();
        assert!(!second.full && second.generation == 2 && second.put.len() == 1);
        assert_eq!(advance(&mut session, view(4789)), None);
        let third = advance(&mut session, Parts::default()).unwrap();
        assert_eq!((third.generation, third.removed), (3, vec![ItemKey::Settings]));
    }

    #[test]
    fn a_node_is_not_told_what_it_said_of_a_task_that_goes_on() {
        let mut task = assigned_task();
        let own = |task: &Task| {
            let assigned =
                AssignedTask { task: task.clone().into(), withdrawn: false, registry_auth: None };
            let own =
                NodeView::unit(ItemKey::Task(task.id.clone()), Item::Task(Box::new(assigned)));
            Parts { shared: NodeView::new(), own }
        };
        let mut session = session();
        assert!(advance(&mut session, own(&task)).unwrap().full);
        let mut report = |task: &mut Task, state| {
            task.version = Version(task.version.0 + 1);
            task.status = TaskStatus::new(Timestamp(9), state, "said");
            advance(&mut session, own(task)).map(|update| update.generation)
        };
        assert_eq!(report(&mut task, TaskState::Accepted), None);
        assert_eq!(report(&mut task, TaskState::Running), None);
        task.desired_state = DesiredState::Shutdown;
        assert_eq!(report(&mut task, TaskState::Running), Some(2));
        assert_eq!(report(&mut task, TaskState::Shutdown), Some(3));
        assert_eq!(report(&mut task, TaskState::Orphaned), Some(4));
    }
}
