//! The resolv.conf of containers that were made without a swarm network and connected later.
//!
//! Its file is the engine's, which writes it anew at each start and names its own resolver there; that
//! one knows the containers of this engine only. While the container is on a swarm network the file
//! names the node's resolver. What the engine had written is kept, and comes back afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::desk::file_name;
use crate::dns::RESOLVER;
use crate::engine::{Engine, EngineError, PlainContainer};
use crate::plugin::journal::write_atomically;
use crate::task::resolv_files::ResolvFiles;

/// The engine's resolver, as it names it in files of its own making.
const ENGINES: &str = "127.0.0.11";
/// Beside the files of [`ResolvFiles`].
const KEPT: &str = "agent/resolv/kept";

/// Why a container cannot be given names now; the next look tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectedError {
    #[error("the engine was not heard")]
    Engine(#[from] EngineError),
    #[error("its resolv.conf cannot be changed")]
    File(#[from] io::Error),
}

/// Changes the files, and changes them back.
pub(super) struct Connected {
    engine: Arc<dyn Engine>,
    state_dir: PathBuf,
}

impl Connected {
    pub(super) fn new(engine: Arc<dyn Engine>, state_dir: &Path) -> Self {
        Self { engine, state_dir: state_dir.to_owned() }
    }

    /// Makes the files of `present` name the node's resolver, and gives all others theirs back.
    pub(super) async fn pass(&self, present: &[PlainContainer]) {
        let engines_own = |of: &&PlainContainer| of.running && !of.has_own_resolv_conf;
        for container in present.iter().filter(engines_own) {
            if let Err(error) = self.point(&container.id).await {
                tracing::debug!(container = container.name, %error, "no names for a container yet");
            }
        }
        for id in self.kept() {
            if present.iter().any(|container| container.id == id) {
                continue;
            }
            if let Err(error) = self.give_back(&id).await {
                tracing::debug!(container = id, %error, "resolv.conf not given back");
            }
        }
    }

    async fn point(&self, id: &str) -> Result<(), ConnectedError> {
        let Some(dns) = self.engine.container_dns(id).await? else { return Ok(()) };
        let found = match fs::read_to_string(&dns.path) {
            // It has not begun, or is about to end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        // What a user has written there stays.
        if !names(&found, ENGINES) {
            return Ok(());
        }
        let files = ResolvFiles::of_containers(&self.state_dir)?;
        let text = fs::read(files.write(&file_name(&dns.wishes), &dns.wishes)?)?;
        let kept = self.state_dir.join(KEPT);
        fs::create_dir_all(&kept)?;
        write_atomically(&kept.join(id), found.as_bytes())?;
        // In place: the container has mounted the file, not its name.
        fs::write(&dns.path, text)?;
        tracing::info!(container = id, "its resolv.conf names the node's resolver");
        Ok(())
    }

    async fn give_back(&self, id: &str) -> Result<(), ConnectedError> {
        let kept = self.state_dir.join(KEPT).join(id);
        if let Some(dns) = self.engine.container_dns(id).await? {
            let ours = fs::read_to_string(&dns.path)
                .is_ok_and(|found| names(&found, &RESOLVER.to_string()));
            if ours {
                fs::write(&dns.path, fs::read(&kept)?)?;
                tracing::info!(container = id, "its resolv.conf is the engine's again");
            }
        }
        Ok(fs::remove_file(&kept)?)
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state_dir.join(KEPT)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// True if a resolv.conf names this server.
fn names(text: &str, server: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("nameserver") && words.next() == Some(server)
    })
}

#[cfg(test)]
mod tests {
    use swarmnet_model::container::DnsConfig;

    use super::*;
    use crate::engine::ContainerDns;
    use crate::engine::fake::FakeEngine;

    const ID: &str = "0123456789ab";
    const ENGINES_TEXT: &str = "nameserver 127.0.0.11\noptions ndots:0\n";

    struct Bed {
        state: tempfile::TempDir,
        engine: Arc<FakeEngine>,
        connected: Connected,
    }

    fn bed() -> Bed {
        let state = tempfile::tempdir().unwrap();
        let engine = Arc::new(FakeEngine::new());
        let path = state.path().join("resolv.conf");
        fs::write(&path, ENGINES_TEXT).unwrap();
        let wishes = DnsConfig { search: vec!["a.example".to_owned()], ..DnsConfig::default() };
        engine.put_dns(ID, ContainerDns { path, wishes });
        let connected = Connected::new(Arc::<FakeEngine>::clone(&engine), state.path());
        Bed { state, engine, connected }
    }

    impl Bed {
        fn text(&self) -> String {
            fs::read_to_string(self.state.path().join("resolv.conf")).unwrap()
        }

        fn write(&self, text: &str) {
            fs::write(self.state.path().join("resolv.conf"), text).unwrap();
        }
    }

    fn container() -> PlainContainer {
        PlainContainer {
            id: ID.to_owned(),
            name: "c1".to_owned(),
            running: true,
            endpoints: Vec::new(),
            has_own_resolv_conf: false,
        }
    }

    #[tokio::test]
    async fn a_connected_container_asks_the_node_and_later_the_engine_again() {
        let bed = bed();
        let ours = "search a.example\nnameserver 169.254.77.53\n";
        // The engine writes it anew at each start.
        for _ in 0..2 {
            bed.write(ENGINES_TEXT);
            for _ in 0..2 {
                bed.connected.pass(&[container()]).await;
                assert!(bed.text().starts_with(ours), "{}", bed.text());
            }
        }
        bed.connected.pass(&[PlainContainer { running: false, ..container() }]).await;
        assert!(bed.text().starts_with(ours), "one that is stopped is still connected");
        for _ in 0..2 {
            bed.connected.pass(&[]).await;
            assert_eq!(bed.text(), ENGINES_TEXT);
        }
        assert!(bed.connected.kept().is_empty());
    }

    #[tokio::test]
    async fn what_a_user_has_written_stays() {
        let bed = bed();
        let own = "nameserver 192.0.2.1\n";
        bed.write(own);
        bed.connected.pass(&[container()]).await;
        assert_eq!(bed.text(), own);
        bed.write(ENGINES_TEXT);
        bed.connected.pass(&[PlainContainer { has_own_resolv_conf: true, ..container() }]).await;
        assert_eq!(bed.text(), ENGINES_TEXT, "the container does not see this file");
        bed.connected.pass(&[container()]).await;
        bed.write(own);
        bed.connected.pass(&[]).await;
        assert_eq!(bed.text(), own);
    }

    #[tokio::test]
    async fn of_a_container_that_is_gone_nothing_is_kept() {
        let bed = bed();
        bed.connected.pass(&[container()]).await;
        bed.engine.forget_dns(ID);
        bed.connected.pass(&[]).await;
        assert!(bed.connected.kept().is_empty());
    }
}
