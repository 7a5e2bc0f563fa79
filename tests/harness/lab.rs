//! A lab as a test sees it: run commands on hosts, wait for states.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "runs commands for tests")]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for any state. Generous: the machine may be busy, and nothing is timed here.
pub const DEADLINE: Duration = Duration::from_secs(90);

pub const HOSTS: [&str; 3] = ["master", "node01", "node02"];

/// The end of a `docker service create` or `docker run` line: does nothing, and ends at once when it is
/// to stop. The first process of a container that handles no TERM would be waited for 10 s.
pub const SLEEPER: &str = "--stop-signal KILL busybox sleep 100000";

/// Address of the client host.
pub const CLIENT: &str = "10.20.20.50";

pub fn address(host: &str) -> &'static str {
    match host {
        "master" => "10.20.20.100",
        "node01" => "10.20.20.110",
        "node02" => "10.20.20.120",
        _ => panic!("no such host: {host}"),
    }
}

/// A running lab of three hosts and a client.
pub struct Lab {
    name: String,
}

/// What a command printed.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Both streams: docker prints errors on one and progress on the other.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Returns the folder of the binaries: the one that holds the test's own `deps` folder.
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(|deps| deps.parent()).unwrap().to_path_buf()
}

impl Lab {
    /// Starts a lab without a swarm; an old one of the same name goes first.
    ///
    /// `LAB_SUFFIX` in the environment is appended to the name, so that two runs of the same tests do
    /// not take each other's lab.
    pub fn start(name: &str, options: &[&str]) -> Self {
        let suffix = std::env::var("LAB_SUFFIX").map(|suffix| format!("-{suffix}"));
        let lab = Self { name: format!("{name}{}", suffix.unwrap_or_default()) };
        lab.stop();
        let up = lab.command(&[&["up"], options].concat()).status().unwrap();
        assert!(up.success(), "the lab does not start; try: swarmnet-lab --name {} up", lab.name);
        lab
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes the lab, unless the user wants to look at it.
    pub fn stop(&self) {
        if std::env::var_os("KEEP").is_none() {
            let down = self.command(&["down"]).stdout(Stdio::null()).status().unwrap();
            assert!(down.success(), "the lab does not go down");
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let binary = binaries().join("swarmnet-lab");
        assert!(binary.exists(), "{} is missing; run: make build", binary.display());
        let mut command = Command::new(binary);
        command.args(["--name", &self.name]).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command of the lab itself.
    pub fn lab(&self, args: &[&str]) -> Ran {
        Ran::new(&self.command(args).output().unwrap())
    }

    /// Runs a command of the lab that must succeed; returns what it printed.
    pub fn lab_ok(&self, args: &[&str]) -> String {
        let ran = self.lab(args);
        assert!(ran.ok(), "swarmnet-lab {args:?} failed: {}", ran.text());
        ran.stdout
    }

    /// Runs a command on a host.
    pub fn on(&self, host: &str, args: &[&str]) -> Ran {
        self.lab(&[&["exec", host, "--"], args].concat())
    }

    /// Runs a command on a host that must succeed; returns what it printed.
    pub fn ok(&self, host: &str, args: &[&str]) -> String {
        let ran = self.on(host, args);
        assert!(ran.ok(), "{args:?} on {host} failed: {}", ran.text());
        ran.stdout
    }

    /// Runs a shell line on a host.
    pub fn sh(&self, host: &str, line: &str) -> Ran {
        self.on(host, &["sh", "-c", line])
    }

    /// Starts a command on a host and leaves it running; its three streams are pipes.
    pub fn spawn(&self, host: &str, args: &[&str]) -> Child {
        let mut command = self.command(&[&["exec", host, "--"], args].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a docker command on the manager that must succeed, its words split at spaces.
    pub fn docker(&self, line: &str) -> String {
        let words: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
        self.ok("master", &words)
    }

    /// Runs a docker command on a host that must fail; returns its error text.
    pub fn refused(&self, host: &str, line: &str) -> String {
        let words: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
        let ran = self.on(host, &words);
        assert!(!ran.ok(), "docker {line} on {host} was not refused: {}", ran.text());
        ran.stderr
    }

    /// Creates a service that must converge.
    pub fn create(&self, line: &str) {
        self.docker(&format!("service create --quiet {line}"));
    }

    /// Asks for a page; an empty text if there is no answer.
    pub fn curl(&self, from: &str, url: &str) -> String {
        self.on(from, &["curl", "--silent", "--fail", "--max-time", "5", url]).stdout
    }

    /// Posts a body to the manager's API socket, as no CLI would; returns the status and the answer.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        assert!(!body.contains('\''), "the shell would end the body there: {body}");
        let line = format!(
            "curl -s --unix-socket ${{DOCKER_HOST#unix://}} -w ' %{{http_code}}' -X POST \
             -H 'Content-Type: application/json' -d '{body}' 'http://d{path}'"
        );
        let answer = self.sh("master", &line).stdout;
        let (text, status) = answer.rsplit_once(' ').expect("curl writes the status last");
        (status.parse().unwrap(), text.trim().to_owned())
    }

    /// Forms the swarm once; later calls find it formed.
    pub fn form(&self) {
        if self.on("master", &["docker", "node", "ls"]).ok() {
            return;
        }
        self.docker("swarm init --advertise-addr 10.20.20.100");
        HOSTS[1..].iter().for_each(|host| self.join(host));
        wait_for("three ready nodes", || self.ready_nodes() == 3);
    }

    /// Joins a host to the manager's swarm, as a worker.
    pub fn join(&self, host: &str) {
        let token = self.docker("swarm join-token --quiet worker");
        self.ok(host, &["docker", "swarm", "join", "--token", token.trim(), "10.20.20.100:2377"]);
    }

    pub fn ready_nodes(&self) -> usize {
        let ran = self.on("master", &["docker", "node", "ls", "--format", "{{.Status}}"]);
        ran.stdout.lines().filter(|line| *line == "Ready").count()
    }

    /// Removes whatever a case left, also a failed one. Its containers are killed: how they are asked
    /// to stop is for cases to try, and many here ignore it.
    pub fn remove_all_services(&self) {
        self.sh("master", "docker service rm $(docker service ls -q)");
        let none = || self.sh("master", "docker service ls -q").stdout.trim().is_empty();
        let gone = || {
            HOSTS.iter().all(|host| {
                let left = self.task_containers(host);
                let names: Vec<&str> = left.iter().map(String::as_str).collect();
                names.is_empty() || {
                    self.lab(&[&["engine", host, "--", "kill"], &names[..]].concat());
                    false
                }
            })
        };
        if !until(|| none() && gone()) {
            println!("services or containers of the last case are still there");
        }
        self.sh("master", "docker network prune -f");
    }

    /// Names of all containers of tasks on a host's engine, stopped ones too.
    pub fn task_containers(&self, host: &str) -> Vec<String> {
        let filter = "label=com.docker.swarm.task.id";
        let list = ["engine", host, "--", "ps", "-a", "--filter", filter, "--format", "{{.Names}}"];
        self.lab(&list).stdout.lines().map(str::to_owned).collect()
    }

    /// Returns the process of a host's engine.
    pub fn engine_pid(&self, host: &str) -> u32 {
        self.pids(host)[0]
    }

    /// Returns the process of a host's daemon.
    pub fn daemon_pid(&self, host: &str) -> u32 {
        self.pids(host)[1]
    }

    /// Returns the processes that the lab lists for a host.
    fn pids(&self, host: &str) -> Vec<u32> {
        let status = self.lab_ok(&["status"]);
        let of_host = |line: &&str| line.split_whitespace().next() == Some(host);
        let line = status.lines().find(of_host).unwrap();
        let pids = line.split("(pid ").skip(1).filter_map(|rest| rest.split(')').next());
        pids.map(|pid| pid.parse().unwrap()).collect()
    }

    /// Returns the process of a service's task on a host.
    pub fn pid_of(&self, host: &str, service: &str) -> u32 {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let id = self.lab_ok(&["engine", host, "--", "ps", "-q", "--filter", &filter]);
        let format = "{{.State.Pid}}";
        let pid = self.lab_ok(&["engine", host, "--", "inspect", "-f", format, id.trim()]);
        pid.trim().parse().unwrap()
    }

    /// Runs a command of the host in the network of a service's task.
    pub fn beside(&self, host: &str, service: &str, args: &[&str]) -> Ran {
        let pid = self.pid_of(host, service).to_string();
        self.on(host, &[&["nsenter", "-t", &pid, "-n"], args].concat())
    }

    /// Returns the address of a device of a service's task.
    pub fn address_in(&self, host: &str, service: &str, device: &str) -> Ipv4Addr {
        let ran = self.beside(host, service, &["ip", "-4", "-o", "address", "show", device]);
        let mut words = ran.stdout.split_whitespace().skip_while(|word| *word != "inet").skip(1);
        let prefix = words.next().unwrap_or_else(|| panic!("no {device}: {}", ran.text()));
        prefix.split('/').next().unwrap().parse().unwrap()
    }

    /// Prints the ends of the daemons' logs, to explain a failure.
    pub fn show_logs(&self) {
        for host in HOSTS {
            let log = self.lab(&["logs", host, "daemon"]).stdout;
            let lines: Vec<&str> = log.lines().collect();
            println!("--- the last lines of {host}'s daemon");
            lines.iter().skip(lines.len().saturating_sub(25)).for_each(|line| println!("{line}"));
        }
    }
}

/// Returns whether the state was reached before the deadline.
pub fn until(mut reached: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if reached() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
}

/// Waits for a state that must be reached.
#[track_caller]
pub fn wait_for(what: &str, reached: impl FnMut() -> bool) {
    assert!(until(reached), "not reached in {} s: {what}", DEADLINE.as_secs());
}

#[track_caller]
pub fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "expected {part:?} in:\n{text}");
}
