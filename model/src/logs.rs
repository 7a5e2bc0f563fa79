//! Pure: logs of a service or a task: what is asked for, and the lines that come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{NodeId, ServiceId, TaskId};
use crate::tables::Tables;
use crate::task::Task;

/// Whose logs are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSelector {
    /// All tasks of the service, past, present and to come.
    Service(ServiceId),
    Task(TaskId),
}

impl LogSelector {
    /// True if the task's logs are asked for.
    pub fn covers(&self, task: &Task) -> bool {
        match self {
            Self::Service(service) => task.service_id == *service,
            Self::Task(id) => task.id == *id,
        }
    }

    /// Returns the tasks that are asked for.
    pub fn tasks<'a>(&'a self, tables: &'a Tables) -> impl Iterator<Item = &'a Task> {
        tables.tasks.values().map(|task| &**task).filter(|task| self.covers(task))
    }

    /// True if there is nothing to read any more: neither the object nor a task of it is left.
    pub fn is_gone(&self, tables: &Tables) -> bool {
        let known = match self {
            Self::Service(service) => tables.services.contains_key(service),
            Self::Task(task) => tables.tasks.contains_key(task),
        };
        !known && self.tasks(tables).next().is_none()
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    pub stdout: bool,
    pub stderr: bool,
    /// Goes on with new lines and new tasks until the reader leaves.
    pub follow: bool,
    pub since: Option<Timestamp>,
    /// The last so many lines of each task; `None`: all.
    pub tail: Option<u64>,
    pub timestamps: bool,
    /// With what the log driver was told to note beside each line.
    pub details: bool,
}

/// Asks a node for the logs of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOrder {
    /// Nobody can guess it: who knows it was asked.
    pub subscription: String,
    /// Where the reader is; the lines go there.
    pub manager: NodeId,
    pub selector: LogSelector,
    pub options: LogOptions,
    /// Of tasks whose lines have come already: the time of the last one.
    pub resume: BTreeMap<TaskId, Timestamp>,
}

/// What a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// One line of one task, or a piece of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub node_id: NodeId,
    pub service_id: ServiceId,
    pub task_id: TaskId,
    pub source: LogSource,
    /// Unset if it is not known.
    pub time: Timestamp,
    /// `k=v,k=v`, escaped as in a query; what the log driver noted.
    pub attributes: String,
    /// As written, its line end included.
    pub text: Vec<u8>,
}

/// Reads the time before a line of the engine's log.
pub fn line_time(text: &str) -> Option<Timestamp> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_lines_come_back_as_they_were() {
        let text = "2026-11-22T14:07:10.086491753Z";
        assert_eq!(line_time(text).map(|time| time.to_string()).as_deref(), Some(text));
        assert_eq!(line_time("starting"), None);
        assert_eq!(line_time(""), None);
    }
}
