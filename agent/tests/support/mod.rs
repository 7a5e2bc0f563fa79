//! A throw-away host for tests that need root: own network and mount namespace, own bpffs, and on
//! demand an engine and a client host. Everything goes with the test's thread and directory.

#![allow(dead_code, reason = "each test binary uses its part: an expectation would fail in one")]
#![expect(clippy::disallowed_methods, reason = "tests may run programs")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for a state.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A host: the test's thread is inside its namespaces.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
    engine: Option<Engine>,
}

struct Engine {
    process: Child,
    cgroup: String,
}

/// Runs a test on a thread of its own, inside a new host.
pub(crate) fn on_a_new_host<T: Future<Output = ()>>(test: impl FnOnce(Host) -> T + Send + 'static) {
    // Outlives the thread and its mounts: only then can the directory be removed.
    let parent = tempfile::Builder::new().prefix("swn-agent-").tempdir().unwrap();
    let path = parent.path().to_owned();
    let run = move || {
        let host = Host::new(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(host));
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

impl Host {
    fn new(parent: &Path) -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces need root");
        let nothing: Option<&str> = None;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        std::fs::create_dir_all("/run/netns").unwrap();
        std::fs::create_dir_all("/run/docker").unwrap();
        let flags = MsFlags::empty();
        mount(Some("none"), "/run/netns", Some("tmpfs"), flags, nothing).unwrap();
        mount(Some("none"), "/run/docker", Some("tmpfs"), flags, nothing).unwrap();
        let directory = tempfile::tempdir_in(parent).unwrap();
        let host = Self { directory, engine: None };
        std::fs::create_dir(host.bpffs()).unwrap();
        mount(Some("none"), &host.bpffs(), Some("bpf"), flags, nothing).unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        host
    }

    pub(crate) fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpffs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A second machine on the uplink `eth0`: 10.20.20.100 here, 10.20.20.50 there.
    pub(crate) fn add_client(&self) {
        run("ip", &["netns", "add", "client"]);
        let pair = "link add eth0 type veth peer name eth0 netns client";
        run("ip", &pair.split(' ').collect::<Vec<_>>());
        run("ip", &["addr", "add", "10.20.20.100/24", "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        run("ip", &["-n", "client", "addr", "add", "10.20.20.50/24", "dev", "eth0"]);
        run("ip", &["-n", "client", "link", "set", "eth0", "up"]);
        run("ip", &["-n", "client", "link", "set", "lo", "up"]);
    }

    /// Starts a Docker Engine of this host's own, with a busybox image, and waits until it serves.
    pub(crate) fn start_engine(&mut self) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let cgroup = format!("/swn-agent-test-{}", nix::unistd::gettid());
        let log = std::fs::File::create(self.directory.path().join("engine.log")).unwrap();
        let process = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "-H", &format!("unix://{}", path("docker.sock"))])
            .args(["--bridge", "none", "--storage-driver", "vfs", "--cgroup-parent", &cgroup])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("dockerd (Debian package docker.io)");
        self.engine = Some(Engine { process, cgroup });
        wait_for("the engine", || self.try_docker(&["info"]).is_ok());
        let root = self.directory.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
        let tar = path("root.tar");
        run("tar", &["-C", &root.display().to_string(), "-cf", &tar, "."]);
        self.docker(&["import", &tar, "busybox"]);
    }

    /// Runs the docker CLI against this host's engine.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.directory.path().join("engine.log"));
            panic!("docker {}: {error}\n{}", arguments.join(" "), log.unwrap_or_default())
        })
    }

    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let socket = self.directory.path().join("docker.sock");
        let address = format!("unix://{}", socket.display());
        let mut all = vec!["-H", &address];
        all.extend(arguments);
        try_run("docker", &all)
    }
}

impl Drop for Host {
    /// Kills instead of asking: after a failed test nobody answers the engine's plugin calls.
    fn drop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            let ids = self.try_docker(&["ps", "-q"]).unwrap_or_default();
            for id in ids.lines() {
                let pid = self.try_docker(&["inspect", "-f", "{{.State.Pid}}", id]);
                end(pid.ok().and_then(|pid| pid.trim().parse().ok()));
            }
            end(i32::try_from(engine.process.id()).ok());
            let _status = engine.process.wait();
            self.end_helpers_of_the_engine();
            remove_cgroups(&engine.cgroup);
        }
        let _busy = umount(&self.bpffs());
    }
}

impl Host {
    /// containerd and its shims carry our directory in their arguments.
    fn end_helpers_of_the_engine(&self) {
        let directory = self.directory.path().display().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let arguments = text(&process.path().join("cmdline"));
            if arguments.contains(&directory) {
                end(process.file_name().to_str().and_then(|name| name.parse().ok()));
            }
        }
    }
}

fn end(pid: Option<i32>) {
    if let Some(pid) = pid.filter(|pid| *pid > 1) {
        let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Containers are gone; their parent group is left in every hierarchy until the kernel has noticed.
fn remove_cgroups(group: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let path = hierarchy.path().join(group.trim_start_matches('/'));
        let end = Instant::now() + Duration::from_secs(3);
        while path.exists() && Instant::now() < end {
            for child in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let _busy = std::fs::remove_dir(child.path());
            }
            let _busy = std::fs::remove_dir(&path);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    try_run(program, arguments)
        .unwrap_or_else(|error| panic!("{program} {}: {error}", arguments.join(" ")))
}

pub(crate) fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    // No call of a test may hang: a plugin that is gone is waited for by the engine for ever.
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "40", program]).args(arguments);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{text}{error}")) }
}

/// Waits for a state, looking again and again.
pub(crate) fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < end, "no {what} within {} s", DEADLINE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`wait_for`], leaving the runtime free to work.
pub(crate) async fn wait_for_state(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < end, "no {what} within {} s", DEADLINE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs something that blocks (a child process the data plane must serve) beside the runtime.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Reads a file as text.
pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
