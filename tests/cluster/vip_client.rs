//! Clients that run in the background, in a task or on a host, and write down who answered.

use crate::lab::{Lab, binaries};

/// Where our server, which is a client too, is in every image.
const WHOAMI: &str = "/usr/local/lib/swarmnet/whoami";
/// More requests than any case lasts.
const COUNT: u32 = 1_000_000;

/// One line of a client: milliseconds since 1970, and the host name that answered or an error.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) said: String,
}

impl Line {
    pub(crate) fn is_answer(&self) -> bool {
        !self.said.starts_with("error:")
    }
}

/// Returns the short id of the container of a service's task on a node.
pub(crate) fn container(lab: &Lab, node: &str, service: &str) -> String {
    containers(lab, node, service).pop().unwrap()
}

/// Returns the short ids, which are the host names, of a service's running containers on a node.
pub(crate) fn containers(lab: &Lab, node: &str, service: &str) -> Vec<String> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let list = lab.lab_ok(&["engine", node, "--", "ps", "-q", "--filter", &filter]);
    list.lines().map(str::to_owned).collect()
}

/// Calls from inside a task, once; returns what was said.
pub(crate) fn call(lab: &Lab, node: &str, service: &str, options: &str) -> String {
    let id = container(lab, node, service);
    let line = format!("{WHOAMI} call {options}");
    let text = lab.lab(&["engine", node, "--", "exec", &id, "sh", "-c", &line]).text();
    parse(&text).pop().map_or(text, |line| line.said)
}

/// A client in the background.
pub(crate) struct Client {
    pub(crate) name: String,
    place: Place,
}

enum Place {
    Task { node: String, container: String },
    Host { host: String, file: tempfile::NamedTempFile, pid: String },
}

impl Client {
    /// Starts one in the container of a service's task; it ends with the container.
    pub(crate) fn in_task(lab: &Lab, task: (&str, &str), name: &str, options: &str) -> Self {
        let (node, service) = task;
        let container = container(lab, node, service);
        let line = format!("{WHOAMI} call --count {COUNT} {options} > /{name}");
        lab.lab_ok(&["engine", node, "--", "exec", "-d", &container, "sh", "-c", &line]);
        Self { name: name.to_owned(), place: Place::Task { node: node.to_owned(), container } }
    }

    /// Starts one on a host.
    pub(crate) fn on_host(lab: &Lab, host: &str, name: &str, options: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (whoami, path) = (binaries().join("whoami"), file.path());
        let command = format!("{} call --count {COUNT} {options}", whoami.display());
        let line = format!("{command} > {} 2>&1 < /dev/null & echo $!", path.display());
        let pid = lab.sh(host, &line).stdout.trim().to_owned();
        Self { name: name.to_owned(), place: Place::Host { host: host.to_owned(), file, pid } }
    }

    /// Returns what it has written so far.
    pub(crate) fn lines(&self, lab: &Lab) -> Vec<Line> {
        let text = match &self.place {
            Place::Task { node, container } => {
                let file = format!("/{}", self.name);
                lab.lab_ok(&["engine", node, "--", "exec", container, "cat", &file])
            }
            Place::Host { file, .. } => std::fs::read_to_string(file.path()).unwrap(),
        };
        parse(&text)
    }

    /// Returns the host that answered last, or the last error.
    pub(crate) fn last(&self, lab: &Lab) -> String {
        self.lines(lab).pop().map(|line| line.said).unwrap_or_default()
    }

    /// Ends it, if it is on a host; returns what it has written.
    pub(crate) fn finish(self, lab: &Lab) -> Vec<Line> {
        let lines = self.lines(lab);
        if let Place::Host { host, pid, .. } = &self.place {
            lab.ok(host, &["kill", pid]);
        }
        lines
    }
}

/// A line that is being written is left out.
fn parse(text: &str) -> Vec<Line> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let pairs = whole.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(at, said)| Some(Line { at: at.parse().ok()?, said: said.to_owned() }))
        .collect()
}
