//! Scenario files: a cluster, what happens to it, and what the planners answer, as text.
//!
//! ```text
//!   == what the scenario shows          begins anew
//!   + node n1                           a line of the world, given
//!   > report t1 failed                  something happens
//!   > plan                              a planner is asked; its plan is applied, and leaves nothing
//!   > plan once                         the same, and more may follow from it
//!   wish t1 shutdown                    what it answered
//! ```
//!
//! The answers are written anew from the other lines and compared with the file; with
//! `UPDATE_EXPECT=1` the file is rewritten.

use expect_test::ExpectFile;
use swarmnet_model::{NodeId, NodeState};

use super::{Planner, World, long};
use crate::store::Change;
use crate::{allocator, orchestrator, reaper, scheduler};

/// Runs every scenario of a file.
pub(crate) fn check(file: ExpectFile) {
    let text = file.data();
    assert!(text.contains("== "), "the file has scenarios");
    file.assert_eq(&replay(&text));
}

/// Returns the text with the answers that are given now.
fn replay(text: &str) -> String {
    let mut world = World::given("");
    let mut replayed = String::new();
    for line in text.lines() {
        if line.starts_with("== ") {
            world = World::given("");
        } else if let Some(given) = line.strip_prefix("+ ") {
            world.line(given);
        } else if !(line.is_empty() || line.starts_with('#') || line.starts_with("> ")) {
            continue; // an answer
        }
        replayed += line;
        replayed.push('\n');
        if let Some(command) = line.strip_prefix("> ") {
            replayed += &world.happen(command);
        }
    }
    replayed
}

impl World {
    fn happen(&mut self, command: &str) -> String {
        let words: Vec<_> = command.split_whitespace().collect();
        match words.as_slice() {
            ["plan"] => return self.settle(orchestrator::plan),
            ["plan", "once"] => return self.step(orchestrator::plan),
            ["explain", task, why @ ..] => self.explain(task, &why.join(" ")),
            ["reap"] => return self.settle(reaper::plan),
            ["allocate"] => return self.settle(allocator::plan),
            ["schedule"] => return self.settle(scheduler::plan),
            ["tasks"] => return self.tasks(),
            ["wait", seconds] => self.wait(seconds.parse().unwrap()),
            ["report", task, state] => self.report(task, state),
            ["place", task, node] => self.place(task, node),
            ["update", service, rest @ ..] => self.update(service, rest),
            ["remove", "node", id] => {
                self.write(vec![Change::RemoveNode { id: NodeId::from_text(*id) }]);
            }
            ["remove", "service", id] => {
                let id = swarmnet_model::ServiceId::from_text(*id);
                self.write(vec![Change::MarkServiceRemoved { id }]);
            }
            ["history", limit] => self.keep_history(limit.parse().unwrap()),
            ["node", id, "down"] => self.set_node(id, NodeState::Down),
            ["node", id, "ready"] => self.set_node(id, NodeState::Ready),
            ["node", id, "drain"] => self.drain(id, true),
            ["node", id, "active"] => self.drain(id, false),
            _ => panic!("no such event: {command}"),
        }
        String::new()
    }

    /// A plan that was applied leaves nothing to do.
    fn settle(&mut self, planner: Planner) -> String {
        let text = self.step(planner);
        let left = super::show(&self.plan(planner).changes);
        assert_eq!(left, "", "after\n{text}there is more to do:\n{}", self.tasks());
        text
    }

    /// Allocates and assigns a created task.
    fn place(&mut self, id: &str, node: &str) {
        let (id, node_id) = (long(id), NodeId::from_text(node));
        self.write(vec![
            Change::AllocateTask { id: id.clone(), attachments: Vec::new() },
            Change::AssignTask {
                id,
                node_id,
                message: String::new(),
                generic: Vec::new(),
                ports: Vec::new(),
            },
        ]);
    }

    /// Says why a task cannot be placed, as the scheduler does.
    fn explain(&mut self, id: &str, why: &str) {
        let (id, err) = (long(id), Some(why.to_owned()));
        self.write(vec![Change::ExplainTask { id, message: String::new(), err }]);
    }

    fn keep_history(&mut self, limit: i64) {
        let mut cluster = super::cluster();
        cluster.spec.task_history_limit = limit;
        self.tables.cluster = Some(cluster.into());
    }
}
