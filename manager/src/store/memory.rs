//! A store without Raft: the real `apply`, in this process only. For tests of loops and calls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use swarmnet_model::{Clock, Tables, Version};
use tokio::sync::watch;

use super::{ProposeError, Proposer, Store, Transaction, apply};

/// Applies each transaction at once, at the next index.
pub struct MemoryProposer {
    tables: watch::Sender<Arc<Tables>>,
    /// Index of the last entry; refused entries count too, as they do in Raft.
    last_index: Mutex<u64>,
}

#[async_trait]
impl Proposer for MemoryProposer {
    async fn propose(&self, transaction: Transaction) -> Result<Version, ProposeError> {
        let mut last_index = self.last_index.lock().expect("apply does not panic");
        *last_index += 1;
        let (tables, outcome) = apply(&self.tables.borrow(), *last_index, &transaction);
        outcome.map_err(ProposeError::Refused)?;
        self.tables.send_replace(Arc::new(tables));
        Ok(Version(*last_index))
    }
}

impl Store {
    /// An empty store in memory, with the real `apply` behind it.
    pub fn for_tests(clock: Arc<dyn Clock>) -> Self {
        Self::in_memory(Tables::default(), clock)
    }

    /// A store in memory that starts from `tables`.
    pub fn in_memory(tables: Tables, clock: Arc<dyn Clock>) -> Self {
        let last_index = Mutex::new(tables.version.0);
        let (sender, receiver) = watch::channel(Arc::new(tables));
        Self::new(receiver, Arc::new(MemoryProposer { tables: sender, last_index }), clock)
    }
}
