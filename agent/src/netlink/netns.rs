//! Network namespaces of sandboxes: their cookies, and work inside them.

use std::io;
use std::path::Path;

/// Returns the cookie of the namespace bound at `path`; `setns` happens on a thread of its own.
///
/// # Errors
/// `NotFound` while the engine has not made the namespace.
pub async fn cookie_at(path: &Path) -> io::Result<u64> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || swarmnet_ebpf::netns::cookie_of_path(&path))
        .await
        .map_err(io::Error::other)?
}

/// Returns the cookie of the calling thread's network namespace.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn own_cookie() -> io::Result<u64> {
    swarmnet_ebpf::netns::current_cookie()
}

/// Runs `work` inside the namespace bound at `path`, on a thread of its own, and waits for it.
///
/// # Errors
/// The path is not a network namespace (any more), or what `work` returns.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    swarmnet_ebpf::netns::inside(&std::fs::File::open(path)?, work)
}
