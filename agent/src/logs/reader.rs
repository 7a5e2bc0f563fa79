//! One container's log: read from the engine line by line, as fast as its reader takes them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use swarmnet_model::{Clock, LogOptions, LogSource, Task, TaskId, Timestamp};
use swarmnet_proto::v1;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::decode::{Decoder, Format, Garbled, Line};
use crate::engine::{ContainerLogs, Engine, EngineError};

/// Pause before the log of an engine that broke off is read again.
const RETRY: Duration = Duration::from_secs(1);

/// One container whose log is wanted.
pub(super) struct Source {
    pub(super) task_id: TaskId,
    pub(super) container: String,
    pub(super) tty: bool,
}

impl Source {
    pub(super) fn new(task: &Task, container: String) -> Self {
        Self { task_id: task.id.clone(), container, tty: task.spec.container.tty }
    }
}

/// Reads logs.
#[derive(Clone)]
pub(super) struct LogReader {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: LogOptions,
    pub(super) lines: mpsc::Sender<v1::LogLine>,
}

/// Why reading ended before the log did.
enum Broken {
    Engine(EngineError),
    Garbled(Garbled),
    /// The lines have no taker any more.
    Left,
}

impl LogReader {
    /// Sends a container's lines until its log ends; with `last`, those after that time.
    pub(super) async fn read(self, source: Source, mut last: Option<Timestamp>) {
        loop {
            match self.once(&source, &mut last).await {
                // A container that was removed meanwhile has no log.
                Ok(()) | Err(Broken::Left | Broken::Engine(EngineError::Missing { .. })) => return,
                Err(Broken::Engine(error)) if self.options.follow && error.is_temporary() => {
                    tracing::debug!(task.id = %source.task_id, %error, "log read again");
                    sleep(RETRY).await;
                }
                Err(Broken::Engine(error)) => return self.complain(&source, &error).await,
                Err(Broken::Garbled(error)) => return self.complain(&source, &error).await,
            }
        }
    }

    async fn once(&self, source: &Source, last: &mut Option<Timestamp>) -> Result<(), Broken> {
        let wanted = self.wanted(source, *last);
        let format =
            Format { tty: source.tty, timestamps: wanted.timestamps, details: wanted.details };
        let mut decoder = Decoder::new(format);
        let log = self.engine.logs(&source.container, &wanted).await;
        let mut log = log.map_err(Broken::Engine)?;
        while let Some(bytes) = log.next().await {
            let bytes = bytes.map_err(Broken::Engine)?;
            for line in decoder.take(&bytes).map_err(Broken::Garbled)? {
                let time = line.time;
                self.send(source, line).await?;
                // A line without a time has come just now.
                *last = Some(if time == Timestamp::UNSET { self.clock.now() } else { time });
            }
        }
        match decoder.end() {
            Some(line) => self.send(source, line).await,
            None => Ok(()),
        }
    }

    fn wanted(&self, source: &Source, last: Option<Timestamp>) -> ContainerLogs {
        let options = &self.options;
        // With the time of every line, reading can go on exactly where it broke off. A terminal's
        // output has no lines the engine could put it before: only if the user wants it all the same.
        let timestamps = !source.tty || options.timestamps;
        let after = last.map(|time| time.plus(Duration::from_nanos(1)));
        ContainerLogs {
            stdout: options.stdout,
            stderr: options.stderr,
            follow: options.follow,
            since: after.or(options.since),
            tail: if after.is_some() { None } else { options.tail },
            timestamps,
            details: options.details,
        }
    }

    async fn send(&self, source: &Source, line: Line) -> Result<(), Broken> {
        let line = v1::LogLine {
            task_id: source.task_id.to_string(),
            stderr: line.source == LogSource::Stderr,
            time_ns: line.time.0,
            attributes: line.attributes,
            text: line.text,
        };
        self.lines.send(line).await.map_err(|_| Broken::Left)
    }

    /// The user reads, in the task's place, why it has no lines.
    async fn complain(&self, source: &Source, error: &(dyn std::error::Error + Sync)) {
        let line = Line {
            source: LogSource::Stderr,
            time: self.clock.now(),
            attributes: String::new(),
            text: format!("{error}\n").into_bytes(),
        };
        // Nobody to tell is no failure.
        let _left = self.send(source, line).await;
    }
}
