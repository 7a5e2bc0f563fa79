//! The host's upstreams: `/etc/resolv.conf`, read again when it has changed.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::RESOLVER;
use super::zone::UPSTREAMS_MAX;

/// How often the file is looked at while upstreams are asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A resolv.conf is a few lines; a longer file is none.
const FILE_MAX: u64 = 64 << 10;

/// The file and what it said.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    /// Device, inode, size and time of change; `None` while there is no file.
    stamp: Option<(u64, u64, u64, i64, i64)>,
    servers: Arc<[IpAddr]>,
}

impl ResolvConf {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Returns the upstreams of the host, in its order; none if it names none.
    pub(super) fn servers(&self) -> Arc<[IpAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            known.looked = Some(Instant::now());
            let found = fs::metadata(&self.path).ok().filter(|found| found.len() <= FILE_MAX);
            let stamp = found.map(|f| (f.dev(), f.ino(), f.len(), f.mtime(), f.mtime_nsec()));
            if stamp != known.stamp {
                known.stamp = stamp;
                let text = fs::read_to_string(&self.path).unwrap_or_default();
                known.servers = servers_of(&text).into();
            }
        }
        Arc::clone(&known.servers)
    }
}

/// Returns the servers that a resolv.conf names, without this resolver: a question would go round.
pub(super) fn servers_of(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
    });
    named.filter(|addr| is_upstream(*addr)).take(UPSTREAMS_MAX).collect()
}

/// True for an address at which another resolver can be.
pub(super) fn is_upstream(addr: IpAddr) -> bool {
    addr != IpAddr::V4(RESOLVER) && !addr.is_unspecified() && !addr.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_does() {
        let text = "# comment\n nameserver 192.0.2.1\nnameserver 169.254.77.53\nnameserver\n\
                    nameserver 0.0.0.0\nsearch a b\nnameserver nonsense\nnameserver ::1 # local\n\
                    nameservers 192.0.2.9\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let servers: Vec<_> = servers_of(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1", "::1", "192.0.2.2"]);
        assert!(servers_of("").is_empty());
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let file = ResolvConf::new(path.clone());
        assert!(file.servers().is_empty());
        let deadline = Instant::now() + Duration::from_secs(20);
        for server in ["192.0.2.1", "192.0.2.77"] {
            fs::write(&path, format!("nameserver {server}\n")).unwrap();
            let wanted: IpAddr = server.parse().unwrap();
            while *file.servers() != [wanted] {
                assert!(Instant::now() < deadline, "{server} is not seen");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
