//! How commands talk to a host's supervisor: one JSON line each way over a unix socket.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::service::Service;
use crate::spec::Lab;

/// Longer than anything the supervisor itself waits for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(150);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    /// Starts a service, if it is not running, and waits until it is ready.
    Start(Service),
    /// Asks a service to end (SIGTERM) and waits until it has.
    Stop(Service),
    /// SIGKILL.
    Kill(Service),
    /// SIGSTOP.
    Pause(Service),
    /// SIGCONT.
    Resume(Service),
    Status,
}

/// What the supervisor knows of a service it has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    Running { pid: i32 },
    Paused { pid: i32 },
    Ended { how: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Status(BTreeMap<Service, Condition>),
    Failed(String),
}

/// Sends a request to a host's supervisor and waits for its answer.
pub(crate) fn ask(lab: &Lab, host: &str, request: Request) -> Result<Answer> {
    let mut stream = UnixStream::connect(lab.control_socket(host))
        .with_context(|| format!("{host} is off, or its supervisor was killed"))?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    writeln!(stream, "{}", serde_json::to_string(&request)?)?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .with_context(|| format!("{host}: no answer to {request:?}"))?;
    match serde_json::from_str(&line).with_context(|| format!("{host}: bad answer {line:?}"))? {
        Answer::Failed(why) => bail!("{host}: {why}"),
        answer @ (Answer::Done | Answer::Status(_)) => Ok(answer),
    }
}

/// Returns the state of a host's services; `None` when the host is off.
pub(crate) fn status(lab: &Lab, host: &str) -> Option<BTreeMap<Service, Condition>> {
    match ask(lab, host, Request::Status) {
        Ok(Answer::Status(status)) => Some(status),
        Ok(Answer::Done | Answer::Failed(_)) | Err(_) => None,
    }
}
