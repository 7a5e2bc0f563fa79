//! Proposals through Raft.

use async_trait::async_trait;
use openraft::error::{ClientWriteError, RaftError};
use swarmnet_model::Version;
use swarmnet_model::limits::CALL_TIMEOUT;
use tokio::time::timeout;

use super::types::{Member, Raft};
use crate::store::{ProposeError, Proposer, Transaction};

/// Writes through this manager's Raft; it must lead.
pub struct RaftProposer {
    raft: Raft,
}

impl RaftProposer {
    pub(super) fn new(raft: Raft) -> Self {
        Self { raft }
    }
}

#[async_trait]
impl Proposer for RaftProposer {
    async fn propose(&self, transaction: Transaction) -> Result<Version, ProposeError> {
        match timeout(CALL_TIMEOUT, self.raft.client_write(transaction)).await {
            Err(_) => Err(ProposeError::TimedOut),
            Ok(Ok(response)) => match response.data {
                Ok(()) => Ok(Version(response.log_id.index)),
                Err(refused) => Err(ProposeError::Refused(refused)),
            },
            Ok(Err(error)) => Err(not_written(error)),
        }
    }
}

fn not_written(error: RaftError<u64, ClientWriteError<u64, Member>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_node.map(Into::into) }
        }
        // openraft answers this to changes of the membership only.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_) => {
            ProposeError::Unavailable
        }
    }
}
