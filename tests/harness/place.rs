//! A network namespace of a lab's host: of the host itself, or of a container on it.

use super::lab::Lab;
use super::probe::Probe;

/// A network namespace of a host, by a path that host sees.
#[derive(Clone)]
pub struct Place<'a> {
    pub lab: &'a Lab,
    pub host: &'static str,
    pub netns: String,
}

impl<'a> Place<'a> {
    /// Returns the host itself.
    pub fn host(lab: &'a Lab, host: &'static str) -> Self {
        Self { lab, host, netns: "/proc/self/ns/net".to_owned() }
    }

    /// Returns the namespace of a container whose name begins so.
    pub fn container(lab: &'a Lab, host: &'static str, name: &str) -> Self {
        let filter = format!("name=^{name}");
        let id = lab.lab_ok(&["engine", host, "--", "ps", "--quiet", "--filter", &filter]);
        let format = "{{.State.Pid}}";
        let words = ["engine", host, "--", "inspect", "--format", format, id.trim()];
        let pid = lab.lab_ok(&words);
        Self { lab, host, netns: format!("/proc/{}/ns/net", pid.trim()) }
    }

    /// Runs a shell line there; it must succeed.
    pub fn sh(&self, line: &str) -> String {
        let netns = format!("--net={}", self.netns);
        self.lab.ok(self.host, &["nsenter", &netns, "sh", "-c", line])
    }

    /// Returns the first address of an interface.
    pub fn address(&self, interface: &str) -> String {
        let text = self.sh(&format!("ip -4 -brief addr show {interface}"));
        let address = text.split_whitespace().nth(2).expect("the interface has an address");
        address.split('/').next().expect("split gives one part").to_owned()
    }

    /// Starts a probe there, on one CPU.
    pub fn probe_on(&self, cpu: &str, words: &[&str]) -> Probe {
        let netns = format!("--net={}", self.netns);
        let prefix = ["nsenter", &netns, "taskset", "--cpu-list", cpu];
        Probe::start_under(self.lab, self.host, &prefix, words)
    }

    /// Starts a probe there.
    pub fn probe(&self, words: &[&str]) -> Probe {
        let netns = format!("--net={}", self.netns);
        Probe::start_under(self.lab, self.host, &["nsenter", &netns], words)
    }
}
