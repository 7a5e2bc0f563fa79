//! A throw-away network with a bpffs of its own, on a thread of this process.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use swarmnet_agent::dataplane::{Attach, DataPlane, DataPlaneConfig};
use tokio::net::UnixListener;

/// Where the present thread is: its own network and mounts.
pub(crate) struct Place {
    directory: PathBuf,
}

/// Runs `work` on a thread in a new network and mount namespace, below `directory`.
pub(crate) fn run<T, F>(directory: &Path, work: impl FnOnce(Place) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let directory = directory.to_path_buf();
    let thread = std::thread::spawn(move || {
        let place = Place::enter(directory);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(place))
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Place {
    /// Moves the calling thread, and those it starts, into namespaces of their own.
    pub(crate) fn enter(directory: PathBuf) -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces need root");
        let nothing: Option<&str> = None;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        let place = Self { directory };
        std::fs::create_dir_all(place.bpffs()).unwrap();
        mount(Some("none"), &place.bpffs(), Some("bpf"), MsFlags::empty(), nothing).unwrap();
        place
    }

    pub(crate) fn bpffs(&self) -> PathBuf {
        self.directory.join("bpffs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Starts a data plane. Its socket programs stay away: a cgroup takes only 64 of each kind, and
    /// the whole machine would run them.
    pub(crate) async fn data_plane(&self) -> DataPlane {
        swarmnet_agent::allocator::prepare();
        let socket = self.directory.join("plugin.sock");
        DataPlane::start(DataPlaneConfig {
            bpffs: self.bpffs(),
            cgroup2: Some(self.directory.clone()),
            attach: Attach::Auto,
            state_dir: self.state(),
            plugin_listener: UnixListener::bind(socket).unwrap(),
            gateway_pool: DataPlaneConfig::GATEWAY_POOL.parse().unwrap(),
        })
        .await
        .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // With its last mount the kernel forgets what is pinned there.
        let _gone_with_the_thread = umount2(&self.bpffs(), MntFlags::MNT_DETACH);
    }
}

/// Waits until a data plane has written a generation.
pub(crate) async fn applied(plane: &DataPlane, generation: u64) {
    let mut applied = plane.applied();
    let wait = applied.wait_for(|applied| *applied == generation);
    let limit = std::time::Duration::from_secs(120);
    tokio::time::timeout(limit, wait).await.expect("it is written in time").unwrap();
}

/// Returns a view as it is handed over.
pub(crate) fn shared<T>(view: &T) -> Arc<T>
where
    T: Clone,
{
    Arc::new(view.clone())
}
