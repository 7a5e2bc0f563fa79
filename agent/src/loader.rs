//! Loads the programs of the data plane, on a thread that may block.

use std::path::PathBuf;
use std::sync::Arc;

use swarmnet_ebpf::program::{AttachMode, Dataplane, DataplaneError, Options};

use crate::dataplane::Attach;

/// How to load, again and again: after leaving a swarm everything is unloaded.
#[derive(Clone, Debug)]
pub struct Loader {
    pub bpffs: PathBuf,
    pub attach: Attach,
}

/// Loading did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Kernel(#[from] DataplaneError),
    #[error("the loading thread died")]
    Thread(#[from] tokio::task::JoinError),
}

impl Loader {
    /// Loads the programs against the pinned maps; what is attached gets the new ones in place.
    ///
    /// # Errors
    /// The kernel refused, or there is no bpffs.
    pub async fn load(&self) -> Result<Arc<Dataplane>, LoadError> {
        let mode = match self.attach {
            Attach::Auto => AttachMode::Auto,
            Attach::Tcx => AttachMode::Tcx,
            Attach::Clsact => AttachMode::Clsact,
        };
        let options = Options { bpffs: self.bpffs.clone(), mode, ..Options::default() };
        let plane = tokio::task::spawn_blocking(move || Dataplane::load(&options)).await??;
        Ok(Arc::new(plane))
    }
}
